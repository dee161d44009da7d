/*
 * settlement_match.c
 *		What Stripe's balance transactions are in the ledger: which payment each
 *		belongs to, whether the ledger has the same figure, what is booked from
 *		Stripe's own figures, and what nobody can explain.
 *
 * Reads and writes ticketing.balance_transactions and ledger, writes findings;
 * reads orders, order_payments, refunds, refund_tickets and disputes; moves
 * settlement_cursors.judged. The
 * caller holds the settlement's lock; orders are not locked: what is booked
 * here has a source that nobody else books, or is booked once by whoever comes
 * first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define CHAIN_LENGTH 5			/* payment, charge, transfer, reversal, the refund that the organizer sees */
#define GRACE "interval '1 hour'"	/* for the engine's own news of what Stripe has booked */
#define MISSING_AFTER "interval '1 day'"	/* Stripe books at once and lists a moment later */

/*
 * Which kinds of the ledger explain which type, on the platform's account and
 * on an organizer's. An organizer's are compared by their nets, and adjustments
 * are; the platform's others by their amounts, Stripe's fee being booked beside
 * them.
 */
#define EXPLAINED_BY \
	"kinds (of_platform, type, kinds) AS (VALUES " \
	"  (true, 'charge', ARRAY['charge']), (true, 'payment', ARRAY['charge']), (true, 'transfer', ARRAY['transfer', 'retransfer']), " \
	"  (true, 'application_fee', ARRAY['buyer_fee', 'organizer_fee']), (true, 'refund', ARRAY['refund']), (true, 'payment_refund', ARRAY['refund']), " \
	"  (true, 'refund_failure', ARRAY['refund_failure']), (true, 'transfer_refund', ARRAY['reversal']), " \
	"  (true, 'application_fee_refund', ARRAY['buyer_fee_refund', 'organizer_fee_refund']), " \
	"  (true, 'adjustment', ARRAY['dispute', 'dispute_fee', 'dispute_reinstated', 'dispute_fee_refund']), (true, 'stripe_fee', ARRAY['stripe_fee']), " \
	"  (true, 'payout', ARRAY['platform_payout']), (true, 'payout_failure', ARRAY['platform_payout_failure']), (true, 'topup', ARRAY['topup']), " \
	"  (false, 'payment', ARRAY['transfer', 'retransfer', 'buyer_fee', 'organizer_fee']), " \
	"  (false, 'payment_refund', ARRAY['reversal', 'buyer_fee_refund', 'organizer_fee_refund']), (false, 'adjustment', ARRAY['buyer_fee_refund', 'organizer_fee_refund']), " \
	"  (false, 'payout', ARRAY['payout']), (false, 'payout_failure', ARRAY['payout_failure']))"

/*
 * Beside it what the ledger has: found, its kinds; cents, what they and the
 * cents that Stripe divided otherwise add to the account; figure, what Stripe
 * says.
 */
#define COMPARED(which) \
	"WITH " EXPLAINED_BY ", compared AS (" \
	"  SELECT b.*, k.kinds, l.found, l.cents + r.cents AS cents, r.cents AS rounding, CASE WHEN k.of_platform AND b.type <> 'adjustment' THEN b.amount_cents ELSE b.net_cents END AS figure " \
	"  FROM ticketing.balance_transactions b LEFT JOIN kinds k ON k.type = b.type AND k.of_platform = (b.account = 'platform') " \
	"  CROSS JOIN LATERAL (SELECT array_agg(l.kind ORDER BY l.kind) AS found, " \
	"    coalesce(sum(CASE WHEN l.to_account = CASE WHEN k.of_platform THEN 'platform' ELSE 'organizer' END THEN l.amount_cents ELSE -l.amount_cents END), 0) AS cents " \
	"    FROM ticketing.ledger l WHERE l.source = b.ledger_source AND l.kind = ANY (k.kinds)) l " \
	"  CROSS JOIN LATERAL (SELECT coalesce(sum(CASE WHEN (l.kind = 'rounding_up') = k.of_platform THEN -l.amount_cents ELSE l.amount_cents END), 0) AS cents " \
	"    FROM ticketing.balance_transactions f JOIN ticketing.ledger l ON l.source = f.id AND l.kind IN ('rounding_up', 'rounding_down') " \
	"    WHERE f.account = 'platform' AND f.type = 'application_fee_refund' AND f.ledger_source = b.ledger_source AND 'buyer_fee_refund' = ANY (k.kinds)) r " \
	"  WHERE NOT b.settled AND " which ") "

