BEGIN;
DO $$
DECLARE
  found integer;
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
    SELECT count(*) INTO found FROM cron.job WHERE jobname LIKE 'dvnt_ticketing: %' AND database = current_database();
    IF found <> 10 THEN
      RAISE EXCEPTION '% pg_cron jobs of dvnt_ticketing, not 10', found;
    END IF;
  END IF;
END
$$;
ROLLBACK;
