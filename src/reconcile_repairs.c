/*
 * reconcile_repairs.c
 *		What reconcile_orders does about a fault: the kinds of faults, and the
 *		repair of those that can be repaired without a person.
 *
 * A repair is a step of its own: it is done whole or not at all, and what is in
 * its way is a reason to leave it to the next run. It judges by what it finds
 * under its locks. Reads and writes public.tickets, orders and
 * ticket_types.quantity_sold, ticketing.order_tickets, order_events,
 * ticket_changes and the stock, through the files that own them. Locks: of one
 * order after the other, the user, the order, the event's shape, shards, rows
 * of public.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "reconcile.h"

#define ACTOR "reconcile_orders"

/*
 * The surplus tickets of an order, and why they must stay, if they must. Those
 * to be kept are the order's own, or the first ones of a number that is certain:
 * by the order's fees, and by its price or what each ticket says that it cost.
 */
KEPT_PLAN(surplus_tickets,
			"WITH o AS (SELECT p.id, p.user_id, p.event_id, p.status, p.subtotal_cents, p.total_cents, p.stripe_payment_intent_id, p.stripe_checkout_session_id, e.order_id IS NOT NULL AS ours, "
			"    CASE WHEN e.order_id IS NOT NULL THEN (SELECT sum(i.quantity) FROM ticketing.order_items i WHERE i.order_id = e.order_id) "
			"      WHEN p.total_cents > p.subtotal_cents THEN (p.total_cents - p.subtotal_cents - (p.subtotal_cents::bigint * 25 + 500) / 1000) / 100 END AS paid_for "
			"  FROM public.orders p LEFT JOIN ticketing.orders e ON e.order_id = p.id WHERE p.id = $1), "
			"t AS (SELECT k.*, row_number() OVER (ORDER BY n.ticket_id IS NULL, k.created_at, k.id) > o.paid_for AS surplus, n.ticket_id IS NOT NULL AS known "
			"  FROM o JOIN public.tickets k ON k.event_id = o.event_id AND (k.stripe_payment_intent_id = o.stripe_payment_intent_id OR k.stripe_checkout_session_id = o.stripe_checkout_session_id) "
			"  LEFT JOIN ticketing.order_tickets n ON n.ticket_id = k.id AND n.order_id = o.id WHERE k.status <> 'void'), "
			"f AS (SELECT array_agg(id) FILTER (WHERE surplus) AS ids, count(DISTINCT ticket_type_id) AS tiers, count(DISTINCT user_id) AS users, min(user_id) AS user_id, "
			"    count(*) FILTER (WHERE known AND NOT surplus) AS known, bool_or(known AND surplus) AS known_surplus, "
			"    max(created_at) FILTER (WHERE NOT surplus) AS first_until, min(created_at) FILTER (WHERE surplus) AS again_from, "
			"    bool_and(status = 'active' AND checked_in_at IS NULL AND NOT EXISTS (SELECT FROM ticketing.checkins c WHERE c.ticket_id = t.id AND c.moved)) FILTER (WHERE surplus) AS unused, "
			"    bool_and(EXISTS (SELECT FROM public.ticket_types y, o WHERE y.id = t.ticket_type_id AND y.price_cents * o.paid_for = o.subtotal_cents)) AS price_fits, "
			"    bool_and(coalesce(abs(t.purchase_amount_cents * (SELECT paid_for FROM o) - (SELECT total_cents FROM o)) <= (SELECT paid_for FROM o), false)) AS amounts_fit FROM t) "
			"SELECT f.ids, o.event_id, coalesce(o.stripe_payment_intent_id, o.stripe_checkout_session_id), CASE "
			"  WHEN f.ids IS NULL THEN 'its surplus tickets are of another event' "
			"  WHEN o.status <> 'paid' THEN 'the order is ' || o.status "
			"  WHEN o.ours AND (f.known <> o.paid_for OR f.known_surplus) THEN 'some of its own tickets are missing' "
			"  WHEN NOT o.ours AND f.tiers > 1 THEN 'its tickets are of several tiers' "
			"  WHEN NOT o.ours AND NOT f.price_fits AND NOT f.amounts_fit THEN 'neither the price of the tier nor what the tickets cost confirms how many were paid for' "
			"  WHEN f.users > 1 OR f.user_id <> o.user_id THEN 'some belong to somebody else than the buyer' "
			"  WHEN NOT o.ours AND f.again_from <= f.first_until THEN 'it cannot be told which were issued first' "
			"  WHEN NOT f.unused THEN 'some of the surplus were scanned, refunded or suspended' END "
			"FROM o, f",
			UUIDOID);
