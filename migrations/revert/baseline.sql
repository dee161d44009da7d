-- Parks the tables that the baseline made; adopted ones are left alone.
BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['events', 'ticket_types', 'tickets', 'orders', 'order_timeline', 'refund_requests', 'organizer_accounts',
                           'organizer_branding', 'stripe_customers', 'stripe_events', 'payouts', 'event_financials'] LOOP
    IF obj_description(to_regclass('public.' || t), 'pg_class') = 'Made by the dvnt_ticketing baseline.' THEN
      PERFORM pg_temp.park('public', t);
    END IF;
  END LOOP;
END
$$;
COMMIT;
