/*
 * inventory.c
 *		Stock: seats are drawn from and given back to the shards of pools.
 *
 * Reads and writes ticketing.stock_pools, stock_shards and, where dead holds
 * are taken back, ticket_holds. Locks, in this order: the event's sweep lock
 * (slow path alone), dead holds by id, shards by (pool, shard), pools by id.
 *
 * Fast path: one statement per pool takes from one shard, the backend's home
 * shard first, and never waits (SKIP LOCKED). Slow path: when no single shard
 * has enough, the event's dead holds are taken back, all shards of the pools
 * are locked and dealt anew. Only the slow path waits, and 2 s at most.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"

#define SLOW_PATH_LOCK_TIMEOUT_MS 2000
#define SLOW_PATH_ROUNDS 10		/* then the caller is told to try again */
#define PLENTY_ATTEMPTS 50		/* a millisecond apart */

/* Ends the dead holds of an event, by id, and says what they give back to which pool. */
KEPT_PLAN(take_back_dead,
		  "WITH dead AS ("
		  "  SELECT id FROM ticketing.ticket_holds "
		  "  WHERE event_id = $1 AND status = 'active' AND order_id IS NULL AND expires_at <= $2 "
		  "  ORDER BY id LIMIT $3 FOR UPDATE), "
		  "ended AS ("
		  "  UPDATE ticketing.ticket_holds h SET status = 'expired', ended_at = $2 FROM dead "
		  "  WHERE h.id = dead.id RETURNING h.event_id, h.ticket_type_id, h.quantity) "
		  "SELECT p.pool_id, p.ticket_type_id IS NULL, sum(e.quantity)::integer "
		  "FROM ended e JOIN ticketing.stock_pools p ON p.event_id = e.event_id AND (p.ticket_type_id IS NULL OR p.ticket_type_id = e.ticket_type_id) "
		  "GROUP BY p.pool_id",
		  INT4OID, TIMESTAMPTZOID, INT8OID);
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
KEPT_PLAN(deal_pool,
		  "SELECT ticketing.stock_deal($1, $2)",
		  INT8OID, INT4OID);

static int
compare_moves(const void *a, const void *b)
{
	int64		left = ((const PoolMove *) a)->pool_id;
	int64		right = ((const PoolMove *) b)->pool_id;

	return left < right ? -1 : left > right;
}

/* Sorts moves by pool and makes each pool appear once. */
static int
merge_moves(PoolMove *moves, int count)
{
	int			kept = 0;

	if (count == 0)
		return 0;
	qsort(moves, count, sizeof(PoolMove), compare_moves);
	for (int i = 1; i < count; i++)
	{
		if (moves[i].pool_id != moves[kept].pool_id)
			moves[++kept] = moves[i];
		else
			moves[kept].quantity += moves[i].quantity;
	}
	return kept + 1;
}

/* The draws of a cart: one for each pool, in pool order. */
int
cart_moves(const Cart *cart, PoolMove **moves)
{
	int64		all = 0;
	int			count = 0;

	*moves = palloc0(sizeof(PoolMove) * (cart->item_count + 1));
	for (int i = 0; i < cart->item_count; i++)
	{
		const CartItem *item = &cart->items[i];

		all += item->quantity;
		if (item->pool.pool_id == 0)
			continue;
		(*moves)[count].pool_id = item->pool.pool_id;
		(*moves)[count].shards = item->pool.shards;
		(*moves)[count].ticket_type_id = item->ticket_type_id;
		(*moves)[count++].quantity = item->quantity;
	}
	if (cart->event_pool.pool_id != 0)
	{
		(*moves)[count].pool_id = cart->event_pool.pool_id;
		(*moves)[count].shards = cart->event_pool.shards;
		(*moves)[count].of_event = true;
		(*moves)[count++].quantity = (int32) Min(all, PG_INT32_MAX);
	}
	return merge_moves(*moves, count);
}

/* The pool ids of moves as an array. */
static Datum
pool_array(const PoolMove *moves, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(moves[i].pool_id);
	return PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * Draws from a pool that had plenty when we looked, after others were drawn
 * from. Its shards are locked for the length of a commit at most; should it
 * have run short since, that is a refusal, which undoes the other draws.
 */
static void
draw_from_plenty(int32 event_id, const PoolMove *move, TimestampTz now)
{
	for (int attempt = 0; attempt < PLENTY_ATTEMPTS; attempt++)
	{
		if (shard_draw(move))
			return;
		refuse_if_short(event_id, move, 1, now);
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000L);
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not draw from stock pool " INT64_FORMAT ": its shards were locked each time", move->pool_id),
			 errhint("Try again.")));
}

