/*
 * orders.c
 *		Orders: making one, and the one place that moves its state; the table of
 *		moves is order_states.c's.
 *
 * Reads and writes ticketing.orders, order_items, order_events, findings;
 * projects onto public.orders and public.order_timeline. Locks: the order's
 * row, then what holds.c and tickets.c take.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define ORDER_MAX_TICKETS 10000

KEPT_PLAN(insert_order,
		  "INSERT INTO ticketing.orders (order_id, event_id, user_id, reservation_id, rail, state, currency, subtotal_cents, buyer_fee_cents, "
		  "  organizer_fee_cents, total_cents, application_fee_cents, transfer_cents, host_id, payee_account, email, created_at, expires_at, due_at, updated_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, $17)",
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
/* By reservation alone: see release_reservation in holds.c. */
KEPT_PLAN(lock_order_row,
		  "SELECT state, (SELECT coalesce(sum(quantity), 0) FROM ticketing.order_items i WHERE i.order_id = o.order_id), reservation_id, "
		  "  (SELECT coalesce(sum(quantity) FILTER (WHERE status = 'active'), 0) FROM ticketing.ticket_holds h WHERE h.reservation_id = o.reservation_id AND h.order_id = o.order_id), "
		  "  event_id, user_id, rail, expires_at, created_at, payment_intent_id, checkout_session_id, action_extended, "
		  "  total_cents, buyer_fee_cents, organizer_fee_cents, currency, payee_account, dispute "
		  "FROM ticketing.orders o WHERE order_id = $1 FOR UPDATE",
		  UUIDOID);
KEPT_PLAN(set_state,
		  "UPDATE ticketing.orders SET state = $2, updated_at = $3, due_at = $4, paid_at = CASE WHEN $2 = 'paid' THEN coalesce(paid_at, $3) ELSE paid_at END WHERE order_id = $1",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID);
