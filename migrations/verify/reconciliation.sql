BEGIN;
SELECT account, seen_until, window_from, window_until, request_id, next_at, failure, updated_at FROM ticketing.event_cursors WHERE false;
SELECT object_id, order_id, checks, checked_at FROM ticketing.stripe_checks WHERE false;
SELECT id, started_at, finished_at, found, repaired, gone FROM ticketing.reconciliation_runs WHERE false;
ROLLBACK;
