/*
 * relay_claim.c
 *		What a relay may send now: picks requests that are ready, as many as
 *		there are tokens for, freezes their bodies and leases them.
 *
 * A ready request is runnable when nothing is in its way but its turn; what
 * waits for another or for its time is not, and is not read. The index of those
 * that are runnable is by endpoint, lane and age, so that an endpoint without
 * tokens costs nothing, however much waits for it.
 *
 * Reads and writes ticketing.stripe_requests, deletes from stripe_handoff;
 * reads public.stripe_customers, payees and orders; ends orders that are due
 * through order_ends.c. Locks: rows of stripe_requests and the buckets, none of
 * which is waited for, and what the end of an order and the effects of requests
 * that end unsent take.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "dvnt_ticketing.h"

#define SESSION_SECONDS (35 * 60)	/* a Checkout Session's life; Stripe's least is 30 minutes */
#define ANSWER_PAUSE_SECONDS 5.0	/* what is waited for is stored, but not yet applied */
#define DUE_ORDERS_PER_CLAIM 100
#define ROUNDS 4				/* at most, where requests end unsent */
#define LOCK_PAUSE_MS 2			/* another relay is claiming */
#define DUE_AT_ONCE 500

KEPT_PLAN(end_leases,
		  "UPDATE ticketing.stripe_requests r SET state = CASE WHEN r.first_sent_at < $2 THEN 'unknown' ELSE 'ready' END, runnable = true, run_at = $1, lease_token = NULL, lease_expires_at = NULL "
		  "FROM (SELECT id FROM ticketing.stripe_requests WHERE state = 'leased' AND lease_expires_at <= $1 FOR UPDATE SKIP LOCKED) e WHERE r.id = e.id",
		  TIMESTAMPTZOID, TIMESTAMPTZOID);

/* What its time has come for. */
KEPT_PLAN(wake_due,
		  "UPDATE ticketing.stripe_requests r SET runnable = d.free, run_at = CASE WHEN d.free THEN r.run_at ELSE $1 + interval '1 minute' END "
		  "FROM (SELECT s.id, NOT EXISTS (SELECT FROM ticketing.stripe_requests w WHERE w.id = s.waits_for AND w.state IN ('ready', 'leased', 'unknown')) AS free "
		  "      FROM ticketing.stripe_requests s WHERE s.state = 'ready' AND NOT s.runnable AND s.run_at <= $1 ORDER BY s.run_at LIMIT $2 FOR UPDATE SKIP LOCKED) d "
		  "WHERE r.id = d.id",
		  TIMESTAMPTZOID, INT4OID);

/* The endpoints and lanes that something runnable is of: a step in the index for each. */
KEPT_PLAN(list_queues,
		  "WITH RECURSIVE q (endpoint, lane) AS ("
		  "  (SELECT endpoint, lane FROM ticketing.stripe_requests WHERE state = 'ready' AND runnable AND lane <= $1 ORDER BY endpoint, lane LIMIT 1) "
		  "  UNION ALL "
		  "  SELECT n.endpoint, n.lane FROM q CROSS JOIN LATERAL (SELECT r.endpoint, r.lane FROM ticketing.stripe_requests r "
		  "    WHERE r.state = 'ready' AND r.runnable AND (r.endpoint, r.lane) > (q.endpoint, q.lane) ORDER BY r.endpoint, r.lane LIMIT 1) n) "
		  "SELECT endpoint, lane FROM q",
		  INT2OID);
/*
 * What is needed of other tables is read row by row, by scalar subqueries: a
 * join may be planned as one that reads all customers there are, for each claim.
 */