KEPT_PLAN(set_dispute,
		  "UPDATE ticketing.orders SET dispute = $2, updated_at = $3 WHERE order_id = $1", UUIDOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(processing_limit,
		  "SELECT least($2 + interval '7 days', coalesce(s.doors_open, e.start_date)) FROM public.events e LEFT JOIN ticketing.event_settings s ON s.event_id = e.id WHERE e.id = $1",
		  INT4OID, TIMESTAMPTZOID);
KEPT_PLAN(project_state,
		  "UPDATE public.orders SET status = $2, updated_at = $3, paid_at = CASE WHEN $2 = 'paid' THEN coalesce(paid_at, $3) ELSE paid_at END, "
		  "  refunded_at = CASE WHEN $2 = 'refunded' THEN $3 ELSE refunded_at END "
		  "WHERE id = $1 AND status IS DISTINCT FROM $2",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(project_figures,
		  "UPDATE public.orders p SET subtotal_cents = o.subtotal_cents, platform_fee_cents = o.application_fee_cents, total_cents = o.total_cents, currency = o.currency, updated_at = $2 "
		  "FROM ticketing.orders o WHERE o.order_id = $1 AND p.id = $1 "
		  "AND (p.subtotal_cents, p.platform_fee_cents, p.total_cents, p.currency) IS DISTINCT FROM (o.subtotal_cents, o.application_fee_cents, o.total_cents, o.currency)",
		  UUIDOID, TIMESTAMPTZOID);
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

/* Appends to the order's log. */
void
order_log(const pg_uuid_t *order_id, const char *event, const char *from_state, const char *to_state,
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
	values[5] = CStringGetTextDatum(order_state_name(state));
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
	projection[1] = CStringGetTextDatum(order_state_public(state));
	run_latest(&insert_public_order, projection, NULL);
	order_log(&order->order_id, "made", NULL, order_state_name(state), order->rail, NULL, now);
}

/* Adds steps to public.order_timeline. */
void
order_timeline(const pg_uuid_t *order_id, int count, const char *const *types, const char *const *labels, TimestampTz now)
{
	Datum		type_texts[2];
	Datum		label_texts[2];
	Datum		values[4];

	Assert(count <= lengthof(type_texts));
	for (int i = 0; i < count; i++)
	{
		type_texts[i] = CStringGetTextDatum(types[i]);
		label_texts[i] = CStringGetTextDatum(labels[i]);
	}
	values[0] = UUIDPGetDatum(order_id);
	values[1] = text_array(type_texts, count);
	values[2] = TimestampTzGetDatum(now);
	values[3] = text_array(label_texts, count);
	declare_lock(RANK_PUBLIC);
	run_latest(&add_timeline, values, NULL);
}

static void
drop_handoffs(const pg_uuid_t *order_id)
{
	Datum		id = UUIDPGetDatum(order_id);

	run_latest(&drop_handoff, &id, NULL);
}

/* Locks an order and reads it. */
void
lock_order(const pg_uuid_t *order_id, LockedOrder *order)
{
	Datum		id = UUIDPGetDatum(order_id);

	declare_lock(RANK_ORDER);
	if (order_id == NULL || run_latest(&lock_order_row, &id, NULL) == 0)
		elog(ERROR, "order %s does not exist", order_id ? uuid_text(order_id) : "NULL");
	memset(order, 0, sizeof(LockedOrder));
	order->order_id = *order_id;
	order->state = order_state_by_name(row_text(0, 1));
	order->seats = DatumGetInt64(row_datum(0, 2));
	order->held = !row_is_null(0, 3);
	if (order->held)
		order->reservation_id = *DatumGetUUIDP(row_datum(0, 3));
	order->seats_held = DatumGetInt64(row_datum(0, 4));
	order->event_id = DatumGetInt32(row_datum(0, 5));
	order->user_id = row_text(0, 6);
	order->rail = row_text(0, 7);
	order->expires_at = row_is_null(0, 8) ? DT_NOEND : DatumGetTimestampTz(row_datum(0, 8));
	order->created_at = DatumGetTimestampTz(row_datum(0, 9));
	order->payment_intent_id = row_text(0, 10);
	order->checkout_session_id = row_text(0, 11);
	order->action_extended = DatumGetBool(row_datum(0, 12));
	order->total_cents = DatumGetInt32(row_datum(0, 13));
	order->buyer_fee_cents = DatumGetInt32(row_datum(0, 14));
	order->organizer_fee_cents = DatumGetInt32(row_datum(0, 15));
	order->currency = row_text(0, 16);
	order->payee_account = row_text(0, 17);
	order->dispute = row_text(0, 18);
}

/* Until when a payment that settles later may keep its seats: 7 days, and never past the doors. */
static TimestampTz
latest_settlement(const LockedOrder *order)
{
	Datum		values[2] = {Int32GetDatum(order->event_id), TimestampTzGetDatum(order->created_at)};

	if (run_latest(&processing_limit, values, NULL) == 0)
		return order->expires_at;
	return Max(order->expires_at, DatumGetTimestampTz(row_datum(0, 1)));
}

/* When an order that enters a state is due to leave it by time; DT_NOEND: never. */
static TimestampTz
due_of_state(const LockedOrder *order, OrderState state, TimestampTz now)
{
	switch (state)
	{
		case ORDER_AWAITING_PAYMENT:
			return order->expires_at;
		case ORDER_PROCESSING:
			return latest_settlement(order);
		case ORDER_EXPIRING:
		case ORDER_CANCELING:
			return add_seconds(now, ORDER_GRACE_SECONDS);
		default:
			return DT_NOEND;
	}
}

/* Sells the seats and issues the tickets, or nothing happens at all. */
static void
become_paid(const LockedOrder *order, TimestampTz now)
{
	static const char *const types[] = {"payment_captured", "payment_authorized"};
	static const char *const charged[] = {"Payment captured", "Payment authorized"};
	static const char *const free_of_charge[] = {"Nothing to pay"};

	if (order->held)
	{
		int64		converted = convert_holds(&order->reservation_id, &order->order_id, now);

		if (converted != order->seats)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("order %s has " INT64_FORMAT " seats held, not " INT64_FORMAT,
							uuid_text(&order->order_id), converted, order->seats),
					 errhint("They went back meanwhile: try again.")));
	}
	issue_tickets(&order->order_id, now);
	order_timeline(&order->order_id, order->held ? 2 : 1, types, order->held ? charged : free_of_charge, now);
	if (order->held)
	{
		drop_handoffs(&order->order_id);
		(void) cancel_payments(order, now);
	}
}

