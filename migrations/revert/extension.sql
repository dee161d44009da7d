-- Drops the functions. The schema stays: the parked tables live in it.
BEGIN;
\ir ../lib/armed.sql
DROP EXTENSION IF EXISTS dvnt_ticketing;
REVOKE USAGE ON SCHEMA ticketing FROM service_role, authenticated, anon;
COMMIT;
