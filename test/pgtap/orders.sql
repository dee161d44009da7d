-- Orders: what they show in public, that their money adds up to the cent, and that issuing is whole or not at all.
\ir support/setup.sql
SELECT plan(66);

CREATE TEMP TABLE shop AS
SELECT event, make_tier(event, 2500, 500) AS a, make_tier(event, 1999, 500) AS b, make_tier(event, 333, 500) AS c, make_tier(event, 0, 500) AS free FROM (SELECT make_event(make_host('host'), 1500) AS event) e;

-- ---- what public shows

CREATE FUNCTION shown(order_id uuid) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s: %s [%s]', o.state, p.status, (SELECT string_agg(t.type, ', ' ORDER BY t.created_at, t.type) FROM public.order_timeline t WHERE t.order_id = p.id))
  FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE o.order_id = shown.order_id
$$;
CREATE FUNCTION tickets_of(order_id uuid) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM ticketing.order_tickets t JOIN public.tickets p ON p.id = t.ticket_id WHERE t.order_id = tickets_of.order_id $$;

CREATE TEMP TABLE claimed AS SELECT (ticketing.claim_free_tickets('free', event, items(free, 2)) ->> 'order_id')::uuid AS id FROM shop;
SELECT is(shown(id), 'paid: paid [created, payment_captured]', 'a free order is paid at once, with a timeline the application knows') FROM claimed;
CREATE TEMP TABLE sold AS SELECT order_tickets('sold', event, items(a, 2, free, 1)) AS id FROM shop;
SELECT is(shown(id), 'awaiting_payment: payment_pending [created]', 'an order that waits for Stripe is pending') FROM sold;
SELECT is((SELECT stripe_payment_intent_id FROM public.orders p WHERE p.id = s.id), NULL, 'without a PaymentIntent so far') FROM sold s;
SELECT is(relay(), 'done', 'the relay makes the customer');
SELECT is(relay(), 'done', 'and the PaymentIntent');
SELECT is((SELECT stripe_payment_intent_id FROM public.orders p WHERE p.id = s.id), 'pi_' || replace(id::text, '-', ''), 'whose id is then on the order, where the application looks for it') FROM sold s;
SELECT is(deliver(stripe_event('evt_1', 'payment_intent.payment_failed', intent(id, 'requires_payment_method'))), 'applied', 'a decline') FROM sold;
SELECT is(shown(id), 'awaiting_payment: payment_pending [created]', 'is pending still: payment_failed would be the end for the application') FROM sold;
SELECT is(pay(id), 'applied', 'the payment succeeds') FROM sold;
SELECT is(shown(id), 'paid: paid [created, payment_authorized, payment_captured]', 'a paid order') FROM sold;
SELECT is(tickets_of(id), 3::bigint, 'has its tickets') FROM sold;
SELECT results_eq($$ SELECT t.type, count(*) FROM sold JOIN public.order_timeline t ON t.order_id = sold.id GROUP BY 1 HAVING count(*) > 1 $$, 'SELECT NULL::text, 0::bigint WHERE false', 'no step is shown twice');
SELECT results_eq($$ SELECT from_state, event, to_state FROM ticketing.order_events JOIN sold ON order_id = sold.id ORDER BY order_events.id $$,
  $$ VALUES (NULL, 'made', 'awaiting_payment'), ('awaiting_payment', 'declined', 'awaiting_payment'), ('awaiting_payment', 'succeeded', 'paid') $$,
  'the log explains each state by the one before');
SELECT results_eq($$ SELECT paid_at IS NOT NULL, paid_at = (SELECT o.paid_at FROM ticketing.orders o WHERE o.order_id = sold.id) FROM public.orders p JOIN sold USING (id) $$, 'VALUES (true, true)', 'and public has the same time of payment');

-- Paid, but not what was asked for: kept for an operator.
CREATE TEMP TABLE odd AS SELECT what, changes, payable_order(what, event, items(b, 1)) AS id FROM shop, LATERAL (VALUES
  ('amount', '{"amount_received": 1}'::jsonb), ('currency', '{"currency": "eur"}'), ('payee', '{"transfer_data": {"destination": "acct_other"}}'),
  ('no payee', '{"transfer_data": null}'), ('mode', '{"livemode": true}'), ('no amount', '{"amount_received": null}')) v (what, changes);
