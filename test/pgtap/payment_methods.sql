-- Saved payment methods: a customer is made once, and nobody touches what is not his.
\ir support/setup.sql
SELECT plan(55);

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

-- ---- payment_methods

SELECT is(attempt(call), 'PT400 bad_request', call) FROM (VALUES ('SELECT ticketing.payment_methods(NULL)'), ('SELECT ticketing.payment_methods('''')')) c (call);
SELECT is(ticketing.payment_methods('nobody'), '{"stripe_request_id": null, "payment_methods": []}', 'whom Stripe does not know has saved nothing');
SELECT is_empty($$ SELECT requests('nobody') $$, 'and Stripe is not asked');
CREATE TEMP TABLE listed AS SELECT ticketing.payment_methods('ann') AS answer;
SELECT is(answer -> 'payment_methods', 'null', 'the list comes with the answer of Stripe') FROM listed;
SELECT is(ticketing.payment_methods('ann'), answer, 'a second call joins one that has not been sent') FROM listed;
SELECT lease() \g /dev/null
SELECT is(r.method || ' ' || r.path || '?' || r.body, 'GET /v1/customers/cus_ann/payment_methods?limit=100&expand[0]=data.customer', 'one call brings the list and the default') FROM listed, request(answer) r;
SELECT isnt(ticketing.payment_methods('ann') -> 'stripe_request_id', answer -> 'stripe_request_id', 'one that has been sent may be too old: it is asked anew') FROM listed;
SELECT answer('ann', 'list_payment_methods', 200, '{"object": "list", "url": "/v1/customers/cus_ann/payment_methods", "has_more": false, "data": [
  {"id": "pm_2", "type": "card", "billing_details": {"email": "ann@example.com"}, "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2030, "fingerprint": "f"},
   "customer": {"id": "cus_ann", "email": "ann@example.com", "invoice_settings": {"default_payment_method": "pm_1"}}},
  {"id": "pm_1", "type": "link", "customer": {"id": "cus_ann", "invoice_settings": {"default_payment_method": "pm_1"}}}]}') \g /dev/null
SELECT is(h.payment_methods, '[{"id": "pm_2", "type": "card", "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2030, "is_default": false},
  {"id": "pm_1", "type": "link", "brand": null, "last4": null, "exp_month": null, "exp_year": null, "is_default": true}]', 'what a client shows is handed on, no more')
FROM ticketing.stripe_handoff h, listed WHERE h.request_id = (answer ->> 'stripe_request_id')::uuid;
SELECT is(r.answer, '{"object": "list"}', 'and is not kept with the request') FROM listed, request(listed.answer) r;

-- ---- set_default_payment_method, remove_payment_method

SELECT is(attempt(format('SELECT ticketing.%s(%s)', f, arguments)), 'PT400 bad_request', f || ' ' || left(arguments, 30))
FROM (VALUES ('set_default_payment_method'), ('remove_payment_method')) n (f),
     (VALUES ('NULL, ''pm_1'''), (''''', ''pm_1'''), ('''ann'', NULL'), ('''ann'', '''''), ('''ann'', ''pm_1/../../customers'''), ('''ann'', ''pm_1?x'''), (format('''ann'', %L', repeat('a', 256)))) a (arguments);
SELECT is(refusal('SELECT ticketing.remove_payment_method(''nobody'', ''pm_1'')'), '{"reason": "not_found", "payment_method_id": "pm_1"}', 'whom Stripe does not know has nothing to remove');
SELECT is(attempt('SELECT ticketing.set_default_payment_method(''nobody'', ''pm_1'')'), 'PT404 not_found', 'nor to prefer');

-- Every user here has one open change.
INSERT INTO public.stripe_customers (user_id, stripe_customer_id) SELECT u, 'cus_' || u FROM unnest(ARRAY['bob', 'cas', 'dan', 'eve', 'fay']) u;
SELECT ticketing.remove_payment_method(u, 'pm_1', 'r') FROM unnest(ARRAY['bob', 'cas', 'dan', 'eve']) u \g /dev/null
SELECT ticketing.set_default_payment_method('fay', 'pm_1') \g /dev/null
SELECT results_eq($$ SELECT ticketing.remove_payment_method('bob', 'pm_1', 'r') ->> 'stripe_request_id' $$, $$ SELECT id::text FROM ticketing.stripe_requests WHERE user_id = 'bob' AND kind = 'detach_payment_method' $$,
  'the same request id is the same request');
SELECT is(attempt('SELECT ticketing.remove_payment_method(''bob'', ''pm_2'', ''r'')'), 'PT409 request_id_reused', 'with another payment method it is refused');
SELECT set_eq($$ SELECT lease() $$, ARRAY['ann list_payment_methods', 'bob check_payment_method', 'cas check_payment_method', 'dan check_payment_method', 'eve check_payment_method', 'fay check_payment_method'],
  'nothing is detached before Stripe has said whose it is');
-- Bob's is his own; of Cas Stripe says 404; the others' answers are none that Stripe gives.
SELECT answer('bob', 'check_payment_method', 200, '{"id": "pm_1", "object": "payment_method", "customer": "cus_bob"}'),
       answer('cas', 'check_payment_method', 404, '{"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such PaymentMethod"}}'),
       answer('dan', 'check_payment_method', 200, '{"id": "pm_1", "object": "payment_method", "customer": "cus_ann"}'),
       answer('eve', 'check_payment_method', 200, '{"id": "pm_2", "object": "payment_method", "customer": "cus_eve"}'),
       answer('fay', 'check_payment_method', 200, '{"id": "pm_1", "object": "payment_method", "customer": null}') \g /dev/null
SELECT results_eq(format('SELECT requests(%L)', u), ARRAY['check_payment_method ' || one, two], u || ': ' || what) FROM (VALUES
  ('bob', 'done', 'detach_payment_method ready', 'his own may be detached'),
  ('cas', 'failed', 'detach_payment_method failed', 'what Stripe does not find among his is not'),
  ('dan', 'done', 'detach_payment_method failed', 'nor what is attached to another customer'),
  ('eve', 'done', 'detach_payment_method failed', 'nor when the answer is about another payment method'),
  ('fay', 'done', 'set_default_payment_method failed', 'nor is one that is attached to nobody made the default')) c (u, one, two, what);
SELECT is(r.error ->> 'code', 'resource_missing', 'who waits is told what Stripe said') FROM ticketing.stripe_requests r WHERE user_id = 'cas' AND kind = 'detach_payment_method';
SELECT set_eq($$ SELECT lease() $$, ARRAY['bob detach_payment_method'], 'one call is sent');
SELECT results_eq($$ SELECT method, path, body FROM ticketing.stripe_requests WHERE user_id = 'bob' AND kind = 'detach_payment_method' $$, $$ VALUES ('POST', '/v1/payment_methods/pm_1/detach', '') $$, 'for the very payment method');
SELECT answer('bob', 'detach_payment_method', 200, '{"id": "pm_1", "object": "payment_method", "customer": null}') \g /dev/null

-- As the default; and a check whose effect could not be applied lets nothing pass.
SELECT ticketing.set_default_payment_method('bob', 'pm_3') \g /dev/null
SELECT lease() \g /dev/null
SELECT answer('bob', 'check_payment_method', 200, '{"id": "pm_3", "object": "payment_method", "customer": "cus_bob"}') \g /dev/null
SELECT lease() \g /dev/null
SELECT results_eq($$ SELECT body FROM leased WHERE kind = 'set_default_payment_method' $$, ARRAY['invoice_settings[default_payment_method]=pm_3'], 'the customer is told his default');
SELECT ticketing.remove_payment_method('ann', 'pm_4') \g /dev/null
SELECT lease() \g /dev/null
SELECT answer('ann', 'check_payment_method', 200, '{"object": "payment_method"}') \g /dev/null
SELECT results_eq($$ SELECT state, applied FROM ticketing.stripe_requests WHERE user_id = 'ann' AND kind = 'check_payment_method' $$, $$ VALUES ('done', false) $$, 'an answer that cannot be read');
SELECT is_empty($$ SELECT lease() $$, 'lets nothing pass');

SELECT * FROM finish();
ROLLBACK;
