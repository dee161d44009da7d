-- What may happen to a ticket after it was issued: new codes, another owner, a suspension, its end; payloads for tickets from before.
\ir support/setup.sql
SELECT plan(68);

CREATE TEMP TABLE shop AS
SELECT event, make_tier(event, 0, 10, 2) AS tier, make_tier(event, 0, NULL) AS open_tier FROM (SELECT make_event(make_host('changes_host'), 12) AS event) e;
CREATE FUNCTION scan(code text) RETURNS text LANGUAGE sql AS $$ SELECT ticketing.check_in(code, event, 'changes_host') ->> 'result' FROM shop $$;
CREATE FUNCTION changes(ticket uuid) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(change || ' by ' || actor, ', ' ORDER BY id) FROM ticketing.ticket_changes WHERE ticket_id = ticket $$;
INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, status, invited_by)
SELECT event, 'changes_' || role, role, 'accepted', 'changes_host' FROM shop, unnest(ARRAY['viewer', 'scanner', 'editor', 'admin']) role;

-- ---- 28: reissue

CREATE TEMP TABLE lost AS SELECT id, code(id) AS old_code, token(id) AS old_token FROM shop, claim('ann', tier, 1) id;
CREATE TEMP TABLE again AS SELECT ticketing.reissue_ticket(id, 'ann') AS answer FROM lost;
SELECT is(answer ->> 'qr_payload', code(id), 'a reissue answers the ticket''s new code') FROM again, lost;
SELECT isnt(code(id), old_code, 'which is another one') FROM lost;
SELECT isnt(token(id), old_token, 'and so is its token') FROM lost;
SELECT ok((ticketing.verify_ticket(code(id))).valid, 'the new code is genuine') FROM lost;
SELECT is(scan(c), 'superseded', 'the old code does not open the door: ' || left(c, 14)) FROM lost, unnest(ARRAY[old_code, old_token, 'dvnt://ticket/' || old_token]) c;
SELECT is(scan(code(id)), 'admitted', 'the new one does') FROM lost;
SELECT is(scan(token(id)), 'already_admitted', 'and its token is the same ticket') FROM lost;
SELECT is(attempt(format('SELECT ticketing.reissue_ticket(%L, %L)', id, 'changes_' || who)), outcome, who || ': ' || outcome) FROM lost,
  (VALUES ('viewer', 'PT403 not_allowed'), ('scanner', 'PT403 not_allowed'), ('editor', 'ok'), ('admin', 'ok'), ('host', 'ok'), ('stranger', 'PT403 not_allowed')) v (who, outcome);
SELECT is(changes(id), 'reissued by ann, reissued by changes_editor, reissued by changes_admin, reissued by changes_host', 'who reissued it is on record') FROM lost;
SELECT is((SELECT count(*) FROM ticketing.superseded_codes WHERE ticket_id = id), 8::bigint, 'and so are the hashes of all its codes') FROM lost;
SELECT is((SELECT count(*) FROM ticketing.ticket_changes WHERE detail::text LIKE '%' || old_code || '%' OR detail::text LIKE '%' || old_token || '%'), 0::bigint, 'a code is never') FROM lost;
SELECT is(attempt(format('SELECT ticketing.reissue_ticket(%L, %L)', gen_random_uuid(), 'ann')), 'PT404 not_found', 'a ticket that does not exist');
SELECT is(attempt('SELECT ticketing.reissue_ticket(NULL, ''ann'')'), 'PT400 bad_request', 'no ticket at all');

-- ---- transfer