KEPT_PLAN(pick_ready,
		  "SELECT r.id, r.lane, r.endpoint, r.body IS NOT NULL, "
		  "       CASE WHEN r.customer_of IS NULL AND r.account_of IS NULL AND r.kind NOT IN ('create_checkout_session', 'create_refund', 'create_reversal', 'create_transfer') THEN r.params ELSE r.params "
		  "         || CASE WHEN r.customer_of IS NULL THEN '{}' ELSE jsonb_build_object('customer', c.id) END "
		  "         || CASE WHEN r.account_of IS NULL THEN '{}' ELSE jsonb_build_object('account', c.account_id) END "
		  "         || CASE WHEN r.kind <> 'create_checkout_session' THEN '{}' ELSE jsonb_build_object('expires_at', $4) END "
		  "         || CASE WHEN r.kind NOT IN ('create_refund', 'create_reversal', 'create_transfer') THEN '{}' ELSE jsonb_build_object('metadata', coalesce(r.params -> 'metadata', '{}') || jsonb_build_object('request_id', r.id)) END END, "
		  "       (r.customer_of IS NOT NULL AND c.id IS NULL) OR (r.account_of IS NOT NULL AND c.account_id IS NULL) OR c.awaited = 'unapplied', r.first_sent_at, "
		  "       CASE WHEN r.first_sent_at IS NULL AND r.lane = 1 AND r.kind LIKE 'create\\_%' AND r.order_id IS NOT NULL "
		  "         THEN coalesce((SELECT o.state NOT IN ('created', 'awaiting_payment', 'processing') FROM ticketing.orders o WHERE o.order_id = r.order_id), false) ELSE false END, "
		  "       coalesce(c.awaited = 'failed', false), r.id, r.kind, r.order_id, r.user_id "
		  "FROM unnest($1, $2, $3) q (endpoint, lane, most) "
		  "CROSS JOIN LATERAL (SELECT * FROM ticketing.stripe_requests s "
		  "  WHERE s.state = 'ready' AND s.runnable AND s.endpoint = q.endpoint AND s.lane = q.lane ORDER BY s.seq LIMIT q.most FOR UPDATE SKIP LOCKED) r "
		  "CROSS JOIN LATERAL (SELECT "
		  "    CASE WHEN r.customer_of IS NOT NULL THEN (SELECT u.stripe_customer_id FROM public.stripe_customers u WHERE u.user_id = r.customer_of) END AS id, "
		  "    CASE WHEN r.account_of IS NOT NULL THEN (SELECT p.stripe_account_id FROM ticketing.payees p WHERE p.host_id = r.account_of) END AS account_id, "
		  "    CASE WHEN r.waits_for IS NOT NULL THEN (SELECT CASE WHEN w.state = 'failed' THEN 'failed' WHEN w.state = 'done' AND NOT w.applied THEN 'unapplied' END "
		  "      FROM ticketing.stripe_requests w WHERE w.id = r.waits_for) END AS awaited OFFSET 0) c "
		  "ORDER BY r.lane, r.seq",
		  TEXTARRAYOID, INT2ARRAYOID, INT4ARRAYOID, INT8OID);
KEPT_PLAN(set_aside,
		  "UPDATE ticketing.stripe_requests SET state = $2, runnable = $3 IS NULL, run_at = coalesce($3, run_at) WHERE id = $1",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID);
/* One token for all that a claim leases: what it fences is a lease of a row, and no row is leased twice in a claim. */
KEPT_PLAN(lease,
		  "UPDATE ticketing.stripe_requests r SET state = 'leased', attempts = r.attempts + 1, body = coalesce(r.body, b.body), lease_token = $5, "
		  "  leased_at = $3, lease_expires_at = $4, first_sent_at = coalesce(r.first_sent_at, $3) "
		  "FROM unnest($1, $2) WITH ORDINALITY b (id, body, number) WHERE r.id = b.id "
		  "RETURNING r.id, r.lease_token, r.method, r.path, r.body, r.stripe_account, r.api_version, r.idempotency_key::text, r.attempts, r.kind, r.endpoint, r.kind <> ALL ($6), b.number",
		  UUIDARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID, TEXTARRAYOID);
KEPT_PLAN(next_due,
		  "SELECT run_at FROM ticketing.stripe_requests WHERE state = 'ready' AND NOT runnable AND run_at < 'infinity' AND run_at > $1 ORDER BY run_at LIMIT 1",
		  TIMESTAMPTZOID);

/* Milliseconds that this session's last claim leaves to wait; -1: until somebody rings. */
static int32 pause_for_tokens = -1;
static int32 pause_for_time = -1;

/* Requests of one endpoint and lane. */
typedef struct Queue
{
	StripeBucket *bucket;
	int16		lane;
} Queue;

