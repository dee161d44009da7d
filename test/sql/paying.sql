-- create_payment_intent: seats, order and Stripe requests in one transaction; asked again, the same order.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7009);
CALL pg_temp.new_event(700901, 50);
CALL pg_temp.new_tier(700901, 1, 30, 1000);
CALL pg_temp.new_tier(700901, 2, 30, 0);

-- A host who cannot be paid sells nothing, and what was held for it is given back: no account, none yet at Stripe, charges off, no host.
CREATE TEMP TABLE before AS SELECT pg_temp.everything() AS everything;
SELECT pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7009', 700901, %L)$$, pg_temp.cart(700901, 2))) AS no_account;
SELECT b.everything = pg_temp.everything() AS nothing_written FROM before b;
INSERT INTO public.organizer_accounts (host_id) VALUES ('host@7009');
SELECT pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7009', 700901, %L)$$, pg_temp.cart(700901, 2))) AS not_at_stripe;
UPDATE public.organizer_accounts SET stripe_account_id = 'acct_7009', charges_enabled = false WHERE host_id = 'host@7009';
SELECT pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7009', 700901, %L)$$, pg_temp.cart(700901, 2))) AS charges_off;
UPDATE ticketing.payees SET charges_enabled = true WHERE host_id = 'host@7009';
INSERT INTO public.events (id) VALUES (700902);
CALL pg_temp.new_tier(700902, 1, 30, 1000);
SELECT pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7009', 700902, %L)$$, pg_temp.cart(700902, 2))) AS no_host;
SELECT sum(held) AS held FROM pg_temp.stock(700901);

-- The answer, and what is written: hold, order, projection.
SELECT ticketing.create_payment_intent('ann@7009', 700901, pg_temp.cart(700901, 2, 1), NULL, 2300 - 50, 'ann@example.com', '2025-04-30.basil') AS answer \gset
SELECT ticketing.create_payment_intent('ann@7009', 700901, pg_temp.cart(700901, 2, 1), expected_total_cents => 2250) AS second \gset
SELECT string_agg(k, ' ' ORDER BY k) AS keys FROM jsonb_object_keys(:'answer'::jsonb) k;
SELECT :'answer'::jsonb - ARRAY['order_id', 'reservation_id', 'stripe_request_id', 'queued', 'ready_in'] AS answer;
SELECT (:'answer'::jsonb ->> 'order_id')::uuid AS order_id, (:'answer'::jsonb ->> 'reservation_id')::uuid AS reservation_id, (:'answer'::jsonb ->> 'stripe_request_id')::uuid AS request_id \gset
SELECT right(ticket_type_id::text, 1) AS tier, quantity, status, expires_at, order_id = :'order_id' AS of_order FROM ticketing.ticket_holds WHERE reservation_id = :'reservation_id' ORDER BY 1;
SELECT state, rail, user_id, reservation_id = :'reservation_id' AS reservation, currency, total_cents, host_id, payee_account, email, payment_intent_id, created_at, expires_at, paid_at FROM ticketing.orders WHERE order_id = :'order_id';
SELECT user_id, type, status, currency, subtotal_cents, platform_fee_cents, total_cents, event_id, stripe_payment_intent_id, paid_at,
       (SELECT string_agg(t.type, ', ') FROM public.order_timeline t WHERE t.order_id = o.id) AS timeline FROM public.orders o WHERE id = :'order_id';
SELECT event, from_state, to_state, source, detail FROM ticketing.order_events WHERE order_id = :'order_id';
SELECT (SELECT count(*) FROM public.tickets WHERE event_id = 700901) AS tickets, s.* FROM pg_temp.stock(700901) s;

-- The outbox: customer, ephemeral key with the SDK's version, intent; each waits for the one before, and the answer names the last. Both orders wait for one customer.
SELECT r.kind, r.lane, r.method, r.path, r.params - 'metadata' AS params, coalesce(w.kind, 'nothing') AS waits_for, r.customer_of, r.api_version, r.order_id = :'order_id' AS of_first, r.id = :'request_id' AS answered, r.state, r.attempts, r.body
FROM ticketing.stripe_requests r LEFT JOIN ticketing.stripe_requests w ON w.id = r.waits_for WHERE r.event_id = 700901 AND r.kind LIKE 'create%' ORDER BY r.seq;
SELECT kind, params -> 'metadata' = jsonb_build_object('order_id', :'order_id', 'event_id', '700901') AS of_order, params -> 'metadata' = '{"user_id": "ann@7009"}' AS of_user
FROM ticketing.stripe_requests WHERE event_id = 700901 AND (order_id IS NULL OR order_id = :'order_id') ORDER BY seq;
SELECT count(DISTINCT idempotency_key) = count(*) AS a_key_each FROM ticketing.stripe_requests WHERE event_id = 700901;