/* Draws from several pools that may run short halfway: all of them or none. */
static bool
draw_guarded(const PoolMove *moves, int count)
{
	Guard		guard;
	volatile bool enough = true;

	guarded_begin(&guard);
	PG_TRY();
	{
		for (int i = 0; i < count && enough; i++)
			enough = shard_draw(&moves[i]);
	}
	PG_CATCH();
	{
		guarded_rollback(&guard);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (enough)
		guarded_commit(&guard);
	else
		guarded_rollback(&guard);
	return enough;
}

/*
 * The fast path; all pools or none. A subtransaction is made only where
 * something can fail halfway: with one scarce pool at most, that one is drawn
 * from first, while there is nothing to undo.
 */
static bool
draw_fast(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	Snapshot	snapshot;
	int			scarce = -1;
	int			scarce_count = 0;

	if (count == 1)
		return shard_draw(&moves[0]);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < count; i++)
	{
		Supply		supply = shard_supply(&moves[i], snapshot);

		if (supply == SUPPLY_NONE)
		{
			UnregisterSnapshot(snapshot);
			return false;
		}
		if (supply == SUPPLY_SCARCE)
		{
			scarce = i;
			scarce_count++;
		}
	}
	UnregisterSnapshot(snapshot);
	if (scarce_count > 1)
		return draw_guarded(moves, count);
	if (scarce >= 0 && !shard_draw(&moves[scarce]))
		return false;
	for (int i = 0; i < count; i++)
		if (i != scarce)
			draw_from_plenty(event_id, &moves[i], now);
	return true;
}

/* Ends dead holds of the event; what they give back, as moves in pool order. */
static int
take_back(int32 event_id, TimestampTz now, int64 at_most, PoolMove **credits)
{
	Datum		values[3] = {Int32GetDatum(event_id), TimestampTzGetDatum(now), Int64GetDatum(at_most)};
	uint64		rows = run_latest(&take_back_dead, values, NULL);

	*credits = palloc0(sizeof(PoolMove) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		(*credits)[row].pool_id = DatumGetInt64(row_datum(row, 1));
		(*credits)[row].of_event = DatumGetBool(row_datum(row, 2));
		(*credits)[row].quantity = DatumGetInt32(row_datum(row, 3));
	}
	return merge_moves(*credits, (int) rows);
}

/* Locks all shards of the pools, deals each its seats less the draw; false when one has not enough. */
static bool
deal_locked(const PoolMove *changes, int count)
{
	Datum		pools = pool_array(changes, count);

	run_latest(&lock_shards, &pools, NULL);
	for (int i = 0; i < count; i++)
	{
		Datum		pool = Int64GetDatum(changes[i].pool_id);
		Datum		change[2] = {pool, (Datum) 0};
		int64		net;

		if (run_latest(&lock_pool, &pool, NULL) == 0)
			continue;			/* it became unlimited meanwhile */
		net = DatumGetInt64(row_datum(0, 1)) + changes[i].quantity;
		if (net < 0)
			return false;
		change[1] = Int32GetDatum(0);
		run_latest(&set_deficit, change, NULL);
		change[1] = Int32GetDatum((int32) net);
		run_latest(&deal_pool, change, NULL);
	}
	return true;
}

/* What dead holds give back to a pool, taken out of the list of credits. */
static int32
take_credit(PoolMove *credits, int count, int64 pool_id)
{
	int32		quantity = 0;

	for (int i = 0; i < count; i++)
		if (credits[i].pool_id == pool_id)
		{
			quantity = credits[i].quantity;
			credits[i].quantity = 0;
		}
	return quantity;
}

/* Draws from, or gives back to, a pool whose shards are not all locked. */
static bool
change_unlocked(PoolMove *change)
{
	if (change->quantity > 0)
		shard_return(change);
	change->quantity = -change->quantity;
	return change->quantity <= 0 || shard_draw(change);
}

/*
 * Steps (ii) to (iv) of the slow path; false when there was not enough. Pools
 * with plenty are left to wait-free draws: whoever holds a shard of a short
 * pool may need one of theirs, and must not wait for us while we wait for him.
 */
static bool
draw_locked(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	PoolMove   *credits;
	int			credit_count;
	PoolMove   *locked = palloc(sizeof(PoolMove) * count);
	PoolMove   *unlocked;
	int			locked_count = 0;
	int			unlocked_count = 0;
	Snapshot	snapshot;

	lock_event(event_id);
	credit_count = take_back(event_id, now, PG_INT64_MAX, &credits);
	unlocked = palloc(sizeof(PoolMove) * (count + credit_count));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < count; i++)
	{
		PoolMove	change = moves[i];

		change.quantity = take_credit(credits, credit_count, change.pool_id) - change.quantity;
		if (shard_supply(&moves[i], snapshot) == SUPPLY_PLENTY)
			unlocked[unlocked_count++] = change;
		else
			locked[locked_count++] = change;
	}
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < credit_count; i++)
		if (credits[i].quantity > 0)
			unlocked[unlocked_count++] = credits[i];

	if (locked_count > 0 && !deal_locked(locked, locked_count))
		return false;
	for (int i = 0; i < unlocked_count; i++)
		if (!change_unlocked(&unlocked[i]))
			return false;
	return true;
}