CREATE TEMP TABLE gift AS SELECT id, code(id) AS old_code FROM shop, claim('bob', tier, 1) id;
SELECT is(attempt(format('SELECT ticketing.transfer_ticket(%L, %L, %L)', id, who, 'cat')), 'PT403 not_allowed', who || ' cannot give away bob''s ticket') FROM gift, unnest(ARRAY['cat', 'changes_editor', 'changes_scanner']) who;
CREATE TEMP TABLE given AS SELECT ticketing.transfer_ticket(id, 'bob', 'cat') AS answer FROM gift;
SELECT is(answer - 'ticket_id' - 'ticket_type_id' - 'event_id', '{"status": "active", "user_id": "cat"}', 'bob gives his ticket to cat; the answer has no code: it is hers') FROM given;
SELECT results_eq('SELECT user_id, status FROM public.tickets t JOIN gift USING (id)', $$ VALUES ('cat', 'active') $$, 'the ticket is hers');
SELECT is(scan(old_code), 'superseded', 'bob''s code does not open the door') FROM gift;
SELECT is(attempt(format('SELECT ticketing.transfer_ticket(%L, %L, %L)', id, 'cat', 'cat')), 'PT409 already_done', 'it cannot go to who has it') FROM gift;
SELECT is(attempt(format('SELECT ticketing.transfer_ticket(%L, %L, %L)', id, 'bob', 'dan')), 'PT403 not_allowed', 'bob has no word in it any more') FROM gift;
SELECT claim('cat', tier, 1) FROM shop \g /dev/null
CREATE TEMP TABLE third AS SELECT id FROM shop, claim('bob', tier, 1) id;
SELECT is(attempt(format('SELECT ticketing.transfer_ticket(%L, %L, %L)', id, 'bob', 'cat')), 'PT409 limit_reached', 'cat has two, as many as she may: the limit is the new owner''s as well') FROM third;
SELECT is(refusal(format('SELECT ticketing.transfer_ticket(%L, %L, %L)', id, 'bob', 'cat')) - 'ticket_type_id', '{"reason": "limit_reached", "limit": 2, "held": 0, "owned": 2, "requested": 1}', 'which is said with its figures') FROM third;
SELECT hold('eve', event, items(tier, 2)) FROM shop \g /dev/null
SELECT is(attempt(format('SELECT ticketing.transfer_ticket(%L, %L, %L)', id, 'bob', 'eve')), 'PT409 limit_reached', 'live holds count') FROM third;
SELECT later('20 minutes') \g /dev/null
SELECT is(attempt(format('SELECT ticketing.transfer_ticket(%L, %L, %L)', id, 'changes_admin', 'eve')), 'ok', 'dead ones do not; an admin may transfer') FROM third;
SELECT is(attempt(format('SELECT ticketing.hold_tickets(%L, %s, %L)', 'bob', event, items(tier, 2))), 'ok', 'and who gave a ticket away may have others') FROM shop;
SELECT scan(code(id)) FROM third \g /dev/null
SELECT is(attempt(format('SELECT ticketing.transfer_ticket(%L, %L, %L)', id, 'eve', 'fay')), 'PT409 wrong_state', 'a ticket that was scanned stays whose it is') FROM third;

-- ---- suspend, restore

SELECT later('20 minutes') \g /dev/null
CREATE TEMP TABLE stock_before AS SELECT available(tier) AS free FROM shop;
CREATE TEMP TABLE doubtful AS SELECT id, code(id) AS code FROM shop, claim('gus', tier, 2) id;
CREATE TEMP TABLE inside AS SELECT id FROM doubtful ORDER BY id LIMIT 1;
SELECT scan(code) FROM doubtful JOIN inside USING (id) \g /dev/null
SELECT is(attempt(format('SELECT ticketing.suspend_ticket(%L, %L, ''x'')', id, 'changes_editor')), 'PT403 not_allowed', 'an editor cannot suspend') FROM inside;
SELECT is(ticketing.suspend_ticket(id, 'changes_host', 'dispute') ->> 'status', 'suspended', 'a ticket is suspended') FROM doubtful;
SELECT is(status(id), 'void', 'the application sees it as void') FROM doubtful;
SELECT is(scan(code), 'suspended', 'the door says what it is') FROM doubtful;
SELECT is(available(tier), free - 2, 'its seat is not for sale') FROM shop, stock_before;
SELECT is(attempt(format('SELECT ticketing.hold_tickets(%L, %s, %L)', 'gus', event, items(tier, 1))), 'PT409 limit_reached', 'and counts as its owner''s') FROM shop;
SELECT is(attempt(format('SELECT ticketing.suspend_ticket(%L, %L, ''x'')', id, 'changes_host')), 'PT409 already_done', 'twice is once') FROM inside;
SELECT is(attempt(format('SELECT ticketing.%s', call)), 'PT409 wrong_state', 'while suspended, no ' || call) FROM inside, LATERAL (VALUES
  (format('reissue_ticket(%L, ''gus'')', id)), (format('transfer_ticket(%L, ''gus'', ''hal'')', id))) v (call);
