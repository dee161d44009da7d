-- The relay's side, driven by hand: what is leased, what Stripe's answers do, what is tried again, what stays secret.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7010);
DELETE FROM ticketing.installation;
CALL pg_temp.new_payee();
CALL pg_temp.new_event(701001);
CALL pg_temp.new_tier(701001, 1, 1000, 1000);
-- A buyer's order up to the outbox; what waits there is deleted first, so that a part of this test sees its own.
CREATE PROCEDURE pg_temp.buy(who text, mobile_api_version text DEFAULT NULL, known boolean DEFAULT true) LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM ticketing.stripe_requests WHERE event_id = 701001 AND state IN ('ready', 'leased');
  IF known THEN
    INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES (who, 'cus_' || split_part(who, '@', 1)) ON CONFLICT DO NOTHING;
  END IF;
  PERFORM ticketing.create_payment_intent(who, 701001, pg_temp.cart(701001, 1), email => 'buyer+1@example.com', mobile_api_version => mobile_api_version);
END
$$;
-- The end of an order's time is another test's: here time passes without it.
CREATE FUNCTION pg_temp.never_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.due_at := 'infinity';
  RETURN NEW;
END
$$;
CREATE TRIGGER never_due BEFORE INSERT OR UPDATE ON ticketing.orders FOR EACH ROW WHEN (NEW.event_id = 701001 AND NEW.due_at IS NOT NULL) EXECUTE FUNCTION pg_temp.never_due();
-- How the buyer's requests stand.
CREATE FUNCTION pg_temp.outbox(who text, OUT kind text, OUT state text, OUT attempts integer, OUT http integer, OUT error jsonb, OUT leased boolean, OUT applied boolean, OUT body boolean) RETURNS SETOF record LANGUAGE sql AS $$
  SELECT kind, state, attempts, http_status, error, lease_token IS NOT NULL, applied, body IS NOT NULL FROM ticketing.stripe_requests WHERE user_id = who ORDER BY seq
$$;

-- The first relay says whose database this is; a copy, another account or mode is told that it is one.
SELECT ticketing.relay_start('acct_platform', false, 'a') AS first, ticketing.relay_start('acct_platform', false, 'a') AS again;
SELECT r - 'reason' AS answer, length(r ->> 'reason') > 0 AS reason FROM (VALUES ('acct_other', false, 'a'), ('acct_platform', true, 'a'), ('acct_platform', false, 'b'), ('acct_platform', false, NULL)) AS c (account, livemode, name), ticketing.relay_start(account, livemode, name) r;
BEGIN;
UPDATE ticketing.installation SET system_identifier = system_identifier + 1;
SELECT ticketing.relay_start('acct_platform', false, 'a') -> 'differs' AS another_cluster;
ROLLBACK;
BEGIN;
UPDATE ticketing.installation SET database_name = 'other';
SELECT ticketing.relay_start('acct_platform', false, 'a') -> 'differs' AS another_database;
ROLLBACK;
SELECT stripe_account_id, livemode, name, database_name = current_database() AS this_database FROM ticketing.installation;
-- An operator arms a copy on purpose, and says what becomes of the requests that came with it.
BEGIN;
CALL pg_temp.buy('abe@7010');
SELECT ticketing.rearm_relay('another', 'send');
ROLLBACK;
SELECT ticketing.rearm_relay(current_database()::text, 'later');
BEGIN;
CALL pg_temp.buy('abe@7010');
SELECT ticketing.rearm_relay(current_database()::text, 'send') AS rearmed;
SELECT ticketing.relay_start('acct_other', true, 'copy') AS copy;
SELECT (SELECT state FROM ticketing.stripe_requests WHERE user_id = 'abe@7010') AS pending, (ticketing.rearm_relay(current_database()::text, 'drop') ->> 'dropped')::integer > 0 AS dropped;
SELECT state, error, applied FROM ticketing.stripe_requests WHERE user_id = 'abe@7010';
ROLLBACK;
-- Monitoring is told the worst there is.
SELECT * FROM ticketing.relay_health();
BEGIN;
DELETE FROM ticketing.installation;
SELECT * FROM ticketing.relay_health();
ROLLBACK;
BEGIN;
SET LOCAL application_name = 'dvnt_stripe_relay';
CALL pg_temp.buy('abe@7010');
SELECT * FROM ticketing.relay_health();
SELECT ready > 0 AS ready, relays, armed, paused FROM ticketing.relay_status;
CALL pg_temp.later('16 min');
SELECT * FROM ticketing.relay_health();
ROLLBACK;