/* Lets lock waits end after so many milliseconds, unless the caller has set less. */
static int
limit_lock_waits(void)
{
	int			nest = NewGUCNestLevel();

	if (LockTimeout == 0 || LockTimeout > SLOW_PATH_LOCK_TIMEOUT_MS)
		(void) set_config_option("lock_timeout", CppAsString2(SLOW_PATH_LOCK_TIMEOUT_MS),
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

/* The slow path, whole or not at all. */
static bool
draw_slow(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	Guard		guard;
	volatile bool enough = false;

	guarded_begin(&guard);
	PG_TRY();
	{
		int			nest = limit_lock_waits();

		enough = draw_locked(event_id, moves, count, now);
		AtEOXact_GUC(true, nest);
	}
	PG_CATCH();
	{
		guarded_rollback(&guard);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (enough)
		guarded_commit(&guard);
	else
		guarded_rollback(&guard);
	return enough;
}

/* Takes seats out of every pool of the moves, or refuses with sold_out and takes none. */
void
stock_draw(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	if (count == 0 || draw_fast(event_id, moves, count, now))
		return;
	for (int round = 0; round < SLOW_PATH_ROUNDS; round++)
	{
		refuse_if_short(event_id, moves, count, now);
		if (draw_slow(event_id, moves, count, now))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not draw from the stock of event %d: others were faster each time", event_id),
			 errhint("Try again.")));
}

/* Gives seats back to their pools, in pool order. */
void
stock_return(PoolMove *moves, int count)
{
	count = merge_moves(moves, count);
	for (int i = 0; i < count; i++)
		shard_return(&moves[i]);
}

KEPT_PLAN(events_with_dead,
		  "SELECT DISTINCT event_id FROM (SELECT event_id FROM ticketing.ticket_holds "
		  "WHERE status = 'active' AND order_id IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2) d ORDER BY event_id",
		  TIMESTAMPTZOID, INT4OID);
KEPT_PLAN(count_dead,
		  "SELECT count(*) FROM (SELECT FROM ticketing.ticket_holds "
		  "WHERE event_id = $1 AND status = 'active' AND order_id IS NULL AND expires_at <= $2 LIMIT $3) d",
		  INT4OID, TIMESTAMPTZOID, INT8OID);

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

	SPI_connect();
	values[0] = TimestampTzGetDatum(now);
	values[1] = Int32GetDatum(max_rows);
	count = run_latest(&events_with_dead, values, NULL);
	events = palloc(sizeof(int32) * (count + 1));
	for (uint64 i = 0; i < count; i++)
		events[i] = DatumGetInt32(row_datum(i, 1));
	for (uint64 i = 0; i < count && released < max_rows; i++)
	{
		Datum		dead[3] = {Int32GetDatum(events[i]), values[0], Int64GetDatum(max_rows - released)};
		PoolMove   *credits;
		int			credit_count;

		/* somebody else sweeps this event: leave it to him */
		if (!try_lock_event(events[i]))
			continue;
		run_latest(&count_dead, dead, NULL);
		released += DatumGetInt64(row_datum(0, 1));
		credit_count = take_back(events[i], now, DatumGetInt64(dead[2]), &credits);
		stock_return(credits, credit_count);
	}
	SPI_finish();
	PG_RETURN_INT32(released);
}

KEPT_PLAN(derive_pools,
		  "SELECT ticketing.stock_derive(pool_id) FROM (SELECT pool_id FROM ticketing.stock_pools WHERE event_id = $1 ORDER BY pool_id) p",
		  INT4OID);
KEPT_PLAN(make_missing_pools,
		  "SELECT ticketing.stock_make_pool(event_id, tier, capacity) FROM ("
		  "  SELECT event_id, id AS tier, ticketing.capacity_of(quantity_total) AS capacity FROM public.ticket_types WHERE event_id = $1 AND quantity_total IS NOT NULL "
		  "  UNION ALL "
		  "  SELECT id, NULL, ticketing.capacity_of(max_attendees) FROM public.events WHERE id = $1 AND max_attendees IS NOT NULL) m",
		  INT4OID);

PG_FUNCTION_INFO_V1(dvnt_rebuild_stock);

/* rebuild_stock(event_id) → integer, the number of pools */
Datum
dvnt_rebuild_stock(PG_FUNCTION_ARGS)
{
	int32		event_id;
	Datum		event;
	uint64		pools;

	require_argument(fcinfo, 0, "event_id");
	event_id = PG_GETARG_INT32(0);
	event = Int32GetDatum(event_id);
	SPI_connect();
	lock_event(event_id);
	run_latest(&make_missing_pools, &event, NULL);
	pools = run_latest(&derive_pools, &event, NULL);
	SPI_finish();
	PG_RETURN_INT32((int32) pools);
}
