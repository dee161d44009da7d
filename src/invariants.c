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
	/* a dispute lies over the state */
	CHECK("order_projected", "'orders/' || o.order_id", "format('state %s, dispute %s, public status %s', o.state, coalesce(o.dispute, 'none'), coalesce(p.status, 'none'))",
		  "FROM ticketing.orders o LEFT JOIN public.orders p ON p.id = o.order_id WHERE p.status IS DISTINCT FROM CASE WHEN o.dispute = 'open' THEN 'disputed' WHEN o.dispute = 'lost' THEN 'refunded' ELSE "
		  "  CASE o.state WHEN 'created' THEN 'created' WHEN 'paid' THEN 'paid' WHEN 'refunded' THEN 'refunded' WHEN 'expired' THEN 'payment_failed' WHEN 'canceled' THEN 'payment_failed' "
		  "  WHEN 'partially_refunded' THEN 'partially_refunded' WHEN 'refunding' THEN 'partially_refunded' WHEN 'refund_failed' THEN 'partially_refunded' ELSE 'payment_pending' END END"),
	CHECK("order_explained", "'orders/' || o.order_id", "format('state %s, log says %s', o.state, coalesce(l.to_state, 'nothing'))",
		  "FROM ticketing.orders o LEFT JOIN LATERAL (SELECT to_state FROM ticketing.order_events e WHERE e.order_id = o.order_id ORDER BY id DESC LIMIT 1) l ON true "
		  "WHERE l.to_state IS DISTINCT FROM o.state"),
	CHECK("order_adds_up", "'orders/' || o.order_id", "format('subtotal %s, items %s; buyer fee %s, shares %s; organizer fee %s, shares %s', o.subtotal_cents, i.subtotal, o.buyer_fee_cents, i.buyer, o.organizer_fee_cents, i.organizer)",
		  "FROM ticketing.orders o CROSS JOIN LATERAL (SELECT coalesce(sum(k.quantity * k.price_cents::bigint), 0) AS subtotal, "
		  "  coalesce(sum((SELECT sum(f) FROM unnest(k.buyer_fee_cents) f)), 0) AS buyer, coalesce(sum((SELECT sum(f) FROM unnest(k.organizer_fee_cents) f)), 0) AS organizer "
		  "  FROM ticketing.order_items k WHERE k.order_id = o.order_id) i "
		  "WHERE (o.subtotal_cents, o.buyer_fee_cents, o.organizer_fee_cents) IS DISTINCT FROM (i.subtotal::integer, i.buyer::integer, i.organizer::integer)"),
	/* money: the ledger says what the orders say, and nobody was given more than was taken */
	CHECK("ledger_charged", "'order_payments/' || coalesce(p.object_id, l.source)", "format('payment %s, ledger %s', coalesce(p.state, 'unknown'), coalesce(l.amount_cents::text, 'nothing'))",
		  "FROM (SELECT * FROM ticketing.order_payments WHERE payment_intent_id IS NOT NULL) p FULL JOIN (SELECT * FROM ticketing.ledger WHERE kind = 'charge') l ON l.source = p.payment_intent_id "
		  "WHERE CASE WHEN l.source IS NULL THEN p.state = 'succeeded' AND NOT EXISTS (SELECT FROM ticketing.findings f WHERE f.kind = 'payment_differs' AND f.entity = 'orders/' || p.order_id) "
		  "ELSE p.state IS DISTINCT FROM 'succeeded' END"),
	CHECK("ledger_amounts", "'orders/' || o.order_id", "format('payment %s of %s: transfer %s, buyer fee %s of %s, organizer fee %s of %s', c.source, c.amount_cents, l.transfer, l.buyer_fee, o.buyer_fee_cents, l.organizer_fee, o.organizer_fee_cents)",
		  "FROM ticketing.ledger c JOIN ticketing.orders o ON o.order_id = c.order_id CROSS JOIN LATERAL (SELECT coalesce(sum(amount_cents) FILTER (WHERE kind = 'transfer'), 0) AS transfer, "
		  "  coalesce(sum(amount_cents) FILTER (WHERE kind = 'buyer_fee'), 0) AS buyer_fee, coalesce(sum(amount_cents) FILTER (WHERE kind = 'organizer_fee'), 0) AS organizer_fee FROM ticketing.ledger k WHERE k.source = c.source) l "
		  "WHERE c.kind = 'charge' AND c.amount_cents = o.total_cents AND (l.transfer, l.buyer_fee, l.organizer_fee) IS DISTINCT FROM (c.amount_cents, o.buyer_fee_cents, o.organizer_fee_cents)"),
	CHECK("ledger_refunded", "'refunds/' || coalesce(r.refund_id::text, l.source)", "format('refund of %s %s, ledger %s back, %s reversed, fees %s and %s', r.amount_cents, coalesce(r.state, 'unknown'), coalesce(l.back, 0), coalesce(l.reversed, 0), coalesce(l.buyer_fee, 0), coalesce(l.organizer_fee, 0))",
		  "FROM (SELECT * FROM ticketing.refunds WHERE payment_intent_id IS NOT NULL) r FULL JOIN (SELECT source, sum(CASE kind WHEN 'refund' THEN amount_cents WHEN 'refund_failure' THEN -amount_cents END) AS back, "
		  "  sum(amount_cents) FILTER (WHERE kind = 'reversal') AS reversed, sum(amount_cents) FILTER (WHERE kind = 'buyer_fee_refund') AS buyer_fee, sum(amount_cents) FILTER (WHERE kind = 'organizer_fee_refund') AS organizer_fee, "
		  "  bool_or(kind IN ('refund', 'refund_failure')) AS refunds FROM ticketing.ledger WHERE kind IN ('refund', 'refund_failure', 'reversal', 'buyer_fee_refund', 'organizer_fee_refund') GROUP BY source) l ON l.source = r.refund_id::text "
		  "WHERE CASE WHEN r.refund_id IS NULL THEN l.refunds WHEN r.state <> 'succeeded' THEN coalesce(l.back, 0) <> 0 "
		  "ELSE coalesce(l.back, 0) <> r.amount_cents OR (r.reverses AND coalesce(l.reversed, 0) <> r.amount_cents) "
		  "  OR (r.reverses AND r.reason <> 'dashboard' AND (coalesce(l.buyer_fee, 0), coalesce(l.organizer_fee, 0)) <> (r.buyer_fee_cents, r.organizer_fee_cents)) END"),
	CHECK("refunded_within_payment", "'order_payments/' || r.payment_intent_id", "format('%s paid, %s given back', coalesce(c.amount_cents, 0), r.back)",
		  "FROM (SELECT r.payment_intent_id, sum(CASE l.kind WHEN 'refund' THEN l.amount_cents ELSE -l.amount_cents END) AS back FROM ticketing.refunds r JOIN ticketing.ledger l ON l.source = r.refund_id::text AND l.kind IN ('refund', 'refund_failure') GROUP BY 1) r "
		  "LEFT JOIN ticketing.ledger c ON c.source = r.payment_intent_id AND c.kind = 'charge' "
		  "WHERE r.back > coalesce(c.amount_cents, 0) AND NOT (c.source IS NULL AND EXISTS (SELECT FROM ticketing.order_payments p JOIN ticketing.findings f ON f.kind = 'payment_differs' AND f.entity = 'orders/' || p.order_id WHERE p.payment_intent_id = r.payment_intent_id))"),
	CHECK("ledger_balanced", "'orders/' || l.order_id", "format('buyer %s, organizer %s', l.buyer, l.transferred)",
		  "FROM (SELECT order_id, coalesce(sum(CASE WHEN from_account = 'buyer' THEN amount_cents WHEN to_account = 'buyer' THEN -amount_cents END), 0) AS buyer, "
		  "  coalesce(sum(CASE WHEN kind IN ('transfer', 'retransfer') THEN amount_cents WHEN kind = 'reversal' THEN -amount_cents END), 0) AS transferred FROM ticketing.ledger WHERE order_id IS NOT NULL GROUP BY 1) l "
		  "WHERE (l.buyer < 0 OR l.transferred < 0) AND EXISTS (SELECT FROM ticketing.ledger c WHERE c.order_id = l.order_id AND c.kind = 'charge')"),
	CHECK("ledger_disputed", "'orders/' || l.order_id", "format('%s taken back by banks, %s disputed', l.taken, d.disputed)",
		  "FROM (SELECT order_id, sum(CASE kind WHEN 'dispute' THEN amount_cents ELSE -amount_cents END) AS taken FROM ticketing.ledger WHERE kind IN ('dispute', 'dispute_reinstated') GROUP BY 1) l "
		  "CROSS JOIN LATERAL (SELECT coalesce(sum(k.amount_cents), 0) AS disputed FROM ticketing.disputes k WHERE k.order_id = l.order_id) d WHERE l.taken NOT BETWEEN 0 AND d.disputed"),
	CHECK("refund_within_tickets", "'refunds/' || r.refund_id", "format('%s, %s and %s; its tickets %s, %s and %s', r.amount_cents, r.buyer_fee_cents, r.organizer_fee_cents, t.amount, t.buyer_fee, t.organizer_fee)",
		  "FROM ticketing.refunds r JOIN (SELECT refund_id, sum(amount_cents) AS amount, sum(buyer_fee_cents) AS buyer_fee, sum(organizer_fee_cents) AS organizer_fee FROM ticketing.refund_tickets GROUP BY 1) t USING (refund_id) "
		  "WHERE r.amount_cents > t.amount OR r.buyer_fee_cents > t.buyer_fee OR r.organizer_fee_cents > t.organizer_fee"),
	CHECK("refunded_ticket_ended", "'tickets/' || t.id", "format('%s, but given back by refund %s', t.status, r.refund_id)",
		  "FROM ticketing.refunds r JOIN ticketing.refund_tickets k ON k.refund_id = r.refund_id AND NOT k.failed JOIN public.tickets t ON t.id = k.ticket_id WHERE r.state = 'succeeded' AND t.status IN ('active', 'scanned')"),
	/* one of a part that was lost leaves the tickets to a person: the order is disputed until he decides */
	CHECK("dispute_of_order", "'orders/' || o.order_id", "format('dispute %s, none is', o.dispute)",
		  "FROM ticketing.orders o WHERE o.dispute IS NOT NULL AND NOT EXISTS (SELECT FROM ticketing.disputes d WHERE d.order_id = o.order_id AND (d.phase = o.dispute OR (d.phase = 'lost' AND d.amount_cents < o.total_cents)))"),
	CHECK("disputed_ticket_suspended", "'tickets/' || t.id", "format('%s, but disputed by %s, which is %s', t.status, d.dispute_id, d.phase)",
		  "FROM ticketing.disputes d JOIN ticketing.dispute_tickets k USING (dispute_id) JOIN public.tickets t ON t.id = k.ticket_id JOIN ticketing.orders o ON o.order_id = d.order_id "
		  "WHERE (d.phase = 'open' OR (d.phase = 'lost' AND coalesce(o.dispute, 'lost') = 'lost')) AND t.status IN ('active', 'scanned')"),
	CHECK("payout_divided", "'payouts/' || e.payout_id", "format('%s of events, %s paid out', e.amount, coalesce(p.amount_cents::text, 'nothing'))",
		  "FROM (SELECT payout_id, sum(amount_cents) AS amount FROM ticketing.payout_events GROUP BY 1) e LEFT JOIN ticketing.payouts p USING (payout_id) WHERE e.amount > greatest(coalesce(p.amount_cents, 0), 0)"),
	/* the outbox */
	CHECK("request_can_run", "'stripe_requests/' || r.id", "format('%s waits for %s, which is %s', r.kind, r.waits_for, coalesce(w.state, 'gone'))",
		  "FROM ticketing.stripe_requests r LEFT JOIN ticketing.stripe_requests w ON w.id = r.waits_for "
		  "WHERE r.state = 'ready' AND r.waits_for IS NOT NULL AND r.run_at = 'infinity' AND (w.id IS NULL OR w.state IN ('done', 'failed'))"),
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
