BEGIN;
\ir ../lib/armed.sql
\ir ../lib/locks.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.lock_tables('ACCESS EXCLUSIVE', 'public.events', 'public.organizer_accounts');
DROP TRIGGER IF EXISTS dvnt_record_event ON public.events;
DROP TRIGGER IF EXISTS dvnt_record_payee ON public.organizer_accounts;
DROP FUNCTION IF EXISTS ticketing.record_event(), ticketing.record_payee(), ticketing.capacity_of(numeric);
REVOKE SELECT ON public.events FROM dvnt_ticketing_owner;
REVOKE SELECT, INSERT, UPDATE ON public.organizer_accounts FROM dvnt_ticketing_owner;
REVOKE USAGE ON SCHEMA public FROM dvnt_ticketing_owner;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['event_settings', 'payees', 'installation']) t;
COMMIT;
