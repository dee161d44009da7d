/*
 * shards.c
 *		Seats of one pool, drawn from or given back to one of its shards without
 *		waiting for anybody: a shard that somebody has locked is skipped.
 *
 * Reads and writes ticketing.stock_shards, reads stock_pools. Locks: one
 * shard's row; where a deficit is to be paid, all of the pool's shards and the
 * pool (ticketing.stock_change), waiting for them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "dvnt_ticketing.h"
#include "rows.h"

enum
{
	SHARD_POOL_ID, SHARD_SHARD, SHARD_AVAILABLE
};
static KnownTable stock_shards = {
	.schema = "ticketing", .name = "stock_shards",
	.columns = {"pool_id", "shard", "available"},
	.indexes = {"stock_shards_pkey"}
};

KEPT_PLAN(pool_deficit,
		  "SELECT deficit, shards FROM ticketing.stock_pools WHERE pool_id = $1",
		  INT8OID);
KEPT_PLAN(change_pool,
		  "SELECT ticketing.stock_change($1, $2)",
		  INT8OID, INT4OID);

/* Begins to read the pool's home shard of this backend, or all its shards. */
static void
scan_shards(RowScan *scan, const PoolMove *move, bool home, Snapshot snapshot)
{
	RowKey		keys[2] = {
		{SHARD_POOL_ID, F_INT8EQ, Int64GetDatum(move->pool_id)},
		{SHARD_SHARD, F_INT2EQ, Int16GetDatum(backend_slot() % move->shards)}
	};

	row_scan_begin(scan, &stock_shards, 0, snapshot, keys, home ? 2 : 1);
}

/* Takes from the first shard of a scan that has enough and is free. */
static bool
draw_from(const PoolMove *move, bool home, Snapshot snapshot)
{
	RowScan		scan;
	bool		drawn = false;

	scan_shards(&scan, move, home, snapshot);
	while (!drawn && row_scan_next(&scan))
	{
		int32		available = DatumGetInt32(row_scan_datum(&scan, SHARD_AVAILABLE));

		if (available >= move->quantity)
			drawn = row_try_update(&scan, SHARD_AVAILABLE, Int32GetDatum(available - move->quantity));
	}
	row_scan_end(&scan);
	return drawn;
}

/* Takes from one shard of the pool without waiting; false when none has enough and is free. */
bool
shard_draw(const PoolMove *move)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool		home = draw_from(move, true, snapshot);
	bool		drawn = home || draw_from(move, false, snapshot);

	UnregisterSnapshot(snapshot);
	if (drawn)
	{
		count_event(home ? DRAWN_FAST : DRAWN_STOLEN);
		tally_pool(move->pool_id, -move->quantity);
	}
	return drawn;
}

/* Looks at a pool without touching it. */
Supply
shard_supply(const PoolMove *move, Snapshot snapshot)
{
	RowScan		scan;
	int			enough = 0;

	scan_shards(&scan, move, false, snapshot);
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

	scan_shards(&scan, move, false, snapshot);
	while (row_scan_next(&scan))
		seats += DatumGetInt32(row_scan_datum(&scan, SHARD_AVAILABLE));
	row_scan_end(&scan);
	return seats;
}

/* Adds to one shard of the pool without waiting, the home shard first; false when all are locked. */
static bool
return_to_shard(const PoolMove *move)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool		returned = false;

	for (int pass = 0; pass < 2 && !returned; pass++)
	{
		RowScan		scan;

		scan_shards(&scan, move, pass == 0, snapshot);
		while (!returned && row_scan_next(&scan))
			returned = row_try_update(&scan, SHARD_AVAILABLE,
									  Int32GetDatum(DatumGetInt32(row_scan_datum(&scan, SHARD_AVAILABLE)) + move->quantity));
		row_scan_end(&scan);
	}
	UnregisterSnapshot(snapshot);
	return returned;
}

/* Gives one pool its seats back; a deficit is paid first. */
void
shard_return(PoolMove *move)
{
	Datum		pool = Int64GetDatum(move->pool_id);
	Datum		change[2] = {pool, Int32GetDatum(move->quantity)};

	count_event(RETURNED);
	tally_pool(move->pool_id, move->quantity);
	declare_lock(RANK_SHARD);
	if (run_latest(&pool_deficit, &pool, NULL) == 0)
		return;					/* it became unlimited meanwhile */
	move->shards = DatumGetInt16(row_datum(0, 2));
	if (DatumGetInt32(row_datum(0, 1)) > 0 || !return_to_shard(move))
	{
		run_latest(&change_pool, change, NULL);
		return;
	}

	/*
	 * Who books a deficit locks all shards first. So either he has seen our
	 * seats, or we see his deficit now.
	 */
	run_latest(&pool_deficit, &pool, NULL);
	if (DatumGetInt32(row_datum(0, 1)) > 0)
	{
		change[1] = Int32GetDatum(0);
		run_latest(&change_pool, change, NULL);
	}
}
