/*
 * relay_complete.c
 *		What the relay brings back: an answer is stored and its effect applied,
 *		or its request is put back to be sent again; which of it is
 *		relay_answer.c's to say.
 *
 * Reads and writes ticketing.stripe_requests; the effects of an answer are
 * stripe_effects.c's. Locks: the row of the request, then order and what
 * follows it. Where several answers are stored together, their rows first; the
 * effects that may be together take no lock of any order.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "dvnt_ticketing.h"
#include "relay_answer.h"

#define RETRY_FIRST_SECONDS 0.5
#define RETRY_CAP_SECONDS 60.0
#define RETRY_REFUSED_SECONDS 60.0	/* after 401 and 403, which only an operator can mend */

KEPT_PLAN(lock_request,
		  "SELECT state, lease_token, attempts, first_sent_at, id, kind, order_id, user_id, endpoint, leased_at "
		  "FROM ticketing.stripe_requests WHERE id = $1 FOR UPDATE",
		  UUIDOID);
KEPT_PLAN(put_back,
		  "UPDATE ticketing.stripe_requests SET state = $2, run_at = $3, runnable = $3 <= $8, attempts = attempts - CASE WHEN $9 THEN 1 ELSE 0 END, "
		  "  http_status = $4, stripe_request_id = coalesce($5, stripe_request_id), error = $6, lease_token = NULL, lease_expires_at = NULL, "
		  "  idempotency_key = CASE WHEN $7 THEN gen_random_uuid() ELSE idempotency_key END "
		  "WHERE id = $1",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID, JSONBOID, BOOLOID, TIMESTAMPTZOID, BOOLOID);
KEPT_PLAN(store_answer,
		  "UPDATE ticketing.stripe_requests SET state = $2, http_status = $3, stripe_request_id = coalesce($4, stripe_request_id), answer = $5, error = $6, completed_at = $7, "
		  "  applied = $8 IS NULL, apply_error = $8, body = NULL, lease_token = NULL, lease_expires_at = NULL WHERE id = $1",
		  UUIDOID, TEXTOID, INT4OID, TEXTOID, JSONBOID, JSONBOID, TIMESTAMPTZOID, TEXTOID);
/* Good answers of several requests, whose effects are about to be applied. Only what is leased has a token: so its row is found by its id. */
KEPT_PLAN(store_answers,
		  "UPDATE ticketing.stripe_requests r SET state = 'done', http_status = b.status, stripe_request_id = coalesce(b.request_id, r.stripe_request_id), answer = b.answer, error = NULL, "
		  "  completed_at = $6, applied = true, apply_error = NULL, body = NULL, lease_token = NULL, lease_expires_at = NULL "
		  "FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY b (id, lease_token, status, request_id, answer, number) "
		  "WHERE r.id = b.id AND b.answer IS NOT NULL AND r.lease_token = b.lease_token AND r.kind = ANY ($7) "
		  "RETURNING b.number, r.id, r.kind, r.order_id, r.user_id, r.endpoint, r.leased_at",
		  UUIDARRAYOID, UUIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID);
KEPT_PLAN(wake_waiting,
		  "UPDATE ticketing.stripe_requests SET runnable = true, run_at = $2 WHERE waits_for = ANY ($1) AND state = 'ready'",
		  UUIDARRAYOID, TIMESTAMPTZOID);
KEPT_PLAN(set_applied,
		  "UPDATE ticketing.stripe_requests SET applied = $2 IS NULL, apply_error = $2 WHERE id = $1",
		  UUIDOID, TEXTOID);
KEPT_PLAN(fail_waiting,
		  "WITH RECURSIVE waiting (id) AS ("
		  "  SELECT id FROM ticketing.stripe_requests WHERE waits_for = $1 AND state = 'ready' "
		  "  UNION ALL "
		  "  SELECT r.id FROM ticketing.stripe_requests r JOIN waiting w ON r.waits_for = w.id WHERE r.state = 'ready') "
		  "UPDATE ticketing.stripe_requests r SET state = 'failed', error = $2, completed_at = $3 FROM waiting w WHERE r.id = w.id "
		  "RETURNING r.id, r.kind, r.order_id, r.user_id",
		  UUIDOID, JSONBOID, TIMESTAMPTZOID);
