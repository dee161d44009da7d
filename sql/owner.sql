-- The role that owns the engine's tables and functions.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dvnt_ticketing_owner') THEN
    CREATE ROLE dvnt_ticketing_owner NOLOGIN BYPASSRLS;
  END IF;
END
$$;