/* The payment that each belongs to: known by its own, its refund's or dispute's id, or by what it follows from. */
KEPT_PLAN(follow_chain,
		  "UPDATE ticketing.balance_transactions b SET payment_intent_id = f.payment_intent_id, order_id = f.order_id "
		  "FROM (SELECT u.id, p.payment_intent_id, p.order_id FROM ticketing.balance_transactions u CROSS JOIN LATERAL (SELECT coalesce("
		  "    (SELECT r.payment_intent_id FROM ticketing.refunds r WHERE r.stripe_refund_id = u.about), "
		  "    (SELECT d.payment_intent_id FROM ticketing.disputes d WHERE d.dispute_id = u.about), "
		  "    (SELECT c.payment_intent_id FROM ticketing.balance_transactions c WHERE c.account = 'platform' AND c.payment_intent_id IS NOT NULL "
		  "       AND c.source = CASE WHEN u.account <> 'platform' AND u.type = 'adjustment' THEN u.source ELSE u.cause END LIMIT 1), u.cause) AS payment) k "
		  "  JOIN ticketing.order_payments p ON p.payment_intent_id = k.payment "
		  "  WHERE u.id = ANY ($1) AND u.payment_intent_id IS NULL AND NOT u.settled) f WHERE b.id = f.id",
		  TEXTARRAYOID);
/* What each is in the ledger. Where that is not there yet, nothing is said: it may come; of a payment it is known where it will be. */
KEPT_PLAN(name_source,
		  "UPDATE ticketing.balance_transactions b SET ledger_source = f.source FROM ("
		  "  SELECT u.id, CASE "
		  "    WHEN u.type IN ('payout', 'payout_failure', 'topup') THEN u.source "
		  "    WHEN u.account <> 'platform' AND u.type IN ('payment', 'payment_refund') THEN (SELECT c.ledger_source FROM ticketing.balance_transactions c WHERE c.account = 'platform' AND c.source = u.cause AND c.ledger_source IS NOT NULL LIMIT 1) "
		  "    WHEN u.account <> 'platform' AND u.type = 'adjustment' THEN (SELECT c.ledger_source FROM ticketing.balance_transactions c WHERE c.account = 'platform' AND c.source = u.source AND c.ledger_source IS NOT NULL LIMIT 1) "
		  "    WHEN u.type IN ('adjustment', 'stripe_fee') THEN u.id "
		  "    WHEN u.type IN ('refund', 'refund_failure') OR (u.type = 'payment_refund') THEN (SELECT r.refund_id::text FROM ticketing.refunds r WHERE r.stripe_refund_id = u.about) "
		  "    WHEN u.type = 'transfer' AND u.about IS NOT NULL OR u.type = 'transfer' AND u.cause IS NULL THEN "
		  "      (SELECT l.source FROM ticketing.ledger l WHERE l.kind = 'retransfer' AND l.source IN (u.source, u.about) LIMIT 1) "
		  "    WHEN u.type = 'transfer_refund' THEN (SELECT l.source FROM ticketing.ledger l WHERE l.kind = 'reversal' AND l.source IN (u.source, u.about, "
		  "      (SELECT r.refund_id::text FROM ticketing.refunds r WHERE r.stripe_refund_id = u.about), (SELECT d.dispute_id FROM ticketing.disputes d WHERE d.reversal_id = u.source LIMIT 1)) LIMIT 1) "
		  "    WHEN u.type IN ('charge', 'payment', 'transfer', 'application_fee') THEN u.payment_intent_id END AS source "
		  "  FROM ticketing.balance_transactions u WHERE u.id = ANY ($1) AND u.ledger_source IS NULL AND NOT u.settled) f "
		  "WHERE b.id = f.id AND f.source IS NOT NULL",
		  TEXTARRAYOID);
KEPT_PLAN(fee_refunds_unnamed,
		  "SELECT id FROM ticketing.balance_transactions WHERE id = ANY ($1) AND account = 'platform' AND type = 'application_fee_refund' AND ledger_source IS NULL AND payment_intent_id IS NOT NULL AND NOT settled ORDER BY created, id",
		  TEXTARRAYOID);
