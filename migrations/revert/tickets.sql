-- Takes the column away again if the engine had added it; its values are put aside first.
BEGIN ISOLATION LEVEL READ COMMITTED;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
REVOKE INSERT, UPDATE ON public.tickets FROM dvnt_ticketing_owner;
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.tickets'::regclass AND attname = 'qr_payload' AND NOT attisdropped
                 AND col_description(attrelid, attnum) = 'Signed code of the ticket, written by dvnt_ticketing when it is issued.') THEN
    RETURN;
  END IF;
  CREATE TABLE IF NOT EXISTS ticketing.ticket_payloads_parked (ticket_id uuid PRIMARY KEY, qr_payload text NOT NULL);
  ALTER TABLE ticketing.ticket_payloads_parked ENABLE ROW LEVEL SECURITY;
  -- Nearly all of them before the lock, under which nobody can read a ticket; then those that have changed.
  FOR pass IN 1..2 LOOP
    IF pass = 2 THEN
      LOCK TABLE public.tickets IN ACCESS EXCLUSIVE MODE;
    END IF;
    INSERT INTO ticketing.ticket_payloads_parked AS p (ticket_id, qr_payload)
    SELECT t.id, t.qr_payload FROM public.tickets t LEFT JOIN ticketing.ticket_payloads_parked k ON k.ticket_id = t.id
    WHERE t.qr_payload IS NOT NULL AND k.qr_payload IS DISTINCT FROM t.qr_payload
    ON CONFLICT (ticket_id) DO UPDATE SET qr_payload = excluded.qr_payload;
  END LOOP;
  ALTER TABLE public.tickets DROP COLUMN qr_payload;
END
$$;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['superseded_codes', 'suspended_tickets', 'ticket_changes']) t;
COMMIT;
