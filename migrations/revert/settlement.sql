BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
DROP VIEW IF EXISTS ticketing.account_lines;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['balance_transactions', 'settlement_cursors', 'event_openings']) t;
COMMIT;