/*
 * Stripe does not say which refund has given a fee back: the one of the same
 * payment and moment which no other fee has taken; of several, the one whose
 * organizer was given as much.
 */
KEPT_PLAN(name_fee_refund,
		  "UPDATE ticketing.balance_transactions b SET ledger_source = (SELECT c.ledger_source FROM ticketing.balance_transactions c "
		  "  LEFT JOIN LATERAL (SELECT sum(l.amount_cents) AS cents FROM ticketing.ledger l WHERE l.source = c.ledger_source AND l.kind IN ('buyer_fee_refund', 'organizer_fee_refund')) l ON true "
		  "  WHERE c.account = 'platform' AND c.payment_intent_id = b.payment_intent_id AND c.type IN ('transfer_refund', 'refund', 'payment_refund') AND c.ledger_source IS NOT NULL "
		  "    AND abs(extract(epoch FROM c.created - b.created)) <= 60 "
		  "    AND NOT EXISTS (SELECT FROM ticketing.balance_transactions f WHERE f.ledger_source = c.ledger_source AND f.account = 'platform' AND f.type = 'application_fee_refund') "
		  "  ORDER BY EXISTS (SELECT FROM ticketing.balance_transactions p WHERE p.payment_intent_id = b.payment_intent_id AND p.account <> 'platform' AND p.type = 'payment_refund' "
		  "      AND p.cause = c.source AND p.fee_cents = b.amount_cents) DESC, abs(extract(epoch FROM c.created - b.created)), abs(coalesce(l.cents, 0) + b.amount_cents), c.type = 'transfer_refund' DESC, c.id LIMIT 1) "
		  "WHERE b.id = $1",
		  TEXTOID);
/* What is in the ledger once is settled by one alone: Stripe may have done something twice. */
KEPT_PLAN(settle_equal,
		  COMPARED("b.id = ANY ($1)")
		  "UPDATE ticketing.balance_transactions b SET settled = true, ledger_kinds = c.found FROM compared c WHERE b.id = c.id AND c.found IS NOT NULL AND c.cents = c.figure "
		  "AND NOT EXISTS (SELECT FROM ticketing.balance_transactions o WHERE o.ledger_source = b.ledger_source AND o.account = b.account AND o.type = b.type AND o.id <> b.id AND (o.settled OR o.id < b.id))",
		  TEXTARRAYOID);
/*
 * A fee that Stripe has given back by its own rounding, ours being the tickets'
 * shares: each share of either fee may be a cent off.
 */
KEPT_PLAN(divided_otherwise,
		  COMPARED("b.id = ANY ($1) AND b.account = 'platform' AND b.type = 'application_fee_refund'")
		  "SELECT c.id, (c.cents - c.figure)::bigint, o.order_id, o.event_id, c.currency, o.payee_account "
		  "FROM compared c JOIN ticketing.orders o ON o.order_id = c.order_id "
		  "WHERE c.found IS NOT NULL AND c.rounding = 0 AND c.cents <> c.figure "
		  "AND abs(c.cents - c.figure) <= 2 * greatest(1, (SELECT count(*) FROM ticketing.refund_tickets t WHERE t.refund_id::text = c.ledger_source))",
		  TEXTARRAYOID);
/* What Stripe kept of a payment, or of a refund. */
KEPT_PLAN(fees_to_book,
		  "SELECT b.id, b.fee_cents, b.order_id, o.event_id, b.currency, o.payee_account FROM ticketing.balance_transactions b JOIN ticketing.orders o ON o.order_id = b.order_id "
		  "WHERE b.id = ANY ($1) AND b.account = 'platform' AND b.settled AND b.fee_cents > 0 AND b.type <> 'adjustment' "
		  "AND NOT EXISTS (SELECT FROM ticketing.ledger l WHERE l.source = b.id AND l.kind = 'stripe_fee')",
		  TEXTARRAYOID);
KEPT_PLAN(all_open, "SELECT array_agg(id) FROM ticketing.balance_transactions WHERE NOT settled");
/* What is the platform's own: nobody else books it. */
KEPT_PLAN(own_to_book,
		  "SELECT id, type, source, amount_cents, currency FROM ticketing.balance_transactions WHERE NOT settled AND account = 'platform' AND fee_cents = 0 "
		  "AND CASE type WHEN 'payout' THEN amount_cents < 0 WHEN 'stripe_fee' THEN amount_cents < 0 WHEN 'payout_failure' THEN amount_cents > 0 WHEN 'topup' THEN amount_cents > 0 ELSE false END");
