/*
 * stripe_buckets.c
 *		How many calls may be made now: token buckets, shared by all relays of
 *		the database, and how long a request will have to wait for its turn.
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
 * Reads stripe_requests, reads and writes stripe_buckets. Locks: the row of
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
#define REMEMBERED 0.997		/* of a moving average: a queue is much longer than the rush that begins it and slows all */
#define QUICKEST_FIRST 0.001	/* seconds; grows with each call that takes longer */
#define QUICKEST_GROWS 1.01
#define ENDPOINT_SIZE 128
#define ANSWERED_SIZE 1024
#define PAUSE_LONGEST 60.0
#define COUNTED 64				/* rows of a sample, when a queue's length is guessed */
#define SAMPLES 8

KEPT_PLAN(try_lock_all,
		  "SELECT FROM ticketing.stripe_buckets WHERE endpoint = $1 FOR UPDATE SKIP LOCKED", TEXTOID);
KEPT_PLAN(find_bucket,
		  "SELECT FROM ticketing.stripe_buckets WHERE endpoint = $1", TEXTOID);
KEPT_PLAN(make_bucket,
		  "INSERT INTO ticketing.stripe_buckets (endpoint) VALUES ($1) ON CONFLICT DO NOTHING", TEXTOID);
KEPT_PLAN(read_buckets,
		  "SELECT endpoint, held, slot, hold, quickest, paused_until FROM ticketing.stripe_buckets WHERE endpoint >= $1 ORDER BY endpoint COLLATE \"C\"",
		  TEXTOID);
KEPT_PLAN(write_bucket,
		  "INSERT INTO ticketing.stripe_buckets (endpoint, held, slot, hold, quickest) VALUES ($1, $2, $3, $4, $5) "
		  "ON CONFLICT (endpoint) DO UPDATE SET held = $2, slot = $3, hold = $4, quickest = $5",
		  TEXTOID, INT4ARRAYOID, INT8OID, FLOAT8OID, FLOAT8OID);
KEPT_PLAN(pause_bucket,
		  "INSERT INTO ticketing.stripe_buckets AS b (endpoint, paused_until, pauses) VALUES ($1, $3 + make_interval(secs => greatest($2, 1)), 1) "
		  "ON CONFLICT (endpoint) DO UPDATE SET "
		  "  pauses = CASE WHEN b.paused_until > $3 THEN b.pauses WHEN b.paused_until > $3 - interval '1 minute' THEN least(b.pauses + 1, 7) ELSE 1 END, "
		  "  paused_until = greatest(b.paused_until, $3 + make_interval(secs => greatest($2, least($4, CASE "
		  "    WHEN b.paused_until > $3 THEN 1 WHEN b.paused_until > $3 - interval '1 minute' THEN 2 ^ b.pauses ELSE 1 END))))",
		  TEXTOID, FLOAT8OID, TIMESTAMPTZOID, FLOAT8OID);