/* A finding about an order. */
static void
find_order(const LockedOrder *order, const char *kind, const char *detail_json, TimestampTz now)
{
	record_finding(kind, psprintf("orders/%s", uuid_text(&order->order_id)), detail_json ? detail_json : "{}", now);
}

/*
 * What it means to be in a state now. True when that has moved the order on,
 * and all the rest was done there.
 */
static bool
enter_state(LockedOrder *order, OrderEvent event, const char *source, const char *detail_json, TimestampTz due_at, TimestampTz now)
{
	switch (order->state)
	{
		case ORDER_PAID:
			/* it has its tickets from when it was paid */
			if (event != ORDER_EVENT_RESTORED)
				become_paid(order, now);
			return false;
		case ORDER_AWAITING_PAYMENT:
			if (due_at <= now)
			{
				order_apply_locked(order, ORDER_EVENT_HOLD_ENDED, source, NULL, now);
				return true;
			}
			keep_holds(&order->reservation_id, add_seconds(due_at, ORDER_GRACE_SECONDS));
			return false;
		case ORDER_PROCESSING:
			keep_holds(&order->reservation_id, add_seconds(due_at, ORDER_GRACE_SECONDS));
			return false;
		case ORDER_EXPIRING:
		case ORDER_CANCELING:
			if (!cancel_payments(order, now))
			{
				order_apply_locked(order, ORDER_EVENT_STRIPE_CANCELED, "nothing to cancel", NULL, now);
				return true;
			}
			keep_holds(&order->reservation_id, due_at);
			return false;
		case ORDER_EXPIRED:
		case ORDER_CANCELED:
			(void) cancel_payments(order, now);
			return_held_seats(&order->reservation_id, order->event_id, now);
			drop_handoffs(&order->order_id);
			return false;
		case ORDER_LATE_PAID:
			if (take_seats_again(order, now))
				order_apply_locked(order, ORDER_EVENT_SEATS_TAKEN, source, detail_json, now);
			else
			{
				order_apply_locked(order, ORDER_EVENT_SEATS_GONE, source, detail_json, now);
				refund_payment(order, order->payment_intent_id, "late", now);
			}
			return true;
		case ORDER_REFUNDING:
			/* what was in review had its seats still */
			if (order->seats_held > 0)
				return_held_seats(&order->reservation_id, order->event_id, now);
			return false;
		case ORDER_REVIEW:
			keep_holds(&order->reservation_id, DT_NOEND);
			drop_handoffs(&order->order_id);
			find_order(order, "payment_differs", detail_json, now);
			return false;
		default:
			return false;
	}
}

/* How a dispute stands after an event; NULL: the event is about none. */
static const char *
dispute_after(OrderEvent event)
{
	switch (event)
	{
		case ORDER_EVENT_DISPUTE_OPENED:
			return "open";
		case ORDER_EVENT_DISPUTE_WON:
		case ORDER_EVENT_DISPUTE_SETTLED:
			return "won";
		case ORDER_EVENT_DISPUTE_LOST:
			return "lost";
		default:
			return NULL;
	}
}

/* Shows the application how an order stands: a dispute lies over its state. */
static void
project_order(const LockedOrder *order, TimestampTz now)
{
	const char *status = order_state_public(order->state);
	Datum		values[3] = {UUIDPGetDatum(&order->order_id), (Datum) 0, TimestampTzGetDatum(now)};

	if (order->dispute != NULL && strcmp(order->dispute, "open") == 0)
		status = "disputed";
	else if (order->dispute != NULL && strcmp(order->dispute, "lost") == 0)
		status = "refunded";
	values[1] = CStringGetTextDatum(status);
	declare_lock(RANK_PUBLIC);
	run_latest(&project_state, values, NULL);
}

