/*
 * fees_test.c
 *		Tests of fees.c.
 *
 * Broken if they fail: a buyer is charged, or an organizer paid, another
 * amount than was agreed, or the parts of an order do not add up to it.
 */
#include "fees.h"
#include "tap.h"

/* One test: this subtotal and number of paid tickets give these figures. */
static void
check_quote(int64_t subtotal, int64_t paid, int charge, int transfer, int application_fee)
{
	FeeQuote  quote;
	FeeResult result = fees_quote(subtotal, paid, &quote);

	if (!ok(result == FEE_OK && quote.total_cents == charge && quote.transfer_cents == transfer &&
				quote.application_fee_cents == application_fee,
			"subtotal %lld of %lld tickets", (long long) subtotal, (long long) paid))
		printf("# %s: charge %d, transfer %d, application fee %d\n", fees_result_message(result),
			   quote.total_cents, quote.transfer_cents, quote.application_fee_cents);
}

/* The policy's own examples, and both sides of a half cent. */
static void
test_quotes(void)
{
	check_quote(1000, 1, 1125, 875, 250);
	check_quote(4000, 2, 4300, 3700, 600);
	check_quote(0, 0, 0, 0, 0);
	check_quote(200, 1, 305, 95, 210);
	check_quote(219, 1, 324, 114, 210);   /* 5.475 is 5 */
	check_quote(220, 1, 326, 114, 212);   /* 5.5 is 6 */
	check_quote(221, 1, 327, 115, 212);   /* 5.525 is 6 */
	check_quote(1020, 1, 1146, 894, 252); /* 25.5 is 26 */
	check_quote(2000, 10, 3050, 950, 2100);
	check_quote(2095105899, 1, 2147483646, 2042728152, 104755494); /* the largest */
}

/* What cannot be charged must be an error, not a wrapped number. */
static void
test_limits(void)
{
	FeeQuote quote;

	is_number(fees_quote(2095105900, 1, &quote), FEE_OVERFLOW, "a charge beyond 32 bits");
	is_number(quote.total_cents + quote.subtotal_cents, 0, "leaves an empty quote");
	is_number(fees_quote(INT32_MAX, 1, &quote), FEE_OVERFLOW, "a charge far beyond 32 bits");
	is_number(fees_quote(INT64_C(1) << 31, 1, &quote), FEE_OVERFLOW, "a subtotal beyond 32 bits");
	is_number(fees_quote(INT64_MAX, 1, &quote), FEE_OVERFLOW, "the largest subtotal");
	is_number(fees_quote(INT32_MAX, INT32_MAX, &quote), FEE_OVERFLOW, "many tickets at a cent");
	is_number(fees_quote(-1, 1, &quote), FEE_NEGATIVE_PRICE, "a subtotal below zero");
	is_number(fees_quote(100, -1, &quote), FEE_INVALID_QUANTITY, "a quantity below zero");
	is_number(fees_quote(100, 0, &quote), FEE_INVALID_QUANTITY, "money for no ticket");
	is_number(fees_quote(0, 1, &quote), FEE_INVALID_QUANTITY, "paid tickets for no money");
	is_number(fees_quote(100, 1, &quote), FEE_NEGATIVE_TRANSFER, "a fee above the subtotal");
	is_number(fees_quote(103, 1, &quote), FEE_OK, "a fee that is the subtotal");
	is_number(quote.transfer_cents, 0, "transfers nothing");

	is_number(fees_check_price(-1), FEE_NEGATIVE_PRICE, "a price below zero");
	is_number(fees_check_price(0), FEE_OK, "a free tier");
	is_number(fees_check_price(1), FEE_PRICE_TOO_LOW, "a price of a cent");
	is_number(fees_check_price(199), FEE_PRICE_TOO_LOW, "a price of 199");
	is_number(fees_check_price(200), FEE_OK, "a price of 200");
	is_number(fees_check_price(INT32_MAX), FEE_OK, "the largest price");
	is_number(fees_check_price((int64_t) INT32_MAX + 1), FEE_OVERFLOW, "a price beyond 32 bits");
}

/* At any allowed price the organizer must get something, and the sides must add up. */
static void
test_every_price(void)
{
	int negative = 0;
	int unbalanced = 0;

	for (int64_t price = FEE_SMALLEST_PAID_PRICE; price <= 100000; price++)
		for (int64_t quantity = 1; quantity <= 10; quantity++)
		{
			FeeQuote quote;

			if (fees_quote(price * quantity, quantity, &quote) != FEE_OK ||
				quote.transfer_cents <= 0)
				negative++;
			if (quote.total_cents != quote.transfer_cents + quote.application_fee_cents ||
				quote.total_cents != quote.subtotal_cents + quote.buyer_fee_cents ||
				quote.buyer_fee_cents != quote.organizer_fee_cents)
				unbalanced++;
		}
	is_number(negative, 0,
			  "the transfer is positive for every price of 200..100000, 1 to 10 of it");
	is_number(unbalanced, 0, "charge = transfer + application fee for each of them");
}

