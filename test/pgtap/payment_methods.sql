-- Saved payment methods: a customer is made once, and nobody touches what is not his.
\ir support/setup.sql
SELECT plan(15);

-- Leases what is ready; what a user was leased is then answered by kind.
CREATE TEMP TABLE leased (id uuid, lease_token uuid, body text, api_version text, kind text, user_id text);
CREATE FUNCTION lease() RETURNS SETOF text LANGUAGE sql AS $$
  WITH made AS (
    INSERT INTO leased SELECT c.id, c.lease_token, c.body, c.api_version, r.kind, r.user_id FROM ticketing.relay_claim(100, '1 minute') c JOIN ticketing.stripe_requests r USING (id)
    RETURNING leased.user_id, leased.kind)
  SELECT made.user_id || ' ' || made.kind FROM made
$$;
CREATE FUNCTION answer(who text, what text, status integer, body jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  l leased;
BEGIN
  DELETE FROM leased WHERE (user_id, kind) = (who, what) RETURNING * INTO STRICT l;
  RETURN ticketing.relay_complete(l.id, l.lease_token, status, '{"request-id": "req_1"}', convert_to(body::text, 'UTF8'));
END
$$;
-- How the requests of a user stand.
CREATE FUNCTION requests(who text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT r.kind || ' ' || r.state FROM ticketing.stripe_requests r WHERE r.user_id = who ORDER BY seq
$$;
-- What a call enqueued, by its answer.
CREATE FUNCTION request(answer jsonb) RETURNS ticketing.stripe_requests LANGUAGE sql AS $$
  SELECT r FROM ticketing.stripe_requests r WHERE r.id = (answer ->> 'stripe_request_id')::uuid
$$;
SELECT ticketing.relay_start('acct_platform', false, '') \g /dev/null

-- ---- setup_payment_method

SELECT is(attempt(call), 'PT400 bad_request', call) FROM (VALUES
  ('SELECT ticketing.setup_payment_method(NULL)'), ('SELECT ticketing.setup_payment_method('''')'),
  ('SELECT ticketing.setup_payment_method(''u'', '''')'), ('SELECT ticketing.setup_payment_method(''u'', ''2026-1-1'')'),
  ('SELECT ticketing.setup_payment_method(''u'', E''2026-10-28\n.x'')'), ('SELECT ticketing.setup_payment_method(''u'', request_id => '''')')) c (call);

CREATE TEMP TABLE setup AS SELECT ticketing.setup_payment_method('ann', '2025-04-30.basil', 'first') AS first;
SELECT is(ticketing.setup_payment_method('ann', '2025-04-30.basil', 'first'), first, 'the same request id is the same request') FROM setup;
SELECT is(attempt('SELECT ticketing.setup_payment_method(''ann'', NULL, ''first'')'), 'PT409 request_id_reused', 'with other arguments it is refused');
SELECT results_eq($$ SELECT requests('ann') $$, ARRAY['create_customer ready', 'create_ephemeral_key ready', 'create_setup_intent ready'], 'customer, key and SetupIntent are asked for, once');
SELECT ticketing.setup_payment_method('ann') \g /dev/null
SELECT set_eq($$ SELECT lease() $$, ARRAY['ann create_customer'], 'a second SetupIntent waits for the same customer');
SELECT answer('ann', 'create_customer', 200, '{"id": "cus_ann", "object": "customer"}') \g /dev/null
SELECT set_eq($$ SELECT lease() $$, ARRAY['ann create_ephemeral_key', 'ann create_setup_intent'], 'which is then known; the first one waits for its key');
SELECT results_eq($$ SELECT body FROM leased WHERE kind = 'create_setup_intent' $$, ARRAY['usage=off_session&customer=cus_ann&metadata[user_id]=ann&automatic_payment_methods[enabled]=true'], 'the SetupIntent is the customer''s');
SELECT results_eq($$ SELECT body, api_version FROM leased WHERE kind = 'create_ephemeral_key' $$, $$ VALUES ('customer=cus_ann', '2025-04-30.basil') $$, 'the key is of the SDK''s own version');
SELECT answer('ann', 'create_ephemeral_key', 200, '{"id": "ephkey_1", "secret": "ek_test_secret"}'),
       answer('ann', 'create_setup_intent', 200, '{"id": "seti_1", "object": "setup_intent", "status": "requires_payment_method", "customer": "cus_ann", "client_secret": "seti_1_secret_x"}') \g /dev/null
SELECT bag_eq($$ SELECT client_secret, ephemeral_key FROM ticketing.stripe_handoff WHERE user_id = 'ann' $$, $$ VALUES ('seti_1_secret_x', NULL), (NULL, 'ek_test_secret') $$, 'both are handed on');
SELECT is_empty($$ SELECT FROM ticketing.stripe_requests r WHERE r::text ~ '_secret' $$, 'and stand nowhere else');

SELECT * FROM finish();
ROLLBACK;
