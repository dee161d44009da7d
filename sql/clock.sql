CREATE FUNCTION ticketing.clock() RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'dvnt_clock';
COMMENT ON FUNCTION ticketing.clock() IS
'Now, as the engine sees it: the server''s clock, unless a test has shifted it (dvnt_ticketing.test_clock_offset, test_clock_rate).
Result: the time of the call, not of the transaction.';
