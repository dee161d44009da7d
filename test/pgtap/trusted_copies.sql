-- Clients can rewrite whose event and whose Stripe account it is. The engine goes by its own copies, recorded when an
-- event or account first appears: money and door rights stay where they were.
\ir support/setup.sql
SELECT plan(33);

CREATE FUNCTION as_client(statement text, user_id text DEFAULT 'thief', role text DEFAULT 'authenticated') RETURNS text LANGUAGE sql AS
$$ SELECT attempt(statement, role, claims_of(user_id)) $$;
CREATE FUNCTION copies() RETURNS text LANGUAGE sql AS $$
  SELECT md5(string_agg(r, '' ORDER BY r)) FROM (
    SELECT concat_ws(',', event_id, host_id) FROM ticketing.event_settings
    UNION ALL SELECT concat_ws(',', host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted) FROM ticketing.payees) c (r)
$$;

-- ---- when something first appears

SELECT is(as_client('INSERT INTO public.events (host_id, title, max_attendees) VALUES (''host'', ''New'', 40)', 'host'), 'ok', 'a client makes an event');
CREATE TEMP TABLE e AS SELECT id, make_tier(id) AS tier FROM public.events WHERE host_id = 'host';
SELECT results_eq('SELECT host_id, capacity FROM ticketing.event_settings JOIN e ON id = event_id', $$ VALUES ('host', 40) $$,
  'a new event is recorded with its host and capacity, or nobody could scan');
SELECT is(as_client('INSERT INTO public.organizer_accounts (host_id) VALUES (''host'')', 'host'), 'ok', 'the host begins onboarding');
SELECT results_eq($$ SELECT stripe_account_id, charges_enabled FROM ticketing.payees WHERE host_id = 'host' $$, $$ VALUES (NULL, false) $$,
  'an account without a Stripe account is recorded as one that cannot be paid');
SELECT is(attempt(format('SELECT ticketing.create_payment_intent(''buyer'', %s, %L)', id, items(tier, 1))), 'PT409 wrong_state',
  'nobody pays a host without an account: the money would be stuck') FROM e;
SELECT is(as_client('UPDATE public.organizer_accounts SET stripe_account_id = ''acct_host'', charges_enabled = true, payouts_enabled = true', 'host'), 'ok',
  'the host gets a Stripe account');
SELECT results_eq($$ SELECT stripe_account_id, charges_enabled, payouts_enabled FROM ticketing.payees WHERE host_id = 'host' $$, $$ VALUES ('acct_host', true, true) $$,
  'the first Stripe account is recorded when it appears');
SELECT is(as_client('UPDATE public.organizer_accounts SET stripe_account_id = NULL', 'host'), 'ok', 'the client takes it away');
SELECT is(as_client('UPDATE public.organizer_accounts SET stripe_account_id = ''acct_stolen''', 'host'), 'ok', 'and writes another one (a stolen session)');
SELECT results_eq($$ SELECT stripe_account_id FROM ticketing.payees WHERE host_id = 'host' $$, $$ VALUES ('acct_host') $$,
  'first is first: taking the account away does not open it for another');

-- ---- an order and a ticket, before the theft

SELECT make_host('thief') \g /dev/null
CREATE TEMP TABLE before AS SELECT payable_order('early', id, items(tier, 1)) AS order_id, (SELECT count(*) FROM ticketing.event_settings) AS events, copies() AS copies FROM e;
SELECT is(pay(order_id), 'applied', 'a ticket is sold') FROM before;

-- ---- the theft, through the policies that production has

SELECT is(as_client('UPDATE public.events SET host_id = ''thief''', 'thief', 'anon'), 'ok', 'anon makes himself host of every event');
SELECT isnt((SELECT count(*) FROM public.events WHERE host_id = 'thief'), 0::bigint, 'which public shows');
SELECT is(copies(), before.copies, 'no trusted copy follows') FROM before;
SELECT is(as_client('UPDATE public.organizer_accounts SET stripe_account_id = ''acct_theft'', charges_enabled = false', 'host'), 'ok', 'the account is rewritten once more');
SELECT is(copies(), before.copies, 'nor do the payees') FROM before;
SELECT is(as_client(format('INSERT INTO public.events (id, host_id, title) VALUES (%s, ''thief'', ''Again'') ON CONFLICT (id) DO UPDATE SET host_id = excluded.host_id', id), 'thief', 'anon'), 'ok',
  'not by an upsert either') FROM e;
