/*
 * disputes.c
 *		Payments that buyers dispute at their banks: what Stripe says of them, and
 *		what becomes of the order and its tickets. The money is dispute_money.c's.
 *
 * A dispute only ever moves on (disputes.h), however its news arrive; it is
 * always asked how it stands. While it is open the order's valid tickets are
 * suspended, and it remembers which; won, they come back as they were; lost,
 * they are void. Reads and writes ticketing.disputes and dispute_tickets, and
 * suspended_tickets when one dispute takes over from another; reads
 * order_tickets, order_payments, refund_tickets, public.tickets. Locks: the
 * order, the event's shape, then what ticket_seats.c takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "disputes.h"

#define DISPUTE_ACTOR "stripe"

KEPT_PLAN(find_dispute, "SELECT phase FROM ticketing.disputes WHERE dispute_id = $1", TEXTOID);
KEPT_PLAN(keep_dispute,
		  "INSERT INTO ticketing.disputes AS d (dispute_id, order_id, event_id, payment_intent_id, charge_id, transfer_id, amount_cents, currency, reason, status, phase, created_at, closed_at, updated_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $11 IN ('won', 'lost', 'closed') THEN $13 END, $13) "
		  "ON CONFLICT (dispute_id) DO UPDATE SET charge_id = coalesce(excluded.charge_id, d.charge_id), transfer_id = coalesce(excluded.transfer_id, d.transfer_id), "
		  "  amount_cents = excluded.amount_cents, reason = excluded.reason, status = excluded.status, phase = excluded.phase, "
		  "  closed_at = CASE WHEN excluded.phase = d.phase THEN d.closed_at ELSE excluded.closed_at END, updated_at = excluded.updated_at",
		  TEXTOID, UUIDOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID);
KEPT_PLAN(payment_has_come,
		  "SELECT FROM ticketing.order_payments WHERE payment_intent_id = $1 AND state = 'succeeded'", TEXTOID);
KEPT_PLAN(was_asked_for, "SELECT waits_for IS NOT NULL, path FROM ticketing.stripe_requests WHERE id = $1", UUIDOID);

KEPT_PLAN(valid_tickets,
		  "SELECT array_agg(t.id) FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id "
		  "WHERE k.order_id = $1 AND t.event_id = $2 AND t.status IN ('active', 'scanned')",
		  UUIDOID, INT4OID);
/* Nobody has paid for what is left; what a refund has taken is the refund's. */
KEPT_PLAN(unpaid_tickets,
		  "SELECT array_agg(t.id) FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id LEFT JOIN ticketing.suspended_tickets s ON s.ticket_id = t.id "
		  "WHERE k.order_id = $1 AND t.event_id = $2 AND (t.status IN ('active', 'scanned') OR (t.status = 'void' AND s.ticket_id IS NOT NULL)) "
		  "AND NOT EXISTS (SELECT FROM ticketing.refund_tickets r WHERE r.ticket_id = t.id AND NOT r.failed)",
		  UUIDOID, INT4OID);
KEPT_PLAN(tickets_it_suspends,
		  "SELECT array_agg(s.ticket_id) FROM ticketing.dispute_tickets d JOIN ticketing.suspended_tickets s ON s.ticket_id = d.ticket_id "
		  "JOIN public.tickets t ON t.id = d.ticket_id WHERE d.dispute_id = $1 AND s.reason = $2 AND t.status = 'void' AND NOT EXISTS (SELECT FROM ticketing.refund_tickets r WHERE r.ticket_id = s.ticket_id AND NOT r.failed)",
		  TEXTOID, TEXTOID);
KEPT_PLAN(remember_tickets,
		  "INSERT INTO ticketing.dispute_tickets (dispute_id, ticket_id) SELECT $1, unnest($2) ON CONFLICT DO NOTHING", TEXTOID, UUIDARRAYOID);
KEPT_PLAN(take_over,
		  "UPDATE ticketing.suspended_tickets SET reason = $2 WHERE ticket_id = ANY ($1)", UUIDARRAYOID, TEXTOID);
