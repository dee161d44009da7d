/*
 * invariants.c
 *		What must hold at every instant, each as one query that returns the rows
 *		for which it does not.
 *
 * Reads the engine's tables and public's; writes nothing, takes no lock. One
 * snapshot serves all queries, so that work in progress is no false alarm.
 */
#include "postgres.h"

#include "funcapi.h"

#include "dvnt_ticketing.h"

#define CHECK(name, entity, detail, rest) \
	{.sql = "SELECT '" name "'::text, (" entity ")::text, (" detail ")::text " rest}

static KeptPlan checks[] = {
	/* seats: nothing is made up, nothing is lost */
	CHECK("stock_conserved", "'stock_pools/' || p.pool_id",
		  "format('capacity %s, available %s, deficit %s, held %s, sold %s', p.capacity, s.available, p.deficit, h.held, t.sold)",
		  "FROM ticketing.stock_pools p "
		  "CROSS JOIN LATERAL (SELECT coalesce(sum(available), 0) AS available FROM ticketing.stock_shards k WHERE k.pool_id = p.pool_id) s "
		  "CROSS JOIN LATERAL (SELECT coalesce(sum(quantity), 0) AS held FROM ticketing.ticket_holds k WHERE k.event_id = p.event_id AND k.status = 'active' AND (p.ticket_type_id IS NULL OR k.ticket_type_id = p.ticket_type_id)) h "
		  "CROSS JOIN LATERAL (SELECT count(*) AS sold FROM public.tickets k WHERE k.event_id = p.event_id AND k.status IN ('active', 'scanned') AND (p.ticket_type_id IS NULL OR k.ticket_type_id = p.ticket_type_id)) t "
		  "WHERE p.capacity <> s.available - p.deficit + h.held + t.sold ORDER BY p.pool_id"),
	CHECK("oversold", "CASE WHEN p.ticket_type_id IS NULL THEN 'events/' || p.event_id ELSE 'ticket_types/' || p.ticket_type_id END",
		  "format('%s of %s sold', p.capacity + p.deficit, p.capacity)",
		  "FROM ticketing.stock_pools p WHERE p.deficit > 0 ORDER BY p.event_id, p.pool_id"),
	CHECK("stock_complete", "'stock_pools/' || p.pool_id", "format('%s shards of %s', count(s.shard), p.shards)",
		  "FROM ticketing.stock_pools p LEFT JOIN ticketing.stock_shards s USING (pool_id) GROUP BY p.pool_id HAVING count(s.shard) <> p.shards"),
	CHECK("stock_owned", "'stock_shards/' || s.pool_id", "'no such pool'",
		  "FROM ticketing.stock_shards s WHERE NOT EXISTS (SELECT FROM ticketing.stock_pools p WHERE p.pool_id = s.pool_id) GROUP BY s.pool_id"),
	CHECK("tier_capacity", "'ticket_types/' || t.id", "format('quantity_total %s, pool %s', t.quantity_total, p.capacity)",
		  "FROM public.ticket_types t LEFT JOIN ticketing.stock_pools p ON p.event_id = t.event_id AND p.ticket_type_id = t.id "
		  "WHERE ticketing.capacity_of(t.quantity_total) IS DISTINCT FROM p.capacity"),
	CHECK("event_capacity", "'events/' || e.id", "format('max_attendees %s, pool %s', e.max_attendees, p.capacity)",
		  "FROM public.events e LEFT JOIN ticketing.stock_pools p ON p.event_id = e.id AND p.ticket_type_id IS NULL "
		  "WHERE ticketing.capacity_of(e.max_attendees) IS DISTINCT FROM p.capacity"),
	CHECK("pool_owned", "'stock_pools/' || p.pool_id", "format('event %s, ticket type %s', p.event_id, p.ticket_type_id)",
		  "FROM ticketing.stock_pools p WHERE CASE WHEN p.ticket_type_id IS NULL THEN NOT EXISTS (SELECT FROM public.events e WHERE e.id = p.event_id) "
		  "ELSE NOT EXISTS (SELECT FROM public.ticket_types t WHERE t.id = p.ticket_type_id AND t.event_id = p.event_id) END"),
	/* holds */
	CHECK("hold_owned", "'ticket_holds/' || h.id", "format('event %s, ticket type %s', h.event_id, h.ticket_type_id)",
		  "FROM ticketing.ticket_holds h WHERE h.status = 'active' AND NOT EXISTS (SELECT FROM public.ticket_types t WHERE t.id = h.ticket_type_id AND t.event_id = h.event_id)"),
	CHECK("hold_of_order", "'ticket_holds/' || h.id", "format('status %s, order %s in state %s', h.status, h.order_id, coalesce(o.state, 'none'))",
		  "FROM ticketing.ticket_holds h LEFT JOIN ticketing.orders o ON o.order_id = h.order_id WHERE h.order_id IS NOT NULL "
		  "AND CASE h.status WHEN 'active' THEN h.expires_at > ticketing.clock() AND (o.state IS NULL OR o.state NOT IN ('created', 'awaiting_payment', 'processing', 'expiring', 'canceling', 'review')) "
		  "WHEN 'converted' THEN o.state IS NULL OR o.state IN ('created', 'awaiting_payment', 'processing', 'expiring', 'canceling', 'expired', 'canceled', 'review') ELSE false END"),
	/* orders */
	CHECK("order_has_its_seats", "'orders/' || o.order_id", "format('state %s, %s ordered, %s held', o.state, i.ordered, h.held)",
		  "FROM ticketing.orders o CROSS JOIN LATERAL (SELECT coalesce(sum(quantity), 0) AS ordered FROM ticketing.order_items k WHERE k.order_id = o.order_id) i "
		  "CROSS JOIN LATERAL (SELECT coalesce(sum(quantity), 0) AS held FROM ticketing.ticket_holds k WHERE k.reservation_id = o.reservation_id AND k.order_id = o.order_id AND k.status = 'active') h "
		  "WHERE o.rail <> 'free' AND o.state IN ('awaiting_payment', 'processing', 'expiring', 'canceling', 'review') AND coalesce(o.due_at, 'infinity') > ticketing.clock() AND i.ordered <> h.held"),
	CHECK("paid_has_tickets", "'orders/' || o.order_id", "format('%s ordered, %s issued', i.ordered, t.issued)",
		  "FROM ticketing.orders o CROSS JOIN LATERAL (SELECT coalesce(sum(quantity), 0) AS ordered FROM ticketing.order_items k WHERE k.order_id = o.order_id) i "
		  "CROSS JOIN LATERAL (SELECT count(*) AS issued FROM ticketing.order_tickets k JOIN public.tickets p ON p.id = k.ticket_id WHERE k.order_id = o.order_id) t "
		  "WHERE i.ordered = 0 OR CASE WHEN o.state IN ('paid', 'partially_refunded') THEN t.issued <> i.ordered WHEN o.state IN ('refunding', 'refunded', 'refund_failed') THEN t.issued NOT IN (0, i.ordered) ELSE t.issued <> 0 END"),
	CHECK("payment_of_order", "'order_payments/' || p.object_id", "format('%s, but the order is %s', p.state, coalesce(o.state, 'none'))",
		  "FROM ticketing.order_payments p LEFT JOIN ticketing.orders o ON o.order_id = p.order_id WHERE o.order_id IS NULL "
		  "OR (p.state = 'succeeded' AND o.state IN ('created', 'awaiting_payment', 'processing', 'expiring', 'canceling', 'late_paid')) "
		  "OR (p.state = 'succeeded' AND o.payment_intent_id IS DISTINCT FROM p.payment_intent_id AND o.state <> 'review' AND NOT EXISTS (SELECT FROM ticketing.refunds r WHERE r.payment_intent_id = p.payment_intent_id))"),
	CHECK("paid_by_payment", "'orders/' || o.order_id", "format('state %s, paid by %s', o.state, coalesce(o.payment_intent_id, 'nothing'))",
		  "FROM ticketing.orders o WHERE o.rail <> 'free' AND o.state IN ('paid', 'partially_refunded', 'refunding', 'refunded', 'refund_failed', 'review') "
		  "AND NOT EXISTS (SELECT FROM ticketing.order_payments p WHERE p.order_id = o.order_id AND p.payment_intent_id = o.payment_intent_id AND p.state = 'succeeded')"),
	CHECK("order_projected", "'orders/' || o.order_id", "format('state %s, public status %s', o.state, coalesce(p.status, 'none'))",
		  "FROM ticketing.orders o LEFT JOIN public.orders p ON p.id = o.order_id WHERE p.id IS NULL OR "
		  "(o.dispute = 'open' AND p.status <> 'disputed') OR (o.dispute = 'lost' AND p.status <> 'refunded') OR "
		  "(o.state = 'paid' AND coalesce(o.dispute, 'won') = 'won' AND p.status <> 'paid') OR "
		  "(o.state IN ('awaiting_payment', 'processing', 'expiring', 'canceling', 'review') AND p.status <> 'payment_pending') OR "
		  "(o.state IN ('expired', 'canceled') AND p.status <> 'payment_failed') OR (o.state = 'refunded' AND coalesce(o.dispute, 'won') = 'won' AND p.status <> 'refunded')"),
	CHECK("order_explained", "'orders/' || o.order_id", "format('state %s, log says %s', o.state, coalesce(l.to_state, 'nothing'))",
		  "FROM ticketing.orders o LEFT JOIN LATERAL (SELECT to_state FROM ticketing.order_events e WHERE e.order_id = o.order_id ORDER BY id DESC LIMIT 1) l ON true "
		  "WHERE l.to_state IS DISTINCT FROM o.state"),
	CHECK("order_adds_up", "'orders/' || o.order_id", "format('subtotal %s, items %s; buyer fee %s, shares %s; organizer fee %s, shares %s', o.subtotal_cents, i.subtotal, o.buyer_fee_cents, i.buyer, o.organizer_fee_cents, i.organizer)",
		  "FROM ticketing.orders o CROSS JOIN LATERAL (SELECT coalesce(sum(k.quantity * k.price_cents::bigint), 0) AS subtotal, "
		  "  coalesce(sum((SELECT sum(f) FROM unnest(k.buyer_fee_cents) f)), 0) AS buyer, coalesce(sum((SELECT sum(f) FROM unnest(k.organizer_fee_cents) f)), 0) AS organizer "
		  "  FROM ticketing.order_items k WHERE k.order_id = o.order_id) i "
		  "WHERE (o.subtotal_cents, o.buyer_fee_cents, o.organizer_fee_cents) IS DISTINCT FROM (i.subtotal::integer, i.buyer::integer, i.organizer::integer)"),
	/* doors */
	CHECK("suspended_seat", "'suspended_tickets/' || s.ticket_id", "format('ticket %s, hold %s', coalesce(t.status, 'gone'), coalesce(h.status, 'gone'))",
		  "FROM ticketing.suspended_tickets s LEFT JOIN public.tickets t ON t.id = s.ticket_id LEFT JOIN ticketing.ticket_holds h ON h.id = s.hold_id "
		  "WHERE t.status IS DISTINCT FROM 'void' OR h.status IS DISTINCT FROM 'active'"),
	CHECK("admission_counts", "'tickets/' || t.id", "format('%s, but admitted by scan %s', t.status, c.id)",
		  "FROM ticketing.checkins c JOIN public.tickets t ON t.id = c.ticket_id WHERE c.moved AND c.undone_at IS NULL AND c.result = 'admitted' AND t.status = 'active'"),
	CHECK("admitted_once", "'tickets/' || c.ticket_id", "format('admitted %s times, went out %s times', count(*) FILTER (WHERE c.result = 'admitted'), count(*) FILTER (WHERE c.result = 'exited'))",
		  "FROM ticketing.checkins c WHERE c.moved AND c.undone_at IS NULL GROUP BY c.ticket_id "
		  "HAVING count(*) FILTER (WHERE c.result = 'admitted') - count(*) FILTER (WHERE c.result = 'exited') NOT IN (0, 1)"),
	/* trusted copies */
	CHECK("event_recorded", "'events/' || e.id", "'no event_settings'",
		  "FROM public.events e WHERE NOT EXISTS (SELECT FROM ticketing.event_settings s WHERE s.event_id = e.id)"),
};

PG_FUNCTION_INFO_V1(dvnt_check_invariants);

/* check_invariants() → check_name, entity, detail */
Datum
dvnt_check_invariants(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	begin_command();
	begin_reading();
	for (size_t i = 0; i < lengthof(checks); i++)
	{
		run_stable(&checks[i], NULL, NULL);
		rows_to_result(fcinfo);
	}
	end_reading();
	SPI_finish();
	return (Datum) 0;
}
