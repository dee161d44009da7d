/*
 * reconcile_checks.c
 *		The comparisons of reconcile_orders: orders, tickets, amounts, stock and
 *		what is shown of them to the application, ours and those of before us.
 *
 * Set-based: a statement compares the orders and tickets of some thousand
 * orders, and what looks odd is looked at once more with all that is known of
 * it. Each statement sees one snapshot. Reads public.events, ticket_types,
 * tickets, orders and organizer_accounts and the engine's tables; writes
 * nothing, takes no lock.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "reconcile.h"

/* An order and its tickets share the PaymentIntent, or the Checkout Session where there is none. */
#define PAYMENT(alias) "coalesce(" alias ".stripe_payment_intent_id, " alias ".stripe_checkout_session_id)"

/*
 * How many tickets a paid order is for, by its own figures: by the fee policy
 * the buyer's fee is 2.5 % and 100 cents a ticket. NULL where they do not fit.
 */
#define BUYER_FEE_PER_TICKET(alias) \
	"(" alias ".total_cents - " alias ".subtotal_cents - (" alias ".subtotal_cents::bigint * 25 + 500) / 1000)"
#define PAID_FOR(alias) \
	"CASE WHEN " BUYER_FEE_PER_TICKET(alias) " > 0 AND " BUYER_FEE_PER_TICKET(alias) " % 100 = 0 THEN " BUYER_FEE_PER_TICKET(alias) " / 100 END"

/* Events in ranges of so much of the tickets that a range's fit into memory: about sixteen megabytes. */
KEPT_SURVEY(ranges_of_events,
			"SELECT min(id), max(id) FROM ("
			"  SELECT id, ntile(greatest(1, least(512, pg_relation_size('public.tickets') / 16777216))::integer) OVER (ORDER BY id) AS part FROM public.events) e "
			"GROUP BY part ORDER BY 1");

/*
 * Orders whose tickets are not what their figures say, and payments of tickets
 * without an order, as far as a range of events can tell. What was refunded or
 * is void has been a ticket; what is void has no right to be one.
 */
KEPT_SURVEY(odd_payments,
			"WITH t AS (SELECT " PAYMENT("k") " AS payment, count(*) AS issued, count(*) FILTER (WHERE k.status <> 'void') AS standing, "
			"    count(*) FILTER (WHERE k.status IN ('active', 'scanned')) AS valid, sum(k.purchase_amount_cents) AS amount, count(k.purchase_amount_cents) AS amounts "
			"  FROM public.tickets k WHERE k.event_id BETWEEN $1 AND $2 AND " PAYMENT("k") " IS NOT NULL GROUP BY 1), "
			"o AS (SELECT p.id, p.status, p.subtotal_cents, p.total_cents, " PAYMENT("p") " AS payment, " PAID_FOR("p") " AS paid_for "
			"  FROM public.orders p WHERE p.event_id BETWEEN $1 AND $2 AND p.type = 'event_ticket' AND " PAYMENT("p") " IS NOT NULL) "
			"SELECT o.id, CASE WHEN o.id IS NULL THEN payment END FROM o FULL JOIN t USING (payment) "
			"WHERE CASE WHEN o.id IS NULL THEN t.valid > 0 "
			"  WHEN o.status IN ('paid', 'partially_refunded', 'disputed') THEN t.issued IS NULL OR t.issued < o.paid_for OR t.standing > o.paid_for "
			"    OR (t.amounts = t.issued AND abs(t.amount - o.total_cents) > t.issued AND abs(t.amount - o.subtotal_cents) > t.issued) "
			"  ELSE t.valid > 0 END",
			INT4OID, INT4OID);

/* Those of no event are few, and looked at each. */
KEPT_SURVEY(orders_without_event,
			"SELECT id, NULL::text FROM public.orders p WHERE p.event_id IS NULL AND p.type = 'event_ticket' AND p.status IN ('paid', 'partially_refunded', 'disputed') AND " PAYMENT("p") " IS NOT NULL");

/* What candidates share with their tickets, of whatever event those are. */
KEPT_PLAN(keys_of_orders,
		  "SELECT stripe_payment_intent_id FROM public.orders WHERE id = ANY ($1) AND stripe_payment_intent_id IS NOT NULL UNION "
		  "SELECT stripe_checkout_session_id FROM public.orders WHERE id = ANY ($1) AND stripe_checkout_session_id IS NOT NULL", UUIDARRAYOID);
