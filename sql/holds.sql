-- Fixes its search_path itself where it runs a statement, which its usual path doesn't.
CREATE FUNCTION ticketing.hold_tickets(user_id text, event_id integer, items jsonb, ttl interval DEFAULT NULL, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER
AS 'MODULE_PATHNAME', 'dvnt_hold_tickets';
COMMENT ON FUNCTION ticketing.hold_tickets(text, integer, jsonb, interval, text) IS
'Takes seats out of stock for a buyer, of one or several tiers of an event: all of them or none.
Arguments: user_id, who buys; event_id; items as for quote; ttl, how long the hold lives (default: the event''s hold_ttl, else the setting dvnt_ticketing.hold_ttl), cut to dvnt_ticketing.hold_max_age; request_id, 1 to 255 bytes: the same id again, by the same user with the same arguments, gives the first answer and holds nothing more.
Result: reservation_id; expires_at, the hold is live before that instant and dead at it; items, each tier once.
Errors: PT400 bad_request (an argument other than ttl and request_id is NULL, user_id is empty, ttl is not positive, request_id is empty or too long); PT404 not_found (event or tier); PT409 sold_out (with pool: tier or event, ticket_type_id, requested, available, held, next_release_at); PT409 limit_reached (with ticket_type_id, limit, held, owned, requested); PT409 request_id_reused (with other arguments); PT410 sale_closed (the event sells no tickets, before a tier''s sale_start, from its sale_end on); PT422 invalid_items; XX001 (a pool of the event''s stock is missing: run rebuild_stock); 40001, 40P01, 55P03: try again.';

CREATE FUNCTION ticketing.extend_hold(reservation_id uuid, user_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_extend_hold';
COMMENT ON FUNCTION ticketing.extend_hold(uuid, text) IS
'Lets a live hold live on: for the usual time from now, but never longer than dvnt_ticketing.hold_max_age after it was made. It is never shortened, and a call that is refused changes nothing.
Arguments: reservation_id; user_id, its owner.
Result: reservation_id; expires_at; items, each tier once.
Errors: PT400 bad_request (an argument is NULL, or user_id empty); PT404 not_found (unknown, or somebody else''s); PT409 limit_reached (it has its maximum age already, with max_age_seconds); PT409 already_done (it is paid); PT409 wrong_state (an order stands behind it, with order_id); PT410 hold_expired; 40001, 40P01: try again.';

CREATE FUNCTION ticketing.release_hold(reservation_id uuid, user_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_release_hold';
COMMENT ON FUNCTION ticketing.release_hold(uuid, text) IS
'Gives the seats of a reservation back at once. A second call changes nothing.
Arguments: reservation_id; user_id, its owner.
Result: reservation_id; released, false when it had ended before.
Errors: PT400 bad_request (an argument is NULL, or user_id empty); PT404 not_found (unknown, or somebody else''s); PT409 already_done (it is paid); PT409 wrong_state (an order stands behind it, with order_id); 40001, 40P01: try again.';

CREATE FUNCTION ticketing.availability(event_id integer)
RETURNS TABLE (ticket_type_id uuid, capacity integer, available integer, held integer, sold integer, next_release_at timestamptz)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_availability';
COMMENT ON FUNCTION ticketing.availability(integer) IS
'What is for sale at this instant, a row per tier, the cheapest first. Exact with or without cron.
Arguments: event_id.
Result: ticket_type_id; capacity (NULL: unlimited); available, the least of what the tier and the event have left, dead holds counted as free (NULL: neither has a limit); held, seats in live holds and behind open orders; sold, valid tickets; next_release_at, when the next of the holds ends that no order stands behind (NULL: there is none).
Errors: PT400 bad_request (event_id is NULL); PT404 not_found (event).';
