-- Sharded stock: a pool for each limited tier and for each event with a capacity. Stock is a cache of
--   capacity = sum of available - deficit + holds not yet given back + tickets sold.
-- Sales by other code are followed by triggers on public.tickets, in plpgsql alone, so that the
-- application's own writes go on when the extension's library is missing.
-- Sales that were under way are counted when they have committed: not with an older snapshot.
BEGIN ISOLATION LEVEL READ COMMITTED;
\ir ../lib/park.sql
\ir ../lib/own.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['stock_pools', 'stock_shards', 'adopted_counters']) t;

CREATE TABLE IF NOT EXISTS ticketing.stock_pools (
  pool_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id       integer NOT NULL,
  ticket_type_id uuid,
  capacity       integer NOT NULL CHECK (capacity >= 0),
  deficit        integer NOT NULL DEFAULT 0 CHECK (deficit >= 0),
  shards         smallint NOT NULL CHECK (shards > 0),
  CONSTRAINT stock_pools_owner UNIQUE NULLS NOT DISTINCT (event_id, ticket_type_id)
);
COMMENT ON TABLE ticketing.stock_pools IS 'One pool for each limited tier, one for each event with a capacity.';
COMMENT ON COLUMN ticketing.stock_pools.ticket_type_id IS 'NULL: the pool of the event''s capacity.';
COMMENT ON COLUMN ticketing.stock_pools.deficit IS 'Seats sold beyond capacity by other code. Every return pays it before anything is for sale again.';
COMMENT ON COLUMN ticketing.stock_pools.shards IS 'Number of rows in stock_shards, made with the pool.';