KEPT_PLAN(unapplied_requests,
		  "SELECT id, kind, order_id, user_id, state = 'failed', coalesce(CASE state WHEN 'failed' THEN error ELSE answer END, '{}') FROM ticketing.stripe_requests "
		  "WHERE state IN ('done', 'failed') AND NOT applied ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED",
		  INT4OID);

/* How long to wait before the next attempt, in seconds: doubling, capped, with jitter. */
static double
retry_delay(Verdict verdict, int32 attempts)
{
	double		delay = RETRY_FIRST_SECONDS;

	if (verdict == ANSWER_STOP)
		return RETRY_REFUSED_SECONDS;
	for (int i = 1; i < attempts && delay < RETRY_CAP_SECONDS; i++)
		delay *= 2;
	delay = Min(delay, RETRY_CAP_SECONDS);
	return delay * (0.5 + 0.5 * pg_prng_double(&pg_global_prng_state));
}

/* Whether a request that happened twice would cost somebody money. */
static bool
moves_money(const char *kind)
{
	return strcmp(kind, "create_refund") == 0 || strcmp(kind, "create_reversal") == 0 || strcmp(kind, "create_transfer") == 0;
}

/* Puts a request back to be sent again, or to be looked up before that. */
static const char *
put_back_request(const Completion *completion, Verdict verdict, TimestampTz now)
{
	bool		too_old = now >= add_seconds(completion->first_sent_at, UNKNOWN_AFTER_SECONDS);
	bool		new_key = verdict == ANSWER_RETRY_NEW_KEY;
	bool		paused = verdict == ANSWER_PAUSE;
	char		nulls[10] = "         ";
	Datum		values[9];

	/* money goes back once: what moves it is looked for before it gets another key */
	if (new_key && moves_money(completion->call.kind))
		too_old = true;
	if (paused)
		pause_endpoint(completion->endpoint, retry_after(completion), now);
	values[0] = UUIDPGetDatum(completion->id);
	values[1] = CStringGetTextDatum(too_old ? "unknown" : "ready");
	values[2] = TimestampTzGetDatum(paused ? now : add_seconds(now, retry_delay(verdict, completion->attempts)));
	values[3] = Int32GetDatum(completion->status);
	values[4] = text_or_null(json_string_at(completion->headers, JSON_PATH("request-id")), &nulls[4]);
	values[5] = jsonb_from_text(error_json(completion));
	values[6] = BoolGetDatum(new_key && !too_old);
	values[7] = TimestampTzGetDatum(now);
	values[8] = BoolGetDatum(paused);
	run_latest(&put_back, values, nulls);
	return verdict == ANSWER_STOP ? "stop" : "retry";
}

/* What an effect needs to know of a request: its id, kind, order and user, from these columns of a row. */
StripeAnswer
row_call(uint64 row, int column)
{
	StripeAnswer call = {0};

	call.request_id = DatumGetUUIDP(uuid_copy(row_datum(row, column)));
	call.kind = row_text(row, column + 1);
	if (!row_is_null(row, column + 2))
		call.order_id = DatumGetUUIDP(uuid_copy(row_datum(row, column + 2)));
	call.user_id = row_text(row, column + 3);
	return call;
}

/* For try_step. */
static void
apply_effect(void *argument)
{
	apply_stripe_answer(argument);
}

/* Applies an answer's effect, or says why it could not. */
static char *
try_effect(StripeAnswer *call)
{
	return try_step(apply_effect, call);
}

/* The same for what is stored already; an error is kept beside the answer. */
static void
apply_guarded(StripeAnswer *call)
{
	char		nulls[3] = "  ";
	Datum		values[2] = {UUIDPGetDatum(call->request_id)};

	values[1] = text_or_null(try_effect(call), &nulls[1]);
	run_latest(&set_applied, values, nulls);
}

/* What waits for a request that failed has failed, too. */
void
fail_those_waiting(const pg_uuid_t *id, Jsonb *error, TimestampTz now)
{
	Datum		values[3] = {UUIDPGetDatum(id), JsonbPGetDatum(error), TimestampTzGetDatum(now)};
	uint64		rows = run_latest(&fail_waiting, values, NULL);
	StripeAnswer *calls = palloc(sizeof(StripeAnswer) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		calls[row] = row_call(row, 1);
		calls[row].failed = true;
		calls[row].answer = error;
		calls[row].now = now;
	}
	for (uint64 row = 0; row < rows; row++)
		apply_guarded(&calls[row]);
}

