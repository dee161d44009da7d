/*
 * refunds.c
 *		Giving back payments in full: those that came when the seats were gone,
 *		and second ones for the same order. Each once.
 *
 * Reads and writes ticketing.refunds, writes stripe_requests; moves orders
 * through orders.c. The callers hold the order's lock.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(insert_refund,
		  "INSERT INTO ticketing.refunds (refund_id, order_id, event_id, payment_intent_id, reason, stripe_request_id, created_at, updated_at, amount_cents, buyer_fee_cents, organizer_fee_cents) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10)",
		  UUIDOID, UUIDOID, INT4OID, TEXTOID, TEXTOID, UUIDOID, TIMESTAMPTZOID, INT4OID, INT4OID, INT4OID);
KEPT_PLAN(refund_exists,
		  "SELECT FROM ticketing.refunds WHERE payment_intent_id = $1", TEXTOID);
KEPT_PLAN(find_refund,
		  "SELECT order_id, stripe_refund_id, state FROM ticketing.refunds WHERE stripe_refund_id = $1 OR payment_intent_id = $2", TEXTOID, TEXTOID);
KEPT_PLAN(refund_of_request,
		  "SELECT refund_id, reason, state FROM ticketing.refunds WHERE stripe_request_id = $1 OR stripe_refund_id = $2", UUIDOID, TEXTOID);
KEPT_PLAN(set_refund,
		  "UPDATE ticketing.refunds SET state = $2, stripe_refund_id = coalesce($3, stripe_refund_id), failure = $4, updated_at = $5 WHERE refund_id = $1",
		  UUIDOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);

/* The parameters of a full refund of a destination charge. */
static const char *
refund_params(const LockedOrder *order, const char *payment_intent_id, const char *reason, const pg_uuid_t *refund_id)
{
	Answer		params;
	Answer		metadata;

	answer_begin(&params);
	answer_text(&params, "payment_intent", payment_intent_id);
	answer_text(&params, "reason", strcmp(reason, "duplicate") == 0 ? "duplicate" : "requested_by_customer");
	answer_bool(&params, "reverse_transfer", true);
	answer_bool(&params, "refund_application_fee", true);
	answer_begin(&metadata);
	answer_uuid(&metadata, "order_id", &order->order_id);
	answer_uuid(&metadata, "refund_id", refund_id);
	answer_raw(&params, "metadata", answer_end(&metadata));
	return answer_end(&params);
}

/* Gives a payment back in full, once. reason: late or duplicate. */
void
refund_payment(const LockedOrder *order, const char *payment_intent_id, const char *reason, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "create_refund", .lane = STRIPE_LANE_URGENT, .method = "POST", .path = "/v1/refunds",
		.order_id = &order->order_id, .event_id = order->event_id
	};
	pg_uuid_t  *refund_id = new_uuid();
	Datum		values[10];

	values[3] = CStringGetTextDatum(payment_intent_id);
	if (run_latest(&refund_exists, &values[3], NULL) > 0)
		return;
	request.params = refund_params(order, payment_intent_id, reason, refund_id);
	values[0] = UUIDPGetDatum(refund_id);
	values[1] = UUIDPGetDatum(&order->order_id);
	values[2] = Int32GetDatum(order->event_id);
	values[4] = CStringGetTextDatum(reason);
	values[5] = UUIDPGetDatum(enqueue_stripe_request(&request, now));
	values[6] = TimestampTzGetDatum(now);
	values[7] = Int32GetDatum(order->total_cents);
	values[8] = Int32GetDatum(order->buyer_fee_cents);
	values[9] = Int32GetDatum(order->organizer_fee_cents);
	run_latest(&insert_refund, values, NULL);
}

