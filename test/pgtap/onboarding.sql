-- Hosts and their Stripe accounts: one is made once, what Stripe says of it is trusted and shown, a link is its host's.
\ir support/setup.sql
SELECT plan(45);
SELECT ticketing.relay_start('acct_platform', false, '') \g /dev/null

-- A call for a host; what payees and public say of him.
CREATE FUNCTION onboard(host text, request_id text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS
$$ SELECT ticketing.connect_onboarding(host, 'https://app.example/done', 'https://app.example/again', host || '@example.com', request_id) $$;
CREATE FUNCTION payee(host text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', stripe_account_id, charges_enabled, payouts_enabled, details_submitted) FROM ticketing.payees WHERE host_id = host
$$;
CREATE FUNCTION shown(host text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', stripe_account_id, charges_enabled, payouts_enabled, details_submitted) FROM public.organizer_accounts WHERE host_id = host
$$;

-- ---- arguments

SELECT is(attempt(call), 'PT400 bad_request', call) FROM (VALUES
  ('SELECT ticketing.connect_onboarding(NULL, ''https://a'', ''https://a'')'), ('SELECT ticketing.connect_onboarding('''', ''https://a'', ''https://a'')'),
  ('SELECT ticketing.connect_onboarding(''h'', NULL, ''https://a'')'), ('SELECT ticketing.connect_onboarding(''h'', ''https://a'', NULL)'),
  ('SELECT ticketing.connect_onboarding(''h'', '''', ''https://a'')'), ('SELECT ticketing.connect_onboarding(''h'', ''https://a'', ''app://a'')'),
  ('SELECT ticketing.connect_onboarding(''h'', ''https://a'', ''https://a'', request_id => '''')'),
  ('SELECT ticketing.organizer_status(NULL)'), ('SELECT ticketing.organizer_status('''')'),
  ('SELECT ticketing.refresh_organizer_status(NULL)'), ('SELECT ticketing.refresh_organizer_status('''')')) c (call);
SELECT is(refusal('SELECT ticketing.organizer_status(''no"body'')'), '{"reason": "not_found", "host_id": "no\"body"}', 'a host without an account has no status');
SELECT is(attempt('SELECT ticketing.refresh_organizer_status(''nobody'')'), 'PT404 not_found', 'and nothing to ask Stripe for');

-- ---- the account is made once

CREATE TEMP TABLE first AS SELECT onboard('ann', 'r') AS answer;
SELECT is(answer -> 'stripe_account_id', 'null', 'a new host has no account yet') FROM first;
SELECT is(onboard('ann', 'r'), answer, 'the same request id is the same request') FROM first;
SELECT is(attempt('SELECT ticketing.connect_onboarding(''ann'', ''https://a'', ''https://a'', request_id => ''r'')'), 'PT409 request_id_reused', 'with other arguments it is refused');
SELECT onboard('ann') \g /dev/null
SELECT results_eq($$ SELECT requests('ann') $$, ARRAY['create_account ready', 'create_account_link ready', 'create_account_link ready'], 'a second link waits for the same account');
SELECT throws_ok($$ INSERT INTO ticketing.stripe_requests (kind, lane, method, path, api_version, user_id, run_at, created_at) VALUES ('create_account', 1, 'POST', '/v1/accounts', 'x', 'ann', now(), now()) $$,
  '23505', NULL, 'a second open account would be refused by an index');
SELECT set_eq($$ SELECT lease() $$, ARRAY['ann create_account'], 'links wait for the account');
SELECT is(body, 'email=ann%40example.com&metadata[host_id]=ann&controller[fees][payer]=application&controller[losses][payments]=application&controller[stripe_dashboard][type]=express&controller[requirement_collection]=stripe&capabilities[transfers][requested]=true&capabilities[card_payments][requested]=true',
  'which is an Express account') FROM leased WHERE kind = 'create_account';
SELECT is(attempt('SELECT ticketing.organizer_status(''ann'')'), 'PT404 not_found', 'no account before Stripe has made it');
SELECT answer('ann', 'create_account', 200, account('acct_ann', false, false, false) || '{"email": "ann@example.com", "individual": {"ssn_last_4_provided": false}}') \g /dev/null
SELECT is(payee('ann'), 'acct_ann f f f', 'the account is trusted');
SELECT is(shown('ann'), 'acct_ann f f f', 'and shown to the application');
SELECT is(r.answer, '{"id": "acct_ann", "object": "account"}', 'of what Stripe says of a person nothing is kept') FROM ticketing.stripe_requests r WHERE kind = 'create_account' AND user_id = 'ann';
SELECT bag_eq($$ SELECT lease() $$, ARRAY['ann create_account_link', 'ann create_account_link'], 'then both links are asked for');
SELECT is(body, 'type=account_onboarding&account=acct_ann&return_url=https%3A%2F%2Fapp.example%2Fdone&refresh_url=https%3A%2F%2Fapp.example%2Fagain', 'of this account') FROM leased LIMIT 1;
DELETE FROM leased WHERE id <> (SELECT (answer ->> 'stripe_request_id')::uuid FROM first);
SELECT answer('ann', 'create_account_link', 200, '{"object": "account_link", "created": 1800000000, "expires_at": 1800000300, "url": "https://connect.stripe.example/setup/s/secret"}') \g /dev/null
SELECT results_eq($$ SELECT user_id, url, extract(epoch FROM url_expires_at)::bigint FROM ticketing.stripe_handoff h JOIN first ON h.request_id = (answer ->> 'stripe_request_id')::uuid $$,
  $$ VALUES ('ann', 'https://connect.stripe.example/setup/s/secret', 1800000300::bigint) $$, 'its url is handed to the host');
SELECT is_empty($$ SELECT FROM ticketing.stripe_requests r WHERE r::text ~ 'setup/s' $$, 'and stands nowhere else');
SELECT is(onboard('ann') ->> 'stripe_account_id', 'acct_ann', 'the next link needs no account');
SELECT set_eq($$ SELECT lease() $$, ARRAY['ann create_account_link'], 'and waits for nothing');

-- ---- what Stripe says of it

SELECT is(ticketing.organizer_status('ann'), '{"host_id": "ann", "stripe_account_id": "acct_ann", "charges_enabled": false, "payouts_enabled": false, "details_submitted": false}', 'as Stripe said last');
UPDATE public.organizer_accounts SET charges_enabled = true, stripe_account_id = 'acct_ann' WHERE host_id = 'ann';
SELECT is(ticketing.organizer_status('ann') ->> 'charges_enabled', 'false', 'not as a client says');
SELECT is(ticketing.refresh_organizer_status('ann'), ticketing.refresh_organizer_status('ann'), 'a second question joins one that has not been sent');
SELECT lease() \g /dev/null
SELECT answer('ann', 'get_account', 200, account('acct_ann', true, false, true)) \g /dev/null
SELECT is(payee('ann'), 'acct_ann t f t', 'what Stripe answers is trusted');
SELECT is(shown('ann'), 'acct_ann t f t', 'and shown');
SELECT ticketing.refresh_organizer_status('ann') \g /dev/null
SELECT lease() \g /dev/null
SELECT answer('ann', 'get_account', 200, account('acct_other', false, false, false)) \g /dev/null
SELECT is(payee('ann'), 'acct_ann t f t', 'what it says of an account that is nobody''s changes nothing');
SELECT is((SELECT count(*) FROM ticketing.payees WHERE stripe_account_id = 'acct_other'), 0::bigint, 'nor does it make anybody its payee');

-- ---- what clients write meanwhile

SELECT onboard('bob') \g /dev/null
SELECT lease() \g /dev/null
INSERT INTO public.organizer_accounts (host_id, stripe_account_id) VALUES ('bob', 'acct_written');
SELECT answer('bob', 'create_account', 200, account('acct_made', false, false, false)) \g /dev/null
SELECT is(payee('bob') || ', ' || shown('bob'), 'acct_written f f f, acct_written f f f', 'an account that appeared first stays');
SELECT is(detail, '{"stripe_account_id": "acct_made", "kept": "acct_written"}', 'the second one is a finding') FROM ticketing.findings WHERE (kind, entity) = ('second_account', 'payees/bob');
INSERT INTO public.organizer_accounts (host_id) VALUES ('cas');
SELECT onboard('cas') \g /dev/null
SELECT lease() \g /dev/null
SELECT answer('cas', 'create_account', 200, account('acct_cas', true, true, true)) \g /dev/null
SELECT is(payee('cas') || ', ' || shown('cas'), 'acct_cas t t t, acct_cas t t t', 'a host who was known without an account gets his');
SELECT onboard('dan') \g /dev/null
SELECT lease() \g /dev/null
SELECT answer('dan', 'create_account', 400, '{"error": {"type": "invalid_request_error", "code": "email_invalid", "message": "Invalid email"}}') \g /dev/null
SELECT results_eq($$ SELECT requests('dan') $$, ARRAY['create_account failed', 'create_account_link failed'], 'an account that Stripe refuses fails with its link');
SELECT onboard('dan') \g /dev/null
SELECT results_eq($$ SELECT requests('dan') OFFSET 2 $$, ARRAY['create_account ready', 'create_account_link ready'], 'and can be asked for again');

-- An account that is not (or no longer) connected to the platform.
SELECT ticketing.refresh_organizer_status('cas') \g /dev/null
SELECT lease() \g /dev/null
SELECT is(answer('cas', 'get_account', 403, '{"error": {"type": "invalid_request_error", "code": "account_invalid", "message": "The provided key does not have access to account"}}'), 'failed',
  'its request fails; the relay goes on, for the key is good');

-- A client who has written another host's account into his own row: a link to it would be a link to the other's money.
UPDATE public.organizer_accounts SET stripe_account_id = NULL WHERE host_id = 'cas';
INSERT INTO public.organizer_accounts (host_id, stripe_account_id) VALUES ('thief', 'acct_cas'), ('odd', 'acct_1/persons');
SELECT is(refusal('SELECT onboard(''thief'')'), '{"reason": "wrong_state", "stripe_account_id": "acct_cas"}', 'is given no link');
SELECT is(refusal('SELECT ticketing.refresh_organizer_status(''odd'')'), '{"reason": "wrong_state", "stripe_account_id": "acct_1/persons"}', 'and what is no id comes into no path');

SELECT * FROM finish();
ROLLBACK;
