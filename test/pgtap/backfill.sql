-- What Stripe knows and its webhooks did not bring: what somebody waits for is asked about, events are read page by page.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(60);

DELETE FROM ticketing.event_cursors;
CREATE TEMP TABLE shop AS SELECT make_event(make_host('backfill')) AS event;
CREATE FUNCTION after(instant timestamptz, wait interval) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM wait_until(instant + wait);
  RETURN ticketing.enqueue_reconciliation();
END
$$;
CREATE FUNCTION event(id text, type text, object jsonb, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$ SELECT convert_from(stripe_event(id, type, object, changes), 'UTF8')::jsonb $$;
CREATE FUNCTION asked(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT concat_ws(' ', path, params ->> 'starting_after', lane, stripe_account) FROM ticketing.stripe_requests WHERE kind = what ORDER BY seq;
END
$$;
CREATE FUNCTION inbox(event_id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT concat_ws(' ', state, reason) FROM ticketing.stripe_inbox WHERE stripe_event_id = event_id);
END
$$;

-- ---- what somebody waits for

CREATE TEMP TABLE o AS SELECT unpaid_order('anna') AS anna;
ALTER TABLE o ADD made timestamptz;
UPDATE o SET made = (SELECT created_at FROM ticketing.orders WHERE order_id = anna);
SELECT is(after(made, '59 seconds') ->> 'payments', '0', 'a payment that a buyer has had for less than a minute is not asked about') FROM o;
SELECT is(after(made, '61 seconds') ->> 'payments', '1', 'after a minute it is') FROM o;
SELECT results_eq($$ SELECT asked('get_payment_intent') $$, $$ SELECT '/v1/payment_intents/' || payment_intent_id || ' 2' FROM ticketing.orders, o WHERE order_id = anna $$, 'behind the calls of buyers');
SELECT is(ticketing.enqueue_reconciliation() ->> 'payments', '0', 'once');
SELECT is(carry(anna, 'get_payment_intent', 200, intent(anna, 'requires_payment_method')), 'done: awaiting_payment', 'as long as nobody has paid nothing happens') FROM o;
SELECT is(after(made, '9 minutes') ->> 'payments', '0', 'then it is not asked about') FROM o;
UPDATE ticketing.orders SET expires_at = 'infinity', due_at = NULL WHERE order_id IN (SELECT anna FROM o);
SELECT is(after(made, '11 minutes') ->> 'payments', '1', 'until ten minutes have passed') FROM o;
SELECT is(carry(anna, 'get_payment_intent', 200, intent(anna, 'processing')), 'done: processing', 'its method settles later') FROM o;
UPDATE ticketing.orders SET due_at = NULL WHERE order_id IN (SELECT anna FROM o);
SELECT is(after(made, '59 minutes') ->> 'payments', '0', 'nor') FROM o;
SELECT is(after(made, '61 minutes') ->> 'payments', '1', 'until an hour has') FROM o;
SELECT is(carry(anna, 'get_payment_intent', 200, intent(anna, 'processing')), 'done: processing', 'it is settling still') FROM o;
SELECT is(after(made, '23 hours') ->> 'payments', '0', 'nor') FROM o;
SELECT is(after(made, '25 hours') ->> 'payments', '1', 'until a day has') FROM o;
SELECT is(carry(anna, 'get_payment_intent', 200, intent(anna, 'succeeded')), 'done: paid', 'which finds it paid: the same as if the webhook had come') FROM o;
SELECT is((SELECT count(*) FROM ticketing.order_tickets, o WHERE order_id = anna), 1::bigint, 'with its ticket');
SELECT is(after(made, '49 hours') ->> 'payments', '0', 'nobody waits any more') FROM o;
SELECT is_empty('SELECT * FROM ticketing.stripe_checks', 'and nothing is remembered');

-- Somebody was away: what was missed is asked once.
UPDATE o SET anna = unpaid_order('bert');
UPDATE o SET made = (SELECT created_at FROM ticketing.orders WHERE order_id = anna);
UPDATE ticketing.orders SET expires_at = 'infinity', due_at = NULL WHERE order_id IN (SELECT anna FROM o);
SELECT is(after(made, '2 hours') ->> 'payments', '1', 'three checks were missed') FROM o;
SELECT is(carry(anna, 'get_payment_intent', 200, intent(anna, 'requires_payment_method')), 'done: awaiting_payment', 'one call makes up for them') FROM o;
SELECT is(ticketing.enqueue_reconciliation() ->> 'payments', '0', 'and no other follows');

-- Money on its way back.
SELECT pay(anna) FROM o \g /dev/null
SELECT ticketing.refund_order(anna, 'backfill') FROM o \g /dev/null
SELECT is(carry(anna, 'create_refund', 200, jsonb_build_object('id', 're_1', 'object', 'refund', 'status', 'pending', 'amount', 2663, 'payment_intent', 'pi_' || replace(anna::text, '-', ''))), 'done: refunding', 'a refund is on its way') FROM o;
SELECT is(after(created_at, '61 seconds') ->> 'refunds', '1', 'it is asked about as payments are') FROM ticketing.refunds, o WHERE order_id = anna;
SELECT is(carry(anna, 'get_refund', 200, jsonb_build_object('id', 're_1', 'object', 'refund', 'status', 'succeeded', 'amount', 2663)), 'done: refunded', 'and has arrived') FROM o;

SELECT known_dispute(anna, 'dp_backfill', 2663, 'needs_response', 'open') FROM o \g /dev/null
SELECT is(after(ticketing.clock(), '61 seconds') ->> 'disputes', '1', 'so is an open dispute');
SELECT results_eq($$ SELECT asked('get_dispute') $$, $$ VALUES ('/v1/disputes/dp_backfill 2') $$, 'behind all others');
DELETE FROM ticketing.disputes;

-- ---- events

SELECT clear_outbox() \g /dev/null
DELETE FROM ticketing.event_cursors;
DELETE FROM ticketing.payees WHERE stripe_account_id IS NOT NULL AND host_id <> 'backfill';
UPDATE o SET anna = unpaid_order('carla');
ALTER TABLE o ADD dora uuid;
UPDATE o SET dora = unpaid_order('dora');
SELECT is(ticketing.enqueue_reconciliation() ->> 'event_pages', '1', 'the events of the platform are asked for');
UPDATE ticketing.event_cursors SET next_at = 'infinity' WHERE account = 'acct_backfill';
SELECT is(ticketing.enqueue_reconciliation() ->> 'event_pages', '0', 'once');
SELECT results_eq($$ SELECT params ->> 'limit', (params #>> '{created,gte}')::bigint = extract(epoch FROM ticketing.clock() - interval '3 days 5 minutes')::bigint OR (params #>> '{created,lte}')::bigint - (params #>> '{created,gte}')::bigint BETWEEN 259400 AND 259600,
    params -> 'types' @> '["payment_intent.succeeded", "charge.refunded"]' AND jsonb_array_length(params -> 'types') <= 20, lane FROM ticketing.stripe_requests WHERE kind = 'list_events' $$,
  $$ VALUES ('100', true, true, 2::smallint) $$, 'those of three days, of the types that mean something, behind all others');
-- Newest first: a decline that was followed by a success, of two orders.
SELECT is(carry('list_events', 200, page(true,
    event('evt_3', 'payment_intent.succeeded', intent(anna, 'succeeded', '{"client_secret": "pi_secret_of_anna"}')),
    event('evt_2', 'payment_intent.payment_failed', intent(anna, 'requires_payment_method', '{"last_payment_error": {"code": "card_declined"}}')))), 'done', 'the newest page comes first') FROM o;
SELECT is(show(anna, 'state'), 'paid', 'its events are heard: the order is paid whose webhooks never came') FROM o;
SELECT results_eq('SELECT event FROM ticketing.order_events, o WHERE order_id = anna ORDER BY id', $$ VALUES ('made'), ('declined'), ('succeeded') $$, 'in the order in which they happened');
SELECT is(inbox('evt_3'), 'applied', 'as webhooks are recorded');
SELECT is_empty($$ SELECT payload FROM ticketing.stripe_inbox WHERE payload LIKE '%secret_of_anna%' $$, 'without what a client must be handed');
SELECT is(deliver(stripe_event('evt_3', 'payment_intent.succeeded', intent(anna, 'succeeded'))), 'duplicate', 'the webhook that comes after all is known') FROM o;
SELECT results_eq($$ SELECT asked('list_events') OFFSET 1 $$, $$ VALUES ('/v1/events evt_2 2') $$, 'the next page begins where this one ended');
SELECT is((SELECT seen_until < ticketing.clock() - interval '2 days' FROM ticketing.event_cursors WHERE account = ''), true, 'the cursor stays as long as pages are missing');

-- A page with what cannot be applied, what is known, what nobody wants and what is no event.
ALTER TABLE ticketing.order_events ADD CONSTRAINT in_the_way CHECK (NOT (event = 'declined' AND source = 'evt_bad')) NOT VALID;
SELECT is(carry('list_events', 200, page(false,
    event('evt_1', 'payment_intent.succeeded', intent(dora, 'succeeded')),
    event('evt_3', 'payment_intent.succeeded', intent(anna, 'succeeded')),
    event('evt_noise', 'customer.created', '{"id": "cus_1"}'),
    '"no event"', '{"type": "payment_intent.succeeded"}',
    event('evt_bad', 'payment_intent.payment_failed', intent(dora, 'requires_payment_method', '{"last_payment_error": {"code": "card_declined"}}')),
    event('evt_0', 'payment_intent.succeeded', '{"id": "pi_unknown", "object": "payment_intent"}'))), 'done', 'the last page has all sorts of things') FROM o;
SELECT is(show(dora, 'state'), 'paid', 'what is good is heard') FROM o;
SELECT matches(inbox('evt_bad'), '^parked 23514', 'what fails is parked with the reason, and stops nothing');
SELECT is(inbox('evt_0'), 'parked unknown_object', 'so is what nobody knows');
SELECT is(inbox('evt_noise'), NULL, 'what nobody wants leaves no trace');
SELECT results_eq('SELECT request_id, seen_until > ticketing.clock() - interval ''1 minute'', failure FROM ticketing.event_cursors WHERE account = ''''', 'VALUES (NULL::uuid, true, NULL::text)', 'now the cursor moves');
SELECT is(after(ticketing.clock(), '4 minutes') ->> 'event_pages', '0', 'for five minutes nothing is asked');
SELECT is(after(ticketing.clock(), '2 minutes') ->> 'event_pages', '1', 'then what is new');
SELECT results_eq($$ SELECT (params #>> '{created,lte}')::bigint - (params #>> '{created,gte}')::bigint BETWEEN 600 AND 720 FROM ticketing.stripe_requests WHERE kind = 'list_events' AND state = 'ready' $$, 'VALUES (true)',
  'and the five minutes before that, once more');

-- An answer that is applied late has lost its page.
SELECT is(carry('list_events', 200, '{"object": "list"}'), 'done', 'an answer without a page') FROM o;
SELECT is(ticketing.enqueue_reconciliation() ->> 'event_pages', '1', 'is asked for again');
SELECT is(carry('list_events', 200, page(false, VARIADIC '{}'::jsonb[])), 'done', 'an empty page ends the window') FROM o;

-- A buyer's zero or half a character, which no text of ours can hold, must not keep a page for ever.
UPDATE o SET anna = unpaid_order('frida');
SELECT is(after(ticketing.clock(), '6 minutes') ->> 'event_pages', '1', 'the next window');
SELECT ticketing.relay_claim(100, '1 minute') \g /dev/null
SELECT is(ticketing.relay_complete(r.id, r.lease_token, 200, '{}', convert_to(replace(page(false, event('evt_zero', 'payment_intent.succeeded', intent(anna, 'succeeded', '{"description": "NUL"}')))::text,
  'NUL', 'a\u0000b \ud83d\ude00 \ud83d \\u0000'), 'UTF8')), 'done', 'has such a page') FROM ticketing.stripe_requests r, o WHERE r.kind = 'list_events' AND r.state = 'leased';
SELECT is(show(anna, 'state'), 'paid', 'and is heard') FROM o;

-- ---- connected accounts

INSERT INTO ticketing.event_cursors (account, seen_until, next_at, updated_at) SELECT a, ticketing.clock(), ticketing.clock(), ticketing.clock() FROM unnest(ARRAY['acct_gone', 'acct_good']) a
ON CONFLICT DO NOTHING;
SELECT is((after(ticketing.clock(), '6 minutes') ->> 'event_pages')::integer, 3, 'each account has a window of its own');
SELECT set_has($$ SELECT stripe_account FROM ticketing.stripe_requests WHERE kind = 'list_events' AND state = 'ready' $$, $$ VALUES ('acct_gone'), ('acct_good') $$, 'asked for in its name');
SELECT ticketing.relay_claim(100, '1 minute') \g /dev/null
SELECT is(ticketing.relay_complete(id, lease_token, 403, '{}', '{"error": {"code": "account_invalid", "message": "no access to this account"}}'), 'failed', 'an account has left the platform')
FROM ticketing.stripe_requests WHERE stripe_account = 'acct_gone' AND state = 'leased';
-- What is an account's own is heard as its webhooks are.
UPDATE ticketing.event_cursors SET next_at = ticketing.clock() WHERE account = 'acct_backfill';
SELECT is(ticketing.enqueue_reconciliation() ->> 'event_pages', '1', 'a host''s account');
SELECT ticketing.relay_claim(100, '1 minute') \g /dev/null
SELECT is(ticketing.relay_complete(r.id, r.lease_token, 200, '{}', convert_to(page(false, event('evt_payout', 'payout.paid', '{"id": "po_1", "object": "payout", "amount": 100}'),
  event('evt_connected', 'payment_intent.succeeded', intent(dora, 'succeeded')))::text, 'UTF8')), 'done', 'has its page') FROM ticketing.stripe_requests r, o WHERE r.stripe_account = 'acct_backfill' AND r.kind = 'list_events' AND r.state = 'leased';
SELECT results_eq($$ SELECT state, account, payload::jsonb ->> 'account' FROM ticketing.stripe_inbox WHERE stripe_event_id = 'evt_payout' $$, $$ VALUES ('applied', 'acct_backfill', 'acct_backfill') $$, 'as an event of that account');
-- Its own payments that claim to be ours count for nothing.
SELECT is(inbox('evt_connected'), NULL, 'are not even looked at');
SELECT results_eq($$ SELECT account, failure, next_at > ticketing.clock() + interval '23 hours' FROM ticketing.event_cursors WHERE account <> '' AND failure IS NOT NULL $$, $$ VALUES ('acct_gone', 'no access to this account', true) $$,
  'it is asked again after a day, and says why in the report');
SELECT isnt_empty($$ SELECT FROM ticketing.reconciliation_report() WHERE line ~ 'acct_gone.*refused: no access' $$, 'as a line');

SELECT * FROM finish();
ROLLBACK;
