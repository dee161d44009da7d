/*
 * locks.c
 *		The advisory locks of the engine and their tags.
 *
 * Order, everywhere: the row of a Stripe request or event, user, order, shape,
 * event, hold rows, shards and their pool, rows of public. Each command begins
 * anew. Under dvnt_ticketing.lock_witness a descent is an error, so that tests
 * find what would be a rare deadlock in production. The classes that plpgsql or the relay takes too are pairs of int4
 * (pg_advisory_lock(int4, int4)); the others have a tag of their own, which no
 * SQL function can take.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"

#include "dvnt_ticketing.h"

/* Classes of pg_advisory_lock(class, key). */
#define LOCK_CLASS_EVENT 1685454849 /* key: event; the slow path of stock */
#define LOCK_CLASS_DOORBELL 1685454850	/* key: 0; shared while a relay sleeps */
#define LOCK_CLASS_SHAPE 1685454851 /* key: event; shared by whoever moves seats, exclusive while a pool is made or removed */
#define LOCK_CLASS_RECONCILE 1685454852	/* key: its part; only tried */

/* Fourth fields of a tag: 1 and 2 are SQL's. */
#define TAG_SQL_PAIR 2
#define TAG_USER 3
#define TAG_WAITER 4

/* Of the command that runs. */
static LockRank highest_rank = RANK_NONE;

static const char *const rank_names[] = {
	"nothing", "a Stripe request", "the user", "an order", "the event's shape", "the event", "a hold", "a shard", "a row of public"
};

/* A command, or a step of its own in one, begins with no lock that counts (or goes back to one); the rank before. */
LockRank
begin_locking(LockRank rank)
{
	LockRank	before = highest_rank;

	highest_rank = rank;
	return before;
}

/* Says that a lock is about to be taken that may have to be waited for. */
void
declare_lock(LockRank rank)
{
	if (lock_witness_enabled && rank < highest_rank)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("lock order: %s is locked after %s", rank_names[rank], rank_names[highest_rank])));
	highest_rank = Max(highest_rank, rank);
}

/* A lock that the engine's plpgsql or the relay can take as well. */
static void
pair_tag(LOCKTAG *tag, uint32 class, uint32 key)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, class, key, TAG_SQL_PAIR);
}

static uint32
user_key(const char *user_id)
{
	return DatumGetUInt32(hash_any((const unsigned char *) user_id, strlen(user_id)));
}

static void
lock_user_key(int32 event_id, uint32 key)
{
	LOCKTAG		tag;

	declare_lock(RANK_USER);
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) event_id, key, TAG_USER);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Serialises what one user does at one event: limits, request ids, orders. */
void
lock_user(const char *user_id, int32 event_id)
{
	lock_user_key(event_id, user_key(user_id));
}

/* The same for two, in the order of their keys, so that no two calls wait for one another. */
void
lock_two_users(const char *one, const char *other, int32 event_id)
{
	uint32		first = user_key(one);
	uint32		second = user_key(other);

	lock_user_key(event_id, Min(first, second));
	lock_user_key(event_id, Max(first, second));
}

/* The sweep lock of an event: who moves dead holds and rebalances shards. */
void
lock_event(int32 event_id)
{
	LOCKTAG		tag;

	declare_lock(RANK_EVENT);
	pair_tag(&tag, LOCK_CLASS_EVENT, (uint32) event_id);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

bool
try_lock_event(int32 event_id)
{
	LOCKTAG		tag;

	pair_tag(&tag, LOCK_CLASS_EVENT, (uint32) event_id);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* Held by whoever moves seats of an event, so that none of its pools is made or removed until he has committed. */
void
lock_shape_shared(int32 event_id)
{
	LOCKTAG		tag;

	declare_lock(RANK_SHAPE);
	pair_tag(&tag, LOCK_CLASS_SHAPE, (uint32) event_id);
	(void) LockAcquire(&tag, ShareLock, false, false);
}

bool
try_lock_shape_shared(int32 event_id)
{
	LOCKTAG		tag;

	pair_tag(&tag, LOCK_CLASS_SHAPE, (uint32) event_id);
	return LockAcquire(&tag, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* Held while pools are made: everybody who moves seats has committed. */
void
lock_shape(int32 event_id)
{
	LOCKTAG		tag;

	declare_lock(RANK_SHAPE);
	pair_tag(&tag, LOCK_CLASS_SHAPE, (uint32) event_id);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * One session at a time reconciles; part: RECONCILE_ASKS or RECONCILE_COMPARES.
 * Until the transaction ends, or, for the session, until it is unlocked. False:
 * another does.
 */
bool
try_lock_reconciliation(int part, bool for_session)
{
	LOCKTAG		tag;

	pair_tag(&tag, LOCK_CLASS_RECONCILE, (uint32) part);
	return LockAcquire(&tag, ExclusiveLock, for_session, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
unlock_reconciliation(int part)
{
	LOCKTAG		tag;

	pair_tag(&tag, LOCK_CLASS_RECONCILE, (uint32) part);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

/*
 * Takes the enqueuer's side of the doorbell. True: no relay sleeps, and none
 * can until this transaction has ended, because a relay goes to sleep under
 * ShareLock, which conflicts. Never remembered: a rollback to a savepoint drops
 * the lock.
 */
bool
no_relay_sleeps(void)
{
	LOCKTAG		tag;

	pair_tag(&tag, LOCK_CLASS_DOORBELL, 0);
	return LockAcquire(&tag, RowExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* One of the places in which a backend may wait for Stripe; -1 when all are taken. */
int
take_waiter_slot(void)
{
	for (int i = 0; i < await_stripe_slots; i++)
	{
		int			slot = (MyProcPid + i) % await_stripe_slots;
		LOCKTAG		tag;

		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, (uint32) slot, TAG_WAITER);
		if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_OK)
			return slot;
	}
	return -1;
}

void
give_back_waiter_slot(int slot)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, (uint32) slot, TAG_WAITER);
	(void) LockRelease(&tag, ExclusiveLock, false);
}