/* Shows the application an order anew: somebody has written there what it is not. */
void
show_order_again(const pg_uuid_t *order_id, TimestampTz now)
{
	LockedOrder order;
	Datum		values[2] = {UUIDPGetDatum(order_id), TimestampTzGetDatum(now)};

	lock_order(order_id, &order);
	project_order(&order, now);
	run_latest(&project_figures, values, NULL);
}

/* Lays a dispute over an order's state, or takes it away. */
static void
note_dispute(LockedOrder *order, const char *dispute, TimestampTz now)
{
	Datum		values[3] = {UUIDPGetDatum(&order->order_id), CStringGetTextDatum(dispute), TimestampTzGetDatum(now)};

	order->dispute = pstrdup(dispute);
	run_latest(&set_dispute, values, NULL);
	project_order(order, now);
}

/* Moves an order that is locked; see order_apply. */
OrderOutcome
order_apply_locked(LockedOrder *order, OrderEvent event, const char *source, const char *detail_json, TimestampTz now)
{
	OrderState	from = order->state;
	OrderTransition transition;
	TimestampTz due_at;
	char		nulls[5] = "    ";
	Datum		values[4];

	if (event == ORDER_EVENT_SUCCEEDED && order->held && order->seats_held != order->seats &&
		order_transition(from, ORDER_EVENT_SEATS_LOST).effect == ORDER_MOVES)
		event = ORDER_EVENT_SEATS_LOST;
	transition = order_transition(from, event);
	if (transition.effect == ORDER_IGNORES)
		return ORDER_STAYED;
	if (transition.effect == ORDER_REPORTS)
	{
		find_order(order, event == ORDER_EVENT_DUPLICATE ? "paid_twice" : event == ORDER_EVENT_DISPUTE_OPENED ? "disputed" : "payment_differs", detail_json, now);
		return ORDER_FOUND;
	}
	due_at = due_of_state(order, transition.to, now);
	if (event == ORDER_EVENT_PROCESSING && due_at <= now)
		return ORDER_STAYED;	/* it has kept its seats as long as it may */

	order_log(&order->order_id, order_event_name(event), order_state_name(from), order_state_name(transition.to), source, detail_json, now);
	if (dispute_after(event) != NULL)
		note_dispute(order, dispute_after(event), now);
	if (transition.to == from)
		return ORDER_MOVED;
	order->state = transition.to;
	values[0] = UUIDPGetDatum(&order->order_id);
	values[1] = CStringGetTextDatum(order_state_name(order->state));
	values[2] = TimestampTzGetDatum(now);
	values[3] = TimestampTzGetDatum(due_at);
	nulls[3] = due_at == DT_NOEND ? 'n' : ' ';
	run_latest(&set_state, values, nulls);
	if (!enter_state(order, event, source, detail_json, due_at, now))
		project_order(order, now);
	return order->state == ORDER_REVIEW ? ORDER_FOUND : ORDER_MOVED;
}

/*
 * Moves an order. Idempotent: an event that has no transition from the present
 * state changes nothing. source says where the event comes from.
 */
OrderOutcome
order_apply(const pg_uuid_t *order_id, OrderEvent event, const char *source,
			const char *detail_json, TimestampTz now)
{
	LockedOrder order;

	lock_order(order_id, &order);
	return order_apply_locked(&order, event, source, detail_json, now);
}

PG_FUNCTION_INFO_V1(dvnt_order_transitions);

/* order_transitions() → state, public_status, event, effect, to_state */
Datum
dvnt_order_transitions(PG_FUNCTION_ARGS)
{
	static const char *const effects[] = {"ignored", "moves", "finding"};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int state = 0; state < ORDER_STATE_COUNT; state++)
		for (int event = 0; event < ORDER_EVENT_COUNT; event++)
		{
			OrderTransition transition = order_transition(state, event);
			bool		nulls[5] = {false};
			Datum		values[5] = {
				CStringGetTextDatum(order_state_name(state)), CStringGetTextDatum(order_state_public(state)),
				CStringGetTextDatum(order_event_name(event)), CStringGetTextDatum(effects[transition.effect]),
				CStringGetTextDatum(order_state_name(transition.to))
			};

			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
	return (Datum) 0;
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