/* A request that is about to be leased. */
typedef struct Candidate
{
	Datum		id;
	int16		lane;
	StripeBucket *bucket;
	Jsonb	   *params;
	bool		lacks_answer;	/* of what it waited for: the customer or account is not in its table yet */
	bool		too_old;		/* first sent a day ago: its key means nothing any more */
	bool		order_ended;	/* and nothing was ever sent */
	bool		waits_in_vain;	/* what it waited for has failed */
	char	   *body;			/* NULL: frozen earlier */
	bool		frozen;
	StripeAnswer call;
} Candidate;

/* A claim under way. */
typedef struct Claim
{
	TimestampTz now;
	int32		max_rows;
	StripeBuckets buckets;
	Queue	   *queues;
	int			queue_count;
	Datum	   *ids;			/* of what is to be leased */
	Datum	   *bodies;
	bool	   *no_body;
	int			count;
} Claim;

/* Milliseconds from now on, at least one. The relay sleeps by its own clock, and the engine's may run faster. */
static int32
milliseconds_until(TimestampTz at, TimestampTz now)
{
	double		rate = test_clock_rate > 0 ? test_clock_rate : 1;
	int64		milliseconds = (int64) ceil((at - now) / (1000.0 * rate));

	return (int32) Max(1, Min(milliseconds, 3600 * 1000));
}

