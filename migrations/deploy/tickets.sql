-- The signed payload of a ticket, in the one column that the engine adds to public, and the hashes of
-- codes that a reissue or transfer has replaced.
BEGIN;
\ir ../lib/park.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', 'superseded_codes');

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
ALTER TABLE ticketing.superseded_codes OWNER TO dvnt_ticketing_owner;
ALTER TABLE ticketing.superseded_codes ENABLE ROW LEVEL SECURITY;
GRANT INSERT, UPDATE (status, checked_in_at, checked_in_by, qr_payload, qr_token) ON public.tickets TO dvnt_ticketing_owner;

-- Payloads that a rollback put aside come back.
DO $$
BEGIN
  IF to_regclass('ticketing.ticket_payloads_parked') IS NOT NULL THEN
    UPDATE public.tickets t SET qr_payload = p.qr_payload
    FROM ticketing.ticket_payloads_parked p WHERE p.ticket_id = t.id AND t.qr_payload IS NULL;
    DROP TABLE ticketing.ticket_payloads_parked;
  END IF;
END
$$;
COMMIT;
