BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
REVOKE SELECT, INSERT, UPDATE ON public.orders FROM dvnt_ticketing_owner;
REVOKE SELECT, INSERT ON public.order_timeline FROM dvnt_ticketing_owner;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['orders', 'order_payments', 'order_items', 'order_tickets', 'order_events', 'findings']) t;
COMMIT;