/*
 * What we have not heard of, of payments that are ours; while a refund is on its
 * way its bookings are, too.
 */
KEPT_PLAN(unheard_to_book,
		  COMPARED("b.created < $1 - " GRACE)
		  "SELECT c.id, c.type, coalesce(c.ledger_source, r.refund_id::text, c.source), c.amount_cents, c.fee_cents, c.currency, c.account, "
		  "  o.order_id, o.event_id, o.payee_account, o.buyer_fee_cents, o.application_fee_cents "
		  "FROM compared c LEFT JOIN ticketing.orders o ON o.order_id = c.order_id LEFT JOIN ticketing.refunds r ON r.stripe_refund_id = c.about "
		  "WHERE c.found IS NULL AND (r.state IS NULL OR r.state NOT IN ('requested', 'pending')) "
		  "AND CASE WHEN c.account <> 'platform' THEN c.type IN ('payout', 'payout_failure') AND c.fee_cents = 0 "
		  "  WHEN o.order_id IS NULL THEN false "
		  "  WHEN c.type IN ('charge', 'payment', 'application_fee', 'transfer') THEN (c.amount_cents > 0) = (c.type <> 'transfer') "
		  "    AND EXISTS (SELECT FROM ticketing.order_payments p WHERE p.payment_intent_id = c.ledger_source AND p.state = 'succeeded') "
		  "  WHEN c.type = 'transfer_refund' THEN c.amount_cents > 0 "
		  "  WHEN c.type = 'application_fee_refund' THEN c.amount_cents < 0 AND NOT EXISTS (SELECT FROM ticketing.refunds p WHERE p.payment_intent_id = c.payment_intent_id AND p.state IN ('requested', 'pending')) "
		  "  WHEN c.type = 'adjustment' THEN EXISTS (SELECT FROM ticketing.disputes d WHERE d.dispute_id = c.about) ELSE false END "
		  "ORDER BY c.created, c.id",
		  TIMESTAMPTZOID);
KEPT_PLAN(name_booked,
		  "UPDATE ticketing.balance_transactions SET ledger_source = $2 WHERE id = $1", TEXTOID, TEXTOID);
KEPT_PLAN(find_unexplained,
		  COMPARED("b.created < $1 - " GRACE)
		  "INSERT INTO ticketing.findings (kind, entity, detail, found_at) "
		  "SELECT CASE WHEN c.found IS NULL THEN 'settlement_unknown' ELSE 'settlement_differs' END, 'balance_transactions/' || c.id, "
		  "  jsonb_strip_nulls(jsonb_build_object('account', c.account, 'type', c.type, 'source', c.source, 'payment_intent', c.payment_intent_id, 'order_id', c.order_id, 'currency', c.currency, "
		  "    'created', c.created, 'stripe_cents', c.figure, 'ledger_source', CASE WHEN c.found IS NOT NULL THEN c.ledger_source END, 'ledger_kinds', c.found, "
		  "    'ledger_cents', CASE WHEN c.found IS NOT NULL THEN c.cents END)), $1 "
		  "FROM compared c WHERE NOT (c.found IS NULL AND EXISTS (SELECT FROM ticketing.refunds r WHERE r.state IN ('requested', 'pending') "
		  "  AND (r.stripe_refund_id = c.about OR (r.payment_intent_id = c.payment_intent_id AND c.type IN ('application_fee_refund', 'payment_refund'))))) "
		  "ON CONFLICT (kind, entity) WHERE resolved_at IS NULL DO UPDATE SET detail = excluded.detail",
		  TIMESTAMPTZOID);
