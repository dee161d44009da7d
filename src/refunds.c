/*
 * refunds.c
 *		Refunds: how Stripe is asked for one, and what it means for the money, the
 *		tickets and the order that one has succeeded or failed. What Stripe says
 *		of them is refund_news.c's.
 *
 * A refund's state only moves on: succeeded may still become failed, failed is
 * for ever. Reads and writes ticketing.refunds, refund_tickets and
 * refund_requests, projects onto public.refund_requests; writes ledger and
 * findings; asks Stripe; moves orders through orders.c. Locks: the order, which
 * the callers hold, the event's shape, then what ticket_seats.c takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#include "dvnt_ticketing.h"
#include "refunds.h"

KEPT_PLAN(insert_refund,
		  "INSERT INTO ticketing.refunds (refund_id, order_id, event_id, payment_intent_id, reason, amount_cents, buyer_fee_cents, organizer_fee_cents, "
		  "  state, reverses, stripe_request_id, stripe_refund_id, actor, created_at, updated_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)",
		  UUIDOID, UUIDOID, INT4OID, TEXTOID, TEXTOID, INT4OID, INT4OID, INT4OID, TEXTOID, BOOLOID, UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(payment_is_given_back,
		  "SELECT FROM ticketing.refunds WHERE payment_intent_id = $1 AND reason IN ('late', 'duplicate')", TEXTOID);
KEPT_PLAN(set_refund,
		  "UPDATE ticketing.refunds SET state = $2, stripe_refund_id = coalesce($3, stripe_refund_id), failure = $4, updated_at = $5 WHERE refund_id = $1",
		  UUIDOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(mark_tickets_failed,
		  "UPDATE ticketing.refund_tickets SET failed = true WHERE refund_id = $1", UUIDOID);
KEPT_PLAN(tickets_of_refund,
		  "SELECT array_agg(ticket_id) FROM ticketing.refund_tickets WHERE refund_id = $1", UUIDOID);
KEPT_PLAN(tickets_of_order,
		  "SELECT array_agg(ticket_id) FROM ticketing.order_tickets WHERE order_id = $1", UUIDOID);
/* The organizer's part is back already: a refund of the same has failed after its transfer was reversed. */
KEPT_PLAN(reversed_before,
		  "SELECT EXISTS (SELECT FROM ticketing.refund_tickets mine JOIN ticketing.refund_tickets theirs ON theirs.ticket_id = mine.ticket_id AND theirs.failed "
		  "  JOIN ticketing.ledger l ON l.source = theirs.refund_id::text AND l.kind = 'reversal' WHERE mine.refund_id = $1 AND theirs.refund_id <> $1) "
		  "OR EXISTS (SELECT FROM ticketing.refunds f JOIN ticketing.ledger l ON l.source = f.refund_id::text AND l.kind = 'reversal' "
		  "  WHERE f.order_id = $2 AND f.payment_intent_id = $3 AND f.state = 'failed' AND NOT EXISTS (SELECT FROM ticketing.refund_tickets t WHERE t.refund_id IN (f.refund_id, $1)))",
		  UUIDOID, UUIDOID, TEXTOID);
KEPT_PLAN(refund_of_order,
		  "SELECT FROM ticketing.refunds WHERE order_id = $1 LIMIT 1", UUIDOID);
/* What was given back of an order, what is on its way, whether tickets are left, and whether a refund has failed and nobody has decided. */
KEPT_PLAN(refund_figures,
		  "SELECT coalesce(sum(r.amount_cents) FILTER (WHERE r.state = 'succeeded'), 0), "
		  "  coalesce(sum(r.amount_cents) FILTER (WHERE r.state IN ('requested', 'pending')), 0), "
		  "  count(*) FILTER (WHERE r.state = 'succeeded'), "
		  "  EXISTS (SELECT FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id WHERE k.order_id = $1 "
		  "    AND (t.status IN ('active', 'scanned') OR EXISTS (SELECT FROM ticketing.suspended_tickets s WHERE s.ticket_id = t.id))), "
		  "  coalesce(bool_or(r.state = 'failed' AND CASE WHEN EXISTS (SELECT FROM ticketing.refund_tickets t WHERE t.refund_id = r.refund_id) "
		  "    THEN EXISTS (SELECT FROM ticketing.refund_tickets t JOIN public.tickets k ON k.id = t.ticket_id WHERE t.refund_id = r.refund_id AND k.status NOT IN ('active', 'scanned') "
		  "      AND NOT EXISTS (SELECT FROM ticketing.refund_tickets n WHERE n.ticket_id = t.ticket_id AND NOT n.failed)) "
		  "    ELSE NOT EXISTS (SELECT FROM ticketing.refunds n WHERE n.order_id = $1 AND n.state <> 'failed' AND n.reason <> 'duplicate') END), false) "
		  "FROM ticketing.refunds r WHERE r.order_id = $1 AND r.reason <> 'duplicate'",
		  UUIDOID);
