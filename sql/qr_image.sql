CREATE FUNCTION ticketing.ticket_qr_svg(payload text, error_correction text DEFAULT 'M', size_mm double precision DEFAULT NULL,
  quiet_zone integer DEFAULT 4, dpi integer DEFAULT NULL) RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'ticket_qr_svg';
COMMENT ON FUNCTION ticketing.ticket_qr_svg(text, text, double precision, integer, integer) IS
'A QR code as SVG 1.1, black on white.
Arguments: payload, any text that a QR code holds: 1 to 2,953 bytes at level L, 2,331 at M, 1,663 at Q, 1,273 at H; error_correction, L, M, Q or H, which mend about 7, 15, 25 or 30 % of the code; size_mm, width and height of the whole picture in millimetres, quiet zone included, 1 to 1,000 (NULL: the page decides); quiet_zone, the white around the code in modules, 0 to 16 (the standard wants 4, fewer will do where the paper around is white); dpi, dots per inch of a printer, 72 to 2,400, goes with size_mm: size_mm is rounded to whole dots, all modules are as many whole dots as fit, and what is left over makes the quiet zone wider (NULL: modules divide the size evenly).
Result: the SVG document, NULL for a NULL payload. Its unit is a module, with dpi a dot. For a thermal printer of 203 dpi: ticket_qr_svg(payload, size_mm => 25, dpi => 203) has 200 dots, at level M 4 of them a module for the 62 characters of suite 1, and 3 for the 126 of suite 2 (4 with quiet_zone => 0, on white paper).
Errors: PT400 bad_request (payload is empty or longer than a code of that level holds, error_correction or quiet_zone is NULL, an argument is unknown or out of its range, dpi comes without size_mm, there are fewer dots than modules).
Source: ISO/IEC 18004.';

CREATE FUNCTION ticketing.ticket_qr_text(payload text, error_correction text DEFAULT 'M', quiet_zone integer DEFAULT 4, inverted boolean DEFAULT false) RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'ticket_qr_text';
COMMENT ON FUNCTION ticketing.ticket_qr_text(text, text, integer, boolean) IS
'A QR code for terminals, in half blocks, two rows of modules a line.
Arguments: payload, error_correction and quiet_zone, as of ticket_qr_svg; inverted, false for light text on a dark background, true for dark text on a light one.
Result: lines of text, NULL for a NULL payload.
Errors: PT400 bad_request (payload is empty or longer than a code of that level holds, another argument is NULL, unknown or out of its range).
Source: ISO/IEC 18004.';
