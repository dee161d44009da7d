CREATE FUNCTION ticketing.sync_quantity_sold() RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_sync_quantity_sold';
COMMENT ON FUNCTION ticketing.sync_quantity_sold() IS
'For cron: rolls what is sold up into public.ticket_types.quantity_sold, which is output only.
Result: how many tiers changed.';

CREATE FUNCTION ticketing.sweep_stripe(max_rows integer DEFAULT 1000) RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_sweep_stripe';
COMMENT ON FUNCTION ticketing.sweep_stripe(integer) IS
'For cron: applies answers whose effect had failed, parked webhook events whose object is known by now, and what people have decided about disputes of which a part was lost; deletes what clients have been handed 14 minutes ago, so that none of it is ever older than 15.
Arguments: max_rows, how many answers, objects and orders at most, of each.
Result: how many of them were tried.
Errors: PT400 bad_request (max_rows is NULL or below 1).';

CREATE FUNCTION ticketing.prune() RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_prune';
COMMENT ON FUNCTION ticketing.prune() IS
'For cron: deletes what clients have been handed (after 14 minutes), payloads of settled webhook events, remembered answers and the record of doors'' manifests (after 30 days).
Result: how many rows.';
