-- Takes the column away again if the engine had added it; its values are put aside first.
BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
REVOKE INSERT, UPDATE ON public.tickets FROM dvnt_ticketing_owner;
DO $$
BEGIN
  IF col_description('public.tickets'::regclass, (SELECT attnum FROM pg_attribute WHERE attrelid = 'public.tickets'::regclass AND attname = 'qr_payload' AND NOT attisdropped))
     = 'Signed code of the ticket, written by dvnt_ticketing when it is issued.' THEN
    LOCK TABLE public.tickets IN ACCESS EXCLUSIVE MODE;
    CREATE TABLE ticketing.ticket_payloads_parked AS
    SELECT id AS ticket_id, qr_payload FROM public.tickets WHERE qr_payload IS NOT NULL;
    ALTER TABLE ticketing.ticket_payloads_parked ADD PRIMARY KEY (ticket_id);
    ALTER TABLE ticketing.ticket_payloads_parked ENABLE ROW LEVEL SECURITY;
    ALTER TABLE public.tickets DROP COLUMN qr_payload;
  END IF;
END
$$;
SELECT pg_temp.park('ticketing', 'superseded_codes');
COMMIT;
