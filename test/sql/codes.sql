-- Ticket codes: what is not a code to the letter is malformed, and the check reads no table, in one process or in several.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7017);

CREATE TEMP TABLE code AS
SELECT suite, ticketing.sign_ticket('6f9619ff-8b86-4d01-b42d-00c04fc964ff', 7, '\x0102030405060708', suite) AS code FROM generate_series(1, 2) suite;
CREATE FUNCTION pg_temp.bytes(code text) RETURNS bytea LANGUAGE sql RETURN decode(translate(code, '-_', '+/') || '==', 'base64');
CREATE FUNCTION pg_temp.code(bytes bytea) RETURNS text LANGUAGE sql RETURN translate(encode(bytes, 'base64'), E'+/=\n', '-_');
CREATE FUNCTION pg_temp.digit(n bigint) RETURNS text LANGUAGE sql
RETURN substr('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', n::integer + 1, 1);

-- One spelling of a code is good. A second one would pass for another ticket wherever codes are compared: lists of hashes, duplicates.
CREATE TEMP TABLE spelling AS
SELECT suite, n, what, text FROM code, LATERAL (VALUES
  (1, 'as it is', ARRAY[code]),
  (2, 'shorter', ARRAY(SELECT left(code, l) FROM generate_series(0, length(code) - 1) l)),
  (3, 'longer', ARRAY(SELECT rpad(code, length(code) + l, 'A') FROM generate_series(1, 100) l)),
  (4, 'begun late', ARRAY(SELECT substr(code, l) FROM generate_series(2, length(code)) l)),
  (5, 'padding', ARRAY[code || '=', code || '==', code || '===', left(code, -1) || '=', left(code, -2) || '==', '=' || substr(code, 2)]),
  (6, 'standard alphabet', ARRAY[translate(code, '-_', '+/'), translate(code, '-_', '+/') || '==', overlay(code PLACING '+' FROM 40), overlay(code PLACING '/' FROM 40)]),
  (7, 'blanks', ARRAY[' ' || code, code || ' ', ' ' || left(code, -1), left(code, -1) || ' ', overlay(code PLACING ' ' FROM 30), overlay(code PLACING ' ' FROM 30 FOR 0), E'\t' || code, code || E'\t']),
  (8, 'newlines', ARRAY[E'\n' || code, code || E'\n', code || E'\r\n', left(code, -1) || E'\n', overlay(code PLACING E'\n' FROM 30), overlay(code PLACING E'\n' FROM 30 FOR 0)]),
  (9, 'not ASCII', ARRAY[code || U&'\00A0', code || U&'\200B', U&'\FEFF' || code, overlay(code PLACING 'é' FROM 30), overlay(code PLACING 'é' FROM 30 FOR 2), overlay(code PLACING U&'\FF21' FROM 30), overlay(code PLACING U&'\2010' FROM 30)]),
  (10, 'dressed up', ARRAY['"' || code || '"', 'dvnt://ticket/' || code, code || '#', code || E'\x01', code || code, '\x' || encode(code::bytea, 'hex')]),
  (11, 'the last digit''s free bits', ARRAY(SELECT left(code, -1) || pg_temp.digit(digit + l) FROM generate_series(1, 15) l, generate_series(0, 63) digit WHERE pg_temp.digit(digit) = right(code, 1))),
  (12, 'another suite', ARRAY(SELECT pg_temp.code(set_byte(pg_temp.bytes(code), 0, b)) FROM generate_series(0, 255) b WHERE b <> suite)),
  (13, 'another key id', ARRAY(SELECT pg_temp.code(set_byte(pg_temp.bytes(code), 1, b)) FROM generate_series(0, 255) b WHERE b <> 1)),
  (14, 'any other byte changed', ARRAY(SELECT pg_temp.code(set_byte(pg_temp.bytes(code), p, (get_byte(pg_temp.bytes(code), p) + b) % 256)) FROM generate_series(2, length(pg_temp.bytes(code)) - 1) p, unnest(ARRAY[1, 85, 255]) b)),
  (15, 'a megabyte', ARRAY[repeat(code, 1048576 / length(code)), repeat('A', 1048576)])) AS s (n, what, texts), unnest(texts) AS text;
SELECT what, s.suite, count(*) AS texts, string_agg(DISTINCT coalesce(v.reason, 'none'), ' ') AS reason,
       count(*) FILTER (WHERE v.valid) AS valid, count(*) FILTER (WHERE ticketing.is_genuine_ticket(text)) AS genuine
