CREATE FUNCTION ticketing.save_door_settings(event_id integer, actor text, settings jsonb) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_save_door_settings';
COMMENT ON FUNCTION ticketing.save_door_settings(integer, text, jsonb) IS
'Sets an event''s doors; what is left out stays as it is.
Arguments: event_id; actor, who may edit; settings: doors_open and doors_close (a time, or null for none), reentry (whether a ticket that was scanned out may come in again), suite (signature of codes from now on: 1 HMAC-SHA-256, 2 Ed25519; the codes there are stay good), gates (an object: each gate''s name and null, or an array of the ticket_type_ids that may come in there; it replaces all gates, and with {} every gate''s name passes).
Result: event_id and all settings as they are now.
Errors: PT400 bad_request (an argument is NULL, a setting is unknown or has no value that it can have, doors would close before they open); 22007, 22P02 (no time, no uuid); PT403 not_allowed; PT404 not_found (event, ticket type).';

CREATE FUNCTION ticketing.door_conflicts(event_id integer, actor text)
RETURNS TABLE (checkin_id uuid, ticket_id uuid, conflicts text[], result text, direction text, gate text, device_id text, scanned_by text, scanned_at timestamptz,
  happened_at timestamptz, recorded_at timestamptz, uploaded_by text, undone_at timestamptz)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_door_conflicts';
COMMENT ON FUNCTION ticketing.door_conflicts(integer, text) IS
'Scans that somebody should look at: let through offline although the ticket, the operator or the device was no good any more, or let in twice.
Arguments: event_id; actor, who may view.
Result: rows by time: checkin_id, ticket_id; conflicts, the flags of sync_checkins but clock; result, what the scan comes to today; direction, gate, device_id, scanned_by; scanned_at as the device says, happened_at corrected, recorded_at; uploaded_by; undone_at.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found (event).';

CREATE FUNCTION ticketing.door_progress(event_id integer, actor text)
RETURNS TABLE (gate text, admitted bigint, inside bigint, remaining bigint, duplicates bigint, refused jsonb, scans_per_minute bigint, last_scan_at timestamptz)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_door_progress';
COMMENT ON FUNCTION ticketing.door_progress(integer, text) IS
'How far an event''s doors are: the rows of the view ticketing.door_progress.
Arguments: event_id; actor, who may view.
Result: a row for the event (gate NULL) and one for each gate that has scanned: admitted, tickets; inside now and remaining to come (of the event alone); duplicates; refused, scans by reason; scans_per_minute, of the last minute; last_scan_at.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found (event).';
