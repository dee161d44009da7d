/*
 * shards.c
 *		Seats of one pool: drawn from or given back to one of its shards without
 *		waiting for anybody, or counted and dealt anew with all of them locked.
 *
 * Reads and writes ticketing.stock_shards and the deficit in stock_pools.
 * Locks: one shard's row, and one that somebody has locked is skipped; for the
 * slow path, and where a deficit is to be paid, all of the pool's shards, then
 * the pool, waiting for them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "dvnt_ticketing.h"
#include "rows.h"

#define RICH_TIMES 16
#define SEATS_TOGETHER 8

enum
{
	SHARD_POOL_ID, SHARD_SHARD, SHARD_AVAILABLE
};
static KnownTable stock_shards = {
	.schema = "ticketing", .name = "stock_shards",
	.columns = {"pool_id", "shard", "available"},
	.indexes = {"stock_shards_pkey"}
};

enum
{
	POOL_ID, POOL_DEFICIT, POOL_SHARDS
};
static KnownTable stock_pools = {
	.schema = "ticketing", .name = "stock_pools",
	.columns = {"pool_id", "deficit", "shards"},
	.indexes = {"stock_pools_pkey"}
};

KEPT_PLAN(lock_shards,
		  "SELECT pool_id FROM ticketing.stock_shards WHERE pool_id = ANY ($1) ORDER BY pool_id, shard FOR UPDATE",
		  INT8ARRAYOID);
KEPT_PLAN(lock_pool,
		  "SELECT (SELECT sum(s.available) FROM ticketing.stock_shards s WHERE s.pool_id = p.pool_id) - p.deficit "
		  "FROM ticketing.stock_pools p WHERE p.pool_id = $1 FOR UPDATE",
		  INT8OID);
KEPT_PLAN(set_deficit,
		  "UPDATE ticketing.stock_pools SET deficit = $2 WHERE pool_id = $1 AND deficit <> $2",
		  INT8OID, INT4OID);

/* Begins to read all the pool's shards. */
static void
scan_shards(RowScan *scan, const PoolMove *move, Snapshot snapshot)
{
	RowKey		key = {SHARD_POOL_ID, F_INT8EQ, Int64GetDatum(move->pool_id)};

	row_scan_begin(scan, &stock_shards, 0, snapshot, &key, 1);
}

/* Finds the pool's home shard of this backend. */
static bool
find_home(RowScan *scan, const PoolMove *move, Snapshot snapshot)
{
	RowKey		keys[2] = {
		{SHARD_POOL_ID, F_INT8EQ, Int64GetDatum(move->pool_id)},
		{SHARD_SHARD, F_INT2EQ, Int16GetDatum(backend_slot() % move->shards)}
	};

	return row_find(scan, &stock_shards, 0, snapshot, keys, 2);
}

/* Changes the present shard by so many seats; false: it has not enough, or somebody has it locked or changed it. */
static bool
change_shard(RowScan *scan, int32 by)
{
	int32		available = DatumGetInt32(row_scan_datum(scan, SHARD_AVAILABLE));

	return available + by >= 0 && row_try_update(scan, SHARD_AVAILABLE, Int32GetDatum(available + by));
}

/* Changes one of the pool's shards without waiting, the home shard first; false: none would do. */
static bool
change_any_shard(const PoolMove *move, int32 by, bool *at_home)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	RowScan		scan;
	bool		changed;

	changed = find_home(&scan, move, snapshot) && change_shard(&scan, by);
	row_scan_end(&scan);
	*at_home = changed;
	if (!changed)
	{
		scan_shards(&scan, move, snapshot);
		while (!changed && row_scan_next(&scan))
			changed = change_shard(&scan, by);
		row_scan_end(&scan);
	}
	UnregisterSnapshot(snapshot);
	return changed;
}

/* Takes from one shard of the pool without waiting; false when none has enough and is free. */
bool
shard_draw(const PoolMove *move)
{
	bool		at_home;

	if (!change_any_shard(move, -move->quantity, &at_home))
		return false;
	count_event(at_home ? DRAWN_FAST : DRAWN_STOLEN);
	tally_pool(move->pool_id, -move->quantity);
	return true;
}

/* Whether the home shard alone has many times what is asked: then a draw from the pool will succeed. */
bool
shard_is_rich(const PoolMove *move, Snapshot snapshot)
{
	RowScan		scan;
	bool		rich;

	rich = find_home(&scan, move, snapshot) &&
		DatumGetInt32(row_scan_datum(&scan, SHARD_AVAILABLE)) / RICH_TIMES >= move->quantity;
	row_scan_end(&scan);
	return rich;
}