-- The chain: customer, then ephemeral key, then intent; nothing is sent before what it needs, and the bodies are Stripe's form encoding with the customer in them.
CALL pg_temp.buy('ann@7010', '2025-04-30.basil', known => false);
SELECT pg_temp.lease() AS leased, pg_temp.lease() AS leased_again;
SELECT method, path, body, stripe_account, api_version, attempts FROM leased WHERE user_id = 'ann@7010';
SELECT pg_temp.answer('create_customer', 200, '{"id": "cus_ann", "object": "customer", "email": "buyer+1@example.com", "livemode": false}', '{"request-id": "req_1"}') AS completed, pg_temp.lease() AS leased;
SELECT pg_temp.answer('create_ephemeral_key', 200, '{"id": "ephkey_1", "object": "ephemeral_key", "secret": "ek_test_secret"}') AS completed, pg_temp.lease() AS leased;
SELECT kind, regexp_replace(body, '[0-9a-f]{8}-[0-9a-f-]{27}', 'ORDER') AS body, api_version FROM leased WHERE user_id = 'ann@7010' AND kind <> 'create_customer';
SELECT body ~ ('metadata\[order_id\]=' || (SELECT order_id FROM ticketing.orders WHERE user_id = 'ann@7010')) AS own_order FROM leased WHERE user_id = 'ann@7010' AND kind = 'create_payment_intent';
SELECT pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7010_ann", "object": "payment_intent", "status": "requires_payment_method", "amount": 1125, "currency": "usd", "customer": "cus_ann", "livemode": false, "client_secret": "pi_7010_ann_secret_x"}', '{"request-id": "req_3"}') AS completed, pg_temp.lease() AS leased;
SELECT * FROM pg_temp.outbox('ann@7010');
SELECT kind, answer, stripe_request_id, completed_at FROM ticketing.stripe_requests WHERE user_id = 'ann@7010' ORDER BY seq;
-- What the answers did: the customer is known, the intent is its order's, here and in the application's table.
SELECT stripe_customer_id FROM public.stripe_customers WHERE user_id = 'ann@7010';
SELECT o.state, o.payment_intent_id, p.stripe_payment_intent_id, p.status FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE o.user_id = 'ann@7010';
-- What must be handed to the client is in one table, and in no other.
SELECT client_secret, ephemeral_key FROM ticketing.stripe_handoff WHERE user_id = 'ann@7010' ORDER BY client_secret;
SELECT count(*) AS secrets_elsewhere FROM ticketing.stripe_requests r WHERE r::text ~ 'secret';
-- The next order of this buyer needs no customer.
CALL pg_temp.buy('ann@7010');
SELECT pg_temp.lease() AS leased;

-- 400: Stripe will never do it; the request fails with what Stripe said, and so does all that waits for it.
CALL pg_temp.buy('bob@7010', '2025-04-30.basil', known => false);
SELECT pg_temp.lease() AS leased, pg_temp.answer('create_customer', 400, '{"error": {"type": "invalid_request_error", "code": "email_invalid", "param": "email", "message": "Invalid email", "doc_url": "x", "request_log_url": "y"}}') AS completed;
SELECT * FROM pg_temp.outbox('bob@7010');
SELECT pg_temp.lease() AS leased;
-- Asked again, the same order gets a new chain.
SELECT ticketing.create_payment_intent('bob@7010', 701001, reservation_id => reservation_id) ->> 'order_id' = order_id::text AS same_order FROM ticketing.orders WHERE user_id = 'bob@7010';
SELECT pg_temp.lease() AS leased;
SELECT pg_temp.answer('create_customer', 200, '{"id": "cus_bob"}') AS completed, pg_temp.lease() AS leased;

