-- check_invariants: silent while all is well, and not when something was tampered with behind the engine's back.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7014);
DELETE FROM ticketing.installation;
SELECT ticketing.relay_start('acct_platform', false, '') -> 'armed' AS armed;
CALL pg_temp.new_payee();
CALL pg_temp.new_event(701401, 20);
CALL pg_temp.new_tier(701401, 1, 10, 1000);
CALL pg_temp.new_tier(701401, 2, 10, 0);
CALL pg_temp.new_tier(701401, 3, NULL, 0);
-- Something of every kind: a hold, free tickets, an order that waits and one that is paid, both over two tiers.
SELECT pg_temp.hold('ann@7014', 701401, 1, 1) AS held;
SELECT ticketing.claim_free_tickets('bob@7014', 701401, pg_temp.cart(701401, 0, 2)) ->> 'state' AS claimed;
INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES ('cid@7014', 'cus_cid'), ('dan@7014', 'cus_dan');
SELECT ticketing.create_payment_intent('cid@7014', 701401, pg_temp.cart(701401, 1, 1)) ? 'order_id' AS waits;
SELECT ticketing.create_payment_intent('dan@7014', 701401, pg_temp.cart(701401, 2, 1)) ? 'order_id' AS pays;
SELECT pg_temp.lease() AS leased, pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7014", "status": "succeeded", "amount_received": 2250, "currency": "usd", "livemode": false, "transfer_data": {"destination": "acct_7014"}}') AS completed;
SELECT user_id, state FROM ticketing.orders WHERE event_id = 701401 ORDER BY 1;
SELECT * FROM ticketing.check_invariants();

-- Plants a fault with every trigger silent, says what is found, and takes it back.
CREATE FUNCTION pg_temp.find(statement text) RETURNS TABLE (check_name text, entity text, detail text) LANGUAGE plpgsql AS $$
DECLARE
  found text[];
BEGIN
  BEGIN
    PERFORM set_config('session_replication_role', 'replica', true);
    EXECUTE statement;
    PERFORM set_config('session_replication_role', 'origin', true);
    found := ARRAY(SELECT jsonb_build_array(c.check_name, split_part(c.entity, '/', 1), c.detail)::text FROM ticketing.check_invariants() c ORDER BY c.check_name COLLATE "C", c.detail COLLATE "C");
    RAISE SQLSTATE 'UNDO0';
  EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
    NULL;
  END;
  RETURN QUERY SELECT f ->> 0, f ->> 1, regexp_replace(regexp_replace(f ->> 2, '0*(\d+)-0000-4000-8000-0*(\d+)', '\1/\2'), '[0-9a-f]{8}-[0-9a-f-]{27}', 'UUID') FROM unnest(found) u, CAST(u AS jsonb) f;
