/*
 * dispute_money.c
 *		What disputes move: what the bank takes and brings again is booked as
 *		Stripe's balance transactions say; when one is lost the organizer's part
 *		is taken back, and given again if it is won after all.
 *
 * Reads and writes ticketing.disputes; reads ledger, refunds, stripe_requests;
 * writes the ledger through ledger.c, findings and stripe_requests. The callers
 * hold the order's lock, or take it here.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "disputes.h"

/* What is left of a payment and of its parts, as the ledger says. */
KEPT_PLAN(left_by_ledger,
		  "SELECT coalesce(sum(amount_cents * CASE kind WHEN 'charge' THEN 1 WHEN 'refund' THEN -1 WHEN 'refund_failure' THEN 1 ELSE 0 END), 0)::bigint, "
		  "       coalesce(sum(amount_cents * CASE kind WHEN 'transfer' THEN 1 WHEN 'reversal' THEN -1 ELSE 0 END), 0)::bigint, "
		  "       coalesce(sum(amount_cents * CASE kind WHEN 'buyer_fee' THEN 1 WHEN 'buyer_fee_refund' THEN -1 ELSE 0 END), 0)::bigint, "
		  "       coalesce(sum(amount_cents * CASE kind WHEN 'organizer_fee' THEN 1 WHEN 'organizer_fee_refund' THEN -1 ELSE 0 END), 0)::bigint "
		  "FROM ticketing.ledger WHERE order_id = $1 AND source IN (SELECT $2 "
		  "  UNION ALL SELECT refund_id::text FROM ticketing.refunds WHERE order_id = $1 AND payment_intent_id = $2 "
		  "  UNION ALL SELECT dispute_id FROM ticketing.disputes WHERE order_id = $1 AND payment_intent_id = $2)",
		  UUIDOID, TEXTOID);
/* Besides what the ledger has: what other disputes have cost, and refunds that are under way. */
KEPT_PLAN(claimed_by_others,
		  "SELECT coalesce((SELECT sum(amount_cents) FROM ticketing.disputes WHERE order_id = $1 AND payment_intent_id = $2 AND dispute_id <> $3 AND phase = 'lost'), 0)::bigint, "
		  "  coalesce((SELECT sum(amount_cents) FROM ticketing.refunds WHERE order_id = $1 AND payment_intent_id = $2 AND state IN ('requested', 'pending')), 0)::bigint",
		  UUIDOID, TEXTOID, TEXTOID);
KEPT_PLAN(note_reversal_request,
		  "UPDATE ticketing.disputes SET reversal_request_id = $2 WHERE dispute_id = $1", TEXTOID, UUIDOID);
KEPT_PLAN(note_retransfer_request,
		  "UPDATE ticketing.disputes SET retransfer_request_id = $2 WHERE dispute_id = $1", TEXTOID, UUIDOID);
KEPT_PLAN(note_reversal,
		  "UPDATE ticketing.disputes SET reversal_id = $2, reversed_cents = $3, fees_refunded_cents = $4, updated_at = $5 WHERE dispute_id = $1",
		  TEXTOID, TEXTOID, INT4OID, INT4OID, TIMESTAMPTZOID);
