/*
 * stripe_buckets.c
 *		How many calls may be made now, and when the next tokens come back: token
 *		buckets, shared by all relays of the database.
 *
 * What must hold: Stripe never counts more calls in any one second than the
 * limit, however late a call reaches it. So a call holds its token from its
 * claim until a second after its answer. Stripe counted it in between; all
 * calls that Stripe counts within one second therefore hold their tokens at
 * that second's end together, and there are no more tokens than the limit. Of
 * that second as much is let off as a call cannot do without after it was
 * counted: half of what the quickest call of late took. A call whose answer
 * does not come gives its token back CALL_LONGEST after it was claimed.
 *
 * Reads and writes stripe_buckets. Locks: the row of
 * the bucket of all calls, which is never waited for; whoever holds it may
 * write the tokens of all. Pauses are written without it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define SLOTS ((int) lengthof(((StripeBucket *) 0)->held))
#define SLOT_USECS 20000
#define WINDOW 1.0				/* seconds: what the limits are counted by */
#define CALL_LONGEST 1.0		/* seconds from its claim after which a call is taken to have been counted */
#define RESERVED_SHARE 16		/* of all tokens one in so many is for refunds and cancels */
#define NEW_COUNTS 0.003			/* of a moving average: a queue is much longer than the rush that begins it and slows all */
#define QUICKEST_FIRST 0.001	/* seconds; grows with each call that takes longer */
#define QUICKEST_GROWS 1.01
#define ENDPOINT_SIZE 128
#define ANSWERED_SIZE 1024
#define PAUSE_LONGEST 60.0

KEPT_PLAN(try_lock_all,
		  "SELECT FROM ticketing.stripe_buckets WHERE endpoint = $1 FOR UPDATE SKIP LOCKED", TEXTOID);
KEPT_PLAN(find_bucket,
		  "SELECT FROM ticketing.stripe_buckets WHERE endpoint = $1", TEXTOID);
KEPT_PLAN(make_bucket,
		  "INSERT INTO ticketing.stripe_buckets (endpoint) VALUES ($1) ON CONFLICT DO NOTHING", TEXTOID);
#define BUCKET "endpoint, held, slot, hold, calls, quickest, paused_until"
/* That of all calls comes first. */
KEPT_PLAN(read_all,
		  "SELECT " BUCKET " FROM ticketing.stripe_buckets ORDER BY endpoint COLLATE \"C\"");
KEPT_PLAN(read_some,
		  "SELECT " BUCKET " FROM ticketing.stripe_buckets WHERE endpoint = '' OR endpoint = ANY ($1) ORDER BY endpoint COLLATE \"C\"",
		  TEXTARRAYOID);
KEPT_PLAN(write_bucket,
		  "INSERT INTO ticketing.stripe_buckets (endpoint, held, slot, hold, calls, quickest) VALUES ($1, $2, $3, $4, $5, $6) "
		  "ON CONFLICT (endpoint) DO UPDATE SET held = $2, slot = $3, hold = $4, calls = $5, quickest = $6",
		  TEXTOID, INT4ARRAYOID, INT8OID, FLOAT8OID, INT8OID, FLOAT8OID);
KEPT_PLAN(pause_bucket,
		  "INSERT INTO ticketing.stripe_buckets AS b (endpoint, paused_until, pauses) VALUES ($1, $3 + make_interval(secs => greatest($2, 1)), 1) "
		  "ON CONFLICT (endpoint) DO UPDATE SET "
		  "  pauses = CASE WHEN b.paused_until > $3 THEN b.pauses WHEN b.paused_until > $3 - interval '1 minute' THEN least(b.pauses + 1, 7) ELSE 1 END, "
		  "  paused_until = greatest(b.paused_until, $3 + make_interval(secs => greatest($2, least($4, CASE "
		  "    WHEN b.paused_until > $3 THEN 1 WHEN b.paused_until > $3 - interval '1 minute' THEN 2 ^ b.pauses ELSE 1 END))))",
		  TEXTOID, FLOAT8OID, TIMESTAMPTZOID, FLOAT8OID);
