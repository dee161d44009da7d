CREATE FUNCTION ticketing.quote(event_id integer, items jsonb) RETURNS jsonb
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_quote';
COMMENT ON FUNCTION ticketing.quote(integer, jsonb) IS
'What a cart costs, all amounts in cents, by fee policy v1_250_1pt: 2.5 % of the subtotal (rounded half up) plus 1.00 for each paid ticket, on the buyer''s side and again on the organizer''s; free tickets carry no fee. It holds nothing and checks no stock.
Arguments: event_id; items, an array of {"ticket_type_id": uuid, "quantity": integer}.
Result: currency, subtotal_cents, buyer_fee_cents, organizer_fee_cents, total_cents (what the buyer pays), application_fee_cents (what the platform keeps), transfer_cents (what the organizer gets).
Errors: PT400 bad_request (an argument is NULL); PT404 not_found (event or tier); PT422 invalid_items (malformed, a tier of another event, several currencies, a paid price below 2.00).';