KEPT_PLAN(process_request,
		  "UPDATE ticketing.refund_requests SET state = 'processed' WHERE refund_id = $1 AND state = 'approved' RETURNING refund_request_id", UUIDOID);
KEPT_PLAN(project_request,
		  "UPDATE public.refund_requests SET status = 'processed', stripe_refund_id = $2, resolved_at = coalesce(resolved_at, $3) WHERE id = $1", UUIDOID, TEXTOID, TIMESTAMPTZOID);

/* The parameters of a refund of a destination charge. amount_cents 0: all of it. */
static const char *
refund_params(const pg_uuid_t *order_id, const pg_uuid_t *refund_id, const char *payment_intent_id, const char *reason, int32 amount_cents, bool reverses)
{
	static const char *const stripe_reasons[] = {"duplicate", "fraudulent", "requested_by_customer"};
	Answer		params;
	Answer		metadata;

	answer_begin(&params);
	answer_text(&params, "payment_intent", payment_intent_id);
	if (amount_cents > 0)
		answer_int(&params, "amount", amount_cents);
	for (size_t i = 0; i < lengthof(stripe_reasons); i++)
		if (strcmp(reason, stripe_reasons[i]) == 0)
			answer_text(&params, "reason", reason);
	if (reverses)
	{
		answer_bool(&params, "reverse_transfer", true);
		answer_bool(&params, "refund_application_fee", true);
	}
	answer_begin(&metadata);
	answer_uuid(&metadata, "order_id", order_id);
	answer_uuid(&metadata, "refund_id", refund_id);
	answer_raw(&params, "metadata", answer_end(&metadata));
	return answer_end(&params);
}

pg_uuid_t *
ask_for_refund(const LockedOrder *order, const pg_uuid_t *refund_id, const char *payment_intent_id, const char *reason, int32 amount_cents, bool reverses, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "create_refund", .lane = STRIPE_LANE_URGENT, .method = "POST", .path = "/v1/refunds",
		.params = refund_params(&order->order_id, refund_id, payment_intent_id, reason, amount_cents, reverses),
		.order_id = &order->order_id, .event_id = order->event_id
	};

	return enqueue_stripe_request(&request, now);
}

/* Writes a refund's row. request_id NULL: Stripe is not asked. */
void
record_refund(const LockedOrder *order, const NewRefund *refund, const char *state, const pg_uuid_t *request_id, const char *stripe_refund_id, TimestampTz now)
{
	char		nulls[15] = "              ";
	Datum		values[14] = {
		UUIDPGetDatum(&refund->refund_id), UUIDPGetDatum(&order->order_id), Int32GetDatum(order->event_id), text_or_null(refund->payment_intent_id, &nulls[3]),
		CStringGetTextDatum(refund->reason), Int32GetDatum(refund->amount_cents), Int32GetDatum(refund->buyer_fee_cents), Int32GetDatum(refund->organizer_fee_cents),
		CStringGetTextDatum(state), BoolGetDatum(refund->reverses), UUIDPGetDatum(request_id), text_or_null(stripe_refund_id, &nulls[11]),
		text_or_null(refund->actor, &nulls[12]), TimestampTzGetDatum(now)
	};

	nulls[10] = request_id ? ' ' : 'n';
	run_latest(&insert_refund, values, nulls);
}

/* Asks Stripe for a refund and records it. Of a payment whose part is known; whole: of all that was paid, whatever that is. */
void
begin_refund(const LockedOrder *order, NewRefund *refund, bool whole, TimestampTz now)
{
	pg_uuid_t  *request_id = ask_for_refund(order, &refund->refund_id, refund->payment_intent_id, refund->reason, whole ? 0 : refund->amount_cents, refund->reverses, now);

	record_refund(order, refund, "requested", request_id, NULL, now);
}

