CREATE FUNCTION ticketing.check_in(payload text, event_id integer, scanned_by text, device_id text DEFAULT NULL, scan_id uuid DEFAULT NULL,
  scanned_at timestamptz DEFAULT NULL, gate text DEFAULT NULL, direction text DEFAULT 'in', force boolean DEFAULT false) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_check_in';
COMMENT ON FUNCTION ticketing.check_in(text, integer, text, text, uuid, timestamptz, text, text, boolean) IS
'One scan at the door. A code that is not signed by us is refused before any table is read; every scan is recorded, a code as its hash alone.
Arguments: payload, the QR code''s text, or a bare token of before, also as dvnt://ticket/<token>; event_id, whose door this is; scanned_by, the operator: host or accepted co-organizer who may scan; device_id; scan_id, a uuid for this scan: asked again it gets the same answer; scanned_at, when the device scanned (default: now); gate; direction, in or out (out needs an event with re-entry); force, for host and admins: admit outside of the doors'' hours.
Result: result admitted | already_admitted | malformed | bad_signature | unknown_key | wrong_event | wrong_gate | too_early | too_late | not_found | superseded | refunded | void | suspended | exited | not_inside | not_allowed; checkin_id, ticket_id, admitted_at, and admitted_by, admitted_gate.
Errors: PT400 bad_request; PT404 not_found (event); PT409 request_id_reused (scan_id); PT503 not_configured (no ticket secret).';
