BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
DROP TRIGGER IF EXISTS dvnt_record_event ON public.events;
DROP TRIGGER IF EXISTS dvnt_record_payee ON public.organizer_accounts;
DROP FUNCTION IF EXISTS ticketing.record_event(), ticketing.record_payee(), ticketing.capacity_of(numeric);
REVOKE SELECT ON public.events, public.organizer_accounts FROM dvnt_ticketing_owner;
REVOKE USAGE ON SCHEMA public FROM dvnt_ticketing_owner;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['event_settings', 'payees', 'installation']) t;
COMMIT;