/*
 * Stores the final answer to a request and applies its effect. What waits for
 * it may run, or fails with it.
 */
void
finish_request(StripeAnswer *call, int status, const char *stripe_request_id, TimestampTz now)
{
	char		nulls[9] = "        ";
	Datum		values[8];

	call->now = now;
	values[0] = UUIDPGetDatum(call->request_id);
	values[1] = CStringGetTextDatum(call->failed ? "failed" : "done");
	values[2] = Int32GetDatum(status);
	values[3] = text_or_null(stripe_request_id, &nulls[3]);
	nulls[4] = call->failed ? 'n' : ' ';
	values[4] = call->failed ? (Datum) 0 : kept_answer(call->answer);
	nulls[5] = call->failed ? ' ' : 'n';
	values[5] = call->failed ? JsonbPGetDatum(call->answer) : (Datum) 0;
	values[6] = TimestampTzGetDatum(now);
	values[7] = text_or_null(try_effect(call), &nulls[7]);
	run_latest(&store_answer, values, nulls);
	if (call->failed)
		fail_those_waiting(call->request_id, call->answer, now);
	else
	{
		Datum		waiting[2] = {uuid_array(&values[0], 1), values[6]};

		run_latest(&wake_waiting, waiting, NULL);
	}
}

/* Stores an answer that is final. */
static const char *
store_final(Completion *completion, bool good, TimestampTz now)
{
	completion->call.failed = !good;
	completion->call.answer = good ? completion->answer : DatumGetJsonbP(jsonb_from_text(error_json(completion)));
	finish_request(&completion->call, completion->status, json_string_at(completion->headers, JSON_PATH("request-id")), now);
	return good ? "done" : "failed";
}

/* Locks the request; false when the lease is not (or no longer) the caller's. */
static bool
lock_leased(Completion *completion, const pg_uuid_t *lease_token)
{
	Datum		id = UUIDPGetDatum(completion->id);

	declare_lock(RANK_REQUEST);
	if (run_latest(&lock_request, &id, NULL) == 0 || strcmp(row_text(0, 1), "leased") != 0 ||
		memcmp(DatumGetUUIDP(row_datum(0, 2))->data, lease_token->data, UUID_LEN) != 0)
		return false;
	completion->attempts = DatumGetInt32(row_datum(0, 3));
	completion->first_sent_at = DatumGetTimestampTz(row_datum(0, 4));
	completion->call = row_call(0, 5);
	completion->endpoint = row_text(0, 9);
	completion->leased_at = DatumGetTimestampTz(row_datum(0, 10));
	return true;
}

