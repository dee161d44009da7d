CREATE FUNCTION ticketing.check_invariants() RETURNS TABLE (check_name text, entity text, detail text)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_check_invariants';
COMMENT ON FUNCTION ticketing.check_invariants() IS
'Everything that must hold at every instant. No rows when all is well. Writes nothing and takes no lock; one snapshot serves all checks, so that work in progress is no false alarm.
Result: check_name, explained in docs/operations.md; entity, as table/id; detail, the figures.';
