/*
 * refund_orders.c
 *		Refunds of an order's tickets: which tickets, how much of each, and what
 *		forbids it.
 *
 * A ticket's part is its price and its share of the buyer's fee, as the order
 * froze them. Reads ticketing.order_items, order_tickets, suspended_tickets and
 * checkins; writes refund_tickets, and through refunds.c refunds and the
 * outbox. Locks: the actor, the order, the event's shape, then what
 * ticket_seats.c takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"
#include "refunds.h"

KEPT_PLAN(event_of_order,
		  "SELECT event_id FROM ticketing.orders WHERE order_id = $1", UUIDOID);
KEPT_PLAN(refundable_tickets,
		  "SELECT k.ticket_id, i.price_cents, i.buyer_fee_cents[k.ordinal], i.organizer_fee_cents[k.ordinal], "
		  "  EXISTS (SELECT FROM ticketing.refund_tickets r WHERE r.ticket_id = k.ticket_id AND NOT r.failed), "
		  "  EXISTS (SELECT FROM public.tickets t WHERE t.id = k.ticket_id AND t.status = 'scanned') "
		  "    OR EXISTS (SELECT FROM ticketing.suspended_tickets s WHERE s.ticket_id = k.ticket_id AND s.status_before = 'scanned') "
		  "    OR EXISTS (SELECT FROM ticketing.checkins c WHERE c.ticket_id = k.ticket_id AND c.moved AND c.undone_at IS NULL) "
		  "FROM ticketing.order_tickets k JOIN ticketing.order_items i USING (order_id, item) "
		  "WHERE k.order_id = $1 AND ($2 IS NULL OR k.ticket_id = ANY ($2)) ORDER BY k.ticket_id",
		  UUIDOID, UUIDARRAYOID);
KEPT_PLAN(used_meanwhile,
		  "SELECT ticket_id FROM ticketing.suspended_tickets WHERE ticket_id = ANY ($1) AND status_before = 'scanned' LIMIT 1", UUIDARRAYOID);
KEPT_PLAN(left_to_refund,
		  "SELECT o.total_cents - coalesce((SELECT sum(r.amount_cents) FROM ticketing.refunds r WHERE r.order_id = o.order_id AND r.reason <> 'duplicate' AND r.state <> 'failed'), 0) "
		  "  - coalesce((SELECT sum(d.amount_cents) FROM ticketing.disputes d WHERE d.order_id = o.order_id AND d.payment_intent_id = o.payment_intent_id AND d.phase = 'lost'), 0) "
		  "FROM ticketing.orders o WHERE o.order_id = $1",
		  UUIDOID);
KEPT_PLAN(insert_refund_tickets,
		  "INSERT INTO ticketing.refund_tickets (refund_id, ticket_id, amount_cents, buyer_fee_cents, organizer_fee_cents) "
		  "SELECT $1, u.* FROM unnest($2::uuid[], $3::integer[], $4::integer[], $5::integer[]) u",
		  UUIDOID, UUIDARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID);

/* The tickets that a refund is made of. */
typedef struct Chosen
{
	int			count;
	Datum	   *ids;
	Datum	   *amounts;
	Datum	   *buyer_fees;
	Datum	   *organizer_fees;
	int64		amount_cents;
	int64		buyer_fee_cents;
	int64		organizer_fee_cents;
} Chosen;

static char *
order_figure(const LockedOrder *order)
{
	return psprintf("\"order_id\": \"%s\", \"state\": \"%s\"", uuid_text(&order->order_id), order_state_name(order->state));
}

/* Refuses to refund an order that is not paid, or whose payment its bank is asked about. */
static void
require_refundable(const LockedOrder *order)
{
	switch (order->state)
	{
		case ORDER_PAID:
		case ORDER_PARTIALLY_REFUNDED:
		case ORDER_REFUND_FAILED:
		case ORDER_REVIEW:
			break;
		case ORDER_REFUNDING:
		case ORDER_REFUNDED:
			refuse(ALREADY_DONE, order_figure(order), NULL, "order %s is refunded or about to be", uuid_text(&order->order_id));
		default:
			refuse(WRONG_STATE, order_figure(order), "An order that is not paid can be canceled: cancel_order.",
				   "order %s is not paid", uuid_text(&order->order_id));
	}
	if (order->dispute != NULL && strcmp(order->dispute, "won") != 0)
		refuse(WRONG_STATE, psprintf("%s, \"dispute\": \"%s\"", order_figure(order), order->dispute),
			   "A payment that is disputed cannot be refunded: what the bank decides moves the money.",
			   "the payment of order %s is disputed", uuid_text(&order->order_id));
}