KEPT_PLAN(tickets_it_ended,
		  "SELECT count(*) FROM ticketing.dispute_tickets d JOIN public.tickets t ON t.id = d.ticket_id "
		  "WHERE d.dispute_id = $1 AND t.status = 'void' AND NOT EXISTS (SELECT FROM ticketing.suspended_tickets s WHERE s.ticket_id = t.id)",
		  TEXTOID);
/* Of the same payment: one that is open, one that was lost, and whether one that was lost keeps tickets suspended. */
#define KEEPS_TICKETS "EXISTS (SELECT FROM ticketing.dispute_tickets k JOIN ticketing.suspended_tickets s ON s.ticket_id = k.ticket_id WHERE k.dispute_id = d.dispute_id AND s.reason = 'dispute ' || d.dispute_id)"
KEPT_PLAN(other_disputes,
		  "SELECT min(dispute_id) FILTER (WHERE phase = 'open'), min(dispute_id) FILTER (WHERE phase = 'lost'), coalesce(bool_or(phase = 'lost' AND " KEEPS_TICKETS "), false) "
		  "FROM ticketing.disputes d WHERE order_id = $1 AND payment_intent_id = $2 AND dispute_id <> $3",
		  UUIDOID, TEXTOID, TEXTOID);
/* Orders that are disputed because of what was lost alone, and of which no ticket waits to be decided about; or the one named. */
KEPT_PLAN(decided_orders,
		  "SELECT o.order_id, EXISTS (SELECT FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id WHERE k.order_id = o.order_id AND t.status IN ('active', 'scanned')) "
		  "FROM ticketing.orders o WHERE o.dispute = 'open' AND ($1 IS NULL OR o.order_id = $1) "
		  "AND EXISTS (SELECT FROM ticketing.disputes d WHERE d.order_id = o.order_id AND d.payment_intent_id = o.payment_intent_id AND d.phase = 'lost') "
		  "AND NOT EXISTS (SELECT FROM ticketing.disputes d WHERE d.order_id = o.order_id AND d.payment_intent_id = o.payment_intent_id AND (d.phase = 'open' OR " KEEPS_TICKETS ")) LIMIT $2",
		  UUIDOID, INT4OID);

static const char *const phase_names[DISPUTE_PHASE_COUNT] = {
	[DISPUTE_INQUIRY] = "inquiry", [DISPUTE_CLOSED] = "closed", [DISPUTE_OPEN] = "open", [DISPUTE_LOST] = "lost", [DISPUTE_WON] = "won",
};

/* What Stripe's status means. */
static const struct
{
	const char *status;
	DisputePhase phase;
}			statuses[] = {
	{"warning_needs_response", DISPUTE_INQUIRY},
	{"warning_under_review", DISPUTE_INQUIRY},
	{"warning_closed", DISPUTE_CLOSED},
	{"needs_response", DISPUTE_OPEN},
	{"under_review", DISPUTE_OPEN},
	{"won", DISPUTE_WON},
	{"lost", DISPUTE_LOST},
};

/* A dispute that is being heard, with its order locked. */
typedef struct Hearing
{
	LockedOrder order;
	Dispute		dispute;
	DisputePhase was;
	bool		of_order;		/* it is about the payment that the order lives by, not a second one */
	const char *source;
	const char *detail;			/* for the order's log */
	TimestampTz now;
} Hearing;

static DisputePhase
phase_by_name(const char *name)
{
	for (int phase = DISPUTE_INQUIRY; phase < DISPUTE_PHASE_COUNT; phase++)
		if (strcmp(phase_names[phase], name) == 0)
			return phase;
	elog(ERROR, "a dispute has no phase \"%s\"", name);
}

/* Why a ticket is suspended, as its row has it. */
static char *
suspension_reason(const char *dispute_id)
{
	return psprintf("dispute %s", dispute_id);
}

/* Asks Stripe how a dispute stands, after another request or at once. */
static pg_uuid_t *
ask_about_dispute(const char *dispute_id, const pg_uuid_t *order_id, int16 lane, const pg_uuid_t *waits_for, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "get_dispute", .lane = lane, .method = "GET", .path = psprintf("/v1/disputes/%s", dispute_id),
		.params = "{\"expand\": [\"charge\"]}", .order_id = order_id, .waits_for = waits_for
	};

	return enqueue_stripe_request(&request, now);
}

