-- Helpers for deploy scripts: what they make in ticketing becomes the engine's owner's, and nobody else's.

-- Tables, by name.
CREATE OR REPLACE FUNCTION pg_temp.own_tables(VARIADIC names text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY names LOOP
    EXECUTE format('ALTER TABLE ticketing.%I OWNER TO dvnt_ticketing_owner', name);
    EXECUTE format('ALTER TABLE ticketing.%I ENABLE ROW LEVEL SECURITY', name);
  END LOOP;
END
$$;

-- Functions, by name and types of the arguments.
CREATE OR REPLACE FUNCTION pg_temp.own_functions(VARIADIC signatures text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  signature text;
BEGIN
  FOREACH signature IN ARRAY signatures LOOP
    EXECUTE format('ALTER FUNCTION ticketing.%s OWNER TO dvnt_ticketing_owner', signature);
    EXECUTE format('REVOKE ALL ON FUNCTION ticketing.%s FROM PUBLIC', signature);
  END LOOP;
END
$$;
