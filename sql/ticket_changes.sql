CREATE FUNCTION ticketing.reissue_ticket(ticket_id uuid, actor text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_reissue_ticket';
COMMENT ON FUNCTION ticketing.reissue_ticket(uuid, text) IS
'Gives a valid ticket new codes. The old ones, signed and bare, are superseded from now on.
Arguments: ticket_id; actor, the ticket''s owner, the host, or a co-organizer who may edit.
Result: ticket_id, event_id, ticket_type_id, status, qr_payload (the new code, in the event''s suite).
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found; PT409 wrong_state (void, refunded or suspended); PT503 not_configured (no ticket secret); 40001: ask again.';

CREATE FUNCTION ticketing.transfer_ticket(ticket_id uuid, actor text, to_user_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_transfer_ticket';
COMMENT ON FUNCTION ticketing.transfer_ticket(uuid, text, text) IS
'Makes a ticket somebody else''s, with new codes: the old ones are superseded. The tier''s max_per_user holds for the new owner, live holds included. A later refund still goes to who paid.
Arguments: ticket_id; actor, the ticket''s owner, the host or an admin; to_user_id.
Result: ticket_id, event_id, ticket_type_id, status, user_id. Not the new code: it is the new owner''s alone.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found; PT409 already_done (the ticket is that user''s); PT409 limit_reached; PT409 wrong_state (not active: scanned, void, refunded or suspended); PT503 not_configured (no ticket secret); 40001: ask again.';

CREATE FUNCTION ticketing.void_ticket(ticket_id uuid, actor text, reason text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_void_ticket';
COMMENT ON FUNCTION ticketing.void_ticket(uuid, text, text) IS
'Ends a ticket for good; its seat is for sale again. No money moves.
Arguments: ticket_id; actor, the host or an admin; reason.
Result: ticket_id, event_id, ticket_type_id, status (void).
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found; PT409 wrong_state (void or refunded before); 40001, 55P03: ask again.';

CREATE FUNCTION ticketing.suspend_ticket(ticket_id uuid, actor text, reason text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_suspend_ticket';
COMMENT ON FUNCTION ticketing.suspend_ticket(uuid, text, text) IS
'Suspends a ticket: no door admits it, public.tickets shows it as void, and its seat stays its own until restore_ticket or void_ticket.
Arguments: ticket_id; actor, the host or an admin; reason.
Result: ticket_id, event_id, ticket_type_id, status (suspended).
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found; PT409 already_done; PT409 wrong_state (void or refunded); 40001, 55P03: ask again.';

CREATE FUNCTION ticketing.restore_ticket(ticket_id uuid, actor text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_restore_ticket';
COMMENT ON FUNCTION ticketing.restore_ticket(uuid, text) IS
'Brings a suspended ticket back as it was, scanned or not. Of an order whose refund failed this is the decision to let the buyer have his ticket.
Arguments: ticket_id; actor, the host or an admin.
Result: ticket_id, event_id, ticket_type_id, status.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found; PT409 wrong_state (not suspended; changed by other code since; or a refund or dispute is taking its payment back, with because); 40001, 55P03: ask again.';

CREATE FUNCTION ticketing.backfill_payloads(max_rows integer DEFAULT 1000, after uuid DEFAULT NULL, OUT written integer, OUT skipped integer, OUT next uuid)
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_backfill_payloads';
COMMENT ON FUNCTION ticketing.backfill_payloads(integer, uuid) IS
'Signs valid tickets that have no payload yet, those of before the engine, some at a time. Their bare tokens stay good. For owners of the database: call it with the next of the call before, each in a transaction of its own, until next is NULL; it can be begun again at any time.
Arguments: max_rows, tickets to look at, in the order of their ids; after, a ticket id (NULL: from the first).
Result: written; skipped, because somebody had them locked; next, NULL at the end.
Errors: PT400 bad_request (max_rows below 1); PT503 not_configured (no ticket secret).';
