/*
 * order_ends.c
 *		When an order's time is over: by the clock, by its buyer, or late, when
 *		the money comes after all.
 *
 * The end of an order is in its row (due_at) from the start; the relay's claim
 * and cron look for what is due, whichever comes first. The seats go back by
 * time alone, like any hold's, ORDER_GRACE_SECONDS after the buyer's time if
 * nobody looks. Reads and writes ticketing.orders, reads order_items and
 * order_payments; moves orders through orders.c. Locks: the user, the order,
 * then what orders.c and holds.c take.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"

#define TIME_TO_PAY_SECONDS (8 * 60.0)	/* from the moment that the buyer can */
#define ACTION_SECONDS (3 * 60.0)	/* more, once, for who is about to authenticate */
#define FAILED_END_SECONDS 60.0

KEPT_PLAN(due_orders,
		  "SELECT order_id FROM ticketing.orders WHERE state IN ('awaiting_payment', 'processing', 'expiring', 'canceling') AND due_at <= $1 "
		  "ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED",
		  TIMESTAMPTZOID, INT4OID);
KEPT_PLAN(put_off, "UPDATE ticketing.orders SET due_at = $2 WHERE order_id = $1", UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(waits_for_action,
		  "SELECT FROM ticketing.order_payments WHERE order_id = $1 AND state = 'requires_action'", UUIDOID);
KEPT_PLAN(move_end,
		  "UPDATE ticketing.orders SET expires_at = $2, due_at = $2, action_extended = action_extended OR $3, updated_at = $4 WHERE order_id = $1",
		  UUIDOID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID);
KEPT_PLAN(held_since,
		  "SELECT min(created_at) FROM ticketing.ticket_holds WHERE reservation_id = $1", UUIDOID);
KEPT_PLAN(items_of_order,
		  "SELECT ticket_type_id, quantity FROM ticketing.order_items WHERE order_id = $1 ORDER BY item", UUIDOID);
KEPT_PLAN(set_reservation,
		  "UPDATE ticketing.orders SET reservation_id = $2 WHERE order_id = $1", UUIDOID, UUIDOID);

/* Gives an order that awaits its payment until then. */
static void
set_end(LockedOrder *order, TimestampTz end, bool for_action, TimestampTz now)
{
	Datum		values[4] = {UUIDPGetDatum(&order->order_id), TimestampTzGetDatum(end), BoolGetDatum(for_action), TimestampTzGetDatum(now)};

	run_latest(&move_end, values, NULL);
	order->expires_at = end;
	keep_holds(&order->reservation_id, add_seconds(end, ORDER_GRACE_SECONDS));
}

/* The buyer can pay from now on: the wait in our queue was not his time, as long as the hold may live. */
void
give_time_to_pay(LockedOrder *order, TimestampTz now)
{
	Datum		reservation = UUIDPGetDatum(&order->reservation_id);
	TimestampTz limit;
	TimestampTz end;

	if (run_latest(&held_since, &reservation, NULL) == 0 || row_is_null(0, 1))
		return;
	limit = add_seconds(DatumGetTimestampTz(row_datum(0, 1)), hold_max_age_seconds);
	end = Min(add_seconds(now, TIME_TO_PAY_SECONDS), limit);
	if (end > order->expires_at)
		set_end(order, end, false, now);
}

/* The cart of an order's lines. */
Cart *
cart_of_order(const LockedOrder *order)
{
	Datum		id = UUIDPGetDatum(&order->order_id);
	uint64		rows = run_latest(&items_of_order, &id, NULL);
	Cart	   *cart = palloc0(sizeof(Cart));

	cart->event_id = order->event_id;
	cart->item_count = (int) rows;
	cart->items = palloc0(sizeof(CartItem) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		cart->items[row].ticket_type_id = *DatumGetUUIDP(row_datum(row, 1));
		cart->items[row].quantity = DatumGetInt32(row_datum(row, 2));
	}
	cart_sort(cart);
	return cart;
}

/* For try_step. */
typedef struct LateOrder
{
	LockedOrder *order;
	TimestampTz now;
	pg_uuid_t	reservation_id;
} LateOrder;

/* Holds an order's seats anew. The sale's window is of no matter: it was open when the order was made. */
static void
hold_again(void *argument)
{
	LateOrder  *late = argument;
	LockedOrder *order = late->order;
	Cart	   *cart = cart_of_order(order);
	Snapshot	snapshot = cart_load_for_sale(cart);
	TimestampTz expires_at;
	Datum		values[2];

	if (cart->canceled)
		refuse(SALE_CLOSED, psprintf("\"event_id\": %d", cart->event_id), NULL, "event %d is canceled", cart->event_id);

	late->reservation_id = *hold_cart(cart, order->user_id, late->now, NULL, snapshot, &expires_at);
	UnregisterSnapshot(snapshot);
	attach_holds(&late->reservation_id, &order->order_id, expires_at);
	values[0] = UUIDPGetDatum(&order->order_id);
	values[1] = UUIDPGetDatum(&late->reservation_id);
	run_latest(&set_reservation, values, NULL);
}

/*
 * Takes all seats of a late order again; false when they are gone, the user has
 * all that he may have, or the event or tier is no more. The caller has the
 * user's lock.
 */
bool
take_seats_again(LockedOrder *order, TimestampTz now)
{
	LateOrder	late = {.order = order, .now = now};
	char	   *failure = try_step(hold_again, &late);

	if (failure == NULL)
	{
		order->reservation_id = late.reservation_id;
		order->seats_held = order->seats;
		return true;
	}
	/* a refusal; anything else says nothing of the seats */
	if (strncmp(failure, "PT4", 3) == 0)
		return false;
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not take the seats of order %s again: %s", uuid_text(&order->order_id), failure)));
}

/* What is due of an order is done. */
static void
end_order(LockedOrder *order, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(&order->order_id);

	if (order->state == ORDER_EXPIRING || order->state == ORDER_CANCELING)
		order_apply_locked(order, ORDER_EVENT_GRACE_OVER, "clock", NULL, now);
	else if (order->state == ORDER_AWAITING_PAYMENT && !order->action_extended && run_latest(&waits_for_action, &id, NULL) > 0)
	{
		order_log(&order->order_id, "extended", order_state_name(order->state), order_state_name(order->state), "clock", NULL, now);
		set_end(order, add_seconds(now, ACTION_SECONDS), true, now);
	}
	else
		order_apply_locked(order, ORDER_EVENT_HOLD_ENDED, "clock", NULL, now);
}

/* Does what is due of one order, which nobody has looked at in time. */
void
end_order_now(const pg_uuid_t *order_id, TimestampTz now)
{
	LockedOrder order;

	lock_order(order_id, &order);
	end_order(&order, now);
}

/* For an OrderBatch. */
static void
end_due_order(LockedOrder *order, const char *actor, TimestampTz now)
{
	end_order(order, now);
}

/* What could not be ended is tried again in a while. */
static void
put_off_end(const pg_uuid_t *order_id, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(order_id), TimestampTzGetDatum(add_seconds(now, FAILED_END_SECONDS))};

	run_latest(&put_off, values, NULL);
}