/* Free tickets in a paid cart must not be charged for. */
static void
test_carts(void)
{
	FeeCart  cart = {0};
	FeeQuote quote;

	is_number(fees_add_line(&cart, 1000, 1), FEE_OK, "a paid line");
	is_number(fees_add_line(&cart, 0, 5), FEE_OK, "a free line");
	is_number(cart.quantity, 6, "six tickets");
	is_number(fees_quote_cart(&cart, &quote), FEE_OK, "a quote");
	is_number(quote.paid_quantity, 1, "one of them is paid for");
	is_number(quote.total_cents, 1125, "the free ones cost nothing");

	memset(&cart, 0, sizeof(cart));
	is_number(fees_add_line(&cart, 0, INT32_MAX), FEE_OK, "a free cart");
	is_number(fees_quote_cart(&cart, &quote), FEE_OK, "has a quote");
	is_number(quote.total_cents + quote.buyer_fee_cents + quote.application_fee_cents +
				  quote.transfer_cents,
			  0, "of zero throughout");

	is_number(fees_add_line(&cart, 100, 0), FEE_INVALID_QUANTITY, "a quantity of zero");
	is_number(fees_add_line(&cart, 100, -1), FEE_INVALID_QUANTITY, "a quantity below zero");
	is_number(fees_add_line(&cart, -100, 1), FEE_NEGATIVE_PRICE, "a price below zero");
	is_number(fees_add_line(&cart, INT32_MAX, INT32_MAX), FEE_OK, "a line of 62 bits");
	is_number(fees_add_line(&cart, INT32_MAX, INT32_MAX), FEE_OK, "two of them");
	is_number(fees_add_line(&cart, INT32_MAX, INT32_MAX), FEE_OVERFLOW, "three do not fit 64 bits");
	is_number(cart.quantity, INT64_C(3) * INT32_MAX, "and leave the cart as it was");
	is_number(fees_quote_cart(&cart, &quote), FEE_OVERFLOW, "its quote does not fit 32 bits");
	is_number(fees_add_line(&cart, INT64_MAX, 2), FEE_OVERFLOW, "nor does a product fit 64 bits");
}

/* The shares of a small list, as text. */
static const char *
shares_of(int64_t total, const int64_t *weights, size_t count)
{
	static char text[200];
	int64_t     shares[10];
	size_t      length = 0;

	if (!largest_remainder_shares(total, weights, count, shares))
		return "refused";
	text[0] = '\0';
	for (size_t i = 0; i < count; i++)
		length += (size_t) snprintf(text + length, sizeof(text) - length, "%s%lld",
									i == 0 ? "" : " ", (long long) shares[i]);
	return text;
}

/* The tickets' shares must be the order's fee, to the cent, the same every time. */
static void
test_shares(void)
{
#define SHARES(total, ...)                                                                         \
	shares_of(total, (const int64_t[]){__VA_ARGS__},                                               \
			  sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
	uint64_t random = 88172645463325252u;
	int      wrong = 0;

	is_text(SHARES(10, 1, 1, 1), "4 3 3", "ties go to the lower index");
	is_text(SHARES(11, 1, 1, 1), "4 4 3", "two of them");
	is_text(SHARES(300, 4000, 2000), "200 100", "without a remainder");
	is_text(SHARES(7, 1, 2, 4), "1 2 4", "as the weights");
	is_text(SHARES(8, 1, 2, 4), "1 2 5", "the largest remainder gets the cent");
	is_text(SHARES(5, 0, 3, 0, 3), "0 3 0 2", "no weight, no share");
	is_text(SHARES(5, 0, 0), "0 0", "no weights, no shares");
	is_text(SHARES(0, 1, 2), "0 0", "nothing to split");
	is_text(SHARES(9, 5), "9", "one gets all");
	is_text(SHARES(1, 1, 1000000000), "0 1", "far apart");
	is_text(SHARES(INT64_MAX, 1, 1), "4611686018427387904 4611686018427387903", "large total");
	is_text(SHARES(3, INT64_MAX - 1, 1), "3 0", "large weights");
	is_text(SHARES(-1, 1), "refused", "a total below zero");
	is_text(SHARES(1, 2, -1), "refused", "a weight below zero");
	is_text(SHARES(1, INT64_MAX, 1), "refused", "weights whose sum overflows");
	ok(largest_remainder_shares(5, NULL, 0, NULL), "nobody to split among");

	for (int round = 0; round < 20000; round++)
	{
		int64_t weights[12];
		int64_t shares[12];
		int64_t total;
		int64_t weight_sum = 0;
		int64_t share_sum = 0;
		size_t  count;

#define NEXT (random ^= random << 13, random ^= random >> 7, random ^= random << 17)
		count = NEXT % 12 + 1;
		total = (int64_t) (NEXT % 5000);
		for (size_t i = 0; i < count; i++)
		{
			weights[i] = NEXT % 4 == 0 ? 0 : (int64_t) (NEXT % (round % 2 == 0 ? 5 : 20000));
			weight_sum += weights[i];
		}
		if (!largest_remainder_shares(total, weights, count, shares))
			wrong++;
		for (size_t i = 0; i < count; i++)
		{
			share_sum += shares[i];
			if (weight_sum == 0)
				wrong += shares[i] != 0;
			else /* a share is its exact part, rounded down or up */
				wrong += shares[i] < total * weights[i] / weight_sum ||
						 shares[i] > (total * weights[i] + weight_sum - 1) / weight_sum;
			for (size_t j = i + 1; j < count && weight_sum > 0; j++)
			{
				int64_t left = total * weights[i] % weight_sum;
				int64_t right = total * weights[j] % weight_sum;
				bool    left_up = shares[i] > total * weights[i] / weight_sum;
				bool    right_up = shares[j] > total * weights[j] / weight_sum;

				/* whoever got a cent more had at least the other's remainder */
				if (left == right || left > right)
					wrong += right_up && !left_up;
				else
					wrong += left_up && !right_up;
			}
		}
		wrong += share_sum != (weight_sum == 0 ? 0 : total);
	}
	is_number(wrong, 0, "20,000 random splits: exact sum, fair, ties to the lower index");
}

int
main(void)
{
	test_quotes();
	test_limits();
	test_every_price();
	test_carts();
	test_shares();
	return done_testing();
}
