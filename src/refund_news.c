/*
 * refund_news.c
 *		What Stripe says of refunds, in answers, events and lists: of ours, and of
 *		those that somebody made at Stripe.
 *
 * An event is never believed: the refund, or the payment's list of them, is
 * asked for. Reads ticketing.refunds, order_payments; writes refunds and the
 * outbox; what the news mean is refunds.c's. Locks: the order, then what
 * refunds.c takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "refunds.h"

#define REFUNDS_PAGE 100

#define REFUND_COLUMNS "refund_id, order_id, reason, state, amount_cents, buyer_fee_cents, organizer_fee_cents, reverses, actor, payment_intent_id, stripe_refund_id "
KEPT_PLAN(refund_of_request,
		  "SELECT " REFUND_COLUMNS "FROM ticketing.refunds WHERE stripe_request_id = $1", UUIDOID);
KEPT_PLAN(refund_at_stripe,
		  "SELECT " REFUND_COLUMNS "FROM ticketing.refunds WHERE stripe_refund_id = $1", TEXTOID);
KEPT_PLAN(refund_by_id,
		  "SELECT " REFUND_COLUMNS "FROM ticketing.refunds WHERE refund_id = $1 AND order_id = $2", UUIDOID, UUIDOID);
KEPT_PLAN(known_refunded,
		  "SELECT coalesce(sum(r.amount_cents), 0) FROM ticketing.refunds r JOIN ticketing.order_payments p ON p.order_id = r.order_id "
		  "WHERE p.payment_intent_id = $1 AND r.payment_intent_id = $1 AND r.state <> 'failed'", TEXTOID);
KEPT_PLAN(ask_without_reversal,
		  "UPDATE ticketing.refunds SET reverses = false, stripe_request_id = $2, updated_at = $3 WHERE refund_id = $1", UUIDOID, UUIDOID, TIMESTAMPTZOID);

/* Asks how a refund of ours stands. Returns the request's id. */
pg_uuid_t *
fetch_refund(const char *stripe_refund_id, const pg_uuid_t *order_id, int16 lane, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "get_refund", .lane = lane, .method = "GET", .path = psprintf("/v1/refunds/%s", stripe_refund_id),
		.params = "{}", .order_id = order_id
	};

	return enqueue_stripe_request(&request, now);
}

/* Asks for all refunds of a payment: among them are some that we have not made. */
static void
ask_for_all_refunds(const char *payment_intent_id, const char *after, const pg_uuid_t *order_id, TimestampTz now)
{
	NewStripeRequest request = {.kind = "list_refunds", .lane = STRIPE_LANE_URGENT, .method = "GET", .path = "/v1/refunds", .order_id = order_id};
	Answer		params;

	answer_begin(&params);
	answer_text(&params, "payment_intent", payment_intent_id);
	answer_int(&params, "limit", REFUNDS_PAGE);
	if (after != NULL)
		answer_text(&params, "starting_after", after);
	request.params = answer_end(&params);
	enqueue_stripe_request(&request, now);
}

/* Reads a row of REFUND_COLUMNS. */
static void
read_refund(Refund *refund)
{
	refund->id = *DatumGetUUIDP(row_datum(0, 1));
	refund->order_id = *DatumGetUUIDP(row_datum(0, 2));
	refund->reason = row_text(0, 3);
	refund->state = row_text(0, 4);
	refund->amount_cents = DatumGetInt32(row_datum(0, 5));
	refund->buyer_fee_cents = DatumGetInt32(row_datum(0, 6));
	refund->organizer_fee_cents = DatumGetInt32(row_datum(0, 7));
	refund->reverses = DatumGetBool(row_datum(0, 8));
	refund->actor = row_text(0, 9);
	refund->payment_intent_id = row_text(0, 10);
	refund->stripe_refund_id = row_text(0, 11);
}

