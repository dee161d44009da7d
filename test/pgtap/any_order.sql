-- Three devices scan the same tickets offline, their clocks off by hours, and upload in whatever order, in whatever
-- pieces, some of it twice: the tickets and scans end up the same.
\ir support/setup.sql
SELECT plan(5);

CREATE TEMP TABLE venue AS SELECT event, make_tier(event, 0, NULL) AS tier FROM (SELECT make_event(make_host('order_host')) AS event) e;
SELECT ticketing.save_door_settings(event, 'order_host', '{"reentry": true}') FROM venue \g /dev/null
CREATE TEMP TABLE guests AS SELECT id, code(id) AS code FROM venue, claim('guests', tier, 30) id;
CREATE TEMP TABLE devices AS SELECT * FROM (VALUES ('d1', interval '-2 hours'), ('d2', interval '0'), ('d3', interval '3 hours 7 minutes')) d (device, ahead);

-- The clock stands still, so that a device's offset is the same whenever it is taken, and some scans are of the very same instant.
SET LOCAL dvnt_ticketing.test_clock_rate = 0;
SELECT setseed(0.25) \g /dev/null
-- 240 scans, a second apart or at the same second on two devices; some of codes that are no good, some that the device refused.
CREATE TEMP TABLE scans AS
SELECT n, gen_random_uuid() AS scan_id, (ARRAY['d1', 'd2', 'd3'])[1 + floor(random() * 3)] AS device, 3600 - n / 2 * 2 AS seconds_ago,
       CASE WHEN random() < 0.03 THEN 'nonsense' ELSE (SELECT code FROM guests ORDER BY random() + n * 0 LIMIT 1) END AS code,
       CASE WHEN random() < 0.35 THEN 'out' ELSE 'in' END AS direction, CASE WHEN random() < 0.05 THEN 'already_admitted' END AS result
FROM generate_series(1, 240) n;
SELECT ok((SELECT count(DISTINCT code) FROM scans) > 25 AND (SELECT count(*) FROM scans WHERE result IS NOT NULL) BETWEEN 3 AND 30 AND (SELECT count(*) FROM scans WHERE direction = 'out') > 50, 'there is something to be wrong about');

-- What it comes to: each scan's result, each ticket's state.
CREATE FUNCTION outcome() RETURNS text LANGUAGE sql AS $$
  SELECT (SELECT string_agg(concat_ws(' ', s.n, c.result, c.flags, c.moved), ', ' ORDER BY s.n) FROM ticketing.checkins c JOIN scans s USING (scan_id))
      || (SELECT string_agg(concat_ws(' ', t.id, t.status, t.checked_in_by, t.checked_in_at), ', ' ORDER BY t.id) FROM public.tickets t JOIN guests USING (id))
$$;
-- Uploads everything in a random order and in pieces of up to so many scans, a tenth of the pieces twice, and takes it back.
CREATE FUNCTION shuffled(largest integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  piece record;
  result text;
BEGIN
  FOR piece IN
    SELECT device, ahead, jsonb_agg(jsonb_strip_nulls(jsonb_build_object('scan_id', scan_id, 'payload', code, 'direction', direction, 'result', s.result,
             'scanned_at', now_here - make_interval(secs => seconds_ago) + ahead, 'scanned_by', 'order_host'))) AS batch, copy, random() AS place
    FROM (SELECT *, floor(random() * 240 / largest) AS part FROM scans) s JOIN devices USING (device), (SELECT ticketing.clock() AS now_here OFFSET 0) now, generate_series(1, CASE WHEN random() < 0.1 THEN 2 ELSE 1 END) copy
    GROUP BY device, ahead, part, copy, now_here ORDER BY place
  LOOP
    PERFORM ticketing.sync_checkins(event, 'order_host', piece.device, ticketing.clock() + piece.ahead, piece.batch) FROM venue;
  END LOOP;
  result := outcome();
  RAISE SQLSTATE 'UNDO0';
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
  RETURN result;
END
$$;
CREATE TEMP TABLE runs AS SELECT n, shuffled((ARRAY[240, 60, 24, 12])[1 + n % 4]) AS outcome FROM generate_series(1, 200) n;
SELECT is((SELECT count(*) FROM runs WHERE outcome IS NOT NULL), 200::bigint, '200 orders were tried');
SELECT is((SELECT count(DISTINCT outcome) FROM runs), 1::bigint, 'and all came to the same');
SELECT ok((SELECT bool_and(outcome ~ ' admitted ' AND outcome ~ ' already_admitted \{duplicate' AND outcome ~ ' exited ' AND outcome ~ ' not_inside ' AND outcome ~ ' malformed ' AND outcome ~ 'already_admitted \{clock\} f' AND outcome ~ ' scanned ') FROM runs), 'in which every kind of result is');
SELECT is_empty('SELECT broken_invariants()', 'nothing else has changed');
SELECT * FROM finish();
ROLLBACK;
