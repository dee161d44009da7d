CREATE FUNCTION ticketing.event_financials(event_id integer, actor text)
RETURNS TABLE (currency text, gross_cents bigint, refunds_cents bigint, dvnt_fee_cents bigint, stripe_fee_cents bigint, net_cents bigint)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_event_financials';
COMMENT ON FUNCTION ticketing.event_financials(integer, text) IS
'An event''s money, exactly, as sums over the ledger; docs/ledger.md says which. public.event_financials has the same a minute later, and what was there before us besides.
Arguments: event_id; actor, its host or who may administer it.
Result: a row for each currency: gross_cents, prices of the tickets that were paid, refunded or not; refunds_cents, what of these buyers were given back, by us or their banks; dvnt_fee_cents, the platform''s fees less those given back; stripe_fee_cents, what Stripe kept, which the platform bears; net_cents, what is the organizer''s.
Errors: PT400 bad_request (an argument is NULL); PT403 not_allowed; PT404 not_found (event).';

CREATE FUNCTION ticketing.sync_event_financials(everything boolean DEFAULT false) RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_sync_event_financials';
COMMENT ON FUNCTION ticketing.sync_event_financials(boolean) IS
'For cron: rolls the ledger up into public.event_financials, on top of what was there before us. That table is output only.
Arguments: everything, true: all events that the ledger knows, false: those with bookings since the last change.
Result: how many rows changed.
Errors: PT400 bad_request (everything is NULL).';
