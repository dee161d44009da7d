BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
DROP INDEX IF EXISTS ticketing.refunds_under_way, ticketing.disputes_under_way;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['event_cursors', 'stripe_checks', 'reconciliation_runs']) t;
COMMIT;
