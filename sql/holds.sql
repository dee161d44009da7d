CREATE FUNCTION ticketing.hold_tickets(user_id text, event_id integer, items jsonb, ttl interval DEFAULT NULL, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_hold_tickets';
COMMENT ON FUNCTION ticketing.hold_tickets(text, integer, jsonb, interval, text) IS
'Takes seats out of stock for a buyer, of one or several tiers of an event: all of them or none.
Arguments: user_id, who buys; event_id; items, an array of {"ticket_type_id": uuid, "quantity": integer}; ttl, how long the hold lives (default: the event''s hold_ttl, else the setting dvnt_ticketing.hold_ttl; at most dvnt_ticketing.hold_max_age); request_id, up to 255 bytes: the same id again gives the first answer and holds nothing more.
Result: reservation_id, expires_at (the hold is live before that instant), items.
Errors: PT400 bad_request (an argument is NULL or ttl not positive); PT404 not_found (event or tier); PT409 sold_out (with pool, ticket_type_id, requested, available, held, next_release_at), limit_reached, request_id_reused; PT410 sale_closed; PT422 invalid_items; 55P03 or 40001: try again.';

CREATE FUNCTION ticketing.release_hold(reservation_id uuid, user_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_release_hold';
COMMENT ON FUNCTION ticketing.release_hold(uuid, text) IS
'Gives the seats of a reservation back. A second call changes nothing.
Arguments: reservation_id; user_id, its owner.
Result: reservation_id, released (false when it had ended before).
Errors: PT400 bad_request; PT404 not_found (unknown, or somebody else''s); PT409 already_done (it is paid), wrong_state (an open order stands behind it).';

CREATE FUNCTION ticketing.availability(event_id integer)
RETURNS TABLE (ticket_type_id uuid, capacity integer, available integer, held integer, sold integer, next_release_at timestamptz)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_availability';
COMMENT ON FUNCTION ticketing.availability(integer) IS
'What is for sale at this instant, a row per tier, exact with or without cron.
Arguments: event_id.
Result: ticket_type_id; capacity (NULL: unlimited); available, the least of what the tier and the event have left (NULL: unlimited); held, in live holds; sold, valid tickets; next_release_at, when the next hold ends that no order stands behind.
Errors: PT400 bad_request; PT404 not_found.';
