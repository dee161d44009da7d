/*
 * refunds.c
 *		Refunds: how Stripe is asked for one, what it says of it, and what that
 *		means for the money, the tickets and the order.
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

#define REFUNDS_PAGE 100

KEPT_PLAN(insert_refund,
		  "INSERT INTO ticketing.refunds (refund_id, order_id, event_id, payment_intent_id, reason, amount_cents, buyer_fee_cents, organizer_fee_cents, "
		  "  state, reverses, stripe_request_id, stripe_refund_id, actor, created_at, updated_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)",
		  UUIDOID, UUIDOID, INT4OID, TEXTOID, TEXTOID, INT4OID, INT4OID, INT4OID, TEXTOID, BOOLOID, UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(payment_is_given_back,
		  "SELECT FROM ticketing.refunds WHERE payment_intent_id = $1 AND reason IN ('late', 'duplicate')", TEXTOID);
#define REFUND_COLUMNS "refund_id, order_id, reason, state, amount_cents, buyer_fee_cents, organizer_fee_cents, reverses, actor, payment_intent_id, stripe_refund_id "
KEPT_PLAN(refund_of_request,
		  "SELECT " REFUND_COLUMNS "FROM ticketing.refunds WHERE stripe_request_id = $1", UUIDOID);
KEPT_PLAN(refund_at_stripe,
		  "SELECT " REFUND_COLUMNS "FROM ticketing.refunds WHERE stripe_refund_id = $1", TEXTOID);
KEPT_PLAN(refund_by_id,
		  "SELECT " REFUND_COLUMNS "FROM ticketing.refunds WHERE refund_id = $1 AND order_id = $2", UUIDOID, UUIDOID);
KEPT_PLAN(known_refunded,
		  "SELECT coalesce(sum(r.amount_cents), 0) FROM ticketing.refunds r JOIN ticketing.order_payments p ON p.order_id = r.order_id "
		  "WHERE p.payment_intent_id = $1 AND r.payment_intent_id = $1 AND r.state <> 'failed'", TEXTOID);
KEPT_PLAN(set_refund,
		  "UPDATE ticketing.refunds SET state = $2, stripe_refund_id = coalesce($3, stripe_refund_id), failure = $4, updated_at = $5 WHERE refund_id = $1",
		  UUIDOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(ask_without_reversal,
		  "UPDATE ticketing.refunds SET reverses = false, stripe_request_id = $2, updated_at = $3 WHERE refund_id = $1", UUIDOID, UUIDOID, TIMESTAMPTZOID);
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

static pg_uuid_t *
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
static void
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

/* Asks how a refund of ours stands. */
static void
ask_about_refund(const char *stripe_refund_id, const pg_uuid_t *order_id, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "get_refund", .lane = STRIPE_LANE_URGENT, .method = "GET", .path = psprintf("/v1/refunds/%s", stripe_refund_id),
		.params = "{}", .order_id = order_id
	};

	enqueue_stripe_request(&request, now);
}

/* Asks for all refunds of a payment: among them are some that we have not made. */
static void
ask_for_all_refunds(const char *payment_intent_id, const char *after, const pg_uuid_t *order_id, TimestampTz now)
{
	NewStripeRequest request = {.kind = "list_refunds", .lane = STRIPE_LANE_URGENT, .method = "GET", .path = "/v1/refunds", .order_id = order_id};
	Answer		params;

	answer_begin(&params);
	answer_text(&params, "payment_intent", payment_intent_id);
	answer_int(&params, "limit", REFUNDS_PAGE);
	if (after != NULL)
		answer_text(&params, "starting_after", after);
	request.params = answer_end(&params);
	enqueue_stripe_request(&request, now);
}

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

static void
read_refund(Refund *refund)
{
	refund->id = *DatumGetUUIDP(row_datum(0, 1));
	refund->order_id = *DatumGetUUIDP(row_datum(0, 2));
	refund->reason = row_text(0, 3);
	refund->state = row_text(0, 4);
	refund->amount_cents = DatumGetInt32(row_datum(0, 5));
	refund->buyer_fee_cents = DatumGetInt32(row_datum(0, 6));
	refund->organizer_fee_cents = DatumGetInt32(row_datum(0, 7));
	refund->reverses = DatumGetBool(row_datum(0, 8));
	refund->actor = row_text(0, 9);
	refund->payment_intent_id = row_text(0, 10);
	refund->stripe_refund_id = row_text(0, 11);
}

