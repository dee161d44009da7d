BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
DROP VIEW IF EXISTS ticketing.relay_status;
REVOKE SELECT, INSERT ON public.stripe_customers, public.stripe_events FROM dvnt_ticketing_owner;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['stripe_requests', 'stripe_buckets', 'stripe_handoff', 'stripe_inbox']) t;
COMMIT;