END
$$;
SELECT what, f.* FROM (VALUES
  ('nothing', 'SELECT'),
  ('a shard with a seat more', 'UPDATE ticketing.stock_shards SET available = available + 1 WHERE shard = 0 AND pool_id = (SELECT pool_id FROM ticketing.stock_pools WHERE ticket_type_id = pg_temp.tier(701401, 1))'),
  ('a shard lost', 'DELETE FROM ticketing.stock_shards WHERE shard = 7 AND pool_id = (SELECT pool_id FROM ticketing.stock_pools WHERE ticket_type_id = pg_temp.tier(701401, 1))'),
  ('a hold deleted', $$DELETE FROM ticketing.ticket_holds WHERE user_id = 'ann@7014' AND ticket_type_id = pg_temp.tier(701401, 1)$$),
  ('a hold of an order deleted', $$DELETE FROM ticketing.ticket_holds WHERE user_id = 'cid@7014' AND ticket_type_id = pg_temp.tier(701401, 1)$$),
  ('a hold with more seats', $$UPDATE ticketing.ticket_holds SET quantity = 2 WHERE user_id = 'ann@7014' AND ticket_type_id = pg_temp.tier(701401, 1)$$),
  ('a hold of no tier', $$UPDATE ticketing.ticket_holds SET ticket_type_id = pg_temp.tier(701401, 9) WHERE user_id = 'ann@7014' AND ticket_type_id = pg_temp.tier(701401, 1)$$),
  ('a ticket made up', $$INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) VALUES (701401, pg_temp.tier(701401, 1), 'x@7014', repeat('0', 64))$$),
  ('a ticket of an unlimited tier', $$INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) VALUES (701401, pg_temp.tier(701401, 3), 'x@7014', repeat('0', 64))$$),
  ('an issued ticket deleted', $$DELETE FROM public.tickets WHERE id = (SELECT id FROM public.tickets WHERE user_id = 'dan@7014' AND ticket_type_id = pg_temp.tier(701401, 2))$$),
  ('an issued ticket void', $$UPDATE public.tickets SET status = 'void' WHERE user_id = 'dan@7014' AND ticket_type_id = pg_temp.tier(701401, 2)$$),
  ('a pool''s capacity edited', 'UPDATE ticketing.stock_pools SET capacity = 11 WHERE ticket_type_id = pg_temp.tier(701401, 1)'),
  ('a deficit made up', 'UPDATE ticketing.stock_pools SET deficit = 1 WHERE ticket_type_id = pg_temp.tier(701401, 1)'),
  ('a tier''s capacity edited', 'UPDATE public.ticket_types SET quantity_total = 11 WHERE id = pg_temp.tier(701401, 1)'),
  ('a tier made unlimited', 'UPDATE public.ticket_types SET quantity_total = NULL WHERE id = pg_temp.tier(701401, 1)'),
  ('an event''s capacity edited', 'UPDATE public.events SET max_attendees = 21 WHERE id = 701401'),
  ('an event made up', 'INSERT INTO public.events (id, max_attendees) VALUES (701409, 5)'),
  ('a pool deleted', 'DELETE FROM ticketing.stock_pools WHERE ticket_type_id = pg_temp.tier(701401, 1)'),
  ('a tier deleted', 'DELETE FROM public.ticket_types WHERE id = pg_temp.tier(701401, 2)'),
  ('an order''s state edited', $$UPDATE ticketing.orders SET state = 'paid' WHERE user_id = 'cid@7014'$$),
  ('a paid order''s state edited', $$UPDATE ticketing.orders SET state = 'awaiting_payment' WHERE user_id = 'dan@7014'$$),
  ('an order deleted', $$DELETE FROM ticketing.orders WHERE user_id = 'cid@7014'$$),
  ('the public order edited', $$UPDATE public.orders SET status = 'payment_failed' WHERE user_id IN ('cid@7014', 'dan@7014')$$),
  ('the public order deleted', $$DELETE FROM public.orders WHERE user_id = 'dan@7014'$$),
  ('the log cut', $$DELETE FROM ticketing.order_events WHERE event = 'succeeded' AND order_id = (SELECT order_id FROM ticketing.orders WHERE user_id = 'dan@7014')$$),
  ('a price edited', $$UPDATE ticketing.order_items SET price_cents = 1001 WHERE item = 1 AND order_id = (SELECT order_id FROM ticketing.orders WHERE user_id = 'dan@7014')$$),
  ('a fee''s share edited', $$UPDATE ticketing.order_items SET buyer_fee_cents = '{124,125}' WHERE item = 1 AND order_id = (SELECT order_id FROM ticketing.orders WHERE user_id = 'dan@7014')$$),
  ('a ticket not tied to its order', $$DELETE FROM ticketing.order_tickets WHERE item = 2 AND order_id = (SELECT order_id FROM ticketing.orders WHERE user_id = 'dan@7014')$$)) AS c (what, statement)
LEFT JOIN LATERAL pg_temp.find(statement) f ON true;
SELECT * FROM ticketing.check_invariants();

-- rebuild_stock derives the stock afresh from tickets and holds, whatever the cache says: lost shards, lost pools, wrong figures, sales it never saw.
SELECT md5(string_agg(s::text, ' ' ORDER BY s)) AS stock FROM pg_temp.stock(701401) s \gset before_
UPDATE ticketing.stock_shards SET available = available + 3 WHERE shard = 0 AND pool_id = (SELECT pool_id FROM ticketing.stock_pools WHERE ticket_type_id = pg_temp.tier(701401, 1));
UPDATE ticketing.stock_pools SET deficit = 5 WHERE ticket_type_id = pg_temp.tier(701401, 2);
SELECT count(*) > 0 AS wrong FROM ticketing.check_invariants();
SELECT ticketing.rebuild_stock(701401) AS pools;
SELECT * FROM ticketing.check_invariants();
SELECT md5(string_agg(s::text, ' ' ORDER BY s)) = :'before_stock' AS as_before FROM pg_temp.stock(701401) s;
WITH lost AS (DELETE FROM ticketing.stock_pools WHERE event_id = 701401 RETURNING pool_id) DELETE FROM ticketing.stock_shards USING lost WHERE stock_shards.pool_id = lost.pool_id;
-- Without its pools an event sells nothing: a limit that cannot be kept is no licence.
SELECT pg_temp.hold('eve@7014', 701401, 1) AS limited, pg_temp.hold('eve@7014', 701401, 0, 0, 1) AS event_limited;
SELECT ticketing.rebuild_stock(701401) AS pools;
SELECT * FROM ticketing.check_invariants();
SELECT md5(string_agg(s::text, ' ' ORDER BY s)) = :'before_stock' AS as_before FROM pg_temp.stock(701401) s;
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT 701401, pg_temp.tier(701401, 1), 'x@7014', repeat(to_hex(g), 64) FROM generate_series(1, 8) g;
COMMIT;
SELECT ticketing.rebuild_stock(701401) AS pools;
SELECT c.check_name, c.detail FROM ticketing.check_invariants() c;
SELECT tier, available, held, sold FROM pg_temp.stock(701401);
DELETE FROM ticketing.installation;
CALL pg_temp.clear_test();
