-- Holds: their answer, how long they live, request ids, the end at the instant, release.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7003);

-- The answer: these keys, items merged and in tier order, the end ten minutes on.
CALL pg_temp.new_event(700301, 50);
CALL pg_temp.new_tier(700301, 1, 30);
CALL pg_temp.new_tier(700301, 2, 30);
SELECT ticketing.hold_tickets('ann@7003', 700301, pg_temp.cart(700301, 2, 1) || pg_temp.cart(700301, 3)) AS answer \gset
SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(:'answer'::jsonb) k;
SELECT a ->> 'expires_at' AS expires_at, a -> 'items' = pg_temp.cart(700301, 5, 1) AS items, a ->> 'reservation_id' ~ '^[0-9a-f-]{36}$' AS reservation_id FROM CAST(:'answer' AS jsonb) a;
-- What is stored is what was answered: a row per tier, one reservation.
SELECT h.reservation_id = (:'answer'::jsonb ->> 'reservation_id')::uuid AS same, right(h.ticket_type_id::text, 1) AS tier, user_id, quantity, status, expires_at, created_at, order_id, ended_at
FROM ticketing.ticket_holds h WHERE event_id = 700301 ORDER BY ticket_type_id;
SELECT * FROM pg_temp.stock(700301);

-- How long a hold lives: the call's ttl, else the event's, else the setting's, never longer than the maximum age.
CREATE FUNCTION pg_temp.lives(ttl interval) RETURNS interval LANGUAGE sql AS
$$ SELECT (ticketing.hold_tickets('bob@7003', 700301, pg_temp.cart(700301, 1), ttl) ->> 'expires_at')::timestamptz - ticketing.clock() $$;
SELECT pg_temp.lives(NULL) AS setting, pg_temp.lives('90 s') AS call, pg_temp.lives('1 microsecond') AS shortest, pg_temp.lives('30 min') AS longest, pg_temp.lives('30 min 1 s') AS too_long, pg_temp.lives('1000 years') AS far_too_long;
UPDATE ticketing.event_settings SET hold_ttl = '3 min' WHERE event_id = 700301;
SELECT pg_temp.lives(NULL) AS event, pg_temp.lives('5 min') AS call;
UPDATE ticketing.event_settings SET hold_ttl = '2 days' WHERE event_id = 700301;
SELECT pg_temp.lives(NULL) AS event_too_long;
UPDATE ticketing.event_settings SET hold_ttl = NULL WHERE event_id = 700301;
SET dvnt_ticketing.hold_ttl = '2h';
SELECT pg_temp.lives(NULL) AS setting_too_long;
SET dvnt_ticketing.hold_max_age = '1h';
SELECT pg_temp.lives(NULL) AS higher_maximum;
RESET dvnt_ticketing.hold_ttl;
RESET dvnt_ticketing.hold_max_age;

-- A request id: the same answer again and nothing held twice, also an hour later; other arguments are refused; other users and functions have ids of their own.
CALL pg_temp.new_event(700302);
CALL pg_temp.new_tier(700302, 1, 10);
CALL pg_temp.new_event(700303);
CALL pg_temp.new_tier(700303, 1, 10);
CREATE FUNCTION pg_temp.ask(user_id text, event integer, quantity integer, ttl interval DEFAULT NULL, request_id text DEFAULT 'r1') RETURNS jsonb LANGUAGE sql AS
$$ SELECT ticketing.hold_tickets(user_id, event, pg_temp.cart(event, quantity), ttl, request_id) $$;
SELECT pg_temp.ask('ann@7003', 700302, 2) AS first \gset
SELECT pg_temp.ask('ann@7003', 700302, 2) = :'first' AS same, (SELECT held FROM pg_temp.stock(700302)) AS held;
CALL pg_temp.later('1 hour');
SELECT pg_temp.ask('ann@7003', 700302, 2) = :'first' AS an_hour_later, (SELECT count(*) FROM ticketing.ticket_holds WHERE event_id = 700302) AS holds;
SELECT ticketing.hold_tickets('ann@7003', 700302, pg_temp.cart(700302, 1) || pg_temp.cart(700302, 1), NULL, 'r1') = :'first' AS same_items_in_two;
SELECT pg_temp.refusal($$SELECT pg_temp.ask('ann@7003', 700302, 3)$$) AS other_quantity,
       pg_temp.refusal($$SELECT pg_temp.ask('ann@7003', 700302, 2, '1 min')$$) AS other_ttl,
       pg_temp.refusal($$SELECT pg_temp.ask('ann@7003', 700303, 2)$$) AS other_event;
SELECT pg_temp.ask('bob@7003', 700302, 3) ->> 'reservation_id' <> :'first'::jsonb ->> 'reservation_id' AS other_user,
       pg_temp.ask('ann@7003', 700302, 2, NULL, 'r2') ->> 'reservation_id' <> :'first'::jsonb ->> 'reservation_id' AS other_id,
       ticketing.claim_free_tickets('ann@7003', 700302, pg_temp.cart(700302, 2), 'r1') ? 'order_id' AS other_function;
