-- The role that owns the engine's tables and functions. Roles are the server's: another database may be at the same point.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dvnt_ticketing_owner') THEN
    CREATE ROLE dvnt_ticketing_owner NOLOGIN BYPASSRLS;
  END IF;
END
$$;
