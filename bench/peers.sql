-- The usual ways to hold a seat, each as its users would write it, and each correct: it never sells a
-- seat twice. One call is one round trip and one transaction, and leaves the same row as hold_tickets,
-- under the same indexes. They do less than hold_tickets does: no look at the sale's window, at limits
-- per user or at the event. Their tables are emptied before every turn.
CREATE SCHEMA peer;

CREATE TABLE peer.tiers (
  id        uuid PRIMARY KEY,
  event_id  integer NOT NULL,
  capacity  integer NOT NULL,
  available integer NOT NULL CHECK (available >= 0)
);
CREATE TABLE peer.holds (LIKE ticketing.ticket_holds INCLUDING ALL);
CREATE TABLE peer.seats (
  id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  ticket_type_id uuid NOT NULL,
  number         integer NOT NULL,
  reservation_id uuid
);
CREATE INDEX seats_free ON peer.seats (ticket_type_id, number) WHERE reservation_id IS NULL;
CREATE INDEX seats_of_reservation ON peer.seats (reservation_id) WHERE reservation_id IS NOT NULL;

-- A counter that is locked before it is read. Seats of dead holds come back by a job, as with any counter.
CREATE FUNCTION peer.for_update(buyer text, tier uuid, wanted integer) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  reservation uuid := gen_random_uuid();
  t peer.tiers;
BEGIN
  SELECT * INTO STRICT t FROM peer.tiers WHERE id = tier FOR UPDATE;
  IF t.available < wanted THEN
    RAISE EXCEPTION 'sold out';
  END IF;
  UPDATE peer.tiers SET available = available - wanted WHERE id = tier;
  INSERT INTO peer.holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at)
  VALUES (reservation, t.event_id, tier, buyer, wanted, clock_timestamp() + interval '10 minutes');
  RETURN reservation;
END
$$;

-- A counter whose UPDATE carries the condition: one statement less, the same row lock.
CREATE FUNCTION peer.guarded_update(buyer text, tier uuid, wanted integer) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  reservation uuid := gen_random_uuid();
  event integer;
BEGIN
  UPDATE peer.tiers SET available = available - wanted WHERE id = tier AND available >= wanted RETURNING event_id INTO event;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'sold out';
  END IF;
  INSERT INTO peer.holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at)
  VALUES (reservation, event, tier, buyer, wanted, clock_timestamp() + interval '10 minutes');
  RETURN reservation;
END
$$;

-- An advisory lock to the end of the transaction, then a count of what is held. So lock pretix (quotas and
-- events, services/locking.py) and Hi.Events (the event, CreateOrderHandler). Dead holds are free at once.
CREATE FUNCTION peer.advisory_lock(buyer text, tier uuid, wanted integer) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  reservation uuid := gen_random_uuid();
  t peer.tiers;
  held bigint;
BEGIN
  SELECT * INTO STRICT t FROM peer.tiers WHERE id = tier;
  PERFORM pg_advisory_xact_lock(t.event_id);
  SELECT coalesce(sum(quantity), 0) INTO held FROM peer.holds
  WHERE event_id = t.event_id AND ticket_type_id = tier AND status = 'active' AND expires_at > clock_timestamp();
  IF t.capacity - held < wanted THEN
    RAISE EXCEPTION 'sold out';
  END IF;
  INSERT INTO peer.holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at)
  VALUES (reservation, t.event_id, tier, buyer, wanted, clock_timestamp() + interval '10 minutes');
  RETURN reservation;
END
$$;

-- A row for each ticket, and the first free ones that nobody else has locked. So reserves alf.io. Nobody
-- waits, but the last seats can be refused while another buyer, who then gives up, has them locked.
CREATE FUNCTION peer.skip_locked(buyer text, tier uuid, wanted integer) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  reservation uuid := gen_random_uuid();
  event integer;
  taken integer;
BEGIN
  SELECT event_id INTO STRICT event FROM peer.tiers WHERE id = tier;
  UPDATE peer.seats s SET reservation_id = reservation
  FROM (SELECT id FROM peer.seats WHERE ticket_type_id = tier AND reservation_id IS NULL
        ORDER BY number LIMIT wanted FOR UPDATE SKIP LOCKED) free
  WHERE s.id = free.id;
  GET DIAGNOSTICS taken = ROW_COUNT;
  IF taken < wanted THEN
    RAISE EXCEPTION 'sold out';
  END IF;
  INSERT INTO peer.holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at)
  VALUES (reservation, event, tier, buyer, wanted, clock_timestamp() + interval '10 minutes');
  RETURN reservation;
END
$$;
