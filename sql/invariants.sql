CREATE FUNCTION ticketing.check_invariants() RETURNS TABLE (check_name text, entity text, detail text)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_check_invariants';
COMMENT ON FUNCTION ticketing.check_invariants() IS
'Everything that must hold at every instant. No rows when all is well.
Result: check_name; entity, table/id; detail, a sentence with the figures.';
