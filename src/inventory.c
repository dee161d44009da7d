/*
 * inventory.c
 *		Stock: seats are drawn from and given back to the shards of pools.
 *
 * Reads and writes ticketing.stock_pools and stock_shards; dead holds are
 * reclaim.c's. Locks, in this order: the event's sweep lock (slow path alone),
 * dead holds by id, shards by (pool, shard), pools by id. The caller holds the
 * event's shape lock; rebuild_stock takes it itself.
 *
 * Fast path: from each pool one shard is drawn, the backend's home shard first,
 * without a statement and without ever waiting. Slow path: when no single shard
 * has enough, dead holds of the event are taken back, all shards of the pools
 * are locked and dealt anew. Only the slow path waits, and 2 s at most.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"

#define SLOW_PATH_LOCK_TIMEOUT_MS 2000
#define SLOW_PATH_ROUNDS 10		/* then the caller is told to try again */
#define PLENTY_ATTEMPTS 50		/* a millisecond apart */
#define RECLAIM_ROWS 1000		/* dead holds that one buyer takes back at once */

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

/* The seats drawn have become holds, or are about to become tickets. */
void
moves_settled(const PoolMove *moves, int count)
{
	for (int i = 0; i < count; i++)
		tally_pool(moves[i].pool_id, moves[i].quantity);
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

/* How the pools of a cart stand for the fast path. */
typedef struct Outlook
{
	bool		some_none;		/* a pool has no shard with enough */
	int			scarce_count;
	int			scarce;			/* the last of these, or -1 */
} Outlook;

/* Looks at the pools; only those whose home shard is not rich are looked at as a whole. */
static Outlook
look_at_pools(const PoolMove *moves, int count)
{
	Outlook		outlook = {.scarce = -1};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	for (int i = 0; i < count; i++)
	{
		Supply		supply = shard_is_rich(&moves[i], snapshot) ? SUPPLY_PLENTY : shard_supply(&moves[i], snapshot);

		outlook.some_none |= supply == SUPPLY_NONE;
		if (supply == SUPPLY_SCARCE)
		{
			outlook.scarce = i;
			outlook.scarce_count++;
		}
	}
	UnregisterSnapshot(snapshot);
	return outlook;
}

/*
 * The fast path; all pools or none. A subtransaction is made only where
 * something can fail halfway: with one scarce pool at most, that one is drawn
 * from first, while there is nothing to undo.
 */
static bool
draw_fast(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	Outlook		outlook;

	if (count == 1)
		return shard_draw(&moves[0]);
	outlook = look_at_pools(moves, count);
	if (outlook.some_none)
		return false;
	if (outlook.scarce_count > 1)
		return draw_guarded(moves, count);
	if (outlook.scarce_count == 1 && !shard_draw(&moves[outlook.scarce]))
		return false;
	for (int i = 0; i < count; i++)
		if (i != outlook.scarce)
			draw_from_plenty(event_id, &moves[i], now);
	return true;
}

/* A pool of the slow path: what dead holds give it back, and what is drawn. */
typedef struct PoolChange
{
	PoolMove	move;
	int32		credit;
	bool		locked;			/* all its shards */
	int64		free_seats;		/* of a locked one, credit included */
} PoolChange;

/* What the slow path came to. */
typedef enum SlowOutcome
{
	SLOW_DRAWN,
	SLOW_RECLAIMED,				/* not enough, but dead holds were taken back: go on */
	SLOW_SHORT					/* not enough */
} SlowOutcome;

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

/*
 * Which pools have to be locked. Those with plenty are left to wait-free draws:
 * whoever holds a shard of a short pool may need one of theirs, and must not
 * wait for us while we wait for him. Returns how many are locked.
 */
static int
plan_changes(const PoolMove *moves, int count, PoolMove *credits, int credit_count, PoolChange *changes)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			locked = 0;

	for (int i = 0; i < count; i++)
	{
		changes[i] = (PoolChange) {.move = moves[i]};
		changes[i].credit = take_credit(credits, credit_count, moves[i].pool_id);
		changes[i].locked = shard_supply(&moves[i], snapshot) != SUPPLY_PLENTY;
		locked += changes[i].locked;
	}
	UnregisterSnapshot(snapshot);
	return locked;
}

/* Locks the pools that are to be locked, and counts; false when one has not enough. */
static bool
lock_and_count(PoolChange *changes, int count)
{
	PoolMove   *locked = palloc(sizeof(PoolMove) * count);
	int			locked_count = 0;
	bool		enough = true;

	for (int i = 0; i < count; i++)
		if (changes[i].locked)
			locked[locked_count++] = changes[i].move;
	lock_pools(locked, locked_count);
	for (int i = 0; i < count; i++)
		if (changes[i].locked)
		{
			changes[i].free_seats = locked_seats(&changes[i].move) + changes[i].credit;
			enough &= changes[i].free_seats >= changes[i].move.quantity;
		}
	return enough;
}

