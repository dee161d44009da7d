-- What the engine's tables are: whose, closed to everybody, without ties that would lock or lose rows.
\ir support/setup.sql
SELECT plan(18);

CREATE TEMP VIEW relations AS
SELECT c.oid::regclass AS name, c.* FROM pg_class c WHERE c.relnamespace = 'ticketing'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S');
CREATE TEMP VIEW tables AS SELECT * FROM relations WHERE relkind IN ('r', 'p');
-- The roles that clients come as.
CREATE TEMP VIEW client_roles AS SELECT oid, rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role');

SELECT set_eq($$ SELECT relname::text FROM tables $$,
  ARRAY['event_settings', 'payees', 'installation', 'stock_pools', 'stock_shards', 'adopted_counters', 'ticket_holds', 'requests', 'orders',
        'order_payments', 'ledger', 'refunds', 'refund_tickets', 'refund_requests', 'disputes', 'dispute_tickets', 'payouts', 'payout_events', 'balance_transactions', 'settlement_cursors', 'event_openings', 'order_items', 'order_tickets', 'order_events', 'findings', 'event_cursors', 'stripe_checks', 'reconciliation_runs', 'superseded_codes', 'suspended_tickets', 'ticket_changes',
        'checkins', 'event_gates', 'door_devices', 'door_manifests', 'door_states', 'event_co_organizers', 'co_organizer_changes',
        'stripe_requests', 'stripe_buckets', 'stripe_handoff', 'stripe_inbox'],
  'these are the engine''s tables: a new one is to be looked at by the tests below and listed here');

-- ---- whose

SELECT is_empty($$ SELECT name, relowner::regrole FROM relations WHERE relowner <> 'dvnt_ticketing_owner'::regrole $$,
  'every table, view and sequence belongs to dvnt_ticketing_owner, as whom the functions run');
SELECT is_empty($$ SELECT name FROM tables WHERE NOT relrowsecurity $$,
  'every table has row-level security: a grant by mistake still shows no row');
SELECT is_empty($$ SELECT tablename, policyname FROM pg_policies WHERE schemaname = 'ticketing' $$,
  'no policy opens a table: everything goes through the functions');
SELECT is_empty($$
  SELECT r.name, coalesce(grantee.rolname, 'PUBLIC'), a.privilege_type FROM relations r
  CROSS JOIN LATERAL aclexplode(r.relacl) a LEFT JOIN pg_roles grantee ON grantee.oid = a.grantee
  WHERE a.grantee <> r.relowner $$,
  'nobody but the owner has a right on a table, view or sequence: service_role cannot go around the engine by accident');
SELECT is_empty($$
  SELECT r.name, c.attname FROM relations r JOIN pg_attribute c ON c.attrelid = r.oid CROSS JOIN LATERAL aclexplode(c.attacl) a
  WHERE a.grantee <> r.relowner $$,
  'nor on a column');
SELECT is_empty($$
  SELECT r.name FROM relations r, client_roles c
  WHERE r.relkind = 'v' AND has_any_column_privilege(c.oid, r.oid, 'SELECT') AND NOT coalesce(r.reloptions, '{}') @> ARRAY['security_invoker=true'] $$,
  'a view that clients may read runs as its reader: it shows nothing that the reader could not see');
SELECT is_empty($$ SELECT name FROM relations WHERE relkind = 'v' AND NOT coalesce(reloptions, '{}') && ARRAY['security_invoker=true', 'security_barrier=true', 'security_barrier'] $$,
  'the other views are barriers: a reader''s own function is not run on rows that the view hides');
SELECT is_empty($$ SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname <> 'dvnt_ticketing_owner' AND has_schema_privilege(oid, 'ticketing', 'CREATE') $$,
  'nobody can put a table or function of his own into ticketing');
SELECT set_eq($$ SELECT rolname::text FROM pg_roles WHERE NOT rolsuper AND has_schema_privilege(oid, 'ticketing', 'USAGE') AND rolname NOT LIKE 'pg\_%' $$,
  ARRAY['dvnt_ticketing_owner', 'dvnt_ticketing_relay', 'dvnt_ticketing_cron', 'service_role', 'authenticated', 'anon'],
  'only the roles that have something to call see the schema');

-- ---- ties

SELECT is_empty($$ SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'f' AND connamespace = 'ticketing'::regnamespace $$,
  'no foreign key leaves the engine''s tables: a tier''s row that all buyers lock together would be the bottleneck');
SELECT is_empty($$
  SELECT r.name, a.attname, t.typname FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid IN (t.oid, t.typelem) AND d.deptype = 'e') $$,
  'no column has a type of an extension: dropping an extension can lose no column');
SELECT is_empty($$
  SELECT r.name, a.attname, t.typname FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid WHERE t.typnamespace <> 'pg_catalog'::regnamespace $$,
  'all columns have types of pg_catalog');
SELECT is_empty($$
  SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
  JOIN pg_depend member ON member.classid = 'pg_proc'::regclass AND member.objid = p.oid AND member.deptype = 'e'
  JOIN pg_extension e ON e.oid = member.refobjid AND e.extname = 'dvnt_ticketing'
  WHERE d.deptype <> 'e' $$,
  'no index, default, view or trigger depends on a function of the extension: it can be dropped and made again');

-- An event is the key by which a deployment can be sharded: every row of one knows it.
SELECT set_eq($$ SELECT relname::text FROM tables t WHERE EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'event_id' AND a.attnotnull) $$,
  ARRAY['event_settings', 'event_openings', 'stock_pools', 'adopted_counters', 'ticket_holds', 'orders', 'refunds', 'refund_requests', 'disputes', 'payout_events', 'superseded_codes', 'suspended_tickets', 'ticket_changes',
        'checkins', 'event_gates', 'door_devices', 'door_manifests', 'door_states', 'event_co_organizers', 'co_organizer_changes'],
  'the rows of an event carry event_id');
SELECT set_eq($$ SELECT relname::text FROM tables t WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'event_id') $$,
  -- of no event: payees, payouts, balance_transactions, settlement_cursors, installation, requests, findings, event_cursors, reconciliation_runs, stripe_inbox, stripe_buckets; the others go with the row of their first column's event
  ARRAY['payees', 'payouts', 'balance_transactions', 'settlement_cursors', 'installation', 'requests', 'findings', 'event_cursors', 'reconciliation_runs', 'stripe_inbox', 'stripe_buckets',
        'stock_shards', 'order_payments', 'stripe_checks', 'refund_tickets', 'dispute_tickets', 'order_items', 'order_tickets', 'order_events', 'stripe_handoff'],
  'no further table is without it: its rows could not move with their event');

-- ---- words

SELECT is_empty($$ SELECT name FROM relations r WHERE relkind <> 'S' AND obj_description(r.oid, 'pg_class') IS NULL $$,
  'every table and view says what it is for');
SELECT is_empty($$ SELECT name FROM tables WHERE relpersistence <> 'p' AND relname <> 'stripe_handoff' $$,
  'only what is handed to clients may be lost in a crash');

SELECT * FROM finish();
ROLLBACK;