/* Stripe says something of a refund: if it is ours, it is asked how it stands. False when it is not. */
bool
fetch_refund(const char *stripe_refund_id, const char *payment_intent_id, pg_uuid_t *order_id, TimestampTz now)
{
	NewStripeRequest request = {.kind = "get_refund", .lane = STRIPE_LANE_URGENT, .method = "GET", .params = "{}", .order_id = order_id};
	char		nulls[3] = "  ";
	Datum		values[2] = {text_or_null(stripe_refund_id, &nulls[0]), text_or_null(payment_intent_id, &nulls[1])};
	const char *known;

	if (run_latest(&find_refund, values, nulls) == 0)
		return false;
	*order_id = *DatumGetUUIDP(row_datum(0, 1));
	known = row_text(0, 2);
	/* without its answer yet: that will say how it stands, and a refund of the payment that is not ours is no news of ours */
	if (known != NULL && (stripe_refund_id == NULL || strcmp(known, stripe_refund_id) == 0))
	{
		request.path = psprintf("/v1/refunds/%s", known);
		enqueue_stripe_request(&request, now);
	}
	return true;
}

/* How a refund ended, told to its order. */
static void
tell_order(LockedOrder *order, const char *reason, bool succeeded, const char *source, const char *detail, TimestampTz now)
{
	if (strcmp(reason, "late") == 0)
	{
		order_apply_locked(order, succeeded ? ORDER_EVENT_REFUND_SUCCEEDED : ORDER_EVENT_REFUND_FAILED, source, detail, now);
		return;
	}
	/* the second payment is given back or not: the order is what it was */
	order_log(&order->order_id, succeeded ? "duplicate_refunded" : "duplicate_refund_failed", order_state_name(order->state), order_state_name(order->state), source, detail, now);
	if (!succeeded)
		record_finding("refund_failed", psprintf("orders/%s", uuid_text(&order->order_id)), detail, now);
}

/* Notes how a refund stands. A refund that failed has failed for ever; one that succeeded may fail yet. */
static void
refund_says(const StripeAnswer *call, const char *stripe_refund_id, const char *state, const char *failure)
{
	char		nulls[6] = "     ";
	Datum		values[5];
	Datum		key[2] = {UUIDPGetDatum(call->request_id), (Datum) 0};
	LockedOrder order;
	char	   *reason;
	char	   *was;
	Answer		detail;

	lock_order(call->order_id, &order);
	key[1] = text_or_null(stripe_refund_id, &nulls[1]);
	if (run_latest(&refund_of_request, key, nulls) == 0)
		elog(ERROR, "no refund is asked for by request %s", uuid_text(call->request_id));
	nulls[1] = ' ';
	values[0] = uuid_copy(row_datum(0, 1));
	reason = row_text(0, 2);
	was = row_text(0, 3);
	if (strcmp(was, "failed") == 0 || (strcmp(was, "succeeded") == 0 && strcmp(state, "failed") != 0))
		return;
	values[1] = CStringGetTextDatum(state);
	values[2] = text_or_null(stripe_refund_id, &nulls[2]);
	values[3] = text_or_null(failure, &nulls[3]);
	values[4] = TimestampTzGetDatum(call->now);
	run_latest(&set_refund, values, nulls);
	if (strcmp(state, "pending") == 0)
		return;
	answer_begin(&detail);
	answer_text(&detail, "refund", stripe_refund_id);
	if (failure != NULL)
		answer_text(&detail, "failure", failure);
	tell_order(&order, reason, strcmp(state, "succeeded") == 0, psprintf("request %s", uuid_text(call->request_id)), answer_end(&detail), call->now);
}

/* create_refund, get_refund */
void
refund_answered(const StripeAnswer *call)
{
	char	   *status = answer_field(call, "status");
	char	   *failure = json_string_at(call->answer, JSON_PATH("failure_reason"));
	const char *state = "pending";

	if (strcmp(status, "succeeded") == 0)
		state = status;
	else if (strcmp(status, "failed") == 0 || strcmp(status, "canceled") == 0)
	{
		state = "failed";
		failure = failure ? failure : status;
	}
	refund_says(call, answer_field(call, "id"), state, strcmp(state, "failed") == 0 ? failure : NULL);
}

/* Stripe will not make the refund. When everything has been given back already, by whomever, that is as good. */
void
refund_creation_failed(const StripeAnswer *call)
{
	char	   *code = json_string_at(call->answer, JSON_PATH("code"));

	if (code != NULL && strcmp(code, "charge_already_refunded") == 0)
		refund_says(call, NULL, "succeeded", NULL);
	else
		refund_says(call, NULL, "failed", code ? code : "refused");
}