/* Asks how a dispute stands. order_id: NULL if its payment is not known. Returns the request's id. */
pg_uuid_t *
fetch_dispute(const char *dispute_id, const pg_uuid_t *order_id, int16 lane, TimestampTz now)
{
	return ask_about_dispute(dispute_id, order_id, lane, NULL, now);
}

/* Reads what Stripe says of a dispute; false when that is not the whole. */
static bool
read_dispute(Jsonb *object, Dispute *dispute)
{
	int64		created;
	int64		charged;
	int64		refunded;

	memset(dispute, 0, sizeof(Dispute));
	dispute->object = object;
	dispute->id = json_string_at(object, JSON_PATH("id"));
	dispute->payment_intent_id = json_string_at(object, JSON_PATH("payment_intent"));
	dispute->charge_id = json_string_at(object, JSON_PATH("charge", "id"));
	dispute->transfer_id = json_string_at(object, JSON_PATH("charge", "transfer"));
	dispute->currency = json_string_at(object, JSON_PATH("currency"));
	dispute->reason = json_string_at(object, JSON_PATH("reason"));
	dispute->status = json_string_at(object, JSON_PATH("status"));
	if (dispute->id == NULL || dispute->status == NULL || dispute->reason == NULL || dispute->currency == NULL ||
		!json_int_at(object, JSON_PATH("amount"), &dispute->amount_cents) || dispute->amount_cents < 0 || dispute->amount_cents > PG_INT32_MAX ||
		!json_int_at(object, JSON_PATH("created"), &created))
		return false;
	dispute->charge_left_cents = PG_INT64_MAX;
	if (json_int_at(object, JSON_PATH("charge", "amount"), &charged) && json_int_at(object, JSON_PATH("charge", "amount_refunded"), &refunded))
		dispute->charge_left_cents = charged - refunded;
	dispute->created_at = time_t_to_timestamptz((pg_time_t) created);
	dispute->unknown_status = true;
	for (size_t i = 0; i < lengthof(statuses); i++)
		if (strcmp(statuses[i].status, dispute->status) == 0)
		{
			dispute->phase = statuses[i].phase;
			dispute->unknown_status = false;
		}
	return true;
}

/* A finding about the order of a dispute. */
static void
find(const Hearing *hearing, const char *kind)
{
	record_finding(kind, psprintf("disputes/%s", hearing->dispute.id), hearing->detail, hearing->now);
}

/* An array of the last statement's only row, kept beyond it; false when it is NULL. */
static bool
row_array(Datum *array)
{
	if (row_is_null(0, 1))
		return false;
	*array = PointerGetDatum(DatumGetArrayTypePCopy(row_datum(0, 1)));
	return true;
}

static bool
tickets_of_order(KeptPlan *which, const Hearing *hearing, Datum *tickets)
{
	Datum		values[2] = {UUIDPGetDatum(&hearing->order.order_id), Int32GetDatum(hearing->order.event_id)};

	run_latest(which, values, NULL);
	return row_array(tickets);
}

/* The tickets that are suspended by this dispute and by nothing since. */
static bool
tickets_of_dispute(const Hearing *hearing, Datum *tickets)
{
	Datum		values[2] = {CStringGetTextDatum(hearing->dispute.id), CStringGetTextDatum(suspension_reason(hearing->dispute.id))};

	run_latest(&tickets_it_suspends, values, NULL);
	return row_array(tickets);
}

static void
remember(const char *dispute_id, Datum tickets)
{
	Datum		values[2] = {CStringGetTextDatum(dispute_id), tickets};

	run_latest(&remember_tickets, values, NULL);
}

/* No door admits what is not paid for, for now. */
static void
suspend_order(const Hearing *hearing)
{
	Datum		tickets;
	Datum		suspended;

	lock_shape_shared(hearing->order.event_id);
	if (!tickets_of_order(&valid_tickets, hearing, &tickets))
		return;
	(void) suspend_tickets(hearing->order.event_id, tickets, suspension_reason(hearing->dispute.id), DISPUTE_ACTOR, &suspended, hearing->now);
	remember(hearing->dispute.id, suspended);
}