SELECT is(deliver(stripe_event('evt_odd_' || row_number() OVER (ORDER BY what), 'payment_intent.succeeded', intent(id, 'succeeded', changes))), 'applied', 'paid with another ' || what) FROM odd;
SELECT is(shown(id), 'review: payment_pending [created]', 'is for an operator to see: ' || what) FROM odd;
SELECT is_empty('SELECT FROM odd WHERE tickets_of(id) > 0', 'no ticket is issued for such a payment');
SELECT is((SELECT sum(quantity) FROM ticketing.ticket_holds h JOIN odd ON h.order_id = odd.id WHERE h.status = 'active'), 6::bigint, 'the seats are kept');
SELECT set_eq($$ SELECT entity FROM ticketing.findings WHERE kind = 'payment_differs' AND resolved_at IS NULL $$, $$ SELECT 'orders/' || id FROM odd $$, 'each is a finding');
SELECT later('2 hours') \g /dev/null
SELECT ticketing.release_expired_holds() \g /dev/null
SELECT is((SELECT sum(quantity) FROM ticketing.ticket_holds h JOIN odd ON h.order_id = odd.id WHERE h.status = 'active'), 6::bigint, 'also hours later: somebody has paid for them');

SELECT set_has($$ SELECT unnest(ARRAY['created', 'payment_pending', 'payment_failed', 'paid', 'partially_refunded', 'refunded', 'disputed']) $$,
  $$ SELECT DISTINCT p.status FROM public.orders p JOIN ticketing.orders o ON o.order_id = p.id $$, 'public.orders.status has only values of the application''s list');
SELECT set_has($$ SELECT unnest(ARRAY['created', 'payment_authorized', 'payment_captured', 'receipt_generated', 'refund_requested', 'refund_processed', 'dispute_opened', 'dispute_resolved']) $$,
  $$ SELECT DISTINCT t.type FROM public.order_timeline t JOIN ticketing.orders o USING (order_id) $$, 'and so has order_timeline.type');
SELECT is_empty($$ SELECT FROM public.orders p JOIN ticketing.orders o ON o.order_id = p.id WHERE p.type <> 'event_ticket' $$, 'ours are event tickets');
SELECT is((SELECT count(*) FROM public.orders WHERE type <> 'event_ticket'), 30::bigint, 'the orders of other kinds are untouched');

-- ---- money

-- Two hundred carts of three tiers with awkward prices.
SELECT setseed(0.42) \g /dev/null
CREATE TEMP TABLE carts AS
SELECT n, order_tickets('cart ' || n, event, items(a, na, b, nb) || items(c, nc, free, nf)) AS id
FROM shop, (SELECT n, 1 + (random() * 2)::integer AS na, 1 + (random() * 2)::integer AS nb, 1 + (random() * 3)::integer AS nc, 1 + (random() * 1)::integer AS nf FROM generate_series(1, 100) n) r;
SELECT is_empty($$
  SELECT o.order_id FROM ticketing.orders o JOIN carts ON id = order_id
  CROSS JOIN LATERAL (SELECT sum(i.quantity * i.price_cents) AS subtotal, sum((SELECT sum(f) FROM unnest(i.buyer_fee_cents) f)) AS buyer, sum((SELECT sum(f) FROM unnest(i.organizer_fee_cents) f)) AS organizer
                      FROM ticketing.order_items i WHERE i.order_id = o.order_id) s
  WHERE (o.subtotal_cents, o.buyer_fee_cents, o.organizer_fee_cents) IS DISTINCT FROM (s.subtotal, s.buyer, s.organizer) $$,
  'the lines of an order and each ticket''s shares of the fees add up, or refunds of single tickets would not');
SELECT is_empty($$
  SELECT o.order_id FROM ticketing.orders o JOIN carts ON id = order_id
  CROSS JOIN LATERAL (SELECT sum(quantity) FILTER (WHERE price_cents > 0) AS paid FROM ticketing.order_items i WHERE i.order_id = o.order_id) i
  WHERE o.buyer_fee_cents <> floor(o.subtotal_cents * 0.025 + 0.5) + 100 * paid OR o.organizer_fee_cents <> o.buyer_fee_cents
     OR o.total_cents <> o.subtotal_cents + o.buyer_fee_cents OR o.application_fee_cents <> 2 * o.buyer_fee_cents OR o.transfer_cents <> o.subtotal_cents - o.organizer_fee_cents $$,
  'the fees are 2.5 % of the subtotal, rounded half up, and 1.00 a paid ticket, on each side');