-- What Stripe or the network may still do is tried again, with the same key and the same bytes; what it will never do, not. A 429 is no attempt: its endpoint pauses.
CREATE TEMP TABLE cases (n integer GENERATED ALWAYS AS IDENTITY, what text, status integer, body text, headers jsonb);
INSERT INTO cases (what, status, body, headers) VALUES
  ('500', 500, '{"error": {"type": "api_error"}}', '{}'),
  ('502, no JSON', 502, '<html>', '{}'),
  ('409', 409, '{"error": {"type": "idempotency_error"}}', '{}'),
  ('429', 429, '{"error": {"code": "rate_limit"}}', '{}'),
  ('429 lock_timeout', 429, '{"error": {"code": "lock_timeout"}}', '{}'),
  ('no answer', 0, NULL, '{"error": "timed out"}'),
  ('200 cut short', 200, '{"id": "pi_cut', '{}'),
  ('200 with no body', 200, NULL, '{}'),
  ('400 but retry', 400, '{"error": {}}', '{"stripe-should-retry": "true"}'),
  ('500 but no retry', 500, '{"error": {"message": "no"}}', '{"stripe-should-retry": "false"}'),
  ('402', 402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "generic_decline"}}', '{}'),
  ('404', 404, '{"error": {"message": "No such account"}}', '{}'),
  ('302', 302, '', '{"location": "https://example.com"}'),
  ('500 replayed', 500, '{"error": {}}', '{"idempotent-replayed": "true"}'),
  ('401', 401, '{"error": {"message": "Invalid API key"}}', '{}'),
  ('403', 403, '{"error": {"message": "not yours"}}', '{}'),
  ('TLS', 0, NULL, '{"error": "certificate has expired", "tls": true}');
CREATE TEMP TABLE outcomes (n integer, outcome text, state text, attempts integer, error jsonb, soon boolean, same_key boolean, same_bytes boolean);
DO $$
DECLARE
  c record;
  sent record;
BEGIN
  FOR c IN SELECT * FROM cases ORDER BY n LOOP
    CALL pg_temp.buy('case' || c.n || '@7010');
    PERFORM pg_temp.lease();
    SELECT l.* INTO sent FROM leased l WHERE user_id = 'case' || c.n || '@7010';
    INSERT INTO outcomes
    SELECT c.n, pg_temp.answer('create_payment_intent', c.status, c.body, c.headers);
    UPDATE outcomes o SET state = r.state, attempts = r.attempts, error = r.error, soon = r.run_at - ticketing.clock() BETWEEN '0.25 s' AND '0.5 s', same_key = r.idempotency_key::text = sent.idempotency_key
    FROM ticketing.stripe_requests r WHERE r.id = sent.id AND o.n = c.n;
    CALL pg_temp.later('1 min');
    PERFORM pg_temp.lease();
    UPDATE outcomes o SET same_bytes = l.body = sent.body FROM leased l WHERE l.id = sent.id AND l.n > sent.n AND o.n = c.n;
  END LOOP;
END
$$;
SELECT what, outcome, state, error, soon, same_key, same_bytes AS sent_again_the_same FROM outcomes JOIN cases USING (n) ORDER BY n;

-- The pause doubles up to a minute, and half of it is chance; nothing is leased before its time.
CALL pg_temp.buy('cid@7010');
CREATE TEMP TABLE pauses (attempt integer, pause interval);
DO $$
DECLARE
  next timestamptz;
BEGIN
  FOR i IN 1..10 LOOP
    PERFORM pg_temp.lease();
    PERFORM pg_temp.answer('create_payment_intent', 500, '{}');
    SELECT run_at INTO next FROM ticketing.stripe_requests WHERE user_id = 'cid@7010' AND state = 'ready' AND attempts = i;
    INSERT INTO pauses VALUES (i, next - ticketing.clock());
    CALL pg_temp.at(next);
  END LOOP;
END
$$;
SELECT attempt, pause BETWEEN d / 2 AND d AS in_range, d AS at_most FROM pauses, LATERAL (SELECT least(interval '0.5 s' * 2 ^ (attempt - 1), '1 min') AS d) l ORDER BY attempt;
CALL pg_temp.later('-1 microsecond');
SELECT pg_temp.lease() AS before_its_time;
CALL pg_temp.later('1 microsecond');
SELECT pg_temp.lease() AS in_time;

