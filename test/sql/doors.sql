-- check_in: who is admitted, once; what every other scan is told; who may scan, when, in and out.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7013);
CALL pg_temp.new_event(701301);
CALL pg_temp.new_tier(701301, 1);
CALL pg_temp.new_event(701302);
CALL pg_temp.new_tier(701302, 1);
-- Tickets by name: t1 to t9 of the first event, u1 of the second; and legacy ones, whose tokens repeat their digit.
CREATE TEMP TABLE named AS
SELECT 't' || t.n AS name, (t.ticket ->> 'ticket_id')::uuid AS id, t.ticket ->> 'qr_payload' AS code
FROM jsonb_array_elements(ticketing.claim_free_tickets('ann@7013', 701301, pg_temp.cart(701301, 9)) -> 'tickets') WITH ORDINALITY AS t (ticket, n);
INSERT INTO named SELECT 'u1', (t ->> 'ticket_id')::uuid, t ->> 'qr_payload' FROM jsonb_array_elements(ticketing.claim_free_tickets('ann@7013', 701302, pg_temp.cart(701302, 1)) -> 'tickets') t;
INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, qr_token)
SELECT pg_temp.tier(701301, n), 701301, pg_temp.tier(701301, 1), '12345', repeat(to_hex(n), 64) FROM generate_series(1, 3) n;
INSERT INTO named SELECT 'l' || n, pg_temp.tier(701301, n), repeat(to_hex(n), 64) FROM generate_series(1, 3) n;
-- A scan a minute after the one before; ids by name, times as they are.
CREATE FUNCTION pg_temp.scan(name text, event integer DEFAULT 701301, by text DEFAULT 'host@7013', gate text DEFAULT NULL, direction text DEFAULT 'in', force boolean DEFAULT false, code text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  answer jsonb;
BEGIN
  CALL pg_temp.later('1 min');
  answer := ticketing.check_in(coalesce(code, (SELECT n.code FROM named n WHERE n.name = scan.name)), event, by, 'device-1', NULL, NULL, gate, direction, force);
  RETURN concat_ws(' ', answer ->> 'result', coalesce((SELECT 'ticket ' || n.name FROM named n WHERE n.id::text = answer ->> 'ticket_id'), 'no ticket'),
                   'at ' || substr(answer ->> 'admitted_at', 12, 5), 'by ' || (answer ->> 'admitted_by'), 'gate ' || (answer ->> 'admitted_gate'));
END
$$;

-- Admitted once: the second scan is told when, by whom and where; the ticket carries it.
SELECT pg_temp.scan('t1', gate => 'north') AS first;
SELECT pg_temp.scan('t1', gate => 'south') AS second;
SELECT status, checked_in_at, checked_in_by FROM public.tickets WHERE id = (SELECT id FROM named WHERE name = 't1');
-- The answer's keys, and what is kept of a scan: everything but the code, which is there as its hash.
SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(ticketing.check_in((SELECT code FROM named WHERE name = 't1'), 701301, 'host@7013')) k;
SELECT result, direction, scanned_by, device_id, gate, scan_id, forced, scanned_at, recorded_at, ticket_id = n.id AS ticket, code_hash = encode(sha256(convert_to(n.code, 'UTF8')), 'hex') AS hash, answer ->> 'checkin_id' = c.id::text AS answered
FROM ticketing.checkins c, named n WHERE n.name = 't1' AND event_id = 701301 ORDER BY recorded_at, result, gate NULLS LAST;
SELECT count(*) AS codes_stored FROM ticketing.checkins c, named n WHERE c::text LIKE '%' || n.code || '%';
-- The device's own time is kept beside the server's.
SELECT ticketing.check_in(code, 701301, 'host@7013', scanned_at => '2040-05-01 11:00+00') ->> 'admitted_at' AS admitted_at FROM named WHERE name = 't2';
SELECT scanned_at, recorded_at FROM ticketing.checkins WHERE ticket_id = (SELECT id FROM named WHERE name = 't2');

-- The same scan asked again is told the same, also later and when the ticket's state has changed; the scan's id is good for one scan.
SELECT ticketing.check_in(code, 701301, 'host@7013', 'device-1', '00000000-0000-4000-8000-000000007013') AS first FROM named WHERE name = 't3' \gset
CALL pg_temp.later('1 hour');
SELECT ticketing.check_in(code, 701301, 'host@7013', 'device-1', '00000000-0000-4000-8000-000000007013') = :'first' AS same, :'first'::jsonb ->> 'result' AS result FROM named WHERE name = 't3';
SELECT ticketing.check_in('dvnt://ticket/' || code, 701301, 'host@7013', 'device-2', '00000000-0000-4000-8000-000000007013') = :'first' AS as_a_link FROM named WHERE name = 't3';
SELECT count(*) AS rows FROM ticketing.checkins WHERE scan_id = '00000000-0000-4000-8000-000000007013';
SELECT pg_temp.refusal(format($$SELECT ticketing.check_in(%L, 701301, 'host@7013', 'device-1', '00000000-0000-4000-8000-000000007013')$$, (SELECT code FROM named WHERE name = 't4'))) AS another_ticket,
       pg_temp.refusal(format($$SELECT ticketing.check_in(%L, 701302, 'host@7013', 'device-1', '00000000-0000-4000-8000-000000007013')$$, (SELECT code FROM named WHERE name = 't3'))) AS another_event,
       pg_temp.refusal(format($$SELECT ticketing.check_in(%L, 701301, 'host@7013', 'device-1', '00000000-0000-4000-8000-000000007013', direction => 'out')$$, (SELECT code FROM named WHERE name = 't3'))) AS another_direction;
SELECT status FROM public.tickets WHERE id = (SELECT id FROM named WHERE name = 't4');

-- Tokens of before, bare and in a link; a signed code in a link; upper case is none of them.
SELECT pg_temp.scan('l1') AS bare, pg_temp.scan('l2', code => 'dvnt://ticket/' || repeat('2', 64)) AS link, pg_temp.scan('t4', code => 'dvnt://ticket/' || (SELECT code FROM named WHERE name = 't4')) AS signed_link;
SELECT pg_temp.scan('l1') AS again, pg_temp.scan('?', code => repeat('f', 64)) AS unknown, pg_temp.scan('?', code => upper(repeat('a', 64))) AS upper_case, pg_temp.scan('l3', event => 701302) AS another_event;
-- A ticket that has a payload can still be admitted by its token, once for both.
SELECT pg_temp.scan('t5', code => (SELECT qr_token FROM public.tickets WHERE id = (SELECT id FROM named WHERE name = 't5'))) AS by_token;
SELECT pg_temp.scan('t5') AS by_payload;

-- Each kind of wrong code has its own result, is recorded, and changes no ticket.
CREATE TEMP TABLE before AS SELECT md5(string_agg(t::text, '' ORDER BY id)) AS tickets FROM public.tickets t WHERE event_id / 100 = 7013;
SELECT what, pg_temp.scan('?', code => code) FROM (VALUES
  ('one bit flipped', (SELECT overlay(code PLACING CASE substr(code, 50, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM 50 FOR 1) FROM named WHERE name = 't6')),
  ('truncated', (SELECT left(code, 61) FROM named WHERE name = 't6')),
  ('another key id', (SELECT overlay(code PLACING 'AQl' FROM 1 FOR 3) FROM named WHERE name = 't6')),
  ('of another event', (SELECT code FROM named WHERE name = 'u1')),
  ('of no ticket', ticketing.sign_ticket('00000000-0000-4000-8000-000000000001', 701301, '\x0000000000000000')),
  ('of the ticket, other nonce', ticketing.sign_ticket((SELECT id FROM named WHERE name = 't6'), 701301, '\x0000000000000000')),
  ('nonsense', 'https://example.com/?q=1'),
  ('quote', $$'; DROP TABLE public.tickets; --$$)) AS c (what, code);
SELECT b.tickets = md5(string_agg(t::text, '' ORDER BY id)) AS unchanged FROM public.tickets t, before b WHERE event_id / 100 = 7013 GROUP BY b.tickets;
SELECT result, count(*), count(ticket_id) AS with_ticket, bool_and(code_hash ~ '^[0-9a-f]{64}$') AS hashed FROM ticketing.checkins WHERE event_id = 701301 AND recorded_at > ticketing.clock() - interval '7 min 1 s' GROUP BY 1 ORDER BY 1;
-- Forged codes, and another event's, read no ticket: an attacker with a printer costs us an HMAC. (The counts include what is not flushed yet.)
CREATE FUNCTION pg_temp.ticket_reads() RETURNS bigint LANGUAGE sql AS
$$ SELECT seq_scan + coalesce(idx_scan, 0) + coalesce(n_tup_upd, 0) FROM pg_stat_xact_user_tables WHERE relid = 'public.tickets'::regclass $$;
SELECT overlay(code PLACING CASE substr(code, 50, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM 50 FOR 1) AS forged, code FROM named WHERE name = 't6' \gset
BEGIN;
SELECT pg_temp.ticket_reads() AS before \gset
SELECT what, ticketing.check_in(code, event, 'host@7013') ->> 'result' AS result, pg_temp.ticket_reads() - :before AS reads FROM (VALUES
  ('forged', :'forged', 701301), ('malformed', 'x', 701301), ('of another event', :'code', 701302), ('of the event', :'code', 701301)) AS c (what, code, event);
ROLLBACK;

-- What is void, refunded or replaced opens no door.
UPDATE public.tickets SET status = 'void' WHERE id = (SELECT id FROM named WHERE name = 't7');
UPDATE public.tickets SET status = 'refunded' WHERE id = (SELECT id FROM named WHERE name = 't8');
SELECT pg_temp.scan('t7') AS void, pg_temp.scan('t8') AS refunded;
UPDATE public.tickets SET status = 'refunded' WHERE id = (SELECT id FROM named WHERE name = 't1');
SELECT pg_temp.scan('t1') AS refunded_after_check_in;
-- Reissued: the old code is known as superseded, the new one admits; so with a token of before.
INSERT INTO ticketing.superseded_codes SELECT encode(sha256(convert_to(code, 'UTF8')), 'hex'), id, 701301, ticketing.clock() FROM named WHERE name IN ('t9', 'l3');
UPDATE public.tickets SET qr_payload = ticketing.sign_ticket(id, event_id, '\x0000000000000001') WHERE id = (SELECT id FROM named WHERE name = 't9');
UPDATE public.tickets SET qr_token = repeat('e', 64) WHERE id = (SELECT id FROM named WHERE name = 'l3');
SELECT pg_temp.scan('t9') AS old_code, pg_temp.scan('l3') AS old_token;
SELECT pg_temp.scan('t9', code => (SELECT qr_payload FROM public.tickets WHERE id = (SELECT id FROM named WHERE name = 't9'))) AS new_code, pg_temp.scan('l3', code => repeat('e', 64)) AS new_token;
SELECT pg_temp.scan('t9') AS old_code_again;

-- Who may scan: the host, accepted co-organizers but viewers, and whom the host lets by name; a refused operator's scan is recorded and changes nothing.
INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, status, permissions, invited_by) VALUES
  (701301, 'scanner@7013', 'scanner', 'accepted', '{}', 'host@7013'), (701301, 'editor@7013', 'editor', 'accepted', '{}', 'host@7013'), (701301, 'admin@7013', 'admin', 'accepted', '{}', 'host@7013'),
  (701301, 'viewer@7013', 'viewer', 'accepted', '{}', 'host@7013'), (701301, 'allowed@7013', 'viewer', 'accepted', '{"scan": true}', 'host@7013'), (701301, 'barred@7013', 'admin', 'accepted', '{"scan": false}', 'host@7013'),
  (701301, 'invited@7013', 'admin', 'invited', '{}', 'host@7013'), (701301, 'removed@7013', 'admin', 'removed', '{"scan": true}', 'host@7013'), (701302, 'elsewhere@7013', 'admin', 'accepted', '{}', 'host@7013');
SELECT who, pg_temp.scan('t7', by => who || '@7013') AS may_scan, pg_temp.scan('t7', by => who || '@7013', force => true) AS may_force
FROM (VALUES ('host'), ('scanner'), ('editor'), ('admin'), ('viewer'), ('allowed'), ('barred'), ('invited'), ('removed'), ('elsewhere'), ('ann'), ('stranger')) AS w (who);
SELECT pg_temp.scan('t6', by => 'stranger@7013') AS not_admitted, (SELECT status FROM public.tickets WHERE id = (SELECT id FROM named WHERE name = 't6')) AS status;
SELECT scanned_by, result, ticket_id FROM ticketing.checkins WHERE scanned_by IN ('stranger@7013', 'removed@7013') AND event_id = 701301 ORDER BY 1, recorded_at;

-- Doors' hours are exact: open at doors_open, closed at doors_close; the host and admins may force, which is on record.
UPDATE ticketing.event_settings SET doors_open = '2040-06-01 18:00+00', doors_close = '2040-06-01 23:00+00' WHERE event_id = 701301;
SELECT instant, ticketing.check_in(code, 701301, 'scanner@7013') ->> 'result' AS result
FROM (VALUES ('2040-06-01 17:59:59.999999+00'), ('2040-06-01 23:00+00')) AS i (instant), named n, LATERAL (SELECT pg_temp.clock_at(instant::timestamptz) OFFSET 0) c WHERE n.name = 't6';
CALL pg_temp.at('2040-06-01 17:58+00');
SELECT pg_temp.scan('t6', by => 'scanner@7013', force => true) AS a_scanner_forces;
CALL pg_temp.at('2040-06-01 17:58+00');
SELECT pg_temp.scan('t6', by => 'admin@7013', force => true) AS an_admin_forces;
SELECT result, forced FROM ticketing.checkins WHERE scanned_by = 'admin@7013' AND ticket_id = (SELECT id FROM named WHERE name = 't6');
CALL pg_temp.at('2040-06-01 17:59+00');
SELECT pg_temp.scan('u1', event => 701302) AS other_event_has_no_hours;
INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, qr_token) SELECT pg_temp.tier(701301, n), 701301, pg_temp.tier(701301, 1), '12345', repeat(to_hex(n), 64) FROM generate_series(12, 13) n;
INSERT INTO named SELECT 'l' || n, pg_temp.tier(701301, n), repeat(to_hex(n), 64) FROM generate_series(12, 13) n;
CALL pg_temp.at('2040-06-01 17:59+00');
SELECT pg_temp.scan('l12', by => 'scanner@7013') AS at_opening;
CALL pg_temp.at('2040-06-01 22:58:59.999999+00');
SELECT pg_temp.scan('l13', by => 'scanner@7013') AS last_microsecond;

-- Out and in again, where the event allows it: out only who is inside, in again only who went out.
UPDATE ticketing.event_settings SET doors_open = NULL, doors_close = NULL WHERE event_id = 701301;
INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, qr_token) VALUES (pg_temp.tier(701301, 14), 701301, pg_temp.tier(701301, 1), '12345', repeat('d0', 32));
INSERT INTO named VALUES ('l14', pg_temp.tier(701301, 14), repeat('d0', 32));
SELECT pg_temp.scan('l14', direction => 'out') AS not_inside_yet;
SELECT pg_temp.scan('l14', gate => 'a') AS in_first;
SELECT pg_temp.scan('l14', direction => 'out') AS no_reentry;
UPDATE ticketing.event_settings SET reentry = true WHERE event_id = 701301;
SELECT pg_temp.scan('l14', direction => 'out', gate => 'a') AS goes_out;
SELECT pg_temp.scan('l14', direction => 'out') AS out_already;
SELECT pg_temp.scan('l14', gate => 'c', by => 'scanner@7013') AS in_again;
SELECT pg_temp.scan('l14') AS inside_already;
SELECT status, checked_in_at, checked_in_by FROM public.tickets WHERE id = pg_temp.tier(701301, 14);
SELECT result, direction, gate FROM ticketing.checkins WHERE ticket_id = pg_temp.tier(701301, 14) ORDER BY recorded_at;

-- Nothing of all this touched stock: scanned tickets are sold tickets.
SELECT tier, sold FROM pg_temp.stock(701301);
SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