static int32
shorter_pause(int32 a, int32 b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

static void
find_queues(Claim *claim)
{
	Datum		lanes = Int16GetDatum(STRIPE_LANE_RECONCILE);
	uint64		rows = run_latest(&list_queues, &lanes, NULL);

	claim->queues = palloc(sizeof(Queue) * (rows + 1));
	claim->queue_count = (int) rows;
	for (uint64 row = 0; row < rows; row++)
	{
		claim->queues[row].lane = DatumGetInt16(row_datum(row, 2));
		claim->queues[row].bucket = (StripeBucket *) row_text(row, 1);
	}
}

/* Reads up to so many of each queue, locked; somebody else's are skipped. */
static int
pick_candidates(const Claim *claim, Candidate **picked)
{
	Datum	   *endpoints = palloc(sizeof(Datum) * (claim->queue_count + 1));
	Datum	   *lanes = palloc(sizeof(Datum) * (claim->queue_count + 1));
	Datum	   *most = palloc(sizeof(Datum) * (claim->queue_count + 1));
	int			count = 0;
	Datum		values[4];
	uint64		rows;

	for (int i = 0; i < claim->queue_count; i++)
	{
		const Queue *queue = &claim->queues[i];
		int			tokens = Min(tokens_left(&claim->buckets, queue->bucket, queue->lane), claim->max_rows - claim->count);

		if (tokens == 0)
			continue;
		endpoints[count] = CStringGetTextDatum(queue->bucket->endpoint);
		lanes[count] = Int16GetDatum(queue->lane);
		most[count++] = Int32GetDatum(tokens);
	}
	if (count == 0)
		return 0;
	values[0] = array_with_nulls(endpoints, NULL, count, TEXTOID);
	values[1] = array_with_nulls(lanes, NULL, count, INT2OID);
	values[2] = array_with_nulls(most, NULL, count, INT4OID);
	values[3] = Int64GetDatum(unix_seconds(claim->now) + SESSION_SECONDS);
	rows = run_latest(&pick_ready, values, NULL);
	*picked = palloc0(sizeof(Candidate) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		Candidate  *candidate = &(*picked)[row];

		candidate->id = uuid_copy(row_datum(row, 1));
		candidate->lane = DatumGetInt16(row_datum(row, 2));
		candidate->bucket = bucket_of((StripeBuckets *) &claim->buckets, row_text(row, 3));
		candidate->frozen = DatumGetBool(row_datum(row, 4));
		candidate->params = DatumGetJsonbPCopy(row_datum(row, 5));
		candidate->lacks_answer = !row_is_null(row, 6) && DatumGetBool(row_datum(row, 6));
		candidate->too_old = !row_is_null(row, 7) && DatumGetTimestampTz(row_datum(row, 7)) < add_seconds(claim->now, -UNKNOWN_AFTER_SECONDS);
		candidate->order_ended = DatumGetBool(row_datum(row, 8));
		candidate->waits_in_vain = DatumGetBool(row_datum(row, 9));
		candidate->call = row_call(row, 10);
	}
	return (int) rows;
}

/* For try_step. */
static void
freeze_body(void *argument)
{
	Candidate  *candidate = argument;
	MemoryContext outer = MemoryContextSwitchTo(GetMemoryChunkContext(candidate->params));

	candidate->body = encode_stripe_form(candidate->params);
	MemoryContextSwitchTo(outer);
}

/* Candidates that were picked together. */
typedef struct Pick
{
	Candidate  *candidates;
	int			count;
} Pick;

/* For try_step: all bodies, as long as none of them has a fault. */
static void
freeze_bodies(void *argument)
{
	Pick	   *pick = argument;

	for (int i = 0; i < pick->count; i++)
		if (!pick->candidates[i].frozen)
			freeze_body(&pick->candidates[i]);
}

/* Ends a request that will never be sent, with what waits for it. */
static void
end_unsent(Candidate *candidate, const char *why, TimestampTz now)
{
	Answer		error;

	answer_begin(&error);
	answer_int(&error, "http_status", 0);
	answer_text(&error, "message", why);
	candidate->call.failed = true;
	candidate->call.answer = DatumGetJsonbP(jsonb_from_text(answer_end(&error)));
	finish_request(&candidate->call, 0, NULL, now);
}

/* Puts a request out of the way. */
static void
put_aside(const Candidate *candidate, const char *state, const TimestampTz *until)
{
	char		nulls[4] = "   ";
	Datum		values[3] = {candidate->id, CStringGetTextDatum(state), (Datum) 0};

	nulls[2] = until ? ' ' : 'n';
	if (until)
		values[2] = TimestampTzGetDatum(*until);
	run_latest(&set_aside, values, nulls);
}

/* Takes a candidate in, or puts it out of the way of the others. */
static void
take_candidate(Claim *claim, Candidate *candidate)
{
	TimestampTz later = add_seconds(claim->now, ANSWER_PAUSE_SECONDS);
	char	   *fault = NULL;

	if (candidate->too_old)
		put_aside(candidate, "unknown", NULL);
	else if (candidate->order_ended)
		end_unsent(candidate, "the order ended before its turn came", claim->now);
	else if (candidate->waits_in_vain)
		end_unsent(candidate, "the request that it waited for failed", claim->now);
	else if (candidate->lacks_answer && !candidate->frozen)
		put_aside(candidate, "ready", &later);
	else if (claim->count < claim->max_rows && tokens_left(&claim->buckets, candidate->bucket, candidate->lane) > 0)
	{
		if (!candidate->frozen && candidate->body == NULL && (fault = try_step(freeze_body, candidate)) != NULL)
		{
			end_unsent(candidate, fault, claim->now);
			return;
		}
		take_token(&claim->buckets, candidate->bucket);
		claim->ids[claim->count] = candidate->id;
		claim->no_body[claim->count] = candidate->frozen;
		claim->bodies[claim->count++] = candidate->frozen ? (Datum) 0 : CStringGetTextDatum(candidate->body);
	}
}

/* Rounds, because what is put out of the way makes room for others. */
static void
take_candidates(Claim *claim)
{
	for (int round = 0; round < ROUNDS; round++)
	{
		Pick		pick = {NULL, 0};
		int			before = claim->count;

		pick.count = pick_candidates(claim, &pick.candidates);
		if (pick.count > 0)
			(void) try_step(freeze_bodies, &pick);	/* one that fails is found out below */
		for (int i = 0; i < pick.count; i++)
			take_candidate(claim, &pick.candidates[i]);
		/* those that were taken are still ready: they must not be picked again before they are leased */
		if (pick.count == 0 || claim->count > before)
			break;
	}
}

/* Leases what was taken; the rows are the claim's result, in the order in which they were taken. */
static void
lease_taken(FunctionCallInfo fcinfo, const Claim *claim, TimestampTz end)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			columns = result->setDesc->natts;
	Datum	   *row_values = palloc(sizeof(Datum) * (columns + 1));
	bool	   *row_nulls = palloc(sizeof(bool) * (columns + 1));
	uint64	   *rows = palloc(sizeof(uint64) * (claim->count + 1));
	Datum		values[6];

	if (claim->count == 0)
		return;
	values[0] = uuid_array(claim->ids, claim->count);
	values[1] = array_with_nulls(claim->bodies, claim->no_body, claim->count, TEXTOID);
	values[2] = TimestampTzGetDatum(claim->now);
	values[3] = TimestampTzGetDatum(end);
	values[4] = DirectFunctionCall1(gen_random_uuid, (Datum) 0);
	values[5] = kinds_stored_together();
	if (run_latest(&lease, values, NULL) != claim->count)
		elog(ERROR, "what was picked could not be leased");
	for (int row = 0; row < claim->count; row++)
		rows[DatumGetInt64(row_datum(row, columns + 1)) - 1] = row;
	for (int i = 0; i < claim->count; i++)
	{
		heap_deform_tuple(SPI_tuptable->vals[rows[i]], SPI_tuptable->tupdesc, row_values, row_nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, row_values, row_nulls);
	}
}

