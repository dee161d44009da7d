-- A revert takes the engine out of a database. It does so only when the environment variable
-- DVNT_REVERT names that database.
\set dvnt_revert ''
\getenv dvnt_revert DVNT_REVERT
SELECT set_config('dvnt_migration.revert', :'dvnt_revert', false) AS ignored \gset
DO $$
BEGIN
  IF current_setting('dvnt_migration.revert') IS DISTINCT FROM current_database() THEN
    RAISE EXCEPTION 'revert of dvnt_ticketing refused: DVNT_REVERT does not name database "%"', current_database()
      USING HINT = format('Set DVNT_REVERT=%s in the environment to arm it. Tables are parked, no row is lost.', current_database());
  END IF;
END
$$;
\ir park.sql