/* An answer that this session brought, whose token its next claim gives back. */
typedef struct Answered
{
	char		endpoint[ENDPOINT_SIZE];
	TimestampTz leased_at;
	TimestampTz answered_at;
	double		seconds;		/* that the call took; 0: it had no answer */
} Answered;

/* When too many are here, or the session ends, tokens come back by time alone. */
static Answered answered[ANSWERED_SIZE];
static int	answered_count;

/* The slot at whose beginning a time has passed. */
static int64
slot_after(TimestampTz at)
{
	return (at + SLOT_USECS - 1) / SLOT_USECS;
}

/* The slot that a time is in. */
static int64
slot_at(TimestampTz at)
{
	return at / SLOT_USECS;
}

/* Forgets the tokens that have come back by now. */
static void
advance(StripeBucket *bucket, TimestampTz now)
{
	int64		slot = slot_at(now);

	if (slot >= bucket->slot + SLOTS || slot < bucket->slot - SLOTS)
		memset(bucket->held, 0, sizeof(bucket->held));	/* long ago, or the clock was set back */
	else
		for (int64 s = bucket->slot + 1; s <= slot; s++)
			bucket->held[s % SLOTS] = 0;
	if (slot > bucket->slot || slot < bucket->slot - SLOTS)
		bucket->slot = slot;
}

/* A limit in calls a second; 0: none. */
static int
limit_of(const StripeBucket *bucket, int16 lane)
{
	int			reserved;

	if (bucket->endpoint[0] != '\0')
		return stripe_endpoint_rate;
	reserved = stripe_rate < 2 ? 0 : Max(1, stripe_rate / RESERVED_SHARE);
	return lane == STRIPE_LANE_URGENT ? stripe_rate : stripe_rate - reserved;
}

static int
tokens_held(const StripeBucket *bucket)
{
	int			held = 0;

	for (int i = 0; i < SLOTS; i++)
		held += bucket->held[i];
	return held;
}

static int
left_in(const StripeBucket *bucket, int16 lane)
{
	int			limit = limit_of(bucket, lane);

	return limit == 0 ? PG_INT32_MAX : Max(0, limit - tokens_held(bucket));
}

/* How many calls of a lane may be made now at an endpoint. */
int
tokens_left(const StripeBuckets *all, const StripeBucket *bucket, int16 lane)
{
	if (bucket->paused_until > all->now)
		return 0;
	return Min(left_in(&all->buckets[0], lane), left_in(bucket, lane));
}

/* When a token may come back that is needed, or the pause ends. */
TimestampTz
next_token(const StripeBuckets *all, const StripeBucket *bucket, int16 lane)
{
	const StripeBucket *both[] = {&all->buckets[0], bucket};
	TimestampTz next = bucket->paused_until;

	for (int b = 0; b < 2; b++)
		if (left_in(both[b], lane) == 0)
			for (int64 slot = both[b]->slot + 1; slot < both[b]->slot + SLOTS; slot++)
				if (both[b]->held[slot % SLOTS] > 0)
				{
					next = Max(next, slot * SLOT_USECS);
					break;
				}
	return next;
}

/* The bucket of an endpoint; a new one is written when it has changed. */
StripeBucket *
bucket_of(StripeBuckets *all, const char *endpoint)
{
	StripeBucket *bucket;

	for (int i = 0; i < all->count; i++)
		if (strcmp(all->buckets[i].endpoint, endpoint) == 0)
			return &all->buckets[i];
	if (all->count == all->room)
		elog(ERROR, "there are more than %d endpoints", all->room);
	bucket = &all->buckets[all->count++];
	bucket->endpoint = pstrdup(endpoint);
	bucket->slot = slot_at(all->now);
	bucket->hold = WINDOW * 1.1;
	bucket->paused_until = DT_NOBEGIN;
	return bucket;
}

static void
read_bucket(StripeBucket *bucket, uint64 row, TimestampTz now)
{
	ArrayType  *held = DatumGetArrayTypeP(row_datum(row, 2));

	if (ARR_NDIM(held) != 1 || ARR_DIMS(held)[0] != SLOTS || ARR_HASNULL(held))
		elog(ERROR, "the bucket of endpoint \"%s\" is malformed", row_text(row, 1));
	bucket->endpoint = row_text(row, 1);
	memcpy(bucket->held, ARR_DATA_PTR(held), sizeof(bucket->held));
	bucket->slot = DatumGetInt64(row_datum(row, 3));
	bucket->hold = DatumGetFloat8(row_datum(row, 4));
	bucket->calls = DatumGetInt64(row_datum(row, 5));
	bucket->quickest = DatumGetFloat8(row_datum(row, 6));
	bucket->paused_until = row_is_null(row, 7) ? DT_NOBEGIN : DatumGetTimestampTz(row_datum(row, 7));
	advance(bucket, now);
}

