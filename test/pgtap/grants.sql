-- Who may call what, and what the engine's owner may do to the application's tables. Exact lists, so that a right
-- which is given away or lost by mistake is seen.
\ir support/setup.sql
SELECT plan(20);

-- The functions that a role can run, by name.
CREATE FUNCTION callable(role text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT p.proname::text FROM pg_proc p
  WHERE p.pronamespace = 'ticketing'::regnamespace AND has_schema_privilege(role, 'ticketing', 'USAGE') AND has_function_privilege(role, p.oid, 'EXECUTE')
$$;

SELECT set_eq($$ SELECT callable('anon') $$, ARRAY['availability', 'quote'],
  'anon may ask what is for sale and what it costs, and nothing else');
SELECT set_eq($$ SELECT callable('authenticated') $$, ARRAY['availability', 'quote', 'has_event_permission'],
  'authenticated may besides ask what it may do itself, for policies: commands go through edge functions, which have verified the session');
SELECT set_eq($$ SELECT callable('service_role') $$,
  ARRAY['hold_tickets', 'extend_hold', 'release_hold', 'availability', 'quote', 'claim_free_tickets', 'create_payment_intent', 'create_checkout_session', 'cancel_order', 'await_stripe', 'setup_payment_method', 'payment_methods', 'set_default_payment_method', 'remove_payment_method', 'connect_onboarding', 'organizer_status', 'refresh_organizer_status', 'order_status',
        'refund_order', 'request_refund', 'approve_refund', 'deny_refund', 'refund_requests', 'save_refund_policy', 'cancel_event', 'event_financials',
        'host_disputes', 'host_payouts', 'host_payout_summary', 'host_transactions', 'stripe_webhook', 'verify_ticket', 'is_genuine_ticket', 'ticket_qr_svg', 'ticket_qr_text', 'check_in', 'has_event_permission',
        'add_co_organizer', 'accept_co_organizer', 'update_co_organizer', 'remove_co_organizer', 'list_co_organizers',
        'sync_checkins', 'undo_check_in', 'door_manifest', 'door_key', 'enrol_door_device', 'revoke_door_device', 'list_door_devices', 'save_door_settings', 'door_conflicts', 'door_progress',
        'reissue_ticket', 'transfer_ticket', 'void_ticket', 'suspend_ticket', 'restore_ticket', 'clock'],
  'service_role has the functions that edge functions call, and none of the relay''s, cron''s or owners''');
SELECT set_eq($$ SELECT callable('dvnt_ticketing_relay') $$, ARRAY['relay_start', 'relay_claim', 'relay_pause', 'relay_complete', 'relay_complete_many'],
  'the relay can carry calls, not sell or refund by itself');
SELECT set_eq($$ SELECT callable('dvnt_ticketing_cron') $$,
  ARRAY['release_expired_holds', 'sync_quantity_sold', 'sweep_stripe', 'end_due_orders', 'refund_canceled_events', 'prune', 'sync_event_financials', 'enqueue_settlement', 'settlement_report', 'enqueue_reconciliation', 'reconcile_orders', 'reconcile', 'check_invariants'],
  'cron has its chores alone');
SELECT is_empty($$
  SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname <> 'dvnt_ticketing_owner'
  AND has_function_privilege(oid, 'ticketing.sign_ticket(uuid, integer, bytea, integer)', 'EXECUTE') $$,
  'nobody may sign: who can, makes tickets that open doors');
SELECT is_empty($$
  SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname <> 'dvnt_ticketing_owner'
  AND has_function_privilege(oid, 'ticketing.rebuild_stock(integer)', 'EXECUTE') $$,
  'nobody but owners rebuilds stock');
SELECT is_empty($$
  SELECT p.oid::regprocedure FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) a
  WHERE p.pronamespace = 'ticketing'::regnamespace AND a.is_grantable AND a.grantee <> p.proowner $$,
  'nobody may pass a right on');

-- ---- the roles

SELECT is_empty($$
  SELECT rolname FROM pg_roles WHERE rolname LIKE 'dvnt\_ticketing\_%' AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication) $$,
  'none of our roles is above its work');
SELECT results_eq($$ SELECT rolcanlogin, rolbypassrls FROM pg_roles WHERE rolname = 'dvnt_ticketing_owner' $$, $$ VALUES (false, true) $$,
  'the owner cannot log in, and sees all rows of the application''s tables');
SELECT is_empty($$ SELECT rolname FROM pg_roles WHERE rolname IN ('dvnt_ticketing_relay', 'dvnt_ticketing_cron') AND (NOT rolcanlogin OR rolbypassrls) $$,
  'relay and cron log in and see no row that a policy hides');
