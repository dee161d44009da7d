/*
 * order_states.h
 *		The states of an order and what moves them. Pure: no SPI, no catalog.
 */
#ifndef ORDER_STATES_H
#define ORDER_STATES_H

typedef enum OrderState
{
	ORDER_CREATED,				/* a free one, before its tickets */
	ORDER_AWAITING_PAYMENT,
	ORDER_PROCESSING,			/* a method that settles later */
	ORDER_EXPIRING,				/* its time is over; Stripe is asked to cancel */
	ORDER_CANCELING,			/* the buyer gave up; Stripe is asked to cancel */
	ORDER_EXPIRED,
	ORDER_CANCELED,
	ORDER_LATE_PAID,			/* paid when its seats were gone already; for an instant */
	ORDER_PAID,
	ORDER_REVIEW,				/* paid, but not what was asked: an operator decides */
	ORDER_PARTIALLY_REFUNDED,
	ORDER_REFUNDING,
	ORDER_REFUNDED,
	ORDER_REFUND_FAILED,
	ORDER_STATE_COUNT
} OrderState;

typedef enum OrderEvent
{
	ORDER_EVENT_FREE,			/* nothing to pay */
	ORDER_EVENT_REQUIRES_ACTION,	/* Stripe: the buyer must do something, 3-D Secure for one */
	ORDER_EVENT_DECLINED,		/* Stripe: payment_failed; the buyer may try again */
	ORDER_EVENT_PROCESSING,		/* Stripe: the method settles later */
	ORDER_EVENT_SUCCEEDED,		/* Stripe: paid, and what was paid is what was asked */
	ORDER_EVENT_SEATS_LOST,		/* the same, but the seats went back by time meanwhile */
	ORDER_EVENT_DIFFERS,		/* Stripe: paid, but amount, currency, account or mode differ */
	ORDER_EVENT_DUPLICATE,		/* Stripe: paid a second time, by another object */
	ORDER_EVENT_HOLD_ENDED,		/* the buyer's time is over */
	ORDER_EVENT_USER_CANCELED,
	ORDER_EVENT_STRIPE_CANCELED,	/* Stripe: nothing of it can be paid any more */
	ORDER_EVENT_GRACE_OVER,		/* Stripe did not say so in time */
	ORDER_EVENT_SEATS_TAKEN,	/* a late payment found its seats again */
	ORDER_EVENT_SEATS_GONE,		/* it did not */
	ORDER_EVENT_REFUND_REQUESTED,	/* all that is left is to be given back */
	ORDER_EVENT_PART_REFUNDED,	/* some of it has been given back */
	ORDER_EVENT_REFUND_SUCCEEDED,	/* all of it has */
	ORDER_EVENT_REFUND_FAILED,
	ORDER_EVENT_RESTORED,		/* an operator made the tickets of a failed refund valid again */
	ORDER_EVENT_DISPUTE_OPENED,
	ORDER_EVENT_DISPUTE_WON,
	ORDER_EVENT_DISPUTE_LOST,
	ORDER_EVENT_DISPUTE_SETTLED,	/* a part was lost, and people have decided about the tickets */
	ORDER_EVENT_COUNT
} OrderEvent;

/* What an event does to an order in a state. */
typedef enum OrderEffect
{
	ORDER_IGNORES,				/* known before, or of no consequence */
	ORDER_MOVES,				/* to another state, or it stays and the log says why */
	ORDER_REPORTS				/* it stays; a finding */
} OrderEffect;

typedef struct OrderTransition
{
	OrderEffect effect;
	OrderState	to;				/* the same state unless it moves */
} OrderTransition;

extern OrderTransition order_transition(OrderState from, OrderEvent on);
extern const char *order_state_name(OrderState state);
extern const char *order_state_public(OrderState state);
extern const char *order_event_name(OrderEvent event);
extern int	order_state_by_name(const char *name);

#endif							/* ORDER_STATES_H */