KEPT_PLAN(used_meanwhile,
		  "SELECT FROM public.tickets t WHERE t.id = ANY ($1) AND (t.checked_in_at IS NOT NULL OR EXISTS (SELECT FROM ticketing.checkins c WHERE c.ticket_id = t.id AND c.moved))",
		  UUIDARRAYOID);
KEPT_PLAN(tickets_left,
		  "SELECT count(k.ticket_id), count(t.id), EXISTS (SELECT FROM ticketing.refunds r WHERE r.order_id = $1) "
		  "FROM ticketing.order_tickets k LEFT JOIN public.tickets t ON t.id = k.ticket_id WHERE k.order_id = $1",
		  UUIDOID);
KEPT_PLAN(is_ours, "SELECT FROM ticketing.orders WHERE order_id = $1", UUIDOID);
KEPT_PLAN(forget_places, "DELETE FROM ticketing.order_tickets WHERE order_id = $1 RETURNING ticket_id", UUIDOID);
KEPT_PLAN(event_of_entity,
		  "SELECT ($1::jsonb ->> 'event_id')::integer", TEXTOID);
KEPT_PLAN(rebuild, "SELECT ticketing.rebuild_stock($1)", INT4OID);
/* As sync_quantity_sold has it; a row that somebody else has locked is left to that. */
KEPT_PLAN(roll_up_tier,
		  "UPDATE public.ticket_types t SET quantity_sold = a.sold FROM "
		  "  (SELECT id, event_id FROM public.ticket_types WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED) l "
		  "CROSS JOIN LATERAL (SELECT count(*)::integer AS sold FROM public.tickets k WHERE k.event_id = l.event_id AND k.ticket_type_id = l.id AND k.status IN ('active', 'scanned')) a "
		  "WHERE t.id = l.id AND t.quantity_sold IS DISTINCT FROM a.sold",
		  UUIDOID);
KEPT_PLAN(deficit_of_tier,
		  "SELECT deficit, capacity FROM ticketing.stock_pools WHERE ticket_type_id = $1", UUIDOID);
KEPT_PLAN(deficit_of_event,
		  "SELECT deficit, capacity FROM ticketing.stock_pools WHERE event_id = $1 AND ticket_type_id IS NULL", INT4OID);

/* Says that a fault was repaired, and how. */
static void
repaired(Finding *finding, const char *how)
{
	finding->repaired = true;
	finding->repair = how;
}

/* Says why a fault was not. */
static void
left(Finding *finding, const char *why)
{
	finding->repair = psprintf("Not repaired: %s. %s", why, reconcile_kind(finding->kind)->advice);
}

/* The uuid of a finding's entity. */
static pg_uuid_t
entity_uuid(const Finding *finding)
{
	const char *text = strchr(finding->entity, '/');
	pg_uuid_t	id;

	if (text == NULL || !uuid_from_text(text + 1, strlen(text + 1), &id))
		elog(ERROR, "%s is not known by a uuid", finding->entity);
	return id;
}

/* Ends the surplus tickets of an order that was issued twice, and gives their seats back. */
static void
end_surplus(Finding *finding, TimestampTz now)
{
	pg_uuid_t	order_id = entity_uuid(finding);
	Datum		value = UUIDPGetDatum(&order_id);
	Datum		ids;
	int32		event_id;
	char	   *payment;
	int			count;

	if (run_latest(&surplus_tickets, &value, NULL) == 0)
	{
		left(finding, "the order is gone");
		return;
	}
	if (!row_is_null(0, 4))
	{
		left(finding, row_text(0, 4));
		return;
	}
	ids = PointerGetDatum(DatumGetArrayTypePCopy(row_datum(0, 1)));
	event_id = DatumGetInt32(row_datum(0, 2));
	payment = row_text(0, 3);
	count = ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(ids)), ARR_DIMS(DatumGetArrayTypeP(ids)));
	lock_shape_shared(event_id);
	end_tickets(event_id, ids, "void", "voided", ACTOR, psprintf("issued twice for %s", payment), now);
	/* they are locked now */
	if (run_latest(&used_meanwhile, &ids, NULL) > 0)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), errmsg("a ticket was scanned meanwhile")));
	repaired(finding, psprintf(count == 1 ? "%d surplus ticket that was issued later and never scanned is void, and its seat is back."
							   : "%d surplus tickets that were issued later and never scanned are void, and their seats are back.", count));
}

