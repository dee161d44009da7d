/*
 * order_states.c
 *		The states of an order and what moves them, as a table. Pure: no SPI, no
 *		catalog; orders.c does what a move means.
 */
#include <string.h>

#include "order_states.h"

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

static const char *const event_names[ORDER_EVENT_COUNT] = {
	[ORDER_EVENT_FREE] = "free",
	[ORDER_EVENT_REQUIRES_ACTION] = "requires_action",
	[ORDER_EVENT_DECLINED] = "declined",
	[ORDER_EVENT_PROCESSING] = "processing",
	[ORDER_EVENT_SUCCEEDED] = "succeeded",
	[ORDER_EVENT_SEATS_LOST] = "seats_lost",
	[ORDER_EVENT_DIFFERS] = "differs",
	[ORDER_EVENT_DUPLICATE] = "duplicate",
	[ORDER_EVENT_HOLD_ENDED] = "hold_ended",
	[ORDER_EVENT_USER_CANCELED] = "user_canceled",
	[ORDER_EVENT_STRIPE_CANCELED] = "stripe_canceled",
	[ORDER_EVENT_GRACE_OVER] = "grace_over",
	[ORDER_EVENT_SEATS_TAKEN] = "seats_taken",
	[ORDER_EVENT_SEATS_GONE] = "seats_gone",
	[ORDER_EVENT_REFUND_SUCCEEDED] = "refund_succeeded",
	[ORDER_EVENT_REFUND_FAILED] = "refund_failed",
};

/* Which event moves which state where. A pair that is not here is ignored. */
static const struct
{
	OrderState	from;
	OrderEvent	on;
	OrderState	to;
}			moves[] = {
	{ORDER_CREATED, ORDER_EVENT_FREE, ORDER_PAID},

	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_REQUIRES_ACTION, ORDER_AWAITING_PAYMENT},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_DECLINED, ORDER_AWAITING_PAYMENT},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_PROCESSING, ORDER_PROCESSING},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_SUCCEEDED, ORDER_PAID},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_SEATS_LOST, ORDER_LATE_PAID},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_DIFFERS, ORDER_REVIEW},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_HOLD_ENDED, ORDER_EXPIRING},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_USER_CANCELED, ORDER_CANCELING},
	{ORDER_AWAITING_PAYMENT, ORDER_EVENT_STRIPE_CANCELED, ORDER_CANCELED},

	{ORDER_PROCESSING, ORDER_EVENT_DECLINED, ORDER_AWAITING_PAYMENT},
	{ORDER_PROCESSING, ORDER_EVENT_SUCCEEDED, ORDER_PAID},
	{ORDER_PROCESSING, ORDER_EVENT_SEATS_LOST, ORDER_LATE_PAID},
	{ORDER_PROCESSING, ORDER_EVENT_DIFFERS, ORDER_REVIEW},
	{ORDER_PROCESSING, ORDER_EVENT_HOLD_ENDED, ORDER_EXPIRING},
	{ORDER_PROCESSING, ORDER_EVENT_STRIPE_CANCELED, ORDER_CANCELED},

	{ORDER_EXPIRING, ORDER_EVENT_DECLINED, ORDER_EXPIRING},
	{ORDER_EXPIRING, ORDER_EVENT_PROCESSING, ORDER_PROCESSING},
	{ORDER_EXPIRING, ORDER_EVENT_SUCCEEDED, ORDER_PAID},
	{ORDER_EXPIRING, ORDER_EVENT_SEATS_LOST, ORDER_LATE_PAID},
	{ORDER_EXPIRING, ORDER_EVENT_DIFFERS, ORDER_REVIEW},
	{ORDER_EXPIRING, ORDER_EVENT_STRIPE_CANCELED, ORDER_EXPIRED},
	{ORDER_EXPIRING, ORDER_EVENT_GRACE_OVER, ORDER_EXPIRED},

	{ORDER_CANCELING, ORDER_EVENT_DECLINED, ORDER_CANCELING},
	{ORDER_CANCELING, ORDER_EVENT_PROCESSING, ORDER_PROCESSING},
	{ORDER_CANCELING, ORDER_EVENT_SUCCEEDED, ORDER_PAID},
	{ORDER_CANCELING, ORDER_EVENT_SEATS_LOST, ORDER_LATE_PAID},
	{ORDER_CANCELING, ORDER_EVENT_DIFFERS, ORDER_REVIEW},
	{ORDER_CANCELING, ORDER_EVENT_STRIPE_CANCELED, ORDER_CANCELED},
	{ORDER_CANCELING, ORDER_EVENT_GRACE_OVER, ORDER_CANCELED},

	{ORDER_EXPIRED, ORDER_EVENT_SUCCEEDED, ORDER_LATE_PAID},
	{ORDER_CANCELED, ORDER_EVENT_SUCCEEDED, ORDER_LATE_PAID},

	{ORDER_LATE_PAID, ORDER_EVENT_SEATS_TAKEN, ORDER_PAID},
	{ORDER_LATE_PAID, ORDER_EVENT_SEATS_GONE, ORDER_REFUNDING},

	{ORDER_REFUNDING, ORDER_EVENT_REFUND_SUCCEEDED, ORDER_REFUNDED},
	{ORDER_REFUNDING, ORDER_EVENT_REFUND_FAILED, ORDER_REFUND_FAILED},
	{ORDER_REFUNDED, ORDER_EVENT_REFUND_FAILED, ORDER_REFUND_FAILED},

	/* the second payment is given back; the order is as it was */
	{ORDER_PAID, ORDER_EVENT_DUPLICATE, ORDER_PAID},
	{ORDER_PARTIALLY_REFUNDED, ORDER_EVENT_DUPLICATE, ORDER_PARTIALLY_REFUNDED},
	{ORDER_REFUNDING, ORDER_EVENT_DUPLICATE, ORDER_REFUNDING},
	{ORDER_REFUNDED, ORDER_EVENT_DUPLICATE, ORDER_REFUNDED},
	{ORDER_REFUND_FAILED, ORDER_EVENT_DUPLICATE, ORDER_REFUND_FAILED},
};

/* What changes nothing and must not be overlooked: money that came and that the engine does not dare to judge. */
static const struct
{
	OrderState	in;
	OrderEvent	on;
}			reports[] = {
	{ORDER_EXPIRED, ORDER_EVENT_DIFFERS},
	{ORDER_CANCELED, ORDER_EVENT_DIFFERS},
	{ORDER_REVIEW, ORDER_EVENT_DUPLICATE},
};

/* What an event does to an order in a state. */
OrderTransition
order_transition(OrderState from, OrderEvent on)
{
	for (unsigned i = 0; i < sizeof(moves) / sizeof(moves[0]); i++)
		if (moves[i].from == from && moves[i].on == on)
			return (OrderTransition) {ORDER_MOVES, moves[i].to};
	for (unsigned i = 0; i < sizeof(reports) / sizeof(reports[0]); i++)
		if (reports[i].in == from && reports[i].on == on)
			return (OrderTransition) {ORDER_REPORTS, from};
	return (OrderTransition) {ORDER_IGNORES, from};
}

const char *
order_state_name(OrderState state)
{
	return states[state].name;
}

/* What public.orders.status shows for a state. */
const char *
order_state_public(OrderState state)
{
	return states[state].public_status;
}

const char *
order_event_name(OrderEvent event)
{
	return event_names[event];
}

/* The state of that name, or -1. */
int
order_state_by_name(const char *name)
{
	for (int state = 0; state < ORDER_STATE_COUNT; state++)
		if (strcmp(states[state].name, name) == 0)
			return state;
	return -1;
}
