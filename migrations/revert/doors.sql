BEGIN;
\ir ../lib/armed.sql
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['checkins', 'event_co_organizers']) t;
COMMIT;
