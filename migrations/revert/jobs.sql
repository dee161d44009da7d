BEGIN;
\ir ../lib/armed.sql
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
    PERFORM cron.unschedule(jobid) FROM cron.job WHERE jobname LIKE 'dvnt_ticketing: %' AND database = current_database();
  END IF;
END
$$;
COMMIT;