/* Gives a payment back in full, once. reason: late or duplicate. */
void
refund_payment(const LockedOrder *order, const char *payment_intent_id, const char *reason, TimestampTz now)
{
	static const char *const requested[] = {"refund_requested"};
	static const char *const label[] = {"Refund requested: the tickets were gone when the payment came"};
	Datum		payment = CStringGetTextDatum(payment_intent_id);
	NewRefund	refund = {
		.refund_id = *new_uuid(), .payment_intent_id = payment_intent_id, .reason = reason, .amount_cents = order->total_cents,
		.buyer_fee_cents = order->buyer_fee_cents, .organizer_fee_cents = order->organizer_fee_cents, .reverses = true
	};

	if (run_latest(&payment_is_given_back, &payment, NULL) > 0)
		return;
	begin_refund(order, &refund, true, now);
	if (strcmp(reason, "late") == 0)
		order_timeline(&order->order_id, 1, requested, label, now);
}

/* Records a refund of free tickets, which Stripe knows nothing of, and does what it means. */
void
refund_free_tickets(LockedOrder *order, const NewRefund *refund, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(&refund->refund_id);

	record_refund(order, refund, "succeeded", NULL, NULL, now);
	run_latest(&tickets_of_refund, &id, NULL);
	end_tickets(order->event_id, datumCopy(row_datum(0, 1), false, -1), "refunded", "refunded", refund->actor, "refund of a free ticket", now);
}

static bool
is_duplicate(const Refund *refund)
{
	return strcmp(refund->reason, "duplicate") == 0;
}

static const char *
refund_source(const Refund *refund)
{
	return uuid_text(&refund->id);
}

/* Whether the organizer's part of a refund was taken back already, by one that failed later. */
bool
organizer_part_is_back(const LockedOrder *order, const pg_uuid_t *refund_id, const char *payment_intent_id)
{
	char		nulls[4] = "   ";
	Datum		values[3] = {UUIDPGetDatum(refund_id), UUIDPGetDatum(&order->order_id), text_or_null(payment_intent_id, &nulls[2])};

	run_latest(&reversed_before, values, nulls);
	return DatumGetBool(row_datum(0, 1));
}

/*
 * What the organizer gave back for a refund: Stripe takes it when it makes the
 * refund, and does not bring it again when that fails.
 */
void
book_reversal(const LockedOrder *order, const Refund *refund, TimestampTz now)
{
	ledger_book(order, refund_source(refund),
				(const LedgerLine[]) {
					{LEDGER_REVERSAL, refund->amount_cents},
					{LEDGER_BUYER_FEE_REFUND, refund->buyer_fee_cents},
					{LEDGER_ORGANIZER_FEE_REFUND, refund->organizer_fee_cents}
				}, 3, now);
}

/* What a refund that succeeded has moved. */
static void
book_refund(const LockedOrder *order, const Refund *refund, TimestampTz now)
{
	int32		owed = refund->amount_cents - refund->buyer_fee_cents - refund->organizer_fee_cents;
	bool		owes = !refund->reverses && strcmp(refund->reason, "dashboard") != 0 && !organizer_part_is_back(order, &refund->id, refund->payment_intent_id);

	if (refund->reverses)
		book_reversal(order, refund, now);
	ledger_book(order, refund_source(refund),
				(const LedgerLine[]) {{LEDGER_REFUND, refund->amount_cents}, {LEDGER_DEBT, owes ? owed : 0}}, 2, now);
	if (owes)
		record_finding("organizer_owes", psprintf("refunds/%s", refund_source(refund)),
					   psprintf("{\"payee_account\": \"%s\", \"amount_cents\": %d}", order->payee_account ? order->payee_account : "", owed), now);
}

/* The tickets of a refund, or, where Stripe's dashboard has given everything back, all of the order; NULL pointer: none. */
static Datum
refunded_tickets(const LockedOrder *order, const Refund *refund)
{
	Datum		id = UUIDPGetDatum(&refund->id);
	Datum		order_id = UUIDPGetDatum(&order->order_id);

	if (strcmp(refund->reason, "dashboard") == 0)
	{
		run_latest(&refund_figures, &order_id, NULL);
		if (DatumGetInt64(row_datum(0, 1)) < order->total_cents)
			return (Datum) 0;
		run_latest(&tickets_of_order, &order_id, NULL);
	}
	else
		run_latest(&tickets_of_refund, &id, NULL);
	return row_is_null(0, 1) ? (Datum) 0 : datumCopy(row_datum(0, 1), false, -1);
}

