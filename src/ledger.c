/*
 * ledger.c
 *		The ledger: what was paid, by whom to whom. A row moves an amount from one
 *		account to another, so that all accounts together are always zero; each
 *		thing is booked once of each kind, however often it is told.
 *
 * Writes ticketing.ledger. Takes no lock that is waited for but
 * that of a booking of the same thing under way; the callers hold the lock of
 * what they book.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

/* From which account to which each kind moves its amount. */
static const struct
{
	const char *name;
	const char *from;
	const char *to;
}			kinds[LEDGER_KIND_COUNT] = {
	[LEDGER_CHARGE] = {"charge", "buyer", "platform"},
	[LEDGER_TRANSFER] = {"transfer", "platform", "organizer"},
	[LEDGER_BUYER_FEE] = {"buyer_fee", "organizer", "platform"},
	[LEDGER_ORGANIZER_FEE] = {"organizer_fee", "organizer", "platform"},
	[LEDGER_STRIPE_FEE] = {"stripe_fee", "platform", "stripe"},
	[LEDGER_REFUND] = {"refund", "platform", "buyer"},
	[LEDGER_REFUND_FAILURE] = {"refund_failure", "buyer", "platform"},
	[LEDGER_REVERSAL] = {"reversal", "organizer", "platform"},
	[LEDGER_BUYER_FEE_REFUND] = {"buyer_fee_refund", "platform", "organizer"},
	[LEDGER_ORGANIZER_FEE_REFUND] = {"organizer_fee_refund", "platform", "organizer"},
	[LEDGER_DEBT] = {"debt", "organizer_debt", "platform_claim"},
	[LEDGER_DEBT_SETTLED] = {"debt_settled", "platform_claim", "organizer_debt"},
	[LEDGER_DISPUTE] = {"dispute", "platform", "buyer"},
	[LEDGER_DISPUTE_REINSTATED] = {"dispute_reinstated", "buyer", "platform"},
	[LEDGER_DISPUTE_FEE] = {"dispute_fee", "platform", "stripe"},
	[LEDGER_DISPUTE_FEE_REFUND] = {"dispute_fee_refund", "stripe", "platform"},
	[LEDGER_RETRANSFER] = {"retransfer", "platform", "organizer"},
	[LEDGER_PAYOUT] = {"payout", "organizer", "bank"},
	[LEDGER_PAYOUT_FAILURE] = {"payout_failure", "bank", "organizer"},
	[LEDGER_PLATFORM_PAYOUT] = {"platform_payout", "platform", "bank"},
	[LEDGER_PLATFORM_PAYOUT_FAILURE] = {"platform_payout_failure", "bank", "platform"},
	[LEDGER_TOPUP] = {"topup", "bank", "platform"},
	[LEDGER_ROUNDING_UP] = {"rounding_up", "platform", "organizer"},
	[LEDGER_ROUNDING_DOWN] = {"rounding_down", "organizer", "platform"},
	[LEDGER_OPENING] = {"opening", "platform", "organizer"},
};

KEPT_PLAN(book_lines,
		  "INSERT INTO ticketing.ledger (kind, source, from_account, to_account, amount_cents, currency, event_id, order_id, payee_account, at) "
		  "SELECT l.kind, $1, l.from_account, l.to_account, l.amount_cents, $2, $3, $4, $5, $6 "
		  "FROM unnest($7::text[], $8::text[], $9::text[], $10::bigint[]) AS l (kind, from_account, to_account, amount_cents) ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, INT4OID, UUIDOID, TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID);

/* The lines as the statement's last parameters; how many there are: an amount of zero is none. */
static int
line_columns(const LedgerLine *lines, int count, Datum columns[4])
{
	Datum	   *names = palloc(sizeof(Datum) * (count + 1));
	Datum	   *from = palloc(sizeof(Datum) * (count + 1));
	Datum	   *to = palloc(sizeof(Datum) * (count + 1));
	Datum	   *amounts = palloc(sizeof(Datum) * (count + 1));
	int			n = 0;

	for (int i = 0; i < count; i++)
	{
		if (lines[i].amount_cents == 0)
			continue;
		names[n] = CStringGetTextDatum(kinds[lines[i].kind].name);
		from[n] = CStringGetTextDatum(kinds[lines[i].kind].from);
		to[n] = CStringGetTextDatum(kinds[lines[i].kind].to);
		amounts[n] = Int64GetDatum(lines[i].amount_cents);
		n++;
	}
	columns[0] = text_array(names, n);
	columns[1] = text_array(from, n);
	columns[2] = text_array(to, n);
	columns[3] = PointerGetDatum(construct_array(amounts, n, INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE));
	return n;
}

/* Books what was moved for an order; source says what it was about. What was booked before stays. True: something was new. */
bool
ledger_book(const LockedOrder *order, const char *source, const LedgerLine *lines, int count, TimestampTz now)
{
	char		nulls[11] = "          ";
	Datum		values[10] = {CStringGetTextDatum(source), CStringGetTextDatum(order->currency), Int32GetDatum(order->event_id), UUIDPGetDatum(&order->order_id)};

	values[4] = text_or_null(order->payee_account, &nulls[4]);
	values[5] = TimestampTzGetDatum(now);
	return line_columns(lines, count, &values[6]) > 0 && run_latest(&book_lines, values, nulls) > 0;
}

/* The same of an organizer's account as a whole, or, with NULL, of the platform's. */
bool
ledger_book_payee(const char *payee_account, const char *currency, const char *source, const LedgerLine *lines, int count, TimestampTz now)
{
	char		nulls[11] = "  nn      ";
	Datum		values[10] = {CStringGetTextDatum(source), CStringGetTextDatum(currency), (Datum) 0, (Datum) 0, text_or_null(payee_account, &nulls[4]), TimestampTzGetDatum(now)};

	return line_columns(lines, count, &values[6]) > 0 && run_latest(&book_lines, values, nulls) > 0;
}

/* Books a payment of an order, as a destination charge moves it: all of it goes to the organizer, who gives the fees. */
void
ledger_book_charge(const LockedOrder *order, const char *payment_intent_id, TimestampTz now)
{
	ledger_book(order, payment_intent_id,
				(const LedgerLine[]) {
					{LEDGER_CHARGE, order->total_cents}, {LEDGER_TRANSFER, order->total_cents},
					{LEDGER_BUYER_FEE, order->buyer_fee_cents}, {LEDGER_ORGANIZER_FEE, order->organizer_fee_cents}
				}, 4, now);
}