/*
 * Issues the tickets of an order of ours anew, all of which somebody has
 * deleted: it is paid, nothing of it was given back, and its seats are there.
 */
static void
issue_again(Finding *finding, TimestampTz now)
{
	pg_uuid_t	order_id = entity_uuid(finding);
	Datum		value = UUIDPGetDatum(&order_id);
	LockedOrder order;
	Cart	   *cart;
	PoolMove   *moves;
	int			move_count;

	if (run_latest(&is_ours, &value, NULL) == 0)
	{
		left(finding, "the order is from before the engine and does not say of which tier its tickets were");
		return;
	}
	lock_order_to_pay(&order_id, &order);
	run_latest(&tickets_left, &value, NULL);
	if (order.state != ORDER_PAID || DatumGetBool(row_datum(0, 3)) || (order.dispute != NULL && strcmp(order.dispute, "won") != 0))
	{
		left(finding, "some of it was given back or is disputed");
		return;
	}
	if (DatumGetInt64(row_datum(0, 2)) > 0)
	{
		left(finding, "some of its tickets are there still, so the others may have been deleted on purpose");
		return;
	}
	cart = cart_of_order(&order);
	UnregisterSnapshot(cart_load_for_sale(cart));
	if (cart->canceled)
	{
		left(finding, "the event is canceled");
		return;
	}
	move_count = cart_moves(cart, &moves);
	stock_draw(cart->event_id, moves, move_count, now);
	moves_settled(moves, move_count);
	for (int i = 0; i < cart->item_count; i++)
		tally_tier(&cart->items[i].ticket_type_id, -cart->items[i].quantity);
	run_latest(&forget_places, &value, NULL);
	declare_lock(RANK_PUBLIC);
	issue_tickets(&order_id, now);
	order_log(&order_id, "issued_again", order_state_name(order.state), order_state_name(order.state), ACTOR, NULL, now);
	repaired(finding, psprintf(INT64_FORMAT " tickets were issued anew; the codes of those that were deleted open no door.", order.seats));
}

static void
show_again(Finding *finding, TimestampTz now)
{
	pg_uuid_t	order_id = entity_uuid(finding);

	show_order_again(&order_id, now);
	repaired(finding, "public.orders shows what the engine knows of the order again.");
}

static void
end_stuck(Finding *finding, TimestampTz now)
{
	pg_uuid_t	order_id = entity_uuid(finding);

	end_order_now(&order_id, now);
	repaired(finding, "What was due of the order has been done; neither a relay's claim nor sweep_stripe had come to it.");
}

static void
roll_up(Finding *finding, TimestampTz now)
{
	pg_uuid_t	tier_id = entity_uuid(finding);
	Datum		value = UUIDPGetDatum(&tier_id);

	declare_lock(RANK_PUBLIC);
	run_latest(&roll_up_tier, &value, NULL);
	repaired(finding, "The engine counts the tickets themselves: quantity_sold is written from its stock, and what others write there is replaced.");
}

/* The event that a finding's detail names. */
static int32
event_of(const Finding *finding)
{
	Datum		value = CStringGetTextDatum(finding->detail);

	run_latest(&event_of_entity, &value, NULL);
	return DatumGetInt32(row_datum(0, 1));
}

static void
rebuild_event(Finding *finding, TimestampTz now)
{
	Datum		value = Int32GetDatum(event_of(finding));

	run_latest(&rebuild, &value, NULL);
	repaired(finding, "The event's stock was derived afresh from its tickets and holds.");
}