static Datum
int_array(Datum *elements, int count)
{
	return PointerGetDatum(construct_array(elements, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static void
refuse_used(const char *ticket_id)
{
	refuse(WRONG_STATE, psprintf("\"ticket_id\": \"%s\", \"status\": \"scanned\"", ticket_id),
		   "Pass force => true to refund a ticket that has been used.",
		   "ticket %s has been checked in", ticket_id);
}

/* Suspends the tickets; whoever was at the door with one in the meantime has used it. */
static void
suspend_chosen(const LockedOrder *order, const Chosen *chosen, const NewRefund *refund, bool force, TimestampTz now)
{
	Datum		ids = uuid_array(chosen->ids, chosen->count);

	(void) suspend_tickets(order->event_id, ids, psprintf("refund %s", uuid_text(&refund->refund_id)), refund->actor, NULL, now);
	if (!force && run_latest(&used_meanwhile, &ids, NULL) > 0)
		refuse_used(row_uuid_text(0, 1));
}

/* Reads the tickets asked for, or all that are left, and adds them up; refuses what must not be. */
static void
choose_tickets(const LockedOrder *order, ArrayType *ticket_ids, bool force, Chosen *chosen)
{
	Datum		values[2] = {UUIDPGetDatum(&order->order_id), PointerGetDatum(ticket_ids)};
	uint64		rows = run_latest(&refundable_tickets, values, ticket_ids ? NULL : " n");

	memset(chosen, 0, sizeof(Chosen));
	if (ticket_ids != NULL && rows != (uint64) ArrayGetNItems(ARR_NDIM(ticket_ids), ARR_DIMS(ticket_ids)))
		refuse(NOT_FOUND, psprintf("\"order_id\": \"%s\"", uuid_text(&order->order_id)), "Name tickets of this order, each once.",
			   "some of the tickets are not of order %s", uuid_text(&order->order_id));
	chosen->ids = palloc(sizeof(Datum) * (rows + 1));
	chosen->amounts = palloc(sizeof(Datum) * (rows + 1));
	chosen->buyer_fees = palloc(sizeof(Datum) * (rows + 1));
	chosen->organizer_fees = palloc(sizeof(Datum) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		int			n = chosen->count;
		int32		price = DatumGetInt32(row_datum(row, 2));
		int32		buyer_fee = DatumGetInt32(row_datum(row, 3));
		int32		organizer_fee = DatumGetInt32(row_datum(row, 4));

		if (DatumGetBool(row_datum(row, 5)))
		{
			if (ticket_ids == NULL)
				continue;
			refuse(ALREADY_DONE, psprintf("\"ticket_id\": \"%s\"", row_uuid_text(row, 1)), NULL,
				   "ticket %s is refunded or about to be", row_uuid_text(row, 1));
		}
		if (!force && DatumGetBool(row_datum(row, 6)))
			refuse_used(row_uuid_text(row, 1));
		chosen->ids[n] = uuid_copy(row_datum(row, 1));
		chosen->amounts[n] = Int32GetDatum(price + buyer_fee);
		chosen->buyer_fees[n] = Int32GetDatum(buyer_fee);
		chosen->organizer_fees[n] = Int32GetDatum(organizer_fee);
		chosen->amount_cents += price + buyer_fee;
		chosen->buyer_fee_cents += buyer_fee;
		chosen->organizer_fee_cents += organizer_fee;
		chosen->count++;
	}
}

static int64
cents_left(const LockedOrder *order)
{
	Datum		id = UUIDPGetDatum(&order->order_id);

	run_latest(&left_to_refund, &id, NULL);
	return DatumGetInt64(row_datum(0, 1));
}

/* Divides what is left of an amount among the tickets, in proportion to their parts of it. */
static void
divide_again(Datum *parts, int count, int64 total)
{
	int64	   *weights = palloc(sizeof(int64) * (count + 1));
	int64	   *shares = palloc(sizeof(int64) * (count + 1));

	for (int i = 0; i < count; i++)
		weights[i] = DatumGetInt32(parts[i]);
	if (!largest_remainder_shares(total, weights, count, shares))
		elog(ERROR, "could not divide " INT64_FORMAT " cents among %d tickets", total, count);
	for (int i = 0; i < count; i++)
		parts[i] = Int32GetDatum((int32) shares[i]);
}

/* Of a fee of the order, what goes back with so much of what was paid: Stripe divides it so, too; never more than the tickets have. */
static int64
fee_of_part(int64 fee, int64 part, int64 whole, int64 most)
{
	return Min((2 * fee * part + whole) / (2 * whole), most);
}

/* Never more than was paid: what was given back at Stripe's dashboard is of no ticket, and counts. */
static void
limit_to_what_is_left(const LockedOrder *order, Chosen *chosen)
{
	int64		left = cents_left(order);

	if (chosen->amount_cents <= left)
		return;
	if (left <= 0)
		refuse(ALREADY_DONE, order_figure(order), NULL, "all that was paid for order %s is given back", uuid_text(&order->order_id));
	chosen->amount_cents = left;
	chosen->buyer_fee_cents = fee_of_part(order->buyer_fee_cents, left, order->total_cents, chosen->buyer_fee_cents);
	chosen->organizer_fee_cents = fee_of_part(order->organizer_fee_cents, left, order->total_cents, chosen->organizer_fee_cents);
	divide_again(chosen->amounts, chosen->count, chosen->amount_cents);
	divide_again(chosen->buyer_fees, chosen->count, chosen->buyer_fee_cents);
	divide_again(chosen->organizer_fees, chosen->count, chosen->organizer_fee_cents);
}

static void
keep_refund_tickets(const NewRefund *refund, const Chosen *chosen)
{
	Datum		values[5] = {
		UUIDPGetDatum(&refund->refund_id), uuid_array(chosen->ids, chosen->count), int_array(chosen->amounts, chosen->count),
		int_array(chosen->buyer_fees, chosen->count), int_array(chosen->organizer_fees, chosen->count)
	};

	run_latest(&insert_refund_tickets, values, NULL);
}

/*
 * Gives tickets of an order back: ticket_ids, or, NULL, all that are left. The
 * order is locked. They are suspended now, and refunded when Stripe says so;
 * free ones at once. An order that has none, because what was paid for it
 * differs or came too late, is given back as a whole.
 */
void
refund_tickets(LockedOrder *order, ArrayType *ticket_ids, const char *reason, const char *actor, bool force, RefundMade *made, TimestampTz now)
{
	static const char *const requested[] = {"refund_requested"};
	static const char *const label[] = {"Refund requested"};
	NewRefund	refund = {.refund_id = *new_uuid(), .payment_intent_id = order->payment_intent_id, .reason = reason, .reverses = true, .actor = actor};
	Chosen		chosen;
	bool		whole;

	require_refundable(order);
	choose_tickets(order, ticket_ids, force, &chosen);
	whole = ticket_ids == NULL && chosen.count == 0 && (order->state == ORDER_REVIEW || order->state == ORDER_REFUND_FAILED) && cents_left(order) > 0;
	if (chosen.count == 0 && !whole)
		refuse(ALREADY_DONE, order_figure(order), NULL, "all tickets of order %s are refunded or about to be", uuid_text(&order->order_id));
	if (order->state == ORDER_REVIEW)
		refund.reason = "review";
	if (whole)
	{
		chosen.amount_cents = order->total_cents;
		chosen.buyer_fee_cents = order->buyer_fee_cents;
		chosen.organizer_fee_cents = order->organizer_fee_cents;
	}
	limit_to_what_is_left(order, &chosen);
	refund.amount_cents = (int32) chosen.amount_cents;
	refund.buyer_fee_cents = (int32) chosen.buyer_fee_cents;
	refund.organizer_fee_cents = (int32) chosen.organizer_fee_cents;
	if (!whole)
		keep_refund_tickets(&refund, &chosen);
	refund.reverses = !organizer_part_is_back(order, &refund.refund_id, order->payment_intent_id);
	lock_shape_shared(order->event_id);
	if (refund.amount_cents == 0)
	{
		refund.payment_intent_id = NULL;
		refund_free_tickets(order, &refund, now);
	}
	else
	{
		begin_refund(order, &refund, whole, now);
		if (chosen.count > 0)
			suspend_chosen(order, &chosen, &refund, force, now);
	}
	settle_refunds(order, "refund_requested", actor, psprintf("{\"refund_id\": \"%s\", \"amount_cents\": %d}", uuid_text(&refund.refund_id), refund.amount_cents), now);
	order_timeline(&order->order_id, 1, requested, label, now);
	made->refund_id = refund.refund_id;
	made->state = refund.amount_cents == 0 ? "succeeded" : "requested";
	made->amount_cents = refund.amount_cents;
	made->ticket_ids = chosen.ids;
	made->ticket_count = chosen.count;
}

/* Finds and locks an order that an actor is to decide about. */
void
lock_order_of_event(const pg_uuid_t *order_id, const char *actor, LockedOrder *order)
{
	Datum		id = UUIDPGetDatum(order_id);
	int32		event_id;

	if (run_latest(&event_of_order, &id, NULL) == 0)
		refuse(NOT_FOUND, psprintf("\"order_id\": \"%s\"", uuid_text(order_id)), NULL, "order %s does not exist", uuid_text(order_id));
	event_id = DatumGetInt32(row_datum(0, 1));
	require_permission(event_id, actor, "admin");
	lock_user(actor, event_id);
	lock_order(order_id, order);
}

/* What is told of a refund that was made. */
void
answer_refund(Answer *answer, const LockedOrder *order, const RefundMade *made)
{
	StringInfoData ids;

	answer_uuid(answer, "refund_id", &made->refund_id);
	answer_uuid(answer, "order_id", &order->order_id);
	answer_text(answer, "state", made->state);
	answer_text(answer, "order_state", order_state_name(order->state));
	answer_int(answer, "amount_cents", made->amount_cents);
	answer_text(answer, "currency", order->currency);
	initStringInfo(&ids);
	for (int i = 0; i < made->ticket_count; i++)
		appendStringInfo(&ids, "%s\"%s\"", i == 0 ? "" : ", ", uuid_text(DatumGetUUIDP(made->ticket_ids[i])));
	answer_raw(answer, "ticket_ids", psprintf("[%s]", ids.data));
}

/* A reason for which an organizer refunds. */
static void
check_reason(const char *reason)
{
	if (strcmp(reason, "requested_by_customer") != 0 && strcmp(reason, "fraudulent") != 0 && strcmp(reason, "other") != 0)
		refuse(BAD_REQUEST, "\"argument\": \"reason\"", "Use requested_by_customer, fraudulent or other.", "reason \"%s\" is unknown", reason);
}

/* An array of ids without NULLs, or NULL for all; refuses an empty one. */
ArrayType *
ticket_ids_argument(FunctionCallInfo fcinfo, int number)
{
	ArrayType  *ids;

	if (PG_ARGISNULL(number))
		return NULL;
	ids = PG_GETARG_ARRAYTYPE_P(number);
	if (ARR_NDIM(ids) != 1 || ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids)) == 0 || array_contains_nulls(ids))
		refuse(BAD_REQUEST, "\"argument\": \"ticket_ids\"", "Leave it out for all tickets of the order.", "ticket_ids is empty or has a NULL");
	return ids;
}

/* The ids as text that differs when they differ. */
const char *
ticket_ids_text(ArrayType *ticket_ids)
{
	StringInfoData text;
	Datum	   *ids;
	int			count;

	if (ticket_ids == NULL)
		return "all";
	initStringInfo(&text);
	deconstruct_array(ticket_ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, NULL, &count);
	for (int i = 0; i < count; i++)
		appendStringInfo(&text, "%s ", uuid_text(DatumGetUUIDP(ids[i])));
	return text.data;
}

PG_FUNCTION_INFO_V1(dvnt_refund_order);

/* refund_order(order_id, actor, ticket_ids, reason, force, request_id) → jsonb */
Datum
dvnt_refund_order(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	char	   *reason = text_argument(fcinfo, 3, "reason");
	ArrayType  *ticket_ids = ticket_ids_argument(fcinfo, 2);
	bool		force = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	RememberedCall remembered;
	LockedOrder order;
	RefundMade	made;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "order_id");
	check_reason(reason);
	begin_command();
	remembered_call(&remembered, "refund_order", actor, optional_text(fcinfo, 5),
					psprintf("%s %s %d %s", uuid_text(PG_GETARG_UUID_P(0)), reason, force,
							 ticket_ids_text(ticket_ids)));
	lock_order_of_event(PG_GETARG_UUID_P(0), actor, &order);
	if (!recall_answer(&remembered, &result))
	{
		refund_tickets(&order, ticket_ids, reason, actor, force, &made, engine_now());
		answer_begin(&answer);
		answer_refund(&answer, &order, &made);
		result = answer_jsonb(&answer);
		remember_answer(&remembered, result);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
