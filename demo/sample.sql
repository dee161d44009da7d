-- Loaded into the sample database before it is adopted: what its tables say, to be compared with afterwards,
-- and a starting line for the on-sale.
CREATE SCHEMA demo;
GRANT USAGE ON SCHEMA demo TO PUBLIC;

-- The tables of public: how many rows, and a hash of their contents. Left out are the column that the engine
-- adds, tickets.qr_payload, and the one it keeps right, ticket_types.quantity_sold.
CREATE FUNCTION demo.public_tables() RETURNS TABLE (name text, row_count bigint, content_hash numeric) LANGUAGE plpgsql AS $$
BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1 LOOP
    EXECUTE format('SELECT count(*), sum(hashtextextended((to_jsonb(t) - ''qr_payload'' - ''quantity_sold'')::text, 0)) FROM public.%I t', name)
      INTO row_count, content_hash;
    RETURN NEXT;
  END LOOP;
END
$$;

-- Returns when so many connections have called it.
CREATE SEQUENCE demo.arrived;
CREATE PROCEDURE demo.wait_for_connections(wanted integer) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  PERFORM nextval('demo.arrived');
  WHILE (SELECT last_value FROM demo.arrived) < wanted LOOP
    PERFORM pg_sleep(0.002);
  END LOOP;
END
$$;

CREATE TABLE demo.before AS SELECT * FROM demo.public_tables();
CREATE TABLE demo.adoption AS SELECT clock_timestamp() AS began;