SELECT is_empty($$ SELECT FROM ticketing.order_items i JOIN carts ON id = order_id WHERE price_cents = 0 AND (0 <> ANY (buyer_fee_cents) OR 0 <> ANY (organizer_fee_cents)) $$, 'a free ticket beside paid ones bears no fee');
SELECT is_empty($$ SELECT FROM ticketing.order_items i JOIN carts ON id = order_id CROSS JOIN LATERAL unnest(buyer_fee_cents) f WHERE price_cents > 0 GROUP BY order_id, item HAVING max(f) - min(f) > 1 $$,
  'tickets of one tier differ by a cent at most');
SELECT is_empty($$ SELECT FROM public.orders p JOIN ticketing.orders o ON o.order_id = p.id WHERE (p.subtotal_cents, p.platform_fee_cents, p.total_cents, p.currency, p.event_id, p.user_id)
  IS DISTINCT FROM (o.subtotal_cents, o.application_fee_cents, o.total_cents, o.currency, o.event_id, o.user_id) $$, 'public shows the same figures');
SELECT relay(), relay(), relay(), relay() \g /dev/null
SELECT results_eq($$ SELECT pay(id), count(*) FROM carts GROUP BY 1 $$, $$ VALUES ('applied', 100::bigint) $$, 'all are paid');
SELECT is_empty($$ SELECT o.order_id FROM ticketing.orders o JOIN carts ON id = order_id WHERE o.total_cents <> (SELECT sum(t.purchase_amount_cents) FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id WHERE k.order_id = o.order_id) $$,
  'purchase_amount_cents of an order''s tickets sum to what was paid');
SELECT is_empty($$ SELECT FROM ticketing.order_items i JOIN carts ON id = order_id WHERE i.quantity <> (SELECT count(*) FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id AND t.ticket_type_id = i.ticket_type_id WHERE k.order_id = i.order_id AND k.item = i.item) $$,
  'each line has its tickets, of its tier');
SELECT is_empty($$ SELECT FROM public.tickets t JOIN ticketing.order_tickets k ON k.ticket_id = t.id JOIN carts ON carts.id = k.order_id JOIN ticketing.orders o ON o.order_id = k.order_id
  WHERE (t.stripe_payment_intent_id, t.user_id, t.event_id, t.status) IS DISTINCT FROM (o.payment_intent_id, o.user_id, o.event_id, 'active') $$, 'and they carry the PaymentIntent and the buyer, by which other code finds them');
SELECT is_empty($$ SELECT FROM public.tickets t JOIN ticketing.order_tickets k ON k.ticket_id = t.id CROSS JOIN LATERAL ticketing.verify_ticket(t.qr_payload) v WHERE NOT v.valid OR (v.ticket_id, v.event_id) IS DISTINCT FROM (t.id, t.event_id) $$,
  'every ticket is signed for itself');
SELECT is_empty($$ SELECT FROM public.tickets t JOIN ticketing.order_tickets k ON k.ticket_id = t.id WHERE t.qr_token !~ '^[0-9a-f]{64}$' $$, 'and has a token for the scanners of before');

-- An order's price is that of the moment it was made.
CREATE TEMP TABLE frozen AS SELECT payable_order('frozen', event, items(a, 1)) AS id FROM shop;
UPDATE public.ticket_types SET price_cents = 9900 WHERE id IN (SELECT a FROM shop);
SELECT is(pay(id), 'applied', 'a price that changes between order and payment') FROM frozen;
SELECT is((SELECT t.purchase_amount_cents FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id WHERE k.order_id = frozen.id), 2663, 'does not change the order: 25.00 and the fee') FROM frozen;

-- ---- issuing fails: everything or nothing

