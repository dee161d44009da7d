/*
 * checkout.c
 *		From a cart to an order: free tickets at once, paid ones through a
 *		PaymentIntent or a Checkout Session that is asked for in the same
 *		transaction.
 *
 * Reads and writes what cart.c, holds.c, orders.c and stripe_requests.c do.
 * Locks: user, order, then what holds.c takes.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(open_order,
		  "SELECT order_id, user_id, event_id, total_cents, currency, subtotal_cents, buyer_fee_cents, organizer_fee_cents, application_fee_cents, transfer_cents, expires_at, payee_account "
		  "FROM ticketing.orders WHERE reservation_id = $1 "
		  "AND state IN ('created', 'awaiting_payment', 'processing', 'expiring', 'canceling', 'review') FOR UPDATE",
		  UUIDOID);
KEPT_PLAN(last_request,
		  "SELECT r.id, r.state, EXISTS (SELECT FROM ticketing.stripe_handoff h WHERE h.request_id = r.id AND coalesce(h.client_secret, h.url) IS NOT NULL AND h.created_at > $2 - interval '15 minutes') "
		  "         AND (NOT $4 OR EXISTS (SELECT FROM ticketing.stripe_handoff k WHERE k.order_id = r.order_id AND k.ephemeral_key IS NOT NULL AND k.created_at > $2 - interval '15 minutes')) "
		  "FROM ticketing.stripe_requests r WHERE r.order_id = $1 AND r.user_id IS NOT NULL AND r.kind IN ('create_' || $3, 'get_' || $3) ORDER BY r.seq DESC LIMIT 1",
		  UUIDOID, TIMESTAMPTZOID, TEXTOID, BOOLOID);
KEPT_PLAN(cancel_under_way,
		  "SELECT id FROM ticketing.stripe_requests WHERE order_id = $1 AND kind IN ('cancel_payment_intent', 'expire_checkout_session') AND state IN ('ready', 'leased') ORDER BY seq DESC LIMIT 1",
		  UUIDOID);
KEPT_PLAN(change_rail,
		  "UPDATE ticketing.orders SET rail = $2, payment_intent_id = NULL, checkout_session_id = NULL, updated_at = $3 WHERE order_id = $1",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID);

/* The arguments of create_payment_intent and create_checkout_session. */
typedef struct PaymentCall
{
	const char *rail;			/* payment_intent, checkout_session */
	char	   *user_id;
	int32		event_id;
	Cart	   *items;			/* NULL: the reservation's */
	pg_uuid_t  *reservation_id; /* NULL: hold the items now */
	bool		has_expected_total;
	int32		expected_total_cents;
	char	   *email;
	char	   *mobile_api_version; /* of a PaymentIntent */
	char	   *success_url;	/* of a Checkout Session */
	char	   *cancel_url;
} PaymentCall;

/* An order that is ready to be paid. */
typedef struct PayableOrder
{
	pg_uuid_t	order_id;
	pg_uuid_t	reservation_id;
	FeeQuote	quote;
	char		currency[4];
	char	   *payee_account;
	TimestampTz expires_at;
	pg_uuid_t	stripe_request_id;
} PayableOrder;

static void
check_expected_total(const PaymentCall *call, int32 total_cents)
{
	if (call->has_expected_total && call->expected_total_cents != total_cents)
		refuse(PRICE_CHANGED,
			   psprintf("\"expected_total_cents\": %d, \"total_cents\": %d", call->expected_total_cents, total_cents),
			   "Show the buyer the new price and ask again.",
			   "the total is %d cents, not %d", total_cents, call->expected_total_cents);
}