/* The rows of the last statement; the bucket of all calls is the first. */
static void
read_buckets(StripeBuckets *all, uint64 rows, TimestampTz now)
{
	all->now = now;
	all->room = (int) rows + 128;
	all->buckets = palloc0(sizeof(StripeBucket) * all->room);
	all->count = 0;
	for (uint64 row = 0; row < rows; row++)
		read_bucket(&all->buckets[all->count++], row, now);
	(void) bucket_of(all, "");	/* the first by its name, or the only one */
}

/* Reads the buckets of these endpoints and that of all calls, as they stand; to look at, not to take from. */
void
peek_buckets(StripeBuckets *all, Datum *endpoints, int count, TimestampTz now)
{
	Datum		names = text_array(endpoints, count);

	read_buckets(all, run_latest(&read_some, &names, NULL), now);
}

/*
 * For how long calls will hold their tokens: between what they did of late,
 * which a rush that slows everything makes long, and what the quickest did, as
 * most will when the rush is over.
 */
static double
expected_hold(const StripeBucket *bucket)
{
	return bucket->quickest > 0 ? (bucket->hold + WINDOW + bucket->quickest / 2) / 2 : bucket->hold;
}

/* Seconds until a token comes back; that of a call without an answer yet is expected when it has held it as others do. */
static double
comes_back_in(const StripeBucket *bucket, int64 slot, TimestampTz now)
{
	double		seconds = (double) (slot * SLOT_USECS - now) / USECS_PER_SEC;

	if (seconds > WINDOW + (double) SLOT_USECS / USECS_PER_SEC)
		seconds += expected_hold(bucket) - (CALL_LONGEST + WINDOW);
	return Max(seconds, 0);
}

/*
 * In how many seconds a bucket lets a call of a lane through that so many come
 * before: the tokens that are free now, then those that are held, in the order
 * in which they come back, and all again after they have been held once more.
 */
double
token_in(const StripeBuckets *all, const StripeBucket *bucket, int16 lane, double ahead)
{
	int			limit = limit_of(bucket, lane);
	int			free = left_in(bucket, lane);
	double		rounds;
	int			place;
	double		wait = 0;

	if (limit <= 0)
		return 0;
	rounds = floor(ahead / limit);
	place = (int) (ahead - rounds * limit) - free;
	for (int64 slot = bucket->slot + 1; place >= 0 && slot < bucket->slot + SLOTS; slot++)
	{
		int			tokens = bucket->held[slot % SLOTS];

		if (tokens > 0)
			wait = Max(wait, comes_back_in(bucket, slot, all->now));
		place -= tokens;
	}
	return rounds * expected_hold(bucket) + wait;
}

/* Seconds until the pause of an endpoint ends. */
double
seconds_of_pause(const StripeBucket *bucket, TimestampTz now)
{
	return bucket->paused_until <= now ? 0 : (double) (bucket->paused_until - now) / USECS_PER_SEC;
}

/* Seconds that a call to an endpoint takes, of late. */
double
call_seconds(const StripeBucket *bucket)
{
	return Max(0, bucket->hold - WINDOW + bucket->quickest / 2);
}

static void
hold_token(StripeBucket *bucket, TimestampTz until, int tokens)
{
	int64		slot = slot_after(until);

	if (slot <= bucket->slot || slot >= bucket->slot + SLOTS)
		return;
	bucket->held[slot % SLOTS] = Max(0, bucket->held[slot % SLOTS] + tokens);
	bucket->changed = true;
}

