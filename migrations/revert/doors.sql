BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['checkins', 'event_co_organizers']) t;
COMMIT;