-- A lease that is not held any more says nothing: another token, a second answer, an answer after the end of the lease when another relay has it.
SELECT ticketing.relay_complete(id, '00000000-0000-4000-8000-000000000000', 200, '{}', '{"id": "pi_forged"}') AS another_token FROM ticketing.stripe_requests WHERE user_id = 'cid@7010' AND state = 'leased';
SELECT lease_token AS lost FROM ticketing.stripe_requests WHERE user_id = 'cid@7010' \gset
CALL pg_temp.later('1 min');
SELECT pg_temp.lease() AS lease_ran_out;
SELECT max(attempts) AS attempts, count(DISTINCT idempotency_key) AS keys, count(DISTINCT body) AS bodies FROM leased WHERE user_id = 'cid@7010';
SELECT ticketing.relay_complete(id, :'lost', 200, '{}', '{"id": "pi_late"}') AS by_the_late_relay FROM ticketing.stripe_requests WHERE user_id = 'cid@7010';
SELECT pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7010_cid", "client_secret": "s"}') AS by_the_second, pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7010_other"}') AS twice;
SELECT payment_intent_id FROM ticketing.orders WHERE user_id = 'cid@7010';
-- An answer after the lease's end is good as long as nobody else has the request: the call was made.
CALL pg_temp.buy('dan@7010');
SELECT pg_temp.lease() AS leased;
CALL pg_temp.later('1 hour');
SELECT pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7010_dan"}') AS late;

-- An answer whose effect raises is kept, with the error beside it, and the sweep tries again: here two orders would have one intent.
CALL pg_temp.buy('eve@7010');
SELECT pg_temp.lease() AS leased, pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7010_dan", "client_secret": "pi_7010_dan_secret"}') AS completed;
SELECT state, applied, left(apply_error, 5) AS sqlstate, answer FROM ticketing.stripe_requests WHERE user_id = 'eve@7010';
SELECT count(*) AS handed_out FROM ticketing.stripe_handoff WHERE user_id = 'eve@7010';
SELECT ticketing.sweep_stripe() >= 0 AS swept;
SELECT applied FROM ticketing.stripe_requests WHERE user_id = 'eve@7010';
UPDATE ticketing.orders SET payment_intent_id = 'pi_7010_really_dan' WHERE user_id = 'dan@7010';
UPDATE ticketing.order_payments SET object_id = 'pi_7010_really_dan', payment_intent_id = 'pi_7010_really_dan' WHERE object_id = 'pi_7010_dan';
SELECT ticketing.sweep_stripe() >= 0 AS swept;
SELECT r.applied, r.apply_error, o.payment_intent_id FROM ticketing.stripe_requests r JOIN ticketing.orders o USING (order_id) WHERE r.user_id = 'eve@7010';
SELECT ticketing.sweep_stripe() AS nothing_left;

-- Good answers may be stored together; what is not good, locks an order or is leased by somebody else is not, and an effect that cannot be applied harms no other.
DELETE FROM ticketing.stripe_requests WHERE event_id = 701001;
INSERT INTO ticketing.stripe_requests (kind, lane, method, path, api_version, event_id, user_id, run_at, created_at)
SELECT kind, 1, 'GET', '/v1/' || n, 'v', 701001, 'many' || n || '@7010', ticketing.clock(), ticketing.clock()
FROM (VALUES (1, 'create_customer'), (2, 'create_customer'), (3, 'create_customer'), (4, 'create_customer'), (5, 'get_payment_intent'), (6, 'create_ephemeral_key'), (7, 'create_customer')) AS r (n, kind);
INSERT INTO ticketing.stripe_requests (kind, lane, method, path, api_version, event_id, user_id, run_at, created_at, waits_for, runnable)
SELECT 'create_something', 1, 'GET', '/v1/8', 'v', 701001, 'many8@7010', 'infinity', ticketing.clock(), id, false FROM ticketing.stripe_requests WHERE user_id = 'many1@7010';
CREATE TEMP TABLE many AS SELECT c.*, right(path, 1)::integer AS n FROM ticketing.relay_claim(100, '1 minute') c;
SELECT n, kind, alone FROM many ORDER BY n;
UPDATE many SET lease_token = gen_random_uuid() WHERE n = 7;
SELECT ticketing.relay_complete_many(array_agg(id ORDER BY n), array_agg(lease_token ORDER BY n), array_agg(CASE n WHEN 3 THEN 500 ELSE 200 END ORDER BY n), array_agg('{"request-id": "req_many"}'::jsonb ORDER BY n),
  array_agg(convert_to(CASE n WHEN 2 THEN '{"object": "customer"}' WHEN 4 THEN '{"id": "cus_half' ELSE format('{"id": "many_%s", "secret": "ek_many", "livemode": false}', n) END, 'UTF8') ORDER BY n)) AS outcomes FROM many;
SELECT user_id, state, applied, apply_error, answer, stripe_request_id, lease_token IS NULL AS given_back, runnable FROM ticketing.stripe_requests WHERE event_id = 701001 ORDER BY seq;
SELECT user_id, stripe_customer_id FROM public.stripe_customers WHERE user_id LIKE 'many%@7010' ORDER BY 1;
SELECT user_id, ephemeral_key FROM ticketing.stripe_handoff WHERE user_id LIKE 'many%@7010';
SELECT ticketing.relay_complete_many('{}', '{}', '{}', '{}', '{}') AS none;

