/*
 * payments.c
 *		What an order was offered to be paid by, what Stripe says of it, and how
 *		Stripe is asked to cancel it.
 *
 * An object's state only ever moves on: the same news may come as an answer, as
 * an event, twice, late, or in another order. Reads and writes
 * ticketing.order_payments, writes the object ids of orders and
 * stripe_requests, reads installation; moves orders through orders.c. Locks:
 * the user, the order, then what orders.c takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(owner_of_order,
		  "SELECT user_id, event_id FROM ticketing.orders WHERE order_id = $1", UUIDOID);
KEPT_PLAN(know_payment,
		  "INSERT INTO ticketing.order_payments (object_id, order_id, payment_intent_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) ON CONFLICT DO NOTHING",
		  TEXTOID, UUIDOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(find_payment,
		  "SELECT order_id FROM ticketing.order_payments WHERE object_id = $1 UNION ALL SELECT order_id FROM ticketing.order_payments WHERE payment_intent_id = $1 LIMIT 1", TEXTOID);
KEPT_PLAN(tie_intent,
		  "UPDATE ticketing.order_payments SET payment_intent_id = $2 WHERE object_id = $1 AND payment_intent_id IS DISTINCT FROM $2", TEXTOID, TEXTOID);
/* Onwards only; money that has come has come, whatever was said before. */
KEPT_PLAN(advance_payment,
		  "UPDATE ticketing.order_payments p SET state = $2, updated_at = $3 FROM ticketing.order_payments was "
		  "WHERE p.object_id = was.object_id AND was.object_id = ANY (ARRAY(SELECT i.object_id FROM ticketing.order_payments i WHERE i.payment_intent_id = $1) || $1) AND was.state NOT IN ('succeeded', $2) AND (was.state <> 'canceled' OR $2 = 'succeeded') "
		  "RETURNING p.object_id",
		  TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(payment_state,
		  "SELECT state FROM ticketing.order_payments WHERE payment_intent_id = $1", TEXTOID);
KEPT_PLAN(other_payment,
		  "SELECT FROM ticketing.order_payments WHERE order_id = $1 AND state = 'succeeded' AND payment_intent_id IS DISTINCT FROM $2", UUIDOID, TEXTOID);
KEPT_PLAN(keep_object,
		  "UPDATE ticketing.orders SET payment_intent_id = coalesce($2, payment_intent_id), checkout_session_id = coalesce($3, checkout_session_id), updated_at = $4 WHERE order_id = $1",
		  UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(project_object,
		  "UPDATE public.orders SET stripe_payment_intent_id = coalesce($2, stripe_payment_intent_id), stripe_checkout_session_id = coalesce($3, stripe_checkout_session_id), updated_at = $4 WHERE id = $1",
		  UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(expected_payment,
		  "SELECT o.total_cents, o.currency, o.payee_account, i.livemode FROM ticketing.orders o, ticketing.installation i WHERE o.order_id = $1",
		  UUIDOID);
/* Creates that were never sent; one that is being leased at this moment will be sent. */
KEPT_PLAN(drop_unsent,
		  "WITH unsent AS (SELECT id FROM ticketing.stripe_requests WHERE order_id = $1 AND state = 'ready' AND attempts = 0 "
		  "  AND kind IN ('create_ephemeral_key', 'create_payment_intent', 'create_checkout_session') FOR UPDATE SKIP LOCKED) "
		  "UPDATE ticketing.stripe_requests r SET state = 'failed', applied = true, completed_at = $2, "
		  "  error = '{\"code\": \"order_ended\", \"message\": \"the order ended before the request was sent\"}' FROM unsent u WHERE r.id = u.id",
		  UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(anything_open,
		  "SELECT EXISTS (SELECT FROM ticketing.order_payments WHERE order_id = $1 AND state IN ('open', 'requires_action', 'processing')), "
		  "       EXISTS (SELECT FROM ticketing.stripe_requests WHERE order_id = $1 AND state IN ('ready', 'leased', 'unknown') AND kind IN ('create_payment_intent', 'create_checkout_session'))",
		  UUIDOID);
KEPT_PLAN(creates_under_way,
		  "SELECT FROM ticketing.stripe_requests WHERE order_id = $1 AND state IN ('ready', 'leased', 'unknown') AND kind IN ('create_payment_intent', 'create_checkout_session') LIMIT 1",
		  UUIDOID);
KEPT_PLAN(path_of_request, "SELECT path FROM ticketing.stripe_requests WHERE id = $1", UUIDOID);
KEPT_PLAN(open_payments,
		  "SELECT p.object_id, p.payment_intent_id, EXISTS (SELECT FROM ticketing.stripe_requests r WHERE r.order_id = $1 AND r.state IN ('ready', 'leased', 'unknown') "
		  "  AND r.kind IN ('cancel_payment_intent', 'expire_checkout_session') AND r.path IN ('/v1/payment_intents/' || p.payment_intent_id || '/cancel', '/v1/checkout/sessions/' || p.object_id || '/expire')) "
		  "FROM ticketing.order_payments p WHERE p.order_id = $1 AND p.state IN ('open', 'requires_action', 'processing') ORDER BY p.object_id",
		  UUIDOID);

/* Locks an order for what Stripe says of its payment: a late one asks what else the user has. */
void
lock_order_to_pay(const pg_uuid_t *order_id, LockedOrder *order)
{
	Datum		id = UUIDPGetDatum(order_id);

	if (order_id == NULL || run_latest(&owner_of_order, &id, NULL) == 0)
		elog(ERROR, "order %s does not exist", order_id ? uuid_text(order_id) : "NULL");
	lock_user(row_text(0, 1), DatumGetInt32(row_datum(0, 2)));
	lock_order(order_id, order);
}

/* The order that a PaymentIntent or Checkout Session was made for. */
bool
order_of_payment(const char *object_id, pg_uuid_t *order_id)
{
	Datum		id = CStringGetTextDatum(object_id);

	if (run_latest(&find_payment, &id, NULL) == 0)
		return false;
	*order_id = *DatumGetUUIDP(row_datum(0, 1));
	return true;
}

static bool
is_session(const char *object_id)
{
	return strncmp(object_id, "cs_", 3) == 0;
}

/* Notes an object of an order; known ones stay as they are. */
static void
remember_payment(const pg_uuid_t *order_id, const char *object_id, const char *payment_intent_id, TimestampTz now)
{
	char		nulls[5] = "    ";
	Datum		values[4] = {CStringGetTextDatum(object_id), UUIDPGetDatum(order_id), text_or_null(payment_intent_id, &nulls[2]), TimestampTzGetDatum(now)};

	run_latest(&know_payment, values, nulls);
}

/* Notes how far an object has come; its own id, or NULL when it was there already, or is over. */
static char *
advance(const char *object_id, const char *state, TimestampTz now)
{
	Datum		values[3] = {CStringGetTextDatum(object_id), CStringGetTextDatum(state), TimestampTzGetDatum(now)};

	return run_latest(&advance_payment, values, NULL) == 0 ? NULL : row_text(0, 1);
}

/* Writes the objects that an order is paid by into it. */
static void
name_objects(const pg_uuid_t *order_id, const char *payment_intent_id, const char *session_id, TimestampTz now)
{
	char		nulls[5] = "    ";
	Datum		values[4] = {UUIDPGetDatum(order_id), text_or_null(payment_intent_id, &nulls[1]), text_or_null(session_id, &nulls[2]), TimestampTzGetDatum(now)};

	run_latest(&keep_object, values, nulls);
}

/* Shows them to the application. */
static void
project_objects(const pg_uuid_t *order_id, const char *payment_intent_id, const char *session_id, TimestampTz now)
{
	char		nulls[5] = "    ";
	Datum		values[4] = {UUIDPGetDatum(order_id), text_or_null(payment_intent_id, &nulls[1]), text_or_null(session_id, &nulls[2]), TimestampTzGetDatum(now)};

	declare_lock(RANK_PUBLIC);
	run_latest(&project_object, values, nulls);
}

/* Asks Stripe to end an object that can be paid, before the buyers' own requests. */
static void
ask_for_end(const char *kind, const char *path, const pg_uuid_t *order_id, TimestampTz now)
{
	NewStripeRequest request = {.kind = kind, .lane = STRIPE_LANE_URGENT, .method = "POST", .path = path, .params = "{}", .order_id = order_id};

	enqueue_stripe_request(&request, now);
}

/* Asks how an object stands. Returns the request's id. */
pg_uuid_t *
fetch_payment(const char *object_id, const pg_uuid_t *order_id, int16 lane, TimestampTz now)
{
	NewStripeRequest request = {.kind = "get_payment_intent", .lane = lane, .method = "GET", .params = "{}", .order_id = order_id};

	if (is_session(object_id))
		request.kind = "get_checkout_session";
	request.path = psprintf(is_session(object_id) ? "/v1/checkout/sessions/%s" : "/v1/payment_intents/%s", object_id);
	return enqueue_stripe_request(&request, now);
}

/*
 * Sees to it that nothing more of an order can be paid: what was not sent is
 * dropped, what is open is canceled. False when there is nothing to wait for.
 */
bool
cancel_payments(const LockedOrder *order, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(&order->order_id), TimestampTzGetDatum(now)};
	uint64		rows;
	char	  **objects;
	char	  **intents;
	bool	   *asked;
	bool		creating;

	run_latest(&anything_open, values, NULL);
	creating = DatumGetBool(row_datum(0, 2));
	if (!creating && !DatumGetBool(row_datum(0, 1)))
		return false;
	if (creating)
		run_latest(&drop_unsent, values, NULL);
	rows = run_latest(&open_payments, values, NULL);
	objects = palloc(sizeof(char *) * (rows + 1));
	intents = palloc(sizeof(char *) * (rows + 1));
	asked = palloc(sizeof(bool) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		objects[row] = row_text(row, 1);
		intents[row] = row_text(row, 2);
		asked[row] = DatumGetBool(row_datum(row, 3));
	}
	for (uint64 row = 0; row < rows; row++)
	{
		if (asked[row])
			continue;
		/* a session that has made its PaymentIntent is complete: only that can be canceled */
		if (is_session(objects[row]) && intents[row] == NULL)
			ask_for_end("expire_checkout_session", psprintf("/v1/checkout/sessions/%s/expire", objects[row]), &order->order_id, now);
		else
			ask_for_end("cancel_payment_intent", psprintf("/v1/payment_intents/%s/cancel", intents[row]), &order->order_id, now);
	}
	return rows > 0 || (creating && run_latest(&creates_under_way, values, NULL) > 0);
}

/* An order that waits for its end has it as soon as nothing of it can be paid. */
static OrderOutcome
end_if_nothing_is_open(LockedOrder *order, const char *source, TimestampTz now)
{
	if (order->state != ORDER_EXPIRING && order->state != ORDER_CANCELING)
		return ORDER_STAYED;
	if (cancel_payments(order, now))
		return ORDER_STAYED;
	return order_apply_locked(order, ORDER_EVENT_STRIPE_CANCELED, source, NULL, now);
}

/* Which figure of a paid PaymentIntent is not what the order asks for, or NULL. */
static const char *
payment_difference(const pg_uuid_t *order_id, Jsonb *intent)
{
	Datum		id = UUIDPGetDatum(order_id);
	int64		received = -1;
	bool		livemode = false;
	char	   *currency = json_string_at(intent, JSON_PATH("currency"));
	char	   *destination = json_string_at(intent, JSON_PATH("transfer_data", "destination"));
	char	   *payee;

	if (run_latest(&expected_payment, &id, NULL) == 0)
		return "installation";
	if (!json_int_at(intent, JSON_PATH("amount_received"), &received) || received != DatumGetInt32(row_datum(0, 1)))
		return "amount_received";
	if (currency == NULL || strcmp(currency, row_text(0, 2)) != 0)
		return "currency";
	payee = row_text(0, 3);
	if (destination == NULL || payee == NULL || strcmp(destination, payee) != 0)
		return "transfer_data.destination";
	if (!json_bool_at(intent, JSON_PATH("livemode"), &livemode) || livemode != DatumGetBool(row_datum(0, 4)))
		return "livemode";
	return NULL;
}

/* What is told of a PaymentIntent in an order's log. */
static void
begin_detail(Answer *detail, Jsonb *intent)
{
	answer_begin(detail);
	answer_text(detail, "payment_intent", json_string_at(intent, JSON_PATH("id")));
}

/* A PaymentIntent has succeeded. */
static OrderOutcome
intent_succeeded(LockedOrder *order, const char *intent_id, Jsonb *intent, const char *source, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(&order->order_id), CStringGetTextDatum(intent_id)};
	const char *difference;
	OrderOutcome outcome;
	bool		new_name;
	Answer		detail;
	int64		received;

	if (advance(intent_id, "succeeded", now) == NULL)
		return ORDER_STAYED;
	begin_detail(&detail, intent);
	if (json_int_at(intent, JSON_PATH("amount_received"), &received))
		answer_int(&detail, "amount_received", received);
	if (run_latest(&other_payment, values, NULL) > 0)
	{
		ledger_book_charge(order, intent_id, now);
		outcome = order_apply_locked(order, ORDER_EVENT_DUPLICATE, source, answer_end(&detail), now);
		if (outcome == ORDER_MOVED)
			refund_payment(order, intent_id, "duplicate", now);
		return outcome;
	}
	/* the tickets say what paid for them */
	new_name = order->payment_intent_id == NULL || strcmp(order->payment_intent_id, intent_id) != 0;
	if (new_name)
		name_objects(&order->order_id, intent_id, NULL, now);
	order->payment_intent_id = pstrdup(intent_id);
	difference = payment_difference(&order->order_id, intent);
	if (difference != NULL)
		answer_text(&detail, "differs", difference);
	else
		ledger_book_charge(order, intent_id, now);
	outcome = order_apply_locked(order, difference ? ORDER_EVENT_DIFFERS : ORDER_EVENT_SUCCEEDED, source, answer_end(&detail), now);
	if (new_name)
		project_objects(&order->order_id, intent_id, NULL, now);
	if (order->state == ORDER_PAID)
		refunds_before_payment(order, source, now);
	return outcome;
}

/* A PaymentIntent or Checkout Session cannot be paid any more. */
static OrderOutcome
object_canceled(LockedOrder *order, const char *object_id, const char *source, TimestampTz now)
{
	const char *current = strcmp(order->rail, "checkout_session") == 0 ? order->checkout_session_id : order->payment_intent_id;

	object_id = advance(object_id, "canceled", now);
	if (object_id == NULL)
		return ORDER_STAYED;
	if (order->state == ORDER_EXPIRING || order->state == ORDER_CANCELING)
		return end_if_nothing_is_open(order, source, now);
	/* canceled by somebody else; one that was given up for the other rail is of no consequence */
	if (current == NULL || strcmp(current, object_id) != 0)
		return ORDER_STAYED;
	return order_apply_locked(order, ORDER_EVENT_STRIPE_CANCELED, source, NULL, now);
}

/* What a decline says, for the order's log. */
static const char *
decline_detail(Jsonb *intent)
{
	static const char *const fields[] = {"code", "decline_code", "message"};
	Answer		detail;

	begin_detail(&detail, intent);
	for (size_t i = 0; i < lengthof(fields); i++)
	{
		char	   *value = json_string_at(intent, JSON_PATH("last_payment_error", fields[i]));

		if (value != NULL)
			answer_text(&detail, fields[i], value);
	}
	return answer_end(&detail);
}

/* A PaymentIntent waits for a way to be paid: at first, and again after each decline, which failed says or the object itself. */
static OrderOutcome
intent_unpaid(LockedOrder *order, const char *intent_id, Jsonb *intent, bool failed, const char *source, TimestampTz now)
{
	Datum		id = CStringGetTextDatum(intent_id);
	const char *state = run_latest(&payment_state, &id, NULL) == 0 ? "open" : row_text(0, 1);

	if (strcmp(state, "succeeded") == 0 || strcmp(state, "canceled") == 0)
		return ORDER_STAYED;
	(void) advance(intent_id, "open", now);
	if (!failed && json_object_at(intent, JSON_PATH("last_payment_error")) == NULL)
		return ORDER_STAYED;
	return order_apply_locked(order, ORDER_EVENT_DECLINED, source, decline_detail(intent), now);
}

/* What a PaymentIntent's own state means for its order, which is locked. */
static OrderOutcome
hear_intent(LockedOrder *order, Jsonb *intent, const char *source, TimestampTz now)
{
	char	   *intent_id = json_string_at(intent, JSON_PATH("id"));
	char	   *status = json_string_at(intent, JSON_PATH("status"));
	Answer		detail;

	if (intent_id == NULL || status == NULL)
		return ORDER_STAYED;
	if (strcmp(status, "succeeded") == 0)
		return intent_succeeded(order, intent_id, intent, source, now);
	if (strcmp(status, "canceled") == 0)
		return object_canceled(order, intent_id, source, now);
	if (strcmp(status, "requires_payment_method") == 0)
		return intent_unpaid(order, intent_id, intent, false, source, now);
	begin_detail(&detail, intent);
	if (strcmp(status, "processing") == 0)
		return advance(intent_id, status, now) != NULL
			? order_apply_locked(order, ORDER_EVENT_PROCESSING, source, answer_end(&detail), now) : ORDER_STAYED;
	if (strcmp(status, "requires_action") == 0)
		return advance(intent_id, status, now) != NULL
			? order_apply_locked(order, ORDER_EVENT_REQUIRES_ACTION, source, answer_end(&detail), now) : ORDER_STAYED;
	return ORDER_STAYED;
}

/*
 * What a Checkout Session's own state means for its order, which is locked. It
 * does not tell whom the money goes to: its PaymentIntent is asked for that.
 */
static OrderOutcome
hear_session(LockedOrder *order, Jsonb *session, const char *source, TimestampTz now)
{
	char	   *session_id = json_string_at(session, JSON_PATH("id"));
	char	   *status = json_string_at(session, JSON_PATH("status"));
	char	   *payment_status = json_string_at(session, JSON_PATH("payment_status"));
	char	   *intent_id = json_string_at(session, JSON_PATH("payment_intent"));
	OrderOutcome outcome = ORDER_STAYED;
	Datum		values[2];

	if (session_id == NULL || status == NULL)
		return ORDER_STAYED;
	if (strcmp(status, "expired") == 0)
		return object_canceled(order, session_id, source, now);
	if (strcmp(status, "complete") != 0 || intent_id == NULL)
		return ORDER_STAYED;
	values[0] = CStringGetTextDatum(session_id);
	values[1] = CStringGetTextDatum(intent_id);
	if (run_latest(&tie_intent, values, NULL) > 0)
	{
		outcome = ORDER_MOVED;
		apply_parked_events(intent_id, now);
	}
	/* paid, or settling: what there is to know is the PaymentIntent's */
	if (payment_status != NULL && run_latest(&payment_state, &values[1], NULL) > 0 && strcmp(row_text(0, 1), "succeeded") != 0 &&
		(outcome == ORDER_MOVED || strcmp(payment_status, "paid") == 0))
	{
		fetch_payment(intent_id, &order->order_id, STRIPE_LANE_URGENT, now);
		outcome = ORDER_MOVED;
	}
	return outcome;
}

/* The same of an object that comes with an event. */
OrderOutcome
payment_says(const pg_uuid_t *order_id, Jsonb *object, const char *source, TimestampTz now)
{
	char	   *object_id = json_string_at(object, JSON_PATH("id"));
	LockedOrder order;

	lock_order_to_pay(order_id, &order);
	return object_id != NULL && is_session(object_id) ? hear_session(&order, object, source, now) : hear_intent(&order, object, source, now);
}

/* A PaymentIntent was declined: the buyer may try again. */
OrderOutcome
payment_failed(const pg_uuid_t *order_id, Jsonb *intent, const char *source, TimestampTz now)
{
	LockedOrder order;

	lock_order_to_pay(order_id, &order);
	return intent_unpaid(&order, json_string_at(intent, JSON_PATH("id")), intent, true, source, now);
}

/* A Checkout Session that was complete has failed to be paid: nobody can try again on that page. */
OrderOutcome
session_failed(const pg_uuid_t *order_id, Jsonb *session, const char *source, TimestampTz now)
{
	LockedOrder order;

	lock_order_to_pay(order_id, &order);
	(void) hear_session(&order, session, source, now);
	return order_apply_locked(&order, ORDER_EVENT_HOLD_ENDED, source, NULL, now);
}

/* Whether an object that is not known yet is an order's, by what it says itself: Stripe was asked for it. */
static bool
names_order(const StripeAnswer *call)
{
	char	   *order_id = json_string_at(call->answer, JSON_PATH("metadata", "order_id"));

	return order_id != NULL && strcmp(order_id, uuid_text(call->order_id)) == 0;
}

/* A new object can be paid now: the order is told its name, and the buyer has his time from here on. */
static void
object_created(LockedOrder *order, const char *object_id, TimestampTz now)
{
	const char *intent_id = is_session(object_id) ? NULL : object_id;
	const char *session_id = is_session(object_id) ? object_id : NULL;

	name_objects(&order->order_id, intent_id, session_id, now);
	give_time_to_pay(order, now);
	project_objects(&order->order_id, intent_id, session_id, now);
}

/*
 * An answer that shows a PaymentIntent or Checkout Session: ties a new one to
 * its order, hears what it says of itself and what was said of it before it was
 * known.
 */
static void
object_answered(const StripeAnswer *call, const char *rail)
{
	char	   *object_id = answer_field(call, "id");
	bool		session = is_session(object_id);
	char	   *source = psprintf("request %s", uuid_text(call->request_id));
	char	   *secret = json_string_at(call->answer, session ? (const char *const[]){"url"} : (const char *const[]){"client_secret"}, 1);
	bool		is_create = strncmp(call->kind, "create_", 7) == 0;
	pg_uuid_t	known_order;
	LockedOrder order;

	lock_order_to_pay(call->order_id, &order);
	if (is_create || names_order(call))
		remember_payment(call->order_id, object_id, session ? NULL : object_id, call->now);
	if (!order_of_payment(object_id, &known_order) || memcmp(known_order.data, call->order_id->data, UUID_LEN) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("%s is not of order %s", object_id, uuid_text(call->order_id))));
	if (session)
		(void) hear_session(&order, call->answer, source, call->now);
	else
		(void) hear_intent(&order, call->answer, source, call->now);
	apply_parked_events(object_id, call->now);
	/* it is ours all the time, but the events may have moved it */
	(void) begin_locking(RANK_NONE);
	lock_order(call->order_id, &order);
	if (order.state == ORDER_AWAITING_PAYMENT && strcmp(order.rail, rail) == 0)
	{
		if (is_create)
			object_created(&order, object_id, call->now);
		/* in an answer that is applied late there is no secret any more: the buyer asks again for it */
		if (call->user_id != NULL && secret != NULL)
			keep_for_client(call, session ? &(Handoff) {.url = secret, .url_expires_at = order.expires_at} : &(Handoff) {.client_secret = secret});
	}
	else if (is_create && order.state != ORDER_PROCESSING)
		(void) cancel_payments(&order, call->now);
}

/* create_payment_intent, get_payment_intent, cancel_payment_intent */
void
payment_intent_answered(const StripeAnswer *call)
{
	object_answered(call, "payment_intent");
}

/* create_checkout_session, get_checkout_session, expire_checkout_session */
void
checkout_session_answered(const StripeAnswer *call)
{
	object_answered(call, "checkout_session");
}

/* An object will not be made; an order that only waited for it has ended. */
void
payment_creation_failed(const StripeAnswer *call)
{
	LockedOrder order;

	lock_order_to_pay(call->order_id, &order);
	(void) end_if_nothing_is_open(&order, psprintf("request %s", uuid_text(call->request_id)), call->now);
}

/* The object of a request's path: /v1/payment_intents/ID/cancel, /v1/checkout/sessions/ID. */
static char *
object_of_path(const pg_uuid_t *request_id)
{
	Datum		id = UUIDPGetDatum(request_id);
	char	   *path = run_latest(&path_of_request, &id, NULL) == 0 ? "" : row_text(0, 1);
	char	   *start = strstr(path, "/pi_");
	char	   *end;

	if (start == NULL)
		start = strstr(path, "/cs_");
	if (start == NULL)
		elog(ERROR, "no payment is named by \"%s\"", path);
	start++;
	end = strchr(start, '/');
	return end == NULL ? start : pnstrdup(start, end - start);
}

/* What cannot be canceled has been paid, is settling, or is over: Stripe is asked which. */
void
payment_cancel_failed(const StripeAnswer *call)
{
	if (call->order_id != NULL)
		fetch_payment(object_of_path(call->request_id), call->order_id, STRIPE_LANE_URGENT, call->now);
}

/* What does not exist cannot be paid. */
void
payment_fetch_failed(const StripeAnswer *call)
{
	LockedOrder order;
	int64		status = 0;

	if (!json_int_at(call->answer, JSON_PATH("http_status"), &status) || status != 404)
		return;
	lock_order_to_pay(call->order_id, &order);
	(void) object_canceled(&order, object_of_path(call->request_id), psprintf("request %s", uuid_text(call->request_id)), call->now);
}