-- Asked again with the reservation: the same order and request, nothing new; a request id gives the very answer.
CREATE TEMP TABLE again AS SELECT pg_temp.everything() AS everything;
SELECT ticketing.create_payment_intent('ann@7009', 700901, reservation_id => :'reservation_id') - ARRAY['queued', 'ready_in'] = :'answer'::jsonb - ARRAY['queued', 'ready_in'] AS same,
       ticketing.create_payment_intent('ann@7009', 700901, pg_temp.cart(700901, 2, 1), :'reservation_id', 2250) - ARRAY['queued', 'ready_in'] = :'answer'::jsonb - ARRAY['queued', 'ready_in'] AS with_items_and_total;
SELECT a.everything = pg_temp.everything() AS nothing_new FROM again a;
SELECT ticketing.create_payment_intent('ann@7009', 700901, reservation_id => :'reservation_id', request_id => 'p1') AS first \gset
SELECT ticketing.create_payment_intent('ann@7009', 700901, reservation_id => :'reservation_id', request_id => 'p1') = :'first' AS same,
       pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7009', 700901, reservation_id => %L, email => 'other@example.com', request_id => 'p1')$$, :'reservation_id')) AS other_arguments;
-- A stranger, another event, another price; and what stands behind an order is not released under it.
SELECT what, replace(pg_temp.refusal(call), :'reservation_id', 'RESERVATION') AS refused FROM (VALUES
  ('a stranger', format($$SELECT ticketing.create_payment_intent('bob@7009', 700901, reservation_id => %L)$$, :'reservation_id')),
  ('another event', format($$SELECT ticketing.create_payment_intent('ann@7009', 700902, reservation_id => %L)$$, :'reservation_id')),
  ('another price', format($$SELECT ticketing.create_payment_intent('ann@7009', 700901, reservation_id => %L, expected_total_cents => 2251)$$, :'reservation_id'))) AS c (what, call);
SELECT replace(replace(pg_temp.refusal(format($$SELECT ticketing.release_hold(%L, 'ann@7009')$$, :'reservation_id')), :'reservation_id', 'RESERVATION'), :'order_id', 'ORDER') AS released;
-- Past its end the seats stay the order's: the buyer may be paying this very moment.
CALL pg_temp.later('10 min');
SELECT ticketing.create_payment_intent('ann@7009', 700901, reservation_id => :'reservation_id') ->> 'order_id' = :'order_id' AS same_order;
SELECT ticketing.release_expired_holds() AS released, held, available FROM pg_temp.stock(700901) WHERE tier = 1;

-- A reservation of one's own: its seats, its price; refused are other items, other people's, other events', dead and released ones.
CALL pg_temp.new_event(700903);
CALL pg_temp.new_tier(700903, 1, 30, 1000);
CALL pg_temp.new_tier(700903, 2, 30, 500);
CREATE FUNCTION pg_temp.pay(user_id text, reservation uuid, items jsonb DEFAULT NULL, total integer DEFAULT NULL, event integer DEFAULT 700903) RETURNS text LANGUAGE sql AS $$
  SELECT replace(pg_temp.refusal(format('SELECT ticketing.create_payment_intent(%L, %s, %L, %L, %L)', user_id, event, items, reservation, total)), reservation::text, 'RESERVATION')
$$;
SELECT ticketing.hold_tickets('cid@7009', 700903, pg_temp.cart(700903, 1, 2)) ->> 'reservation_id' AS reservation_id \gset
SELECT pg_temp.pay('bob@7009', :'reservation_id') AS a_stranger, pg_temp.pay('cid@7009', :'reservation_id', event => 700901) AS another_event, pg_temp.pay('cid@7009', :'reservation_id', pg_temp.cart(700903, 1, 1)) AS fewer,
       pg_temp.pay('cid@7009', :'reservation_id', pg_temp.cart(700903, 1)) AS one_tier, pg_temp.pay('cid@7009', :'reservation_id', NULL, 2000) AS price;
