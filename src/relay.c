/*
 * relay.c
 *		The database's side of the relay: it proves where it is, leases requests
 *		and brings their answers back.
 *
 * Reads and writes ticketing.stripe_requests and installation; the effects of
 * an answer are stripe_effects.c's. Locks: rows of stripe_requests (SKIP LOCKED
 * when leasing), then order and what follows it.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/pg_prng.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "dvnt_ticketing.h"

#define SESSION_SECONDS (35 * 60)	/* a Checkout Session's life; Stripe's least is 30 minutes */
#define DUE_ORDERS_PER_CLAIM 100
#define RETRY_FIRST_SECONDS 0.5
#define RETRY_CAP_SECONDS 60.0
#define RETRY_REFUSED_SECONDS 60.0	/* after 401 and 403, which only an operator can mend */
#define UNKNOWN_AFTER_SECONDS (23 * 3600.0) /* Stripe forgets idempotency keys after a day */

KEPT_PLAN(read_installation,
		  "SELECT stripe_account_id, livemode, system_identifier, database_name, name FROM ticketing.installation");
KEPT_PLAN(record_installation,
		  "INSERT INTO ticketing.installation (stripe_account_id, livemode, system_identifier, database_name, name) "
		  "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
		  TEXTOID, BOOLOID, INT8OID, TEXTOID, TEXTOID);
KEPT_PLAN(end_leases,
		  "UPDATE ticketing.stripe_requests r SET state = CASE WHEN r.first_sent_at < $2 THEN 'unknown' ELSE 'ready' END, lease_token = NULL, lease_expires_at = NULL "
		  "FROM (SELECT id FROM ticketing.stripe_requests WHERE state = 'leased' AND lease_expires_at <= $1 FOR UPDATE SKIP LOCKED) e WHERE r.id = e.id",
		  TIMESTAMPTZOID, TIMESTAMPTZOID);
KEPT_PLAN(pick_ready,
		  "SELECT r.id, r.body IS NULL, r.params, CASE WHEN r.customer_of IS NOT NULL THEN 'customer' WHEN r.account_of IS NOT NULL THEN 'account' END, "
		  "       CASE WHEN r.customer_of IS NOT NULL THEN (SELECT c.stripe_customer_id FROM public.stripe_customers c WHERE c.user_id = r.customer_of) "
		  "            ELSE (SELECT p.stripe_account_id FROM ticketing.payees p WHERE p.host_id = r.account_of) END, r.kind "
		  "FROM ticketing.stripe_requests r "
		  "WHERE r.state = 'ready' AND r.run_at <= $1 "
		  "  AND (r.waits_for IS NULL OR EXISTS (SELECT FROM ticketing.stripe_requests w WHERE w.id = r.waits_for AND w.state = 'done' AND w.applied)) "
		  "ORDER BY r.lane, r.seq LIMIT $2 FOR UPDATE OF r SKIP LOCKED",
		  TIMESTAMPTZOID, INT4OID);
KEPT_PLAN(lease,
		  "UPDATE ticketing.stripe_requests SET state = 'leased', attempts = attempts + 1, body = coalesce(body, $2), "
		  "  lease_token = gen_random_uuid(), lease_expires_at = $4, first_sent_at = coalesce(first_sent_at, $3) "
		  "WHERE id = $1 RETURNING id, lease_token, method, path, body, stripe_account, api_version, idempotency_key::text, attempts",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID);
KEPT_PLAN(lock_request,
		  "SELECT state, lease_token, attempts, first_sent_at, id, kind, order_id, user_id "
		  "FROM ticketing.stripe_requests WHERE id = $1 FOR UPDATE",
		  UUIDOID);
KEPT_PLAN(put_back,
		  "UPDATE ticketing.stripe_requests SET state = $2, run_at = $3, http_status = $4, stripe_request_id = coalesce($5, stripe_request_id), error = $6, "
		  "  lease_token = NULL, lease_expires_at = NULL, idempotency_key = CASE WHEN $7 THEN gen_random_uuid() ELSE idempotency_key END "
		  "WHERE id = $1",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID, JSONBOID, BOOLOID);
KEPT_PLAN(store_answer,
		  "UPDATE ticketing.stripe_requests SET state = $2, http_status = $3, stripe_request_id = $4, answer = $5, error = $6, completed_at = $7, "
		  "  applied = false, body = NULL, lease_token = NULL, lease_expires_at = NULL WHERE id = $1",
		  UUIDOID, TEXTOID, INT4OID, TEXTOID, JSONBOID, JSONBOID, TIMESTAMPTZOID);
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

PG_FUNCTION_INFO_V1(dvnt_relay_start);

