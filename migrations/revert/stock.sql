BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
DROP VIEW IF EXISTS ticketing.stock_statistics;
DROP FUNCTION IF EXISTS ticketing.read_statistics();
DROP TRIGGER IF EXISTS dvnt_follow_sale ON public.tickets;
DROP TRIGGER IF EXISTS dvnt_follow_change ON public.tickets;
DROP FUNCTION IF EXISTS ticketing.follow_ticket(), ticketing.stock_hold_shape(integer), ticketing.stock_derive(bigint), ticketing.stock_make_pool(integer, uuid, integer),
  ticketing.stock_change(bigint, integer), ticketing.stock_deal(bigint, integer);
REVOKE SELECT ON public.ticket_types, public.tickets FROM dvnt_ticketing_owner;
REVOKE UPDATE (quantity_sold) ON public.ticket_types FROM dvnt_ticketing_owner;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['stock_pools', 'stock_shards', 'adopted_counters']) t;
COMMIT;
