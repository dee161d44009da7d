/*
 * orders.c
 *		Orders: making one, and the one place that moves its state.
 *
 * Reads and writes ticketing.orders, order_items, order_events, findings;
 * projects onto public.orders and public.order_timeline. Locks: the order's
 * row, then what holds.c and tickets.c take.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define ORDER_MAX_TICKETS 10000

KEPT_PLAN(insert_order,
		  "INSERT INTO ticketing.orders (order_id, event_id, user_id, reservation_id, rail, state, currency, subtotal_cents, buyer_fee_cents, "
		  "  organizer_fee_cents, total_cents, application_fee_cents, transfer_cents, host_id, payee_account, email, created_at, expires_at, updated_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $17)",
		  UUIDOID, INT4OID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID, INT4OID, INT4OID,
		  INT4OID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID);
KEPT_PLAN(insert_public_order,
		  "WITH made AS ("
		  "  INSERT INTO public.orders (id, user_id, type, status, currency, subtotal_cents, platform_fee_cents, total_cents, event_id, created_at, updated_at) "
		  "  SELECT o.order_id, o.user_id, 'event_ticket', $2, o.currency, o.subtotal_cents, o.application_fee_cents, o.total_cents, o.event_id, o.created_at, o.created_at "
		  "  FROM ticketing.orders o WHERE o.order_id = $1 RETURNING id, created_at) "
		  "INSERT INTO public.order_timeline (order_id, type, label, created_at) SELECT id, 'created', 'Order created', created_at FROM made",
		  UUIDOID, TEXTOID);
KEPT_PLAN(insert_item,
		  "INSERT INTO ticketing.order_items (order_id, item, ticket_type_id, quantity, price_cents, buyer_fee_cents, organizer_fee_cents) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7)",
		  UUIDOID, INT2OID, UUIDOID, INT4OID, INT4OID, INT4ARRAYOID, INT4ARRAYOID);
KEPT_PLAN(log_event,
		  "INSERT INTO ticketing.order_events (order_id, at, event, from_state, to_state, source, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		  UUIDOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID);
KEPT_PLAN(lock_order,
		  "SELECT state, (SELECT coalesce(sum(quantity), 0) FROM ticketing.order_items i WHERE i.order_id = o.order_id), reservation_id "
		  "FROM ticketing.orders o WHERE order_id = $1 FOR UPDATE",
		  UUIDOID);
KEPT_PLAN(set_state,
		  "UPDATE ticketing.orders SET state = $2, updated_at = $3, paid_at = CASE WHEN $2 = 'paid' THEN $3 ELSE paid_at END WHERE order_id = $1",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(project_state,
		  "UPDATE public.orders SET status = $2, updated_at = $3, paid_at = CASE WHEN $2 = 'paid' THEN $3 ELSE paid_at END "
		  "WHERE id = $1 AND status IS DISTINCT FROM $2",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(add_timeline,
		  "INSERT INTO public.order_timeline (order_id, type, label, created_at) SELECT $1, t.type, t.label, $3 "
		  "FROM unnest($2::text[], $4::text[]) AS t (type, label)",
		  UUIDOID, TEXTARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID);
KEPT_PLAN(drop_handoff,
		  "DELETE FROM ticketing.stripe_handoff WHERE order_id = $1",
		  UUIDOID);
KEPT_PLAN(insert_finding,
		  "INSERT INTO ticketing.findings (kind, entity, detail, found_at) VALUES ($1, $2, $3, $4) "
		  "ON CONFLICT (kind, entity) WHERE resolved_at IS NULL DO NOTHING",
		  TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID);
KEPT_PLAN(read_order,
		  "SELECT o.state, p.status, o.event_id, o.currency, o.total_cents, o.expires_at, o.paid_at, o.reservation_id, "
		  "  coalesce((SELECT jsonb_agg(jsonb_build_object('ticket_id', t.id, 'ticket_type_id', t.ticket_type_id, 'status', t.status, 'qr_payload', t.qr_payload) "
		  "                             ORDER BY k.item, k.ordinal) "
		  "            FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id WHERE k.order_id = o.order_id), '[]'::jsonb)::text "
		  "FROM ticketing.orders o LEFT JOIN public.orders p ON p.id = o.order_id WHERE o.order_id = $1 AND o.user_id = $2",
		  UUIDOID, TEXTOID);

/* The states by name, and what public.orders.status shows for them. */
static const struct
{
	const char *name;
	const char *public_status;
}			states[ORDER_STATE_COUNT] = {
	[ORDER_CREATED] = {"created", "created"},
	[ORDER_AWAITING_PAYMENT] = {"awaiting_payment", "payment_pending"},
	[ORDER_PROCESSING] = {"processing", "payment_pending"},
	[ORDER_EXPIRING] = {"expiring", "payment_pending"},
	[ORDER_CANCELING] = {"canceling", "payment_pending"},
	[ORDER_EXPIRED] = {"expired", "payment_failed"},
	[ORDER_CANCELED] = {"canceled", "payment_failed"},
	[ORDER_LATE_PAID] = {"late_paid", "payment_pending"},
	[ORDER_PAID] = {"paid", "paid"},
	[ORDER_REVIEW] = {"review", "payment_pending"},
	[ORDER_PARTIALLY_REFUNDED] = {"partially_refunded", "partially_refunded"},
	[ORDER_REFUNDING] = {"refunding", "partially_refunded"},
	[ORDER_REFUNDED] = {"refunded", "refunded"},
	[ORDER_REFUND_FAILED] = {"refund_failed", "partially_refunded"},
};

