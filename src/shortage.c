/*
 * shortage.c
 *		Whether pools are short of what is asked, without a lock, and the figures
 *		of the refusal that says so. Sold out must stay cheap.
 *
 * Reads ticketing.stock_pools, stock_shards and ticket_holds, all with one
 * snapshot. Takes no lock.
 */
#include "postgres.h"

#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dvnt_ticketing.h"
#include "rows.h"

enum
{
	POOL_ID, POOL_DEFICIT
};
static KnownTable stock_pools = {
	.schema = "ticketing", .name = "stock_pools",
	.columns = {"pool_id", "deficit"},
	.indexes = {"stock_pools_pkey"}
};

enum
{
	HOLD_EVENT_ID, HOLD_TICKET_TYPE_ID, HOLD_QUANTITY, HOLD_EXPIRES_AT
};
static KnownTable active_holds = {
	.schema = "ticketing", .name = "ticket_holds",
	.columns = {"event_id", "ticket_type_id", "quantity", "expires_at"},
	.indexes = {"ticket_holds_due"}
};

/* What a refusal tells of the holds in a pool. */
typedef struct HeldFigures
{
	int64		pool_id;
	int64		held;
	TimestampTz next_release_at;	/* DT_NOEND: never */
	TimestampTz kept_until;		/* by the server's own clock */
} HeldFigures;

/*
 * Adding up the holds of a big event takes longer than all the rest of a
 * refusal. Then the figures are given to later refusals of this backend for a
 * while in proportion, so that they cost a twentieth of its time at most.
 */
#define KEPT_FROM_ROWS 100
#define KEPT_FOR_TIMES 20
#define KEPT_POOLS 16

static HeldFigures kept_figures[KEPT_POOLS];

static bool
is_of_pool(const RowScan *hold, const PoolMove *move)
{
	return move->of_event ||
		memcmp(DatumGetUUIDP(row_scan_datum(hold, HOLD_TICKET_TYPE_ID))->data, move->ticket_type_id.data, UUID_LEN) == 0;
}

/* The seats of a pool's dead holds, which the slow path would take back. */
static int64
dead_seats(int32 event_id, const PoolMove *move, TimestampTz now, Snapshot snapshot)
{
	RowKey		keys[2] = {
		{HOLD_EVENT_ID, F_INT4EQ, Int32GetDatum(event_id)},
		{HOLD_EXPIRES_AT, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(now), BTLessEqualStrategyNumber}
	};
	RowScan		scan;
	int64		seats = 0;

	row_scan_begin(&scan, &active_holds, 0, snapshot, keys, 2);
	while (row_scan_next(&scan))
		if (is_of_pool(&scan, move))
			seats += DatumGetInt32(row_scan_datum(&scan, HOLD_QUANTITY));
	row_scan_end(&scan);
	return seats;
}

/* What a pool could give at least, dead holds included where they matter. */
static int64
free_seats(int32 event_id, const PoolMove *move, TimestampTz now, Snapshot snapshot)
{
	RowKey		key = {POOL_ID, F_INT8EQ, Int64GetDatum(move->pool_id)};
	RowScan		scan;
	int64		seats = 0;

	if (row_find(&scan, &stock_pools, 0, snapshot, &key, 1))
	{
		seats = shard_sum(move, snapshot) - DatumGetInt32(row_scan_datum(&scan, POOL_DEFICIT));
		if (seats < move->quantity)
			seats += dead_seats(event_id, move, now, snapshot);
	}
	row_scan_end(&scan);
	return seats;
}

/* Adds up the live holds of a pool. */
static HeldFigures
read_figures(int32 event_id, const PoolMove *move, TimestampTz now, Snapshot snapshot)
{
	RowKey		key = {HOLD_EVENT_ID, F_INT4EQ, Int32GetDatum(event_id)};
	HeldFigures figures = {.pool_id = move->pool_id, .next_release_at = DT_NOEND};
	TimestampTz begun = GetCurrentTimestamp();
	int			rows = 0;
	RowScan		scan;

	row_scan_begin(&scan, &active_holds, 0, snapshot, &key, 1);
	for (; row_scan_next(&scan); rows++)
	{
		TimestampTz expires_at = DatumGetTimestampTz(row_scan_datum(&scan, HOLD_EXPIRES_AT));

		if (!is_of_pool(&scan, move) || expires_at <= now)
			continue;
		figures.held += DatumGetInt32(row_scan_datum(&scan, HOLD_QUANTITY));
		figures.next_release_at = Min(figures.next_release_at, expires_at);
	}
	row_scan_end(&scan);
	if (rows >= KEPT_FROM_ROWS)
	{
		TimestampTz ended = GetCurrentTimestamp();

		figures.kept_until = ended + (ended - begun) * KEPT_FOR_TIMES;
	}
	return figures;
}

/* The figures of a pool, kept ones while they are fresh and name an instant to come. */
static const HeldFigures *
held_figures(int32 event_id, const PoolMove *move, TimestampTz now, Snapshot snapshot)
{
	HeldFigures *kept = &kept_figures[move->pool_id % KEPT_POOLS];

	if (kept->pool_id != move->pool_id || kept->next_release_at <= now || kept->kept_until <= GetCurrentTimestamp())
		*kept = read_figures(event_id, move, now, snapshot);
	return kept;
}

/* Says that a pool is short, with the figures that a buyer is shown. */
static void
refuse_short(const PoolMove *move, int64 available, const HeldFigures *figures)
{
	bool		never = figures->next_release_at == DT_NOEND;
	Answer		detail;

	answer_begin(&detail);
	answer_text(&detail, "pool", move->of_event ? "event" : "tier");
	answer_uuid(&detail, "ticket_type_id", move->of_event ? NULL : &move->ticket_type_id);
	answer_int(&detail, "requested", move->quantity);
	answer_int(&detail, "available", available);
	answer_int(&detail, "held", figures->held);
	if (never)
		answer_null(&detail, "next_release_at");
	else
		answer_time(&detail, "next_release_at", figures->next_release_at);
	refuse(SOLD_OUT, detail.text.data + 1,
		   never ? "Ask for fewer." : "Ask for fewer, or again at next_release_at.",
		   "%d asked for, " INT64_FORMAT " available", move->quantity, available);
}

/* Refuses with sold_out, naming the first pool that cannot have enough. */
void
refuse_if_short(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	for (int i = 0; i < count; i++)
	{
		int64		seats = free_seats(event_id, &moves[i], now, snapshot);

		if (seats < moves[i].quantity)
			refuse_short(&moves[i], Max(seats, 0), held_figures(event_id, &moves[i], now, snapshot));
	}
	UnregisterSnapshot(snapshot);
}
