-- What went wrong in production before the engine, each made impossible. The numbers are those of the list that the
-- engine was made from; the others are in specs, the relay's tests and later ones.
\ir support/setup.sql
CREATE EXTENSION IF NOT EXISTS dblink;
SELECT plan(104);

CREATE TEMP TABLE shop AS
SELECT event, make_tier(event, 2500, 10, 4) AS tier, make_tier(event, 0, 10, 4) AS free FROM (SELECT make_event(make_host('host'), 15) AS event) e;
CREATE FUNCTION stock() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(format('%s/%s/%s', available, held, sold), ' ' ORDER BY price_cents DESC) FROM shop, ticketing.availability(event) a JOIN public.ticket_types t ON t.id = a.ticket_type_id $$;

-- ---- 1. Oversell: count, then insert; holds written after the payment was created; quantity_total || Infinity.

CREATE TEMP TABLE full_house AS SELECT event, make_tier(event, 2500, 3) AS tier FROM (SELECT make_event('host') AS event) e;
SELECT is(attempt(format('SELECT hold(%L, %s, %L)', 'buyer ' || n, event, items(tier, 1))), CASE WHEN n <= 3 THEN 'ok' ELSE 'PT409 sold_out' END, format('1. Of three seats, buyer %s', n))
FROM full_house, generate_series(1, 5) n;
SELECT is(attempt(format('SELECT order_tickets(%L, %s, %L)', 'buyer 6', event, items(tier, 1))), 'PT409 sold_out', '1. There is no payment without a seat') FROM full_house;
SELECT is_empty($$ SELECT FROM ticketing.stripe_requests WHERE user_id = 'buyer 6' $$, '1. and nothing is asked of Stripe');
CREATE TEMP TABLE first_order AS SELECT order_tickets('buyer 7', event, items(tier, 2)) AS order_id FROM shop;
SELECT results_eq($$ SELECT sum(quantity)::integer, min(status), count(*) = 1 FROM ticketing.ticket_holds JOIN first_order USING (order_id) $$, $$ VALUES (2, 'active', true) $$,
  '1. The seats are held before Stripe has heard of the payment');
SELECT results_eq($$ SELECT DISTINCT state FROM ticketing.stripe_requests JOIN first_order USING (order_id) $$, $$ VALUES ('ready') $$, '1. which is still to be called');
SELECT is(attempt(format('SELECT hold(''buyer'', %s, %L)', event, items(make_tier(event, 2500, 0), 1))), 'PT409 sold_out', '1. A tier of 0 seats is not a tier without limit') FROM full_house;

-- ---- 3. A declined card killed the hold although the buyer could retry the same PaymentIntent.

SELECT relay(), relay() \g /dev/null
SELECT is(deliver(stripe_event('evt_decline', 'payment_intent.payment_failed', intent(order_id, 'requires_payment_method', '{"last_payment_error": {"code": "card_declined"}}'))),
  'applied', '3. A card is declined') FROM first_order;
SELECT results_eq($$ SELECT o.state, p.status, h.status FROM ticketing.orders o JOIN first_order USING (order_id) JOIN public.orders p ON p.id = o.order_id JOIN ticketing.ticket_holds h USING (order_id) $$,
  $$ VALUES ('awaiting_payment', 'payment_pending', 'active') $$, '3. The hold lives and the order can still be paid');
SELECT is(stock(), '8/2/0 10/0/0', '3. the seats are kept');
SELECT is(pay(order_id), 'applied', '3. The buyer tries another card') FROM first_order;
SELECT results_eq('SELECT state, (SELECT count(*)::integer FROM ticketing.order_tickets t WHERE t.order_id = o.order_id) FROM ticketing.orders o JOIN first_order USING (order_id)', $$ VALUES ('paid', 2) $$,
  '3. and has his tickets');
SELECT is(stock(), '8/0/2 10/0/0', '3. seats that were his all along: held becomes sold');
SELECT is(deliver(stripe_event('evt_decline_late', 'payment_intent.payment_failed', intent(order_id, 'requires_payment_method'))), 'ignored', '3. A decline that arrives after the success') FROM first_order;
SELECT results_eq('SELECT state FROM ticketing.orders JOIN first_order USING (order_id)', $$ VALUES ('paid') $$, '3. changes nothing');

-- ---- 4. A function that returned an error after its first write committed half its work.

