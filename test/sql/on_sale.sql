-- What is for sale, when and to whom: windows, closed events, limits per user.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7004);
CALL pg_temp.new_payee();

-- A sale is open from sale_start on and closed at sale_end, both exact; every way to buy says the same.
CALL pg_temp.new_event(700401);
CALL pg_temp.new_tier(700401, 1, 100, 0, NULL, '2040-05-01 17:00+00', '2040-05-01 18:00+00');
CREATE FUNCTION pg_temp.ways_to_buy() RETURNS TABLE (hold text, claim text, pay text) LANGUAGE sql AS $$
  SELECT pg_temp.hold('ann@7004', 700401, 1),
         pg_temp.refusal(format($q$SELECT ticketing.claim_free_tickets('ann@7004', 700401, %L)$q$, pg_temp.cart(700401, 1))),
         pg_temp.refusal(format($q$SELECT ticketing.create_payment_intent('ann@7004', 700401, %L)$q$, pg_temp.cart(700401, 1)))
$$;
SELECT instant, w.hold, w.hold = w.claim AS claim_same, w.hold = w.pay OR w.pay LIKE 'PT409 wrong_state%' AS pay_same
FROM (VALUES ('2040-05-01 16:59:59.999999+00'), ('2040-05-01 17:00:00+00'), ('2040-05-01 17:59:59.999999+00'), ('2040-05-01 18:00:00+00')) AS i (instant),
     LATERAL (SELECT (pg_temp.ways_to_buy()).* FROM pg_temp.clock_at(instant::timestamptz) OFFSET 0) w;
-- Half open windows, and one tier of two that is closed: nothing is held of the other.
CALL pg_temp.new_event(700402);
CALL pg_temp.new_tier(700402, 1, 10, 0, NULL, '2040-05-01 17:00+00');
CALL pg_temp.new_tier(700402, 2, 10, 0, NULL, NULL, '2040-05-01 17:00+00');
CALL pg_temp.at('2040-05-01 17:00+00');
SELECT pg_temp.hold('ann@7004', 700402, 1) AS started, pg_temp.hold('ann@7004', 700402, 0, 1) AS ended, pg_temp.hold('ann@7004', 700402, 1, 1) AS both;
SELECT tier, available, held FROM pg_temp.stock(700402);
-- The window is an instant: in the night when clocks go back, 02:30 comes twice, and one of them is after the end.
CALL pg_temp.new_event(700403);
CALL pg_temp.new_tier(700403, 1, 10, 0, NULL, NULL, '2040-10-28 02:30+02');
SET timezone = 'Europe/Vienna';
CALL pg_temp.at('2040-10-28 02:29:59+02');
SELECT pg_temp.hold('ann@7004', 700403, 1) AS before_it;
CALL pg_temp.at('2040-10-28 02:29:59+01');
SELECT pg_temp.hold('ann@7004', 700403, 1) AS same_wall_clock_an_hour_later;
SET timezone = 'UTC';

-- Held while the sale was open and paid after its end: honoured; with nothing held it is too late.
CALL pg_temp.new_event(700404);
CALL pg_temp.new_tier(700404, 1, 10, 1000, NULL, NULL, '2040-05-01 18:00+00');
CALL pg_temp.at('2040-05-01 17:58+00');
SELECT ticketing.hold_tickets('ann@7004', 700404, pg_temp.cart(700404, 2)) ->> 'reservation_id' AS reservation \gset
CALL pg_temp.at('2040-05-01 18:05+00');
SELECT pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7004', 700404, reservation_id => %L)$$, :'reservation')) AS held_before,
       pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7004', 700404, %L)$$, pg_temp.cart(700404, 1))) AS not_held;
-- The same when the event was closed meanwhile.
CALL pg_temp.new_event(700405);
CALL pg_temp.new_tier(700405, 1, 10, 1000);
SELECT ticketing.hold_tickets('ann@7004', 700405, pg_temp.cart(700405, 2)) ->> 'reservation_id' AS reservation \gset
UPDATE public.events SET ticketing_enabled = false WHERE id = 700405;
SELECT pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7004', 700405, reservation_id => %L)$$, :'reservation')) AS held_before, pg_temp.hold('ann@7004', 700405, 1) AS not_held;

