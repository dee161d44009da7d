CREATE FUNCTION ticketing.cancel_event(event_id integer, actor text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_cancel_event';
COMMENT ON FUNCTION ticketing.cancel_event(integer, text) IS
'The event does not take place: from now on nothing of it is sold, what is not paid is canceled, and every paid order is refunded, tickets that were checked in included. The first hundred orders at once, the others by refund_canceled_events, which cron runs each minute; or call this again: it goes on where it was. The calls to Stripe are paced as all calls are, before those of buyers of other events.
Arguments: event_id; actor, the host or an admin.
Result: event_id; canceled_at; orders_done, by this call; orders_left.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found; 40001, 40P01, 55P03: try again.';

CREATE FUNCTION ticketing.refund_canceled_events(max_orders integer DEFAULT 100) RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_refund_canceled_events';
COMMENT ON FUNCTION ticketing.refund_canceled_events(integer) IS
'Goes on with the refunds of canceled events, where cancel_event or an earlier call left off; also of what was paid meanwhile. An order that cannot be refunded is a finding (refund_not_made), and does not hold up others; resolve it to have it tried again.
Arguments: max_orders, at most so many.
Result: how many orders; 0: none is left.
Errors: PT400 bad_request; 40001, 40P01, 55P03: try again.';
