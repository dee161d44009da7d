BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
DROP TRIGGER IF EXISTS dvnt_follow_door ON public.tickets;
DROP TRIGGER IF EXISTS dvnt_follow_door_change ON public.tickets;
DO $$
BEGIN
  IF to_regclass('ticketing.event_co_organizers') IS NOT NULL THEN
    DROP TRIGGER IF EXISTS dvnt_stamp_change ON ticketing.event_co_organizers;
    DROP TRIGGER IF EXISTS dvnt_record_change ON ticketing.event_co_organizers;
    DROP TRIGGER IF EXISTS dvnt_record_truncate ON ticketing.event_co_organizers;
  END IF;
END
$$;
DROP VIEW IF EXISTS ticketing.door_progress, ticketing.last_movements;
DROP FUNCTION IF EXISTS ticketing.follow_door_state(), ticketing.stamp_co_organizer(), ticketing.record_co_organizer(), ticketing.has_event_permission(integer, text, text), ticketing.role_permits(text, jsonb, text);
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['checkins', 'event_gates', 'door_devices', 'door_manifests', 'door_states', 'event_co_organizers', 'co_organizer_changes']) t;
COMMIT;