SELECT state FROM ticketing.orders WHERE event_id = 700903;
SELECT pg_temp.pay('cid@7009', :'reservation_id', pg_temp.cart(700903, 0, 2) || pg_temp.cart(700903, 1), 2350) AS same_items_and_price;
SELECT held FROM pg_temp.stock(700903);
SELECT ticketing.hold_tickets('cid@7009', 700903, pg_temp.cart(700903, 1)) ->> 'reservation_id' AS reservation_id \gset
CALL pg_temp.later('10 min');
SELECT pg_temp.pay('cid@7009', :'reservation_id') AS dead;
SELECT ticketing.hold_tickets('cid@7009', 700903, pg_temp.cart(700903, 1)) ->> 'reservation_id' AS reservation_id \gset
SELECT ticketing.release_hold(:'reservation_id', 'cid@7009') -> 'released' AS released, pg_temp.pay('cid@7009', :'reservation_id') AS pay;
-- The price is that of the moment the order is made, and it is checked against what the buyer saw.
SELECT ticketing.hold_tickets('dan@7009', 700903, pg_temp.cart(700903, 1)) ->> 'reservation_id' AS reservation_id \gset
UPDATE public.ticket_types SET price_cents = 1200 WHERE id = pg_temp.tier(700903, 1);
SELECT pg_temp.pay('dan@7009', :'reservation_id', NULL, 1125) AS as_it_was, pg_temp.pay('dan@7009', :'reservation_id', NULL, 1330) AS as_it_is;

-- Nothing to pay, too many tickets, sold out, above the limit: refused, and nothing is left of it.
CALL pg_temp.new_event(700904, 3);
CALL pg_temp.new_tier(700904, 1, 2, 1000);
CALL pg_temp.new_tier(700904, 2, NULL, 0);
CALL pg_temp.new_tier(700904, 3, NULL, 1000, 1);
CALL pg_temp.new_event(700905);
CALL pg_temp.new_tier(700905, 1, NULL, 200);
CREATE TEMP TABLE before_refusals AS SELECT pg_temp.everything() AS everything;
SELECT what, pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('eve@7009', %s, %L)$$, event, pg_temp.cart(event, VARIADIC quantities))) FROM (VALUES
  ('nothing to pay', 700904, ARRAY[0,1]), ('tier sold out', 700904, '{3}'), ('event sold out', 700904, '{2,2}'), ('above the limit', 700904, '{0,0,2}'), ('too many tickets', 700905, '{10001}')) AS c (what, event, quantities);
SELECT b.everything = pg_temp.everything() AS nothing_written FROM before_refusals b;

-- A customer whom Stripe knows already is not made again, and nothing waits.
INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES ('fay@7009', 'cus_fay');
SELECT ticketing.create_payment_intent('fay@7009', 700905, pg_temp.cart(700905, 1), mobile_api_version => '2025-04-30.basil') ? 'order_id' AS fay;
SELECT r.kind, coalesce(w.kind, 'nothing') AS waits_for FROM ticketing.stripe_requests r LEFT JOIN ticketing.stripe_requests w ON w.id = r.waits_for WHERE r.user_id = 'fay@7009' AND r.kind LIKE 'create%' ORDER BY r.seq;

-- The buyer is told how long it will take: 20 calls a second, each of which holds its token for 1.1 s until it is known better.
SET dvnt_ticketing.stripe_endpoint_rate = 20;
DELETE FROM ticketing.stripe_requests WHERE event_id / 100 = 7009;
INSERT INTO public.stripe_customers (user_id, stripe_customer_id) SELECT 'q' || g || '@7009', 'cus_' || g FROM generate_series(1, 41) g;
SELECT count(*), a -> 'queued' AS queued, a -> 'ready_in' AS seconds
FROM (SELECT ticketing.create_payment_intent('q' || g || '@7009', 700905, pg_temp.cart(700905, 1)) AS a FROM generate_series(1, 41) g) q GROUP BY 2, 3 ORDER BY 3;

SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
