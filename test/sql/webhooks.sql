-- stripe_webhook: genuine events are recorded once and applied once; what cannot be applied yet is kept.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7012);
DELETE FROM ticketing.installation;
CALL pg_temp.new_payee();
CALL pg_temp.new_event(701201);
CALL pg_temp.new_tier(701201, 1, 100, 1000);
CALL pg_temp.new_tier(701201, 2, 100, 0);
-- A buyer with an order over two tickets of 10.00 and a free one, whose intent is pi_7012_<name> unless the relay has yet to say so.
CREATE PROCEDURE pg_temp.buy(name text, answered boolean DEFAULT true) LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES (name || '@7012', 'cus_' || name);
  PERFORM ticketing.create_payment_intent(name || '@7012', 701201, pg_temp.cart(701201, 2, 1));
  PERFORM pg_temp.lease();
  IF answered THEN
    CALL pg_temp.answer_intent(name);
  END IF;
END
$$;
CREATE PROCEDURE pg_temp.answer_intent(name text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.answer('create_payment_intent', 200, jsonb_build_object('id', 'pi_7012_' || name, 'status', 'requires_payment_method', 'client_secret', 'pi_7012_' || name || '_secret')::text);
END
$$;
-- Its intent as Stripe shows it; changes are merged in.
CREATE FUNCTION pg_temp.intent(name text, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT '{"object": "payment_intent", "status": "succeeded", "amount": 2250, "amount_received": 2250, "currency": "usd", "livemode": false, "transfer_data": {"destination": "acct_7012"}}'::jsonb
      || jsonb_build_object('id', 'pi_7012_' || name, 'client_secret', 'pi_7012_' || name || '_secret') || changes
$$;
-- How its order stands.
CREATE FUNCTION pg_temp.order_of(name text, OUT state text, OUT status text, OUT paid_at timestamptz, OUT tickets bigint, OUT timeline text, OUT log text, OUT holds text) LANGUAGE sql AS $$
  SELECT o.state, p.status, p.paid_at, (SELECT count(*) FROM public.tickets t WHERE t.user_id = o.user_id),
         (SELECT string_agg(t.type, ' ' ORDER BY t.type) FROM public.order_timeline t WHERE t.order_id = o.order_id),
         (SELECT string_agg(e.event || '>' || e.to_state, ' ' ORDER BY e.id) FROM ticketing.order_events e WHERE e.order_id = o.order_id),
         (SELECT string_agg(DISTINCT h.status, ' ') FROM ticketing.ticket_holds h WHERE h.order_id = o.order_id)
  FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE o.user_id = name || '@7012'
$$;

-- Before the first relay nobody knows whose events these are: parked; redelivered afterwards, applied.
CALL pg_temp.buy('early');
SELECT pg_temp.deliver(pg_temp.event('early', 'payment_intent.succeeded', pg_temp.intent('early')));
SELECT state, tickets FROM pg_temp.order_of('early');
SELECT ticketing.relay_start('acct_platform', false, '');
SELECT pg_temp.deliver(pg_temp.event('early', 'payment_intent.succeeded', pg_temp.intent('early')));
SELECT * FROM pg_temp.order_of('early');

-- succeeded: paid, its tickets issued once, with what was paid for each and the intent on them; the hand-off of its secret is over.
CALL pg_temp.buy('ann');
SELECT * FROM pg_temp.order_of('ann');
SELECT sum(held) AS held, sum(sold) AS sold FROM pg_temp.stock(701201) \gset before_
CALL pg_temp.later('5 min');
SELECT ticketing.stripe_webhook(b, pg_temp.signature(b)) ->> 'order_id' = (SELECT order_id::text FROM ticketing.orders WHERE user_id = 'ann@7012') AS names_the_order
FROM convert_to(pg_temp.event('ann', 'payment_intent.succeeded', pg_temp.intent('ann'))::text, 'UTF8') b;
SELECT * FROM pg_temp.order_of('ann');
SELECT right(ticket_type_id::text, 1) AS tier, status, purchase_amount_cents, stripe_payment_intent_id, created_at, (ticketing.verify_ticket(qr_payload)).valid FROM public.tickets WHERE user_id = 'ann@7012' ORDER BY 1;
SELECT event, source, detail FROM ticketing.order_events JOIN ticketing.orders USING (order_id) WHERE user_id = 'ann@7012' ORDER BY id;
SELECT sum(held) - :before_held AS held, sum(sold) - :before_sold AS sold FROM pg_temp.stock(701201);
SELECT count(*) AS secrets FROM ticketing.stripe_handoff WHERE user_id = 'ann@7012';
SELECT s ->> 'state' AS state, jsonb_array_length(s -> 'tickets') AS tickets FROM ticketing.orders o, ticketing.order_status(o.order_id, o.user_id) s WHERE o.user_id = 'ann@7012';
-- The same event again, at once and three days later, and another event of the same success: nothing more happens.
CREATE TEMP TABLE before AS SELECT pg_temp.everything() AS everything;
SELECT pg_temp.deliver(pg_temp.event('ann', 'payment_intent.succeeded', pg_temp.intent('ann'))) AS at_once;
CALL pg_temp.later('3 days');
SELECT pg_temp.deliver(pg_temp.event('ann', 'payment_intent.succeeded', pg_temp.intent('ann'))) AS three_days_later;
SELECT b.everything = pg_temp.everything() AS nothing_written FROM before b;
SELECT pg_temp.deliver(pg_temp.event('ann2', 'payment_intent.succeeded', pg_temp.intent('ann'))) AS another_event;
SELECT tickets, log FROM pg_temp.order_of('ann');
-- A failure after the success, out of order, changes nothing.
SELECT pg_temp.deliver(pg_temp.event('ann3', 'payment_intent.payment_failed', pg_temp.intent('ann', '{"status": "requires_payment_method"}'))) AS late_failure;
SELECT state, status, tickets FROM pg_temp.order_of('ann');
-- What became of each event, and the list that the application reads.
SELECT i.stripe_event_id, i.type, i.state, i.reason, i.object_id, i.account, i.livemode, i.api_version, i.order_id IS NOT NULL AS has_order, e.event_id IS NOT NULL AS shown
FROM ticketing.stripe_inbox i LEFT JOIN public.stripe_events e ON e.event_id = i.stripe_event_id WHERE i.stripe_event_id LIKE 'evt_7012_ann%' ORDER BY 1;

-- A declined card is not the end: logged, the hold stays, and the buyer pays the same intent.
CALL pg_temp.buy('bob');
SELECT pg_temp.deliver(pg_temp.event('bob', 'payment_intent.payment_failed', pg_temp.intent('bob', '{"status": "requires_payment_method", "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds", "message": "No.", "charge": "ch_1"}}')));
SELECT * FROM pg_temp.order_of('bob');
SELECT detail FROM ticketing.order_events JOIN ticketing.orders USING (order_id) WHERE user_id = 'bob@7012' AND event = 'declined';
CALL pg_temp.later('9 min');
SELECT pg_temp.deliver(pg_temp.event('bob2', 'payment_intent.succeeded', pg_temp.intent('bob')));
SELECT * FROM pg_temp.order_of('bob');

-- Paid ten seconds after the hold's end, with seats left: paid all the same.
CALL pg_temp.buy('slow');
CALL pg_temp.later('10 min 10 s');
SELECT pg_temp.deliver(pg_temp.event('slow', 'payment_intent.succeeded', pg_temp.intent('slow'))) ->> 'outcome' AS outcome;
SELECT state, status, tickets FROM pg_temp.order_of('slow');

-- An event about an intent that we do not know yet is kept, and applied when the relay's answer tells whose it is.
CALL pg_temp.buy('cid', answered => false);
SELECT pg_temp.deliver(pg_temp.event('cid', 'payment_intent.payment_failed', pg_temp.intent('cid', '{"status": "requires_payment_method"}')));
CALL pg_temp.later('1 s');
SELECT pg_temp.deliver(pg_temp.event('cid2', 'payment_intent.succeeded', pg_temp.intent('cid')));
SELECT pg_temp.deliver(pg_temp.event('cid2', 'payment_intent.succeeded', pg_temp.intent('cid'))) AS again;
SELECT state, tickets FROM pg_temp.order_of('cid');
SELECT count(*) AS shown FROM public.stripe_events WHERE event_id LIKE 'evt_7012_cid%';
CALL pg_temp.answer_intent('cid');
SELECT state, tickets, log FROM pg_temp.order_of('cid');
SELECT stripe_event_id, state, reason, order_id IS NOT NULL AS has_order FROM ticketing.stripe_inbox WHERE stripe_event_id LIKE 'evt_7012_cid%' ORDER BY 1;
SELECT pg_temp.deliver(pg_temp.event('cid2', 'payment_intent.succeeded', pg_temp.intent('cid'))) AS after_that;
-- The answer itself may say that the intent has succeeded already.
CALL pg_temp.buy('dan', answered => false);
SELECT pg_temp.answer('create_payment_intent', 200, pg_temp.intent('dan')::text) AS completed;
SELECT state, tickets, log FROM pg_temp.order_of('dan');
SELECT pg_temp.deliver(pg_temp.event('dan', 'payment_intent.succeeded', pg_temp.intent('dan')));
-- The sweep settles what is parked when the object has become known otherwise.
CALL pg_temp.buy('eve', answered => false);
SELECT pg_temp.deliver(pg_temp.event('eve', 'payment_intent.succeeded', pg_temp.intent('eve')));
INSERT INTO ticketing.order_payments SELECT 'pi_7012_eve', order_id, 'pi_7012_eve', 'open', created_at, created_at FROM ticketing.orders WHERE user_id = 'eve@7012';
SELECT ticketing.sweep_stripe() >= 0 AS swept;
SELECT state, tickets FROM pg_temp.order_of('eve');

-- Paid, but not what was asked: seats kept, nothing issued, a finding; more money, less, none said, another currency, payee, mode.
SELECT format('CALL pg_temp.buy(%L)', 'odd' || n) FROM generate_series(1, 7) n \gexec
SELECT what, d ->> 'outcome' AS outcome, s.state, s.status, s.tickets, s.holds
FROM (VALUES (1, 'less', '{"amount_received": 2249}'), (2, 'more', '{"amount_received": 2251}'), (3, 'not said', '{"amount_received": null}'), (4, 'currency', '{"currency": "eur"}'),
             (5, 'payee', '{"transfer_data": {"destination": "acct_mallory"}}'), (6, 'no payee', '{"transfer_data": null}'), (7, 'live mode', '{"livemode": true}')) AS c (n, what, changes),
     LATERAL pg_temp.deliver(pg_temp.event('odd' || n, 'payment_intent.succeeded', pg_temp.intent('odd' || n, changes::jsonb))) d,
     LATERAL (SELECT * FROM pg_temp.order_of('odd' || n) WHERE d IS NOT NULL) s ORDER BY n;
SELECT o.user_id, o.state, f.kind, f.detail - 'payment_intent' AS detail, f.resolved_at FROM ticketing.findings f JOIN ticketing.orders o ON f.entity = 'orders/' || o.order_id WHERE o.event_id = 701201 ORDER BY 1;
SELECT pg_temp.deliver(pg_temp.event('odd1b', 'payment_intent.succeeded', pg_temp.intent('odd1'))) AS right_amount_after_that;
SELECT state, tickets FROM pg_temp.order_of('odd1');

-- Of the other mode, of a connected account, of a kind we do not follow: recorded, no effect.
CALL pg_temp.buy('fay');
SELECT what, pg_temp.deliver(event) AS answer FROM (VALUES
  ('other mode', pg_temp.event('fay1', 'payment_intent.succeeded', pg_temp.intent('fay'), true)),
  ('no mode', pg_temp.event('fay2', 'payment_intent.succeeded', pg_temp.intent('fay')) - 'livemode'),
  ('connected account', pg_temp.event('fay3', 'payment_intent.succeeded', pg_temp.intent('fay')) || '{"account": "acct_7012"}'),
  ('other kind', pg_temp.event('fay4', 'customer.created', '{"id": "pi_7012_fay"}')),
  ('no kind', pg_temp.event('fay5', 'payment_intent.succeeded', pg_temp.intent('fay')) - 'type'),
  ('no object', pg_temp.event('fay6', 'payment_intent.succeeded', pg_temp.intent('fay')) - 'data'),
  ('object is a text', pg_temp.event('fay7', 'payment_intent.succeeded', '"pi_7012_fay"')),
  ('not succeeded yet', pg_temp.event('fay8', 'payment_intent.succeeded', pg_temp.intent('fay', '{"status": "processing"}')))) AS c (what, event);
SELECT * FROM pg_temp.order_of('fay');
SELECT pg_temp.deliver(pg_temp.event('fay1', 'payment_intent.succeeded', pg_temp.intent('fay'), true)) AS redelivered;

-- Bytes that are no event are kept as they came and never fail, or Stripe would send them for days.
SELECT what, pg_temp.deliver(body) - 'event_id' AS answer, pg_temp.deliver(body) ->> 'outcome' AS again FROM (VALUES
  ('empty', ''::bytea),
  ('not JSON', convert_to('{"id": "evt_7012_x", ', 'UTF8')),
  ('a zero in a string', convert_to('{"id": "evt_7012_zero", "note": "\u0000"}', 'UTF8')),
  ('half a surrogate', convert_to('{"id": "evt_7012_half", "note": "\ud83d"}', 'UTF8')),
  ('not UTF-8', convert_to('{"id": "evt_7012_latin", "note": "', 'UTF8') || '\xe9'::bytea || convert_to('"}', 'UTF8')),
  ('a zero byte', convert_to('{"id": "evt_7012_nul"}', 'UTF8') || '\x00'::bytea),
  ('deep', convert_to(repeat('[', 100000), 'UTF8')),
  ('a huge number', convert_to('{"id": "evt_7012_huge", "n": 1e999999}', 'UTF8')),
  ('no id', convert_to('{"object": "event", "type": "payment_intent.succeeded"}', 'UTF8')),
  ('id is a number', convert_to('{"id": 7}', 'UTF8')),
  ('an array', convert_to('[]', 'UTF8')),
  ('a text', convert_to('"evt_7012_text"', 'UTF8'))) AS c (what, body);
SELECT state, stripe_event_id ~ '^sha256:[0-9a-f]{64}$' AS by_hash, payload IS NOT NULL AS text, raw_payload IS NOT NULL AS bytes, count(*) FROM ticketing.stripe_inbox
WHERE stripe_event_id LIKE 'sha256:%' GROUP BY 1, 2, 3, 4 ORDER BY 3;
-- A megabyte is taken, a byte more is not.
SELECT pg_temp.deliver(body) ->> 'outcome' AS a_megabyte FROM (SELECT convert_to(rpad('{"id": "evt_7012_big", "type": "x", "livemode": false, "pad": "', 1048574, 'x') || '"}', 'UTF8') AS body) b;
SELECT pg_temp.refusal(format('SELECT ticketing.stripe_webhook(%L, %L)', body, pg_temp.signature(body))) AS a_byte_more FROM (SELECT convert_to(rpad('{"id": "evt_7012_big2", "pad": "', 1048575, 'x') || '"}', 'UTF8') AS body) b;

-- Client secrets are struck out before anything is stored, however they are written, in text and in bytes that are not.
SELECT pg_temp.deliver(convert_to('{"id": "evt_7012_s1", "type": "x", "livemode": false, "data": {"object": {"client_secret" : "pi_1_secret_A", "nested": [{"client\u005fsecret": "pi_1_secret_B"}], "note": "client_secret", "secret": "kept"}}}', 'UTF8')) ->> 'outcome' AS text,
       pg_temp.deliver(convert_to('{"id": "evt_7012_s2", "client_secret": "pi_1_secret_C", "note": "', 'UTF8') || '\xff'::bytea) ->> 'outcome' AS bytes,
       pg_temp.deliver(convert_to('{"id": "evt_7012_s3", "client_secret": "pi_1_secret_D', 'UTF8')) ->> 'outcome' AS cut_short;
SELECT payload FROM ticketing.stripe_inbox WHERE stripe_event_id = 'evt_7012_s1';
SELECT count(*) AS secrets FROM ticketing.stripe_inbox WHERE payload ~ '_secret' AND payload ~ '(pi_1_secret|pi_7012_[a-z0-9]*_secret)' OR position('pi_1_secret'::bytea IN raw_payload) > 0;

-- A forged, altered or old event is refused, and not even recorded.
SELECT pg_temp.refusal(format('SELECT ticketing.stripe_webhook(%L, %L)', convert_to(pg_temp.event('fay9', 'payment_intent.succeeded', pg_temp.intent('fay'))::text, 'UTF8'), pg_temp.signature('{}'))) AS of_another_body,
       pg_temp.refusal(format('SELECT ticketing.stripe_webhook(%L, %L)', '\x7b7d', 't=1,v1=' || pg_temp.v1('{}', 1))) AS old;
SELECT count(*) AS recorded FROM ticketing.stripe_inbox WHERE stripe_event_id = 'evt_7012_fay9';

SELECT * FROM ticketing.check_invariants();
DELETE FROM ticketing.installation;
CALL pg_temp.clear_test();
