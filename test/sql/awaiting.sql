-- await_stripe: what a client is told while, and after, the relay calls Stripe.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7011);
DELETE FROM ticketing.installation;
CALL pg_temp.new_payee();
CALL pg_temp.new_event(701101);
CALL pg_temp.new_tier(701101, 1, 100, 1000);
CREATE FUNCTION pg_temp.wait_for(who text, timeout interval DEFAULT '0', asker text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  id uuid;
BEGIN
  SELECT r.id INTO id FROM ticketing.stripe_requests r WHERE r.user_id = who AND kind LIKE '%payment_intent' ORDER BY seq DESC LIMIT 1;
  RETURN ticketing.await_stripe(id, coalesce(asker, who), timeout);
EXCEPTION WHEN SQLSTATE 'PT404' OR SQLSTATE 'PT409' THEN
  RETURN left(pg_temp.refusal(format('SELECT ticketing.await_stripe(%L, %L, %L)', id, coalesce(asker, who), timeout)), 17);
END
$$;

-- In the transaction that asks nobody has been asked yet: refused instead of waiting for nothing, in subtransactions, too.
BEGIN;
SELECT ticketing.create_payment_intent('ann@7011', 701101, pg_temp.cart(701101, 1), mobile_api_version => '2025-04-30.basil') ? 'order_id' AS asked;
SELECT pg_temp.wait_for('ann@7011', '3 s') AS same_transaction;
SAVEPOINT s;
SELECT pg_temp.wait_for('ann@7011', '3 s') AS below_a_savepoint;
COMMIT;

-- queued: before the relay has it, while it calls, and when it will try again; a stranger is told that there is nothing.
SELECT pg_temp.wait_for('ann@7011') AS ready, pg_temp.wait_for('ann@7011', '0', 'bob@7011') AS a_stranger;
SELECT pg_temp.lease() AS leased, pg_temp.wait_for('ann@7011') AS waits_for_the_customer;
SELECT pg_temp.answer('create_customer', 200, '{"id": "cus_ann"}') AS completed, pg_temp.lease() AS leased, pg_temp.wait_for('ann@7011') AS customer;
SELECT pg_temp.answer('create_ephemeral_key', 200, '{"id": "ek_1", "secret": "ek_secret"}') AS completed, pg_temp.lease() AS leased;
SELECT pg_temp.wait_for('ann@7011') AS leased;
SELECT pg_temp.answer('create_payment_intent', 500, '{}') AS completed;
SELECT pg_temp.wait_for('ann@7011') AS tried_again;
-- A wait ends at its timeout, at 3 s at most, whatever is asked; without a place to wait it ends at once.
CREATE FUNCTION pg_temp.seconds(timeout interval) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
  began timestamptz := clock_timestamp();
BEGIN
  PERFORM pg_temp.wait_for('ann@7011', timeout);
  RETURN extract(epoch FROM clock_timestamp() - began);
END
$$;
SELECT timeout, seconds BETWEEN at_least AND at_least + 2 AS in_time FROM (VALUES ('100 ms'::interval, 0.1), ('1 day', 3)) AS t (timeout, at_least), pg_temp.seconds(timeout);
SET dvnt_ticketing.await_stripe_slots = 0;
SELECT pg_temp.seconds(NULL) < 1 AS no_place;
RESET dvnt_ticketing.await_stripe_slots;

-- done: the intent with what the client needs, for its owner alone.
-- The end of an order's time is another test's.
CREATE PROCEDURE pg_temp.pass(span interval) LANGUAGE plpgsql AS $$
BEGIN
  UPDATE ticketing.orders SET due_at = 'infinity' WHERE event_id = 701101;
  CALL pg_temp.later(span);
END
$$;
CALL pg_temp.pass('1 min');
SELECT pg_temp.lease() AS leased, pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7011_ann", "status": "requires_payment_method", "customer": "cus_ann", "client_secret": "pi_7011_ann_secret"}') AS completed;
SELECT pg_temp.wait_for('ann@7011', '3 s') AS done;
SELECT pg_temp.wait_for('ann@7011', '0', 'bob@7011') AS a_stranger;

-- The secret is there for 15 minutes; asked for again it is fetched from Stripe, and is the same intent's.
CALL pg_temp.pass('14 min 59.999999 s');
SELECT pg_temp.wait_for('ann@7011')::jsonb ->> 'client_secret' AS last_microsecond;
CALL pg_temp.pass('1 microsecond');
SELECT pg_temp.wait_for('ann@7011') AS after_fifteen_minutes;
CALL pg_temp.pass('1 microsecond');
SELECT ticketing.prune() > 0 AS pruned;
SELECT count(*) AS secrets FROM ticketing.stripe_handoff WHERE user_id = 'ann@7011';
SELECT ticketing.create_payment_intent('ann@7011', 701101, reservation_id => reservation_id) ->> 'order_id' = order_id::text AS same_order FROM ticketing.orders WHERE user_id = 'ann@7011';
SELECT pg_temp.wait_for('ann@7011') AS queued, pg_temp.lease() AS leased;
SELECT method, path, body FROM leased WHERE kind = 'get_payment_intent';
SELECT pg_temp.answer('get_payment_intent', 200, '{"id": "pi_7011_ann", "status": "requires_payment_method", "customer": "cus_ann", "client_secret": "pi_7011_ann_secret"}') AS completed;
SELECT pg_temp.wait_for('ann@7011') AS fetched;
SELECT ticketing.create_payment_intent('ann@7011', 701101, reservation_id => reservation_id) ->> 'stripe_request_id' = (SELECT id::text FROM ticketing.stripe_requests WHERE kind = 'get_payment_intent' AND user_id = 'ann@7011') AS nothing_new
FROM ticketing.orders WHERE user_id = 'ann@7011';

-- failed: with Stripe's words, also when it was another request of the chain that failed.
SELECT ticketing.create_payment_intent('bob@7011', 701101, pg_temp.cart(701101, 1)) ? 'order_id' AS asked;
SELECT pg_temp.lease() AS leased, pg_temp.answer('create_customer', 400, '{"error": {"type": "invalid_request_error", "code": "email_invalid", "message": "Invalid email"}}') AS completed;
SELECT pg_temp.wait_for('bob@7011', '3 s') AS failed;
-- failed as well: what came cannot be applied for now.
SELECT ticketing.create_payment_intent('cid@7011', 701101, pg_temp.cart(701101, 1)) ? 'order_id' AS asked;
SELECT pg_temp.lease() AS leased, pg_temp.answer('create_customer', 200, '{"id": "cus_cid"}') AS completed;
SELECT pg_temp.lease() AS leased, pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7011_ann", "client_secret": "pi_7011_ann_secret"}') AS completed;
SELECT pg_temp.wait_for('cid@7011', '3 s') AS not_applied;
-- unknown: a relay that died 23 hours ago may have sent it; nobody sends it again before it was looked for.
SELECT ticketing.create_payment_intent('dan@7011', 701101, pg_temp.cart(701101, 1)) ? 'order_id' AS asked;
INSERT INTO public.stripe_customers VALUES ('dan@7011', 'cus_dan');
DELETE FROM ticketing.stripe_requests WHERE user_id = 'dan@7011' AND kind = 'create_customer';
UPDATE ticketing.stripe_requests SET waits_for = NULL, runnable = true, run_at = ticketing.clock() WHERE user_id = 'dan@7011';
SELECT pg_temp.lease() AS leased;
CALL pg_temp.pass('23 h 1 s');
SELECT pg_temp.lease() AS leased;
SELECT pg_temp.wait_for('dan@7011', '3 s') AS unknown;
SELECT kind, state, attempts FROM ticketing.stripe_requests WHERE user_id = 'dan@7011' ORDER BY seq;
CALL pg_temp.clear_test();