-- Lanes: refunds and cancels before buyers before reconciliation, in each the oldest first; never more than asked for.
DELETE FROM ticketing.stripe_requests WHERE event_id = 701001;
INSERT INTO ticketing.stripe_requests (kind, lane, method, path, api_version, event_id, user_id, run_at, created_at, params)
SELECT 'get_payment_intent', lane, 'GET', '/v1/payment_intents/' || n, 'v', 701001, 'gus@7010', ticketing.clock(), ticketing.clock(), '{"expand": ["latest_charge"]}'
FROM (VALUES (1, 2), (2, 1), (3, 0), (4, 1), (5, 0), (6, 2)) AS l (n, lane);
SELECT pg_temp.lease(3) AS three;
SELECT pg_temp.lease(100) AS the_rest;
SELECT n - min(n) OVER () AS n, path, body FROM leased WHERE user_id = 'gus@7010' ORDER BY n;

-- Sent 23 hours ago, and nobody knows what became of it: what it would have made is looked for at Stripe, page by page, and is its answer if it is there.
CALL pg_temp.buy('ida@7010');
SELECT pg_temp.lease() AS leased;
CALL pg_temp.later('23 h 1 s');
SELECT pg_temp.lease() AS leased, (SELECT state FROM ticketing.stripe_requests WHERE user_id = 'ida@7010' AND kind = 'create_payment_intent') AS state;
SELECT method, path, regexp_replace(body, '\d{10}', 'TIME') AS query FROM leased WHERE kind = 'list_created' AND user_id = 'ida@7010';
SELECT pg_temp.answer('list_created', 200, '{"object": "list", "has_more": true, "data": [{"id": "pi_other", "metadata": {"order_id": "other"}}, {"id": "pi_none", "metadata": {}}]}') AS first_page, pg_temp.lease() AS leased;
SELECT regexp_replace(body, '\d{10}', 'TIME') AS query FROM leased WHERE kind = 'list_created' AND user_id = 'ida@7010' ORDER BY n DESC LIMIT 1;
SELECT pg_temp.answer('list_created', 200, format('{"object": "list", "has_more": false, "data": [{"id": "pi_7010_ida", "client_secret": "ida_secret", "metadata": {"order_id": "%s"}}]}', order_id)) AS second_page FROM ticketing.orders WHERE user_id = 'ida@7010';
SELECT r.kind, r.state, r.applied, r.answer ->> 'id' AS id, o.payment_intent_id, h.client_secret FROM ticketing.stripe_requests r JOIN ticketing.orders o USING (order_id) LEFT JOIN ticketing.stripe_handoff h ON h.request_id = r.id WHERE r.user_id = 'ida@7010' ORDER BY r.seq;
-- It is not there: the same bytes go out under a new key. The same for a request that was put back and then lay for a day.
CALL pg_temp.buy('jon@7010');
SELECT pg_temp.lease() AS leased, pg_temp.answer('create_payment_intent', 500, '{}') AS completed;
CALL pg_temp.later('1 day');
SELECT pg_temp.lease() AS not_sent;
SELECT pg_temp.lease() AS leased;
SELECT pg_temp.answer('list_created', 200, '{"object": "list", "has_more": false, "data": []}') AS nothing, pg_temp.lease() AS leased;
SELECT count(*), count(DISTINCT idempotency_key) AS keys, count(DISTINCT body) AS bodies FROM leased WHERE user_id = 'jon@7010' AND kind = 'create_payment_intent';
SELECT pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7010_jon"}') AS completed;
-- A customer is looked for by his user's id.
CALL pg_temp.buy('kay@7010', known => false);
SELECT pg_temp.lease() AS leased;
CALL pg_temp.later('1 day');
SELECT pg_temp.lease() AS leased;
SELECT path, regexp_replace(body, '\d{10}', 'TIME') AS query FROM leased WHERE kind = 'list_created' AND user_id = 'kay@7010';
SELECT pg_temp.answer('list_created', 200, '{"data": [{"id": "cus_kay_other", "metadata": {"user_id": "kay"}}, {"id": "cus_kay", "metadata": {"user_id": "kay@7010"}}]}') AS found, pg_temp.lease() AS leased;
SELECT pg_temp.answer('create_payment_intent', 200, '{"id": "pi_7010_kay"}') AS completed;
-- A host's account is looked for by the host's id, which is in its metadata; meanwhile he gets no other one.
DELETE FROM ticketing.stripe_requests WHERE state IN ('ready', 'leased');
SELECT count(ticketing.connect_onboarding('lou@7010', 'https://a.example/', 'https://a.example/')) AS asked;
SELECT pg_temp.lease() AS leased;
CALL pg_temp.later('1 day');
SELECT pg_temp.lease() AS leased;
SELECT path, regexp_replace(body, '\d{10}', 'TIME') AS query FROM leased WHERE kind = 'list_created' AND user_id = 'lou@7010';
SELECT count(ticketing.connect_onboarding('lou@7010', 'https://a.example/', 'https://a.example/again')) AS asked;
SELECT kind, state FROM ticketing.stripe_requests WHERE user_id = 'lou@7010' ORDER BY seq;
SELECT pg_temp.answer('list_created', 200, '{"data": [{"id": "acct_other7010", "metadata": {"host_id": "lou"}}, {"id": "acct_lou7010", "metadata": {"host_id": "lou@7010"}, "details_submitted": true}]}') AS found, pg_temp.lease() AS leased;
SELECT p.stripe_account_id, p.details_submitted, a.stripe_account_id AS shown FROM ticketing.payees p JOIN public.organizer_accounts a USING (host_id) WHERE host_id = 'lou@7010';
SELECT kind, state, answer ->> 'id' AS id, body FROM ticketing.stripe_requests WHERE user_id = 'lou@7010' AND kind <> 'list_created' ORDER BY seq;
-- A Checkout Session is looked for among its customer's.
DELETE FROM ticketing.stripe_requests WHERE state IN ('ready', 'leased');
INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES ('liv@7010', 'cus_liv');
SELECT count(ticketing.create_checkout_session('liv@7010', 701001, pg_temp.cart(701001, 1), success_url => 'https://a.example/')) AS asked;
SELECT pg_temp.lease() AS leased;
CALL pg_temp.later('1 day');
SELECT pg_temp.lease() AS leased;
SELECT path, regexp_replace(body, '\d{10}', 'TIME') AS query FROM leased WHERE kind = 'list_created' AND user_id = 'liv@7010';
SELECT pg_temp.answer('list_created', 200, format('{"has_more": false, "data": [{"id": "cs_other", "metadata": {"order_id": "other"}}, {"id": "cs_7010_liv", "status": "open", "payment_status": "unpaid", "url": "https://pay.example/liv", "metadata": {"order_id": "%s"}}]}', order_id)) AS found FROM ticketing.orders WHERE user_id = 'liv@7010';
SELECT r.kind, r.state, r.applied, r.apply_error, r.answer ->> 'id' AS id, o.checkout_session_id, h.url FROM ticketing.stripe_requests r JOIN ticketing.orders o USING (order_id) LEFT JOIN ticketing.stripe_handoff h ON h.request_id = r.id WHERE r.user_id = 'liv@7010' ORDER BY r.seq;
-- A refund carries its own id, and is looked for even before a 500 that Stripe has stored is left behind by a new key.
INSERT INTO ticketing.stripe_requests (kind, lane, method, path, api_version, event_id, user_id, run_at, created_at, params)
VALUES ('create_refund', 0, 'POST', '/v1/refunds', 'v', 701001, 'lea@7010', ticketing.clock(), ticketing.clock(), '{"payment_intent": "pi_1", "metadata": {"order_id": "1"}}');
SELECT pg_temp.lease() AS leased;
SELECT replace(l.body, l.id::text, 'ID') AS body FROM leased l WHERE user_id = 'lea@7010';
SELECT pg_temp.answer('create_refund', 500, '{}', '{"idempotent-replayed": "true"}') AS completed, pg_temp.lease() AS leased;
SELECT path, body FROM leased WHERE kind = 'list_created' AND user_id = 'lea@7010';
SELECT pg_temp.answer('list_created', 200, '{"data": []}') AS nothing, pg_temp.lease() AS leased;
SELECT count(*), count(DISTINCT idempotency_key) AS keys, count(DISTINCT body) AS bodies FROM leased WHERE user_id = 'lea@7010' AND kind = 'create_refund';
-- What is made again without harm is; what nothing can be said of is left to a person, once.
INSERT INTO ticketing.stripe_requests (kind, lane, method, path, api_version, event_id, user_id, run_at, created_at, state)
SELECT kind, 1, 'POST', '/v1/' || kind, 'v', 701001, 'max@7010', ticketing.clock(), ticketing.clock(), 'unknown' FROM unnest(ARRAY['create_ephemeral_key', 'create_something', 'cancel_payment_intent']) kind;
SELECT pg_temp.lease() AS leased, pg_temp.lease() AS again;
SELECT kind, state, lookup_id = id AS left_to_a_person, (SELECT count(*) FROM ticketing.findings WHERE kind = 'request_unknown' AND entity = 'stripe_requests/' || r.id) AS findings FROM ticketing.stripe_requests r WHERE user_id = 'max@7010' ORDER BY seq;
DELETE FROM ticketing.findings WHERE kind = 'request_unknown';

