-- The doors' settings, what is undone, devices and manifests, and the scenarios of scans that were made offline.
\ir support/setup.sql
SELECT plan(118);

CREATE TEMP TABLE venue AS
SELECT event, make_tier(event, 0) AS tier, make_tier(event, 0) AS vip FROM (SELECT make_event(make_host('doors_host')) AS event) e;
CREATE TEMP TABLE elsewhere AS SELECT event, make_tier(event, 0) AS tier FROM (SELECT make_event('doors_host') AS event) e;
INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, status, invited_by, changed_at)
SELECT event, 'doors_' || role, role, 'accepted', 'doors_host', ticketing.clock() - interval '1 day' FROM venue, unnest(ARRAY['viewer', 'scanner', 'editor', 'admin']) role;

CREATE FUNCTION check_in(code text, by text DEFAULT 'doors_host', device text DEFAULT NULL, gate text DEFAULT NULL, direction text DEFAULT 'in', force boolean DEFAULT false) RETURNS text LANGUAGE sql AS
$$ SELECT ticketing.check_in(code, event, by, device, gen_random_uuid(), NULL, gate, direction, force) ->> 'result' FROM venue $$;
-- A scan as a device uploads it, made so long ago by the device's clock, which is so far ahead.
CREATE FUNCTION offline(code text, ago interval, ahead interval DEFAULT '0', more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('scan_id', gen_random_uuid(), 'payload', code, 'scanned_at', ticketing.clock() - ago + ahead) || more
$$;
CREATE FUNCTION upload(device text, scans jsonb, ahead interval DEFAULT '0', by text DEFAULT 'doors_scanner') RETURNS jsonb LANGUAGE sql AS
$$ SELECT ticketing.sync_checkins(event, by, device, ticketing.clock() + ahead, scans) -> 'results' FROM venue $$;
CREATE FUNCTION results(answers jsonb) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(coalesce(a ->> 'result', 'error ' || (a #>> '{error,reason}')) || CASE WHEN a -> 'flags' <> '[]' THEN ' ' || (a ->> 'flags') ELSE '' END, ', ' ORDER BY n) FROM jsonb_array_elements(answers) WITH ORDINALITY v (a, n) $$;
-- What a ticket's scans come to.
CREATE FUNCTION scans(ticket uuid) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(concat_ws(' ', device_id, result, nullif(flags, '{}')), ', ' ORDER BY happened_at, device_id, id) FROM ticketing.checkins WHERE ticket_id = ticket $$;
CREATE FUNCTION hash(code text) RETURNS text LANGUAGE sql AS $$ SELECT encode(sha256(convert_to(code, 'UTF8')), 'hex') $$;
CREATE FUNCTION manifest(device text DEFAULT 'd1', since text DEFAULT NULL, by text DEFAULT 'doors_scanner') RETURNS jsonb LANGUAGE sql AS
$$ SELECT ticketing.door_manifest(event, by, device, since) FROM venue $$;
CREATE FUNCTION listed(manifest jsonb, ticket uuid) RETURNS jsonb LANGUAGE sql AS $$ SELECT t FROM jsonb_array_elements(manifest -> 'tickets') t WHERE t ->> 'ticket_id' = ticket::text $$;

-- ---- settings

SELECT is(ticketing.save_door_settings(event, 'doors_editor', '{}') - 'event_id', '{"doors_open": null, "doors_close": null, "reentry": false, "suite": 1, "gates": {}}', 'an event''s doors have no settings at first') FROM venue;
SELECT is(attempt(format('SELECT ticketing.save_door_settings(%s, %L, ''{}'')', event, who)), outcome, who || ': ' || outcome) FROM venue, (VALUES
  ('doors_viewer', 'PT403 not_allowed'), ('doors_scanner', 'PT403 not_allowed'), ('doors_editor', 'ok'), ('doors_admin', 'ok'), ('doors_host', 'ok'), ('stranger', 'PT403 not_allowed')) v (who, outcome);
SELECT is(attempt(format('SELECT ticketing.save_door_settings(%s, ''doors_host'', %L)', event, settings)), outcome, settings || ': ' || outcome) FROM venue, (VALUES
  ('[]', 'PT400 bad_request'), ('{"door": 1}', 'PT400 bad_request'), ('{"suite": 3}', 'PT400 bad_request'), ('{"suite": null}', 'PT400 bad_request'), ('{"reentry": "yes"}', 'PT400 bad_request'), ('{"doors_open": 12}', 'PT400 bad_request'),
  ('{"gates": []}', 'PT400 bad_request'), ('{"gates": {"": null}}', 'PT400 bad_request'), ('{"gates": {"north": true}}', 'PT400 bad_request'), ('{"gates": {"north": [1]}}', 'PT400 bad_request'),
  ('{"doors_open": "soon"}', '22007'), ('{"doors_open": "2030-01-01T20:00Z", "doors_close": "2030-01-01T19:00Z"}', 'PT400 bad_request'),
  ('{"gates": {"north": ["00000000-0000-4000-8000-000000000000"]}}', 'PT404 not_found')) v (settings, outcome);
SELECT is(attempt('SELECT ticketing.save_door_settings(-1, ''doors_host'', ''{}'')'), 'PT404 not_found', 'an event that does not exist');

-- ---- gates

SELECT ticketing.save_door_settings(event, 'doors_host', jsonb_build_object('gates', jsonb_build_object('main', NULL, 'vip', jsonb_build_array(vip)))) FROM venue \g /dev/null
CREATE TEMP TABLE guest AS SELECT t.id, code(t.id) AS code, v.id AS vip_id, code(v.id) AS vip_code FROM venue, claim('guest', tier) t (id), claim('guest', vip) v (id);
SELECT is(check_in(code, gate => 'vip'), 'wrong_gate', 'a tier that may not come in here') FROM guest;
SELECT is(check_in(code, gate => 'back door'), 'wrong_gate', 'a gate that the event does not have') FROM guest;
SELECT is(check_in(code), 'wrong_gate', 'no gate, where the event has some') FROM guest;
SELECT is(status(id), 'active', 'a wrong gate admits nobody') FROM guest;
SELECT is(check_in(vip_code, gate => 'vip'), 'admitted', 'a tier at its gate') FROM guest;
SELECT is(check_in(code, gate => 'main'), 'admitted', 'a gate for all') FROM guest;
CREATE TEMP TABLE lost_guest AS SELECT id, code(id) AS code FROM venue, claim('lost guest', tier) id;
SELECT is(check_in(code, gate => 'vip', force => true), 'admitted', 'the host forces') FROM lost_guest;
SELECT ticketing.save_door_settings(event, 'doors_host', '{"gates": {}}') FROM venue \g /dev/null

-- ---- undo

CREATE TEMP TABLE mistake AS SELECT id, code(id) AS code FROM venue, claim('mistake', tier) id;
SELECT check_in(code, by => 'doors_scanner') FROM mistake \g /dev/null
CREATE TEMP TABLE wrong_scan AS SELECT c.id FROM ticketing.checkins c JOIN mistake m ON c.ticket_id = m.id;
SELECT is(attempt(format('SELECT ticketing.undo_check_in(%L, %L, ''typo'')', id, who)), 'PT403 not_allowed', who || ' cannot undo somebody''s scan') FROM wrong_scan, unnest(ARRAY['doors_viewer', 'doors_editor', 'mistake']) who;
SELECT is(ticketing.undo_check_in(id, 'doors_scanner', 'wrong person') ->> 'ticket_status', 'active', 'who made the scan can') FROM wrong_scan;
SELECT results_eq('SELECT status, checked_in_at, checked_in_by FROM public.tickets JOIN mistake USING (id)', $$ VALUES ('active', NULL::timestamptz, NULL::text) $$, 'the ticket is as it was');
SELECT results_eq('SELECT result, undone_by, undo_reason FROM ticketing.checkins JOIN wrong_scan USING (id)', $$ VALUES ('admitted', 'doors_scanner', 'wrong person') $$, 'the scan''s row stays');
SELECT is(attempt(format('SELECT ticketing.undo_check_in(%L, ''doors_host'', ''x'')', id)), 'PT409 already_done', 'twice is once') FROM wrong_scan;
SELECT is(check_in(code), 'admitted', 'the ticket opens the door again') FROM mistake;
SELECT is(attempt(format('SELECT ticketing.undo_check_in(%L, ''doors_host'', ''x'')', ticketing.check_in(code, event, 'doors_host') ->> 'checkin_id')), 'PT409 wrong_state', 'a refused scan has let nobody in') FROM venue, mistake;
SELECT is(attempt('SELECT ticketing.undo_check_in(gen_random_uuid(), ''doors_host'', ''x'')'), 'PT404 not_found', 'a scan that does not exist');
SELECT is(attempt(format('SELECT ticketing.undo_check_in(%L, ''doors_host'', NULL)', id)), 'PT400 bad_request', 'a reason is needed') FROM wrong_scan;

-- ---- 25: one ticket on two devices

CREATE TEMP TABLE twice AS SELECT id, code(id) AS code, '{}'::jsonb AS first, '{}'::jsonb AS second FROM venue, claim('twice', tier) id;
UPDATE twice SET first = jsonb_build_array(offline(code, '10 minutes')), second = jsonb_build_array(offline(code, '10 minutes 2 seconds'));
SELECT is(results(upload('d1', first)), 'admitted', '25. D1 uploads its scan: admitted') FROM twice;
SELECT is(results(upload('d2', second)), 'admitted', '25. D2 has the earlier one: that is the admission') FROM twice;
SELECT is(scans(id), 'd2 admitted, d1 already_admitted {duplicate}', '25. the other is a recorded duplicate') FROM twice;
CREATE TEMP TABLE twice_before AS SELECT scans(id) AS scans, t.* FROM public.tickets t JOIN twice USING (id);
SELECT is(results(upload('d1', first)) || ', ' || results(upload('d2', second)), 'already_admitted ["duplicate"], admitted', '25. both again get today''s answer') FROM twice;
SELECT results_eq('SELECT scans(id) AS scans, t.* FROM public.tickets t JOIN twice USING (id)', 'SELECT * FROM twice_before', '25. and change nothing');
SELECT is((SELECT array_agg(ARRAY[conflicts[1], device_id, result]) FROM venue v, ticketing.door_conflicts(v.event, 'doors_viewer') c WHERE c.ticket_id = id), ARRAY[ARRAY['duplicate', 'd1', 'already_admitted']], '25. which the host can list') FROM twice;
SELECT is(check_in(code), 'already_admitted', '25. online the ticket is in') FROM twice;
SELECT is(ticketing.undo_check_in(c.id, 'doors_admin', 'x') ->> 'ticket_status', 'scanned', '25. the first one undone, the second one was the admission') FROM ticketing.checkins c JOIN twice t ON c.ticket_id = t.id WHERE c.device_id = 'd2';
SELECT is((SELECT result FROM ticketing.checkins c WHERE c.ticket_id = t.id AND c.device_id = 'd1'), 'admitted', '25. and its flag is gone') FROM twice t;

-- ---- 26: a batch with scans that are no good

CREATE TEMP TABLE crowd AS SELECT id, code(id) AS code, row_number() OVER () AS n FROM venue, claim('crowd', tier, 48) id;
CREATE TEMP TABLE mixed AS
SELECT jsonb_agg(offline(code, '5 minutes')) || jsonb_build_array(offline((SELECT ticketing.sign_ticket(gen_random_uuid(), event, '\x0102030405060708') FROM venue), '5 minutes'),
  offline((SELECT code(id) FROM elsewhere, claim('x', tier) id), '5 minutes')) AS scans FROM crowd;
CREATE TEMP TABLE mixed_answer AS SELECT upload('d1', scans) AS answer FROM mixed;
SELECT is(jsonb_array_length(answer), 50, '26. a batch of 50 gets 50 answers') FROM mixed_answer;
SELECT is((SELECT count(*) FROM jsonb_array_elements(answer) a WHERE a ->> 'result' = 'admitted'), 48::bigint, '26. 48 are applied') FROM mixed_answer;
SELECT is(results(jsonb_path_query_array(answer, '$[48 to 49]')), 'not_found, wrong_event', '26. one is unknown, one of another event') FROM mixed_answer;
SELECT is((SELECT array_agg(a ->> 'scan_id' ORDER BY n) FROM jsonb_array_elements(answer) WITH ORDINALITY v (a, n)), (SELECT array_agg(s ->> 'scan_id' ORDER BY n) FROM mixed, jsonb_array_elements(scans) WITH ORDINALITY v (s, n)), '26. in the order of the scans') FROM mixed_answer;
SELECT is((SELECT count(*) FROM crowd WHERE status(id) = 'scanned'), 48::bigint, '26. and 48 tickets are in');
SELECT is(results(upload('d1', jsonb_build_array('{"payload": "x"}'::jsonb, '7'::jsonb, offline('x', '1 minute', more => '{"scanned_at": "noon"}'), offline('x', '1 minute', more => '{"direction": "up"}'), offline('x', '1 minute', more => '{"scan_id": "1"}'),
  offline('', '1 minute'), offline('x', '1 minute', more => '{"gate": 7}'), offline('x', '1 minute', more => '{"result": "fine"}'), offline('x', '1 minute', more => '{"manifest_id": "m"}'), offline('x', '1 minute'), offline('AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg', '1 minute')))),
  'error bad_request, error bad_request, error bad_request, error bad_request, error bad_request, error bad_request, error bad_request, error bad_request, error bad_request, malformed, ' || (SELECT coalesce(v.reason, 'wrong_event') FROM ticketing.verify_ticket('AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg') v),
  '26. what is no scan gets an error of its own, the others are recorded');
SELECT is(results(upload('d1', jsonb_build_array((SELECT scans -> 0 FROM mixed) || '{"direction": "out"}'))), 'error request_id_reused', '26. a scan id is one scan''s');
SELECT is(results(upload('d1', jsonb_build_array((SELECT scans -> 0 FROM mixed), (SELECT scans -> 0 FROM mixed)))), 'admitted, admitted', '26. the same scan twice in a batch is one');
SELECT is(attempt(format('SELECT ticketing.sync_checkins(%s, ''doors_host'', ''d1'', now(), %L)', event, scans)), 'PT400 bad_request', '26. no batch: ' || left(scans, 20)) FROM venue,
  (VALUES ('{}'), ('7'), ((SELECT jsonb_agg(n)::text FROM generate_series(1, 10001) n))) v (scans);
SELECT is(results(upload('d1', '[]')), NULL, '26. an empty one is fine');
SELECT is(results(upload('d1', jsonb_build_array(offline('x', '0', more => '{"scanned_at": "294276-12-31"}'), offline('x', '0', more => '{"scanned_at": "infinity"}'), offline('x', '1 minute')), '-1 day')),
  'error bad_request, error bad_request, malformed ["clock"]', '26. a time that is none when it is corrected is the scan''s error');
SELECT is(attempt(format('SELECT ticketing.sync_checkins(%s, ''doors_host'', %L, now(), ''[]'')', event, repeat('d', 256))), 'PT400 bad_request', '26. a device id that is too long') FROM venue;
SELECT is(results(upload('d1', (SELECT jsonb_agg(offline('x', '1 minute', more => jsonb_build_object('scanned_by', who))) FROM unnest(ARRAY['doors_viewer', 'doors_host', 'stranger', 'doors_admin', 'doors_host']) who))), 'not_allowed, malformed, not_allowed, malformed, malformed',
  '26. each scan by its own operator');

-- ---- 27: refunded meanwhile

CREATE TEMP TABLE refunded AS SELECT id, code(id) AS code FROM venue, claim('refunded', tier, 3) id;
CREATE TEMP TABLE refund_scans AS SELECT jsonb_agg(offline(code, '1 hour') ORDER BY id) AS scans FROM refunded;
UPDATE public.tickets t SET status = 'refunded' FROM (SELECT id FROM refunded ORDER BY id LIMIT 1) r WHERE t.id = r.id;
SELECT ticketing.void_ticket(id, 'doors_host', 'x') FROM (SELECT id FROM refunded ORDER BY id OFFSET 1 LIMIT 1) r \g /dev/null
SELECT ticketing.suspend_ticket(id, 'doors_host', 'x') FROM (SELECT id FROM refunded ORDER BY id OFFSET 2) r \g /dev/null
SELECT is(results(upload('d1', scans)), 'admitted ["refunded"], admitted ["void"], admitted ["suspended"]', '27. scanned offline, then refunded, void or suspended: recorded as admitted, with a conflict') FROM refund_scans;
SELECT is((SELECT array_agg(status(id) ORDER BY id) FROM refunded), '{refunded,void,void}', '27. which changes nothing about the tickets');
SELECT is((SELECT array_agg(check_in(code) ORDER BY id) FROM refunded), '{refunded,void,suspended}', '27. an online scan is refused');
SELECT is((SELECT count(*) FROM venue v, ticketing.door_conflicts(v.event, 'doors_host') c JOIN refunded r ON r.id = c.ticket_id), 3::bigint, '27. the host can list them');

-- ---- reissued meanwhile

CREATE TEMP TABLE renewed AS SELECT id, code(id) AS old_code FROM venue, claim('renewed', tier) id;
CREATE TEMP TABLE renewed_scans AS SELECT jsonb_build_array(offline(old_code, '10 minutes')) AS scans FROM renewed;
SELECT ticketing.reissue_ticket(id, 'renewed') FROM renewed \g /dev/null
SELECT is(results(upload('d1', scans)), 'admitted', 'a code that was the ticket''s at the time of the scan is good') FROM renewed_scans;
CREATE TEMP TABLE stale AS SELECT id, code(id) AS old_code, token(id) AS old_token FROM venue, claim('stale', tier, 2) id;
SELECT ticketing.reissue_ticket(id, 'stale') FROM stale \g /dev/null
SELECT later('10 minutes') \g /dev/null
SELECT is(results(upload('d1', jsonb_build_array(offline(old_code, '1 minute', more => '{"result": "superseded"}'), offline(old_token, '1 minute', more => '{"result": "superseded"}')))), 'superseded, superseded', 'one that was replaced before and that the device refused') FROM stale LIMIT 1;
SELECT is(results(upload('d1', jsonb_build_array(offline(CASE n WHEN 1 THEN old_code ELSE old_token END, '1 minute', more => '{"result": "admitted"}')))), 'admitted ["superseded"]', 'or that a device which did not know let through') FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM stale) s ORDER BY id;

-- ---- 29: codes that are no good, offline

CREATE TEMP TABLE forged AS SELECT regexp_replace(code, '.$', CASE WHEN right(code, 1) = 'A' THEN 'Q' ELSE 'A' END) AS bad, left(code, 61) AS cut, ticket FROM (SELECT code(id) AS code, id AS ticket FROM venue, claim('forged', tier) id) t;
SELECT is(results(upload('d1', jsonb_build_array(offline(bad, '1 minute', more => '{"result": "admitted"}'), offline(cut, '1 minute'), offline(repeat('0', 64), '1 minute')))), 'bad_signature ["no_ticket"], malformed, not_found', '29. each has its own reason, and who was let in by it is flagged') FROM forged;
SELECT is(status(ticket), 'active', '29. no ticket has changed') FROM forged;

-- ---- 32: clocks

CREATE TEMP TABLE clocks AS SELECT id, code(id) AS code FROM venue, claim('clocks', tier, 2) id;
SELECT is((SELECT count(*) FROM clocks, LATERAL (SELECT upload('behind', jsonb_build_array(offline(code, '3 minutes', '-2 hours')), '-2 hours') AS b OFFSET 0) x WHERE results(b) = 'admitted ["clock"]'), 2::bigint, '32. a clock two hours behind is corrected, and flagged');
SELECT is((SELECT count(*) FROM clocks, LATERAL (SELECT upload('ahead', jsonb_build_array(offline(code, '4 minutes', '2 hours')), '2 hours') AS b OFFSET 0) x WHERE results(b) = 'admitted ["clock"]'), 2::bigint, '32. one that is ahead as well: its scan, really a minute earlier, is the admission');
SELECT is(scans(id), 'ahead admitted {clock}, behind already_admitted {clock,duplicate}', '32. nobody wins by being wrong') FROM clocks LIMIT 1;
SELECT is((SELECT max(abs(extract(epoch FROM ticketing.clock() - c.happened_at) - 240)) < 5 FROM ticketing.checkins c JOIN clocks k ON k.id = c.ticket_id WHERE c.device_id = 'ahead'), true, '32. the time on record is the server''s');
SELECT is_empty($$ SELECT c.* FROM venue v, ticketing.door_conflicts(v.event, 'doors_host') c WHERE c.conflicts = '{}' OR 'clock' = ANY (c.conflicts) $$, '32. a wrong clock alone is no conflict');
CREATE TEMP TABLE floored AS SELECT id, code(id) AS code, manifest('floor') AS manifest FROM venue, claim('floored', tier, 2) id LIMIT 1;
SELECT is(results(upload('floor', jsonb_build_array(offline(code, '1 hour', more => jsonb_build_object('manifest_id', manifest ->> 'manifest_id'))))), 'admitted ["clock"]', '32. a scan is not older than the manifest that it was made with') FROM floored;
SELECT is(c.happened_at, (manifest ->> 'issued_at')::timestamptz, '32. its time is the manifest''s') FROM floored f JOIN ticketing.checkins c ON c.ticket_id = f.id;

-- ---- 37: an operator whose right was revoked

CREATE TEMP TABLE revoked AS SELECT id, code(id) AS code, row_number() OVER (ORDER BY id) AS n FROM venue, claim('revoked', tier, 2) id;
UPDATE ticketing.event_co_organizers e SET status = 'removed', changed_at = ticketing.clock() - interval '1 hour' FROM venue v WHERE e.event_id = v.event AND e.user_id = 'doors_scanner';
SELECT is(results(upload('d7', jsonb_agg(offline(code, CASE n WHEN 1 THEN interval '70 minutes' ELSE interval '50 minutes' END) ORDER BY n))), 'admitted, admitted ["operator_revoked"]', '37. both of his scans are recorded, the second flagged') FROM revoked;
SELECT is((SELECT array_agg(status(id)) FROM revoked), '{scanned,scanned}', '37. both tickets are in');
SELECT is(check_in((SELECT code FROM forged, LATERAL code(ticket)), by => 'doors_scanner'), 'not_allowed', '37. online he may not scan any more');
SELECT is(attempt(format('SELECT ticketing.sync_checkins(%s, ''stranger'', ''d8'', now(), ''[]'')', event)), 'PT403 not_allowed', '37. who never might scan brings nothing') FROM venue;
SELECT is(results(upload('d7', jsonb_build_array(offline((SELECT code(ticket) FROM forged), '1 minute', more => '{"scanned_by": "stranger"}')), by => 'doors_host')), 'not_allowed', '37. nor is a stranger''s scan one');
UPDATE ticketing.event_co_organizers e SET status = 'accepted', changed_at = ticketing.clock() FROM venue v WHERE e.event_id = v.event AND e.user_id = 'doors_scanner';

-- ---- devices

SELECT is(ticketing.enrol_door_device(event, 'doors_scanner', 'd1', 'north gate') ->> 'name', 'north gate', 'a device is named') FROM venue;
SELECT is(attempt(format('SELECT ticketing.revoke_door_device(%s, %L, ''d1'')', event, 'doors_scanner')), 'PT403 not_allowed', 'a scanner cannot revoke one') FROM venue;
SELECT isnt(ticketing.revoke_door_device(event, 'doors_editor', 'd1') ->> 'revoked_at', NULL, 'an editor can') FROM venue;
SELECT is(attempt(format('SELECT ticketing.door_manifest(%s, ''doors_host'', ''d1'')', event)), 'PT403 not_allowed', 'a revoked device gets no manifest, whoever asks with it') FROM venue;
SELECT is(check_in((SELECT code(ticket) FROM forged), device => 'd1'), 'not_allowed', 'scans no ticket online');
SELECT is(results(upload('d1', jsonb_build_array(offline((SELECT code(ticket) FROM forged), '-1 second')))), 'admitted ["clock", "device_revoked"]', 'and what it let in since is flagged');
SELECT is(attempt(format('SELECT ticketing.enrol_door_device(%s, %L, ''d1'')', event, who)), outcome, who || ' enrols it again: ' || outcome) FROM venue, (VALUES ('doors_scanner', 'PT403 not_allowed'), ('doors_editor', 'ok')) v (who, outcome);
SELECT is(attempt(format('SELECT ticketing.revoke_door_device(%s, ''doors_host'', ''none'')', event)), 'PT404 not_found', 'a device that is not enrolled') FROM venue;
SELECT results_eq($$ SELECT device_id, name, enrolled_by, revoked_at FROM venue v, ticketing.list_door_devices(v.event, 'doors_viewer') WHERE device_id IN ('d1', 'd2') $$,
  $$ VALUES ('d1', 'north gate', 'doors_editor', NULL::timestamptz), ('d2', NULL, 'doors_scanner', NULL) $$, 'the devices are listed');

-- ---- manifests

CREATE TEMP TABLE m AS SELECT manifest() AS first;
SELECT is(jsonb_array_length(first -> 'tickets')::bigint, (SELECT count(*) FROM venue v JOIN public.tickets t ON t.event_id = v.event), 'a manifest has all tickets of the event') FROM m;
SELECT is(listed(first, id) - 'version' - 'admitted_at', jsonb_build_object('ticket_id', id, 'ticket_type_id', tier, 'state', status(id), 'codes', jsonb_build_array(hash(code(id)), hash(token(id)))), 'by the hashes of their codes') FROM m, venue, crowd c LIMIT 1;
SELECT is(listed(first, id) ->> 'state', 'suspended', 'a suspended one as such') FROM m, (SELECT id FROM refunded ORDER BY id OFFSET 2) r;
SELECT is(listed(first, id) -> 'superseded' ? hash(old_code), true, 'with the hashes of replaced codes') FROM m, renewed;
SELECT ok(NOT EXISTS (SELECT FROM venue v JOIN public.tickets t ON t.event_id = v.event WHERE first::text LIKE '%' || t.qr_payload || '%' OR first::text LIKE '%' || t.qr_token || '%'), 'a lost device reveals no code') FROM m;
SELECT is((first ->> 'expires_at')::timestamptz - (first ->> 'issued_at')::timestamptz, '12:00:00', 'it expires') FROM m;
SELECT is(manifest(since => first ->> 'cursor') -> 'full', 'false', 'its cursor asks for what has changed') FROM m;
-- (Everything here is one transaction, which has not committed: increments repeat all of it. test/specs has what others commit.)
SELECT is(manifest(since => repeat('0', 16) || ':1') -> 'full', 'true', 'a cursor of another epoch gets everything');
SELECT is(attempt(format('SELECT ticketing.door_manifest(%s, ''doors_host'', ''d1'', %L)', event, since)), 'PT400 bad_request', 'no cursor: ' || since) FROM venue, unnest(ARRAY['', '1', ':', repeat('0', 16) || ':', repeat('0', 16) || ':-1', repeat('G', 16) || ':1']) since;
SELECT is(attempt(format('SELECT ticketing.door_manifest(%s, ''doors_viewer'', ''d1'')', event)), 'PT403 not_allowed', 'a viewer gets none') FROM venue;
-- Who is outside is told where there is re-entry.
SELECT ticketing.save_door_settings(event, 'doors_host', jsonb_build_object('reentry', NOT (first #>> '{doors,reentry}')::boolean)) FROM venue, m \g /dev/null
SELECT is(manifest(since => first ->> 'cursor') -> 'full', 'true', 'when re-entry begins or ends, a device gets everything') FROM m;
SELECT ticketing.save_door_settings(event, 'doors_host', jsonb_build_object('reentry', first #> '{doors,reentry}')) FROM venue, m \g /dev/null
SELECT is(manifest(since => first ->> 'cursor') -> 'full', 'false', 'and a cursor of before is good again') FROM m;
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT event, tier, 'gone', repeat('60', 32) FROM venue;
DELETE FROM public.tickets WHERE qr_token = repeat('60', 32) RETURNING id AS gone \gset
SELECT is(listed(manifest(), :'gone') - 'version', jsonb_build_object('ticket_id', :'gone', 'ticket_type_id', NULL, 'codes', '[]'::jsonb, 'state', 'removed', 'admitted_at', NULL), 'a ticket that is gone is told, too: by its signature alone a device would let it in');
SELECT is(ticketing.door_key(event, 'doors_scanner') -> 'keys', first -> 'keys', 'the keys in it are door_key''s') FROM venue, m;
SELECT is(length(first #>> '{keys,0,public_key}'), 43, 'public ones of 32 bytes') FROM m;

-- ---- progress

SELECT results_eq($$ SELECT admitted, inside, remaining, duplicates FROM venue v, ticketing.door_progress(v.event, 'doors_viewer') WHERE gate IS NULL $$,
  $$ SELECT (SELECT count(DISTINCT c.ticket_id) FROM ticketing.checkins c WHERE c.event_id = v.event AND c.result = 'admitted' AND c.undone_at IS NULL), count(*) FILTER (WHERE t.status = 'scanned'), count(*) FILTER (WHERE t.status = 'active'),
       (SELECT count(*) FROM ticketing.checkins c WHERE c.event_id = v.event AND c.result = 'already_admitted' AND c.undone_at IS NULL)
     FROM venue v JOIN public.tickets t ON t.event_id = v.event GROUP BY v.event $$, 'the progress of the doors is what the scans and tickets say');
SELECT is((SELECT refused ->> 'wrong_gate' FROM venue v, ticketing.door_progress(v.event, 'doors_viewer') WHERE gate = 'vip'), '1', 'by gate and reason');

SELECT is_empty('SELECT broken_invariants()', 'after all of this every seat and every ticket is as its scans say');
SELECT * FROM finish();
ROLLBACK;