/* Ends orders whose time is over; those that somebody works on are left to the next time. Returns how many. */
int
end_due_orders(int max_rows, TimestampTz now)
{
	const OrderBatch batch = {.work = end_due_order, .finding = "order_not_ended", .put_off = put_off_end, .now = now};
	Datum		values[2] = {TimestampTzGetDatum(now), Int32GetDatum(max_rows)};

	declare_lock(RANK_ORDER);
	return work_through_orders(&batch, run_latest(&due_orders, values, NULL));
}

PG_FUNCTION_INFO_V1(dvnt_end_due_orders);

/* end_due_orders(max_rows) → integer */
Datum
dvnt_end_due_orders(PG_FUNCTION_ARGS)
{
	int32		max_rows;
	int			ended;

	require_argument(fcinfo, 0, "max_rows");
	max_rows = PG_GETARG_INT32(0);
	if (max_rows < 1)
		refuse(BAD_REQUEST, "\"argument\": \"max_rows\"", NULL, "max_rows is below 1");
	begin_command();
	ended = end_due_orders(max_rows, engine_now());
	SPI_finish();
	PG_RETURN_INT32(ended);
}

KEPT_PLAN(order_of_user,
		  "SELECT event_id FROM ticketing.orders WHERE order_id = $1 AND user_id = $2", UUIDOID, TEXTOID);

PG_FUNCTION_INFO_V1(dvnt_cancel_order);

/* cancel_order(order_id, user_id) → jsonb */
Datum
dvnt_cancel_order(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *order_id;
	char	   *user_id;
	Datum		values[2];
	LockedOrder order;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "order_id");
	order_id = PG_GETARG_UUID_P(0);
	user_id = text_argument(fcinfo, 1, "user_id");
	begin_command();
	values[0] = UUIDPGetDatum(order_id);
	values[1] = CStringGetTextDatum(user_id);
	if (run_latest(&order_of_user, values, NULL) == 0)
		refuse(NOT_FOUND, psprintf("\"order_id\": \"%s\"", uuid_text(order_id)), NULL,
			   "order %s does not exist", uuid_text(order_id));
	lock_order(order_id, &order);
	order_apply_locked(&order, ORDER_EVENT_USER_CANCELED, "cancel_order", NULL, engine_now());
	switch (order.state)
	{
		case ORDER_EXPIRING:
		case ORDER_CANCELING:
		case ORDER_EXPIRED:
		case ORDER_CANCELED:
			break;
		default:
			refuse(order.state == ORDER_PAID ? ALREADY_DONE : WRONG_STATE,
				   psprintf("\"order_id\": \"%s\", \"state\": \"%s\"", uuid_text(order_id), order_state_name(order.state)),
				   order.state == ORDER_PROCESSING ? "Its payment is settling: wait for how it ends." : "Ask order_status how it stands.",
				   "order %s cannot be canceled any more", uuid_text(order_id));
	}
	answer_begin(&answer);
	answer_uuid(&answer, "order_id", order_id);
	answer_text(&answer, "state", order_state_name(order.state));
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
