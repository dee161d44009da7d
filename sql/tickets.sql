CREATE FUNCTION ticketing.verify_ticket(payload text, OUT valid boolean, OUT reason text, OUT ticket_id uuid, OUT event_id integer, OUT key_id integer, OUT suite integer)
LANGUAGE c STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_verify_ticket';
COMMENT ON FUNCTION ticketing.verify_ticket(text) IS
'Whether a code was signed by us, by cryptography alone: no table is read, so a void or superseded ticket is valid here.
Arguments: payload, the text of the QR code (NULL: malformed).
Result: valid; reason when it is not (malformed, unknown_key, bad_signature); ticket_id, event_id, key_id and suite (1 HMAC-SHA-256, 2 Ed25519) of a valid one.
Errors: PT503 not_configured (no ticket secret).
Sources: RFC 4648 (base64url), RFC 5869 (HKDF), RFC 2104 (HMAC), RFC 8032 (Ed25519).';

CREATE FUNCTION ticketing.is_genuine_ticket(payload text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dvnt_is_genuine_ticket';
COMMENT ON FUNCTION ticketing.is_genuine_ticket(text) IS
'The check of verify_ticket as one boolean, at full speed.
Arguments: payload, the text of the QR code.
Result: true for what verify_ticket calls valid, NULL for NULL.
Errors: PT503 not_configured (no ticket secret).
Sources: those of verify_ticket.';

CREATE FUNCTION ticketing.sign_ticket(ticket_id uuid, event_id integer, nonce bytea, suite integer DEFAULT 1) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dvnt_sign_ticket';
COMMENT ON FUNCTION ticketing.sign_ticket(uuid, integer, bytea, integer) IS
'The signed code of a ticket, for owners of the database: who may call it can make tickets that pass verify_ticket.
Arguments: ticket_id; event_id; nonce, 8 bytes; suite, 1 (HMAC-SHA-256, 62 characters) or 2 (Ed25519, 126 characters).
Result: the code, base64url without padding.
Errors: PT400 bad_request (an argument is NULL, the nonce has not 8 bytes, the suite is unknown); PT503 not_configured (no ticket secret).
Sources: those of verify_ticket.';