/* Sets the seats of a locked pool, some of which are drawn. */
static void
deal_locked(const PoolChange *change, int32 drawn)
{
	tally_pool(change->move.pool_id, (int64) change->credit - drawn);
	set_locked_seats(&change->move, change->free_seats - drawn);
}

/* Gives a pool whose shards are not all locked its credit. */
static void
return_credit(PoolMove move, int32 credit)
{
	if (credit == 0)
		return;
	move.quantity = credit;
	shard_return(&move);
}

/* Steps (ii) to (iv) of the slow path. Dead holds are taken back even when that is not enough yet. */
static SlowOutcome
draw_locked(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	PoolChange *changes = palloc0(sizeof(PoolChange) * count);
	PoolMove   *credits;
	int			credit_count;
	bool		reclaimed;
	bool		enough = true;

	lock_event(event_id);
	reclaimed = reclaim_dead_holds(event_id, now, RECLAIM_ROWS, &credits, &credit_count) > 0;
	if (plan_changes(moves, count, credits, credit_count, changes) > 0)
		enough = lock_and_count(changes, count);
	if (!enough && !reclaimed)
		return SLOW_SHORT;
	for (int i = 0; i < count; i++)
		if (changes[i].locked)
			deal_locked(&changes[i], enough ? moves[i].quantity : 0);
		else
			return_credit(moves[i], changes[i].credit);
	for (int i = 0; i < credit_count; i++)
		return_credit(credits[i], credits[i].quantity);
	if (!enough)
		return SLOW_RECLAIMED;
	for (int i = 0; i < count; i++)
		if (!changes[i].locked && !shard_draw(&moves[i]))
			return SLOW_SHORT;
	return SLOW_DRAWN;
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

/* One round of the slow path; undone if it came to nothing. */
static SlowOutcome
draw_slow(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	Guard		guard;
	volatile SlowOutcome outcome = SLOW_SHORT;

	guarded_begin(&guard);
	PG_TRY();
	{
		int			nest = limit_lock_waits();

		outcome = draw_locked(event_id, moves, count, now);
		AtEOXact_GUC(true, nest);
	}
	PG_CATCH();
	{
		guarded_rollback(&guard);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (outcome == SLOW_SHORT)
		guarded_rollback(&guard);
	else
		guarded_commit(&guard);
	return outcome;
}

/* The slow path: rounds of it until the seats are drawn or known not to be there. */
static void
draw_repeatedly(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	int			fruitless = 0;

	while (fruitless < SLOW_PATH_ROUNDS)
	{
		SlowOutcome outcome;

		/* what a round before has locked is locked still */
		(void) begin_locking(RANK_SHAPE);
		outcome = draw_slow(event_id, moves, count, now);
		if (outcome == SLOW_DRAWN)
		{
			count_event(DRAWN_SLOW);
			return;
		}
		count_event(DRAWN_AGAIN);
		fruitless += outcome == SLOW_SHORT;
		CHECK_FOR_INTERRUPTS();
		refuse_if_short(event_id, moves, count, now);
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not draw from the stock of event %d: others were faster each time", event_id),
			 errhint("Try again.")));
}

/* Takes seats out of every pool of the moves, or refuses with sold_out and takes none. */
void
stock_draw(int32 event_id, const PoolMove *moves, int count, TimestampTz now)
{
	int			nest;

	if (count == 0 || draw_fast(event_id, moves, count, now))
		return;
	refuse_if_short(event_id, moves, count, now);
	nest = fix_search_path();
	draw_repeatedly(event_id, moves, count, now);
	unfix_search_path(nest);
}

/* Gives seats back to their pools, in pool order. */
void
stock_return(PoolMove *moves, int count)
{
	count = merge_moves(moves, count);
	for (int i = 0; i < count; i++)
		shard_return(&moves[i]);
}

KEPT_PLAN(count_shape,
		  "UPDATE ticketing.event_settings SET shape = shape + 1 WHERE event_id = $1", INT4OID);
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
	PreventCommandIfReadOnly("rebuild_stock()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("stock cannot be rebuilt at isolation level %s", GetConfigOption("transaction_isolation", false, false)),
				 errhint("Call rebuild_stock in a READ COMMITTED transaction.")));
	begin_command();
	lock_shape(event_id);
	run_latest(&count_shape, &event, NULL);
	lock_event(event_id);
	run_latest(&make_missing_pools, &event, NULL);
	pools = run_latest(&derive_pools, &event, NULL);
	SPI_finish();
	PG_RETURN_INT32((int32) pools);
}