SELECT is(copies(), before.copies, 'no trusted copy follows an upsert') FROM before;

-- ---- the money

CREATE TEMP TABLE after AS SELECT payable_order('late', id, items(tier, 2)) AS order_id FROM e;
SELECT results_eq('SELECT host_id, payee_account FROM ticketing.orders o JOIN after USING (order_id)', $$ VALUES ('host', 'acct_host') $$,
  'an order made after the theft still pays the host');
SELECT results_eq($$ SELECT params -> 'transfer_data' ->> 'destination' FROM ticketing.stripe_requests JOIN after USING (order_id) WHERE kind = 'create_payment_intent' $$, $$ VALUES ('acct_host') $$,
  'and so says the request that Stripe gets');
SELECT results_eq('SELECT payee_account FROM ticketing.orders o JOIN before USING (order_id)', $$ VALUES ('acct_host') $$,
  'the order made before keeps its payee');
SELECT is(deliver(stripe_event('evt_theft', 'payment_intent.succeeded', intent(order_id, 'succeeded', '{"transfer_data": {"destination": "acct_thief"}}'))), 'applied',
  'Stripe says that another account was paid') FROM after;
SELECT results_eq('SELECT state FROM ticketing.orders JOIN after USING (order_id)', $$ VALUES ('review') $$, 'that is a finding, not a sale');

-- The sample has one host whose account Stripe has not enabled.
CREATE TEMP TABLE refused AS SELECT host_id, make_event(host_id) AS event FROM ticketing.payees WHERE NOT charges_enabled AND stripe_account_id IS NOT NULL;
SELECT is(as_client('UPDATE public.organizer_accounts SET charges_enabled = true', host_id), 'ok', 'a host whose account Stripe refuses writes charges_enabled himself') FROM refused;
SELECT is(charges_enabled, true, 'which public shows') FROM refused JOIN public.organizer_accounts USING (host_id);
SELECT is(attempt(format('SELECT ticketing.create_payment_intent(''buyer'', %s, %L)', event, items(make_tier(event), 1))), 'PT409 wrong_state',
  'still nobody pays him: Stripe would refuse the charge') FROM refused;

-- ---- the door

CREATE TEMP TABLE door AS SELECT e.id AS event, t.id AS ticket, t.qr_payload FROM e, before JOIN ticketing.order_tickets USING (order_id) JOIN public.tickets t ON t.id = ticket_id;
SELECT is(ticketing.check_in(qr_payload, event, 'thief') ->> 'result', 'not_allowed', 'the new "host" may not scan') FROM door;
SELECT is(ticketing.check_in(qr_payload, event, 'thief', force => true) ->> 'result', 'not_allowed', 'nor force the door') FROM door;
SELECT is(ticketing.check_in(qr_payload, event, 'host') ->> 'result', 'admitted', 'the host still may') FROM door;

-- ---- deleted and made again

CREATE TEMP TABLE victim AS SELECT make_event('host', 10) AS id;
SELECT is(as_client(format('DELETE FROM public.events WHERE id = %s', id), 'thief', 'anon'), 'ok', 'a client deletes an event that has sold nothing') FROM victim;
SELECT is(as_client(format('INSERT INTO public.events (id, host_id, title, max_attendees) VALUES (%s, ''thief'', ''Mine now'', 500)', id), 'thief', 'anon'), 'ok', 'and makes it again as his') FROM victim;
SELECT results_eq('SELECT host_id, capacity FROM ticketing.event_settings JOIN victim ON id = event_id', $$ VALUES ('host', 500) $$,
  'the id keeps the host it was first seen with, and has the new capacity');
SELECT is_empty('SELECT broken_invariants()', 'and no seat is lost or made up');

SELECT * FROM finish();
ROLLBACK;