/* The parameters of a destination charge. */
static const char *
payment_intent_params(const PaymentCall *call, const PayableOrder *order)
{
	Answer		params;
	Answer		nested;

	answer_begin(&params);
	answer_int(&params, "amount", order->quote.total_cents);
	answer_text(&params, "currency", order->currency);
	answer_raw(&params, "automatic_payment_methods", "{\"enabled\": true}");
	answer_int(&params, "application_fee_amount", order->quote.application_fee_cents);
	answer_begin(&nested);
	answer_text(&nested, "destination", order->payee_account);
	answer_raw(&params, "transfer_data", answer_end(&nested));
	answer_begin(&nested);
	answer_uuid(&nested, "order_id", &order->order_id);
	answer_text(&nested, "event_id", psprintf("%d", call->event_id));
	answer_raw(&params, "metadata", answer_end(&nested));
	if (call->email != NULL)
		answer_text(&params, "receipt_email", call->email);
	return answer_end(&params);
}

static bool
by_session(const PaymentCall *call)
{
	return strcmp(call->rail, "checkout_session") == 0;
}

/*
 * Enqueues customer, ephemeral key and PaymentIntent or Checkout Session, each
 * waiting for the one before, and the first for what it must wait for.
 */
static void
enqueue_payment_chain(const PaymentCall *call, PayableOrder *order, const pg_uuid_t *waits_for, TimestampTz now)
{
	NewStripeRequest request = {
		.lane = STRIPE_LANE_BUYER, .method = "POST", .customer_of = call->user_id,
		.order_id = &order->order_id, .event_id = call->event_id, .user_id = call->user_id
	};

	request.waits_for = waits_for;
	request.waits_for = need_customer_and_key(&request, call->email, call->mobile_api_version, now);
	if (by_session(call))
	{
		CheckoutPage page = {
			.order_id = &order->order_id, .event_id = call->event_id, .payee_account = order->payee_account, .quote = &order->quote,
			.currency = order->currency, .success_url = call->success_url, .cancel_url = call->cancel_url, .email = call->email
		};

		request.kind = "create_checkout_session";
		request.path = "/v1/checkout/sessions";
		request.params = checkout_session_params(&page);
		order->stripe_request_id = *enqueue_stripe_request(&request, now);
		return;
	}
	request.kind = "create_payment_intent";
	request.path = "/v1/payment_intents";
	request.params = payment_intent_params(call, order);
	order->stripe_request_id = *enqueue_stripe_request(&request, now);
}

/* Asks Stripe for the object again, and for a new ephemeral key, because what the client needs is gone here. */
static void
enqueue_refetch(const PaymentCall *call, PayableOrder *order, const char *object_id, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = by_session(call) ? "get_checkout_session" : "get_payment_intent", .lane = STRIPE_LANE_BUYER, .method = "GET",
		.path = psprintf(by_session(call) ? "/v1/checkout/sessions/%s" : "/v1/payment_intents/%s", object_id), .params = "{}",
		.order_id = &order->order_id, .event_id = call->event_id, .user_id = call->user_id
	};

	request.waits_for = need_customer_and_key(&request, call->email, call->mobile_api_version, now);
	order->stripe_request_id = *enqueue_stripe_request(&request, now);
}

/* Whatever the order was offered before is canceled first; the new object waits for that. */
static void
offer_again(const PaymentCall *call, PayableOrder *order, const LockedOrder *locked, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(&order->order_id);
	pg_uuid_t  *cancel = NULL;

	if (cancel_payments(locked, now) && run_latest(&cancel_under_way, &id, NULL) > 0)
		cancel = DatumGetUUIDP(uuid_copy(row_datum(0, 1)));
	enqueue_payment_chain(call, order, cancel, now);
}