CREATE TEMP TABLE late AS
SELECT payable_order('late 1', event, items(b, 2)) AS by_webhook, payable_order('late 2', event, items(b, 2)) AS by_relay, payable_order('late 3', event, items(b, 2)) AS parked FROM shop;
CREATE TEMP TABLE before AS SELECT everything() AS sum, string_agg(a::text, ',' ORDER BY a.ticket_type_id) AS stock FROM shop, ticketing.availability(event) a;
CREATE TRIGGER fail BEFORE INSERT ON public.tickets FOR EACH ROW EXECUTE FUNCTION made_to_fail();
SELECT is(attempt(format('SELECT ticketing.claim_free_tickets(''none'', %s, %L, ''a request'')', event, items(free, 2))), 'XX999', 'tickets cannot be issued: a claim fails') FROM shop;
SELECT is(attempt(format('SELECT pay(%L)', by_webhook)), 'XX999', 'and so does a webhook') FROM late;
SELECT is(everything(), sum, 'order, seats, timeline, the request id and the event''s record are as they were') FROM before;
SELECT is(string_agg(a::text, ',' ORDER BY a.ticket_type_id), before.stock, 'and so is what is for sale') FROM before, shop, ticketing.availability(event) a GROUP BY before.stock;

-- The relay brings "succeeded" as the answer to a GET, whose effect fails.
DELETE FROM ticketing.stripe_handoff;
SELECT ticketing.create_payment_intent('late 2', event, reservation_id => (SELECT reservation_id FROM ticketing.orders WHERE order_id = by_relay)) FROM shop, late \g /dev/null
SELECT is(relay('succeeded'), 'done', 'the answer that says "paid" is stored');
SELECT results_eq($$ SELECT state, applied, apply_error FROM ticketing.stripe_requests JOIN late ON order_id = by_relay WHERE kind = 'get_payment_intent' $$, $$ VALUES ('done', false, 'XX999: made to fail') $$,
  'its effect is not, and the error stands beside it');
SELECT is(shown(by_relay), 'awaiting_payment: payment_pending [created]', 'the order waits') FROM late;
DROP TRIGGER fail ON public.tickets;
SELECT is(ticketing.sweep_stripe(), 1, 'the sweep tries again');
SELECT is(shown(by_relay), 'paid: paid [created, payment_authorized, payment_captured]', 'and the order is paid: the buyer''s money bought his tickets') FROM late;
SELECT is(tickets_of(by_relay), 2::bigint, 'which are issued') FROM late;
SELECT is(pay(by_webhook), 'applied', 'the webhook comes again, and is applied') FROM late;
SELECT is(tickets_of(by_webhook), 2::bigint, 'with its tickets') FROM late;

-- One parked event that cannot be applied does not keep the others waiting.
CREATE TEMP TABLE waiting AS
SELECT order_tickets('parked 1', event, items(b, 1)) AS broken, order_tickets('parked 2', event, items(c, 1)) AS good FROM shop;
SELECT is(pay(broken), 'parked', 'a payment is heard of before its PaymentIntent is known') FROM waiting;
SELECT is(pay(good), 'parked', 'and another') FROM waiting;
-- As a relay leaves them whose effect was rolled back: the ids known, the events still parked.
WITH named AS (UPDATE ticketing.orders SET payment_intent_id = 'pi_' || replace(order_id::text, '-', '') FROM waiting WHERE order_id IN (broken, good) RETURNING order_id, payment_intent_id)
INSERT INTO ticketing.order_payments SELECT payment_intent_id, order_id, payment_intent_id, 'open', clock_timestamp(), clock_timestamp() FROM named;
CREATE TRIGGER fail BEFORE INSERT ON public.tickets FOR EACH ROW WHEN (NEW.user_id = 'parked 1') EXECUTE FUNCTION made_to_fail();
SELECT is(attempt('SELECT ticketing.sweep_stripe()'), 'ok', 'the sweep meets an event that cannot be applied');
SELECT is(shown(good), 'paid: paid [created, payment_authorized, payment_captured]', 'and applies the other: one bad event does not stop all') FROM waiting;
SELECT is(shown(broken), 'awaiting_payment: payment_pending [created]', 'the bad one waits') FROM waiting;
DROP TRIGGER fail ON public.tickets;
SELECT ticketing.sweep_stripe() \g /dev/null
SELECT is(shown(broken), 'paid: paid [created, payment_authorized, payment_captured]', 'until it can be applied') FROM waiting;

SELECT is_empty('SELECT broken_invariants()', 'after all of this no seat is lost or made up, no order unexplained');
SELECT * FROM finish();
ROLLBACK;
