-- A million orders with their tickets, some of which are not as they should be. Variables: orders (half of them from before the engine, half its
-- own), events (a tier of 500 at 25.00 each, two of three orders are paid). Triggers and foreign keys rest while rows pour in.
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';
INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted)
SELECT 'host-' || g, 'acct_' || g, true, true, true FROM generate_series(0, 99) g;
INSERT INTO public.events (id, host_id, title) SELECT g, 'host-' || g % 100, 'event ' || g FROM generate_series(2, :events + 1) g;
SET session_replication_role = replica;
INSERT INTO public.ticket_types (id, event_id, name, price_cents, quantity_total, max_per_user)
SELECT bench.tier(g), g, 'tier ' || g, 2500, 2000, NULL FROM generate_series(2, :events + 1) g;

CREATE TEMP TABLE o AS
SELECT g AS n, ('10000000-0000-4000-8000-' || lpad(to_hex(g), 12, '0'))::uuid AS id, 2 + g % :events AS event, 'user-' || g % 300000 AS buyer, 2 + g % 3 AS quantity,
       g % 2 = 0 AS ours, g % 3 < 2 AS paid, 'pi_' || md5('payment' || g) AS payment, now() - interval '30 days' + g * interval '2 seconds' AS at
FROM generate_series(1, :orders) g;
ALTER TABLE o ADD subtotal integer, ADD fee integer;
UPDATE o SET subtotal = 2500 * quantity, fee = (2500 * quantity * 25 + 500) / 1000 + 100 * quantity;

INSERT INTO public.orders (id, user_id, type, status, subtotal_cents, platform_fee_cents, total_cents, stripe_payment_intent_id, event_id, created_at, updated_at, paid_at)
SELECT id, buyer, 'event_ticket', CASE WHEN paid THEN 'paid' ELSE 'payment_failed' END, subtotal, 2 * fee, subtotal + fee, payment, event, at, at, CASE WHEN paid THEN at END FROM o;
INSERT INTO ticketing.orders (order_id, event_id, user_id, reservation_id, rail, state, currency, subtotal_cents, buyer_fee_cents, organizer_fee_cents, total_cents, application_fee_cents,
  transfer_cents, host_id, payee_account, payment_intent_id, created_at, expires_at, paid_at, updated_at)
SELECT id, event, buyer, gen_random_uuid(), 'payment_intent', CASE WHEN paid THEN 'paid' ELSE 'expired' END, 'usd', subtotal, fee, fee, subtotal + fee, 2 * fee, subtotal - fee,
  'host-' || event % 100, 'acct_' || event % 100, payment, at, at + interval '10 minutes', CASE WHEN paid THEN at END, at FROM o WHERE ours;
INSERT INTO ticketing.order_payments (object_id, order_id, payment_intent_id, state, created_at, updated_at)
SELECT payment, id, payment, CASE WHEN paid THEN 'succeeded' ELSE 'canceled' END, at, at FROM o WHERE ours;
INSERT INTO ticketing.order_items (order_id, item, ticket_type_id, quantity, price_cents, buyer_fee_cents, organizer_fee_cents)
SELECT id, 1, bench.tier(event), quantity, 2500, array_fill(fee / quantity, ARRAY[quantity]), array_fill(fee / quantity, ARRAY[quantity]) FROM o WHERE ours;
INSERT INTO ticketing.order_events (order_id, at, event, to_state, source) SELECT id, at, 'made', CASE WHEN paid THEN 'paid' ELSE 'expired' END, 'bench' FROM o WHERE ours;

CREATE TEMP TABLE k AS
SELECT ('20000000-0000-4000-8000-' || lpad(to_hex(o.n * 8 + g), 12, '0'))::uuid AS id, o.id AS order_id, o.n, o.event, o.buyer, o.quantity, o.ours, o.payment, o.at, o.subtotal, o.fee, g AS ordinal FROM o CROSS JOIN LATERAL generate_series(1, o.quantity) g
WHERE paid AND NOT (n % 100000 = 50001 AND NOT ours);
-- Secondary indexes are made afterwards, which is faster.
CREATE TEMP TABLE later AS
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index WHERE indrelid = 'public.tickets'::regclass AND NOT indisprimary AND NOT indisunique;
SELECT 'DROP INDEX ' || name FROM later
\gexec
INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, status, qr_token, stripe_payment_intent_id, purchase_amount_cents, created_at)
SELECT id, event, bench.tier(event), buyer, CASE WHEN n % 5 = 0 THEN 'scanned' ELSE 'active' END, 'token-' || id, payment, (subtotal + fee) / quantity, at FROM k ORDER BY n, ordinal;
-- The faults: payments without tickets (above), issued twice, without an order.
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token, stripe_payment_intent_id, purchase_amount_cents, created_at)
SELECT event, bench.tier(event), buyer, 'again-' || id, payment, (subtotal + fee) / quantity, at + interval '4 seconds' FROM k WHERE n % 100000 IN (50003, 50005);
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token, stripe_payment_intent_id, purchase_amount_cents)
SELECT 2 + g, bench.tier(2 + g), 'user', 'orphan-' || g, 'pi_orphan_' || g, 2500 FROM generate_series(1, 7) g;
SELECT definition FROM later
\gexec
INSERT INTO ticketing.order_tickets (ticket_id, order_id, item, ordinal)
SELECT id, order_id, 1, ordinal FROM k WHERE ours;
UPDATE public.orders SET status = 'paid' WHERE id IN (SELECT id FROM o WHERE ours AND NOT paid AND n % 100000 = 2);
SET session_replication_role = origin;
VACUUM (FREEZE, ANALYZE) public.tickets, public.orders, public.ticket_types, public.events, ticketing.orders, ticketing.order_items, ticketing.order_tickets;
SELECT format('SELECT count(ticketing.rebuild_stock(e)) FROM generate_series(%s, %s) e', first, least(first + 499, :events + 1))
FROM generate_series(2, :events + 1, 500) first
\gexec
VACUUM (FREEZE, ANALYZE);
