-- Housekeeping by pg_cron, where it is there. Nothing depends on a job having run.
BEGIN;
DO $$
DECLARE
  job record;
  often text := '* * * * *';
BEGIN
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron')
     AND current_setting('cron.database_name', true) = current_database()
     AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_cron') THEN
    CREATE EXTENSION pg_cron;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
    RAISE NOTICE 'pg_cron is not in database "%": no jobs were installed', current_database()
      USING HINT = 'Holds expire and payments arrive all the same. To keep tables small and ticket_types.quantity_sold fresh, run ticketing.release_expired_holds(), sync_quantity_sold(), sweep_stripe(), refund_canceled_events(), sync_event_financials(), enqueue_reconciliation() and prune() every minute from elsewhere, and enqueue_settlement() and CALL ticketing.reconcile() every night.';
    RETURN;
  END IF;
  -- Seconds where pg_cron knows them.
  IF (SELECT string_to_array(substring(extversion FROM '^[0-9.]+'), '.')::integer[] >= '{1,5}' FROM pg_extension WHERE extname = 'pg_cron') THEN
    often := '10 seconds';
  END IF;
  FOR job IN SELECT * FROM (VALUES
    ('dvnt_ticketing: release expired holds', often, 'SELECT ticketing.release_expired_holds()'),
    ('dvnt_ticketing: roll up quantity_sold', often, 'SELECT ticketing.sync_quantity_sold()'),
    ('dvnt_ticketing: sweep stripe', often, 'SELECT ticketing.sweep_stripe()'),
    ('dvnt_ticketing: refund canceled events', '* * * * *', 'SELECT ticketing.refund_canceled_events()'),
    ('dvnt_ticketing: roll up event_financials', '* * * * *', 'SELECT ticketing.sync_event_financials()'),
    ('dvnt_ticketing: roll up all event_financials', '47 2 * * *', 'SELECT ticketing.sync_event_financials(true)'),
    ('dvnt_ticketing: settle with Stripe', '17 3 * * *', 'SELECT ticketing.enqueue_settlement()'),
    ('dvnt_ticketing: enqueue reconciliation', '* * * * *', 'SELECT ticketing.enqueue_reconciliation()'),
    ('dvnt_ticketing: reconcile orders', '47 3 * * *', 'CALL ticketing.reconcile()'),
    ('dvnt_ticketing: prune', '*/5 * * * *', 'SELECT ticketing.prune()')) AS j (name, schedule, command)
  LOOP
    PERFORM cron.schedule_in_database(job.name, job.schedule, job.command, current_database(), 'dvnt_ticketing_cron');
  END LOOP;
END
$$;
COMMIT;