/* What was lost is not paid for; the seats are for sale again. */
static void
void_order(const Hearing *hearing)
{
	Datum		tickets;

	lock_shape_shared(hearing->order.event_id);
	if (!tickets_of_order(&unpaid_tickets, hearing, &tickets))
		return;
	remember(hearing->dispute.id, tickets);
	end_tickets(hearing->order.event_id, tickets, "void", "voided", DISPUTE_ACTOR, suspension_reason(hearing->dispute.id), hearing->now);
}

/* What this dispute took is given back, or goes over to another that is open. */
static void
restore_order(const Hearing *hearing, const char *other_open)
{
	Datum		values[2] = {(Datum) 0};

	lock_shape_shared(hearing->order.event_id);
	if (!tickets_of_dispute(hearing, &values[0]))
		return;
	if (other_open == NULL)
	{
		restore_tickets(hearing->order.event_id, values[0], DISPUTE_ACTOR, hearing->now);
		return;
	}
	values[1] = CStringGetTextDatum(suspension_reason(other_open));
	run_latest(&take_over, values, NULL);
	remember(other_open, values[0]);
}

/* How other disputes of the same payment stand. */
typedef struct OtherDisputes
{
	char	   *open;			/* one that is; NULL: none */
	char	   *lost;
	bool		suspending;		/* one keeps tickets suspended */
} OtherDisputes;

static OtherDisputes
read_others(const Hearing *hearing)
{
	Datum		values[3] = {UUIDPGetDatum(&hearing->order.order_id), CStringGetTextDatum(hearing->dispute.payment_intent_id), CStringGetTextDatum(hearing->dispute.id)};
	OtherDisputes others;

	run_latest(&other_disputes, values, NULL);
	others.open = row_text(0, 1);
	others.lost = row_text(0, 2);
	others.suspending = DatumGetBool(row_datum(0, 3));
	return others;
}

/* A line in the order's log that does not change how the order stands. */
static void
log_only(const Hearing *hearing, OrderEvent event)
{
	const char *state = order_state_name(hearing->order.state);

	order_log(&hearing->order.order_id, order_event_name(event), state, state, hearing->source, hearing->detail, hearing->now);
}

/* Lays the dispute over the order. Money that was disputed without tickets having been sold for it is a person's affair. */
static void
tell_order(Hearing *hearing, OrderEvent event)
{
	if (order_apply_locked(&hearing->order, event, hearing->source, hearing->detail, hearing->now) == ORDER_STAYED && event == ORDER_EVENT_DISPUTE_OPENED)
		record_finding("disputed", psprintf("orders/%s", uuid_text(&hearing->order.order_id)), hearing->detail, hearing->now);
}

static void
tell_buyer(const Hearing *hearing, const char *type, const char *label)
{
	order_timeline(&hearing->order.order_id, 1, &type, &label, hearing->now);
}

/* The order's log and the buyer hear that it was opened, if they have not yet. */
static void
tell_opened(Hearing *hearing)
{
	if (hearing->was >= DISPUTE_OPEN)
		return;
	tell_order(hearing, ORDER_EVENT_DISPUTE_OPENED);
	tell_buyer(hearing, "dispute_opened", "Payment disputed");
}

static void
dispute_lost(Hearing *hearing)
{
	bool		whole = hearing->dispute.amount_cents >= left_of_payment(&hearing->order, &hearing->dispute);

	if (whole)
		void_order(hearing);
	else if (hearing->was < DISPUTE_OPEN)
		suspend_order(hearing);
	tell_opened(hearing);
	if (!whole)
	{
		/* which tickets it was about only people know: they stay suspended, and the order disputed */
		log_only(hearing, ORDER_EVENT_DISPUTE_LOST);
		find(hearing, "dispute_of_a_part");
	}
	else if (read_others(hearing).open != NULL)
		log_only(hearing, ORDER_EVENT_DISPUTE_LOST);
	else
		tell_order(hearing, ORDER_EVENT_DISPUTE_LOST);
	tell_buyer(hearing, "dispute_resolved", "Dispute lost");
}