KEPT_PLAN(read_chain,
		  "WITH RECURSIVE chain AS ("
		  "  SELECT id, waits_for, state, endpoint, lane, seq, run_at, 0 AS depth FROM ticketing.stripe_requests WHERE id = $1 "
		  "  UNION ALL "
		  "  SELECT r.id, r.waits_for, r.state, r.endpoint, r.lane, r.seq, r.run_at, c.depth + 1 FROM chain c JOIN ticketing.stripe_requests r ON r.id = c.waits_for WHERE c.depth < 8) "
		  "SELECT c.endpoint, c.lane, c.seq, c.state = 'leased', b.hold, a.hold, "
		  "       extract(epoch FROM greatest(b.paused_until - $2, '0'))::float8, "
		  "       extract(epoch FROM CASE WHEN isfinite(c.run_at) THEN greatest(c.run_at - $2, '0') ELSE '0' END)::float8, "
		  "       b.quickest "
		  "FROM chain c LEFT JOIN ticketing.stripe_buckets b ON b.endpoint = c.endpoint LEFT JOIN ticketing.stripe_buckets a ON a.endpoint = '' "
		  "WHERE c.state IN ('ready', 'leased') ORDER BY c.depth DESC",
		  UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(oldest_runnable,
		  "SELECT seq FROM ticketing.stripe_requests WHERE state = 'ready' AND runnable AND endpoint = $1 AND lane = $2 AND seq < $3 ORDER BY seq LIMIT 1",
		  TEXTOID, INT2OID, INT8OID);
KEPT_PLAN(oldest_held_up,
		  "SELECT seq FROM ticketing.stripe_requests WHERE state = 'ready' AND NOT runnable AND endpoint = $1 AND lane = $2 AND seq < $3 ORDER BY seq LIMIT 1",
		  TEXTOID, INT2OID, INT8OID);
KEPT_PLAN(sample_runnable,
		  "SELECT count(*), max(seq) FROM (SELECT seq FROM ticketing.stripe_requests WHERE state = 'ready' AND runnable "
		  "  AND endpoint = $1 AND lane = $2 AND seq >= $3 AND seq < $4 ORDER BY seq LIMIT $5) q",
		  TEXTOID, INT2OID, INT8OID, INT8OID, INT4OID);
KEPT_PLAN(sample_held_up,
		  "SELECT count(*), max(seq) FROM (SELECT seq FROM ticketing.stripe_requests WHERE state = 'ready' AND NOT runnable "
		  "  AND endpoint = $1 AND lane = $2 AND seq >= $3 AND seq < $4 ORDER BY seq LIMIT $5) q",
		  TEXTOID, INT2OID, INT8OID, INT8OID, INT4OID);

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
	bucket->quickest = DatumGetFloat8(row_datum(row, 5));
	bucket->paused_until = row_is_null(row, 6) ? DT_NOBEGIN : DatumGetTimestampTz(row_datum(row, 6));
	advance(bucket, now);
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

	until = Min(until, longest);
	hold_token(bucket, longest, -1);
	hold_token(bucket, until, 1);
	bucket->hold = REMEMBERED * bucket->hold + (1 - REMEMBERED) * (double) (until - call->leased_at) / USECS_PER_SEC;
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
	uint64		rows;

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
	rows = run_latest(&read_buckets, &name, NULL);
	all->now = now;
	all->room = (int) rows + 128;
	all->buckets = palloc0(sizeof(StripeBucket) * all->room);
	all->count = 0;
	for (uint64 row = 0; row < rows; row++)
		read_bucket(&all->buckets[all->count++], row, now);
	(void) bucket_of(all, "");	/* the first by its name, or the only one */
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
		Datum		values[5];

		if (!bucket->changed)
			continue;
		for (int slot = 0; slot < SLOTS; slot++)
			held[slot] = Int32GetDatum(bucket->held[slot]);
		values[0] = CStringGetTextDatum(bucket->endpoint);
		values[1] = PointerGetDatum(construct_array(held, SLOTS, INT4OID, sizeof(int32), true, TYPALIGN_INT));
		values[2] = Int64GetDatum(bucket->slot);
		values[3] = Float8GetDatum(bucket->hold);
		values[4] = Float8GetDatum(bucket->quickest);
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

/* Rows of a queue from one place to another, no more than are asked for; and the place of the last. */
static int64
sample(KeptPlan *plan, const Datum *queue, int64 from, int64 to, int most, int64 *last)
{
	Datum		values[5] = {queue[0], queue[1], Int64GetDatum(from), Int64GetDatum(to), Int32GetDatum(most)};
	int64		rows;

	run_latest(plan, values, NULL);
	rows = DatumGetInt64(row_datum(0, 1));
	*last = rows == 0 ? from : DatumGetInt64(row_datum(0, 2));
	return rows;
}

/*
 * How many requests of a queue come before a place. A short queue is counted;
 * of a long one samples are, evenly over its length: never more than a few
 * hundred rows are read.
 */
static double
rows_before(KeptPlan *oldest, KeptPlan *plan, const Datum *queue, int64 place)
{
	Datum		values[3] = {queue[0], queue[1], Int64GetDatum(place)};
	double		rows = 0;
	int64		first;
	int64		last;
	int64		count;

	if (run_latest(oldest, values, NULL) == 0)
		return 0;
	first = DatumGetInt64(row_datum(0, 1));
	count = sample(plan, queue, first, place, COUNTED * 2, &last);
	if (count < COUNTED * 2)
		return count;
	for (int i = 0; i < SAMPLES; i++)
	{
		int64		from = first + (place - first) * i / SAMPLES;
		int64		to = first + (place - first) * (i + 1) / SAMPLES;

		count = sample(plan, queue, from, to, COUNTED, &last);
		rows += count < COUNTED ? count : (double) count * (to - from) / (last - from + 1);
	}
	return rows;
}

/* Seconds until a limit lets so many calls through: those before them have just had theirs. */
static double
seconds_for(double calls, int limit, double hold)
{
	return limit <= 0 || calls < 1 ? 0 : (floor(calls / limit) + 1) * hold;
}

/*
 * In how many seconds a request will be answered, as things are: each request
 * of its chain waits for the one before and for those before it at its own
 * endpoint. 0: it is.
 */
double
stripe_ready_in(const pg_uuid_t *request_id, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(request_id), TimestampTzGetDatum(now)};
	uint64		links = run_latest(&read_chain, values, NULL);
	SPITupleTable *chain = SPI_tuptable;
	double		ready = 0;
	double		ahead_of_all = 0;
	double		hold_of_all = WINDOW * 1.1;

	for (uint64 link = 0; link < links; link++)
	{
		Datum		queue[2];
		int64		place;
		double		ahead = 0;
		double		hold = WINDOW * 1.1;
		double		took = 0;

		SPI_tuptable = chain;
		queue[0] = CStringGetTextDatum(row_text(link, 1));
		queue[1] = row_datum(link, 2);
		place = DatumGetInt64(row_datum(link, 3));
		if (!row_is_null(link, 5))
		{
			hold = DatumGetFloat8(row_datum(link, 5));
			took = Max(0, hold - WINDOW + DatumGetFloat8(row_datum(link, 9)) / 2);
			ready = Max(ready, row_is_null(link, 7) ? 0 : DatumGetFloat8(row_datum(link, 7)));
		}
		if (!row_is_null(link, 6))
			hold_of_all = DatumGetFloat8(row_datum(link, 6));
		ready = Max(ready, DatumGetFloat8(row_datum(link, 8)));
		if (!DatumGetBool(row_datum(link, 4)))
			ahead = rows_before(&oldest_runnable, &sample_runnable, queue, place) + rows_before(&oldest_held_up, &sample_held_up, queue, place);
		ahead_of_all += ahead;
		ready = Max(ready, seconds_for(ahead, stripe_endpoint_rate, hold));
		ready = Max(ready, seconds_for(ahead_of_all, stripe_rate, hold_of_all)) + took;
	}
	return ready;
}