/* A buyer's request that has led to a refund has its end. */
static void
process_refund_request(const Refund *refund, const char *stripe_refund_id, TimestampTz now)
{
	char		nulls[4] = "   ";
	Datum		values[3] = {UUIDPGetDatum(&refund->id), text_or_null(stripe_refund_id, &nulls[1]), TimestampTzGetDatum(now)};

	if (run_latest(&process_request, values, NULL) == 0)
		return;
	values[0] = uuid_copy(row_datum(0, 1));
	declare_lock(RANK_PUBLIC);
	run_latest(&project_request, values, nulls);
}

/* An amount for people: 27.06 USD. */
char *
money_text(int32 cents, const char *currency)
{
	char	   *text = psprintf("%d.%02d %s", cents / 100, cents % 100, currency);

	for (char *c = text; *c != '\0'; c++)
		*c = pg_toupper((unsigned char) *c);
	return text;
}

/*
 * Moves an order to where its refunds have brought it, or logs that it stays.
 * detail_json may be NULL.
 */
void
settle_refunds(LockedOrder *order, const char *what, const char *source, const char *detail_json, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(&order->order_id);
	OrderState	target;
	OrderEvent	event;
	int64		refunded;
	int64		pending;
	bool		any;
	bool		tickets_left;

	run_latest(&refund_figures, &id, NULL);
	refunded = DatumGetInt64(row_datum(0, 1));
	pending = DatumGetInt64(row_datum(0, 2));
	any = DatumGetInt64(row_datum(0, 3)) > 0;
	tickets_left = DatumGetBool(row_datum(0, 4));
	if (any && refunded >= order->total_cents && !tickets_left)
		target = ORDER_REFUNDED, event = ORDER_EVENT_REFUND_SUCCEEDED;
	else if (DatumGetBool(row_datum(0, 5)))
		target = ORDER_REFUND_FAILED, event = ORDER_EVENT_REFUND_FAILED;
	else if (pending > 0 && refunded + pending >= order->total_cents)
		target = ORDER_REFUNDING, event = ORDER_EVENT_REFUND_REQUESTED;
	else if (any)
		target = ORDER_PARTIALLY_REFUNDED, event = ORDER_EVENT_PART_REFUNDED;
	else
		target = ORDER_PAID, event = ORDER_EVENT_RESTORED;
	if (order->state == target || order_transition(order->state, event).effect != ORDER_MOVES)
		order_log(&order->order_id, what, order_state_name(order->state), order_state_name(order->state), source, detail_json, now);
	else
		order_apply_locked(order, event, source, detail_json, now);
}

/* A refund has succeeded: the money has moved, its tickets are no tickets any more, and their seats are for sale. */
static void
refund_succeeded(LockedOrder *order, const Refund *refund, const char *stripe_refund_id, const char *source, const char *detail_json, TimestampTz now)
{
	static const char *const processed[] = {"refund_processed"};
	const char *label[1] = {psprintf("Refunded: %s", money_text(refund->amount_cents, order->currency))};
	Datum		ticket_ids;

	book_refund(order, refund, now);
	if (is_duplicate(refund))
	{
		/* the second payment is given back: the order is what it was */
		order_log(&order->order_id, "duplicate_refunded", order_state_name(order->state), order_state_name(order->state), source, detail_json, now);
		return;
	}
	if (order_transition(order->state, ORDER_EVENT_SUCCEEDED).effect == ORDER_MOVES)
	{
		/* the news of its payment is still to come: Stripe is asked, and refunds_before_payment goes on then */
		order_log(&order->order_id, "refund_succeeded", order_state_name(order->state), order_state_name(order->state), source, detail_json, now);
		fetch_payment(refund->payment_intent_id, &order->order_id, STRIPE_LANE_URGENT, now);
		return;
	}
	ticket_ids = refunded_tickets(order, refund);
	if (ticket_ids != (Datum) 0)
	{
		lock_shape_shared(order->event_id);
		end_tickets(order->event_id, ticket_ids, "refunded", "refunded", refund->actor ? refund->actor : "stripe", psprintf("refund %s", refund_source(refund)), now);
	}
	else if (strcmp(refund->reason, "dashboard") == 0)
		record_finding("dashboard_refund", psprintf("refunds/%s", refund_source(refund)), detail_json, now);
	settle_refunds(order, "refund_succeeded", source, detail_json, now);
	order_timeline(&order->order_id, 1, processed, label, now);
	process_refund_request(refund, stripe_refund_id, now);
}