/* relay_start(account_id, livemode, installation) → jsonb */
Datum
dvnt_relay_start(PG_FUNCTION_ARGS)
{
	char	   *account = text_argument(fcinfo, 0, "account_id");
	bool		livemode;
	char	   *name = optional_text(fcinfo, 2);
	Datum		values[5];
	const char *differs = NULL;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 1, "livemode");
	livemode = PG_GETARG_BOOL(1);
	begin_command();
	values[0] = CStringGetTextDatum(account);
	values[1] = BoolGetDatum(livemode);
	values[2] = Int64GetDatum((int64) GetSystemIdentifier());
	values[3] = CStringGetTextDatum(get_database_name(MyDatabaseId));
	values[4] = CStringGetTextDatum(name ? name : "");
	run_latest(&record_installation, values, NULL);
	if (run_latest(&read_installation, NULL, NULL) != 1)
		elog(ERROR, "the installation could not be recorded");
	if (strcmp(row_text(0, 1), account) != 0)
		differs = "stripe_account_id";
	else if (DatumGetBool(row_datum(0, 2)) != livemode)
		differs = "livemode";
	else if (DatumGetInt64(row_datum(0, 3)) != DatumGetInt64(values[2]))
		differs = "system_identifier";
	else if (strcmp(row_text(0, 4), get_database_name(MyDatabaseId)) != 0)
		differs = "database_name";
	else if (strcmp(row_text(0, 5), name ? name : "") != 0)
		differs = "name";

	answer_begin(&answer);
	answer_bool(&answer, "armed", differs == NULL);
	if (differs != NULL)
	{
		answer_text(&answer, "differs", differs);
		answer_text(&answer, "reason", psprintf("%s is not that of the installation which this database belongs to; if this copy is meant to call Stripe, delete the row of ticketing.installation", differs));
	}
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* A request that is about to be leased. */
typedef struct Candidate
{
	Datum		id;
	bool		frozen;			/* its body is */
	Jsonb	   *params;
	char	   *object;			/* parameter that names whom it is about: customer, account or NULL */
	char	   *object_id;		/* NULL: not known yet */
	bool		needs_end;		/* a Checkout Session's own, counted from when it is sent */
} Candidate;

/* Adds a member to an object that is being written. */
static void
push_member(JsonbParseState **state, char *key, JsonbValue *value)
{
	JsonbValue	name = {.type = jbvString, .val.string = {.len = strlen(key), .val = key}};

	pushJsonbValue(state, WJB_KEY, &name);
	pushJsonbValue(state, WJB_VALUE, value);
}

/* The form body of a request, with what is known only now: the customer or account it waited for, the end of a session. */
static char *
freeze_body(const Candidate *candidate, TimestampTz now)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue *whole;

	if (candidate->object == NULL && !candidate->needs_end)
		return encode_stripe_form(candidate->params);
	iterator = JsonbIteratorInit(&candidate->params->root);
	token = JsonbIteratorNext(&iterator, &value, true);
	pushJsonbValue(&state, token, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) == WJB_KEY)
	{
		pushJsonbValue(&state, WJB_KEY, &value);
		token = JsonbIteratorNext(&iterator, &value, true);
		pushJsonbValue(&state, token, &value);
	}
	if (candidate->object != NULL)
	{
		value.type = jbvString;
		value.val.string.val = candidate->object_id;
		value.val.string.len = strlen(candidate->object_id);
		push_member(&state, candidate->object, &value);
	}
	if (candidate->needs_end)
	{
		value.type = jbvNumeric;
		value.val.numeric = int64_to_numeric(unix_seconds(now) + SESSION_SECONDS);
		push_member(&state, "expires_at", &value);
	}
	whole = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return encode_stripe_form(JsonbValueToJsonb(whole));
}

/* Picks what may run now, locked; somebody else's picks are skipped. */
static uint64
pick_candidates(int32 max_rows, TimestampTz now, Candidate **candidates)
{
	Datum		values[2] = {TimestampTzGetDatum(now), Int32GetDatum(max_rows)};
	uint64		rows = run_latest(&pick_ready, values, NULL);

	*candidates = palloc0(sizeof(Candidate) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		Candidate  *candidate = &(*candidates)[row];

		candidate->id = uuid_copy(row_datum(row, 1));
		candidate->frozen = !DatumGetBool(row_datum(row, 2));
		candidate->params = DatumGetJsonbPCopy(row_datum(row, 3));
		candidate->object = row_text(row, 4);
		candidate->object_id = row_text(row, 5);
		candidate->needs_end = strcmp(row_text(row, 6), "create_checkout_session") == 0;
	}
	return rows;
}

PG_FUNCTION_INFO_V1(dvnt_relay_claim);

