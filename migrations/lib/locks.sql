-- For deploy and revert scripts that lock several tables: first, all of them at once. While we have one lock we wait for no
-- other, or a transaction of the application that has the second and waits for the first would be in a deadlock with us,
-- and be its victim. So we wait for one table and take the others if they are free; if one is not, we let all go and wait
-- for that one. lock_timeout bounds each wait, ten seconds all of them.
CREATE OR REPLACE FUNCTION pg_temp.lock_tables(mode text, VARIADIC names text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  give_up timestamptz := clock_timestamp() + '10 seconds';
  name text;
BEGIN
  LOOP
    BEGIN
      FOREACH name IN ARRAY names LOOP
        CONTINUE WHEN to_regclass(name) IS NULL;
        EXECUTE format('LOCK TABLE %s IN %s MODE %s', name, mode, CASE WHEN name <> names[1] THEN 'NOWAIT' END);
      END LOOP;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      IF name = names[1] OR clock_timestamp() > give_up THEN
        RAISE;
      END IF;
      names := name || array_remove(names, name);
    END;
  END LOOP;
END
$$;