KEPT_PLAN(note_retransfer,
		  "UPDATE ticketing.disputes SET retransfer_id = $2, updated_at = $3 WHERE dispute_id = $1", TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(dispute_of_request,
		  "SELECT d.dispute_id, d.payment_intent_id, d.phase, (r.params ->> 'amount')::bigint FROM ticketing.disputes d JOIN ticketing.stripe_requests r ON r.id = $1 "
		  "WHERE d.reversal_request_id = $1 OR d.retransfer_request_id = $1",
		  UUIDOID);
KEPT_PLAN(transfer_state,
		  "SELECT reversed_cents - fees_refunded_cents, retransfer_request_id IS NOT NULL, "
		  "       (SELECT coalesce(sum(amount_cents), 0)::bigint FROM ticketing.ledger l WHERE l.source = d.dispute_id AND l.kind = 'debt') FROM ticketing.disputes d WHERE dispute_id = $1",
		  TEXTOID);

/* What is left of a payment. */
typedef struct Left
{
	int64		payment;
	int64		transfer;
	int64		buyer_fee;
	int64		organizer_fee;
} Left;

static Left
read_left(const LockedOrder *order, const char *payment_intent_id)
{
	Datum		values[2] = {UUIDPGetDatum(&order->order_id), CStringGetTextDatum(payment_intent_id)};

	run_latest(&left_by_ledger, values, NULL);
	return (Left) {DatumGetInt64(row_datum(0, 1)), DatumGetInt64(row_datum(0, 2)), DatumGetInt64(row_datum(0, 3)), DatumGetInt64(row_datum(0, 4))};
}

/*
 * What is left of the disputed payment after refunds, those under way as well,
 * and what other disputes have cost. Of refunds that were made at Stripe the
 * charge may tell before their own news come.
 */
int64
left_of_payment(const LockedOrder *order, const Dispute *dispute)
{
	Datum		values[3] = {UUIDPGetDatum(&order->order_id), CStringGetTextDatum(dispute->payment_intent_id), CStringGetTextDatum(dispute->id)};

	int64		lost;
	int64		under_way;
	int64		left;

	run_latest(&claimed_by_others, values, NULL);
	lost = DatumGetInt64(row_datum(0, 1));
	under_way = DatumGetInt64(row_datum(0, 2));
	left = read_left(order, dispute->payment_intent_id).payment - under_way;
	return Min(left, dispute->charge_left_cents) - lost;
}

/* Books one movement of the platform's balance: a payment taken or brought, and the bank's price for it. */
static void
book_movement(const LockedOrder *order, const Dispute *dispute, Jsonb *movement, TimestampTz now)
{
	LockedOrder settled = *order;
	char	   *id = json_string_at(movement, JSON_PATH("id"));
	char	   *currency = json_string_at(movement, JSON_PATH("currency"));
	int64		amount = 0;
	int64		fee = 0;

	if (id == NULL || currency == NULL || !json_int_at(movement, JSON_PATH("amount"), &amount))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("a balance transaction of dispute %s cannot be read", dispute->id)));
	(void) json_int_at(movement, JSON_PATH("fee"), &fee);
	settled.currency = currency;
	/* settled in another currency, the payment is booked as it was paid; the bank's price is as it is */
	if (amount != 0 && strcmp(currency, order->currency) != 0)
		amount = amount < 0 ? -dispute->amount_cents : dispute->amount_cents;
	ledger_book(order, id, (const LedgerLine[]) {
		{LEDGER_DISPUTE, amount < 0 ? -amount : 0}, {LEDGER_DISPUTE_REINSTATED, amount > 0 ? amount : 0}
	}, 2, now);
	ledger_book(&settled, id, (const LedgerLine[]) {
		{LEDGER_DISPUTE_FEE, fee > 0 ? fee : 0}, {LEDGER_DISPUTE_FEE_REFUND, fee < 0 ? -fee : 0}
	}, 2, now);
}

/* Books what a dispute has moved so far, each movement once. */
void
book_dispute(const LockedOrder *order, const Dispute *dispute, TimestampTz now)
{
	JsonbValue *movements = json_array_at(dispute->object, "balance_transactions");
	uint32		count = movements ? JsonContainerSize(movements->val.binary.data) : 0;

	for (uint32 i = 0; i < count; i++)
	{
		Jsonb	   *movement = JsonbValueToJsonb(getIthJsonbValueFromContainer(movements->val.binary.data, i));

		if (JB_ROOT_IS_OBJECT(movement))
			book_movement(order, dispute, movement, now);
	}
}

/* A finding about a dispute's money. */
static void
find_money(const char *kind, const char *dispute_id, int64 amount_cents, const char *code, TimestampTz now)
{
	Answer		detail;

	answer_begin(&detail);
	answer_int(&detail, "amount", amount_cents);
	if (code != NULL)
		answer_text(&detail, "code", code);
	record_finding(kind, psprintf("disputes/%s", dispute_id), answer_end(&detail), now);
}