static bool
is_duplicate(const Refund *refund)
{
	return strcmp(refund->reason, "duplicate") == 0;
}

/* The refund of ours that an object of Stripe's is, by its id or by what we have written into it. */
static bool
find_refund(const pg_uuid_t *order_id, Jsonb *object, Refund *refund)
{
	char	   *stripe_id = json_string_at(object, JSON_PATH("id"));
	char	   *our_id = json_string_at(object, JSON_PATH("metadata", "refund_id"));
	Datum		values[2] = {CStringGetTextDatum(stripe_id ? stripe_id : "")};
	pg_uuid_t	id;

	if (run_latest(&refund_at_stripe, values, NULL) == 0)
	{
		if (our_id == NULL || !uuid_from_text(our_id, strlen(our_id), &id))
			return false;
		values[0] = UUIDPGetDatum(&id);
		values[1] = UUIDPGetDatum(order_id);
		if (run_latest(&refund_by_id, values, NULL) == 0)
			return false;
	}
	read_refund(refund);
	return true;
}

/*
 * Stripe says something of refunds: if the payment is of an order of ours, it
 * is asked how they stand. False when it is not, or when nothing is new.
 */
bool
hear_refund_event(Jsonb *object, bool is_charge, pg_uuid_t *order_id, TimestampTz now)
{
	char	   *payment_intent_id = json_string_at(object, JSON_PATH("payment_intent"));
	Refund		refund;
	int64		refunded;

	if (payment_intent_id == NULL || !order_of_payment(payment_intent_id, order_id))
		return false;
	if (is_charge)
	{
		Datum		payment = CStringGetTextDatum(payment_intent_id);

		run_latest(&known_refunded, &payment, NULL);
		if (!json_int_at(object, JSON_PATH("amount_refunded"), &refunded) || refunded > DatumGetInt64(row_datum(0, 1)))
			ask_for_all_refunds(payment_intent_id, NULL, order_id, now);
	}
	else if (!find_refund(order_id, object, &refund))
		ask_for_all_refunds(payment_intent_id, NULL, order_id, now);
	else if (refund.stripe_refund_id != NULL)
		ask_about_refund(refund.stripe_refund_id, order_id, now);
	/* without its answer yet: that will say how it stands */
	return true;
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
static void
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
		fetch_payment(refund->payment_intent_id, &order->order_id, now);
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
static void
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

/* A refund that we have not made. */
static void
adopt_refund(const LockedOrder *order, Jsonb *object, Refund *refund, TimestampTz now)
{
	char	   *stripe_refund_id = json_string_at(object, JSON_PATH("id"));
	char	   *payment_intent_id = json_string_at(object, JSON_PATH("payment_intent"));
	NewRefund	made = {.refund_id = *new_uuid(), .payment_intent_id = payment_intent_id, .reason = "dashboard"};
	int64		amount = 0;
	Datum		id = UUIDPGetDatum(&made.refund_id);
	Datum		values[2] = {id, UUIDPGetDatum(&order->order_id)};

	(void) json_int_at(object, JSON_PATH("amount"), &amount);
	made.amount_cents = (int32) amount;
	made.reverses = json_string_at(object, JSON_PATH("transfer_reversal")) != NULL;
	record_refund(order, &made, "requested", NULL, stripe_refund_id, now);
	run_latest(&refund_by_id, values, NULL);
	read_refund(refund);
}

/* What a refund's own state means. */
static void
hear_refund(LockedOrder *order, const Refund *refund, Jsonb *object, const char *source, TimestampTz now)
{
	char	   *stripe_refund_id = json_string_at(object, JSON_PATH("id"));
	char	   *status = json_string_at(object, JSON_PATH("status"));
	char	   *failure = json_string_at(object, JSON_PATH("failure_reason"));

	if (status == NULL)
		return;
	if (refund->reverses && json_string_at(object, JSON_PATH("transfer_reversal")) != NULL)
		book_reversal(order, refund, now);
	if (strcmp(status, "succeeded") == 0)
		refund_says(order, refund, stripe_refund_id, "succeeded", NULL, false, source, now);
	else if (strcmp(status, "failed") == 0 || strcmp(status, "canceled") == 0)
		refund_says(order, refund, stripe_refund_id, "failed", failure ? failure : status, false, source, now);
	else
		refund_says(order, refund, stripe_refund_id, "pending", NULL, false, source, now);
}

/* create_refund, get_refund */
void
refund_answered(const StripeAnswer *call)
{
	char	   *stripe_refund_id = answer_field(call, "id");
	Datum		request_id = UUIDPGetDatum(call->request_id);
	Datum		stripe_id = CStringGetTextDatum(stripe_refund_id);
	LockedOrder order;
	Refund		refund;

	(void) answer_field(call, "status");
	lock_order(call->order_id, &order);
	if (run_latest(&refund_of_request, &request_id, NULL) == 0 && run_latest(&refund_at_stripe, &stripe_id, NULL) == 0)
		elog(ERROR, "no refund is asked for by request %s", uuid_text(call->request_id));
	read_refund(&refund);
	hear_refund(&order, &refund, call->answer, psprintf("request %s", uuid_text(call->request_id)), call->now);
}

/* list_refunds: all of a payment, ours and others. */
void
refunds_listed(const StripeAnswer *call)
{
	char	   *source = psprintf("request %s", uuid_text(call->request_id));
	JsonbValue *page = json_array_at(call->answer, "data");
	char	   *payment_intent_id = NULL;
	char	   *last_id = NULL;
	bool		has_more = false;
	LockedOrder order;

	lock_order(call->order_id, &order);
	if (page == NULL)
	{
		/* applied late, the page is gone: each payment is asked about again */
		if (order.payment_intent_id != NULL)
			ask_for_all_refunds(order.payment_intent_id, NULL, call->order_id, call->now);
		return;
	}
	for (uint32 i = 0; i < JsonContainerSize(page->val.binary.data); i++)
	{
		Jsonb	   *object = JsonbValueToJsonb(getIthJsonbValueFromContainer(page->val.binary.data, i));
		pg_uuid_t	order_id;
		Refund		refund;

		if (!JB_ROOT_IS_OBJECT(object) || (last_id = json_string_at(object, JSON_PATH("id"))) == NULL)
			continue;
		payment_intent_id = json_string_at(object, JSON_PATH("payment_intent"));
		if (payment_intent_id == NULL || !order_of_payment(payment_intent_id, &order_id) || memcmp(order_id.data, call->order_id->data, UUID_LEN) != 0)
			continue;
		(void) begin_locking(RANK_ORDER);
		if (!find_refund(call->order_id, object, &refund))
			adopt_refund(&order, object, &refund, call->now);
		hear_refund(&order, &refund, object, source, call->now);
	}
	if (json_bool_at(call->answer, JSON_PATH("has_more"), &has_more) && has_more && payment_intent_id != NULL)
		ask_for_all_refunds(payment_intent_id, last_id, call->order_id, call->now);
}

/*
 * Stripe will not make the refund. When everything was given back already, by
 * whomever, all refunds are looked at. When the organizer's part cannot be taken
 * back, the buyer is refunded all the same.
 */
void
refund_creation_failed(const StripeAnswer *call)
{
	char	   *code = json_string_at(call->answer, JSON_PATH("code"));
	char	   *source = psprintf("request %s", uuid_text(call->request_id));
	Datum		request_id = UUIDPGetDatum(call->request_id);
	bool		given_back = code != NULL && strcmp(code, "charge_already_refunded") == 0;
	LockedOrder order;
	Refund		refund;

	lock_order(call->order_id, &order);
	if (run_latest(&refund_of_request, &request_id, NULL) == 0)
		return;
	read_refund(&refund);
	if (refund.reverses && code != NULL && (strcmp(code, "balance_insufficient") == 0 || strcmp(code, "insufficient_funds") == 0))
	{
		Datum		values[3] = {
			UUIDPGetDatum(&refund.id),
			UUIDPGetDatum(ask_for_refund(&order, &refund.id, refund.payment_intent_id, refund.reason, refund.amount_cents, false, call->now)),
			TimestampTzGetDatum(call->now)
		};

		run_latest(&ask_without_reversal, values, NULL);
		return;
	}
	if (given_back)
		ask_for_all_refunds(refund.payment_intent_id, NULL, call->order_id, call->now);
	refund_says(&order, &refund, NULL, "failed", code ? code : "refused", given_back, source, call->now);
}
