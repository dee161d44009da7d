/*
 * disputes.h
 *		What disputes.c and dispute_money.c share.
 */
#ifndef DISPUTES_H
#define DISPUTES_H

#include "dvnt_ticketing.h"

/* How far a dispute has come; it never goes back. */
typedef enum DisputePhase
{
	DISPUTE_NEW,				/* never heard of */
	DISPUTE_INQUIRY,			/* the bank asks; no money has moved */
	DISPUTE_CLOSED,				/* it asked, and that was all */
	DISPUTE_OPEN,				/* the money is gone for now */
	DISPUTE_LOST,				/* for good, or so it seems */
	DISPUTE_WON,
	DISPUTE_PHASE_COUNT
} DisputePhase;

/* A dispute as Stripe shows it. */
typedef struct Dispute
{
	char	   *id;
	char	   *payment_intent_id;	/* NULL: of a charge without one */
	char	   *charge_id;
	char	   *transfer_id;	/* NULL: not told */
	int64		amount_cents;
	int64		charge_left_cents;	/* not refunded of the charge, as it says itself */
	char	   *currency;
	char	   *reason;
	char	   *status;
	DisputePhase phase;
	bool		unknown_status; /* phase says nothing */
	TimestampTz created_at;
	Jsonb	   *object;
} Dispute;

/*-- dispute_money.c --*/

extern void book_dispute(const LockedOrder *order, const Dispute *dispute, TimestampTz now);
extern int64 left_of_payment(const LockedOrder *order, const Dispute *dispute);
extern void take_transfer_back(const LockedOrder *order, const Dispute *dispute, TimestampTz now);
extern void give_transfer_again(const LockedOrder *order, const char *dispute_id, TimestampTz now);

#endif							/* DISPUTES_H */