FROM spelling s, ticketing.verify_ticket(text) v GROUP BY n, what, s.suite ORDER BY n, s.suite;

-- Twenty thousand codes of fifty events, of which every seventh has a changed nonce. Workers must come to the same count.
CREATE SCHEMA codes_7017;
CREATE TABLE codes_7017.codes AS
SELECT number, id, suite, CASE WHEN number % 7 = 0 THEN pg_temp.code(set_byte(bytes, 22, 255 - get_byte(bytes, 22))) ELSE code END AS code
FROM (SELECT g AS number, md5(g::text)::uuid AS id, CASE WHEN g % 100 = 0 THEN 2 ELSE 1 END AS suite FROM generate_series(1, 20000) g) t,
     ticketing.sign_ticket(id, number % 50, substr(uuid_send(id), 1, 8), suite) AS code, pg_temp.bytes(code) AS bytes;
ANALYZE codes_7017.codes;
CREATE TEMP TABLE query (n integer, what text, query text);
INSERT INTO query VALUES
  (1, 'is_genuine_ticket', 'SELECT count(*) FROM codes_7017.codes WHERE ticketing.is_genuine_ticket(code)'),
  (2, 'verify_ticket', 'SELECT count(*) FROM codes_7017.codes WHERE (ticketing.verify_ticket(code)).valid'),
  (3, 'sign_ticket', 'SELECT count(*) FROM codes_7017.codes WHERE ticketing.sign_ticket(id, number % 50, substr(uuid_send(id), 1, 8), suite) = code');
-- How many workers a query has, and whether it is they who call the function.
CREATE FUNCTION pg_temp.workers(query text, function text, OUT workers integer, OUT in_workers boolean) LANGUAGE plpgsql AS $$
DECLARE
  plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) ' || query INTO plan;
  workers := coalesce(jsonb_path_query_first(plan, '$.**."Workers Launched"')::integer, 0);
  in_workers := EXISTS (SELECT FROM jsonb_path_query(plan, '$.** ? (@."Parallel Aware" == true)') node WHERE node ->> 'Filter' LIKE '%' || function || '%');
END
$$;
SET max_parallel_workers_per_gather = 0;
SELECT what, w.* FROM query, pg_temp.workers(query, what) w ORDER BY n;
SELECT query FROM query ORDER BY n \gexec
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SELECT what, w.workers > 0 AS workers, w.in_workers FROM query, pg_temp.workers(query, what) w ORDER BY n;
SELECT query FROM query ORDER BY n \gexec
DROP SCHEMA codes_7017 CASCADE;

-- Nothing but EXECUTE is needed, and no table is opened, verify_ticket being its owner's included: a lock of the transaction would be left.
CREATE ROLE codes_7017;
GRANT USAGE ON SCHEMA ticketing TO codes_7017;
GRANT EXECUTE ON FUNCTION ticketing.verify_ticket(text), ticketing.is_genuine_ticket(text) TO codes_7017;
SELECT code FROM code WHERE suite = 1 \gset
CREATE VIEW pg_temp.opened AS
SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relnamespace IN ('public'::regnamespace, 'ticketing'::regnamespace);
GRANT SELECT ON pg_temp.opened TO codes_7017;
BEGIN READ ONLY;
SET LOCAL ROLE codes_7017;
SELECT count(*) AS readable_tables FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p') AND relnamespace IN ('public'::regnamespace, 'ticketing'::regnamespace) AND has_table_privilege(oid, 'SELECT');
SELECT valid, event_id, ticketing.is_genuine_ticket(:'code') AS genuine FROM ticketing.verify_ticket(:'code');
SELECT valid, reason, ticketing.is_genuine_ticket(left(:'code', -1) || 'A') AS genuine FROM ticketing.verify_ticket(left(:'code', -1) || 'A');
SELECT count AS opened FROM pg_temp.opened;
RESET ROLE;
SELECT count(*) AS of_this_test FROM public.tickets WHERE event_id / 100 = 7017;
SELECT count > 0 AS a_table_that_is_read_is_seen FROM pg_temp.opened;
ROLLBACK;
DROP VIEW pg_temp.opened;
DROP OWNED BY codes_7017;
DROP ROLE codes_7017;

CALL pg_temp.clear_test();