/* Of bookings that were not looked at before; an account that has not been listed up to then says nothing. */
KEPT_PLAN(find_missing,
		  "INSERT INTO ticketing.findings (kind, entity, detail, found_at) "
		  "SELECT 'settlement_missing', 'ledger/' || m.account || '/' || m.source, jsonb_strip_nulls(jsonb_build_object('account', m.account, 'source', m.source, 'kinds', m.kinds, 'ledger_cents', m.cents, "
		  "    'currency', m.currency, 'order_id', m.order_id, 'booked', m.at)), $1 "
		  "FROM (SELECT l.account, l.source, l.currency, l.order_id, array_agg(l.kind ORDER BY l.kind) AS kinds, sum(l.cents) AS cents, max(l.at) AS at "
		  "      FROM ticketing.account_lines l JOIN ticketing.settlement_cursors c ON c.account = l.account AND l.at >= c.judged AND l.at < c.since - " MISSING_AFTER " "
		  "      WHERE l.at >= (SELECT min(judged) FROM ticketing.settlement_cursors) AND l.settled_at IS NULL AND NOT EXISTS (SELECT FROM ticketing.balance_transactions b WHERE b.account = l.account AND b.ledger_source = l.source AND NOT b.settled) "
		  "      GROUP BY l.account, l.source, l.currency, l.order_id) m "
		  "ON CONFLICT (kind, entity) WHERE resolved_at IS NULL DO UPDATE SET detail = excluded.detail",
		  TIMESTAMPTZOID);
KEPT_PLAN(note_judged, "UPDATE ticketing.settlement_cursors SET judged = since - " MISSING_AFTER " WHERE judged < since - " MISSING_AFTER);
KEPT_PLAN(resolve_explained,
		  "UPDATE ticketing.findings f SET resolved_at = $1, resolution = 'the ledger and Stripe agree' "
		  "WHERE f.resolved_at IS NULL AND ((f.kind IN ('settlement_unknown', 'settlement_differs') AND EXISTS (SELECT FROM ticketing.balance_transactions b WHERE f.entity = 'balance_transactions/' || b.id "
		  "    AND (b.settled OR f.kind = 'settlement_unknown' AND EXISTS (SELECT FROM ticketing.findings o WHERE o.kind = 'settlement_differs' AND o.entity = f.entity AND o.resolved_at IS NULL)))) "
		  "  OR (f.kind = 'settlement_missing' AND NOT EXISTS (SELECT FROM ticketing.account_lines l WHERE l.source = f.detail ->> 'source' AND l.account = f.detail ->> 'account' AND l.settled_at IS NULL)))",
		  TIMESTAMPTZOID);

/* Something to be booked from Stripe's figures. */
typedef struct Booking
{
	char	   *id;				/* of the balance transaction */
	char	   *type;
	char	   *source;
	int64		amount_cents;
	int64		fee_cents;
	LockedOrder order;			/* only what a booking needs of it; not locked */
	char	   *account;
	int64		buyer_fee_cents;
	int64		application_fee_cents;
} Booking;

/* Order, event, currency and payee from these columns of a row. */
static void
read_order(Booking *booking, uint64 row, int column)
{
	memset(&booking->order, 0, sizeof(LockedOrder));
	if (!row_is_null(row, column))
		booking->order.order_id = *DatumGetUUIDP(row_datum(row, column));
	if (!row_is_null(row, column + 1))
		booking->order.event_id = DatumGetInt32(row_datum(row, column + 1));
	booking->order.currency = row_text(row, column + 2);
	booking->order.payee_account = row_text(row, column + 3);
}

/* The rows of a statement whose columns are id, cents and an order's. */
static Booking *
read_cents(uint64 rows)
{
	Booking    *bookings = palloc0(sizeof(Booking) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		bookings[row].id = row_text(row, 1);
		bookings[row].amount_cents = DatumGetInt64(row_datum(row, 2));
		read_order(&bookings[row], row, 3);
	}
	return bookings;
}

/* Books the cents that Stripe has divided otherwise than we. */
static void
book_rounding(Datum ids, TimestampTz now)
{
	uint64		rows = run_latest(&divided_otherwise, &ids, NULL);
	Booking    *bookings = read_cents(rows);

	for (uint64 i = 0; i < rows; i++)
	{
		int64		more = bookings[i].amount_cents;	/* than we for the organizer */

		ledger_book(&bookings[i].order, bookings[i].id,
					(const LedgerLine[]) {{LEDGER_ROUNDING_UP, Max(more, 0)}, {LEDGER_ROUNDING_DOWN, Max(-more, 0)}}, 2, now);
	}
}

