-- QR codes drawn: exactly this picture, in these sizes, and nothing for options that mean nothing.
-- (test/server/qr_image.t has pictures read by a decoder.)
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7030);
\set suite_1 AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg
\set suite_2 AgFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcI7AsqDLHy9-r346tX00lov06PcWk1aF1X63LYx60iuGhgz_Y1qHM9bQXSauRSZQCnzZm8q6I7rdPunpunCdmuDQ

-- One short text, in every detail; a browser that is shown another document shows another picture.
\pset format unaligned
\pset tuples_only on
SELECT replace(ticketing.ticket_qr_svg('DVNT'), 'M', E'\nM');
SELECT ticketing.ticket_qr_text('DVNT');
SELECT ticketing.ticket_qr_text('DVNT', quiet_zone => 1, inverted => true);
\pset format aligned
\pset tuples_only off
-- What has a default can be left out, and PostgREST's calls by one name go on.
SELECT ticketing.ticket_qr_svg(payload => 'DVNT') = ticketing.ticket_qr_svg('DVNT', 'M', NULL, 4, NULL) AS svg,
       ticketing.ticket_qr_text(payload => 'DVNT') = ticketing.ticket_qr_text('DVNT', 'M', 4, false) AS text;
-- No code, no picture: tickets of before have none.
SELECT ticketing.ticket_qr_svg(NULL) IS NULL AS svg, ticketing.ticket_qr_text(NULL) IS NULL AS text;

-- The head of a document says how large it is; the path begins where the quiet zone ends.
CREATE FUNCTION pg_temp.head(svg text) RETURNS text LANGUAGE sql AS
$$ SELECT substring(svg FROM 'version="1.1" (.*) shape-rendering') || ', ' || substring(svg FROM 'd="(M\d+ \d+h\d+v\d+)') $$;
SELECT level, pg_temp.head(ticketing.ticket_qr_svg(:'suite_1', level)) AS of_suite_1, pg_temp.head(ticketing.ticket_qr_svg(:'suite_2', level)) AS of_suite_2
FROM unnest('{L,M,Q,H}'::text[]) level;
SELECT quiet_zone, size_mm, dpi, pg_temp.head(ticketing.ticket_qr_svg(:'suite_1', 'M', size_mm, quiet_zone, dpi)) AS of_suite_1
FROM (VALUES (4, 25, NULL), (4, 25.4, NULL), (4, 33.333333, NULL), (4, 1, NULL), (4, 1000, NULL), (0, NULL, NULL), (16, 25, NULL),
             (4, 25, 203), (0, 25, 203), (16, 25, 203), (4, 25, 300), (4, 25.4, 100), (4, 41, 72), (4, 5.13, 203), (0, 1, 2400), (4, 1000, 2400)) o (quiet_zone, size_mm, dpi);
SELECT quiet_zone, size_mm, dpi, pg_temp.head(ticketing.ticket_qr_svg(:'suite_2', 'M', size_mm, quiet_zone, dpi)) AS of_suite_2
FROM (VALUES (4, 25, 203), (0, 25, 203), (4, 48, 203)) o (quiet_zone, size_mm, dpi);
-- The same in text: columns and lines.
SELECT level, quiet_zone, length(split_part(t, E'\n', 1)) AS columns, array_length(string_to_array(t, E'\n'), 1) AS lines
FROM unnest('{M,H}'::text[]) level, unnest('{0,1,4,16}'::integer[]) quiet_zone, ticketing.ticket_qr_text(:'suite_1', level, quiet_zone) t;

-- Each level holds so many bytes and not one more. Version 40 has 177 modules.
SELECT level, bytes, pg_temp.head(ticketing.ticket_qr_svg(repeat('x', bytes), level)) AS longest,
       pg_temp.refusal(format('SELECT ticketing.ticket_qr_svg(repeat(''x'', %s), %L)', bytes + 1, level)) AS longer
FROM (VALUES ('L', 2953), ('M', 2331), ('Q', 1663), ('H', 1273)) l (level, bytes);

-- What means nothing is refused, and the argument named.
SELECT call, pg_temp.refusal('SELECT ticketing.' || call) FROM unnest(ARRAY[
  'ticket_qr_svg('''')', 'ticket_qr_text('''')', 'ticket_qr_text(repeat(''x'', 2332))', 'ticket_qr_text(repeat(''é'', 637), ''H'')',
  'ticket_qr_svg(''x'', ''m'')', 'ticket_qr_svg(''x'', '''')', 'ticket_qr_svg(''x'', ''LM'')', 'ticket_qr_svg(''x'', NULL)',
  'ticket_qr_text(''x'', ''X'')', 'ticket_qr_text(''x'', NULL)',
  'ticket_qr_svg(''x'', size_mm => 0)', 'ticket_qr_svg(''x'', size_mm => -25)', 'ticket_qr_svg(''x'', size_mm => 0.99)', 'ticket_qr_svg(''x'', size_mm => 1000.1)',
  'ticket_qr_svg(''x'', size_mm => ''NaN'')', 'ticket_qr_svg(''x'', size_mm => ''Infinity'')', 'ticket_qr_svg(''x'', size_mm => ''-Infinity'')',
  'ticket_qr_svg(''x'', quiet_zone => -1)', 'ticket_qr_svg(''x'', quiet_zone => 17)', 'ticket_qr_svg(''x'', quiet_zone => 2147483647)', 'ticket_qr_svg(''x'', quiet_zone => NULL)',
  'ticket_qr_text(''x'', quiet_zone => -1)', 'ticket_qr_text(''x'', quiet_zone => 17)', 'ticket_qr_text(''x'', quiet_zone => NULL)', 'ticket_qr_text(''x'', inverted => NULL)',
  'ticket_qr_svg(''x'', dpi => 203)', 'ticket_qr_svg(''x'', size_mm => 25, dpi => 0)', 'ticket_qr_svg(''x'', size_mm => 25, dpi => -203)',
  'ticket_qr_svg(''x'', size_mm => 25, dpi => 71)', 'ticket_qr_svg(''x'', size_mm => 25, dpi => 2401)',
  'ticket_qr_svg(''x'', size_mm => 3.5, dpi => 203)', 'ticket_qr_svg(''x'', size_mm => 3.5, quiet_zone => 3, dpi => 203)']) call;
-- A refusal in its own words.
\set VERBOSITY default
SELECT ticketing.ticket_qr_svg(repeat('x', 2332));
SELECT ticketing.ticket_qr_text('x', 'best');
SELECT ticketing.ticket_qr_svg('x', size_mm => 3.5, dpi => 203);
\set VERBOSITY terse

CALL pg_temp.clear_test();