CREATE TEMP TABLE world_before AS SELECT everything() AS sum;
SELECT is(attempt(statement), expected, '4. Half-way refusals are errors, which roll the call back: ' || expected) FROM shop, LATERAL (VALUES
  (format('SELECT ticketing.create_payment_intent(''half'', %s, %L, expected_total_cents => 1)', event, items(tier, 1)), 'PT409 price_changed'),
  (format('SELECT ticketing.create_payment_intent(''half'', %s, %L)', event, items(free, 1)), 'PT409 wrong_state'),
  (format('SELECT ticketing.claim_free_tickets(''half'', %s, %L)', event, items(tier, 1, free, 1)), 'PT409 wrong_state'),
  (format('SELECT ticketing.claim_free_tickets(''half'', %s, %L)', event, items(free, 5)), 'PT409 limit_reached'),
  (format('SELECT ticketing.hold_tickets(''half'', %s, %L)', event, items(tier, 1, free, 5)), 'PT409 limit_reached'),
  (format('SELECT ticketing.hold_tickets(''half'', %s, %L)', event, items(tier, 1, (SELECT tier FROM full_house), 1)), 'PT422 invalid_items')) v (statement, expected);
SELECT is(everything(), sum, '4. Not one row is different after them') FROM world_before;
CREATE TRIGGER fail BEFORE INSERT ON ticketing.stripe_requests FOR EACH ROW EXECUTE FUNCTION made_to_fail();
SELECT is(attempt(format('SELECT order_tickets(''half'', %s, %L)', event, items(tier, 1))), 'XX999', '4. A failure at the last write, after hold and order,') FROM shop;
DROP TRIGGER fail ON ticketing.stripe_requests;
SELECT is(everything(), sum, '4. leaves nothing either') FROM world_before;

-- ---- 5. Deadlocks between carts that locked the same tiers in different orders. (Thousands of them: test/server/carts.t.)

-- Two sessions on committed data, which both roll back: two tiers of the sample on sale, the last seats of one among them.
CREATE TEMP TABLE pair AS
SELECT few.event_id AS event, few.id AS a, many.id AS b
FROM (SELECT t.*, (SELECT sum(available) FROM ticketing.stock_pools p JOIN ticketing.stock_shards s USING (pool_id) WHERE p.ticket_type_id = t.id) AS seats FROM public.ticket_types t) few
JOIN (SELECT t.*, (SELECT sum(available) FROM ticketing.stock_pools p JOIN ticketing.stock_shards s USING (pool_id) WHERE p.ticket_type_id = t.id) AS seats FROM public.ticket_types t) many USING (event_id)
WHERE few.id <> many.id AND few.seats BETWEEN 2 AND 7 AND many.seats >= 2
  AND few.sale_start < now() AND few.sale_end > now() + interval '1 day' AND many.sale_start < now() AND many.sale_end > now() + interval '1 day'
  AND few.id IN (SELECT ticket_type_id FROM ticketing.adopted_counters)
ORDER BY few.id LIMIT 1;
SELECT is(dblink_connect(c, format('host=%s port=%s dbname=%s user=%s', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), current_user)), 'OK',
  '5. Session ' || c) FROM unnest(ARRAY['one', 'two']) c;
