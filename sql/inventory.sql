CREATE FUNCTION ticketing.release_expired_holds(max_rows integer DEFAULT 10000) RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_release_expired_holds';
COMMENT ON FUNCTION ticketing.release_expired_holds(integer) IS
'Gives the seats of dead holds back to stock. For cron: nothing depends on it, because every sale counts dead holds as free.
Arguments: max_rows, how many hold rows at most in this call.
Result: how many were released. An event that another session is sweeping is left to that session.
Errors: PT400 bad_request (max_rows is NULL or below 1); 40001, 40P01: try again.';

CREATE FUNCTION ticketing.rebuild_stock(event_id integer) RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_rebuild_stock';
COMMENT ON FUNCTION ticketing.rebuild_stock(integer) IS
'Derives the stock of an event afresh from its tickets and holds, under the event''s lock, and makes pools that are missing: after a restore, or when check_invariants reports stock_conserved.
Arguments: event_id.
Result: how many pools the event has, 0 for one without limits or without existence.
Errors: PT400 bad_request (event_id is NULL); 40001, 40P01: try again.';