/* The buyer goes on on the other rail; only one of them can be paid. */
static void
switch_rail(const PaymentCall *call, PayableOrder *order, const LockedOrder *locked, TimestampTz now)
{
	char	   *object_id = by_session(call) ? locked->payment_intent_id : locked->checkout_session_id;
	const char *state = order_state_name(locked->state);
	Answer		detail;
	Datum		values[3];

	if (locked->state != ORDER_AWAITING_PAYMENT || object_id == NULL)
		refuse(WRONG_STATE, psprintf("\"order_id\": \"%s\", \"state\": \"%s\"", uuid_text(&order->order_id), state),
			   locked->state == ORDER_AWAITING_PAYMENT ? "Stripe is being asked for the other way: try again in a moment." : "Finish paying it there.",
			   "reservation %s is being paid another way", uuid_text(call->reservation_id));
	answer_begin(&detail);
	answer_text(&detail, "from", locked->rail);
	answer_text(&detail, "to", call->rail);
	order_log(&order->order_id, "rail_changed", state, state, locked->rail, answer_end(&detail), now);
	values[0] = UUIDPGetDatum(&order->order_id);
	values[1] = CStringGetTextDatum(call->rail);
	values[2] = TimestampTzGetDatum(now);
	run_latest(&change_rail, values, NULL);
	offer_again(call, order, locked, now);
}

