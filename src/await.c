/*
 * await.c
 *		Waiting for the relay's answer, without a lock on any row.
 *
 * Reads ticketing.stripe_requests and stripe_handoff. Takes one of a bounded
 * number of waiting places (an advisory lock of its own).
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "dvnt_ticketing.h"

#define AWAIT_LONGEST_MS 3000
#define AWAIT_FIRST_PAUSE_MS 5
#define AWAIT_LONGEST_PAUSE_MS 80

KEPT_PLAN(read_request,
		  "SELECT r.state, r.applied, r.kind, r.answer ->> 'id', coalesce(r.answer ->> 'customer', c.stripe_customer_id), "
		  "       CASE WHEN h.created_at > $3 - interval '15 minutes' THEN h.client_secret END, "
		  "       (SELECT k.ephemeral_key FROM ticketing.stripe_handoff k WHERE (k.order_id = r.order_id OR k.request_id = r.waits_for) AND k.ephemeral_key IS NOT NULL "
		  "        AND k.created_at > $3 - interval '15 minutes' ORDER BY k.created_at DESC LIMIT 1), "
		  "       r.error::text, r.apply_error, r.xmin, "
		  "       CASE WHEN h.created_at > $3 - interval '15 minutes' THEN h.payment_methods::text END, "
		  "       CASE WHEN h.created_at > $3 - interval '15 minutes' THEN h.url END, h.url_expires_at "
		  "FROM ticketing.stripe_requests r "
		  "LEFT JOIN ticketing.stripe_handoff h ON h.request_id = r.id "
		  "LEFT JOIN public.stripe_customers c ON c.user_id = r.user_id "
		  "WHERE r.id = $1 AND r.user_id = $2",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID);

/* Reads the request; true when there is nothing more to wait for. */
static bool
has_settled(const pg_uuid_t *request_id, const char *user_id)
{
	Datum		values[3] = {UUIDPGetDatum(request_id), CStringGetTextDatum(user_id), TimestampTzGetDatum(engine_now())};
	const char *state;

	if (run_latest(&read_request, values, NULL) == 0)
		refuse(NOT_FOUND, psprintf("\"stripe_request_id\": \"%s\"", uuid_text(request_id)), NULL,
			   "Stripe request %s does not exist", uuid_text(request_id));
	if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(row_datum(0, 10))))
		refuse(WRONG_STATE, psprintf("\"stripe_request_id\": \"%s\"", uuid_text(request_id)),
			   "Commit first: the relay sees a request only then.",
			   "Stripe request %s is of this very transaction", uuid_text(request_id));
	state = row_text(0, 1);
	return strcmp(state, "failed") == 0 || strcmp(state, "unknown") == 0 ||
		(strcmp(state, "done") == 0 && (DatumGetBool(row_datum(0, 2)) || !row_is_null(0, 9)));
}

/* Sleeps until the time is up or something interrupts. */
static void
pause_briefly(long milliseconds)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Waits in one of the places; returns when settled or out of time. */
static void
wait_until_settled(const pg_uuid_t *request_id, const char *user_id, long milliseconds)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
	long		pause = AWAIT_FIRST_PAUSE_MS;
	int			slot;

	if (has_settled(request_id, user_id) || (slot = take_waiter_slot()) < 0)
		return;
	while (GetCurrentTimestamp() < end)
	{
		pause_briefly(pause);
		SPI_freetuptable(SPI_tuptable);
		if (has_settled(request_id, user_id))
			break;
		pause = Min(pause * 2, AWAIT_LONGEST_PAUSE_MS);
	}
	give_back_waiter_slot(slot);
}

/* What the last reading of the request says. */
static Datum
await_answer(void)
{
	const char *state = row_text(0, 1);
	const char *kind = row_text(0, 3);
	bool		done = strcmp(state, "done") == 0;
	bool		applied = DatumGetBool(row_datum(0, 2));
	bool		failed = strcmp(state, "failed") == 0 || strcmp(state, "unknown") == 0 || (done && !row_is_null(0, 9));
	Answer		answer;

	answer_begin(&answer);
	answer_text(&answer, "status", failed ? "failed" : done && applied ? "done" : "queued");
	if (done && strstr(kind, "payment_intent") != NULL)
		answer_text(&answer, "payment_intent_id", row_text(0, 4));
	if (done && strcmp(kind, "create_setup_intent") == 0)
		answer_text(&answer, "setup_intent_id", row_text(0, 4));
	if (done && strcmp(kind, "list_payment_methods") == 0)
		answer_raw(&answer, "payment_methods", row_is_null(0, 11) ? "null" : row_text(0, 11));
	if (done && strstr(kind, "checkout_session") != NULL)
		answer_text(&answer, "checkout_session_id", row_text(0, 4));
	if (done && (strcmp(kind, "create_account_link") == 0 || strstr(kind, "checkout_session") != NULL))
	{
		answer_text(&answer, "url", row_text(0, 12));
		answer_row_time(&answer, "expires_at", 0, 13);
	}
	answer_text(&answer, "customer_id", row_text(0, 5));
	answer_text(&answer, "client_secret", row_text(0, 6));
	answer_text(&answer, "ephemeral_key", row_text(0, 7));
	if (!failed)
		answer_null(&answer, "error");
	else if (!row_is_null(0, 8))
		answer_raw(&answer, "error", row_text(0, 8));
	else
		answer_raw(&answer, "error", done ? "{\"message\": \"the answer could not be applied; it is tried again\"}"
				   : "{\"message\": \"nobody knows whether the call reached Stripe\"}");
	return answer_jsonb(&answer);
}

PG_FUNCTION_INFO_V1(dvnt_await_stripe);

/* await_stripe(stripe_request_id, user_id, timeout) → jsonb */
Datum
dvnt_await_stripe(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *request_id;
	char	   *user_id;
	long		milliseconds = AWAIT_LONGEST_MS;
	Datum		result;

	require_argument(fcinfo, 0, "stripe_request_id");
	request_id = PG_GETARG_UUID_P(0);
	user_id = text_argument(fcinfo, 1, "user_id");
	if (!PG_ARGISNULL(2))
	{
		Interval   *timeout = PG_GETARG_INTERVAL_P(2);

		if (timeout->time < 0 || timeout->day < 0 || timeout->month < 0)
			refuse(BAD_REQUEST, "\"argument\": \"timeout\"", NULL, "timeout is negative");
		if (timeout->day == 0 && timeout->month == 0 && timeout->time < AWAIT_LONGEST_MS * INT64CONST(1000))
			milliseconds = timeout->time / 1000;
	}
	begin_command();
	wait_until_settled(request_id, user_id, milliseconds);
	result = SPI_datumTransfer(await_answer(), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