/* Books what Stripe keeps for itself. */
static void
book_stripe_fees(Datum ids, TimestampTz now)
{
	uint64		rows = run_latest(&fees_to_book, &ids, NULL);
	Booking    *bookings = read_cents(rows);

	for (uint64 i = 0; i < rows; i++)
		ledger_book(&bookings[i].order, bookings[i].id, (const LedgerLine[]) {{LEDGER_STRIPE_FEE, bookings[i].amount_cents}}, 1, now);
}

/* Finds which refund each fee was given back with, one after the other. */
static void
name_fee_refunds(Datum ids)
{
	uint64		rows = run_latest(&fee_refunds_unnamed, &ids, NULL);
	char	  **names = palloc(sizeof(char *) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
		names[row] = row_text(row, 1);
	for (uint64 i = 0; i < rows; i++)
	{
		Datum		id = CStringGetTextDatum(names[i]);

		run_latest(&name_fee_refund, &id, NULL);
	}
}

/*
 * Finds what these balance transactions are in the ledger. Those whose figure
 * it has are settled; Stripe's fee is booked, and cents that are divided
 * otherwise: those when all accounts have been listed, whose organizers' sides
 * tell refunds of one moment apart.
 */
void
match_balance_transactions(Datum ids, bool all_listed, TimestampTz now)
{
	for (int i = 0; i < CHAIN_LENGTH && run_latest(&follow_chain, &ids, NULL) > 0; i++)
		;
	/* the platform's first, which organizers' follow from */
	run_latest(&name_source, &ids, NULL);
	if (all_listed)
		name_fee_refunds(ids);
	run_latest(&name_source, &ids, NULL);
	book_rounding(ids, now);
	run_latest(&settle_equal, &ids, NULL);
	book_stripe_fees(ids, now);
}

/* Books what is the platform's alone: its payouts, top-ups and Stripe's fees of other kinds. */
static void
book_platform(TimestampTz now)
{
	uint64		rows = run_latest(&own_to_book, NULL, NULL);
	Booking    *bookings = palloc0(sizeof(Booking) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		bookings[row].id = row_text(row, 1);
		bookings[row].type = row_text(row, 2);
		bookings[row].source = row_text(row, 3);
		bookings[row].amount_cents = DatumGetInt64(row_datum(row, 4));
		bookings[row].order.currency = row_text(row, 5);
	}
	for (uint64 i = 0; i < rows; i++)
	{
		const Booking *booking = &bookings[i];
		LedgerLine	line = {LEDGER_STRIPE_FEE, llabs(booking->amount_cents)};
		bool		of_id = strcmp(booking->type, "stripe_fee") == 0;

		if (strcmp(booking->type, "payout") == 0)
			line.kind = LEDGER_PLATFORM_PAYOUT;
		else if (strcmp(booking->type, "payout_failure") == 0)
			line.kind = LEDGER_PLATFORM_PAYOUT_FAILURE;
		else if (strcmp(booking->type, "topup") == 0)
			line.kind = LEDGER_TOPUP;
		if (of_id || booking->source != NULL)
			ledger_book_payee(NULL, booking->order.currency, of_id ? booking->id : booking->source, &line, 1, now);
	}
}

/* Of fees that Stripe names as one, the buyer's part. */
static int64
buyer_part(const Booking *booking, int64 cents)
{
	if (cents == booking->application_fee_cents)
		return booking->buyer_fee_cents;
	return booking->application_fee_cents > 0 ? cents * booking->buyer_fee_cents / booking->application_fee_cents : 0;
}

/* Books one thing that Stripe has moved and we have not heard of; false: it is of no kind that can be. */
static bool
book_unheard(const Booking *booking, TimestampTz now)
{
	int64		cents = llabs(booking->amount_cents);
	int64		fee = llabs(booking->fee_cents);
	LedgerLine	lines[2] = {{LEDGER_CHARGE, cents}, {LEDGER_CHARGE, 0}};

	if (strcmp(booking->type, "payout") == 0 || strcmp(booking->type, "payout_failure") == 0)
	{
		lines[0].kind = strcmp(booking->type, "payout") == 0 ? LEDGER_PAYOUT : LEDGER_PAYOUT_FAILURE;
		return ledger_book_payee(booking->account, booking->order.currency, booking->source, lines, 1, now);
	}
	if (strcmp(booking->type, "transfer") == 0)
		lines[0].kind = LEDGER_TRANSFER;
	else if (strcmp(booking->type, "transfer_refund") == 0)
		lines[0].kind = LEDGER_REVERSAL;
	else if (strcmp(booking->type, "application_fee") == 0 || strcmp(booking->type, "application_fee_refund") == 0)
	{
		bool		back = strcmp(booking->type, "application_fee_refund") == 0;

		lines[0] = (LedgerLine) {back ? LEDGER_BUYER_FEE_REFUND : LEDGER_BUYER_FEE, buyer_part(booking, cents)};
		lines[1] = (LedgerLine) {back ? LEDGER_ORGANIZER_FEE_REFUND : LEDGER_ORGANIZER_FEE, cents - lines[0].amount_cents};
	}
	else if (strcmp(booking->type, "adjustment") == 0)
	{
		bool		back = booking->amount_cents > 0;

		lines[0].kind = back ? LEDGER_DISPUTE_REINSTATED : LEDGER_DISPUTE;
		lines[1] = (LedgerLine) {back ? LEDGER_DISPUTE_FEE_REFUND : LEDGER_DISPUTE_FEE, fee};
	}
	return ledger_book(&booking->order, booking->source, lines, 2, now);
}

/* Says what was booked from Stripe's figures alone. */
static void
find_booked(const Booking *booking, TimestampTz now)
{
	Answer		detail;

	answer_begin(&detail);
	answer_text(&detail, "account", booking->account);
	answer_text(&detail, "type", booking->type);
	answer_int(&detail, "stripe_cents", booking->amount_cents);
	answer_int(&detail, "stripe_fee_cents", booking->fee_cents);
	answer_text(&detail, "ledger_source", booking->source);
	if (booking->order.event_id != 0)
		answer_uuid(&detail, "order_id", &booking->order.order_id);
	record_finding("settlement_booked", psprintf("balance_transactions/%s", booking->id), answer_end(&detail), now);
}

/* Books what Stripe has and we have not heard of, where its own figures say all that is needed. */
static void
book_all_unheard(TimestampTz now)
{
	Datum		at = TimestampTzGetDatum(now);
	uint64		rows = run_latest(&unheard_to_book, &at, NULL);
	Booking    *bookings = palloc0(sizeof(Booking) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		Booking    *booking = &bookings[row];

		booking->id = row_text(row, 1);
		booking->type = row_text(row, 2);
		booking->source = row_text(row, 3);
		booking->amount_cents = DatumGetInt64(row_datum(row, 4));
		booking->fee_cents = DatumGetInt64(row_datum(row, 5));
		booking->account = row_text(row, 7);
		if (!row_is_null(row, 8))
		{
			booking->order.order_id = *DatumGetUUIDP(row_datum(row, 8));
			booking->order.event_id = DatumGetInt32(row_datum(row, 9));
			booking->order.payee_account = row_text(row, 10);
			booking->buyer_fee_cents = DatumGetInt32(row_datum(row, 11));
			booking->application_fee_cents = DatumGetInt32(row_datum(row, 12));
		}
		booking->order.currency = row_text(row, 6);
	}
	for (uint64 i = 0; i < rows; i++)
	{
		Datum		named[2] = {CStringGetTextDatum(bookings[i].id), (Datum) 0};

		if (bookings[i].source == NULL || !book_unheard(&bookings[i], now))
			continue;
		named[1] = CStringGetTextDatum(bookings[i].source);
		run_latest(&name_booked, named, NULL);
		find_booked(&bookings[i], now);
	}
}

/* All that is not settled is matched once more. */
static void
match_open(TimestampTz now)
{
	if (run_latest(&all_open, NULL, NULL) > 0 && !row_is_null(0, 1))
		match_balance_transactions(PointerGetDatum(DatumGetArrayTypePCopy(row_datum(0, 1))), true, now);
}

/*
 * When all accounts have been listed: what is left over is booked from Stripe's
 * figures, where they say what it is, and found where they do not.
 */
void
judge_settlement(TimestampTz now)
{
	Datum		at = TimestampTzGetDatum(now);

	match_open(now);
	book_platform(now);
	book_all_unheard(now);
	match_open(now);
	run_latest(&find_unexplained, &at, NULL);
	run_latest(&find_missing, &at, NULL);
	run_latest(&note_judged, NULL, NULL);
	run_latest(&resolve_explained, &at, NULL);
}
