BEGIN;
SELECT qr_payload FROM public.tickets WHERE false;
SELECT code_hash, ticket_id, event_id, superseded_at FROM ticketing.superseded_codes WHERE false;
SELECT ticket_id, event_id, hold_id, status_before, reason, suspended_by, suspended_at FROM ticketing.suspended_tickets WHERE false;
SELECT id, ticket_id, event_id, change, actor, detail, changed_at FROM ticketing.ticket_changes WHERE false;
ROLLBACK;