/* The refund of ours that an object of Stripe's is, by its id or by what we have written into it. */
static bool
find_refund(const pg_uuid_t *order_id, Jsonb *object, Refund *refund)
{
	char	   *stripe_id = json_string_at(object, JSON_PATH("id"));
	char	   *our_id = json_string_at(object, JSON_PATH("metadata", "refund_id"));
	Datum		values[2] = {CStringGetTextDatum(stripe_id ? stripe_id : "")};
	pg_uuid_t	id;

	if (run_latest(&refund_at_stripe, values, NULL) == 0)
	{
		if (our_id == NULL || !uuid_from_text(our_id, strlen(our_id), &id))
			return false;
		values[0] = UUIDPGetDatum(&id);
		values[1] = UUIDPGetDatum(order_id);
		if (run_latest(&refund_by_id, values, NULL) == 0)
			return false;
	}
	read_refund(refund);
	return true;
}

/*
 * Stripe says something of refunds: if the payment is known as an order's, it is
 * asked how they stand. False when it is not.
 */
bool
hear_refund_event(Jsonb *object, bool is_charge, const char *payment_intent_id, pg_uuid_t *order_id, TimestampTz now)
{
	Refund		refund;
	int64		refunded;

	if (!order_of_payment(payment_intent_id, order_id))
		return false;
	if (is_charge)
	{
		Datum		payment = CStringGetTextDatum(payment_intent_id);

		run_latest(&known_refunded, &payment, NULL);
		if (!json_int_at(object, JSON_PATH("amount_refunded"), &refunded) || refunded > DatumGetInt64(row_datum(0, 1)))
			ask_for_all_refunds(payment_intent_id, NULL, order_id, now);
	}
	else if (!find_refund(order_id, object, &refund))
		ask_for_all_refunds(payment_intent_id, NULL, order_id, now);
	else
		/* also before the answer to its creation: Stripe may repeat one that is no longer so */
		fetch_refund(json_string_at(object, JSON_PATH("id")), order_id, STRIPE_LANE_URGENT, now);
	return true;
}

/* A refund that we have not made. */
static void
adopt_refund(const LockedOrder *order, Jsonb *object, Refund *refund, TimestampTz now)
{
	char	   *stripe_refund_id = json_string_at(object, JSON_PATH("id"));
	char	   *payment_intent_id = json_string_at(object, JSON_PATH("payment_intent"));
	NewRefund	made = {.refund_id = *new_uuid(), .payment_intent_id = payment_intent_id, .reason = "dashboard"};
	int64		amount = 0;
	Datum		id = UUIDPGetDatum(&made.refund_id);
	Datum		values[2] = {id, UUIDPGetDatum(&order->order_id)};

	(void) json_int_at(object, JSON_PATH("amount"), &amount);
	made.amount_cents = (int32) amount;
	made.reverses = json_string_at(object, JSON_PATH("transfer_reversal")) != NULL;
	record_refund(order, &made, "requested", NULL, stripe_refund_id, now);
	run_latest(&refund_by_id, values, NULL);
	read_refund(refund);
}

/* What a refund's own state means. */
static void
hear_refund(LockedOrder *order, const Refund *refund, Jsonb *object, const char *source, TimestampTz now)
{
	char	   *stripe_refund_id = json_string_at(object, JSON_PATH("id"));
	char	   *status = json_string_at(object, JSON_PATH("status"));
	char	   *failure = json_string_at(object, JSON_PATH("failure_reason"));

	if (status == NULL)
		return;
	if (refund->reverses && json_string_at(object, JSON_PATH("transfer_reversal")) != NULL)
		book_reversal(order, refund, now);
	if (strcmp(status, "succeeded") == 0)
		refund_says(order, refund, stripe_refund_id, "succeeded", NULL, false, source, now);
	else if (strcmp(status, "failed") == 0 || strcmp(status, "canceled") == 0)
		refund_says(order, refund, stripe_refund_id, "failed", failure ? failure : status, false, source, now);
	else
		refund_says(order, refund, stripe_refund_id, "pending", NULL, false, source, now);
}