static void
dispute_won(Hearing *hearing)
{
	OtherDisputes others = read_others(hearing);
	Datum		id = CStringGetTextDatum(hearing->dispute.id);
	Answer		detail;

	restore_order(hearing, others.open);
	tell_opened(hearing);
	if (others.open != NULL || others.suspending)
		log_only(hearing, ORDER_EVENT_DISPUTE_WON);
	else if (others.lost != NULL)
	{
		log_only(hearing, ORDER_EVENT_DISPUTE_WON);
		answer_begin(&detail);
		answer_text(&detail, "dispute", others.lost);
		order_apply_locked(&hearing->order, ORDER_EVENT_DISPUTE_LOST, hearing->source, answer_end(&detail), hearing->now);
	}
	else
		tell_order(hearing, ORDER_EVENT_DISPUTE_WON);
	tell_buyer(hearing, "dispute_resolved", "Dispute won");
	/* their seats may have been sold again */
	if (hearing->was == DISPUTE_LOST && run_latest(&tickets_it_ended, &id, NULL) > 0 && DatumGetInt64(row_datum(0, 1)) > 0)
		find(hearing, "tickets_stay_void");
}

/* What it means for the order and its tickets that a dispute has come this far. */
static void
move_on(Hearing *hearing)
{
	switch (hearing->dispute.phase)
	{
		case DISPUTE_INQUIRY:
			tell_buyer(hearing, "dispute_opened", "The bank asks about the payment");
			break;
		case DISPUTE_CLOSED:
			tell_buyer(hearing, "dispute_resolved", "The bank asks no more");
			break;
		case DISPUTE_OPEN:
			suspend_order(hearing);
			tell_opened(hearing);
			break;
		case DISPUTE_LOST:
			dispute_lost(hearing);
			break;
		case DISPUTE_WON:
			dispute_won(hearing);
			break;
		default:
			break;
	}
}

/* A second payment of the order, which is given back anyway, or one that is under review: money alone. */
static void
note_move(const Hearing *hearing)
{
	static const OrderEvent events[DISPUTE_PHASE_COUNT] = {
		[DISPUTE_OPEN] = ORDER_EVENT_DISPUTE_OPENED, [DISPUTE_LOST] = ORDER_EVENT_DISPUTE_LOST, [DISPUTE_WON] = ORDER_EVENT_DISPUTE_WON,
	};

	if (hearing->dispute.phase < DISPUTE_OPEN)
		return;
	log_only(hearing, events[hearing->dispute.phase]);
	find(hearing, "second_payment_disputed");
}

static void
keep(const Hearing *hearing)
{
	const Dispute *dispute = &hearing->dispute;
	char		nulls[14] = "             ";
	Datum		values[13] = {
		CStringGetTextDatum(dispute->id), UUIDPGetDatum(&hearing->order.order_id), Int32GetDatum(hearing->order.event_id),
		CStringGetTextDatum(dispute->payment_intent_id)
	};

	values[4] = text_or_null(dispute->charge_id, &nulls[4]);
	values[5] = text_or_null(dispute->transfer_id, &nulls[5]);
	values[6] = Int32GetDatum((int32) dispute->amount_cents);
	values[7] = CStringGetTextDatum(dispute->currency);
	values[8] = CStringGetTextDatum(dispute->reason);
	values[9] = CStringGetTextDatum(dispute->status);
	values[10] = CStringGetTextDatum(phase_names[dispute->phase]);
	values[11] = TimestampTzGetDatum(dispute->created_at);
	values[12] = TimestampTzGetDatum(hearing->now);
	run_latest(&keep_dispute, values, nulls);
}

/* What is told of a dispute in the order's log and in findings. */
static const char *
detail_of(const Dispute *dispute)
{
	Answer		detail;

	answer_begin(&detail);
	answer_text(&detail, "dispute", dispute->id);
	answer_text(&detail, "status", dispute->status);
	answer_text(&detail, "reason", dispute->reason);
	answer_int(&detail, "amount", dispute->amount_cents);
	answer_text(&detail, "currency", dispute->currency);
	return answer_end(&detail);
}

