-- The signed payload of a ticket, in the one column that the engine adds to public; the hashes of codes that a
-- reissue or transfer has replaced; tickets that are suspended; and what was done to tickets.
BEGIN;
\ir ../lib/park.sql
\ir ../lib/own.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['superseded_codes', 'suspended_tickets', 'ticket_changes']) t;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.tickets'::regclass AND attname = 'qr_payload' AND NOT attisdropped) THEN
    ALTER TABLE public.tickets ADD COLUMN qr_payload text;
    COMMENT ON COLUMN public.tickets.qr_payload IS 'Signed code of the ticket, written by dvnt_ticketing when it is issued.';
  END IF;
END
$$;

CREATE TABLE IF NOT EXISTS ticketing.superseded_codes (
  code_hash     text PRIMARY KEY CHECK (code_hash ~ '^[0-9a-f]{64}$'),
  ticket_id     uuid NOT NULL,
  event_id      integer NOT NULL,
  superseded_at timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.superseded_codes IS 'SHA-256 (lower-case hex) of codes that a reissue or transfer has replaced.';
CREATE INDEX IF NOT EXISTS superseded_codes_ticket ON ticketing.superseded_codes (ticket_id);

CREATE TABLE IF NOT EXISTS ticketing.suspended_tickets (
  ticket_id     uuid PRIMARY KEY,
  event_id      integer NOT NULL,
  hold_id       uuid NOT NULL,
  status_before text NOT NULL CHECK (status_before IN ('active', 'scanned')),
  reason        text NOT NULL,
  suspended_by  text NOT NULL,
  suspended_at  timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.suspended_tickets IS 'Tickets that are void for the time being: public.tickets has no such status. They come back as they were.';
COMMENT ON COLUMN ticketing.suspended_tickets.hold_id IS 'The hold without an end that keeps the ticket''s seat meanwhile.';

CREATE TABLE IF NOT EXISTS ticketing.ticket_changes (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ticket_id  uuid NOT NULL,
  event_id   integer NOT NULL,
  change     text NOT NULL CHECK (change IN ('reissued', 'transferred', 'voided', 'refunded', 'suspended', 'restored')),
  actor      text NOT NULL,
  detail     jsonb NOT NULL DEFAULT '{}',
  changed_at timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.ticket_changes IS 'What was done to tickets after they were issued, and by whom. Never a code.';
CREATE INDEX IF NOT EXISTS ticket_changes_ticket ON ticketing.ticket_changes (ticket_id, id);

SELECT pg_temp.own_tables('superseded_codes', 'suspended_tickets', 'ticket_changes');
GRANT INSERT, UPDATE (status, user_id, checked_in_at, checked_in_by, qr_payload, qr_token) ON public.tickets TO dvnt_ticketing_owner;

COMMIT;

-- Payloads that a rollback put aside come back, some at a time: nobody waits for long, and we for nobody. Tickets that somebody
-- has locked are left for the next pass.
DO $$
DECLARE
  give_up timestamptz := clock_timestamp() + '10 seconds';
  last uuid := '00000000-0000-0000-0000-000000000000';
  ids uuid[];
BEGIN
  WHILE to_regclass('ticketing.ticket_payloads_parked') IS NOT NULL LOOP
    PERFORM set_config('lock_timeout', '2s', true);
    SELECT array_agg(b.ticket_id) INTO ids
    FROM (SELECT ticket_id FROM ticketing.ticket_payloads_parked WHERE ticket_id > last ORDER BY ticket_id LIMIT 2000) b;
    IF ids IS NOT NULL THEN
      last := ids[cardinality(ids)];
      SELECT array_agg(f.id) INTO ids
      FROM (SELECT id FROM public.tickets WHERE id = ANY (ids) AND qr_payload IS NULL FOR NO KEY UPDATE SKIP LOCKED) f;
      UPDATE public.tickets t SET qr_payload = p.qr_payload
      FROM ticketing.ticket_payloads_parked p WHERE t.id = ANY (ids) AND p.ticket_id = t.id;
      give_up := CASE WHEN FOUND THEN clock_timestamp() + '10 seconds' ELSE give_up END;
    ELSIF NOT EXISTS (SELECT FROM ticketing.ticket_payloads_parked p JOIN public.tickets t ON t.id = p.ticket_id WHERE t.qr_payload IS NULL) THEN
      DROP TABLE ticketing.ticket_payloads_parked;
    ELSIF clock_timestamp() < give_up THEN
      last := '00000000-0000-0000-0000-000000000000';
      PERFORM pg_sleep(0.05);
    ELSE
      RAISE EXCEPTION 'signed codes cannot be brought back: their tickets are locked'
        USING HINT = 'Deploy again. What has been brought back stays.', ERRCODE = 'lock_not_available';
    END IF;
    COMMIT;
  END LOOP;
END
$$;