/* create_refund, get_refund */
void
refund_answered(const StripeAnswer *call)
{
	Datum		request_id = UUIDPGetDatum(call->request_id);
	LockedOrder order;
	Refund		refund;

	(void) answer_field(call, "id");
	(void) answer_field(call, "status");
	lock_order(call->order_id, &order);
	if (run_latest(&refund_of_request, &request_id, NULL) > 0)
		read_refund(&refund);
	else if (!find_refund(call->order_id, call->answer, &refund))
		elog(ERROR, "no refund is asked for by request %s", uuid_text(call->request_id));
	hear_refund(&order, &refund, call->answer, psprintf("request %s", uuid_text(call->request_id)), call->now);
}

/* list_refunds: all of a payment, ours and others. */
void
refunds_listed(const StripeAnswer *call)
{
	char	   *source = psprintf("request %s", uuid_text(call->request_id));
	JsonbValue *page = json_array_at(call->answer, "data");
	char	   *payment_intent_id = NULL;
	char	   *last_id = NULL;
	bool		has_more = false;
	LockedOrder order;

	lock_order(call->order_id, &order);
	if (page == NULL)
	{
		/* applied late, the page is gone: each payment is asked about again */
		if (order.payment_intent_id != NULL)
			ask_for_all_refunds(order.payment_intent_id, NULL, call->order_id, call->now);
		return;
	}
	for (uint32 i = 0; i < JsonContainerSize(page->val.binary.data); i++)
	{
		Jsonb	   *object = JsonbValueToJsonb(getIthJsonbValueFromContainer(page->val.binary.data, i));
		pg_uuid_t	order_id;
		Refund		refund;

		if (!JB_ROOT_IS_OBJECT(object) || (last_id = json_string_at(object, JSON_PATH("id"))) == NULL)
			continue;
		payment_intent_id = json_string_at(object, JSON_PATH("payment_intent"));
		if (payment_intent_id == NULL || !order_of_payment(payment_intent_id, &order_id) || memcmp(order_id.data, call->order_id->data, UUID_LEN) != 0)
			continue;
		(void) begin_locking(RANK_ORDER);
		if (!find_refund(call->order_id, object, &refund))
			adopt_refund(&order, object, &refund, call->now);
		hear_refund(&order, &refund, object, source, call->now);
	}
	if (json_bool_at(call->answer, JSON_PATH("has_more"), &has_more) && has_more && payment_intent_id != NULL)
		ask_for_all_refunds(payment_intent_id, last_id, call->order_id, call->now);
}

/*
 * Stripe will not make the refund. When everything was given back already, by
 * whomever, all refunds are looked at. When the organizer's part cannot be taken
 * back, the buyer is refunded all the same.
 */
void
refund_creation_failed(const StripeAnswer *call)
{
	char	   *code = json_string_at(call->answer, JSON_PATH("code"));
	char	   *source = psprintf("request %s", uuid_text(call->request_id));
	Datum		request_id = UUIDPGetDatum(call->request_id);
	bool		given_back = code != NULL && strcmp(code, "charge_already_refunded") == 0;
	LockedOrder order;
	Refund		refund;

	lock_order(call->order_id, &order);
	if (run_latest(&refund_of_request, &request_id, NULL) == 0)
		return;
	read_refund(&refund);
	if (refund.reverses && code != NULL && (strcmp(code, "balance_insufficient") == 0 || strcmp(code, "insufficient_funds") == 0))
	{
		Datum		values[3] = {
			UUIDPGetDatum(&refund.id),
			UUIDPGetDatum(ask_for_refund(&order, &refund.id, refund.payment_intent_id, refund.reason, refund.amount_cents, false, call->now)),
			TimestampTzGetDatum(call->now)
		};

		run_latest(&ask_without_reversal, values, NULL);
		return;
	}
	if (given_back)
		ask_for_all_refunds(refund.payment_intent_id, NULL, call->order_id, call->now);
	refund_says(&order, &refund, NULL, "failed", code ? code : "refused", given_back, source, call->now);
}