CREATE TABLE IF NOT EXISTS ticketing.stock_shards (
  pool_id   bigint NOT NULL,
  shard     smallint NOT NULL,
  available integer NOT NULL CHECK (available >= 0),
  PRIMARY KEY (pool_id, shard)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE ticketing.stock_shards IS 'The seats for sale, spread so that concurrent buyers lock different rows.';

CREATE TABLE IF NOT EXISTS ticketing.adopted_counters (
  ticket_type_id uuid PRIMARY KEY,
  event_id       integer NOT NULL,
  quantity_sold  integer,
  counted        integer NOT NULL,
  adopted_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ticketing.adopted_counters IS 'What ticket_types.quantity_sold said when the engine adopted the tier, beside the valid tickets there were: evidence for later findings.';

SELECT pg_temp.own_tables('stock_pools', 'stock_shards', 'adopted_counters');
GRANT SELECT ON public.ticket_types, public.tickets TO dvnt_ticketing_owner;
GRANT UPDATE (quantity_sold) ON public.ticket_types TO dvnt_ticketing_owner;

-- Sets a pool's seats for sale. They are dealt to as many shards as get eight or more each, so that
-- the last seats are found together. The caller holds the locks of the pool's shards.
CREATE OR REPLACE FUNCTION ticketing.stock_deal(pool bigint, seats integer) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  UPDATE ticketing.stock_shards s SET available = d.seats
  FROM (SELECT h.pool_id, h.shard,
               CASE WHEN h.shard < k.used THEN $2 / k.used + (h.shard < $2 % k.used)::integer ELSE 0 END AS seats
        FROM ticketing.stock_shards h
        JOIN (SELECT p.pool_id, least(p.shards, ($2 - 1) / 8 + 1) AS used
              FROM ticketing.stock_pools p WHERE p.pool_id = $1) k USING (pool_id)) d
  WHERE s.pool_id = d.pool_id AND s.shard = d.shard AND s.available <> d.seats
$$;

-- Adds delta seats to a pool (negative: takes them), and pays or books the deficit. Used where other code moved seats, whose
-- transaction may have rows of public locked that others wait for: so it takes shards that are free, and waits for none
-- unless there is a deficit or none is free. Then it takes the locks of all the pool's shards in order, and that of the pool.
CREATE OR REPLACE FUNCTION ticketing.stock_change(pool bigint, delta integer) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  net bigint;
BEGIN
  IF delta < 0 THEN
    -- The common case, one shard alone.
    UPDATE ticketing.stock_shards SET available = available + delta
    WHERE (pool_id, shard) = (SELECT h.pool_id, h.shard FROM ticketing.stock_shards h
                              WHERE h.pool_id = pool AND h.available >= -delta
                              ORDER BY h.shard LIMIT 1 FOR UPDATE SKIP LOCKED);
    IF FOUND THEN
      RETURN;
    END IF;
  ELSIF delta > 0 AND current_setting('transaction_isolation') = 'read committed' THEN
    -- Dealt to as many shards as get eight or more each, as stock_deal does it.
    WITH free AS (SELECT h.shard FROM ticketing.stock_shards h WHERE h.pool_id = pool
                  ORDER BY h.shard LIMIT (delta - 1) / 8 + 1 FOR UPDATE SKIP LOCKED),
         numbered AS (SELECT f.shard, row_number() OVER (ORDER BY f.shard) AS n, count(*) OVER () AS used FROM free f)
    UPDATE ticketing.stock_shards h SET available = h.available + delta / k.used + (k.n <= delta % k.used)::integer
    FROM numbered k WHERE h.pool_id = pool AND h.shard = k.shard;
    IF FOUND THEN
      -- Who books a deficit locks all shards first. So either he has seen these seats, or we see his deficit now.
      PERFORM FROM ticketing.stock_pools p WHERE p.pool_id = pool AND p.deficit > 0;
      IF NOT FOUND THEN
        RETURN;
      END IF;
      delta := 0;
    END IF;
  END IF;
  PERFORM FROM ticketing.stock_shards h WHERE h.pool_id = pool ORDER BY h.shard FOR UPDATE;
  SELECT sum(h.available) INTO net FROM ticketing.stock_shards h WHERE h.pool_id = pool;
  IF net IS NULL THEN
    RETURN;
  END IF;
  SELECT net - p.deficit + delta INTO net FROM ticketing.stock_pools p WHERE p.pool_id = pool FOR UPDATE;
  UPDATE ticketing.stock_pools SET deficit = greatest(0, -net) WHERE pool_id = pool AND deficit <> greatest(0, -net);
  PERFORM ticketing.stock_deal(pool, greatest(0, net)::integer);
END
$$;

-- Makes the pool of a tier (or of an event, tier NULL) with nothing for sale, if it is missing.
CREATE OR REPLACE FUNCTION ticketing.stock_make_pool(event integer, tier uuid, seats integer) RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made ticketing.stock_pools.pool_id%TYPE;
BEGIN
  INSERT INTO ticketing.stock_pools (event_id, ticket_type_id, capacity, shards)
  VALUES (event, tier, seats, least(64, greatest(8, seats / 64)))
  ON CONFLICT DO NOTHING RETURNING pool_id INTO made;
  INSERT INTO ticketing.stock_shards (pool_id, shard, available)
  SELECT made, g, 0 FROM generate_series(0, least(64, greatest(8, seats / 64)) - 1) g WHERE made IS NOT NULL;
  RETURN made;
END
$$;

-- Derives a pool's stock afresh from the tickets and holds there are, whatever the cache said. The seats that
-- are sold or held beyond capacity become its deficit.
CREATE OR REPLACE FUNCTION ticketing.stock_derive(pool bigint) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p record;
  used bigint;
  held bigint := 0;
BEGIN
  -- With every shard locked no draw of this pool is in flight: what is counted next is exact.
  PERFORM FROM ticketing.stock_shards h WHERE h.pool_id = pool ORDER BY h.shard FOR UPDATE;
  SELECT * INTO p FROM ticketing.stock_pools WHERE pool_id = pool FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- One statement counts both, or a hold that turns into tickets meanwhile would be missed or seen twice.
  IF to_regclass('ticketing.ticket_holds') IS NOT NULL THEN
    SELECT (SELECT count(*) FROM public.tickets t
            WHERE t.event_id = p.event_id AND t.status IN ('active', 'scanned')
              AND (p.ticket_type_id IS NULL OR t.ticket_type_id = p.ticket_type_id)),
           (SELECT coalesce(sum(h.quantity), 0) FROM ticketing.ticket_holds h
            WHERE h.event_id = p.event_id AND h.status = 'active'
              AND (p.ticket_type_id IS NULL OR h.ticket_type_id = p.ticket_type_id))
    INTO used, held;
  ELSE
    SELECT count(*) INTO used FROM public.tickets t
    WHERE t.event_id = p.event_id AND t.status IN ('active', 'scanned')
      AND (p.ticket_type_id IS NULL OR t.ticket_type_id = p.ticket_type_id);
  END IF;
  used := used + held;
  UPDATE ticketing.stock_pools SET deficit = greatest(0, used - capacity) WHERE pool_id = pool AND deficit <> greatest(0, used - capacity);
  PERFORM ticketing.stock_deal(pool, greatest(0, p.capacity - used)::integer);
END
$$;

-- Holds an event's pools as they are until the transaction ends: none is made or removed.
CREATE OR REPLACE FUNCTION ticketing.stock_hold_shape(event integer) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1685454851, event);
  -- A pool that is younger than our snapshot cannot be seen; that there is one, can.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    PERFORM FROM ticketing.event_settings s WHERE s.event_id = event FOR SHARE;
  END IF;
END
$$;

-- Follows tickets that other code sells, moves, ends or deletes.
CREATE OR REPLACE FUNCTION ticketing.follow_ticket() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was_sold boolean := TG_OP <> 'INSERT' AND OLD.status IN ('active', 'scanned');
  is_sold boolean := TG_OP <> 'DELETE' AND NEW.status IN ('active', 'scanned');
  p record;
BEGIN
  IF was_sold THEN
    PERFORM ticketing.stock_hold_shape(OLD.event_id);
  END IF;
  IF is_sold THEN
    PERFORM ticketing.stock_hold_shape(NEW.event_id);
  END IF;
  FOR p IN
    SELECT pool_id, sum(delta)::integer AS delta FROM (
      SELECT pool_id, 1 AS delta FROM ticketing.stock_pools
      WHERE was_sold AND event_id = OLD.event_id AND (ticket_type_id IS NULL OR ticket_type_id = OLD.ticket_type_id)
      UNION ALL
      SELECT pool_id, -1 FROM ticketing.stock_pools
      WHERE is_sold AND event_id = NEW.event_id AND (ticket_type_id IS NULL OR ticket_type_id = NEW.ticket_type_id)) m
    GROUP BY pool_id HAVING sum(delta) <> 0 ORDER BY pool_id
  LOOP
    PERFORM ticketing.stock_change(p.pool_id, p.delta);
  END LOOP;
  RETURN NULL;
END
$$;

SELECT pg_temp.own_functions('stock_deal(bigint, integer)', 'stock_change(bigint, integer)', 'stock_make_pool(integer, uuid, integer)',
  'stock_derive(bigint)', 'stock_hold_shape(integer)', 'follow_ticket()');

-- Pools with nothing for sale yet; the application sells meanwhile. Tiers that it makes meanwhile get theirs in the next change.
\ir ../lib/pools.sql

-- The engine's own writes run as its owner and account for themselves.
CREATE OR REPLACE TRIGGER dvnt_follow_sale AFTER INSERT OR DELETE ON public.tickets
  FOR EACH ROW WHEN (current_user <> 'dvnt_ticketing_owner') EXECUTE FUNCTION ticketing.follow_ticket();
CREATE OR REPLACE TRIGGER dvnt_follow_change AFTER UPDATE OF status, ticket_type_id, event_id ON public.tickets
  FOR EACH ROW WHEN (current_user <> 'dvnt_ticketing_owner' AND
    (OLD.status IS DISTINCT FROM NEW.status OR OLD.ticket_type_id IS DISTINCT FROM NEW.ticket_type_id OR OLD.event_id IS DISTINCT FROM NEW.event_id))
  EXECUTE FUNCTION ticketing.follow_ticket();

-- Adoption, in the transaction that made the triggers: no sale is missed between the count and the first
-- trigger. It writes no row of public. The application's sales wait from here on, so tickets are counted once for all pools.
CREATE TEMP TABLE sold ON COMMIT DROP AS
SELECT event_id, ticket_type_id, count(*) AS seats FROM public.tickets WHERE status IN ('active', 'scanned') GROUP BY 1, 2;

INSERT INTO ticketing.adopted_counters (ticket_type_id, event_id, quantity_sold, counted)
SELECT tt.id, tt.event_id, tt.quantity_sold, coalesce(sum(s.seats), 0)
FROM public.ticket_types tt LEFT JOIN sold s ON s.ticket_type_id = tt.id
GROUP BY tt.id
ON CONFLICT DO NOTHING;

-- What stock_derive and stock_deal do for one pool. Where there are holds, which is when this is run again, they do it.
CREATE TEMP TABLE free_seats ON COMMIT DROP AS
SELECT p.pool_id, p.shards, p.capacity - coalesce(sum(s.seats), 0) AS seats
FROM ticketing.stock_pools p
LEFT JOIN sold s ON s.event_id = p.event_id AND (p.ticket_type_id IS NULL OR s.ticket_type_id = p.ticket_type_id)
WHERE to_regclass('ticketing.ticket_holds') IS NULL
GROUP BY p.pool_id;
UPDATE ticketing.stock_pools p SET deficit = greatest(0, -f.seats)
FROM free_seats f WHERE f.pool_id = p.pool_id AND p.deficit <> greatest(0, -f.seats);
UPDATE ticketing.stock_shards s SET available = d.seats
FROM (SELECT h.pool_id, h.shard, CASE WHEN h.shard < k.used THEN k.seats / k.used + (h.shard < k.seats % k.used)::integer ELSE 0 END AS seats
      FROM ticketing.stock_shards h
      JOIN (SELECT f.pool_id, greatest(0, f.seats)::integer AS seats, least(f.shards, (greatest(0, f.seats)::integer - 1) / 8 + 1) AS used FROM free_seats f) k USING (pool_id)) d
WHERE s.pool_id = d.pool_id AND s.shard = d.shard AND s.available <> d.seats;
SELECT ticketing.stock_derive(pool_id) FROM ticketing.stock_pools WHERE to_regclass('ticketing.ticket_holds') IS NOT NULL ORDER BY pool_id;

-- The view calls through plpgsql, so that it does not hinder DROP EXTENSION.
CREATE OR REPLACE FUNCTION ticketing.read_statistics() RETURNS TABLE (name text, count bigint, server_wide boolean) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT * FROM ticketing.statistics();
END
$$;
ALTER FUNCTION ticketing.read_statistics() OWNER TO dvnt_ticketing_owner;
REVOKE ALL ON FUNCTION ticketing.read_statistics() FROM PUBLIC;
CREATE OR REPLACE VIEW ticketing.stock_statistics WITH (security_invoker = true) AS SELECT * FROM ticketing.read_statistics();
COMMENT ON VIEW ticketing.stock_statistics IS 'Draws by path and refusals by reason since the server was started: see the function ticketing.statistics.';
ALTER VIEW ticketing.stock_statistics OWNER TO dvnt_ticketing_owner;
COMMIT;