-- ticketing_enabled: false sells nothing, NULL is what old rows have and sells.
CALL pg_temp.new_event(700406, NULL, false);
CALL pg_temp.new_tier(700406, 1, 10);
CALL pg_temp.new_event(700407, NULL, NULL);
CALL pg_temp.new_tier(700407, 1, 10);
SELECT pg_temp.hold('ann@7004', 700406, 1) AS disabled, pg_temp.refusal(format($$SELECT ticketing.claim_free_tickets('ann@7004', 700406, %L)$$, pg_temp.cart(700406, 1))) AS disabled_claim,
       pg_temp.hold('ann@7004', 700407, 1) AS unset;
SELECT available FROM pg_temp.stock(700406);

-- At most so many a user, tickets and live holds together: 2 paid and 2 held leave nothing of 4, a hold that ends leaves 2.
CALL pg_temp.at('2040-05-01 12:00+00');
CALL pg_temp.new_event(700408);
CALL pg_temp.new_tier(700408, 1, 100, 0, 4);
CALL pg_temp.new_tier(700408, 2, 100, 0, 0);
CALL pg_temp.new_tier(700408, 3, 100, 0, NULL);
SELECT pg_temp.hold('ann@7004', 700408, 5) AS five_at_once, pg_temp.hold('ann@7004', 700408, 0, 1) AS of_none, pg_temp.hold('ann@7004', 700408, 0, 0, 50) AS unlimited;
SELECT ticketing.claim_free_tickets('ann@7004', 700408, pg_temp.cart(700408, 2)) ->> 'state' AS two_owned;
SELECT pg_temp.hold('ann@7004', 700408, 2) AS two_held;
SELECT pg_temp.hold('ann@7004', 700408, 1) AS one_more,
       pg_temp.refusal(format($$SELECT ticketing.claim_free_tickets('ann@7004', 700408, %L)$$, pg_temp.cart(700408, 1))) AS one_claimed,
       pg_temp.hold('bob@7004', 700408, 4) AS somebody_else;
CALL pg_temp.later('10 min');
SELECT pg_temp.hold('ann@7004', 700408, 1) AS first, pg_temp.hold('ann@7004', 700408, 1) AS second, pg_temp.hold('ann@7004', 700408, 1) AS third;
-- Tickets that are void or refunded, also by other code, count no more; scanned ones do. Released holds do not.
UPDATE public.tickets SET status = 'refunded' WHERE id = (SELECT id FROM public.tickets WHERE event_id = 700408 ORDER BY id LIMIT 1);
UPDATE public.tickets SET status = 'scanned' WHERE id = (SELECT id FROM public.tickets WHERE event_id = 700408 ORDER BY id DESC LIMIT 1);
SELECT ticketing.release_hold(reservation_id, user_id) -> 'released' AS released FROM ticketing.ticket_holds
WHERE event_id = 700408 AND user_id = 'ann@7004' AND status = 'active' AND right(ticket_type_id::text, 1) = '1' AND expires_at > ticketing.clock() ORDER BY id LIMIT 1;
SELECT pg_temp.hold('ann@7004', 700408, 2) AS two, pg_temp.hold('ann@7004', 700408, 1) AS one_more;
-- The limit is each tier's and each event's own; an item twice is one demand; the limit also holds for what is being paid, past its end, too.
CALL pg_temp.new_event(700409);
CALL pg_temp.new_tier(700409, 1, 100, 1000, 4);
CALL pg_temp.new_tier(700409, 2, 100, 1000, 4);
SELECT pg_temp.hold('ann@7004', 700409, 4, 4) AS each_tier;
SELECT pg_temp.refusal(format($$SELECT ticketing.hold_tickets('bob@7004', 700409, %L)$$, pg_temp.cart(700409, 2) || pg_temp.cart(700409, 3))) AS twice;
SELECT ticketing.create_payment_intent('cid@7004', 700409, pg_temp.cart(700409, 3)) -> 'total_cents' AS being_paid;
CALL pg_temp.later('10 min');
SELECT pg_temp.hold('cid@7004', 700409, 2) AS while_being_paid;

SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
