-- Acting as each role, with the claims setting unset, empty and set, as PostgREST and poolers leave it: tables are
-- closed, what is granted works, everything else is refused.
\ir support/setup.sql
SELECT plan(51);

-- Every direct access to a table of the engine that is not denied.
CREATE FUNCTION open_tables(as_role text, claims text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT format('%s: %s', statement, outcome)
  FROM (SELECT c.oid::regclass AS name, c.relkind,
               (SELECT quote_ident(attname) FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attidentity = '' ORDER BY attnum LIMIT 1) AS col
        FROM pg_class c WHERE c.relnamespace = 'ticketing'::regnamespace AND c.relkind IN ('r', 'v')) t
  CROSS JOIN LATERAL (VALUES (format('SELECT FROM %s', name)), (format('INSERT INTO %s DEFAULT VALUES', name)), (format('UPDATE %s SET %s = %2$s', name, col)),
                             (format('DELETE FROM %s', name)), (format('TRUNCATE %s', name)), (format('LOCK TABLE %s IN ACCESS SHARE MODE', name))) s (statement)
  CROSS JOIN LATERAL attempt(statement, as_role, claims) outcome
  WHERE outcome <> '42501' AND (relkind = 'r' OR statement LIKE 'SELECT%')
  UNION ALL
  SELECT format('%s: %s', name, outcome) FROM (SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'ticketing'::regnamespace AND relkind = 'S') q
  CROSS JOIN LATERAL attempt(format('SELECT nextval(%L)', name), as_role, claims) outcome WHERE outcome <> '42501'
$$;

CREATE TEMP TABLE world AS
SELECT event, make_tier(event) AS paid, make_tier(event, 0) AS free FROM (SELECT make_event(make_host('roles_host'), 100) AS event) e;
-- What the calls below are about: a held reservation, an order, a ticket.
CREATE TEMP TABLE facts AS
SELECT hold('roles_buyer', event, items(paid, 1)) AS reservation, t ->> 'order_id' AS free_order, t -> 'tickets' -> 0 ->> 'qr_payload' AS payload
FROM world, ticketing.claim_free_tickets('roles_buyer', event, items(free, 1)) t;

-- Somebody who has just been invited, whoever asks.
CREATE FUNCTION invited(event integer) RETURNS text LANGUAGE sql SECURITY DEFINER AS
$$ SELECT ticketing.add_co_organizer(event, 'roles_host', gen_random_uuid()::text) ->> 'user_id' $$;
GRANT USAGE ON SCHEMA test TO PUBLIC;

-- A ticket, a scan of it, and one that is suspended, whoever asks.
CREATE FUNCTION a_ticket(event integer, tier uuid) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS
$$ SELECT claim(gen_random_uuid()::text, tier) $$;
CREATE FUNCTION a_scan(event integer, tier uuid) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS
$$ SELECT (ticketing.check_in(code(claim(gen_random_uuid()::text, tier)), event, 'roles_host') ->> 'checkin_id')::uuid $$;
CREATE FUNCTION a_suspended_ticket(event integer, tier uuid) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS
$$ SELECT (ticketing.suspend_ticket(a_ticket(event, tier), 'roles_host', 'x') ->> 'ticket_id')::uuid $$;
SELECT ticketing.enrol_door_device(event, 'roles_host', 'd1') FROM world \g /dev/null

-- Orders of a free ticket: given back, asked to be, and an event that is about to be canceled, whoever asks.
CREATE FUNCTION an_order(event integer, tier uuid) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS
$$ SELECT (ticketing.claim_free_tickets('roles_asker', event, items(tier, 1)) ->> 'order_id')::uuid $$;
CREATE FUNCTION a_request(event integer, tier uuid) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS
$$ SELECT (ticketing.request_refund(an_order(event, tier), 'roles_asker') ->> 'refund_request_id')::uuid $$;
CREATE FUNCTION another_event() RETURNS integer LANGUAGE sql SECURITY DEFINER AS $$ SELECT make_event('roles_host') $$;

-- A user whom Stripe knows.
INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES ('roles_saver', 'cus_roles');

-- A call of every function that somebody may execute.
CREATE TEMP TABLE calls AS
SELECT name, statement FROM world, facts CROSS JOIN LATERAL (VALUES
  ('availability', format('SELECT * FROM ticketing.availability(%s)', event)),
  ('quote', format('SELECT ticketing.quote(%s, %L)', event, items(paid, 2))),
  ('hold_tickets', format('SELECT ticketing.hold_tickets(%L, %s, %L)', 'roles_other', event, items(paid, 1))),
  ('extend_hold', format('SELECT ticketing.extend_hold((ticketing.hold_tickets(%L, %s, %L) ->> ''reservation_id'')::uuid, %1$L)', 'roles_extender', event, items(paid, 1))),
  ('release_hold', format('SELECT ticketing.release_hold(%L, %L)', reservation, 'roles_buyer')),
  ('claim_free_tickets', format('SELECT ticketing.claim_free_tickets(%L, %s, %L)', 'roles_other', event, items(free, 1))),
  ('create_payment_intent', format('SELECT ticketing.create_payment_intent(%L, %s, %L)', 'roles_other', event, items(paid, 1))),
  ('setup_payment_method', 'SELECT ticketing.setup_payment_method(''roles_buyer'', ''2026-10-28.endive'')'),
  ('payment_methods', 'SELECT ticketing.payment_methods(''roles_buyer'')'),
  ('set_default_payment_method', 'SELECT ticketing.set_default_payment_method(''roles_saver'', ''pm_1'')'),
  ('remove_payment_method', 'SELECT ticketing.remove_payment_method(''roles_saver'', ''pm_1'')'),
  ('connect_onboarding', 'SELECT ticketing.connect_onboarding(''roles_host'', ''https://app.example/done'', ''https://app.example/again'')'),
  ('organizer_status', 'SELECT ticketing.organizer_status(''roles_host'')'),
  ('refresh_organizer_status', 'SELECT ticketing.refresh_organizer_status(''roles_host'')'),
  ('order_status', format('SELECT ticketing.order_status(%L, %L)', free_order, 'roles_buyer')),
  ('create_checkout_session', format('SELECT ticketing.create_checkout_session(%L, %s, %L, success_url => ''https://example.com/'')', 'roles_other', event, items(paid, 1))),
  ('cancel_order', format('SELECT ticketing.cancel_order((ticketing.create_payment_intent(%L, %s, %L) ->> ''order_id'')::uuid, %1$L)', 'roles_other', event, items(paid, 1))),
  ('refund_order', format('SELECT ticketing.refund_order(id, ''roles_host'') FROM an_order(%s, %L) id', event, free)),
  ('request_refund', format('SELECT ticketing.request_refund(id, ''roles_asker'') FROM an_order(%s, %L) id', event, free)),
  ('approve_refund', format('SELECT ticketing.approve_refund(id, ''roles_host'') FROM a_request(%s, %L) id', event, free)),
  ('deny_refund', format('SELECT ticketing.deny_refund(id, ''roles_host'') FROM a_request(%s, %L) id', event, free)),
  ('refund_requests', format('SELECT * FROM ticketing.refund_requests(%s, ''roles_host'')', event)),
  ('save_refund_policy', format('SELECT ticketing.save_refund_policy(%s, ''roles_host'', ''{}'')', event)),
  ('cancel_event', 'SELECT ticketing.cancel_event(event, ''roles_host'') FROM another_event() event'),
  ('event_financials', format('SELECT * FROM ticketing.event_financials(%s, ''roles_host'')', event)),
  ('sync_event_financials', 'SELECT ticketing.sync_event_financials()'),
  ('enqueue_settlement', 'SELECT ticketing.enqueue_settlement()'),
  ('settlement_report', 'SELECT * FROM ticketing.settlement_report()'),
  ('refund_canceled_events', 'SELECT ticketing.refund_canceled_events()'),
  ('order_transitions', 'SELECT * FROM ticketing.order_transitions() LIMIT 1'),
  ('verify_ticket', format('SELECT * FROM ticketing.verify_ticket(%L)', payload)),
  ('is_genuine_ticket', format('SELECT ticketing.is_genuine_ticket(%L)', payload)),
  ('ticket_qr_svg', format('SELECT ticketing.ticket_qr_svg(%L)', payload)),
  ('ticket_qr_text', format('SELECT ticketing.ticket_qr_text(%L)', payload)),
  ('check_in', format('SELECT ticketing.check_in(%L, %s, %L)', payload, event, 'roles_host')),
  ('add_co_organizer', format('SELECT ticketing.add_co_organizer(%s, %L, gen_random_uuid()::text)', event, 'roles_host')),
  ('accept_co_organizer', format('SELECT ticketing.accept_co_organizer(%s, user_id) FROM invited(%1$s) user_id', event)),
  ('update_co_organizer', format('SELECT ticketing.update_co_organizer(%s, %L, user_id, ''editor'') FROM invited(%1$s) user_id', event, 'roles_host')),
  ('remove_co_organizer', format('SELECT ticketing.remove_co_organizer(%s, %L, user_id) FROM invited(%1$s) user_id', event, 'roles_host')),
  ('list_co_organizers', format('SELECT * FROM ticketing.list_co_organizers(%s, %L)', event, 'roles_host')),
  ('sync_checkins', format('SELECT ticketing.sync_checkins(%s, ''roles_host'', ''d1'', now(), ''[]'')', event)),
  ('undo_check_in', format('SELECT ticketing.undo_check_in(id, ''roles_host'', ''x'') FROM a_scan(%s, %L) id', event, free)),
  ('door_manifest', format('SELECT ticketing.door_manifest(%s, ''roles_host'', ''d2'')', event)),
  ('door_key', format('SELECT ticketing.door_key(%s, ''roles_host'')', event)),
  ('enrol_door_device', format('SELECT ticketing.enrol_door_device(%s, ''roles_host'', ''d3'')', event)),
  ('revoke_door_device', format('SELECT ticketing.revoke_door_device(%s, ''roles_host'', ''d1'')', event)),
  ('list_door_devices', format('SELECT * FROM ticketing.list_door_devices(%s, ''roles_host'')', event)),
  ('save_door_settings', format('SELECT ticketing.save_door_settings(%s, ''roles_host'', ''{}'')', event)),
  ('door_conflicts', format('SELECT * FROM ticketing.door_conflicts(%s, ''roles_host'')', event)),
  ('door_progress', format('SELECT * FROM ticketing.door_progress(%s, ''roles_host'')', event)),
  ('reissue_ticket', format('SELECT ticketing.reissue_ticket(id, ''roles_host'') FROM a_ticket(%s, %L) id', event, free)),
  ('transfer_ticket', format('SELECT ticketing.transfer_ticket(id, ''roles_host'', gen_random_uuid()::text) FROM a_ticket(%s, %L) id', event, free)),
  ('void_ticket', format('SELECT ticketing.void_ticket(id, ''roles_host'', ''x'') FROM a_ticket(%s, %L) id', event, free)),
  ('suspend_ticket', format('SELECT ticketing.suspend_ticket(id, ''roles_host'', ''x'') FROM a_ticket(%s, %L) id', event, free)),
  ('restore_ticket', format('SELECT ticketing.restore_ticket(id, ''roles_host'') FROM a_suspended_ticket(%s, %L) id', event, free)),
  ('host_disputes', 'SELECT * FROM ticketing.host_disputes(''roles_host'')'),
  ('host_payouts', 'SELECT * FROM ticketing.host_payouts(''roles_host'')'),
  ('host_payout_summary', 'SELECT * FROM ticketing.host_payout_summary(''roles_host'')'),
  ('host_transactions', 'SELECT * FROM ticketing.host_transactions(''roles_host'')'),
  ('backfill_payloads', 'SELECT * FROM ticketing.backfill_payloads(10)'),
  ('clock', 'SELECT ticketing.clock()'),
  ('relay_start', 'SELECT ticketing.relay_start(''acct_platform'', false, '''')'),
  ('relay_claim', 'SELECT * FROM ticketing.relay_claim(10, ''1 minute'')'),
  ('relay_health', 'SELECT * FROM ticketing.relay_health()'),
  ('rearm_relay', 'SELECT ticketing.rearm_relay(current_database(), ''send'')'),
  ('relay_pause', 'SELECT ticketing.relay_pause()'),
  ('relay_complete', 'SELECT ticketing.relay_complete(gen_random_uuid(), gen_random_uuid(), 200, ''{}'', ''{}'')'),
  ('relay_complete_many', 'SELECT ticketing.relay_complete_many(''{}'', ''{}'', ''{}'', ''{}'', ''{}'')'),
  ('release_expired_holds', 'SELECT ticketing.release_expired_holds()'),
  ('sync_quantity_sold', 'SELECT ticketing.sync_quantity_sold()'),
  ('sweep_stripe', 'SELECT ticketing.sweep_stripe()'),
  ('end_due_orders', 'SELECT ticketing.end_due_orders()'),
  ('prune', 'SELECT ticketing.prune()'),
  ('enqueue_reconciliation', 'SELECT ticketing.enqueue_reconciliation()'),
  ('reconcile_orders', 'SELECT * FROM ticketing.reconcile_orders(pace => 1)'),
  ('reconcile', 'CALL ticketing.reconcile(pace => 1)'),
  ('reconciliation_report', 'SELECT * FROM ticketing.reconciliation_report()'),
  ('check_invariants', 'SELECT * FROM ticketing.check_invariants()'),
  ('statistics', 'SELECT * FROM ticketing.statistics()'),
  ('rebuild_stock', format('SELECT ticketing.rebuild_stock(%s)', event)),
  ('sign_ticket', format('SELECT ticketing.sign_ticket(gen_random_uuid(), %s, ''\x0102030405060708'')', event)),
  ('stripe_form', 'SELECT ticketing.stripe_form(''{}'')')) c (name, statement);

CREATE FUNCTION outcomes(as_role text, claims text) RETURNS TABLE (name text, outcome text) LANGUAGE sql AS $$
  SELECT name, attempt(statement, as_role, claims) FROM calls
$$;
CREATE FUNCTION expected(as_role text) RETURNS TABLE (name text, outcome text) LANGUAGE sql AS $$
  SELECT name, CASE WHEN has_function_privilege(as_role, p.oid, 'EXECUTE') THEN 'ok' ELSE '42501' END
  FROM calls JOIN pg_proc p ON p.pronamespace = 'ticketing'::regnamespace AND p.proname = name
$$;

-- What needs more than one call is below: await_stripe and stripe_webhook.
SELECT set_eq($$ SELECT proname::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE l.lanname = 'c' AND p.pronamespace = 'ticketing'::regnamespace $$,
  $$ SELECT name FROM calls UNION VALUES ('await_stripe'), ('stripe_webhook') $$,
  'every function of the extension is tried below: add a call for a new one');

-- ---- claims unset (must come first: once set, a setting can only become empty again)

SELECT is(current_setting('request.jwt.claims', true), NULL, 'the claims are unset');
SELECT is_empty(format('SELECT open_tables(%L, NULL)', r), r || ', claims unset: no table of the engine can be read, written or locked')
FROM unnest(ARRAY['anon', 'authenticated', 'service_role', 'dvnt_ticketing_relay', 'dvnt_ticketing_cron']) r;
SELECT results_eq(format('SELECT * FROM outcomes(%L, NULL) ORDER BY 1', r), format('SELECT * FROM expected(%L) ORDER BY 1', r),
  r || ', claims unset: what is granted works, what is not is refused')
FROM unnest(ARRAY['anon', 'authenticated', 'service_role', 'dvnt_ticketing_relay', 'dvnt_ticketing_cron']) r;

-- ---- claims empty, and set

SELECT is_empty(format('SELECT open_tables(%L, %L)', r, claims), format('%s, claims %s: no table of the engine is open', r, coalesce(nullif(claims, ''), 'empty')))
FROM unnest(ARRAY['anon', 'authenticated', 'service_role']) r, LATERAL (VALUES (''), (claims_of('roles_host', r))) c (claims);
SELECT results_eq(format('SELECT * FROM outcomes(%L, %L) ORDER BY 1', r, claims),
  format('SELECT * FROM expected(%L) ORDER BY 1', r),
  format('%s, claims %s: the same calls work', r, coalesce(nullif(claims, ''), 'empty')))
FROM unnest(ARRAY['anon', 'authenticated', 'service_role']) r, LATERAL (VALUES (''), (claims_of('roles_host', r))) c (claims);
SELECT is(attempt('SELECT ticketing.order_status(gen_random_uuid(), ''x'')', 'service_role', 'no json at all'), 'PT404 not_found',
  'service_role with claims that are not JSON: the acting user is an argument, the claims are not read');

-- A claim gives no right that the role has not.
SELECT is(attempt((SELECT statement FROM calls WHERE name = 'hold_tickets'), 'authenticated', claims_of('roles_host', 'service_role')), '42501',
  'authenticated that claims to be service_role is not');

-- ---- the two that need a call before

SELECT is(attempt(format('SELECT ticketing.await_stripe(%L, %L)', r.id, r.user_id), 'service_role'), 'PT409 wrong_state',
  'service_role may wait for Stripe''s answer (refused here, because the request is of this very transaction)')
FROM ticketing.stripe_requests r WHERE r.user_id = 'roles_other' AND r.kind = 'create_payment_intent' LIMIT 1;
SELECT is(attempt(format('SELECT ticketing.await_stripe(%L, %L)', r.id, 'roles_host'), 'service_role'), 'PT404 not_found',
  'but not for somebody else''s: the client secret is the buyer''s alone')
FROM ticketing.stripe_requests r WHERE r.user_id = 'roles_other' AND r.kind = 'create_payment_intent' LIMIT 1;
SELECT is(attempt('SELECT ticketing.await_stripe(gen_random_uuid(), ''x'')', r), '42501', r || ' may not ask for a client secret')
FROM unnest(ARRAY['anon', 'authenticated']) r;
CREATE TEMP TABLE webhook AS SELECT payload, stripe_signature(payload) AS signature FROM stripe_event('evt_roles', 'customer.created', '{"id": "cus_1"}') payload;
SELECT is(attempt(format('SELECT ticketing.stripe_webhook(%L, %L)', payload, signature), 'service_role', ''), 'ok',
  'service_role brings webhooks') FROM webhook;
SELECT is(attempt(format('SELECT ticketing.stripe_webhook(%L, %L)', payload, signature), r), '42501', r || ' does not, not even a genuine one')
FROM webhook, unnest(ARRAY['anon', 'authenticated']) r;

-- ---- read-only transactions: PostgREST runs GET and STABLE functions in one

SELECT is(attempt_read_only(statement, r), 'ok', format('%s runs in a read-only transaction as %s', name, r))
FROM (VALUES ('availability', 'anon'), ('quote', 'anon'), ('order_status', 'service_role'), ('organizer_status', 'service_role'), ('list_co_organizers', 'service_role'), ('door_key', 'service_role'), ('list_door_devices', 'service_role'), ('door_conflicts', 'service_role'), ('door_progress', 'service_role'), ('verify_ticket', 'service_role'), ('check_invariants', 'dvnt_ticketing_cron')) v (n, r)
JOIN calls ON name = n;
SELECT is(attempt_read_only((SELECT statement FROM calls WHERE name = 'hold_tickets'), 'service_role'), '25006',
  'a command does not: it says so, and holds nothing');

-- ---- the application goes on as before

SELECT is(attempt('INSERT INTO public.events (host_id, title, max_attendees) VALUES (''roles_client'', ''By a client'', 20)', 'anon', claims_of('roles_client')), 'ok',
  'a client makes an event, as the application''s policies allow: our triggers ask for no right of his');
SELECT is(attempt(format('INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total) VALUES (%s, ''Mine'', 500, 5)', id), 'authenticated', claims_of('roles_client')), 'ok',
  'and a tier') FROM public.events WHERE host_id = 'roles_client';
SELECT is(attempt('UPDATE public.ticket_types SET quantity_total = 7 WHERE name = ''Mine''', 'authenticated', claims_of('roles_client')), 'ok',
  'and changes its number');
SELECT results_eq($$ SELECT capacity, available FROM public.events e, ticketing.availability(e.id) WHERE e.host_id = 'roles_client' $$, $$ VALUES (7, 7) $$,
  'which is for sale at once');
SELECT is(attempt(format('UPDATE public.tickets SET status = ''void'' WHERE id = %L', ticket_id), 'authenticated', claims_of('roles_host')), 'ok',
  'a host ends a ticket, as the application''s policies allow') FROM facts, ticketing.verify_ticket(payload);
SELECT is_empty('SELECT broken_invariants()', 'after all of this no seat is lost or made up');

SELECT * FROM finish();
ROLLBACK;
