CREATE FUNCTION ticketing.door_manifest(event_id integer, actor text, device_id text, since text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_door_manifest';
COMMENT ON FUNCTION ticketing.door_manifest(integer, text, text, text) IS
'What a device needs to decide at the door by itself: the event''s tickets as hashes of their codes, and later what has changed. A lost device reveals no code.
Arguments: event_id; actor, who may scan; device_id, enrolled by its first use; since, the cursor of the manifest before (NULL: all tickets).
Result: event_id, device_id, manifest_id (to be named by scans), issued_at, expires_at (after dvnt_ticketing.manifest_ttl), cursor, full (true: all tickets, forget those of before), doors (open, close, reentry, gates with their ticket_type_ids, null for all), keys (key_id and public_key of suite 2, base64url), tickets: ticket_id, version (an older one must not replace a newer one), ticket_type_id, codes (SHA-256, lower-case hex, of the payload and of the bare token), superseded (hashes of codes that were replaced, if any), state (active, scanned, refunded, void, suspended, removed), outside (true: went out, where there is re-entry), admitted_at. After a cursor of another epoch (the database was restored, re-entry has begun or ended) all tickets come. A change may come twice; none is missing.
Errors: PT400 bad_request (an argument is NULL, since is no cursor); PT403 not_allowed (the actor, or the device is revoked); PT404 not_found (event).';

CREATE FUNCTION ticketing.door_key(event_id integer, actor text) RETURNS jsonb
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_door_key';
COMMENT ON FUNCTION ticketing.door_key(integer, text) IS
'The public keys by which a device verifies codes of suite 2. They cannot sign.
Arguments: event_id; actor, who may scan.
Result: event_id, keys: key_id, public_key (Ed25519, 32 bytes, base64url without padding).
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found (event); PT503 not_configured (no ticket secret).
Source: RFC 8032.';
