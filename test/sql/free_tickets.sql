-- Free tickets: issued in one call, signed, once for each request.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7008);
CALL pg_temp.new_event(700801, 10);
CALL pg_temp.new_tier(700801, 1, 5, 0, 4);
CALL pg_temp.new_tier(700801, 2, NULL);
CALL pg_temp.new_tier(700801, 3, 5, 1000);

-- The answer: the order and its tickets, in tier order.
SELECT ticketing.claim_free_tickets('ann@7008', 700801, pg_temp.cart(700801, 2, 1), 'r1') AS answer \gset
SELECT string_agg(k, ' ' ORDER BY k) AS keys, :'answer'::jsonb ->> 'state' AS state FROM jsonb_object_keys(:'answer'::jsonb) k;
SELECT right(t ->> 'ticket_type_id', 1) AS tier, t ->> 'status' AS status, (SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(t) k) AS keys, length(t ->> 'qr_payload') AS payload
FROM jsonb_array_elements(:'answer'::jsonb -> 'tickets') t;
-- Each code is its own ticket's, of this event, suite 1.
SELECT count(*), count(DISTINCT t ->> 'qr_payload') AS codes, bool_and(v.valid) AS valid, bool_and(v.ticket_id::text = t ->> 'ticket_id') AS own, min(v.event_id) AS event, min(v.suite) AS suite
FROM jsonb_array_elements(:'answer'::jsonb -> 'tickets') t, ticketing.verify_ticket(t ->> 'qr_payload') v;
-- What is stored: tickets, order, its log, the application's projection; no hold, nothing for Stripe.
SELECT user_id, status, qr_token ~ '^[0-9a-f]{64}$' AS token, qr_payload IS NOT NULL AS payload, purchase_amount_cents, created_at, stripe_payment_intent_id, stripe_checkout_session_id, checked_in_at
FROM public.tickets WHERE event_id = 700801 ORDER BY ticket_type_id;
SELECT state, rail, currency, total_cents, application_fee_cents, host_id, created_at, paid_at, expires_at FROM ticketing.orders WHERE event_id = 700801;
SELECT event, from_state, to_state, source FROM ticketing.order_events JOIN ticketing.orders USING (order_id) WHERE event_id = 700801 ORDER BY id;
SELECT type, status, total_cents, paid_at, (SELECT string_agg(t.type || ': ' || t.label, ', ' ORDER BY t.type) FROM public.order_timeline t WHERE t.order_id = o.id) AS timeline FROM public.orders o WHERE event_id = 700801;
SELECT (SELECT count(*) FROM ticketing.ticket_holds WHERE event_id = 700801) AS holds, (SELECT count(*) FROM ticketing.stripe_requests WHERE event_id = 700801) AS stripe_requests;
SELECT tier, available, held, sold FROM pg_temp.stock(700801);

-- order_status says the same to its owner, and to nobody else that there is an order.
SELECT s ->> 'state' AS state, s ->> 'status' AS status, s -> 'event_id' AS event, s ->> 'currency' AS currency, s -> 'total_cents' AS total, s ->> 'paid_at' AS paid_at, s -> 'tickets' = :'answer'::jsonb -> 'tickets' AS same_tickets,
       (SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(s) k) AS keys
FROM ticketing.order_status((:'answer'::jsonb ->> 'order_id')::uuid, 'ann@7008') s;
SELECT left(pg_temp.refusal(format($$SELECT ticketing.order_status(%L, 'bob@7008')$$, :'answer'::jsonb ->> 'order_id')), 15) AS for_a_stranger;

-- The same request id: the same tickets, no more of them; other arguments are refused.
SELECT ticketing.claim_free_tickets('ann@7008', 700801, pg_temp.cart(700801, 2, 1), 'r1') = :'answer' AS same, (SELECT count(*) FROM public.tickets WHERE event_id = 700801) AS tickets;
SELECT pg_temp.refusal(format($$SELECT ticketing.claim_free_tickets('ann@7008', 700801, %L, 'r1')$$, pg_temp.cart(700801, 1))) AS other_items;

-- Refused, and nothing issued: a paid tier, alone or among free ones; more than the limit, than there are, than an order may have.
CREATE TEMP TABLE before AS SELECT pg_temp.everything() AS everything;
SELECT what, pg_temp.refusal(format($$SELECT ticketing.claim_free_tickets(%L, 700801, %L)$$, who, pg_temp.cart(700801, VARIADIC quantities))) FROM (VALUES
  ('paid', 'ann@7008', ARRAY[0,0,1]), ('free and paid', 'ann@7008', '{1,0,1}'), ('above the limit', 'ann@7008', '{3}'), ('sold out', 'bob@7008', '{4}'), ('event sold out', 'bob@7008', '{1,7}')) AS c (what, who, quantities);
SELECT b.everything = pg_temp.everything() AS nothing_written FROM before b;
CALL pg_temp.new_event(700802);
CALL pg_temp.new_tier(700802, 1);
SELECT pg_temp.refusal(format($$SELECT ticketing.claim_free_tickets('ann@7008', 700802, %L)$$, pg_temp.cart(700802, 10001))) AS ten_thousand_and_one;
SELECT jsonb_array_length(ticketing.claim_free_tickets('ann@7008', 700802, pg_temp.cart(700802, 10000)) -> 'tickets') AS ten_thousand;
SELECT count(*), count(DISTINCT qr_token) AS tokens, count(*) FILTER (WHERE ticketing.is_genuine_ticket(qr_payload)) AS genuine FROM public.tickets WHERE event_id = 700802;

-- An event whose devices verify offline gets codes of suite 2.
CALL pg_temp.new_event(700803);
CALL pg_temp.new_tier(700803, 1, 10);
UPDATE ticketing.event_settings SET suite = 2 WHERE event_id = 700803;
SELECT v.valid, v.suite, v.event_id, length(t ->> 'qr_payload') AS length
FROM jsonb_array_elements(ticketing.claim_free_tickets('ann@7008', 700803, pg_temp.cart(700803, 1)) -> 'tickets') t, ticketing.verify_ticket(t ->> 'qr_payload') v;

-- The last free seat goes to a claim although a dead hold has it, and not while the hold lives.
CALL pg_temp.new_event(700804, 1);
CALL pg_temp.new_tier(700804, 1, 1);
SELECT pg_temp.hold('ann@7008', 700804, 1);
SELECT pg_temp.refusal(format($$SELECT ticketing.claim_free_tickets('bob@7008', 700804, %L)$$, pg_temp.cart(700804, 1))) AS held;
CALL pg_temp.later('10 min');
SELECT ticketing.claim_free_tickets('bob@7008', 700804, pg_temp.cart(700804, 1)) ->> 'state' AS dead;
SELECT * FROM pg_temp.stock(700804);
SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