/* Hears how a dispute stands; its order is locked. */
static void
hear_dispute(Hearing *hearing)
{
	Dispute    *dispute = &hearing->dispute;
	Datum		id = CStringGetTextDatum(dispute->id);

	hearing->was = run_latest(&find_dispute, &id, NULL) == 0 ? DISPUTE_NEW : phase_by_name(row_text(0, 1));
	hearing->of_order = hearing->order.payment_intent_id != NULL && strcmp(hearing->order.payment_intent_id, dispute->payment_intent_id) == 0;
	hearing->detail = detail_of(dispute);
	if (dispute->unknown_status)
	{
		dispute->phase = Max(hearing->was, DISPUTE_INQUIRY);
		find(hearing, "dispute_status_unknown");
	}
	if (dispute->phase >= hearing->was)
		keep(hearing);
	if (dispute->phase > hearing->was)
	{
		if (hearing->of_order)
			move_on(hearing);
		else
			note_move(hearing);
	}
	/* each movement is booked once, whatever else is old news */
	book_dispute(&hearing->order, dispute, hearing->now);
	if (dispute->phase > hearing->was && dispute->phase == DISPUTE_LOST)
		take_transfer_back(&hearing->order, dispute, hearing->now);
	if (dispute->phase > hearing->was && dispute->phase == DISPUTE_WON)
		give_transfer_again(&hearing->order, dispute->id, hearing->now);
}

/* Who disputes has paid: that news of it has not come yet is no reason to take the dispute for another's. */
static void
ask_for_payment_first(const Hearing *hearing)
{
	const pg_uuid_t *order_id = &hearing->order.order_id;

	ask_about_dispute(hearing->dispute.id, order_id, STRIPE_LANE_URGENT,
					  fetch_payment(hearing->dispute.payment_intent_id, order_id, STRIPE_LANE_URGENT, hearing->now), hearing->now);
}

/* An order that people have decided about, for an OrderBatch. */
static void
settle_order(LockedOrder *order, const char *actor, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(&order->order_id), Int32GetDatum(1)};

	if (run_latest(&decided_orders, values, NULL) > 0)
		order_apply_locked(order, DatumGetBool(row_datum(0, 2)) ? ORDER_EVENT_DISPUTE_SETTLED : ORDER_EVENT_DISPUTE_LOST, "sweep", NULL, now);
}

/* Disputes of a part of the payment that were lost: when people have decided about every ticket, the order is disputed no more. Returns how many. */
int
settle_decided_disputes(int max_orders, TimestampTz now)
{
	const OrderBatch batch = {.work = settle_order, .finding = "dispute_not_settled", .now = now};
	Datum		values[2] = {(Datum) 0, Int32GetDatum(max_orders)};

	return work_through_orders(&batch, run_latest(&decided_orders, values, "n "));
}

/* get_dispute */
void
dispute_answered(const StripeAnswer *call)
{
	Hearing		hearing = {.now = call->now, .source = psprintf("request %s", uuid_text(call->request_id))};
	Datum		request = UUIDPGetDatum(call->request_id);
	Datum		payment;
	pg_uuid_t	order_id;

	if (!read_dispute(call->answer, &hearing.dispute))
	{
		/* applied late: of the answer only some fields are left */
		fetch_dispute(answer_field(call, "id"), call->order_id, STRIPE_LANE_URGENT, call->now);
		return;
	}
	/* of another's payment, or of one from before us */
	if (hearing.dispute.payment_intent_id == NULL || !order_of_payment(hearing.dispute.payment_intent_id, &order_id))
		return;
	lock_order(&order_id, &hearing.order);
	payment = CStringGetTextDatum(hearing.dispute.payment_intent_id);
	if (run_latest(&payment_has_come, &payment, NULL) == 0 && run_latest(&was_asked_for, &request, NULL) > 0 && !DatumGetBool(row_datum(0, 1)))
		ask_for_payment_first(&hearing);
	else
		hear_dispute(&hearing);
}

/* Stripe will not say how a dispute stands. */
void
dispute_fetch_failed(const StripeAnswer *call)
{
	Datum		request = UUIDPGetDatum(call->request_id);
	const char *path = run_latest(&was_asked_for, &request, NULL) > 0 ? row_text(0, 2) : "/v1/disputes/";

	record_finding("dispute_not_readable", psprintf("disputes/%s", path + strlen("/v1/disputes/")), JsonbToCString(NULL, &call->answer->root, VARSIZE(call->answer)), call->now);
}