/* Nobody has an index on them: all tickets are read, once. */
KEPT_SURVEY(tickets_of_keys,
			"SELECT array_agg(k.id) FROM public.tickets k WHERE k.stripe_payment_intent_id = ANY ($1) OR k.stripe_checkout_session_id = ANY ($1)", TEXTARRAYOID);

/*
 * The same orders with all their tickets, which are among those of $2. Of ours
 * the lines say how many there are; a payment that came too late never had any.
 */
KEPT_SURVEY(judge_orders,
			"WITH o AS MATERIALIZED ("
			"  SELECT p.id, p.user_id, p.event_id, coalesce(e.state, p.status) AS state, e.order_id IS NOT NULL AS ours, p.subtotal_cents, p.total_cents, p.stripe_payment_intent_id, p.stripe_checkout_session_id, "
			"    CASE WHEN e.order_id IS NULL THEN " PAID_FOR("p") " ELSE (SELECT sum(i.quantity) FROM ticketing.order_items i WHERE i.order_id = e.order_id) END AS paid_for, "
			"    CASE WHEN e.order_id IS NULL THEN p.status IN ('paid', 'partially_refunded', 'disputed') "
			"      ELSE e.state IN ('paid', 'partially_refunded') OR (e.state IN ('refunding', 'refunded', 'refund_failed') AND EXISTS (SELECT FROM ticketing.order_tickets k WHERE k.order_id = e.order_id)) END AS due, "
			"    coalesce(e.state, p.status) = 'refunded' AS refunded "
			"  FROM unnest($1) c (id) JOIN public.orders p ON p.id = c.id LEFT JOIN ticketing.orders e ON e.order_id = p.id), "
			"k AS MATERIALIZED (SELECT k.* FROM public.tickets k WHERE k.id = ANY ($2)), "
			"t AS MATERIALIZED ("
			"  SELECT o.id AS order_id, k.id, k.status, k.purchase_amount_cents FROM o JOIN k ON k.stripe_payment_intent_id = o.stripe_payment_intent_id "
			"  UNION "
			"  SELECT o.id, k.id, k.status, k.purchase_amount_cents FROM o JOIN k ON k.stripe_checkout_session_id = o.stripe_checkout_session_id), "
			"f AS (SELECT o.*, coalesce(n.issued, 0) AS issued, coalesce(n.standing, 0) AS standing, coalesce(n.valid, 0) AS valid, n.amount, n.amounts "
			"  FROM o LEFT JOIN (SELECT order_id, count(*) AS issued, count(*) FILTER (WHERE status <> 'void') AS standing, count(*) FILTER (WHERE status IN ('active', 'scanned')) AS valid, "
			"    sum(purchase_amount_cents) AS amount, count(purchase_amount_cents) AS amounts FROM t GROUP BY 1) n ON n.order_id = o.id) "
			"SELECT v.kind, 'orders/' || f.id, jsonb_strip_nulls(jsonb_build_object('payment', " PAYMENT("f") ", 'event_id', f.event_id, 'user_id', f.user_id, 'state', f.state, 'ours', f.ours, "
			"    'paid_for', f.paid_for, 'issued', f.issued, 'valid', f.valid, 'subtotal_cents', f.subtotal_cents, 'total_cents', f.total_cents, 'tickets_cents', f.amount, "
			"    'likely_ticket_type_id', CASE WHEN f.issued = 0 AND NOT f.ours THEN (SELECT min(y.id::text) FROM public.ticket_types y WHERE y.event_id = f.event_id AND y.price_cents * f.paid_for = f.subtotal_cents HAVING count(*) = 1) END))::text "
			"FROM f CROSS JOIN LATERAL (VALUES "
			"  ('paid_without_tickets', f.due AND NOT f.refunded AND (f.issued = 0 OR f.issued < f.paid_for)), "
			"  ('tickets_issued_twice', f.standing > f.paid_for AND (f.due OR f.valid > 0)), "
			"  ('refunded_with_tickets', f.refunded AND f.valid > 0), "
			"  ('unpaid_with_tickets', NOT f.due AND NOT f.refunded AND f.valid > 0 AND f.standing <= coalesce(f.paid_for, f.standing)), "
			"  ('amount_mismatch', f.due AND f.issued > 0 AND f.issued = coalesce(f.paid_for, f.issued) AND f.amounts = f.issued AND abs(f.amount - f.total_cents) > f.issued AND abs(f.amount - f.subtotal_cents) > f.issued)) v (kind, is_so) "
			"WHERE v.is_so ORDER BY 2, 1",
			UUIDARRAYOID, UUIDARRAYOID);