static const char *const event_names[] = {
	[ORDER_EVENT_FREE] = "free",
	[ORDER_EVENT_DECLINED] = "declined",
	[ORDER_EVENT_SUCCEEDED] = "succeeded",
	[ORDER_EVENT_DIFFERS] = "differs",
};

/* Which event moves which state where. A pair that is not here is ignored. */
static const struct
{
	OrderState	from;
	OrderEvent	on;
	OrderState	to;
}			transitions[] = {
	{ORDER_CREATED, ORDER_EVENT_FREE, ORDER_PAID},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_DECLINED, ORDER_AWAITING_PAYMENT},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_SUCCEEDED, ORDER_PAID},
	{ORDER_PROCESSING, ORDER_EVENT_SUCCEEDED, ORDER_PAID},
	{ORDER_EXPIRING, ORDER_EVENT_SUCCEEDED, ORDER_PAID},
	{ORDER_CANCELING, ORDER_EVENT_SUCCEEDED, ORDER_PAID},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_DIFFERS, ORDER_REVIEW},
	{ORDER_PROCESSING, ORDER_EVENT_DIFFERS, ORDER_REVIEW},
	{ORDER_EXPIRING, ORDER_EVENT_DIFFERS, ORDER_REVIEW},
	{ORDER_CANCELING, ORDER_EVENT_DIFFERS, ORDER_REVIEW},
};

static OrderState
state_by_name(const char *name)
{
	for (int state = 0; state < ORDER_STATE_COUNT; state++)
		if (strcmp(states[state].name, name) == 0)
			return state;
	elog(ERROR, "unknown order state \"%s\"", name);
}

