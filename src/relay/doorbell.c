/*
 * doorbell.c
 *	  When to look for rows, and how to sleep without missing one.
 *
 * A NOTIFY takes a lock of the whole cluster through its commit, so enqueuers
 * send one only when a relay sleeps.  They learn it from one advisory tag:
 * sleeping relays hold ShareLock on it (for the session), an enqueuer tries
 * RowExclusiveLock (for its transaction) after it has written its row.  Each
 * side is compatible with itself; the two conflict; nobody ever waits.
 *
 *	  AWAKE	 look every 10 ms.  After 50 ms in which nothing happened, a look
 *			 is [try the lock; claim], in this order, in one round trip.  Got
 *			 the lock and nothing claimed: ASLEEP.  Not got it: awake still,
 *			 and the looks get rarer, up to every 50 ms.
 *	  ASLEEP holds the lock, blocked in poll, with room for more calls (others
 *			 may be in flight).  Looks once a second, as a safety net.  Wakes,
 *			 which is to unlock once and look, on a notification, on a claimed
 *			 row, and whenever an answer is stored.
 *
 * Why no row is missed.  Take an enqueuer E whose transaction commits, and the
 * moment at which it tried its lock.
 *
 * (1) E got it.  Then no relay held ShareLock: none was asleep, and none can
 *	   fall asleep before E's locks go, which is after its commit has become
 *	   visible.  A relay that gets its ShareLock later claims after that, with
 *	   a later snapshot, and sees the row.  No ring is needed.
 *
 * (2) E did not get it.  Then some relay held ShareLock, asleep or about to
 *	   be, and E sends a NOTIFY.  Its commit makes the row visible before the
 *	   notification reaches anybody.  A relay whose last claim's snapshot was
 *	   older gets the notification after that claim's result or together with
 *	   it: `rung` is cleared when a claim is sent and not when its result is
 *	   read, so the notification is seen, and the relay does not fall asleep or
 *	   wakes.  LISTEN is committed before the first claim on a connection.
 *
 * (3) E is relay_complete, called by this relay.  A session does not conflict
 *	   with its own locks, so E may find the tag free although this very relay
 *	   sleeps.  Therefore storing an answer is waking: outbox.c rings after it
 *	   has sent the statement, and the look follows it on the connection.
 *
 * A row that becomes due by time alone rings nothing: each look tells when the
 * next one that waits for a token or for its time can be sent.  The look of
 * every second is for those of whom it could not know.
 */
#include "relay.h"

#define LINGER			50		/* ms awake after something happened */
#define LOOK_INTERVAL	10		/* ms between looks while awake */
#define CLAIM_INTERVAL	4		/* ms between claims while most slots are taken */
#define LOOK_INTERVAL_MOST	50	/* the same when the lock cannot be had */

static bool asleep;
static bool holding;			/* the lock is ours */
static bool rung;				/* look again, whatever the time */
static bool looking;			/* a claim is under way */
static bool trying;				/* the look under way has tried the lock */
static bool found_nothing;		/* the last claim found no row */
static msec_t look_at;
static msec_t looked_at;
static msec_t linger_until;
static msec_t interval = LOOK_INTERVAL;
static bool appointed;			/* the next look is at a time that the last one was told */

/* Told whether the lock is ours; the claim's result follows. */
static void
lock_done(PGresult *result, Call *call)
{
	(void) call;
	holding = result && PQresultStatus(result) == PGRES_TUPLES_OK &&
		*PQgetvalue(result, 0, 0) == 't';
}

/* Unlocking cannot fail; if it does, the lock goes with the connection. */
static void
unlock_done(PGresult *result, Call *call)
{
	(void) call;
	if (result && PQresultStatus(result) != PGRES_TUPLES_OK)
		database_fail("unlock", PQresultErrorMessage(result));
}

/* Be awake, for a while at least. */
static void
wake(msec_t now, const char *reason)
{
	if (holding)
	{
		database_send(STATEMENT_UNLOCK, NULL, unlock_done, NULL);
		holding = false;
	}
	if (asleep)
		log_event(LOG_LEVEL_DEBUG, "awake", "reason", reason);
	asleep = false;
	interval = LOOK_INTERVAL;
	linger_until = now + LINGER;
}

/* Look for rows; on the way to sleep, try the lock first. */
static void
look(int room, bool try_lock)
{
	trying = try_lock;
	if (try_lock)
		database_send(STATEMENT_LOCK, NULL, lock_done, NULL);
	looking = true;
	looked_at = clock_now();
	/* a look for the sake of safety alone that finds nothing need not ask when to look again */
	outbox_claim(room, asleep && !rung && !appointed);
	rung = false;
}

/* When a claim may be made: a busy relay lets some slots become free, for its claims are not for a row or two. */
static msec_t
claim_due(int room)
{
	return room < config.concurrency / 2 ? looked_at + CLAIM_INTERVAL : 0;
}

/* Look if it is time to. */
void
doorbell_work(msec_t now)
{
	int			room = calls_room();

	if (!arming_done() || looking)
		return;
	if (relay_draining())
	{
		if (holding)
			wake(now, "drain");
		return;
	}
	if (room == 0 || outbox_in_doubt())
		return;					/* without room we are awake: the last claim woke us */
	if (now < claim_due(room))
		return;
	if (rung)
	{
		wake(now, "rung");
		look(room, false);
	}
	else if (now >= look_at)
		look(room, !asleep && now >= linger_until && !config.once);
}

/* There may be rows: a notification came, or an answer was sent to be stored. */
void
doorbell_ring(void)
{
	rung = true;
}

/*
 * What a look has found; outbox.c says so once the rows have become calls.
 * Rows that wait for a token or for their time say for how long (ms).
 */
void
doorbell_claimed(int rows, int wanted, msec_t for_tokens, msec_t for_time)
{
	msec_t		pause = for_tokens < for_time ? for_tokens : for_time;
	msec_t		now = clock_now();

	looking = false;
	found_nothing = rows == 0 && for_tokens == NEVER;
	if (rows > 0)
	{
		wake(now, "claimed");
		look_at = rows == wanted ? now : now + LOOK_INTERVAL;
	}
	else if (asleep || (trying && holding))
	{
		if (!asleep)
			log_event(LOG_LEVEL_DEBUG, "asleep", NULL, NULL);
		asleep = true;
		look_at = now + (msec_t) config.poll * 1000;
	}
	else
	{
		look_at = now + interval;
		if (trying && interval < LOOK_INTERVAL_MOST)
			interval += LOOK_INTERVAL;
	}
	appointed = pause != NEVER && now + pause < look_at;
	if (appointed)
		look_at = now + pause;
}

/* The connection is gone, and the lock with it. */
void
doorbell_reset(void)
{
	asleep = false;
	holding = false;
	rung = false;
	looking = false;
	found_nothing = false;
	appointed = false;
	look_at = 0;
	linger_until = 0;
	interval = LOOK_INTERVAL;
}

/* Whether a claim is under way. */
bool
doorbell_looking(void)
{
	return looking;
}

/* Whether the last look found nothing, and nothing has happened since. */
bool
doorbell_found_nothing(void)
{
	return found_nothing && !looking && !rung;
}

/* When to be called at the latest. */
msec_t
doorbell_due(void)
{
	if (!arming_done() || looking)
		return NEVER;
	if (relay_draining())
		return holding ? 0 : NEVER;
	if (calls_room() == 0 || outbox_in_doubt())
		return NEVER;
	if (claim_due(calls_room()) > look_at || rung)
		return claim_due(calls_room());
	return look_at;
}
