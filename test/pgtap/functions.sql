-- What the extension's functions are: who owns them, as whom they run, what they promise the planner.
\ir support/setup.sql
SELECT plan(17);

-- The members of the extension.
CREATE TEMP VIEW members AS
SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE e.extname = 'dvnt_ticketing' AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';
CREATE TEMP VIEW functions AS
SELECT p.proname::text AS name, p.* FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid;
-- Those of the migrations: triggers, and what stands behind them.
CREATE TEMP VIEW ours AS SELECT p.oid::regprocedure::text AS signature, p.* FROM pg_proc p WHERE p.pronamespace = 'ticketing'::regnamespace;

-- Pure ones read no table; sign_ticket and its kind need the secrets alone.
CREATE TEMP TABLE pure (name text);
INSERT INTO pure VALUES ('clock'), ('is_genuine_ticket'), ('sign_ticket'), ('verify_ticket'), ('ticket_qr_svg'), ('ticket_qr_text'), ('stripe_form'), ('order_transitions');

-- ---- members

SELECT is_empty($$ SELECT pg_describe_object(classid, objid, 0) FROM members WHERE classid <> 'pg_proc'::regclass $$,
  'the extension owns functions alone: DROP EXTENSION can lose no row, and a dump has them all');
SELECT is_empty($$ SELECT signature FROM ours WHERE prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AND oid NOT IN (SELECT oid FROM functions) $$,
  'no C function is outside of the extension: it would be left behind, pointing at a library that has gone');
SELECT is_empty($$ SELECT name FROM functions WHERE pronamespace <> 'ticketing'::regnamespace $$,
  'all functions are in ticketing, where callers look for them');
SELECT is_empty($$ SELECT name FROM functions GROUP BY name HAVING count(*) > 1 $$,
  'no name is overloaded: PostgREST could not tell the calls apart');
SELECT is_empty($$
  SELECT DISTINCT f.name FROM functions f
  CROSS JOIN LATERAL unnest(f.prorettype || f.proargtypes::oid[] || coalesce(f.proallargtypes, '{}')) a (type)
  JOIN pg_type t ON t.oid = a.type LEFT JOIN pg_type element ON element.oid = t.typelem AND t.typelem <> 0
  JOIN pg_class c ON c.oid IN (t.typrelid, element.typrelid) $$,
  'no signature has the row type of a table: a new column cannot break a call, a dump needs no order');
SELECT is_empty($$ SELECT name FROM functions WHERE proargnames IS NULL AND pronargs > 0 OR '' = ANY (proargnames) $$,
  'every argument has a name: PostgREST calls by name');

-- ---- owners and callers

SELECT is_empty($$ SELECT signature, proowner::regrole FROM ours WHERE proowner <> 'dvnt_ticketing_owner'::regrole $$,
  'every function in ticketing is owned by dvnt_ticketing_owner: a definer of a superuser''s would do anything for anybody');
SELECT is_empty($$ SELECT signature FROM ours o WHERE proacl IS NULL OR EXISTS (SELECT FROM aclexplode(o.proacl) a WHERE a.grantee = 0) $$,
  'no function in ticketing is executable by PUBLIC: any login could sell, issue or sign');
SELECT set_eq($$ SELECT name FROM functions WHERE NOT prosecdef $$,
  $$ SELECT name FROM pure WHERE name <> 'verify_ticket' UNION VALUES ('reconcile') $$,
  'all that read or write tables are definers: callers need no right on a table (a procedure that commits cannot be one; reconcile becomes its owner by itself)');
SELECT is_empty($$ SELECT signature, proconfig FROM ours WHERE prosecdef AND proname <> 'hold_tickets' AND NOT coalesce(proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp'] $$,
  'every definer in ticketing has search_path pg_catalog, pg_temp: a caller''s path cannot slip it another function or table (hold_tickets fixes it itself: see went_wrong.sql)');
SELECT is_empty($$ SELECT signature FROM ours WHERE prolang IN (SELECT oid FROM pg_language WHERE lanname IN ('sql', 'plpgsql')) AND proconfig IS NULL AND prosqlbody IS NULL $$,
  'neither does a function behind a trigger follow the caller''s search_path (a body that was parsed when it was made has none to follow)');

-- ---- promises to the planner

SELECT set_eq($$ SELECT name FROM functions WHERE provolatile = 'i' $$, ARRAY['ticket_qr_svg', 'ticket_qr_text', 'stripe_form', 'order_transitions'],
  'IMMUTABLE are those whose result follows from their arguments alone');
SELECT set_eq($$ SELECT name FROM functions WHERE provolatile = 's' $$,
  ARRAY['host_disputes', 'host_payouts', 'host_payout_summary', 'host_transactions', 'clock', 'quote', 'availability', 'order_status', 'organizer_status', 'list_co_organizers', 'refund_requests', 'event_financials', 'settlement_report', 'door_key', 'list_door_devices', 'door_conflicts', 'door_progress', 'verify_ticket', 'is_genuine_ticket', 'sign_ticket', 'check_invariants', 'reconciliation_report', 'relay_health'],
  'STABLE are those that read: PostgREST runs them read-only; all that write are VOLATILE, or the planner may drop or repeat a sale');
SELECT set_eq($$ SELECT name FROM functions WHERE proparallel = 's' $$, $$ SELECT name FROM pure $$,
  'PARALLEL SAFE is what touches no table: a million codes verify on all cores');
SELECT is_empty($$ SELECT name FROM functions WHERE provolatile = 'v' AND proparallel <> 'u' $$,
  'what writes is PARALLEL UNSAFE: a parallel worker cannot write');

-- ---- words

SELECT is_empty($$ SELECT name FROM functions f WHERE obj_description(f.oid, 'pg_proc') IS NULL $$,
  'every function is documented by its comment');
SELECT is_empty($$ SELECT name FROM functions f WHERE prosecdef AND provolatile = 'v' AND obj_description(f.oid, 'pg_proc') !~ 'Result: ' $$,
  'the comment of a command says what it answers');

SELECT * FROM finish();
ROLLBACK;
