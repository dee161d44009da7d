/*
 * relay.c
 *		The database's side of the relay: it proves where it is, and brings
 *		answers back. What it may send is relay_claim.c's.
 *
 * Reads and writes ticketing.stripe_requests and installation; the effects of
 * an answer are stripe_effects.c's. Locks: the row of the request, then order
 * and what follows it.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/pg_prng.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "dvnt_ticketing.h"

#define RETRY_FIRST_SECONDS 0.5
#define RETRY_CAP_SECONDS 60.0
#define RETRY_REFUSED_SECONDS 60.0	/* after 401 and 403, which only an operator can mend */

KEPT_PLAN(read_installation,
		  "SELECT stripe_account_id, livemode, system_identifier, database_name, name FROM ticketing.installation");
KEPT_PLAN(record_installation,
		  "INSERT INTO ticketing.installation (stripe_account_id, livemode, system_identifier, database_name, name) "
		  "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
		  TEXTOID, BOOLOID, INT8OID, TEXTOID, TEXTOID);
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
KEPT_PLAN(wake_waiting,
		  "UPDATE ticketing.stripe_requests SET runnable = true, run_at = $2 WHERE waits_for = $1 AND state = 'ready' AND NOT runnable",
		  UUIDOID, TIMESTAMPTZOID);
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
		answer_text(&answer, "reason", psprintf("%s is not that of the installation which this database belongs to; if this copy is meant to call Stripe, call ticketing.rearm_relay", differs));
	}
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

KEPT_PLAN(forget_installation, "DELETE FROM ticketing.installation");
KEPT_PLAN(drop_pending,
		  "UPDATE ticketing.stripe_requests SET state = 'failed', applied = true, body = NULL, error = $1, completed_at = $2, lease_token = NULL, lease_expires_at = NULL "
		  "WHERE state IN ('ready', 'leased', 'unknown')",
		  JSONBOID, TIMESTAMPTZOID);

PG_FUNCTION_INFO_V1(dvnt_rearm_relay);

/* rearm_relay(database, pending) → jsonb */
Datum
dvnt_rearm_relay(PG_FUNCTION_ARGS)
{
	char	   *database = text_argument(fcinfo, 0, "database");
	char	   *pending = text_argument(fcinfo, 1, "pending");
	bool		drops = strcmp(pending, "drop") == 0;
	Datum		values[2];
	uint64		dropped = 0;
	Answer		answer;
	Datum		result;

	if (strcmp(database, get_database_name(MyDatabaseId)) != 0)
		refuse(BAD_REQUEST, "\"argument\": \"database\"", "Name the database that you are connected to.",
			   "this is not database \"%s\"", database);
	if (!drops && strcmp(pending, "send") != 0)
		refuse(BAD_REQUEST, "\"argument\": \"pending\"", "Say send or drop.", "pending is \"%s\"", pending);
	begin_command();
	run_latest(&forget_installation, NULL, NULL);
	if (drops)
	{
		values[0] = jsonb_from_text("{\"http_status\": 0, \"message\": \"dropped when the relay was armed for another installation\"}");
		values[1] = TimestampTzGetDatum(engine_now());
		dropped = run_latest(&drop_pending, values, NULL);
	}
	answer_begin(&answer);
	answer_int(&answer, "dropped", (int64) dropped);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* What is wrong, the worst first; created_at and completed_at are the engine's time. */
KEPT_PLAN(find_trouble,
		  "SELECT reason FROM (VALUES "
		  "  (1, NOT EXISTS (SELECT FROM ticketing.installation), 'no relay has recorded whose database this is'), "
		  "  (2, NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay' AND datname = current_database()), 'no relay is connected'), "
		  "  (3, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state = 'leased' AND lease_expires_at < $1 - interval '1 minute'), 'leases have run out and nobody claims'), "
		  "  (4, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state = 'ready' AND runnable AND lane = 0 AND created_at < $1 - interval '1 minute'), 'a refund or cancel has waited for more than a minute'), "
		  "  (5, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state = 'ready' AND runnable AND lane = 1 AND created_at < $1 - interval '15 minutes'), 'a buyer has waited for more than 15 minutes'), "
		  "  (6, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state IN ('done', 'failed') AND NOT applied AND completed_at < $1 - interval '5 minutes'), 'an answer could not be applied for more than 5 minutes'), "
		  "  (7, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state = 'unknown' AND lookup_id = id), 'of a request only a person can tell whether it happened'), "
		  "  (8, EXISTS (SELECT FROM ticketing.stripe_buckets WHERE paused_until > $1 AND pauses >= 4), 'Stripe keeps saying 429')) "
		  "AS t (rank, is_so, reason) WHERE is_so ORDER BY rank LIMIT 1",
		  TIMESTAMPTZOID);

PG_FUNCTION_INFO_V1(dvnt_relay_health);

/* relay_health() → healthy, reason */
Datum
dvnt_relay_health(PG_FUNCTION_ARGS)
{
	TupleDesc	description;
	Datum		now = TimestampTzGetDatum(engine_now());
	Datum		values[2] = {BoolGetDatum(true), (Datum) 0};
	bool		nulls[2] = {false, true};
	Datum		result;

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "relay_health returns no row");
	description = BlessTupleDesc(description);
	begin_command();
	if (run_stable(&find_trouble, &now, NULL) > 0)
	{
		values[0] = BoolGetDatum(false);
		values[1] = CStringGetTextDatum(row_text(0, 1));
		nulls[1] = false;
	}
	result = SPI_datumTransfer(HeapTupleGetDatum(heap_form_tuple(description, values, nulls)), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
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
	char	   *endpoint;
	TimestampTz leased_at;
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

/* Seconds that Stripe asked to wait, or 0. */
static double
retry_after(const Completion *completion)
{
	char	   *value = json_string_at(completion->headers, JSON_PATH("retry-after"));
	char	   *end;
	double		seconds;

	if (value == NULL)
		return 0;
	seconds = strtod(value, &end);
	return end == value || *end != '\0' || !(seconds > 0) ? 0 : seconds;
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
	values[4] = call->failed ? (Datum) 0 : jsonb_from_text(kept_answer(call->answer));
	nulls[5] = call->failed ? ' ' : 'n';
	values[5] = call->failed ? JsonbPGetDatum(call->answer) : (Datum) 0;
	values[6] = TimestampTzGetDatum(now);
	values[7] = text_or_null(try_effect(call), &nulls[7]);
	run_latest(&store_answer, values, nulls);
	if (call->failed)
		fail_those_waiting(call->request_id, call->answer, now);
	else
	{
		Datum		waiting[2] = {values[0], values[6]};

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

PG_FUNCTION_INFO_V1(dvnt_relay_complete);

/* relay_complete(id, lease_token, status, headers, body) → text */
Datum
dvnt_relay_complete(PG_FUNCTION_ARGS)
{
	Completion	completion = {0};
	TimestampTz now = engine_now();
	const char *outcome = "stale";
	int64		milliseconds;
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

	/*
	 * What a crash takes back is brought again: the request goes out once more
	 * under its key, and Stripe repeats its answer.
	 */
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	begin_command();
	if (lock_leased(&completion, PG_GETARG_UUID_P(1)))
	{
		if (!json_int_at(completion.headers, JSON_PATH("relay-ms"), &milliseconds) || completion.status == 0)
			milliseconds = 0;
		token_answered(completion.endpoint, completion.leased_at, now, milliseconds * test_clock_rate / 1000.0);
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
