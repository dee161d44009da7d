-- Owners and REVOKEs are set here, inside the script: set outside, they would be lost in dump and restore.
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN
    SELECT d.objid::regprocedure FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'dvnt_ticketing'
    WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e'
  LOOP
    EXECUTE format('ALTER ROUTINE %s OWNER TO dvnt_ticketing_owner', f);
    EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f);
  END LOOP;
END
$$;