CREATE FUNCTION tell(session text, command text) RETURNS text LANGUAGE sql AS $$ SELECT dblink_exec(session, command) $$;
CREATE FUNCTION hold_elsewhere(session text, buyer text, event integer, items jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT r FROM dblink(session, format('SELECT ticketing.hold_tickets(%L, %s, %L) ->> ''reservation_id''', buyer, event, items)) d (r text)
$$;
CREATE FUNCTION begin_hold_elsewhere(session text, buyer text, event integer, items jsonb) RETURNS integer LANGUAGE sql AS $$
  SELECT dblink_send_query(session, format('SELECT ticketing.hold_tickets(%L, %s, %L) ->> ''reservation_id''', buyer, event, items))
$$;
CREATE FUNCTION end_hold_elsewhere(session text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  reservation text;
BEGIN
  SELECT r INTO reservation FROM dblink_get_result(session) d (r text);
  PERFORM FROM dblink_get_result(session) d (r text);
  RETURN reservation;
END
$$;
-- Whether another session has begun to wait for a lock of this kind.
CREATE FUNCTION await_waiting(lock text[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  give_up timestamptz := clock_timestamp() + interval '20 seconds';
BEGIN
  WHILE clock_timestamp() < give_up LOOP
    IF EXISTS (SELECT FROM pg_locks WHERE locktype = ANY (lock) AND NOT granted) THEN
      RETURN true;
    END IF;
    PERFORM pg_sleep(0.005);
  END LOOP;
  RETURN false;
END
$$;
SELECT tell(c, 'BEGIN') FROM unnest(ARRAY['one', 'two']) c \g /dev/null
SELECT isnt(hold_elsewhere('one', 'x', event, items(a, 1, b, 1)), NULL, '5. A cart of A and B is held, and not committed') FROM pair;
SELECT is(begin_hold_elsewhere('two', 'y', event, items(b, 1, a, 1)), 1, '5. A cart of B and A') FROM pair;
SELECT ok(await_waiting(ARRAY['transactionid', 'tuple']), '5. waits for it, because the last seats of A are locked');
SELECT tell('one', 'ROLLBACK') \g /dev/null
SELECT isnt(end_hold_elsewhere('two'), NULL, '5. and then gets its seats: neither was the victim of a deadlock');
SELECT tell('two', 'ROLLBACK') \g /dev/null

-- ---- 7. max_per_user was checked, then acted on, and ignored live holds.

SELECT is(attempt(format('SELECT hold(''greedy'', %s, %L)', event, items(free, 2))), 'ok', '7. Of four a user, two are held') FROM shop;
SELECT is(attempt(format('SELECT ticketing.claim_free_tickets(''greedy'', %s, %L)', event, items(free, 1))), 'ok', '7. one is a ticket') FROM shop;
SELECT is(refusal(format('SELECT hold(''greedy'', %s, %L)', event, items(free, 2))) - 'ticket_type_id', '{"reason": "limit_reached", "limit": 4, "held": 2, "owned": 1, "requested": 2}',
  '7. so two more are refused: live holds count') FROM shop;
SELECT is(attempt(format('SELECT hold(''greedy'', %s, %L)', event, items(free, 1, free, 1))), 'PT409 limit_reached', '7. also as two items of one cart') FROM shop;
SELECT is(attempt(format('SELECT hold(''greedy'', %s, %L)', event, items(free, 1))), 'ok', '7. one more is not') FROM shop;
SELECT later('11 minutes') \g /dev/null
SELECT is(attempt(format('SELECT hold(''greedy'', %s, %L)', event, items(free, 3))), 'ok', '7. and holds that have ended count no more, cron or not') FROM shop;
-- In two sessions: the second call waits for the first one's end before it counts.
SELECT tell(c, 'BEGIN') FROM unnest(ARRAY['one', 'two']) c \g /dev/null
SELECT isnt(hold_elsewhere('one', 'racer', event, items(b, 1)), NULL, '7. A user''s first call has not committed yet') FROM pair;
SELECT is(begin_hold_elsewhere('two', 'racer', event, items(b, 1)), 1, '7. His second') FROM pair;
SELECT ok(await_waiting(ARRAY['advisory']), '7. waits for it before it counts: checked and acted on as one');
SELECT tell('one', 'ROLLBACK') \g /dev/null
SELECT isnt(end_hold_elsewhere('two'), NULL, '7. until it ends');
SELECT tell('two', 'ROLLBACK') \g /dev/null
SELECT dblink_disconnect(c) FROM unnest(ARRAY['one', 'two']) c \g /dev/null

-- ---- 8. The webhook recorded the event id before the work: a failure lost the event, a retry issued tickets twice.

CREATE TEMP TABLE webhook_order AS SELECT payable_order('webhook buyer', event, items(tier, 3)) AS order_id FROM shop;
UPDATE world_before SET sum = everything();
CREATE TRIGGER fail BEFORE INSERT ON public.tickets FOR EACH ROW EXECUTE FUNCTION made_to_fail();
SELECT is(attempt(format('SELECT pay(%L)', order_id)), 'XX999', '8. The work of a payment''s event fails: so does the answer to Stripe') FROM webhook_order;
DROP TRIGGER fail ON public.tickets;
SELECT is(everything(), sum, '8. no event id is on record, no order is paid') FROM world_before;
SELECT is(pay(order_id), 'applied', '8. Stripe''s next delivery does the work') FROM webhook_order;
SELECT is(pay(order_id), 'duplicate', '8. one more is known') FROM webhook_order;
SELECT is(deliver(stripe_event('evt_other_id', 'payment_intent.succeeded', intent(order_id, 'succeeded'))), 'ignored', '8. the same under another event id is, too') FROM webhook_order;
SELECT is((SELECT count(*) FROM public.tickets WHERE user_id = 'webhook buyer'), 3::bigint, '8. and each ticket was issued once');
SELECT results_eq($$ SELECT count(*), min(event_type) FROM public.stripe_events e JOIN webhook_order w ON e.event_id = 'evt_paid_' || replace(w.order_id::text, '-', '') $$,
  $$ VALUES (1::bigint, 'payment_intent.succeeded') $$, '8. the application''s list of events has it');
-- Another handler has taken the id first: in public alone, which decides nothing.
CREATE TEMP TABLE taken AS SELECT payable_order('taken', event, items(tier, 1)) AS order_id FROM shop;
INSERT INTO public.stripe_events (event_id, event_type) SELECT 'evt_paid_' || replace(order_id::text, '-', ''), 'payment_intent.succeeded' FROM taken;
SELECT is(pay(order_id), 'applied', '8. An id that another handler wrote down before is no reason to drop the event') FROM taken;

-- ---- 11. A value outside a CHECK list silently swallowed audit rows.

UPDATE world_before SET sum = everything();
ALTER TABLE public.order_timeline ADD CONSTRAINT narrow CHECK (type <> 'payment_captured') NOT VALID;
SELECT is(attempt(format('SELECT ticketing.claim_free_tickets(''audited'', %s, %L)', event, items(free, 1))), '23514', '11. A timeline that cannot be written is an error') FROM shop;
ALTER TABLE public.order_timeline DROP CONSTRAINT narrow;
SELECT is(everything(), sum, '11. and without its audit rows nothing is sold') FROM world_before;
SELECT is(attempt(format('INSERT INTO ticketing.order_events (order_id, at, event, to_state, source) SELECT %L, now(), ''x'', NULL, ''x''', order_id)), '23502', '11. The log takes no row without a state') FROM taken;

-- ---- 13. The door's conditional update and its audit row were two calls.

CREATE TEMP TABLE pass AS SELECT event, t.id AS ticket, t.qr_payload AS code, '5ca00000-0000-4000-8000-000000000001'::uuid AS scan, ticketing.clock() - interval '3 minutes' AS at
FROM shop, taken JOIN ticketing.order_tickets USING (order_id) JOIN public.tickets t ON t.id = ticket_id;
CREATE TRIGGER fail BEFORE INSERT ON ticketing.checkins FOR EACH ROW EXECUTE FUNCTION made_to_fail();
SELECT is(attempt(format('SELECT ticketing.check_in(%L, %s, ''host'')', code, event)), 'XX999', '13. A scan whose audit row cannot be written fails') FROM pass;
DROP TRIGGER fail ON ticketing.checkins;
SELECT results_eq('SELECT status, checked_in_at FROM public.tickets JOIN pass ON id = ticket', $$ VALUES ('active', NULL::timestamptz) $$, '13. and admits nobody');
CREATE TEMP TABLE scanned AS SELECT ticketing.check_in(code, event, 'host', 'phone', scan, at) AS answer FROM pass;
SELECT results_eq($$ SELECT answer ->> 'result' FROM scanned $$, $$ VALUES ('admitted') $$, '13. A scan that is recorded admits');
SELECT is(ticketing.check_in(code, event, 'host', 'phone', scan, at), answer, '13. The device did not hear it and asks again: the same answer, not a duplicate') FROM pass, scanned;
SELECT results_eq($$ SELECT count(*), min(scanned_at) FROM ticketing.checkins JOIN pass ON scan_id = scan $$, 'SELECT 1::bigint, at FROM pass', '13. one row, with the time of the scan, not of the server');
SELECT is(ticketing.check_in(code, event, 'host', 'tablet', gen_random_uuid()) ->> 'result', 'already_admitted', '13. Another device is told that the ticket is in') FROM pass;
SELECT is((SELECT count(*) FROM ticketing.checkins WHERE ticket_id = ticket), 2::bigint, '13. and that is recorded, too') FROM pass;

-- ---- 14. A transferred ticket's old QR code still opened the door.

CREATE TEMP TABLE moved AS SELECT event, t.id AS ticket, t.user_id AS giver, t.qr_payload AS code, t.qr_token AS token FROM shop, webhook_order JOIN ticketing.order_tickets USING (order_id) JOIN public.tickets t ON t.id = ticket_id LIMIT 1;
SELECT ticketing.transfer_ticket(ticket, giver, 'somebody else') FROM moved \g /dev/null
SELECT is(ticketing.check_in(old, event, 'host') ->> 'result', 'superseded', format('14. The old %s is refused', kind)) FROM moved,
LATERAL (VALUES ('payload', code), ('token', token), ('link', 'dvnt://ticket/' || token), ('payload as a link', 'dvnt://ticket/' || code)) v (kind, old);
SELECT ok((ticketing.verify_ticket(code)).valid, '14. although its signature is good') FROM moved;
SELECT results_eq('SELECT status FROM public.tickets JOIN moved ON id = ticket', $$ VALUES ('active') $$, '14. nobody was admitted by it');
SELECT is(ticketing.check_in(t.qr_payload, event, 'host') ->> 'result', 'admitted', '14. The new one opens') FROM moved JOIN public.tickets t ON t.id = ticket;
SELECT is(ticketing.check_in(code, event, 'host') ->> 'result', 'superseded', '14. and the old one still does not') FROM moved;

-- ---- 15. Definer functions without search_path, executable by PUBLIC; anon could make itself an admin co-organizer.

CREATE SCHEMA evil;
CREATE FUNCTION evil.deceive(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'I run as %', current_user USING ERRCODE = 'XX666'; END $$;
CREATE OPERATOR evil.= (FUNCTION = evil.deceive, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.<> (FUNCTION = evil.deceive, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT evil.deceive($1, $1)::text $$;
GRANT USAGE ON SCHEMA evil TO service_role, authenticated;
-- What a statement does when its caller's search_path has the trap.
CREATE FUNCTION attempt_in_trap(statement text, as_role text, claims text DEFAULT NULL) RETURNS text LANGUAGE plpgsql SET search_path = evil, pg_catalog, test, public AS
$$ BEGIN RETURN test.attempt(statement, as_role, claims); END $$;
SELECT is(attempt_in_trap('SELECT ''a''::text = ''b''::text', 'service_role'), 'XX666', '15. A caller lays a trap in his search_path');
CREATE TEMP TABLE big AS SELECT event, make_tier(event, 0, 60) AS tier FROM (SELECT make_event('host') AS event) e;
SELECT is(attempt_in_trap(format('SELECT ticketing.%s', call), 'service_role'), 'ok', '15. no definer steps into it: ' || split_part(call, '(', 1)) FROM shop, big, LATERAL (VALUES
  (format('hold_tickets(''path'', %s, %L)', shop.event, items(free, 1))), (format('hold_tickets(''many'', %s, %L, NULL, ''by the slow path'')', big.event, items(big.tier, 9))), (format('claim_free_tickets(''path'', %s, %L)', shop.event, items(free, 1))),
  (format('create_payment_intent(''path'', %s, %L)', shop.event, items(shop.tier, 1))), (format('quote(%s, %L)', shop.event, items(shop.tier, 1))), (format('availability(%s)', shop.event))) v (call);
SELECT is(attempt_in_trap(format('UPDATE public.events SET max_attendees = max_attendees + 1 WHERE id = %s', event), 'authenticated', claims_of('host')), 'ok', '15. nor a trigger') FROM shop;
SELECT is(attempt(format($$ INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, status, invited_by) VALUES (%s, 'intruder', 'admin', 'accepted', 'intruder') $$, event), r, claims_of('intruder', r)), '42501',
  format('15. %s cannot make itself an accepted admin', r)) FROM shop, unnest(ARRAY['anon', 'authenticated', 'service_role']) r;

-- A row that waits to be accepted, one that is accepted, and what a client could make of them.
CREATE TEMP TABLE helpers AS SELECT event, ticketing.add_co_organizer(event, 'host', 'intruder') AS invited, ticketing.add_co_organizer(event, 'host', 'helper', 'scanner') AS helper FROM shop;
SELECT ticketing.accept_co_organizer(event, 'helper') FROM helpers \g /dev/null
UPDATE world_before SET sum = everything();
SELECT is_empty(format($$ SELECT statement, outcome FROM (VALUES
    ('SELECT ticketing.accept_co_organizer(%1$s, ''intruder'')'), ('SELECT ticketing.add_co_organizer(%1$s, ''host'', ''intruder'', ''admin'')'), ('SELECT ticketing.update_co_organizer(%1$s, ''host'', ''intruder'', ''admin'')'),
    ('SELECT ticketing.update_co_organizer(%1$s, ''host'', ''helper'', ''admin'')'), ('SELECT ticketing.remove_co_organizer(%1$s, ''intruder'', ''intruder'')'), ('SELECT * FROM ticketing.list_co_organizers(%1$s, ''host'')'),
    ('UPDATE ticketing.event_co_organizers SET role = ''admin'''), ('UPDATE ticketing.event_co_organizers SET status = ''accepted'''), ('DELETE FROM ticketing.co_organizer_changes'), ('SELECT FROM ticketing.event_co_organizers'),
    ('UPDATE ticketing.event_settings SET host_id = ''intruder'''), ('SELECT ticketing.role_permits(''admin'', NULL, ''admin'')'), ('ALTER TABLE ticketing.event_co_organizers DISABLE TRIGGER ALL')) s (statement),
  attempt(statement, %2$L, %3$L) outcome WHERE outcome <> '42501' $$, event, r, claims_of(who, r)), format('15. nor by any function or table, as %s who says that he is %s', r, who)) FROM helpers, unnest(ARRAY['anon', 'authenticated']) r, unnest(ARRAY['intruder', 'host']) who;
SELECT is(everything(), sum, '15. Not one row is different after them') FROM world_before;
SELECT set_config('request.jwt.claims', '', true) \g /dev/null
SELECT set_eq(format('SELECT who, p FROM unnest(ARRAY[''intruder'', ''helper'']) who, unnest(ARRAY[''view'', ''scan'', ''edit'', ''admin'']) p WHERE ticketing.has_event_permission(%s, p, who)', event),
  $$ VALUES ('helper', 'view'), ('helper', 'scan') $$, '15. and who has not accepted may do nothing, who has what he was invited to') FROM helpers;
-- What a client may ask is what he may do himself; anon not even that. A trap in his search_path changes no answer.
SELECT is(attempt(format('SELECT 1 / ticketing.has_event_permission(%s, %L, %L)::integer', event, 'scan', asked), r, claims_of(who, r)), expected, format('15. %s as %s asks whether %s may scan', who, r, coalesce(asked, 'he')))
FROM helpers, (VALUES ('authenticated', 'helper', NULL, 'ok'), ('authenticated', 'helper', 'helper', 'ok'), ('authenticated', 'intruder', NULL, '22012'), ('authenticated', 'intruder', 'helper', '22012'), ('authenticated', 'intruder', 'host', '22012'), ('anon', 'helper', 'helper', '42501')) v (r, who, asked, expected);
SELECT is(attempt_in_trap(format('SELECT 1 / ticketing.has_event_permission(%s, ''scan'')::integer', event), 'authenticated', claims_of(who)), expected, format('15. with a trap in his search_path %s is told the same', who)) FROM helpers, (VALUES ('helper', 'ok'), ('intruder', '22012')) v (who, expected);
SELECT is(attempt_in_trap(format(call, event), 'service_role', ''), 'ok', '15. and no command steps into it: ' || substring(call FROM 'ticketing.(\w+)')) FROM helpers, unnest(ARRAY['SELECT ticketing.accept_co_organizer(%s, ''intruder'')',
  'SELECT ticketing.update_co_organizer(%s, ''host'', ''intruder'', ''editor'')', 'SELECT ticketing.remove_co_organizer(%s, ''host'', ''intruder'')', 'SELECT ticketing.add_co_organizer(%s, ''host'', ''intruder'')', 'SELECT * FROM ticketing.list_co_organizers(%s, ''host'')']) call;

-- ---- 16. A missing secret fell back to a default key; the signature was cut to 64 bits and compared with !==.
-- (Without a secret: test/server.)

CREATE TEMP TABLE genuine AS SELECT t.qr_payload AS code, decode(translate(t.qr_payload, '-_', '+/') || '==', 'base64') AS bytes FROM public.tickets t JOIN pass ON id = ticket;
SELECT is(length(bytes), 46, '16. A code carries 16 bytes of signature behind 30 that are signed, not 8') FROM genuine;
CREATE FUNCTION code_of(bytes bytea) RETURNS text LANGUAGE sql AS $$ SELECT rtrim(translate(encode(bytes, 'base64'), E'+/\n', '-_'), '=') $$;
SELECT is(code_of(bytes), code, '16. (which is what code_of makes of them)') FROM genuine;
SELECT is((ticketing.verify_ticket(code_of(substr(bytes, 1, 38)))).reason, 'malformed', '16. cut to 64 bits it is no code at all') FROM genuine;
SELECT results_eq('SELECT DISTINCT (ticketing.verify_ticket(code_of(set_bit(bytes, bit, 1 - get_bit(bytes, bit))))).valid FROM genuine, generate_series(0, 46 * 8 - 1) bit', 'VALUES (false)',
  '16. not one of its 368 bits can be another');

SELECT is_empty('SELECT broken_invariants()', 'after all of this no seat is lost or made up, no order unexplained');
SELECT * FROM finish();
ROLLBACK;