/* Appends to the order's log. */
static void
write_log(const pg_uuid_t *order_id, const char *event, const char *from_state, const char *to_state,
		  const char *source, const char *detail_json, TimestampTz now)
{
	char		nulls[8] = "       ";
	Datum		values[7];

	values[0] = UUIDPGetDatum(order_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = CStringGetTextDatum(event);
	values[3] = text_or_null(from_state, &nulls[3]);
	values[4] = CStringGetTextDatum(to_state);
	values[5] = CStringGetTextDatum(source);
	nulls[6] = detail_json ? ' ' : 'n';
	values[6] = detail_json ? jsonb_from_text(detail_json) : (Datum) 0;
	run_latest(&log_event, values, nulls);
}

/* Records what the engine does not dare to repair by itself. */
void
record_finding(const char *kind, const char *entity, const char *detail_json, TimestampTz now)
{
	Datum		values[4] = {CStringGetTextDatum(kind), CStringGetTextDatum(entity),
	jsonb_from_text(detail_json), TimestampTzGetDatum(now)};

	run_latest(&insert_finding, values, NULL);
}

/* How many tickets the cart asks for; an order has a bounded number. */
static int
count_tickets(const Cart *cart)
{
	int64		count = 0;

	for (int i = 0; i < cart->item_count; i++)
		count += cart->items[i].quantity;
	if (count > ORDER_MAX_TICKETS)
		refuse(INVALID_ITEMS, psprintf("\"limit\": %d", ORDER_MAX_TICKETS), "Split the order.",
			   "an order has at most %d tickets", ORDER_MAX_TICKETS);
	return (int) count;
}

/* A slice of shares as an integer array. */
static Datum
share_array(const int64 *shares, int count)
{
	Datum	   *elements = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
		elements[i] = Int32GetDatum((int32) shares[i]);
	return PointerGetDatum(construct_array(elements, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/* Writes a line per tier, each ticket with its share of the fees. */
static void
insert_items(const NewOrder *order)
{
	const Cart *cart = order->cart;
	int			tickets = count_tickets(cart);
	int64	   *weights = palloc(sizeof(int64) * tickets);
	int64	   *buyer = palloc(sizeof(int64) * tickets);
	int64	   *organizer = palloc(sizeof(int64) * tickets);
	int			first = 0;

	for (int i = 0, n = 0; i < cart->item_count; i++)
		for (int k = 0; k < cart->items[i].quantity; k++)
			weights[n++] = cart->items[i].price_cents;
	if (!largest_remainder_shares(order->quote->buyer_fee_cents, weights, tickets, buyer) ||
		!largest_remainder_shares(order->quote->organizer_fee_cents, weights, tickets, organizer))
		elog(ERROR, "could not split the fees over %d tickets", tickets);

	for (int i = 0; i < cart->item_count; i++)
	{
		const CartItem *item = &cart->items[i];
		Datum		values[7] = {
			UUIDPGetDatum(&order->order_id), Int16GetDatum(i + 1), UUIDPGetDatum(&item->ticket_type_id),
			Int32GetDatum(item->quantity), Int32GetDatum(item->price_cents),
			share_array(buyer + first, item->quantity), share_array(organizer + first, item->quantity)
		};

		run_latest(&insert_item, values, NULL);
		first += item->quantity;
	}
}

/* Makes an order, its items, its log and its projection; sets order_id. */
void
order_make(NewOrder *order, TimestampTz now)
{
	OrderState	state = strcmp(order->rail, "free") == 0 ? ORDER_CREATED : ORDER_AWAITING_PAYMENT;
	const FeeQuote *quote = order->quote;
	char		nulls[19] = "                  ";
	Datum		values[18];
	Datum		projection[2];

	order->order_id = *new_uuid();
	(void) count_tickets(order->cart);
	values[0] = UUIDPGetDatum(&order->order_id);
	values[1] = Int32GetDatum(order->cart->event_id);
	values[2] = CStringGetTextDatum(order->user_id);
	values[3] = order->reservation_id ? UUIDPGetDatum(order->reservation_id) : (Datum) 0;
	nulls[3] = order->reservation_id ? ' ' : 'n';
	values[4] = CStringGetTextDatum(order->rail);
	values[5] = CStringGetTextDatum(states[state].name);
	values[6] = CStringGetTextDatum(order->currency);
	values[7] = Int32GetDatum(quote->subtotal_cents);
	values[8] = Int32GetDatum(quote->buyer_fee_cents);
	values[9] = Int32GetDatum(quote->organizer_fee_cents);
	values[10] = Int32GetDatum(quote->total_cents);
	values[11] = Int32GetDatum(quote->application_fee_cents);
	values[12] = Int32GetDatum(quote->transfer_cents);
	values[13] = text_or_null(order->cart->host_id, &nulls[13]);
	values[14] = text_or_null(order->payee_account, &nulls[14]);
	values[15] = text_or_null(order->email, &nulls[15]);
	values[16] = TimestampTzGetDatum(now);
	values[17] = TimestampTzGetDatum(order->expires_at);
	nulls[17] = order->reservation_id ? ' ' : 'n';
	run_latest(&insert_order, values, nulls);
	insert_items(order);

	projection[0] = values[0];
	projection[1] = CStringGetTextDatum(states[state].public_status);
	run_latest(&insert_public_order, projection, NULL);
	write_log(&order->order_id, "made", NULL, states[state].name, order->rail, NULL, now);
}

/* Adds the steps of a payment to public.order_timeline. */
static void
write_paid_timeline(const pg_uuid_t *order_id, bool charged, TimestampTz now)
{
	Datum		types[2] = {CStringGetTextDatum("payment_captured"), CStringGetTextDatum("payment_authorized")};
	Datum		labels[2] = {CStringGetTextDatum(charged ? "Payment captured" : "Nothing to pay"),
	CStringGetTextDatum("Payment authorized")};
	int			count = charged ? 2 : 1;
	Datum		values[4];

	values[0] = UUIDPGetDatum(order_id);
	values[1] = PointerGetDatum(construct_array(types, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = TimestampTzGetDatum(now);
	values[3] = PointerGetDatum(construct_array(labels, count, TEXTOID, -1, false, TYPALIGN_INT));
	run_latest(&add_timeline, values, NULL);
}

/* What becoming paid means: the seats are sold and the tickets issued, or nothing happens at all. */
static void
become_paid(const pg_uuid_t *order_id, int64 seats, const pg_uuid_t *reservation_id, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(order_id);

	if (reservation_id != NULL)
	{
		int64		converted = convert_holds(reservation_id, order_id, now);

		if (converted != seats)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("order %s has " INT64_FORMAT " seats held, not " INT64_FORMAT,
							uuid_text(order_id), converted, seats)));
	}
	issue_tickets(order_id, now);
	write_paid_timeline(order_id, reservation_id != NULL, now);
	run_latest(&drop_handoff, &id, NULL);
}

/*
 * Moves an order. Idempotent: an event that has no transition from the present
 * state changes nothing. source says where the event comes from.
 */
OrderOutcome
order_apply(const pg_uuid_t *order_id, OrderEvent event, const char *source,
			const char *detail_json, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(order_id);
	OrderState	from;
	OrderState	to = ORDER_STATE_COUNT;
	int64		seats;
	pg_uuid_t  *reservation_id;
	Datum		values[3];

	declare_lock(RANK_ORDER);
	if (run_latest(&lock_order, &id, NULL) == 0)
		elog(ERROR, "order %s does not exist", uuid_text(order_id));
	from = state_by_name(row_text(0, 1));
	seats = DatumGetInt64(row_datum(0, 2));
	reservation_id = row_is_null(0, 3) ? NULL : DatumGetUUIDP(uuid_copy(row_datum(0, 3)));
	for (size_t i = 0; i < lengthof(transitions); i++)
		if (transitions[i].from == from && transitions[i].on == event)
			to = transitions[i].to;
	if (to == ORDER_STATE_COUNT)
		return ORDER_STAYED;

	write_log(order_id, event_names[event], states[from].name, states[to].name, source, detail_json, now);
	if (to == from)
		return ORDER_MOVED;
	values[0] = id;
	values[1] = CStringGetTextDatum(states[to].name);
	values[2] = TimestampTzGetDatum(now);
	run_latest(&set_state, values, NULL);
	if (to == ORDER_PAID)
		become_paid(order_id, seats, reservation_id, now);
	values[1] = CStringGetTextDatum(states[to].public_status);
	declare_lock(RANK_PUBLIC);
	run_latest(&project_state, values, NULL);
	if (to == ORDER_REVIEW)
	{
		record_finding("payment_differs", psprintf("orders/%s", uuid_text(order_id)), detail_json ? detail_json : "{}", now);
		return ORDER_FOUND;
	}
	return ORDER_MOVED;
}

PG_FUNCTION_INFO_V1(dvnt_order_status);

/* order_status(order_id, user_id) → jsonb */
Datum
dvnt_order_status(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *order_id;
	char	   *user_id;
	Datum		values[2];
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "order_id");
	order_id = PG_GETARG_UUID_P(0);
	user_id = text_argument(fcinfo, 1, "user_id");
	begin_command();
	values[0] = UUIDPGetDatum(order_id);
	values[1] = CStringGetTextDatum(user_id);
	begin_reading();
	if (run_stable(&read_order, values, NULL) == 0)
		refuse(NOT_FOUND, psprintf("\"order_id\": \"%s\"", uuid_text(order_id)), NULL,
			   "order %s does not exist", uuid_text(order_id));
	answer_begin(&answer);
	answer_uuid(&answer, "order_id", order_id);
	answer_text(&answer, "state", row_text(0, 1));
	answer_text(&answer, "status", row_text(0, 2));
	answer_int(&answer, "event_id", DatumGetInt32(row_datum(0, 3)));
	answer_text(&answer, "currency", row_text(0, 4));
	answer_int(&answer, "total_cents", DatumGetInt32(row_datum(0, 5)));
	if (!row_is_null(0, 6))
		answer_time(&answer, "expires_at", DatumGetTimestampTz(row_datum(0, 6)));
	if (!row_is_null(0, 7))
		answer_time(&answer, "paid_at", DatumGetTimestampTz(row_datum(0, 7)));
	answer_raw(&answer, "tickets", row_text(0, 9));
	end_reading();
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