-- An order that has ended before the turn of its requests came: nothing is made for it.
CALL pg_temp.buy('nat@7010');
UPDATE ticketing.orders SET state = 'canceled' WHERE user_id = 'nat@7010';
SELECT pg_temp.lease() AS leased;
SELECT kind, state, error ->> 'message' AS message FROM ticketing.stripe_requests WHERE user_id = 'nat@7010' ORDER BY seq;
UPDATE ticketing.orders SET state = 'awaiting_payment' WHERE user_id = 'nat@7010';

-- The hand-off is deleted when it is 14 minutes old, by whatever comes first: a claim, or the sweep of each minute. So nothing in it is older than 15.
DELETE FROM ticketing.stripe_handoff;
INSERT INTO ticketing.stripe_handoff (request_id, user_id, created_at) SELECT gen_random_uuid(), 'old@7010', ticketing.clock() - age FROM unnest(ARRAY['13 min 59 s', '14 min 1 s']::interval[]) age;
SELECT pg_temp.lease() AS leased;
SELECT ticketing.clock() - created_at AS age FROM ticketing.stripe_handoff;
UPDATE ticketing.stripe_handoff SET created_at = created_at - interval '2 s';
SELECT count(ticketing.sweep_stripe(1)) AS swept;
SELECT count(*) AS left FROM ticketing.stripe_handoff;