/* What relay_pause will say. */
static void
note_pauses(const Claim *claim)
{
	Datum		now = TimestampTzGetDatum(claim->now);

	pause_for_tokens = pause_for_time = -1;
	for (int i = 0; i < claim->queue_count; i++)
	{
		const Queue *queue = &claim->queues[i];

		if (tokens_left(&claim->buckets, queue->bucket, queue->lane) == 0)
			pause_for_tokens = shorter_pause(pause_for_tokens, milliseconds_until(next_token(&claim->buckets, queue->bucket, queue->lane), claim->now));
	}
	if (run_latest(&next_due, &now, NULL) > 0)
		pause_for_time = milliseconds_until(DatumGetTimestampTz(row_datum(0, 1)), claim->now);
}

/* What must be done before anything is picked, whether or not there are tokens. */
static void
tidy_outbox(TimestampTz now)
{
	Datum		values[2] = {TimestampTzGetDatum(now), TimestampTzGetDatum(add_seconds(now, -UNKNOWN_AFTER_SECONDS))};

	run_latest(&end_leases, values, NULL);
	(void) forget_handoffs(now);
	values[1] = Int32GetDatum(DUE_AT_ONCE);
	run_latest(&wake_due, values, NULL);
	resolve_unknown_requests(now);
	(void) end_due_orders(DUE_ORDERS_PER_CLAIM, now);
}

PG_FUNCTION_INFO_V1(dvnt_relay_claim);

/* relay_claim(max_rows, lease) → rows */
Datum
dvnt_relay_claim(PG_FUNCTION_ARGS)
{
	Interval   *length;
	Claim		claim = {.now = engine_now()};

	require_argument(fcinfo, 0, "max_rows");
	require_argument(fcinfo, 1, "lease");
	claim.max_rows = PG_GETARG_INT32(0);
	length = PG_GETARG_INTERVAL_P(1);
	if (claim.max_rows < 1 || interval_seconds(length) <= 0)
		refuse(BAD_REQUEST, NULL, NULL, "max_rows and lease must be above zero");
	claim.max_rows = Min(claim.max_rows, 10000);
	InitMaterializedSRF(fcinfo, 0);
	begin_command();
	tidy_outbox(claim.now);
	find_queues(&claim);
	if (claim.queue_count > 0 && !open_buckets(&claim.buckets, claim.now))
	{
		pause_for_tokens = LOCK_PAUSE_MS;
		pause_for_time = -1;
	}
	else
	{
		for (int i = 0; i < claim.queue_count; i++)
			claim.queues[i].bucket = bucket_of(&claim.buckets, (const char *) claim.queues[i].bucket);
		claim.ids = palloc(sizeof(Datum) * claim.max_rows);
		claim.bodies = palloc(sizeof(Datum) * claim.max_rows);
		claim.no_body = palloc(sizeof(bool) * claim.max_rows);
		take_candidates(&claim);
		lease_taken(fcinfo, &claim, add_seconds(claim.now, interval_seconds(length)));
		if (claim.queue_count > 0)
			close_buckets(&claim.buckets);
		note_pauses(&claim);
	}
	SPI_finish();
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(dvnt_relay_pause);

/* relay_pause() → for_tokens, for_time */
Datum
dvnt_relay_pause(PG_FUNCTION_ARGS)
{
	TupleDesc	description;
	Datum		values[2] = {Int32GetDatum(pause_for_tokens), Int32GetDatum(pause_for_time)};
	bool		nulls[2] = {pause_for_tokens < 0, pause_for_time < 0};

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "relay_pause returns no row");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(description), values, nulls)));
}
