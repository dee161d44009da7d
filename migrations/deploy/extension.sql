-- The schema ticketing, and the extension, which owns functions only: it can be dropped and made again
-- without losing a row.
BEGIN;
CREATE SCHEMA IF NOT EXISTS ticketing;
CREATE EXTENSION IF NOT EXISTS dvnt_ticketing;
COMMENT ON SCHEMA ticketing IS 'dvnt_ticketing: tickets sold, signed, scanned and reconciled inside the database';
GRANT USAGE ON SCHEMA ticketing TO dvnt_ticketing_owner, service_role, authenticated, anon;
COMMIT;