/* Tickets, among those of $2, of payments that no order has. */
KEPT_SURVEY(judge_payments,
			"WITH k AS MATERIALIZED (SELECT t.*, " PAYMENT("t") " AS payment FROM public.tickets t WHERE t.id = ANY ($2) AND " PAYMENT("t") " = ANY ($1) AND t.status IN ('active', 'scanned')), "
			"known AS MATERIALIZED ("
			"  SELECT p.stripe_payment_intent_id, p.stripe_checkout_session_id FROM k JOIN public.orders p USING (stripe_payment_intent_id) WHERE p.type = 'event_ticket' "
			"  UNION ALL SELECT p.stripe_payment_intent_id, p.stripe_checkout_session_id FROM k JOIN public.orders p USING (stripe_checkout_session_id) WHERE p.type = 'event_ticket') "
			"SELECT 'ticket_without_order', 'tickets/' || k.id, jsonb_build_object('payment', k.payment, 'event_id', k.event_id, 'ticket_type_id', k.ticket_type_id, 'user_id', k.user_id, "
			"  'status', k.status, 'amount_cents', k.purchase_amount_cents)::text "
			"FROM k WHERE (k.stripe_payment_intent_id IN (SELECT stripe_payment_intent_id FROM known WHERE stripe_payment_intent_id IS NOT NULL)) IS NOT TRUE "
			"AND (k.stripe_checkout_session_id IN (SELECT stripe_checkout_session_id FROM known WHERE stripe_checkout_session_id IS NOT NULL)) IS NOT TRUE "
			"AND NOT EXISTS (SELECT FROM ticketing.order_tickets n WHERE n.ticket_id = k.id) ORDER BY k.id",
			TEXTARRAYOID, UUIDARRAYOID);

/* Free tickets share no payment with their orders: of ours we know which they are, of others nobody does. */
KEPT_SURVEY(free_orders,
			"SELECT 'paid_without_tickets', 'orders/' || o.order_id, jsonb_build_object('event_id', o.event_id, 'user_id', o.user_id, 'state', o.state, 'ours', true, "
			"  'paid_for', (SELECT sum(i.quantity) FROM ticketing.order_items i WHERE i.order_id = o.order_id), 'issued', count(t.id))::text "
			"FROM ticketing.orders o LEFT JOIN ticketing.order_tickets k ON k.order_id = o.order_id LEFT JOIN public.tickets t ON t.id = k.ticket_id "
			"WHERE o.rail = 'free' AND o.state = 'paid' GROUP BY o.order_id HAVING count(t.id) < greatest(1, count(k.ticket_id)) ORDER BY 2");

/* Our orders in ranges of fifty thousand: the last id of each but the last. */
KEPT_SURVEY(ranges_of_orders,
			"SELECT order_id FROM (SELECT order_id, row_number() OVER (ORDER BY order_id) AS n FROM ticketing.orders) o WHERE n % 50000 = 0 ORDER BY order_id");