-- A refused call leaves no answer behind: its id may succeed later.
SELECT pg_temp.refusal($$SELECT pg_temp.ask('cid@7003', 700303, 11, NULL, 'r3')$$) AS refused;
SELECT pg_temp.ask('cid@7003', 700303, 10, NULL, 'r3') ? 'reservation_id' AS held_now;
SELECT pg_temp.ask('cid@7003', 700303, 10, NULL, 'r3') ? 'reservation_id' AS sold_out_and_still_the_answer;
SELECT length(repeat('x', 255)), pg_temp.ask('dan@7003', 700302, 1, NULL, repeat('x', 255)) = pg_temp.ask('dan@7003', 700302, 1, NULL, repeat('x', 255)) AS longest_id;

-- The end is an instant: live a microsecond before, dead at it, in every function alike, with no cron job in between.
CALL pg_temp.new_event(700304, 2);
CALL pg_temp.new_tier(700304, 1, 2, 1000, 2);
CALL pg_temp.new_payee();
SELECT ticketing.hold_tickets('ann@7003', 700304, pg_temp.cart(700304, 2)) ->> 'reservation_id' AS reservation \gset
CREATE FUNCTION pg_temp.who_gets_it() RETURNS TABLE (who text, verdict text) LANGUAGE sql AS $$
  SELECT 'stock: ' || capacity || ' = ' || available || ' available + ' || held || ' held', 'next release ' || coalesce(next_release_at::text, 'never') FROM pg_temp.stock(700304)
  UNION ALL SELECT 'another buyer', pg_temp.hold('bob@7003', 700304, 1)
  UNION ALL SELECT 'the same, at most 2', pg_temp.hold('ann@7003', 700304, 1)
$$;
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  verdict text;
BEGIN
  -- and undoes it
  verdict := pg_temp.refusal(statement);
  RAISE SQLSTATE 'UNDO0';
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
  RETURN verdict;
END
$$;
CALL pg_temp.later('9 min 59.999999 s');
BEGIN;
SELECT * FROM pg_temp.who_gets_it();
SELECT pg_temp.try(format($$SELECT ticketing.create_payment_intent('ann@7003', 700304, reservation_id => %L)$$, :'reservation')) AS payable;
ROLLBACK;
CALL pg_temp.later('1 microsecond');
BEGIN;
SELECT * FROM pg_temp.who_gets_it();
SELECT regexp_replace(pg_temp.try(format($$SELECT ticketing.create_payment_intent('ann@7003', 700304, reservation_id => %L)$$, :'reservation')), '"reservation_id": .*', '…') AS payable;
ROLLBACK;
-- No sweep has run: the row still says active, and the next buyer's call is what ends it.
SELECT status, ended_at FROM ticketing.ticket_holds WHERE event_id = 700304;
SELECT pg_temp.hold('bob@7003', 700304, 2);
SELECT user_id, status, ended_at FROM ticketing.ticket_holds WHERE event_id = 700304 ORDER BY created_at;
SELECT * FROM ticketing.check_invariants();

-- The sweep gives dead holds back, at most so many rows, and lets the living alone.
SELECT ticketing.release_expired_holds() > 0 AS those_of_above;
CALL pg_temp.new_event(700305, 100);
CALL pg_temp.new_tier(700305, 1, 100);
CALL pg_temp.new_tier(700305, 2);
SELECT count(*) FROM generate_series(1, 5) g, pg_temp.hold('u' || g || '@7003', 700305, 1, 2) WHERE hold = 'no error';
CALL pg_temp.later('5 min');
SELECT pg_temp.hold('late@7003', 700305, 4);
CALL pg_temp.later('5 min');
SELECT * FROM pg_temp.stock(700305);
SELECT ticketing.release_expired_holds(3) AS released;
SELECT status, count(*) FROM ticketing.ticket_holds WHERE event_id = 700305 GROUP BY 1 ORDER BY 1;
SELECT * FROM pg_temp.stock(700305);
SELECT ticketing.release_expired_holds() > 0 AS released;
SELECT ticketing.release_expired_holds() AS released_again;
SELECT status, count(*), sum(quantity) FROM ticketing.ticket_holds WHERE event_id = 700305 GROUP BY 1 ORDER BY 1;
SELECT * FROM pg_temp.stock(700305);
SELECT * FROM ticketing.check_invariants();

-- Released: the seats are back at once, once; a stranger cannot, and does not learn that it is there.
CALL pg_temp.new_event(700306, 10);
CALL pg_temp.new_tier(700306, 1, 5);
CALL pg_temp.new_tier(700306, 2);
SELECT ticketing.hold_tickets('ann@7003', 700306, pg_temp.cart(700306, 5, 2)) ->> 'reservation_id' AS reservation \gset
SELECT * FROM pg_temp.stock(700306);
SELECT replace(pg_temp.refusal(format($$SELECT ticketing.release_hold(%L, 'bob@7003')$$, :'reservation')), :'reservation', 'RESERVATION') AS by_a_stranger;
SELECT ticketing.release_hold(:'reservation', 'ann@7003') = jsonb_build_object('reservation_id', :'reservation', 'released', true) AS released;
SELECT ticketing.release_hold(:'reservation', 'ann@7003') = jsonb_build_object('reservation_id', :'reservation', 'released', false) AS released_before;
SELECT * FROM pg_temp.stock(700306);
SELECT status, ended_at FROM ticketing.ticket_holds WHERE event_id = 700306;
SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
