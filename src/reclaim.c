/*
 * reclaim.c
 *		Dead holds: they end, and what they held goes back to stock. A buyer who
 *		needs their seats does it, and a sweep that cron runs.
 *
 * Reads and writes ticketing.ticket_holds. Locks: the event's shape (shared)
 * and sweep lock, hold rows by id, then what inventory.c takes for a return.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"
#include "rows.h"

enum
{
	HOLD_ID, HOLD_EVENT_ID, HOLD_EXPIRES_AT
};
static KnownTable active_holds = {
	.schema = "ticketing", .name = "ticket_holds",
	.columns = {"id", "event_id", "expires_at"},
	.indexes = {"ticket_holds_due"}
};

/* Ends those of the holds that are dead still, locked by id; how many, and what they give back to which pool. */
KEPT_PLAN(end_holds,
		  "WITH dead AS ("
		  "  SELECT id, status, expires_at FROM ticketing.ticket_holds WHERE id = ANY ($1) ORDER BY id FOR UPDATE), "
		  "ended AS ("
		  "  UPDATE ticketing.ticket_holds h SET status = 'expired', ended_at = $2 FROM dead "
		  "  WHERE h.id = dead.id AND dead.status = 'active' AND dead.expires_at <= $2 "
		  "  RETURNING h.event_id, h.ticket_type_id, h.quantity) "
		  "SELECT 0::bigint AS pool_id, false, count(*)::integer FROM ended "
		  "UNION ALL "
		  "SELECT p.pool_id, p.ticket_type_id IS NULL, sum(e.quantity)::integer "
		  "FROM ended e JOIN ticketing.stock_pools p ON p.event_id = e.event_id AND (p.ticket_type_id IS NULL OR p.ticket_type_id = e.ticket_type_id) "
		  "GROUP BY p.pool_id ORDER BY pool_id",
		  UUIDARRAYOID, TIMESTAMPTZOID);
KEPT_PLAN(events_with_dead,
		  "SELECT DISTINCT event_id FROM (SELECT event_id FROM ticketing.ticket_holds "
		  "WHERE status = 'active' AND expires_at <= $1 ORDER BY expires_at LIMIT $2) d ORDER BY event_id",
		  TIMESTAMPTZOID, INT4OID);

/* The ids of an event's dead holds, those first that died first; an array, or 0 when there is none. */
static Datum
dead_holds(int32 event_id, TimestampTz now, int at_most)
{
	RowKey		keys[2] = {
		{HOLD_EVENT_ID, F_INT4EQ, Int32GetDatum(event_id)},
		{HOLD_EXPIRES_AT, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(now), BTLessEqualStrategyNumber}
	};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ArrayBuildState *ids = NULL;
	int			count = 0;
	RowScan		scan;

	row_scan_begin(&scan, &active_holds, 0, snapshot, keys, 2);
	while (count < at_most && row_scan_next(&scan))
	{
		ids = accumArrayResult(ids, row_scan_datum(&scan, HOLD_ID), false, UUIDOID, CurrentMemoryContext);
		count++;
	}
	row_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return ids == NULL ? (Datum) 0 : makeArrayResult(ids, CurrentMemoryContext);
}

/*
 * Ends dead holds of an event, whose shape and sweep locks the caller has.
 * Returns how many; credits are what they give back, in pool order.
 */
int32
reclaim_dead_holds(int32 event_id, TimestampTz now, int at_most, PoolMove **credits, int *credit_count)
{
	Datum		values[2] = {dead_holds(event_id, now, at_most), TimestampTzGetDatum(now)};
	uint64		rows;

	*credits = NULL;
	*credit_count = 0;
	if (values[0] == (Datum) 0)
		return 0;
	declare_lock(RANK_HOLD);
	rows = run_latest(&end_holds, values, NULL);
	*credits = palloc0(sizeof(PoolMove) * rows);
	for (uint64 row = 1; row < rows; row++)
	{
		PoolMove   *credit = &(*credits)[(*credit_count)++];

		credit->pool_id = DatumGetInt64(row_datum(row, 1));
		credit->of_event = DatumGetBool(row_datum(row, 2));
		credit->quantity = DatumGetInt32(row_datum(row, 3));
		tally_pool(credit->pool_id, -credit->quantity);
	}
	count_event(RECLAIMED);
	return DatumGetInt32(row_datum(0, 3));
}

PG_FUNCTION_INFO_V1(dvnt_release_expired_holds);

/* release_expired_holds(max_rows) → integer */
Datum
dvnt_release_expired_holds(PG_FUNCTION_ARGS)
{
	int32		max_rows;
	int32		released = 0;
	TimestampTz now = engine_now();
	int32	   *events;
	uint64		count;
	Datum		values[2];

	require_argument(fcinfo, 0, "max_rows");
	max_rows = PG_GETARG_INT32(0);
	if (max_rows < 1)
		refuse(BAD_REQUEST, "\"argument\": \"max_rows\"", NULL, "max_rows is below 1");

	begin_command();
	values[0] = TimestampTzGetDatum(now);
	values[1] = Int32GetDatum(max_rows);
	count = run_latest(&events_with_dead, values, NULL);
	events = palloc(sizeof(int32) * (count + 1));
	for (uint64 i = 0; i < count; i++)
		events[i] = DatumGetInt32(row_datum(i, 1));
	for (uint64 i = 0; i < count && released < max_rows; i++)
	{
		PoolMove   *credits;
		int			credit_count;

		(void) begin_locking(RANK_NONE);
		/* somebody else sweeps this event, or sets its limits: leave it to him */
		if (!try_lock_shape_shared(events[i]) || !try_lock_event(events[i]))
			continue;
		released += reclaim_dead_holds(events[i], now, max_rows - released, &credits, &credit_count);
		stock_return(credits, credit_count);
	}
	SPI_finish();
	PG_RETURN_INT32(released);
}
