-- The login roles stay (other databases may use them); their rights go.
BEGIN;
\ir ../lib/armed.sql
REVOKE ALL ON ALL ROUTINES IN SCHEMA ticketing FROM service_role, anon, authenticated, dvnt_ticketing_relay, dvnt_ticketing_cron, pg_monitor;
REVOKE USAGE ON SCHEMA ticketing FROM dvnt_ticketing_relay, dvnt_ticketing_cron, pg_monitor;
COMMIT;
