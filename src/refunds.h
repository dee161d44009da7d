/*
 * refunds.h
 *		What the files about refunds call of one another.
 */
#ifndef REFUNDS_H
#define REFUNDS_H

#include "utils/array.h"

#include "dvnt_ticketing.h"

/*-- refunds.c --*/

/* A refund that is to be made. */
typedef struct NewRefund
{
	pg_uuid_t	refund_id;
	const char *payment_intent_id;	/* NULL: free tickets */
	const char *reason;
	int32		amount_cents;
	int32		buyer_fee_cents;
	int32		organizer_fee_cents;
	bool		reverses;		/* the organizer's part is taken back */
	const char *actor;			/* NULL: the engine */
} NewRefund;

/* A refund as it is in its row. */
typedef struct Refund
{
	pg_uuid_t	id;
	pg_uuid_t	order_id;
	char	   *reason;
	char	   *state;
	int32		amount_cents;
	int32		buyer_fee_cents;
	int32		organizer_fee_cents;
	bool		reverses;
	char	   *actor;
	char	   *payment_intent_id;
	char	   *stripe_refund_id;
} Refund;

extern pg_uuid_t *ask_for_refund(const LockedOrder *order, const pg_uuid_t *refund_id, const char *payment_intent_id,
								 const char *reason, int32 amount_cents, bool reverses, TimestampTz now);
extern void record_refund(const LockedOrder *order, const NewRefund *refund, const char *state, const pg_uuid_t *request_id,
						  const char *stripe_refund_id, TimestampTz now);
extern void book_reversal(const LockedOrder *order, const Refund *refund, TimestampTz now);
extern void refund_says(LockedOrder *order, const Refund *refund, const char *stripe_refund_id, const char *state,
						const char *failure, bool quietly, const char *source, TimestampTz now);
extern void begin_refund(const LockedOrder *order, NewRefund *refund, bool whole, TimestampTz now);
extern void refund_free_tickets(LockedOrder *order, const NewRefund *refund, TimestampTz now);
extern bool organizer_part_is_back(const LockedOrder *order, const pg_uuid_t *refund_id, const char *payment_intent_id);
extern char *money_text(int32 cents, const char *currency);

/*-- refund_orders.c --*/

/* A refund that was made. */
typedef struct RefundMade
{
	pg_uuid_t	refund_id;
	const char *state;
	int32		amount_cents;
	Datum	   *ticket_ids;
	int			ticket_count;
} RefundMade;

extern ArrayType *ticket_ids_argument(FunctionCallInfo fcinfo, int number);
extern const char *ticket_ids_text(ArrayType *ticket_ids);
extern void lock_order_of_event(const pg_uuid_t *order_id, const char *actor, LockedOrder *order);
extern void refund_tickets(LockedOrder *order, ArrayType *ticket_ids, const char *reason, const char *actor, bool force,
						   RefundMade *made, TimestampTz now);
extern void answer_refund(Answer *answer, const LockedOrder *order, const RefundMade *made);

#endif							/* REFUNDS_H */