-- Limits: 3 a second for each endpoint, 6 in all, one of them kept for lane 0. A call holds its token until a second after its answer.
DELETE FROM ticketing.stripe_requests WHERE event_id = 701001;
DELETE FROM ticketing.stripe_buckets WHERE endpoint <> '';
CALL pg_temp.later('1 hour');
SET dvnt_ticketing.stripe_rate = 6;
SET dvnt_ticketing.stripe_endpoint_rate = 3;
CREATE PROCEDURE pg_temp.ask(path text, lane integer, count integer) LANGUAGE sql AS $$
  INSERT INTO ticketing.stripe_requests (kind, lane, method, path, endpoint, api_version, event_id, user_id, run_at, created_at)
  SELECT 'create_ephemeral_key', lane, 'POST', path, 'POST ' || regexp_replace(path, '/x_.*', '/:id'), 'v', 701001, 'hal@7010', ticketing.clock(), ticketing.clock() FROM generate_series(1, count)
$$;
CREATE FUNCTION pg_temp.send() RETURNS TABLE (path text, calls bigint) LANGUAGE sql AS $$
  WITH l AS (INSERT INTO pg_temp.leased (id, lease_token, path) SELECT id, lease_token, path FROM ticketing.relay_claim(100, '1 minute') RETURNING *) SELECT path, count(*) FROM l GROUP BY 1 ORDER BY 1
