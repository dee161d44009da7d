/*
 * ledger.h
 *		The kinds of bookings.
 */
#ifndef LEDGER_H
#define LEDGER_H

typedef enum LedgerKind
{
	LEDGER_CHARGE,				/* a buyer paid */
	LEDGER_TRANSFER,			/* which goes to the organizer */
	LEDGER_BUYER_FEE,			/* who gives the fees to the platform */
	LEDGER_ORGANIZER_FEE,
	LEDGER_STRIPE_FEE,			/* for the processing */
	LEDGER_REFUND,				/* a buyer was given back */
	LEDGER_REFUND_FAILURE,		/* or, after all, was not */
	LEDGER_REVERSAL,			/* the organizer gave back his part */
	LEDGER_BUYER_FEE_REFUND,	/* and the platform the fees to him */
	LEDGER_ORGANIZER_FEE_REFUND,
	LEDGER_DEBT,				/* the organizer's part could not be taken back */
	LEDGER_DEBT_SETTLED,		/* he does not owe it any more */
	LEDGER_DISPUTE,				/* a bank took a payment back */
	LEDGER_DISPUTE_REINSTATED,	/* and brought it again */
	LEDGER_DISPUTE_FEE,
	LEDGER_DISPUTE_FEE_REFUND,
	LEDGER_RETRANSFER,			/* what was reversed goes to the organizer again */
	LEDGER_PAYOUT,				/* an organizer was paid out */
	LEDGER_PAYOUT_FAILURE,
	LEDGER_PLATFORM_PAYOUT,		/* the platform was paid out */
	LEDGER_PLATFORM_PAYOUT_FAILURE,
	LEDGER_TOPUP,				/* the platform put money in */
	LEDGER_ROUNDING_UP,			/* Stripe divided a fee otherwise than we: a cent more for the organizer */
	LEDGER_ROUNDING_DOWN,
	LEDGER_OPENING,				/* what was before us */
	LEDGER_KIND_COUNT
} LedgerKind;

#endif							/* LEDGER_H */
