BEGIN;
SELECT qr_payload FROM public.tickets WHERE false;
SELECT code_hash, ticket_id, event_id, superseded_at FROM ticketing.superseded_codes WHERE false;
ROLLBACK;