/* relay_claim(max_rows, lease) → rows */
Datum
dvnt_relay_claim(PG_FUNCTION_ARGS)
{
	Interval   *length;
	int32		max_rows;
	TimestampTz now = engine_now();
	TimestampTz end;
	Candidate  *candidates;
	uint64		count;
	Datum		ended[2];

	require_argument(fcinfo, 0, "max_rows");
	require_argument(fcinfo, 1, "lease");
	max_rows = PG_GETARG_INT32(0);
	length = PG_GETARG_INTERVAL_P(1);
	if (max_rows < 1 || interval_seconds(length) <= 0)
		refuse(BAD_REQUEST, NULL, NULL, "max_rows and lease must be above zero");
	InitMaterializedSRF(fcinfo, 0);
	begin_command();
	end = add_seconds(now, interval_seconds(length));
	ended[0] = TimestampTzGetDatum(now);
	ended[1] = TimestampTzGetDatum(add_seconds(now, -UNKNOWN_AFTER_SECONDS));
	run_latest(&end_leases, ended, NULL);
	count = pick_candidates(max_rows, now, &candidates);
	for (uint64 i = 0; i < count; i++)
	{
		char		nulls[5] = "    ";
		Datum		values[4] = {candidates[i].id, (Datum) 0, TimestampTzGetDatum(now), TimestampTzGetDatum(end)};

		if (candidates[i].object != NULL && candidates[i].object_id == NULL)
			continue;			/* the customer or account has been made, but is not in its table */
		if (candidates[i].frozen)
			nulls[1] = 'n';
		else
			values[1] = CStringGetTextDatum(freeze_body(&candidates[i], now));
		run_latest(&lease, values, nulls);
		rows_to_result(fcinfo);
	}
	(void) end_due_orders(DUE_ORDERS_PER_CLAIM, now);
	SPI_finish();
	return (Datum) 0;
}

/* A leased request whose answer has come. */
typedef struct Completion
{
	pg_uuid_t  *id;
	int			status;			/* HTTP; 0: no answer */
	Jsonb	   *headers;
	const char *body;
	size_t		body_length;
	Jsonb	   *answer;			/* the body, if it is JSON */
	/* of the request */
	int32		attempts;
	TimestampTz first_sent_at;
	StripeAnswer call;			/* answer and now: when its effect is applied */
} Completion;

static bool
header_is(const Completion *completion, const char *name, const char *value)
{
	char	   *found = json_string_at(completion->headers, JSON_PATH(name));

	return found != NULL && pg_strcasecmp(found, value) == 0;
}

/* What Stripe said went wrong, as we keep it. */
static const char *
error_json(const Completion *completion)
{
	static const char *const fields[] = {"type", "code", "decline_code", "param", "message"};
	Answer		error;

	answer_begin(&error);
	answer_int(&error, "http_status", completion->status);
	if (completion->answer != NULL)
		for (size_t i = 0; i < lengthof(fields); i++)
		{
			char	   *value = json_string_at(completion->answer, JSON_PATH("error", fields[i]));

			if (value != NULL)
				answer_text(&error, fields[i], value);
		}
	else if (completion->status == 0)
		answer_text(&error, "message", json_string_at(completion->headers, JSON_PATH("error")));
	return answer_end(&error);
}

/* The fields of a good answer that are kept; secrets are not among them. */
static const char *
kept_answer(Jsonb *body)
{
	static const char *const texts[] = {"id", "object", "status", "payment_status", "currency", "customer", "latest_charge", "payment_intent", "failure_reason"};
	static const char *const numbers[] = {"amount", "amount_received", "created"};
	Answer		kept;
	char	   *destination = json_string_at(body, JSON_PATH("transfer_data", "destination"));
	char	   *order_id = json_string_at(body, JSON_PATH("metadata", "order_id"));
	int64		number;
	bool		livemode;

	answer_begin(&kept);
	for (size_t i = 0; i < lengthof(texts); i++)
	{
		char	   *value = json_string_at(body, JSON_PATH(texts[i]));

		if (value != NULL)
			answer_text(&kept, texts[i], value);
	}
	for (size_t i = 0; i < lengthof(numbers); i++)
		if (json_int_at(body, JSON_PATH(numbers[i]), &number))
			answer_int(&kept, numbers[i], number);
	if (json_bool_at(body, JSON_PATH("livemode"), &livemode))
		answer_bool(&kept, "livemode", livemode);
	if (destination != NULL)
	{
		Answer		transfer_data;

		answer_begin(&transfer_data);
		answer_text(&transfer_data, "destination", destination);
		answer_raw(&kept, "transfer_data", answer_end(&transfer_data));
	}
	if (order_id != NULL)
	{
		Answer		metadata;

		answer_begin(&metadata);
		answer_text(&metadata, "order_id", order_id);
		answer_raw(&kept, "metadata", answer_end(&metadata));
	}
	return answer_end(&kept);
}