/* An order has been paid, of which refunds were told before: what is given back in full has no tickets. */
void
refunds_before_payment(LockedOrder *order, const char *source, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(&order->order_id);
	Datum		ticket_ids;
	bool		all;

	/* nearly always there is none */
	if (run_latest(&refund_of_order, &id, NULL) == 0)
		return;
	run_latest(&refund_figures, &id, NULL);
	if (DatumGetInt64(row_datum(0, 3)) == 0)
		return;
	all = DatumGetInt64(row_datum(0, 1)) >= order->total_cents;
	if (all && run_latest(&tickets_of_order, &id, NULL) > 0 && !row_is_null(0, 1))
	{
		ticket_ids = datumCopy(row_datum(0, 1), false, -1);
		/* they are of this transaction: nobody else can wait for them */
		(void) begin_locking(RANK_ORDER);
		lock_shape_shared(order->event_id);
		end_tickets(order->event_id, ticket_ids, "refunded", "refunded", "stripe", "refunded before its payment was known", now);
	}
	settle_refunds(order, "refund_succeeded", source, NULL, now);
}

/*
 * A refund has failed, perhaps after it had succeeded: the buyer has no money of
 * it. Its tickets stay as they are until somebody decides. made: Stripe had
 * taken the money from the platform, and brought it again.
 */
static void
refund_failed(LockedOrder *order, const Refund *refund, bool made, bool quietly, const char *source, const char *detail_json, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(&refund->id);

	run_latest(&mark_tickets_failed, &id, NULL);
	if (made)
		ledger_book(order, refund_source(refund), (const LedgerLine[]) {{LEDGER_REFUND, refund->amount_cents}, {LEDGER_REFUND_FAILURE, refund->amount_cents}}, 2, now);
	if (!quietly)
		record_finding("refund_failed", psprintf("orders/%s", uuid_text(&order->order_id)), detail_json, now);
	if (is_duplicate(refund))
		order_log(&order->order_id, "duplicate_refund_failed", order_state_name(order->state), order_state_name(order->state), source, detail_json, now);
	else
		settle_refunds(order, "refund_failed", source, detail_json, now);
}

/* Notes how a refund stands and does what that means. The order is locked. quietly: its failure is no news to anybody. */
void
refund_says(LockedOrder *order, const Refund *refund, const char *stripe_refund_id, const char *state, const char *failure, bool quietly, const char *source, TimestampTz now)
{
	char		nulls[6] = "     ";
	Datum		values[5] = {UUIDPGetDatum(&refund->id), CStringGetTextDatum(state), text_or_null(stripe_refund_id, &nulls[2]), text_or_null(failure, &nulls[3]), TimestampTzGetDatum(now)};
	Answer		detail;
	const char *detail_json;

	if (strcmp(refund->state, "failed") == 0 || (strcmp(refund->state, "succeeded") == 0 && strcmp(state, "failed") != 0))
		return;
	run_latest(&set_refund, values, nulls);
	if (strcmp(state, "pending") == 0)
		return;
	answer_begin(&detail);
	answer_uuid(&detail, "refund_id", &refund->id);
	if (stripe_refund_id != NULL)
		answer_text(&detail, "refund", stripe_refund_id);
	answer_int(&detail, "amount_cents", refund->amount_cents);
	if (failure != NULL)
		answer_text(&detail, "failure", failure);
	detail_json = answer_end(&detail);
	if (strcmp(state, "succeeded") == 0)
		refund_succeeded(order, refund, stripe_refund_id, source, detail_json, now);
	else
		refund_failed(order, refund, stripe_refund_id != NULL && strcmp(failure, "canceled") != 0, quietly, source, detail_json, now);
}
