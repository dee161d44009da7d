CREATE FUNCTION ticketing.enrol_door_device(event_id integer, actor text, device_id text, name text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_enrol_door_device';
COMMENT ON FUNCTION ticketing.enrol_door_device(integer, text, text, text) IS
'Enrols a device at an event''s doors, or names it. A device that works with an operator who may scan is enrolled by itself; one that was revoked comes back by this alone.
Arguments: event_id; actor, who may scan, or edit where the device was revoked; device_id, at most 255 bytes; name, for people.
Result: event_id, device_id, name, enrolled_by, enrolled_at, revoked_at, revoked_by.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found (event).';

CREATE FUNCTION ticketing.revoke_door_device(event_id integer, actor text, device_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_revoke_door_device';
COMMENT ON FUNCTION ticketing.revoke_door_device(integer, text, text) IS
'Revokes a device: it gets no manifest, its scans online are not_allowed, and those that it made offline since are flagged.
Arguments: event_id; actor, who may edit; device_id.
Result: as of enrol_door_device.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found (event, device).';

CREATE FUNCTION ticketing.list_door_devices(event_id integer, actor text)
RETURNS TABLE (device_id text, name text, enrolled_by text, enrolled_at timestamptz, revoked_at timestamptz, revoked_by text, manifest_at timestamptz, scan_at timestamptz)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_list_door_devices';
COMMENT ON FUNCTION ticketing.list_door_devices(integer, text) IS
'The devices of an event''s doors.
Arguments: event_id; actor, who may view.
Result: rows by device_id: name, enrolled_by, enrolled_at, revoked_at, revoked_by; manifest_at and scan_at, the last manifest that the device was given and the last scan that it brought.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found (event).';
