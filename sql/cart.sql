CREATE FUNCTION ticketing.quote(event_id integer, items jsonb) RETURNS jsonb
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_quote';
COMMENT ON FUNCTION ticketing.quote(integer, jsonb) IS
'What a cart costs, by fee policy v1_250_1pt: 2.5 % of the subtotal, rounded half up, plus 100 cents for each paid ticket, on the buyer''s side and again on the organizer''s. Free tickets carry no fee. It holds nothing, and looks neither at stock nor at the time of sale.
Arguments: event_id; items, an array of 1 to 100 objects {"ticket_type_id": uuid, "quantity": integer from 1}, in which a tier that comes twice counts once with the sum.
Result: currency, three lower-case letters; subtotal_cents; buyer_fee_cents; organizer_fee_cents; total_cents, what the buyer pays: subtotal and buyer''s fee; application_fee_cents, what the platform keeps: both fees; transfer_cents, what the organizer gets: subtotal less organizer''s fee.
Errors: PT400 bad_request (an argument is NULL); PT404 not_found (event or tier); PT422 invalid_items (malformed, a tier of another event, several currencies, one that is not on the list, a paid price below 200 cents, an amount above 2,147,483,647 cents).';