/* What a crash takes back is brought again: the request goes out once more under its key, and Stripe repeats its answer. */
static void
commit_without_waiting(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* The call's token comes back. */
static void
give_back_token(const Completion *completion, TimestampTz now)
{
	int64		milliseconds;

	if (!json_int_at(completion->headers, JSON_PATH("relay-ms"), &milliseconds) || completion->status == 0)
		milliseconds = 0;
	token_answered(completion->endpoint, completion->leased_at, now, milliseconds * test_clock_rate / 1000.0);
}

PG_FUNCTION_INFO_V1(dvnt_relay_complete);

/* relay_complete(id, lease_token, status, headers, body) → text */
Datum
dvnt_relay_complete(PG_FUNCTION_ARGS)
{
	Completion	completion = {0};
	TimestampTz now = engine_now();
	const char *outcome = "stale";
	Verdict		verdict;
	text	   *result;

	require_argument(fcinfo, 0, "id");
	require_argument(fcinfo, 1, "lease_token");
	require_argument(fcinfo, 2, "status");
	completion.id = PG_GETARG_UUID_P(0);
	completion.status = PG_GETARG_INT32(2);
	completion.headers = PG_ARGISNULL(3) ? DatumGetJsonbP(jsonb_from_text("{}")) : PG_GETARG_JSONB_P(3);
	if (!PG_ARGISNULL(4))
	{
		bytea	   *body = PG_GETARG_BYTEA_PP(4);

		completion.body = VARDATA_ANY(body);
		completion.body_length = VARSIZE_ANY_EXHDR(body);
		completion.answer = parse_json_quietly(completion.body, completion.body_length);
	}

	commit_without_waiting();
	begin_command();
	if (lock_leased(&completion, PG_GETARG_UUID_P(1)))
	{
		give_back_token(&completion, now);
		verdict = judge_answer(&completion);
		if (verdict == ANSWER_GOOD || verdict == ANSWER_FAILED)
			outcome = store_final(&completion, verdict == ANSWER_GOOD, now);
		else
			outcome = put_back_request(&completion, verdict, now);
	}
	SPI_finish();
	result = cstring_to_text(outcome);
	PG_RETURN_TEXT_P(result);
}

/* Answers that are stored together. */
typedef struct Batch
{
	int			count;
	Completion *completions;
	bool	   *stored;
	TimestampTz now;
} Batch;

/* An array argument without NULLs, and of as many elements as the first. */
static Datum *
array_argument(FunctionCallInfo fcinfo, int number, const char *name, Oid type, int *count)
{
	ArrayType  *array;
	Datum	   *elements;
	int16		length;
	bool		by_value;
	char		align;
	int			found;

	require_argument(fcinfo, number, name);
	array = PG_GETARG_ARRAYTYPE_P(number);
	get_typlenbyvalalign(type, &length, &by_value, &align);
	if (ARR_HASNULL(array) || ARR_NDIM(array) > 1)
		refuse(BAD_REQUEST, psprintf("\"argument\": \"%s\"", name), "Give an array of one dimension, without NULLs.",
			   "argument %s has NULLs, or more dimensions than one", name);
	deconstruct_array(array, type, length, by_value, align, &elements, NULL, &found);
	if (*count >= 0 && *count != found)
		refuse(BAD_REQUEST, psprintf("\"argument\": \"%s\"", name), "Give arrays of the same length.",
			   "argument %s has %d elements and not %d", name, found, *count);
	*count = found;
	return elements;
}

/* For try_step: parses all bodies, or none. */
static void
parse_bodies(void *argument)
{
	Batch	   *batch = argument;

	for (int i = 0; i < batch->count; i++)
		batch->completions[i].answer = parse_json(batch->completions[i].body, batch->completions[i].body_length);
}

/* For try_step: applies the effects of all answers that are stored, or of none. */
static void
apply_effects(void *argument)
{
	Batch	   *batch = argument;

	for (int i = 0; i < batch->count; i++)
		if (batch->stored[i])
			apply_stripe_answer(&batch->completions[i].call);
}

/* Stores the good answers that may be stored together, and so learns whose they are. */
static void
store_batch(Batch *batch, Datum *ids, Datum *lease_tokens, Datum *statuses)
{
	Datum	   *request_ids = palloc0(sizeof(Datum) * batch->count);
	bool	   *no_request_id = palloc(sizeof(bool) * batch->count);
	Datum	   *answers = palloc0(sizeof(Datum) * batch->count);
	bool	   *bad = palloc(sizeof(bool) * batch->count);
	Datum		values[7];
	uint64		rows;

	for (int i = 0; i < batch->count; i++)
	{
		Completion *completion = &batch->completions[i];
		char	   *request_id = json_string_at(completion->headers, JSON_PATH("request-id"));

		no_request_id[i] = request_id == NULL;
		if (request_id != NULL)
			request_ids[i] = CStringGetTextDatum(request_id);
		bad[i] = judge_answer(completion) != ANSWER_GOOD;
		if (!bad[i])
			answers[i] = kept_answer(completion->answer);
	}
	values[0] = uuid_array(ids, batch->count);
	values[1] = uuid_array(lease_tokens, batch->count);
	values[2] = array_with_nulls(statuses, NULL, batch->count, INT4OID);
	values[3] = array_with_nulls(request_ids, no_request_id, batch->count, TEXTOID);
	values[4] = array_with_nulls(answers, bad, batch->count, JSONBOID);
	values[5] = TimestampTzGetDatum(batch->now);
	values[6] = kinds_stored_together();
	declare_lock(RANK_REQUEST);
	rows = run_latest(&store_answers, values, NULL);
	for (uint64 row = 0; row < rows; row++)
	{
		int			number = (int) DatumGetInt64(row_datum(row, 1)) - 1;
		Completion *completion = &batch->completions[number];

		completion->call = row_call(row, 2);
		completion->call.answer = completion->answer;
		completion->call.now = batch->now;
		completion->endpoint = row_text(row, 6);
		completion->leased_at = DatumGetTimestampTz(row_datum(row, 7));
		give_back_token(completion, batch->now);
		batch->stored[number] = true;
	}
}

/* Applies what was stored: all at once, or, if one of them cannot be, each by itself. */
static void
apply_batch(Batch *batch)
{
	if (try_step(apply_effects, batch) == NULL)
		return;
	for (int i = 0; i < batch->count; i++)
		if (batch->stored[i])
			apply_guarded(&batch->completions[i].call);
}

/* What waited for those that were stored may run. */
static void
wake_for_batch(const Batch *batch, const Datum *ids)
{
	Datum	   *stored = palloc(sizeof(Datum) * batch->count);
	int			count = 0;
	Datum		values[2];

	for (int i = 0; i < batch->count; i++)
		if (batch->stored[i])
			stored[count++] = ids[i];
	if (count == 0)
		return;
	values[0] = uuid_array(stored, count);
	values[1] = TimestampTzGetDatum(batch->now);
	run_latest(&wake_waiting, values, NULL);
}

PG_FUNCTION_INFO_V1(dvnt_relay_complete_many);

/* relay_complete_many(ids, lease_tokens, statuses, headers, bodies) → text[] */
Datum
dvnt_relay_complete_many(PG_FUNCTION_ARGS)
{
	Batch		batch = {.count = -1, .now = engine_now()};
	Datum	   *ids = array_argument(fcinfo, 0, "ids", UUIDOID, &batch.count);
	Datum	   *lease_tokens = array_argument(fcinfo, 1, "lease_tokens", UUIDOID, &batch.count);
	Datum	   *statuses = array_argument(fcinfo, 2, "statuses", INT4OID, &batch.count);
	Datum	   *headers = array_argument(fcinfo, 3, "headers", JSONBOID, &batch.count);
	Datum	   *bodies = array_argument(fcinfo, 4, "bodies", BYTEAOID, &batch.count);
	Datum	   *outcomes = palloc(sizeof(Datum) * (batch.count + 1));

	batch.completions = palloc0(sizeof(Completion) * (batch.count + 1));
	batch.stored = palloc0(sizeof(bool) * (batch.count + 1));
	for (int i = 0; i < batch.count; i++)
	{
		Completion *completion = &batch.completions[i];
		bytea	   *body = DatumGetByteaPP(bodies[i]);

		completion->id = DatumGetUUIDP(ids[i]);
		completion->status = DatumGetInt32(statuses[i]);
		completion->headers = DatumGetJsonbP(headers[i]);
		completion->body = VARDATA_ANY(body);
		completion->body_length = VARSIZE_ANY_EXHDR(body);
	}
	if (batch.count > 0)
	{
		commit_without_waiting();
		if (try_step(parse_bodies, &batch) != NULL)
			for (int i = 0; i < batch.count; i++)
				batch.completions[i].answer = parse_json_quietly(batch.completions[i].body, batch.completions[i].body_length);
		begin_command();
		store_batch(&batch, ids, lease_tokens, statuses);
		apply_batch(&batch);
		wake_for_batch(&batch, ids);
		SPI_finish();
	}
	for (int i = 0; i < batch.count; i++)
		outcomes[i] = CStringGetTextDatum(batch.stored[i] ? "done" : "alone");
	PG_RETURN_DATUM(text_array(outcomes, batch.count));
}

/* Applies answers whose effect had failed; returns how many were tried. */
int
sweep_unapplied_answers(int max_rows, TimestampTz now)
{
	Datum		limit = Int32GetDatum(max_rows);
	uint64		rows = run_latest(&unapplied_requests, &limit, NULL);
	StripeAnswer *late = palloc0(sizeof(StripeAnswer) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		late[row] = row_call(row, 1);
		late[row].failed = DatumGetBool(row_datum(row, 5));
		late[row].answer = DatumGetJsonbPCopy(row_datum(row, 6));
		late[row].now = now;
	}
	for (uint64 row = 0; row < rows; row++)
		apply_guarded(&late[row]);
	return (int) rows;
}