/* What the application is shown of our orders, a range of them. */
KEPT_SURVEY(shown_orders,
			"SELECT d.kind, 'orders/' || o.order_id, d.detail::text FROM ticketing.orders o JOIN unnest($1, $2) s (state, status) ON s.state = o.state "
			"LEFT JOIN public.orders p ON p.id = o.order_id AND p.id > $3 AND p.id <= $4 "
			"CROSS JOIN LATERAL (SELECT CASE o.dispute WHEN 'open' THEN 'disputed' WHEN 'lost' THEN 'refunded' ELSE s.status END AS status) w "
			"CROSS JOIN LATERAL (VALUES "
			"  ('order_missing', p.id IS NULL, jsonb_build_object('event_id', o.event_id, 'user_id', o.user_id, 'state', o.state, 'total_cents', o.total_cents)), "
			"  ('order_status_drift', p.status IS DISTINCT FROM w.status AND p.id IS NOT NULL, jsonb_build_object('state', o.state, 'shown', p.status, 'wanted', w.status)), "
			"  ('order_amount_drift', (p.subtotal_cents, p.total_cents, p.platform_fee_cents, p.currency) IS DISTINCT FROM (o.subtotal_cents, o.total_cents, o.application_fee_cents, o.currency) AND p.id IS NOT NULL, "
			"    jsonb_build_object('shown', jsonb_build_array(p.subtotal_cents, p.platform_fee_cents, p.total_cents, p.currency), 'ordered', jsonb_build_array(o.subtotal_cents, o.application_fee_cents, o.total_cents, o.currency)))) d (kind, is_so, detail) "
			"WHERE o.order_id > $3 AND o.order_id <= $4 AND (p.id IS NULL OR p.status IS DISTINCT FROM w.status "
			"  OR (p.subtotal_cents, p.total_cents, p.platform_fee_cents, p.currency) IS DISTINCT FROM (o.subtotal_cents, o.total_cents, o.application_fee_cents, o.currency)) AND d.is_so ORDER BY 2",
			TEXTARRAYOID, TEXTARRAYOID, UUIDOID, UUIDOID);

KEPT_PLAN(stuck_orders,
		  "SELECT 'stuck_pending', 'orders/' || order_id, jsonb_build_object('state', state, 'due_at', due_at, 'payment', coalesce(payment_intent_id, checkout_session_id))::text "
		  "FROM ticketing.orders WHERE state IN ('awaiting_payment', 'processing', 'expiring', 'canceling') AND due_at < $1 - interval '1 hour' ORDER BY due_at",
		  TIMESTAMPTZOID);
KEPT_SURVEY(stuck_refunds,
			"SELECT 'refund_stuck', 'refunds/' || refund_id, jsonb_build_object('order_id', order_id, 'state', state, 'amount_cents', amount_cents, 'refund', stripe_refund_id)::text "
			"FROM ticketing.refunds WHERE (state = 'requested' AND created_at < $1 - interval '1 day') OR (state = 'pending' AND created_at < $1 - interval '30 days') ORDER BY created_at",
			TIMESTAMPTZOID);

/* Pools with more sold and held than there are seats. */
KEPT_SURVEY(oversold_pools,
			"SELECT 'oversold', CASE WHEN ticket_type_id IS NULL THEN 'events/' || event_id ELSE 'ticket_types/' || ticket_type_id END, "
			"  jsonb_build_object('event_id', event_id, 'capacity', capacity, 'used', capacity + deficit)::text FROM ticketing.stock_pools WHERE deficit > 0 ORDER BY event_id, ticket_type_id");

/* The stock of a range of events against their tickets and holds. */
KEPT_SURVEY(drifted_stock,
			"WITH t AS (SELECT k.event_id, k.ticket_type_id, count(*) AS sold FROM public.tickets k WHERE k.event_id BETWEEN $1 AND $2 AND k.status IN ('active', 'scanned') GROUP BY 1, 2), "
			"h AS (SELECT k.event_id, k.ticket_type_id, sum(k.quantity) AS held FROM ticketing.ticket_holds k WHERE k.event_id BETWEEN $1 AND $2 AND k.status = 'active' GROUP BY 1, 2), "
			"u AS (SELECT event_id, ticket_type_id, coalesce(t.sold, 0) AS sold, coalesce(h.held, 0) AS held FROM t FULL JOIN h USING (event_id, ticket_type_id)), "
			"n AS (SELECT event_id, ticket_type_id, sold, held FROM u UNION ALL SELECT event_id, NULL, sum(sold), sum(held) FROM u GROUP BY 1), "
			"s AS (SELECT p.pool_id, p.event_id, p.ticket_type_id, p.capacity, p.deficit, (SELECT sum(d.available) FROM ticketing.stock_shards d WHERE d.pool_id = p.pool_id) AS available "
			"  FROM ticketing.stock_pools p WHERE p.event_id BETWEEN $1 AND $2) "
			"SELECT 'stock_drift', CASE WHEN s.ticket_type_id IS NULL THEN 'events/' || s.event_id ELSE 'ticket_types/' || s.ticket_type_id END, "
			"  jsonb_build_object('event_id', s.event_id, 'capacity', s.capacity, 'available', s.available, 'deficit', s.deficit, 'held', coalesce(n.held, 0), 'sold', coalesce(n.sold, 0))::text "
			"FROM s LEFT JOIN n ON n.event_id = s.event_id AND coalesce(n.ticket_type_id, '00000000-0000-0000-0000-000000000000') = coalesce(s.ticket_type_id, '00000000-0000-0000-0000-000000000000') "
			"WHERE s.capacity <> s.available - s.deficit + coalesce(n.held, 0) + coalesce(n.sold, 0) ORDER BY 2",
			INT4OID, INT4OID);

