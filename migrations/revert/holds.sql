BEGIN;
\ir ../lib/armed.sql
\ir ../lib/locks.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.lock_tables('ACCESS EXCLUSIVE', 'public.ticket_types', 'public.events', 'ticketing.ticket_holds', 'ticketing.requests');
DROP TRIGGER IF EXISTS dvnt_guard_tier ON public.ticket_types;
DROP TRIGGER IF EXISTS dvnt_follow_tier ON public.ticket_types;
DROP TRIGGER IF EXISTS dvnt_follow_capacity ON public.ticket_types;
DROP TRIGGER IF EXISTS dvnt_stock_event ON public.events;
DROP TRIGGER IF EXISTS dvnt_stock_capacity ON public.events;
DROP FUNCTION IF EXISTS ticketing.follow_event(), ticketing.follow_ticket_type(), ticketing.guard_ticket_type(),
  ticketing.stock_follow_capacity(integer, uuid, integer, boolean), ticketing.stock_lock_shape(integer), ticketing.refuse(text, text, jsonb, text);
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['ticket_holds', 'requests']) t;
COMMIT;