/* Moves the organizer's part: the parameters of both ways are an amount, some of their own, and whose it is. */
static void
request_money(const LockedOrder *order, const char *dispute_id, NewStripeRequest *request, Answer *params, KeptPlan *note, TimestampTz now)
{
	Datum		values[2] = {CStringGetTextDatum(dispute_id)};
	Answer		metadata;

	answer_begin(&metadata);
	answer_uuid(&metadata, "order_id", &order->order_id);
	answer_text(&metadata, "dispute_id", dispute_id);
	answer_raw(params, "metadata", answer_end(&metadata));
	request->lane = STRIPE_LANE_URGENT;
	request->method = "POST";
	request->params = answer_end(params);
	request->order_id = &order->order_id;
	request->event_id = order->event_id;
	values[1] = UUIDPGetDatum(enqueue_stripe_request(request, now));
	run_latest(note, values, NULL);
}

/* A dispute was lost: the organizer gives back what was disputed, as far as he has it still, and is given the fees of it. */
void
take_transfer_back(const LockedOrder *order, const Dispute *dispute, TimestampTz now)
{
	NewStripeRequest request = {.kind = "create_reversal"};
	int64		amount = Min(dispute->amount_cents, read_left(order, dispute->payment_intent_id).transfer);
	Answer		params;

	if (strcmp(dispute->currency, order->currency) != 0 || dispute->transfer_id == NULL || !is_stripe_id(dispute->transfer_id))
	{
		find_money("transfer_not_reversed", dispute->id, dispute->amount_cents, dispute->transfer_id ? "currency" : "no_transfer", now);
		return;
	}
	if (amount <= 0)
		return;
	request.path = psprintf("/v1/transfers/%s/reversals", dispute->transfer_id);
	answer_begin(&params);
	answer_int(&params, "amount", amount);
	answer_bool(&params, "refund_application_fee", true);
	request_money(order, dispute->id, &request, &params, &note_reversal_request, now);
}

/* A dispute was won: what was taken back from the organizer is his again, and what he owed because of it he owes no more. */
void
give_transfer_again(const LockedOrder *order, const char *dispute_id, TimestampTz now)
{
	NewStripeRequest request = {.kind = "create_transfer", .path = "/v1/transfers"};
	Datum		id = CStringGetTextDatum(dispute_id);
	int64		amount;
	int64		debt;
	bool		requested;
	Answer		params;

	if (run_latest(&transfer_state, &id, NULL) == 0)
		elog(ERROR, "dispute %s does not exist", dispute_id);
	amount = DatumGetInt32(row_datum(0, 1));
	requested = DatumGetBool(row_datum(0, 2));
	debt = DatumGetInt64(row_datum(0, 3));
	ledger_book(order, dispute_id, &(LedgerLine) {LEDGER_DEBT_SETTLED, debt}, 1, now);
	if (amount <= 0 || requested)
		return;
	answer_begin(&params);
	answer_int(&params, "amount", amount);
	answer_text(&params, "currency", order->currency);
	answer_text(&params, "destination", order->payee_account);
	request_money(order, dispute_id, &request, &params, &note_retransfer_request, now);
}

/* What a request about the organizer's part was for. */
typedef struct MoneyRequest
{
	LockedOrder order;
	char	   *dispute_id;
	char	   *payment_intent_id;
	bool		won;
	int64		amount_cents;	/* asked for */
} MoneyRequest;

static void
read_money_request(const StripeAnswer *call, MoneyRequest *money)
{
	Datum		id = UUIDPGetDatum(call->request_id);

	lock_order(call->order_id, &money->order);
	if (run_latest(&dispute_of_request, &id, NULL) == 0)
		elog(ERROR, "no dispute asked for request %s", uuid_text(call->request_id));
	money->dispute_id = row_text(0, 1);
	money->payment_intent_id = row_text(0, 2);
	money->won = strcmp(row_text(0, 3), "won") == 0;
	money->amount_cents = DatumGetInt64(row_datum(0, 4));
}