/* Counters that were wrong when we came, each once. */
KEPT_SURVEY(adopted_drift,
			"SELECT 'counter_drift', 'ticket_types/' || a.ticket_type_id, jsonb_build_object('event_id', a.event_id, 'quantity_sold', a.quantity_sold, 'tickets', a.counted, 'at', 'adoption')::text "
			"FROM ticketing.adopted_counters a WHERE a.quantity_sold IS DISTINCT FROM a.counted "
			"AND NOT EXISTS (SELECT FROM ticketing.findings f WHERE f.kind = 'counter_drift' AND f.entity = 'ticket_types/' || a.ticket_type_id AND f.resolved_at IS NOT NULL) ORDER BY 2");

/* What clients can write and the engine does not believe. */
KEPT_SURVEY(drifted_hosts,
			"SELECT 'host_drift', 'events/' || e.id, jsonb_build_object('shown', e.host_id, 'host', s.host_id)::text "
			"FROM public.events e JOIN ticketing.event_settings s ON s.event_id = e.id WHERE e.host_id IS DISTINCT FROM s.host_id ORDER BY e.id");
KEPT_SURVEY(drifted_payees,
			"SELECT 'payee_drift', 'organizer_accounts/' || a.host_id, jsonb_build_object('shown', a.stripe_account_id, 'account', p.stripe_account_id)::text "
			"FROM public.organizer_accounts a JOIN ticketing.payees p ON p.host_id = a.host_id WHERE a.stripe_account_id IS DISTINCT FROM p.stripe_account_id ORDER BY a.host_id");

/* What is to be looked at once more. */
typedef struct Candidates
{
	Datum	   *orders;
	int			order_count;
	Datum	   *payments;
	int			payment_count;
	int			room;
} Candidates;

/* Keeps the candidates of the last statement: an order, or a payment without one. */
static void
keep_candidates(Reconciliation *run, Candidates *candidates, uint64 rows)
{
	MemoryContext before = MemoryContextSwitchTo(run->context);

	if (candidates->room < Max(candidates->order_count, candidates->payment_count) + rows)
	{
		candidates->room = Max(candidates->room * 2, Max(candidates->order_count, candidates->payment_count) + (int) rows);
		candidates->orders = repalloc(candidates->orders, sizeof(Datum) * candidates->room);
		candidates->payments = repalloc(candidates->payments, sizeof(Datum) * candidates->room);
	}
	for (uint64 row = 0; row < rows; row++)
	{
		if (row_is_null(row, 1))
			candidates->payments[candidates->payment_count++] = CStringGetTextDatum(row_text(row, 2));
		else
			candidates->orders[candidates->order_count++] = uuid_copy(row_datum(row, 1));
	}
	MemoryContextSwitchTo(before);
}

/* Runs a comparison whose rows are findings: kind, entity, detail. */
static void
compare(Reconciliation *run, KeptPlan *plan, const Datum *values)
{
	uint64		rows = run_latest(plan, values, NULL);

	for (uint64 row = 0; row < rows; row++)
		add_finding(run, row_text(row, 1), row_text(row, 2), row_text(row, 3));
	SPI_freetuptable(SPI_tuptable);
	rest(run);
}