/* Looks at a pool without touching it. */
Supply
shard_supply(const PoolMove *move, Snapshot snapshot)
{
	RowScan		scan;
	int			enough = 0;

	scan_shards(&scan, move, snapshot);
	while (row_scan_next(&scan))
		if (DatumGetInt32(row_scan_datum(&scan, SHARD_AVAILABLE)) >= move->quantity)
			enough++;
	row_scan_end(&scan);
	return enough == 0 ? SUPPLY_NONE : enough * 2 > move->shards ? SUPPLY_PLENTY : SUPPLY_SCARCE;
}

/* All the pool's seats for sale. */
int64
shard_sum(const PoolMove *move, Snapshot snapshot)
{
	RowScan		scan;
	int64		seats = 0;

	scan_shards(&scan, move, snapshot);
	while (row_scan_next(&scan))
		seats += DatumGetInt32(row_scan_datum(&scan, SHARD_AVAILABLE));
	row_scan_end(&scan);
	return seats;
}

/* Locks all shards of the pools; waits for them. */
void
lock_pools(const PoolMove *moves, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * count);
	Datum		pools;

	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(moves[i].pool_id);
	pools = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	declare_lock(RANK_SHARD);
	run_latest(&lock_shards, &pools, NULL);
}

/* The seats for sale of a pool whose shards we have locked, less its deficit. Locks its row. */
int64
locked_seats(const PoolMove *move)
{
	Datum		pool = Int64GetDatum(move->pool_id);

	if (run_latest(&lock_pool, &pool, NULL) == 0)
		elog(ERROR, "stock pool " INT64_FORMAT " is gone", move->pool_id);
	return DatumGetInt64(row_datum(0, 1));
}

/*
 * Deals seats to as many shards as get eight or more each, so that the last
 * ones are found together. As ticketing.stock_deal does it, but whatever the
 * snapshot of the transaction is.
 */
static void
deal_seats(const PoolMove *move, int32 seats)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int32		used = Min(move->shards, (seats - 1) / SEATS_TOGETHER + 1);
	RowScan		scan;

	scan_shards(&scan, move, snapshot);
	while (row_scan_next(&scan))
	{
		int32		shard = DatumGetInt16(row_scan_datum(&scan, SHARD_SHARD));
		int32		dealt = shard < used ? seats / used + (shard < seats % used) : 0;

		if (dealt != DatumGetInt32(row_scan_datum(&scan, SHARD_AVAILABLE)) &&
			!row_try_update(&scan, SHARD_AVAILABLE, Int32GetDatum(dealt)))
			elog(ERROR, "shard %d of stock pool " INT64_FORMAT " is not locked", shard, move->pool_id);
	}
	row_scan_end(&scan);
	UnregisterSnapshot(snapshot);
}

/* Sets the seats of a pool that we have locked; below zero they are its deficit. */
void
set_locked_seats(const PoolMove *move, int64 seats)
{
	Datum		values[2] = {Int64GetDatum(move->pool_id), Int32GetDatum((int32) Max(-seats, 0))};

	run_latest(&set_deficit, values, NULL);
	deal_seats(move, (int32) Max(seats, 0));
}

/* The pool's deficit as it is now; its number of shards is entered into the move. */
static int32
read_deficit(PoolMove *move)
{
	RowKey		key = {POOL_ID, F_INT8EQ, Int64GetDatum(move->pool_id)};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	RowScan		scan;
	int32		deficit;

	if (!row_find(&scan, &stock_pools, 0, snapshot, &key, 1))
		elog(ERROR, "stock pool " INT64_FORMAT " is gone", move->pool_id);
	deficit = DatumGetInt32(row_scan_datum(&scan, POOL_DEFICIT));
	move->shards = DatumGetInt16(row_scan_datum(&scan, POOL_SHARDS));
	row_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return deficit;
}

/* Adds seats to a pool whose deficit is to be paid, or whose shards are all locked; waits for them. */
static void
return_with_all_locked(const PoolMove *move, int32 seats)
{
	lock_pools(move, 1);
	set_locked_seats(move, locked_seats(move) + seats);
}

/* Gives one pool its seats back; a deficit is paid first. */
void
shard_return(PoolMove *move)
{
	bool		at_home;

	count_event(RETURNED);
	tally_pool(move->pool_id, move->quantity);
	declare_lock(RANK_SHARD);
	if (read_deficit(move) > 0 || !change_any_shard(move, move->quantity, &at_home))
		return_with_all_locked(move, move->quantity);

	/*
	 * Who books a deficit locks all shards first. So either he has seen our
	 * seats, or we see his deficit now.
	 */
	else if (read_deficit(move) > 0)
		return_with_all_locked(move, 0);
}