SELECT later('2 days') \g /dev/null
SELECT ticketing.release_expired_holds() \g /dev/null
SELECT is(available(tier), free - 2, 'two days later its seat is still its own') FROM shop, stock_before;
SELECT is((SELECT next_release_at FROM ticketing.availability(event) WHERE ticket_type_id = tier), NULL, 'and never promised to anybody') FROM shop;
SELECT is(ticketing.restore_ticket(id, 'changes_admin') ->> 'status', CASE WHEN id IN (SELECT id FROM inside) THEN 'scanned' ELSE 'active' END, 'restored as it was') FROM doubtful ORDER BY id;
SELECT is(scan(code), CASE WHEN id IN (SELECT id FROM inside) THEN 'already_admitted' ELSE 'admitted' END, 'for the door, too') FROM doubtful ORDER BY id;
SELECT is(available(tier), free - 2, 'with the same seats') FROM shop, stock_before;
SELECT is(attempt(format('SELECT ticketing.restore_ticket(%L, %L)', id, 'changes_host')), 'PT409 wrong_state', 'what is not suspended cannot be restored') FROM inside;
SELECT is(changes(id), 'suspended by changes_host, restored by changes_admin', 'both are on record') FROM inside;

-- Undone while it was suspended, and scanned offline while it was.
CREATE TEMP TABLE meanwhile AS SELECT id, code(id) AS code FROM shop, claim('gwen', open_tier, 2) id;
CREATE TEMP TABLE undone AS SELECT id FROM meanwhile ORDER BY id LIMIT 1;
SELECT scan(code) FROM meanwhile JOIN undone USING (id) \g /dev/null
SELECT ticketing.suspend_ticket(id, 'changes_host', 'dispute') FROM meanwhile \g /dev/null
SELECT ticketing.undo_check_in(c.id, 'changes_host', 'x') FROM ticketing.checkins c JOIN undone u ON u.id = c.ticket_id WHERE c.moved \g /dev/null
SELECT ticketing.sync_checkins(event, 'changes_host', 'phone', ticketing.clock(), jsonb_build_array(jsonb_build_object('scan_id', gen_random_uuid(), 'payload', code, 'scanned_at', ticketing.clock()))) FROM shop, meanwhile WHERE id NOT IN (SELECT id FROM undone) \g /dev/null
SELECT is(ticketing.restore_ticket(id, 'changes_host') ->> 'status', CASE WHEN id IN (SELECT id FROM undone) THEN 'active' ELSE 'scanned' END, 'restored as its scans say by now') FROM meanwhile ORDER BY id;
SELECT results_eq('SELECT status, checked_in_at IS NULL FROM public.tickets JOIN meanwhile USING (id) ORDER BY id', $$ VALUES ('active', true), ('scanned', false) $$, 'so its row in public.tickets');

-- ---- void

SELECT ticketing.suspend_ticket(id, 'changes_host', 'dispute') FROM inside \g /dev/null
CREATE TEMP TABLE told AS SELECT id, version FROM inside JOIN ticketing.door_states ON ticket_id = id;
SELECT is(ticketing.void_ticket(id, 'changes_host', 'dispute lost') ->> 'status', 'void', 'a suspended ticket is ended for good') FROM inside;
SELECT is(scan(code), 'void', 'which the door says') FROM doubtful JOIN inside USING (id);
SELECT cmp_ok(d.version, '>', t.version, 'and doors that are offline hear it, though public.tickets has not changed') FROM told t JOIN ticketing.door_states d ON d.ticket_id = t.id;
SELECT is(available(tier), free - 1, 'its seat is for sale, once') FROM shop, stock_before;
SELECT is(attempt(format('SELECT ticketing.void_ticket(%L, %L, ''x'')', id, 'changes_host')), 'PT409 wrong_state', 'and not twice') FROM inside;
SELECT is(ticketing.void_ticket(id, 'changes_host', 'mistake') ->> 'status', 'void', 'a valid one is ended, too') FROM doubtful WHERE id NOT IN (SELECT id FROM inside);
SELECT is(available(tier), free, 'and its seat is for sale') FROM shop, stock_before;
SELECT claim('ivy', open_tier, 1) AS open_id FROM shop \gset
SELECT is(ticketing.void_ticket(:'open_id', 'changes_host', 'x') ->> 'status', 'void', 'a ticket of an unlimited tier gives its place in the event back');
SELECT is_empty('SELECT broken_invariants()', 'after all of this every seat is where it belongs');
UPDATE ticketing.ticket_holds SET status = 'released' WHERE expires_at = 'infinity' AND status = 'active';
SELECT ticketing.suspend_ticket(id, 'changes_host', 'x') FROM claim('jon', (SELECT tier FROM shop), 1) id \g /dev/null
UPDATE ticketing.ticket_holds SET status = 'released' WHERE expires_at = 'infinity' AND status = 'active';
SELECT ok(EXISTS (SELECT FROM ticketing.check_invariants() WHERE check_name = 'suspended_seat'), 'a suspended ticket whose hold was ended by hand is found');

SELECT * FROM finish();
ROLLBACK;