/* Compares orders, tickets and stock, range by range. */
static void
compare_ranges(Reconciliation *run, Candidates *candidates)
{
	uint64		rows = run_latest(&ranges_of_events, NULL, NULL);
	Datum	  (*ranges)[2] = palloc(sizeof(Datum[2]) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		ranges[row][0] = row_datum(row, 1);
		ranges[row][1] = row_datum(row, 2);
	}
	for (uint64 row = 0; row < rows; row++)
	{
		keep_candidates(run, candidates, run_latest(&odd_payments, ranges[row], NULL));
		SPI_freetuptable(SPI_tuptable);
		rest(run);
		compare(run, &drifted_stock, ranges[row]);
	}
}

/* The ids of all tickets that candidates may have. */
static Datum
tickets_of_candidates(Reconciliation *run, const Candidates *candidates)
{
	Datum		value = uuid_array(candidates->orders, candidates->order_count);
	uint64		rows = run_latest(&keys_of_orders, &value, NULL);
	Datum	   *keys = palloc(sizeof(Datum) * (rows + candidates->payment_count + 1));

	for (uint64 row = 0; row < rows; row++)
		keys[row] = CStringGetTextDatum(row_text(row, 1));
	memcpy(keys + rows, candidates->payments, sizeof(Datum) * candidates->payment_count);
	value = text_array(keys, (int) rows + candidates->payment_count);
	run_latest(&tickets_of_keys, &value, NULL);
	return row_is_null(0, 1) ? uuid_array(NULL, 0) : PointerGetDatum(DatumGetArrayTypePCopy(row_datum(0, 1)));
}

/* Looks at the candidates with all that is known of them. */
static void
judge_candidates(Reconciliation *run, const Candidates *candidates)
{
	Datum		values[2];

	if (candidates->order_count + candidates->payment_count == 0)
		return;
	values[1] = tickets_of_candidates(run, candidates);
	rest(run);
	values[0] = uuid_array(candidates->orders, candidates->order_count);
	if (candidates->order_count > 0)
		compare(run, &judge_orders, values);
	values[0] = text_array(candidates->payments, candidates->payment_count);
	if (candidates->payment_count > 0)
		compare(run, &judge_payments, values);
}

/* Compares what is shown of our orders, range by range, with what each state is shown as. */
static void
compare_shown(Reconciliation *run)
{
	static const pg_uuid_t least = {{0}};
	pg_uuid_t	greatest;
	Datum		states[ORDER_STATE_COUNT];
	Datum		statuses[ORDER_STATE_COUNT];
	uint64		rows = run_latest(&ranges_of_orders, NULL, NULL);
	Datum	   *ends = palloc(sizeof(Datum) * (rows + 1));
	Datum		values[4];

	for (uint64 row = 0; row < rows; row++)
		ends[row] = uuid_copy(row_datum(row, 1));
	memset(greatest.data, 0xff, UUID_LEN);
	ends[rows] = UUIDPGetDatum(&greatest);
	for (int state = 0; state < ORDER_STATE_COUNT; state++)
	{
		states[state] = CStringGetTextDatum(order_state_name(state));
		statuses[state] = CStringGetTextDatum(order_state_public(state));
	}
	values[0] = text_array(states, ORDER_STATE_COUNT);
	values[1] = text_array(statuses, ORDER_STATE_COUNT);
	values[2] = UUIDPGetDatum(&least);
	for (uint64 range = 0; range <= rows; range++)
	{
		values[3] = ends[range];
		compare(run, &shown_orders, values);
		values[2] = values[3];
	}
}

/* Finds all that does not agree. */
void
compare_everything(Reconciliation *run)
{
	Candidates	candidates = {.orders = MemoryContextAlloc(run->context, 1), .payments = MemoryContextAlloc(run->context, 1)};
	Datum		value;

	compare_ranges(run, &candidates);
	keep_candidates(run, &candidates, run_latest(&orders_without_event, NULL, NULL));
	judge_candidates(run, &candidates);
	compare(run, &free_orders, NULL);
	compare_shown(run);
	value = TimestampTzGetDatum(run->now);
	compare(run, &stuck_orders, &value);
	compare(run, &stuck_refunds, &value);
	compare(run, &oversold_pools, NULL);
	compare(run, &adopted_drift, NULL);
	compare(run, &drifted_hosts, NULL);
	compare(run, &drifted_payees, NULL);
}
