CREATE FUNCTION ticketing.statistics() RETURNS TABLE (name text, count bigint, server_wide boolean)
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_statistics';
COMMENT ON FUNCTION ticketing.statistics() IS
'How often what happened since the server was started; what was rolled back is counted, too. See the view ticketing.stock_statistics.
Result: name; count; server_wide, true when the library is preloaded and all backends are counted, false when this backend alone is.
Names: drawn_fast, draws from the backend''s own shard; drawn_stolen, from another shard of the pool; drawn_slow, carts that needed the slow path; drawn_again, rounds of the slow path that were repeated; returned, returns to a pool; reclaimed, batches of dead holds that a buyer or a sweep took back; refused_..., refusals by reason.';