/* A fee's part of what is taken back: in proportion to what is left of the transfer. */
static int64
share_of_fee(int64 fee_left, int64 amount, int64 transfer_left)
{
	int64		weights[2] = {amount, Max(transfer_left - amount, 0)};
	int64		shares[2] = {0, 0};

	if (fee_left > 0 && !largest_remainder_shares(fee_left, weights, 2, shares))
		elog(ERROR, "could not split a fee of " INT64_FORMAT " cents", fee_left);
	return shares[0];
}

/* create_reversal */
void
reversal_answered(const StripeAnswer *call)
{
	MoneyRequest money;
	char	   *reversal_id = answer_field(call, "id");
	int64		amount;
	int64		buyer_fee;
	int64		organizer_fee;
	Left		left;
	Datum		values[5];

	read_money_request(call, &money);
	if (!json_int_at(call->answer, JSON_PATH("amount"), &amount))
		amount = money.amount_cents;
	left = read_left(&money.order, money.payment_intent_id);
	buyer_fee = share_of_fee(left.buyer_fee, amount, left.transfer);
	organizer_fee = share_of_fee(left.organizer_fee, amount, left.transfer);
	if (!ledger_book(&money.order, money.dispute_id, (const LedgerLine[]) {
			{LEDGER_REVERSAL, amount}, {LEDGER_BUYER_FEE_REFUND, buyer_fee}, {LEDGER_ORGANIZER_FEE_REFUND, organizer_fee}
		}, 3, call->now))
		return;
	values[0] = CStringGetTextDatum(money.dispute_id);
	values[1] = CStringGetTextDatum(reversal_id);
	values[2] = Int32GetDatum((int32) amount);
	values[3] = Int32GetDatum((int32) (buyer_fee + organizer_fee));
	values[4] = TimestampTzGetDatum(call->now);
	run_latest(&note_reversal, values, NULL);
	if (money.won)
		give_transfer_again(&money.order, money.dispute_id, call->now);
}

/* Stripe does not take the organizer's part back. When he has it no more, he owes it. */
void
reversal_failed(const StripeAnswer *call)
{
	MoneyRequest money;
	char	   *code = json_string_at(call->answer, JSON_PATH("code"));
	int64		owed;
	Left		left;

	read_money_request(call, &money);
	if (money.won)
		return;					/* it need not be taken any more */
	if (code == NULL || strcmp(code, "balance_insufficient") != 0)
	{
		find_money("transfer_not_reversed", money.dispute_id, money.amount_cents, code ? code : "refused", call->now);
		return;
	}
	left = read_left(&money.order, money.payment_intent_id);
	owed = money.amount_cents - share_of_fee(left.buyer_fee, money.amount_cents, left.transfer) - share_of_fee(left.organizer_fee, money.amount_cents, left.transfer);
	ledger_book(&money.order, money.dispute_id, &(LedgerLine) {LEDGER_DEBT, owed}, 1, call->now);
	find_money("organizer_owes", money.dispute_id, owed, NULL, call->now);
}

/* create_transfer */
void
retransfer_answered(const StripeAnswer *call)
{
	MoneyRequest money;
	Datum		values[3];

	read_money_request(call, &money);
	ledger_book(&money.order, money.dispute_id, &(LedgerLine) {LEDGER_RETRANSFER, money.amount_cents}, 1, call->now);
	values[0] = CStringGetTextDatum(money.dispute_id);
	values[1] = CStringGetTextDatum(answer_field(call, "id"));
	values[2] = TimestampTzGetDatum(call->now);
	run_latest(&note_retransfer, values, NULL);
}

/* The platform has not got it, or the organizer's account is no more. */
void
retransfer_failed(const StripeAnswer *call)
{
	MoneyRequest money;
	char	   *code = json_string_at(call->answer, JSON_PATH("code"));

	read_money_request(call, &money);
	find_money("not_transferred_again", money.dispute_id, money.amount_cents, code ? code : "refused", call->now);
}