/* A call that was answered holds its token for a second from then. */
static void
release_token(StripeBucket *bucket, const Answered *call)
{
	TimestampTz longest = add_seconds(call->leased_at, CALL_LONGEST + WINDOW);
	double		after_count = Min(bucket->quickest, call->seconds) / 2;
	TimestampTz until = add_seconds(call->answered_at, WINDOW - after_count);
	double		counts;

	until = Min(until, longest);
	hold_token(bucket, longest, -1);
	hold_token(bucket, until, 1);
	/* the first calls count as many: what a bucket begins with is a guess */
	counts = Max(NEW_COUNTS, 1.0 / (bucket->calls + 2));
	bucket->hold += counts * ((double) (until - call->leased_at) / USECS_PER_SEC - bucket->hold);
	bucket->calls++;
	if (call->seconds > 0)
		bucket->quickest = Min(call->seconds, Max(bucket->quickest, QUICKEST_FIRST) * QUICKEST_GROWS);
	bucket->changed = true;
}

/*
 * Reads the buckets and, where there are limits, makes them the caller's to
 * take from. False: another relay is at it.
 */
bool
open_buckets(StripeBuckets *all, TimestampTz now)
{
	Datum		name = CStringGetTextDatum("");

	if (stripe_rate > 0 || stripe_endpoint_rate > 0)
	{
		if (run_latest(&try_lock_all, &name, NULL) == 0)
		{
			if (run_latest(&find_bucket, &name, NULL) > 0)
				return false;
			run_latest(&make_bucket, &name, NULL);
			if (run_latest(&try_lock_all, &name, NULL) == 0)
				return false;
		}
	}
	read_buckets(all, run_latest(&read_all, NULL, NULL), now);
	for (int i = 0; i < answered_count; i++)
	{
		if (answered[i].endpoint[0] != '\0')
			release_token(bucket_of(all, answered[i].endpoint), &answered[i]);
		release_token(&all->buckets[0], &answered[i]);
	}
	answered_count = 0;
	return true;
}

/* Takes a token of an endpoint's and of all. */
void
take_token(StripeBuckets *all, StripeBucket *bucket)
{
	TimestampTz longest = add_seconds(all->now, CALL_LONGEST + WINDOW);

	hold_token(&all->buckets[0], longest, 1);
	if (bucket != &all->buckets[0])
		hold_token(bucket, longest, 1);
}

/* Writes what was taken, if there are limits. */
void
close_buckets(StripeBuckets *all)
{
	if (stripe_rate == 0 && stripe_endpoint_rate == 0)
		return;
	for (int i = 0; i < all->count; i++)
	{
		StripeBucket *bucket = &all->buckets[i];
		Datum		held[lengthof(bucket->held)];
		Datum		values[6];

		if (!bucket->changed)
			continue;
		for (int slot = 0; slot < SLOTS; slot++)
			held[slot] = Int32GetDatum(bucket->held[slot]);
		values[0] = CStringGetTextDatum(bucket->endpoint);
		values[1] = PointerGetDatum(construct_array(held, SLOTS, INT4OID, sizeof(int32), true, TYPALIGN_INT));
		values[2] = Int64GetDatum(bucket->slot);
		values[3] = Float8GetDatum(bucket->hold);
		values[4] = Int64GetDatum(bucket->calls);
		values[5] = Float8GetDatum(bucket->quickest);
		run_latest(&write_bucket, values, NULL);
	}
}

/* A call has its answer, or will have none: its token comes back with this session's next claim. */
void
token_answered(const char *endpoint, TimestampTz leased_at, TimestampTz answered_at, double seconds)
{
	Answered   *call = &answered[answered_count];

	if (answered_count == ANSWERED_SIZE || (stripe_rate == 0 && stripe_endpoint_rate == 0))
		return;
	strlcpy(call->endpoint, endpoint, sizeof(call->endpoint));
	call->leased_at = leased_at;
	call->answered_at = answered_at;
	call->seconds = seconds;
	answered_count++;
}

/* Stripe said 429: no call to this endpoint for so many seconds, or, if it did not say, for longer each time. */
void
pause_endpoint(const char *endpoint, double seconds, TimestampTz now)
{
	Datum		values[4] = {CStringGetTextDatum(endpoint), Float8GetDatum(Min(seconds, 3600.0)), TimestampTzGetDatum(now), Float8GetDatum(PAUSE_LONGEST)};

	run_latest(&pause_bucket, values, NULL);
}
