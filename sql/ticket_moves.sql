CREATE FUNCTION ticketing.undo_check_in(checkin_id uuid, actor text, reason text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_undo_check_in';
COMMENT ON FUNCTION ticketing.undo_check_in(uuid, text, text) IS
'Takes back a scan that let somebody in or out by mistake. Its row stays, with who undid it, when and why; the ticket becomes what its other scans make of it.
Arguments: checkin_id, as check_in answered it; actor, who made the scan, or the host or an admin; reason.
Result: checkin_id, ticket_id, ticket_status (as public.tickets has it now), undone_at.
Errors: PT400 bad_request (an argument is NULL or empty); PT403 not_allowed; PT404 not_found; PT409 already_done; PT409 wrong_state (a scan that was refused at the door).';
