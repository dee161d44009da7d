-- Holds: seats taken out of stock for a buyer. Capacity changes, new tiers and events are followed from
-- here on, because what is held counts as used.
BEGIN ISOLATION LEVEL READ COMMITTED;
\ir ../lib/park.sql
\ir ../lib/own.sql
\ir ../lib/locks.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['ticket_holds', 'requests']) t;

CREATE TABLE IF NOT EXISTS ticketing.ticket_holds (
  id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  reservation_id uuid NOT NULL,
  event_id       integer NOT NULL,
  ticket_type_id uuid NOT NULL,
  user_id        text NOT NULL,
  quantity       integer NOT NULL CHECK (quantity > 0),
  status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'converted', 'released', 'expired')),
  expires_at     timestamptz NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  order_id       uuid,
  ended_at       timestamptz
);
COMMENT ON TABLE ticketing.ticket_holds IS 'Seats held for a buyer, a row per tier. Live while now < expires_at; dead at expires_at.';
COMMENT ON COLUMN ticketing.ticket_holds.status IS 'active: its seats are out of stock. converted: they are tickets. released, expired: they are back.';
COMMENT ON COLUMN ticketing.ticket_holds.order_id IS 'The order behind the hold; expires_at is then the end of the buyer''s time to pay and of the grace in which Stripe confirms that.';
-- An ANALYZE keeps its snapshot while it reads its sample, and stock_shards grows by every draw and return of that time. Nothing here is
-- planned by histogram: a tenth of the usual sample, 3,000 rows, will do.
ALTER TABLE ticketing.ticket_holds
  ALTER id SET STATISTICS 10, ALTER reservation_id SET STATISTICS 10, ALTER event_id SET STATISTICS 10, ALTER ticket_type_id SET STATISTICS 10,
  ALTER user_id SET STATISTICS 10, ALTER quantity SET STATISTICS 10, ALTER status SET STATISTICS 10, ALTER expires_at SET STATISTICS 10,
  ALTER created_at SET STATISTICS 10, ALTER order_id SET STATISTICS 10, ALTER ended_at SET STATISTICS 10;
CREATE INDEX IF NOT EXISTS ticket_holds_reservation ON ticketing.ticket_holds (reservation_id);
CREATE INDEX IF NOT EXISTS ticket_holds_due ON ticketing.ticket_holds (event_id, expires_at) WHERE status = 'active';
CREATE INDEX IF NOT EXISTS ticket_holds_live_of_user ON ticketing.ticket_holds (user_id, event_id) WHERE status = 'active';

CREATE TABLE IF NOT EXISTS ticketing.requests (
  user_id       text NOT NULL,
  function_name text NOT NULL,
  request_id    text NOT NULL,
  arguments     bytea NOT NULL,
  answer        jsonb NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (user_id, function_name, request_id)
);
COMMENT ON TABLE ticketing.requests IS 'First answers by request id: the same id, function and user gets the same answer and does nothing again.';
COMMENT ON COLUMN ticketing.requests.arguments IS 'SHA-256 of the arguments: the same id with other arguments is refused.';
CREATE INDEX IF NOT EXISTS requests_age ON ticketing.requests USING brin (created_at);

SELECT pg_temp.own_tables('ticket_holds', 'requests');

