BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['event_cursors', 'stripe_checks', 'reconciliation_runs']) t;
COMMIT;