/* The reservation's open order, asked for again: on the same rail the same object. */
static bool
resume_order(const PaymentCall *call, PayableOrder *order, TimestampTz now)
{
	Datum		reservation = UUIDPGetDatum(call->reservation_id);
	Datum		values[4];
	LockedOrder locked;
	char	   *object_id;

	if (run_latest(&open_order, &reservation, NULL) == 0)
		return false;
	declare_lock(RANK_ORDER);
	if (strcmp(row_text(0, 2), call->user_id) != 0 || DatumGetInt32(row_datum(0, 3)) != call->event_id)
		refuse(NOT_FOUND, psprintf("\"reservation_id\": \"%s\"", uuid_text(call->reservation_id)), NULL,
			   "reservation %s does not exist", uuid_text(call->reservation_id));
	order->order_id = *DatumGetUUIDP(row_datum(0, 1));
	order->reservation_id = *call->reservation_id;
	order->quote.total_cents = DatumGetInt32(row_datum(0, 4));
	strlcpy(order->currency, row_text(0, 5), sizeof(order->currency));
	order->quote.subtotal_cents = DatumGetInt32(row_datum(0, 6));
	order->quote.buyer_fee_cents = DatumGetInt32(row_datum(0, 7));
	order->quote.organizer_fee_cents = DatumGetInt32(row_datum(0, 8));
	order->quote.application_fee_cents = DatumGetInt32(row_datum(0, 9));
	order->quote.transfer_cents = DatumGetInt32(row_datum(0, 10));
	order->expires_at = DatumGetTimestampTz(row_datum(0, 11));
	order->payee_account = row_text(0, 12);
	lock_order(&order->order_id, &locked);
	if (locked.state != ORDER_AWAITING_PAYMENT && locked.state != ORDER_PROCESSING)
		refuse(WRONG_STATE, psprintf("\"order_id\": \"%s\", \"state\": \"%s\"", uuid_text(&order->order_id), order_state_name(locked.state)),
			   locked.state == ORDER_REVIEW ? "An operator looks at its payment." : "Its time to pay is over: hold the tickets again.",
			   "the order of reservation %s cannot be paid any more", uuid_text(call->reservation_id));
	check_expected_total(call, order->quote.total_cents);
	if (strcmp(locked.rail, call->rail) != 0)
	{
		switch_rail(call, order, &locked, now);
		return true;
	}

	values[0] = UUIDPGetDatum(&order->order_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = CStringGetTextDatum(call->rail);
	values[3] = BoolGetDatum(call->mobile_api_version != NULL);
	if (run_latest(&last_request, values, NULL) == 0)
		elog(ERROR, "order %s has no Stripe request", uuid_text(&order->order_id));
	order->stripe_request_id = *DatumGetUUIDP(row_datum(0, 1));
	object_id = by_session(call) ? locked.checkout_session_id : locked.payment_intent_id;
	if (object_id != NULL)
	{
		/* of an answer that got lost after it was asked for again, once more */
		if (strcmp(row_text(0, 2), "failed") == 0 || (strcmp(row_text(0, 2), "done") == 0 && !DatumGetBool(row_datum(0, 3))))
			enqueue_refetch(call, order, object_id, now);
	}
	else if (strcmp(row_text(0, 2), "failed") == 0)
		offer_again(call, order, &locked, now);
	return true;
}

/* Two carts ask for the same. */
static bool
same_items(const Cart *a, const Cart *b)
{
	if (a->item_count != b->item_count)
		return false;
	for (int i = 0; i < a->item_count; i++)
		if (memcmp(a->items[i].ticket_type_id.data, b->items[i].ticket_type_id.data, UUID_LEN) != 0 ||
			a->items[i].quantity != b->items[i].quantity)
			return false;
	return true;
}

/* The cart that is to be paid, its seats held: the reservation's, or held here and now. */
static Cart *
held_cart(const PaymentCall *call, PayableOrder *order, TimestampTz now)
{
	Cart	   *cart;
	Snapshot	snapshot;
	bool		has_order;
	pg_uuid_t	other_order;

	if (call->reservation_id == NULL)
	{
		cart = call->items;
		snapshot = cart_load_for_sale(cart);
		cart_check_on_sale(cart, now);
		order->reservation_id = *hold_cart(cart, call->user_id, now, NULL, snapshot, &order->expires_at);
		UnregisterSnapshot(snapshot);
		return cart;
	}
	cart = cart_of_reservation(call->reservation_id, call->user_id, call->event_id, now,
							   &order->expires_at, &other_order, &has_order);
	if (has_order)
		refuse(WRONG_STATE, psprintf("\"order_id\": \"%s\"", uuid_text(&other_order)), NULL,
			   "reservation %s belongs to another order", uuid_text(call->reservation_id));
	if (call->items != NULL && !same_items(call->items, cart))
		refuse(INVALID_ITEMS, NULL, "Leave items NULL, or name what the reservation holds.",
			   "items differ from what reservation %s holds", uuid_text(call->reservation_id));
	cart_load_latest(cart);
	order->reservation_id = *call->reservation_id;
	return cart;
}

/* Makes a new order for the call's seats. */
static void
start_order(const PaymentCall *call, PayableOrder *order, TimestampTz now)
{
	Cart	   *cart = held_cart(call, order, now);
	NewOrder	made = {0};

	cart_quote(cart, &order->quote, order->currency);
	if (order->quote.total_cents == 0)
		refuse(WRONG_STATE, "\"total_cents\": 0", "Call claim_free_tickets.", "there is nothing to pay");
	check_expected_total(call, order->quote.total_cents);
	order->payee_account = cart_payee(cart, GetActiveSnapshot());
	if (order->payee_account == NULL)
		refuse(WRONG_STATE, psprintf("\"event_id\": %d", call->event_id),
			   "The host finishes Stripe onboarding first.",
			   "the host of event %d cannot be paid yet", call->event_id);

	made.payee_account = order->payee_account;
	made.user_id = call->user_id;
	made.cart = cart;
	made.quote = &order->quote;
	made.currency = order->currency;
	made.rail = call->rail;
	made.reservation_id = &order->reservation_id;
	made.email = call->email;
	made.expires_at = order->expires_at;
	order_make(&made, now);
	order->order_id = made.order_id;
	attach_holds(&order->reservation_id, &order->order_id, add_seconds(order->expires_at, ORDER_GRACE_SECONDS));
	enqueue_payment_chain(call, order, NULL, now);
}

static const char *
payment_answer(const PayableOrder *order, TimestampTz now)
{
	Answer		answer;
	double		ready_in = stripe_ready_in(&order->stripe_request_id, now);

	answer_begin(&answer);
	answer_uuid(&answer, "order_id", &order->order_id);
	answer_uuid(&answer, "reservation_id", &order->reservation_id);
	answer_uuid(&answer, "stripe_request_id", &order->stripe_request_id);
	quote_answer(&answer, &order->quote, order->currency);
	answer_bool(&answer, "queued", ready_in > STRIPE_SOON_SECONDS);
	answer_int(&answer, "ready_in", (int64) rint(ready_in));
	answer_time(&answer, "expires_at", order->expires_at);
	return answer_end(&answer);
}

/* Text that differs when the arguments of two calls differ. */
static const char *
payment_arguments(const PaymentCall *call)
{
	Answer		arguments;

	answer_begin(&arguments);
	answer_int(&arguments, "event_id", call->event_id);
	if (call->items != NULL)
		cart_answer_items(&arguments, call->items);
	answer_uuid(&arguments, "reservation_id", call->reservation_id);
	if (call->has_expected_total)
		answer_int(&arguments, "expected_total_cents", call->expected_total_cents);
	answer_text(&arguments, "email", call->email);
	answer_text(&arguments, "mobile_api_version", call->mobile_api_version);
	answer_text(&arguments, "success_url", call->success_url);
	answer_text(&arguments, "cancel_url", call->cancel_url);
	return answer_end(&arguments);
}

/* The arguments that both rails begin with. */
static void
read_call(FunctionCallInfo fcinfo, const char *rail, PaymentCall *call)
{
	memset(call, 0, sizeof(PaymentCall));
	call->rail = rail;
	call->user_id = text_argument(fcinfo, 0, "user_id");
	require_argument(fcinfo, 1, "event_id");
	call->event_id = PG_GETARG_INT32(1);
	if (!PG_ARGISNULL(2))
		call->items = cart_parse(call->event_id, PG_GETARG_JSONB_P(2));
	if (!PG_ARGISNULL(3))
		call->reservation_id = PG_GETARG_UUID_P(3);
	if (call->items == NULL && call->reservation_id == NULL)
		require_argument(fcinfo, 2, "items");
	call->has_expected_total = !PG_ARGISNULL(4);
	call->expected_total_cents = call->has_expected_total ? PG_GETARG_INT32(4) : 0;
	call->email = optional_text(fcinfo, 5);
}

/* Holds, orders and asks Stripe; the same answer for the same request id. */
static Datum
take_payment(const PaymentCall *call, const char *function_name, const char *request_id)
{
	PayableOrder order = {0};
	RememberedCall remembered;
	TimestampTz now;
	Datum		result;

	require_ticket_keyring();
	begin_command();
	remembered_call(&remembered, function_name, call->user_id, request_id, payment_arguments(call));
	lock_user(call->user_id, call->event_id);
	if (!recall_answer(&remembered, &result))
	{
		now = engine_now();
		if (call->reservation_id == NULL || !resume_order(call, &order, now))
			start_order(call, &order, now);
		result = jsonb_from_text(payment_answer(&order, now));
		remember_answer(&remembered, result);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	return result;
}

PG_FUNCTION_INFO_V1(dvnt_create_payment_intent);

/*
 * create_payment_intent(user_id, event_id, items, reservation_id, expected_total_cents, email,
 * mobile_api_version, request_id) → jsonb
 */
Datum
dvnt_create_payment_intent(PG_FUNCTION_ARGS)
{
	PaymentCall call;

	read_call(fcinfo, "payment_intent", &call);
	call.mobile_api_version = mobile_api_version_argument(fcinfo, 6);
	PG_RETURN_DATUM(take_payment(&call, "create_payment_intent", optional_text(fcinfo, 7)));
}

PG_FUNCTION_INFO_V1(dvnt_create_checkout_session);

/*
 * create_checkout_session(user_id, event_id, items, reservation_id, expected_total_cents, email,
 * success_url, cancel_url, request_id) → jsonb
 */
Datum
dvnt_create_checkout_session(PG_FUNCTION_ARGS)
{
	PaymentCall call;

	read_call(fcinfo, "checkout_session", &call);
	call.success_url = text_argument(fcinfo, 6, "success_url");
	call.cancel_url = optional_text(fcinfo, 7);
	PG_RETURN_DATUM(take_payment(&call, "create_checkout_session", optional_text(fcinfo, 8)));
}

/* Refuses a cart that costs something. */
static void
check_free(const Cart *cart)
{
	for (int i = 0; i < cart->item_count; i++)
		if (cart->items[i].price_cents != 0)
			refuse(WRONG_STATE,
				   psprintf("\"ticket_type_id\": \"%s\", \"price_cents\": %d",
							uuid_text(&cart->items[i].ticket_type_id), cart->items[i].price_cents),
				   "Call create_payment_intent.", "ticket type %s is not free",
				   uuid_text(&cart->items[i].ticket_type_id));
}

KEPT_PLAN(issued_tickets,
		  "SELECT jsonb_agg(jsonb_build_object('ticket_id', t.id, 'ticket_type_id', t.ticket_type_id, 'status', t.status, 'qr_payload', t.qr_payload) "
		  "                 ORDER BY k.item, k.ordinal)::text "
		  "FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id WHERE k.order_id = $1",
		  UUIDOID);

/* Draws the seats, makes the order and issues its tickets. */
static Datum
claim(Cart *cart, const char *user_id)
{
	NewOrder	order = {0};
	FeeQuote	quote;
	char		currency[4];
	PoolMove   *moves;
	int			move_count;
	Snapshot	snapshot;
	TimestampTz now;
	Datum		id;
	Answer		answer;

	snapshot = cart_load_for_sale(cart);
	now = engine_now();
	cart_check_on_sale(cart, now);
	check_free(cart);
	cart_quote(cart, &quote, currency);
	check_user_limits(cart, user_id, now, snapshot);
	UnregisterSnapshot(snapshot);
	order.user_id = user_id;
	order.cart = cart;
	order.quote = &quote;
	order.currency = currency;
	order.rail = "free";
	order_make(&order, now);
	move_count = cart_moves(cart, &moves);
	stock_draw(cart->event_id, moves, move_count, now);
	moves_settled(moves, move_count);
	for (int i = 0; i < cart->item_count; i++)
		tally_tier(&cart->items[i].ticket_type_id, -cart->items[i].quantity);
	/* nobody else can have this order locked */
	(void) begin_locking(RANK_NONE);
	order_apply(&order.order_id, ORDER_EVENT_FREE, "claim_free_tickets", NULL, now);

	id = UUIDPGetDatum(&order.order_id);
	run_latest(&issued_tickets, &id, NULL);
	answer_begin(&answer);
	answer_uuid(&answer, "order_id", &order.order_id);
	answer_text(&answer, "state", "paid");
	answer_raw(&answer, "tickets", row_text(0, 1));
	return answer_jsonb(&answer);
}

PG_FUNCTION_INFO_V1(dvnt_claim_free_tickets);

/* claim_free_tickets(user_id, event_id, items, request_id) → jsonb */
Datum
dvnt_claim_free_tickets(PG_FUNCTION_ARGS)
{
	char	   *user_id = text_argument(fcinfo, 0, "user_id");
	RememberedCall remembered;
	Cart	   *cart;
	Answer		arguments;
	Datum		result;

	require_argument(fcinfo, 1, "event_id");
	require_argument(fcinfo, 2, "items");
	cart = cart_parse(PG_GETARG_INT32(1), PG_GETARG_JSONB_P(2));
	require_ticket_keyring();

	begin_command();
	answer_begin(&arguments);
	answer_int(&arguments, "event_id", cart->event_id);
	cart_answer_items(&arguments, cart);
	remembered_call(&remembered, "claim_free_tickets", user_id, optional_text(fcinfo, 3), answer_end(&arguments));
	lock_user(user_id, cart->event_id);
	if (!recall_answer(&remembered, &result))
	{
		result = claim(cart, user_id);
		remember_answer(&remembered, result);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