-- Raises a refusal as the engine's C code does: SQLSTATE PTnnn, DETAIL with the stable reason.
CREATE OR REPLACE FUNCTION ticketing.refuse(code text, message text, detail jsonb, hint text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, DETAIL = detail::text, HINT = hint;
END
$$;

-- Takes the event's shape lock, to make or remove a pool. Whoever moves seats holds it shared until he has committed: what is
-- counted next is all there is. Gives up after half a second, so that a sale which has come to wait for a row of ours is seldom a deadlock's victim.
CREATE OR REPLACE FUNCTION ticketing.stock_lock_shape(event integer) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(1685454851, event);
  UPDATE ticketing.event_settings s SET shape = s.shape + 1 WHERE s.event_id = event;
END
$$;

-- Brings a pool to a new capacity (NULL: no limit, the pool goes). Locks: the event's shape lock where a pool is made or
-- removed, shards, pool.
CREATE OR REPLACE FUNCTION ticketing.stock_follow_capacity(event integer, tier uuid, seats integer, is_new boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p record;
  free bigint;
BEGIN
  SELECT * INTO p FROM ticketing.stock_pools k WHERE k.event_id = event AND k.ticket_type_id IS NOT DISTINCT FROM tier;
  IF NOT FOUND AND seats IS NULL THEN
    RETURN;
  END IF;
  IF NOT FOUND THEN
    IF NOT is_new AND current_setting('transaction_isolation') <> 'read committed' THEN
      RAISE EXCEPTION 'a limit cannot be set on what had none at isolation level %', current_setting('transaction_isolation')
        USING ERRCODE = 'feature_not_supported', DETAIL = 'Holds and tickets made since the transaction began would not be counted.',
              HINT = 'Set the limit in a READ COMMITTED transaction.';
    END IF;
    PERFORM ticketing.stock_lock_shape(event);
    PERFORM ticketing.stock_derive(ticketing.stock_make_pool(event, tier, seats));
    SELECT * INTO p FROM ticketing.stock_pools k WHERE k.event_id = event AND k.ticket_type_id IS NOT DISTINCT FROM tier;
    IF p.deficit > 0 THEN
      PERFORM ticketing.refuse('PT409', format('capacity %s is below the %s seats that are sold or held', seats, seats + p.deficit),
        jsonb_build_object('reason', 'wrong_state', 'capacity', seats, 'used', seats + p.deficit),
        'Choose a capacity of at least what is used, or end tickets and holds first.');
    END IF;
    RETURN;
  END IF;
  IF seats IS NULL THEN
    PERFORM ticketing.stock_lock_shape(event);
  ELSIF seats >= p.capacity THEN
    PERFORM ticketing.stock_change(p.pool_id, seats - p.capacity);
    UPDATE ticketing.stock_pools SET capacity = seats WHERE pool_id = p.pool_id;
    RETURN;
  END IF;
  -- Fewer: what is free must be known, so nobody may draw meanwhile.
  PERFORM FROM ticketing.stock_shards h WHERE h.pool_id = p.pool_id ORDER BY h.shard FOR UPDATE;
  SELECT * INTO p FROM ticketing.stock_pools k WHERE k.pool_id = p.pool_id FOR UPDATE;
  IF seats IS NULL THEN
    DELETE FROM ticketing.stock_shards h WHERE h.pool_id = p.pool_id;
    DELETE FROM ticketing.stock_pools k WHERE k.pool_id = p.pool_id;
    RETURN;
  END IF;
  SELECT sum(h.available) - p.deficit INTO free FROM ticketing.stock_shards h WHERE h.pool_id = p.pool_id;
  IF free < p.capacity - seats THEN
    PERFORM ticketing.refuse('PT409', format('capacity %s is below the %s seats that are sold or held', seats, p.capacity - free),
      jsonb_build_object('reason', 'wrong_state', 'capacity', seats, 'used', p.capacity - free),
      'Choose a capacity of at least what is used, or end tickets and holds first.');
  END IF;
  UPDATE ticketing.stock_pools SET capacity = seats WHERE pool_id = p.pool_id;
  PERFORM ticketing.stock_change(p.pool_id, seats - p.capacity);
END
$$;

-- Follows tiers that other code makes, changes or deletes. quantity_sold is output only: what other code
-- writes there is replaced, because read-modify-write on it would give seats away.
CREATE OR REPLACE FUNCTION ticketing.guard_ticket_type() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held bigint;
BEGIN
  IF TG_OP = 'DELETE' THEN
    -- Whoever is about to hold some has committed then, and nobody begins.
    PERFORM ticketing.stock_lock_shape(OLD.event_id);
    SELECT sum(h.quantity) INTO held FROM ticketing.ticket_holds h
    WHERE h.event_id = OLD.event_id AND h.ticket_type_id = OLD.id AND h.status = 'active'
      AND (h.order_id IS NOT NULL OR h.expires_at > clock_timestamp());
    IF held > 0 THEN
      PERFORM ticketing.refuse('PT409', format('tier %s has %s seats held by buyers', OLD.id, held),
        jsonb_build_object('reason', 'wrong_state', 'ticket_type_id', OLD.id, 'held', held),
        'Stop the sale (quantity_total, sale_end or ticketing_enabled) and delete the tier when the holds have ended.');
    END IF;
    RETURN OLD;
  END IF;
  IF TG_OP = 'INSERT' THEN
    NEW.quantity_sold := 0;
    RETURN NEW;
  END IF;
  NEW.quantity_sold := OLD.quantity_sold;
  IF (NEW.id, NEW.event_id) IS DISTINCT FROM (OLD.id, OLD.event_id) THEN
    PERFORM ticketing.refuse('PT409', format('tier %s cannot become another tier or move to another event', OLD.id),
      jsonb_build_object('reason', 'wrong_state', 'ticket_type_id', OLD.id), 'Make a new tier there.');
  END IF;
  RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION ticketing.follow_ticket_type() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM ticketing.stock_follow_capacity(OLD.event_id, OLD.id, NULL, false);
  ELSE
    PERFORM ticketing.stock_follow_capacity(NEW.event_id, NEW.id, ticketing.capacity_of(NEW.quantity_total), TG_OP = 'INSERT');
  END IF;
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION ticketing.follow_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM ticketing.stock_follow_capacity(OLD.id, NULL, NULL, false);
    RETURN NULL;
  END IF;
  PERFORM ticketing.stock_follow_capacity(NEW.id, NULL, ticketing.capacity_of(NEW.max_attendees), TG_OP = 'INSERT');
  UPDATE ticketing.event_settings s SET capacity = ticketing.capacity_of(NEW.max_attendees)
  WHERE s.event_id = NEW.id AND s.capacity IS DISTINCT FROM ticketing.capacity_of(NEW.max_attendees);
  RETURN NULL;
END
$$;

SELECT pg_temp.own_functions('refuse(text, text, jsonb, text)', 'stock_lock_shape(integer)',
  'stock_follow_capacity(integer, uuid, integer, boolean)', 'guard_ticket_type()', 'follow_ticket_type()', 'follow_event()');

SELECT pg_temp.lock_tables('SHARE ROW EXCLUSIVE', 'public.ticket_types', 'public.events', 'public.tickets');
CREATE OR REPLACE TRIGGER dvnt_guard_tier BEFORE INSERT OR UPDATE OR DELETE ON public.ticket_types
  FOR EACH ROW WHEN (current_user <> 'dvnt_ticketing_owner') EXECUTE FUNCTION ticketing.guard_ticket_type();
CREATE OR REPLACE TRIGGER dvnt_follow_tier AFTER INSERT OR DELETE ON public.ticket_types
  FOR EACH ROW EXECUTE FUNCTION ticketing.follow_ticket_type();
CREATE OR REPLACE TRIGGER dvnt_follow_capacity AFTER UPDATE OF quantity_total ON public.ticket_types
  FOR EACH ROW WHEN (OLD.quantity_total IS DISTINCT FROM NEW.quantity_total) EXECUTE FUNCTION ticketing.follow_ticket_type();
-- Fires after dvnt_record_event (triggers fire by name).
CREATE OR REPLACE TRIGGER dvnt_stock_event AFTER INSERT OR DELETE ON public.events
  FOR EACH ROW EXECUTE FUNCTION ticketing.follow_event();
CREATE OR REPLACE TRIGGER dvnt_stock_capacity AFTER UPDATE OF max_attendees ON public.events
  FOR EACH ROW WHEN (OLD.max_attendees IS DISTINCT FROM NEW.max_attendees) EXECUTE FUNCTION ticketing.follow_event();

-- What changed while nobody followed tiers and events, and pools with holds that were parked: derived again.
\ir ../lib/pools.sql
INSERT INTO changed_pools
SELECT p.pool_id FROM ticketing.stock_pools p
WHERE EXISTS (SELECT FROM ticketing.ticket_holds h WHERE h.event_id = p.event_id AND h.status = 'active')
ON CONFLICT DO NOTHING;
-- Seats of a tier that was deleted meanwhile; those of an open order stay held, and are a finding.
UPDATE ticketing.ticket_holds h SET status = 'released', ended_at = clock_timestamp()
WHERE h.status = 'active' AND h.order_id IS NULL
  AND NOT EXISTS (SELECT FROM public.ticket_types tt WHERE tt.id = h.ticket_type_id AND tt.event_id = h.event_id);
SELECT ticketing.stock_derive(pool_id) FROM (SELECT pool_id FROM changed_pools ORDER BY pool_id) c;
COMMIT;
