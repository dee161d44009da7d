CREATE FUNCTION ticketing.ticket_qr_svg(payload text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ticket_qr_svg';
COMMENT ON FUNCTION ticketing.ticket_qr_svg(text) IS
'A QR code as SVG 1.1: black on white, error correction M, a quiet zone of four modules.
Arguments: payload, any text that a QR code holds, 1 to 2,331 bytes.
Result: the SVG document, NULL for NULL.
Errors: PT400 bad_request (empty or too long).
Source: ISO/IEC 18004.';

CREATE FUNCTION ticketing.ticket_qr_text(payload text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ticket_qr_text';
COMMENT ON FUNCTION ticketing.ticket_qr_text(text) IS
'A QR code for terminals, in half blocks. The light modules are drawn, so that it scans on a dark background.
Arguments: payload, any text that a QR code holds, 1 to 2,331 bytes.
Result: lines of text, NULL for NULL.
Errors: PT400 bad_request (empty or too long).
Source: ISO/IEC 18004.';