SELECT is_empty($$
  SELECT roleid::regrole, member::regrole FROM pg_auth_members
  WHERE (roleid::regrole::text LIKE 'dvnt\_ticketing\_%' OR member::regrole::text LIKE 'dvnt\_ticketing\_%')
    AND NOT EXISTS (SELECT FROM pg_roles m WHERE m.oid = member AND m.rolsuper) $$,
  'nobody is a member of our roles, nor they of others: no right comes through a back door');
SELECT set_has($$ SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 'dvnt_ticketing_relay'::regrole $$,
  $$ VALUES ('log_parameter_max_length=0'), ('log_parameter_max_length_on_error=0') $$,
  'the relay''s parameters, which hold client secrets, are never logged');

-- ---- the application's tables

SELECT set_eq($$
  SELECT c.relname || ' ' || a.privilege_type FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
  WHERE a.grantee = 'dvnt_ticketing_owner'::regrole AND c.relnamespace = 'public'::regnamespace $$,
  ARRAY['events SELECT', 'organizer_accounts SELECT', 'ticket_types SELECT', 'tickets SELECT', 'tickets INSERT',
        'orders SELECT', 'orders INSERT', 'orders UPDATE', 'order_timeline SELECT', 'order_timeline INSERT',
        'stripe_customers SELECT', 'stripe_customers INSERT', 'stripe_events SELECT', 'stripe_events INSERT',
        'refund_requests SELECT', 'refund_requests INSERT', 'refund_requests UPDATE', 'payouts SELECT', 'payouts INSERT', 'payouts UPDATE',
        'event_financials SELECT', 'event_financials INSERT', 'event_financials UPDATE'],
  'on whole tables of public the owner has these rights and no others: the engine cannot delete there, nor change an event, a price or an account');
SELECT set_eq($$
  SELECT c.relname || '.' || t.attname || ' ' || a.privilege_type FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN LATERAL aclexplode(t.attacl) a
  WHERE a.grantee = 'dvnt_ticketing_owner'::regrole AND c.relnamespace = 'public'::regnamespace $$,
  ARRAY['organizer_accounts.host_id INSERT', 'organizer_accounts.stripe_account_id INSERT', 'organizer_accounts.charges_enabled INSERT', 'organizer_accounts.payouts_enabled INSERT',
        'organizer_accounts.details_submitted INSERT', 'organizer_accounts.created_at INSERT', 'organizer_accounts.updated_at INSERT',
        'organizer_accounts.stripe_account_id UPDATE', 'organizer_accounts.charges_enabled UPDATE', 'organizer_accounts.payouts_enabled UPDATE',
        'organizer_accounts.details_submitted UPDATE', 'organizer_accounts.updated_at UPDATE',
        'ticket_types.quantity_sold UPDATE', 'tickets.status UPDATE', 'tickets.checked_in_at UPDATE', 'tickets.checked_in_by UPDATE',
        'tickets.qr_payload UPDATE', 'tickets.qr_token UPDATE', 'tickets.user_id UPDATE'],
  'and on single columns these: it cannot move a ticket to another event or tier, nor change its price');
SELECT is_empty($$
  SELECT c.relname, p.privilege FROM pg_class c CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p (privilege)
  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname IN ('events', 'organizer_accounts', 'organizer_branding')
    AND has_table_privilege('dvnt_ticketing_owner', c.oid, p.privilege) $$,
  'nothing comes to it through PUBLIC or a role either');
SELECT is_empty($$ SELECT rolname FROM pg_roles WHERE rolname LIKE 'dvnt\_ticketing\_%' AND has_schema_privilege(oid, 'public', 'CREATE') $$,
  'our roles can make nothing in public');
SELECT set_eq($$ SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'public'::regnamespace AND NOT tgisinternal $$,
  ARRAY['events dvnt_record_event', 'events dvnt_stock_event', 'events dvnt_stock_capacity', 'organizer_accounts dvnt_record_payee',
        'tickets dvnt_follow_sale', 'tickets dvnt_follow_change', 'tickets dvnt_follow_door', 'tickets dvnt_follow_door_change', 'ticket_types dvnt_guard_tier', 'ticket_types dvnt_follow_tier', 'ticket_types dvnt_follow_capacity'],
  'these triggers are all that public got');
SELECT is_empty($$
  SELECT t.tgname, l.lanname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
  WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal AND l.lanname NOT IN ('plpgsql', 'sql') $$,
  'and none calls C: the application''s own writes go on when the library is missing');
SELECT is_empty($$
  SELECT f.proname, c.proname FROM pg_proc f JOIN pg_proc c ON f.prosrc ~ ('\mticketing\.' || c.proname || '\M')
  WHERE f.pronamespace = 'ticketing'::regnamespace AND c.pronamespace = 'ticketing'::regnamespace
    AND f.prolang <> c.prolang AND c.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AND f.proname <> 'read_statistics' $$,
  'not even by way of another function (read_statistics is a view''s)');

SELECT * FROM finish();
ROLLBACK;