/* A pool may be right by what was repaired before. */
static void
look_again(Finding *finding, TimestampTz now)
{
	bool		of_event = strncmp(finding->entity, "events/", strlen("events/")) == 0;
	pg_uuid_t	tier_id;
	Datum		value;

	if (of_event)
		value = Int32GetDatum(event_of(finding));
	else
	{
		tier_id = entity_uuid(finding);
		value = UUIDPGetDatum(&tier_id);
	}
	if (run_latest(of_event ? &deficit_of_event : &deficit_of_tier, &value, NULL) > 0 && DatumGetInt32(row_datum(0, 1)) > 0)
		left(finding, "all of its tickets may have been paid for");
	else
		repaired(finding, "Tickets that had been issued twice are void: there are no more than seats.");
}

/* The kinds, in the order of their repairs. */
const ReconcileKind reconcile_kinds[] = {
	{"tickets_issued_twice", end_surplus, "Find out which tickets the buyer uses, and end the others with void_ticket."},
	{"paid_without_tickets", issue_again, "If the event is to come, ask the buyer what was ordered (detail says how many tickets the figures stand for, and of which tier, where only one has that price) and issue it as free tickets, or give the payment back at Stripe."},
	{"stuck_pending", end_stuck, "See that a relay runs and that sweep_stripe is called."},
	{"order_status_drift", show_again, "Find out who writes into public.orders."},
	{"order_amount_drift", show_again, "Find out who writes into public.orders."},
	{"counter_drift", roll_up, "Call sync_quantity_sold."},
	{"stock_drift", rebuild_event, "Call rebuild_stock in a READ COMMITTED transaction."},
	{"oversold", look_again, "Raise the capacity, or agree with holders of surplus tickets and end these with void_ticket or refund_order. Nothing is sold until then."},
	{"ticket_without_order", NULL, "Look the payment up at Stripe: if it was paid the ticket is good and its order is missing; if not, end it with void_ticket."},
	{"refunded_with_tickets", NULL, "The money went back and the tickets still open the door: end them with void_ticket."},
	{"unpaid_with_tickets", NULL, "Look the payment up at Stripe: if it never succeeded, end the tickets with void_ticket."},
	{"amount_mismatch", NULL, "Compare what was paid at Stripe with what the tickets cost, and settle the difference with the buyer."},
	{"order_missing", NULL, "Somebody has deleted the order from public.orders; its payment and tickets stand. Restore the row from a backup, or resolve the finding if that was meant."},
	{"refund_stuck", NULL, "See that a relay runs, and look the refund up at Stripe."},
	{"host_drift", NULL, "The engine goes by its own host. If the event has really changed hands, change ticketing.event_settings.host_id; if not, write the host back into public.events."},
	{"payee_drift", NULL, "Money goes where the engine's own record says. If the account has really changed, change ticketing.payees.stripe_account_id; if not, write it back into public.organizer_accounts."},
};
const int	reconcile_kind_count = lengthof(reconcile_kinds);

const ReconcileKind *
reconcile_kind(const char *name)
{
	for (int i = 0; i < reconcile_kind_count; i++)
		if (strcmp(reconcile_kinds[i].name, name) == 0)
			return &reconcile_kinds[i];
	elog(ERROR, "no kind of finding is called \"%s\"", name);
}

/* For try_step_once. */
typedef struct RepairStep
{
	const ReconcileKind *kind;
	Finding    *finding;
	TimestampTz now;
} RepairStep;

static void
repair_one(void *argument)
{
	RepairStep *step = argument;

	step->kind->repair(step->finding, step->now);
}

/* Repairs what is safe, one fault after the other, and says what is not. */
void
repair_findings(Reconciliation *run)
{
	int			repairs = 0;

	for (int k = 0; k < reconcile_kind_count; k++)
		for (int i = 0; i < run->count; i++)
		{
			RepairStep	step = {&reconcile_kinds[k], &run->findings[i], run->now};
			char	   *failure;

			if (strcmp(step.finding->kind, step.kind->name) != 0)
				continue;
			step.finding->repair = step.kind->advice;
			if (step.kind->repair == NULL)
				continue;
			if (repairs >= run->max_findings)
			{
				step.finding->repair = "Not repaired yet: the next run goes on with it.";
				continue;
			}
			failure = try_step_once(repair_one, &step);
			if (failure != NULL)
			{
				step.finding->repaired = false;
				left(step.finding, failure);
			}
			repairs += step.finding->repaired;
		}
}
