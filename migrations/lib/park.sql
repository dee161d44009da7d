-- Helpers for deploy and revert scripts: park a table under another name, bring it back.
-- A parked table keeps its rows, indexes and rights; nothing is dropped.
SET client_min_messages = warning;

-- Renames schema.name to schema.name_parked, if it is there.
CREATE OR REPLACE FUNCTION pg_temp.park(schema_name text, table_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(format('%I.%I', schema_name, table_name)) IS NULL THEN
    RETURN;
  END IF;
  IF to_regclass(format('%I.%I', schema_name, table_name || '_parked')) IS NOT NULL THEN
    RAISE EXCEPTION 'cannot park %.%: %_parked is already there', schema_name, table_name, table_name
      USING HINT = 'Rows of an earlier rollback are parked there. Deploy to bring them back, or move them away first.';
  END IF;
  EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', schema_name, table_name, table_name || '_parked');
END
$$;

-- Renames schema.name_parked back to schema.name, if it is there and its place is free.
CREATE OR REPLACE FUNCTION pg_temp.unpark(schema_name text, table_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(format('%I.%I', schema_name, table_name || '_parked')) IS NOT NULL
     AND to_regclass(format('%I.%I', schema_name, table_name)) IS NULL THEN
    EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', schema_name, table_name || '_parked', table_name);
  END IF;
END
$$;
