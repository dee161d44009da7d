/*
 * fees.c
 *		Owns what a cart costs: fee policy v1_250_1pt, and the division of a fee
 *		among tickets.
 *
 * Each side, buyer and organizer, pays 2.5 % of the subtotal, rounded half up,
 * and 1.00 for every paid ticket.  The buyer's fee is added to the charge, the
 * organizer's is taken off the transfer.  A ticket with price zero carries no
 * fee.
 *
 * Tables: none.  Locks: none.
 */
#include "fees.h"

#include <string.h>

#define BASIS_POINTS_IN_ALL 10000

/* Does an amount fit the columns that hold it? */
static inline bool
fits_int32(int64_t cents)
{
	return cents >= 0 && cents <= INT32_MAX;
}

/* A sentence's body for a log. */
const char *
fees_result_message(FeeResult result)
{
	switch (result)
	{
		case FEE_OK:
			return "no error";
		case FEE_NEGATIVE_PRICE:
			return "price is negative";
		case FEE_PRICE_TOO_LOW:
			return "price of a paid ticket is below 200 cents";
		case FEE_INVALID_QUANTITY:
			return "quantity is not valid";
		case FEE_OVERFLOW:
			return "amount is too large";
		case FEE_NEGATIVE_TRANSFER:
			return "organizer's fee is above the subtotal";
	}
	return "unknown fee error";
}

/* May a tier have this price? */
FeeResult
fees_check_price(int64_t price_cents)
{
	if (price_cents < 0)
		return FEE_NEGATIVE_PRICE;
	if (price_cents > INT32_MAX)
		return FEE_OVERFLOW;
	if (price_cents > 0 && price_cents < FEE_SMALLEST_PAID_PRICE)
		return FEE_PRICE_TOO_LOW;
	return FEE_OK;
}

/* Adds a line to a cart; on failure the cart is unchanged. */
FeeResult
fees_add_line(FeeCart *cart, int64_t price_cents, int64_t quantity)
{
	FeeCart sum = *cart;
	int64_t line_cents;

	if (price_cents < 0)
		return FEE_NEGATIVE_PRICE;
	if (quantity < 1)
		return FEE_INVALID_QUANTITY;
	if (__builtin_mul_overflow(price_cents, quantity, &line_cents) ||
		__builtin_add_overflow(sum.subtotal_cents, line_cents, &sum.subtotal_cents) ||
		__builtin_add_overflow(sum.quantity, quantity, &sum.quantity) ||
		(price_cents > 0 &&
		 __builtin_add_overflow(sum.paid_quantity, quantity, &sum.paid_quantity)))
		return FEE_OVERFLOW;
	*cart = sum;
	return FEE_OK;
}

/* The quote of a cart; on failure *quote is all zero. */
FeeResult
fees_quote_cart(const FeeCart *cart, FeeQuote *quote)
{
	return fees_quote(cart->subtotal_cents, cart->paid_quantity, quote);
}

/* The quote of a subtotal and the number of tickets with a price above zero. */
FeeResult
fees_quote(int64_t subtotal_cents, int64_t paid_quantity, FeeQuote *quote)
{
	int64_t fee;

	memset(quote, 0, sizeof(*quote));
	if (subtotal_cents < 0)
		return FEE_NEGATIVE_PRICE;
	if (!fits_int32(subtotal_cents))
		return FEE_OVERFLOW;
	if (paid_quantity < 0 || paid_quantity > subtotal_cents ||
		(paid_quantity == 0 && subtotal_cents > 0))
		return FEE_INVALID_QUANTITY;

	/* each side's; the sums below are far from what int64 holds */
	fee = (subtotal_cents * FEE_BASIS_POINTS + BASIS_POINTS_IN_ALL / 2) / BASIS_POINTS_IN_ALL +
		  paid_quantity * FEE_PER_TICKET_CENTS;
	if (!fits_int32(subtotal_cents + fee) || !fits_int32(2 * fee))
		return FEE_OVERFLOW;
	if (fee > subtotal_cents)
		return FEE_NEGATIVE_TRANSFER;

	quote->subtotal_cents = (int32_t) subtotal_cents;
	quote->paid_quantity = (int32_t) paid_quantity;
	quote->buyer_fee_cents = (int32_t) fee;
	quote->organizer_fee_cents = (int32_t) fee;
	quote->total_cents = (int32_t) (subtotal_cents + fee);
	quote->application_fee_cents = (int32_t) (2 * fee);
	quote->transfer_cents = (int32_t) (subtotal_cents - fee);
	return FEE_OK;
}

/* What is left of a weight's share after rounding down, in parts of the sum of weights. */
static inline int64_t
share_remainder(int64_t total, int64_t weight, int64_t weight_sum)
{
	return (int64_t) ((__int128) total * weight % weight_sum);
}

/* How many weights have a remainder of at least this? */
static size_t
count_remainders(int64_t total, const int64_t *weights, size_t count, int64_t weight_sum,
				 int64_t least)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += share_remainder(total, weights[i], weight_sum) >= least;
	return found;
}

/*
 * Splits total in proportion to the weights: each share is rounded down, and
 * what is left goes, a cent each, to the largest remainders, ties to the lower
 * index.  The smallest remainder that still gets a cent is found by bisection,
 * so that nothing is allocated or sorted.
 */
bool
largest_remainder_shares(int64_t total, const int64_t *weights, size_t count, int64_t *shares)
{
	int64_t weight_sum = 0;
	int64_t left = total;
	int64_t low = 0;
	int64_t high;
	int64_t ties;

	if (total < 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (weights[i] < 0 || __builtin_add_overflow(weight_sum, weights[i], &weight_sum))
			return false;
	for (size_t i = 0; i < count; i++)
	{
		shares[i] = weight_sum == 0 ? 0 : (int64_t) ((__int128) total * weights[i] / weight_sum);
		left -= shares[i];
	}
	if (weight_sum == 0 || left == 0)
		return true;

	/* the largest remainder that at least `left` weights reach; fewer exceed it */
	high = weight_sum;
	while (high - low > 1)
	{
		int64_t middle = low + (high - low) / 2;

		if (count_remainders(total, weights, count, weight_sum, middle) >= (size_t) left)
			low = middle;
		else
			high = middle;
	}
	ties = left - (int64_t) count_remainders(total, weights, count, weight_sum, low + 1);
	for (size_t i = 0; i < count; i++)
	{
		int64_t remainder = share_remainder(total, weights[i], weight_sum);

		if (remainder > low || (remainder == low && ties-- > 0))
			shares[i]++;
	}
	return true;
}