$$;
CREATE FUNCTION pg_temp.reply(status integer DEFAULT 404, headers jsonb DEFAULT '{}', body text DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
  WITH sent AS (DELETE FROM pg_temp.leased l RETURNING *) SELECT count(*) FILTER (WHERE ticketing.relay_complete(id, lease_token, status, headers, convert_to(body, 'UTF8')) <> 'stale') FROM sent
$$;
TRUNCATE leased;
CALL pg_temp.ask('/v1/a', 1, 10);
CALL pg_temp.ask('/v1/b/x_1', 1, 1);
CALL pg_temp.ask('/v1/b/x_2', 1, 10);
SELECT endpoint, count(*) FROM ticketing.stripe_requests WHERE event_id = 701001 GROUP BY 1 ORDER BY 1;
SELECT * FROM pg_temp.send();
SELECT * FROM pg_temp.send();
SELECT for_tokens BETWEEN 2000 AND 2020 AS for_tokens, for_time FROM ticketing.relay_pause();
-- What is kept for refunds and cancels, nobody else gets; they get all the rest, too.
CALL pg_temp.ask('/v1/refunds', 0, 4);
SELECT * FROM pg_temp.send();
-- Unanswered calls give their tokens back after two seconds; answered ones a second after the answer.
CALL pg_temp.later('1.98 s');
SELECT * FROM pg_temp.send();
CALL pg_temp.later('0.04 s');
SELECT * FROM pg_temp.send();
CALL pg_temp.later('0.1 s');
SELECT pg_temp.reply();
CALL pg_temp.later('0.98 s');
SELECT * FROM pg_temp.send();
CALL pg_temp.later('0.04 s');
SELECT * FROM pg_temp.send();
SELECT pg_temp.reply();
-- 429: the endpoint pauses for as long as Stripe says, the others go on, and it was no attempt.
DELETE FROM ticketing.stripe_requests WHERE event_id = 701001;
CALL pg_temp.ask('/v1/a', 1, 1);
CALL pg_temp.later('1 min');
SELECT * FROM pg_temp.send();
SELECT pg_temp.reply(429, '{"retry-after": "7"}', '{"error": {"code": "rate_limit"}}');
CALL pg_temp.ask('/v1/b/x_1', 1, 1);
SELECT * FROM pg_temp.send();
SELECT pg_temp.reply();
SELECT * FROM ticketing.relay_pause();
SELECT path, state, attempts FROM ticketing.stripe_requests WHERE event_id = 701001 AND state = 'ready';
CALL pg_temp.later('6.99 s');
SELECT * FROM pg_temp.send();
CALL pg_temp.later('0.01 s');
SELECT * FROM pg_temp.send();
-- Said without a time it is a second, and twice as long each time it is said again within a minute.
CREATE TEMP TABLE paused (n integer, seconds numeric);
DO $$
BEGIN
  FOR i IN 1..8 LOOP
    PERFORM pg_temp.reply(429, '{}', '{"error": {}}');
    INSERT INTO paused SELECT i, extract(epoch FROM paused_until - ticketing.clock()) FROM ticketing.stripe_buckets WHERE endpoint = 'POST /v1/a';
    PERFORM pg_temp.clock_at(paused_until) FROM ticketing.stripe_buckets WHERE endpoint = 'POST /v1/a';
    PERFORM pg_temp.send();
  END LOOP;
END
$$;
SELECT string_agg(seconds::integer::text, ' ' ORDER BY n) FROM paused;
-- What waits for its time or for another request is not looked at: nor does it hold up what comes after it.
SELECT pg_temp.reply();
CALL pg_temp.later('1 min');
CALL pg_temp.ask('/v1/a', 1, 2);
SELECT * FROM pg_temp.send();
SELECT pg_temp.reply(500);
CALL pg_temp.ask('/v1/a', 1, 1);
SELECT runnable, count(*) FROM ticketing.stripe_requests WHERE event_id = 701001 AND state = 'ready' GROUP BY 1 ORDER BY 1;
SELECT * FROM pg_temp.send();
SELECT for_tokens BETWEEN 1000 AND 1020 AS for_tokens, for_time BETWEEN 250 AND 500 AS for_time FROM ticketing.relay_pause();
-- What can never be sent fails, and what comes after it is sent.
DELETE FROM ticketing.stripe_requests WHERE event_id = 701001;
TRUNCATE leased;
CALL pg_temp.later('1 min');
CALL pg_temp.ask('/v1/a', 1, 2);
UPDATE ticketing.stripe_requests SET params = '[1]' WHERE id = (SELECT id FROM ticketing.stripe_requests WHERE event_id = 701001 ORDER BY seq LIMIT 1);
SELECT * FROM pg_temp.send();
SELECT state, error ->> 'message' AS message FROM ticketing.stripe_requests WHERE event_id = 701001 ORDER BY seq;
RESET dvnt_ticketing.stripe_rate;
RESET dvnt_ticketing.stripe_endpoint_rate;
DELETE FROM ticketing.stripe_buckets WHERE endpoint IN ('POST /v1/a', 'POST /v1/b/:id', 'POST /v1/refunds');
DROP TRIGGER never_due ON ticketing.orders;
SELECT * FROM ticketing.check_invariants();
DELETE FROM ticketing.installation;
CALL pg_temp.clear_test();
