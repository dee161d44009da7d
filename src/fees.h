/*
 * fees.h
 *		What a cart costs: fee policy v1_250_1pt, in integer cents.
 *
 * This file is pure C: no backend symbol, no catalog, no SPI.
 */
#ifndef DVNT_FEES_H
#define DVNT_FEES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FEE_POLICY "v1_250_1pt"
#define FEE_BASIS_POINTS 250        /* 2.5 % of the subtotal, on each side */
#define FEE_PER_TICKET_CENTS 100    /* and this for every paid ticket, on each side */
#define FEE_SMALLEST_PAID_PRICE 200 /* so that a transfer is never negative */

typedef enum FeeResult
{
	FEE_OK = 0,
	FEE_NEGATIVE_PRICE,    /* a price below zero */
	FEE_PRICE_TOO_LOW,     /* above zero, below the smallest paid price */
	FEE_INVALID_QUANTITY,  /* below 1, or more paid tickets than cents */
	FEE_OVERFLOW,          /* an amount does not fit a 32-bit integer */
	FEE_NEGATIVE_TRANSFER, /* the organizer's fee is above the subtotal */
} FeeResult;

/* A cart being summed up; start with all zero. */
typedef struct FeeCart
{
	int64_t subtotal_cents;
	int64_t paid_quantity; /* tickets with a price above zero */
	int64_t quantity;      /* all tickets */
} FeeCart;

typedef struct FeeQuote
{
	int32_t subtotal_cents;
	int32_t paid_quantity;
	int32_t buyer_fee_cents;
	int32_t organizer_fee_cents;
	int32_t total_cents;           /* what the buyer is charged */
	int32_t application_fee_cents; /* what the platform keeps of it */
	int32_t transfer_cents;        /* what the organizer gets */
} FeeQuote;

/* A sentence's body for a log: lower-case, no full stop. */
extern const char *fees_result_message(FeeResult result);

/* May a tier have this price? */
extern FeeResult fees_check_price(int64_t price_cents);

/* Adds a line; says nothing about the smallest price. */
extern FeeResult fees_add_line(FeeCart *cart, int64_t price_cents, int64_t quantity);

/* The quote of a cart, or of its two sums.  On failure *quote is all zero. */
extern FeeResult fees_quote_cart(const FeeCart *cart, FeeQuote *quote);
extern FeeResult fees_quote(int64_t subtotal_cents, int64_t paid_quantity, FeeQuote *quote);

/*
 * Splits total in proportion to the weights by largest remainder: the shares
 * sum to total, ties go to the lower index, a weight of zero gets zero (all
 * zero: all get zero).  False, and nothing written, for a negative argument or
 * weights whose sum overflows.
 */
extern bool largest_remainder_shares(int64_t total, const int64_t *weights, size_t count,
									 int64_t *shares);

#endif /* DVNT_FEES_H */
