/*
 * stripe_estimate.c
 *		In how many seconds a request will be answered: ready_in, as a buyer is
 *		told.
 *
 * Reads stripe_requests and, as they stand, stripe_buckets; takes no lock.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define COUNTED 64				/* rows of a sample, when a queue's length is guessed */
#define SAMPLES 8

/* The request and those it waits for, the first to be sent first. */
KEPT_PLAN(read_chain,
		  "WITH RECURSIVE chain AS ("
		  "  SELECT id, waits_for, state, endpoint, lane, seq, run_at, 0 AS depth FROM ticketing.stripe_requests WHERE id = $1 "
		  "  UNION ALL "
		  "  SELECT r.id, r.waits_for, r.state, r.endpoint, r.lane, r.seq, r.run_at, c.depth + 1 FROM chain c JOIN ticketing.stripe_requests r ON r.id = c.waits_for WHERE c.depth < 8) "
		  "SELECT c.endpoint, c.lane, c.seq, c.state = 'leased', extract(epoch FROM CASE WHEN isfinite(c.run_at) THEN greatest(c.run_at - $2, '0') ELSE '0' END)::float8 "
		  "FROM chain c WHERE c.state IN ('ready', 'leased') ORDER BY c.depth DESC",
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

/* A request of a chain. */
typedef struct Link
{
	char	   *endpoint;
	int16		lane;
	int64		place;			/* in its queue */
	bool		leased;			/* it has its token */
	double		due;			/* seconds until it may be sent at all */
} Link;

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

/* How many requests come before one at its endpoint. */
static double
requests_before(const Link *link)
{
	Datum		queue[2] = {CStringGetTextDatum(link->endpoint), Int16GetDatum(link->lane)};

	if (link->leased)
		return 0;
	return rows_before(&oldest_runnable, &sample_runnable, queue, link->place) +
		rows_before(&oldest_held_up, &sample_held_up, queue, link->place);
}

/* The chain of a request that is not answered yet; how many links it has. */
static uint64
read_links(const pg_uuid_t *request_id, Link **links, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(request_id), TimestampTzGetDatum(now)};
	uint64		count = run_latest(&read_chain, values, NULL);

	*links = palloc(sizeof(Link) * (count + 1));
	for (uint64 row = 0; row < count; row++)
	{
		Link	   *link = &(*links)[row];

		link->endpoint = row_text(row, 1);
		link->lane = DatumGetInt16(row_datum(row, 2));
		link->place = DatumGetInt64(row_datum(row, 3));
		link->leased = DatumGetBool(row_datum(row, 4));
		link->due = DatumGetFloat8(row_datum(row, 5));
	}
	return count;
}

/*
 * In how many seconds a request will be answered, as things are: each request
 * of its chain waits for the one before and for those before it at its own
 * endpoint. 0: it is.
 */
double
stripe_ready_in(const pg_uuid_t *request_id, TimestampTz now)
{
	StripeBuckets all;
	Link	   *links;
	uint64		count = read_links(request_id, &links, now);
	Datum	   *endpoints = palloc(sizeof(Datum) * (count + 1));
	double		ready = 0;
	double		ahead_of_all = 0;

	if (count == 0)
		return 0;
	for (uint64 i = 0; i < count; i++)
		endpoints[i] = CStringGetTextDatum(links[i].endpoint);
	peek_buckets(&all, endpoints, (int) count, now);

	for (uint64 i = 0; i < count; i++)
	{
		const StripeBucket *bucket = bucket_of(&all, links[i].endpoint);
		double		ahead = requests_before(&links[i]);

		ready = Max(ready, Max(links[i].due, seconds_of_pause(bucket, now)));
		if (!links[i].leased)
		{
			ahead_of_all += ahead;
			ready = Max(ready, token_in(&all, bucket, links[i].lane, ahead));
			ready = Max(ready, token_in(&all, &all.buckets[0], links[i].lane, ahead_of_all));
		}
		ready += call_seconds(bucket);
	}
	return ready;
}