/* What is to become of a request whose answer is not a good one. */
typedef enum Verdict
{
	ANSWER_GOOD,
	ANSWER_FAILED,				/* it will never succeed */
	ANSWER_RETRY,				/* same key, same bytes, later */
	ANSWER_RETRY_NEW_KEY,		/* Stripe replays a stored 500, and would all day: nobody has seen what it did */
	ANSWER_PAUSE,				/* rate limit: later, and not an attempt */
	ANSWER_STOP					/* the key or TLS is wrong: an operator is needed */
} Verdict;

static Verdict
judge_answer(const Completion *completion)
{
	int			status = completion->status;
	char	   *code;
	bool		tls;
	bool		refused;

	if (status == 0 && json_bool_at(completion->headers, JSON_PATH("refused"), &refused) && refused)
		return ANSWER_FAILED;	/* the relay cannot send what is in the row */
	if (status == 0)
		return json_bool_at(completion->headers, JSON_PATH("tls"), &tls) && tls ? ANSWER_STOP : ANSWER_RETRY;
	if (status >= 200 && status < 300)
		return completion->answer != NULL ? ANSWER_GOOD : ANSWER_RETRY;
	code = completion->answer ? json_string_at(completion->answer, JSON_PATH("error", "code")) : NULL;
	if (status == 403 && code != NULL && strcmp(code, "account_invalid") == 0)
		return ANSWER_FAILED;	/* the key is good, but not for this connected account */
	if (status == 401 || status == 403)
		return ANSWER_STOP;
	if (status == 429)
		return code != NULL && strcmp(code, "lock_timeout") == 0 ? ANSWER_RETRY : ANSWER_PAUSE;
	if (status >= 500 && header_is(completion, "idempotent-replayed", "true"))
		return ANSWER_RETRY_NEW_KEY;
	if (header_is(completion, "stripe-should-retry", "true"))
		return ANSWER_RETRY;
	if (header_is(completion, "stripe-should-retry", "false"))
		return ANSWER_FAILED;
	return status == 409 || status >= 500 ? ANSWER_RETRY : ANSWER_FAILED;
}

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

/* Puts a request back to be sent again, or gives it up as unknown. */
static const char *
put_back_request(const Completion *completion, Verdict verdict, TimestampTz now)
{
	bool		too_old = now >= add_seconds(completion->first_sent_at, UNKNOWN_AFTER_SECONDS);
	char		nulls[8] = "       ";
	Datum		values[7];

	values[0] = UUIDPGetDatum(completion->id);
	values[1] = CStringGetTextDatum(too_old ? "unknown" : "ready");
	values[2] = TimestampTzGetDatum(add_seconds(now, retry_delay(verdict, completion->attempts)));
	values[3] = Int32GetDatum(completion->status);
	values[4] = text_or_null(json_string_at(completion->headers, JSON_PATH("request-id")), &nulls[4]);
	values[5] = jsonb_from_text(error_json(completion));
	values[6] = BoolGetDatum(verdict == ANSWER_RETRY_NEW_KEY);
	run_latest(&put_back, values, nulls);
	return verdict == ANSWER_STOP ? "stop" : "retry";
}

/* What an effect needs to know of a request: its id, kind, order and user, from these columns of a row. */
static StripeAnswer
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

/* Applies an answer's effect; if it fails, the error is kept beside the answer. */
static void
apply_guarded(StripeAnswer *call)
{
	char		nulls[3] = "  ";
	Datum		values[2] = {UUIDPGetDatum(call->request_id)};

	values[1] = text_or_null(try_step(apply_effect, call), &nulls[1]);
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

/* Stores a final answer and applies its effect; a failure takes with it what waits for it. */
static const char *
store_final(Completion *completion, bool good, TimestampTz now)
{
	char		nulls[8] = "       ";
	Datum		values[7];

	values[0] = UUIDPGetDatum(completion->id);
	values[1] = CStringGetTextDatum(good ? "done" : "failed");
	values[2] = Int32GetDatum(completion->status);
	values[3] = text_or_null(json_string_at(completion->headers, JSON_PATH("request-id")), &nulls[3]);
	nulls[4] = good ? ' ' : 'n';
	values[4] = good ? jsonb_from_text(kept_answer(completion->answer)) : (Datum) 0;
	nulls[5] = good ? 'n' : ' ';
	values[5] = good ? (Datum) 0 : jsonb_from_text(error_json(completion));
	values[6] = TimestampTzGetDatum(now);
	run_latest(&store_answer, values, nulls);
	completion->call.failed = !good;
	completion->call.answer = good ? completion->answer : DatumGetJsonbP(values[5]);
	completion->call.now = now;
	apply_guarded(&completion->call);
	if (!good)
		fail_those_waiting(completion->id, completion->call.answer, now);
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
	return true;
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

	begin_command();
	if (lock_leased(&completion, PG_GETARG_UUID_P(1)))
	{
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
