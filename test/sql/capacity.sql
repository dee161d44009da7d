-- Stock: capacities of tiers and events, carts that are held whole or not at all, figures that add up at every step.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7005);

-- NULL is unlimited and 0 is none, for tiers and events; a fraction of a place is none; a negative capacity is none.
CALL pg_temp.new_event(700501);
CALL pg_temp.new_tier(700501, 1, NULL);
CALL pg_temp.new_tier(700501, 2, 0);
CALL pg_temp.new_tier(700501, 3, 1);
CALL pg_temp.new_tier(700501, 4, -3);
CALL pg_temp.new_event(700502, 0);
CALL pg_temp.new_tier(700502, 1, NULL);
CALL pg_temp.new_event(700503, 2.9);
CALL pg_temp.new_tier(700503, 1, NULL);
CALL pg_temp.new_event(700504, -5);
CALL pg_temp.new_tier(700504, 1, 10);
SELECT e AS event, s.* FROM generate_series(700501, 700504) e, pg_temp.stock(e) s;
SELECT pg_temp.hold('ann@7005', 700501, 1000000) AS unlimited, pg_temp.hold('ann@7005', 700501, 0, 1) AS none, pg_temp.hold('ann@7005', 700501, 0, 0, 1) AS the_last;
SELECT event, pg_temp.hold('ann@7005', event, quantity) FROM (VALUES (700502, 1), (700503, 3), (700503, 2), (700504, 1)) c (event, quantity);
SELECT e AS event, s.* FROM generate_series(700501, 700504) e, pg_temp.stock(e) s;

-- Exactly as many as there are can be sold, in whatever portions: seats dealt to shards are found together.
CALL pg_temp.new_event(700505);
CALL pg_temp.new_tier(700505, 1, 1000);
SELECT pg_temp.hold('ann@7005', 700505, 1001) AS one_too_many, pg_temp.hold('ann@7005', 700505, 1000) AS all_at_once;
CALL pg_temp.later('10 min');
CREATE PROCEDURE pg_temp.hold_often(times integer, quantity integer, INOUT held integer DEFAULT 0, INOUT refused integer DEFAULT 0) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..times LOOP
    IF pg_temp.hold('ann@7005', 700505, quantity) = 'no error' THEN
      held := held + 1;
    ELSE
      refused := refused + 1;
    END IF;
    COMMIT;
  END LOOP;
END
$$;
CALL pg_temp.hold_often(143, 7);
SELECT pg_temp.hold('ann@7005', 700505, 6) AS the_rest;
SELECT * FROM pg_temp.stock(700505);
CALL pg_temp.later('10 min');
CALL pg_temp.hold_often(1002, 1);
SELECT * FROM pg_temp.stock(700505);

-- A(60) and B(60) share 100 places: with 60 of A held, 41 of B are refused and 40 accepted.
CALL pg_temp.new_event(700506, 100);
CALL pg_temp.new_tier(700506, 1, 60);
CALL pg_temp.new_tier(700506, 2, 60);
SELECT pg_temp.hold('ann@7005', 700506, 61) AS more_than_the_tier, pg_temp.hold('ann@7005', 700506, 60) AS tier_a;
SELECT * FROM pg_temp.stock(700506);
SELECT pg_temp.hold('bob@7005', 700506, 0, 41) AS forty_one;
SELECT pg_temp.hold('bob@7005', 700506, 0, 40) AS forty;
SELECT * FROM pg_temp.stock(700506);
SELECT pg_temp.hold('bob@7005', 700506, 0, 1) AS one_more;

-- Of two tiers the second is short: nothing stays held, in either order, also when the event is what is short.
CALL pg_temp.new_event(700507);
CALL pg_temp.new_tier(700507, 1, 10);
CALL pg_temp.new_tier(700507, 2, 1);
CALL pg_temp.new_tier(700507, 3, 10);
CALL pg_temp.new_event(700508, 3);
CALL pg_temp.new_tier(700508, 1, 2);
CALL pg_temp.new_tier(700508, 2, 2);
CREATE TEMP TABLE before AS SELECT pg_temp.everything() AS everything;
SELECT pg_temp.hold('ann@7005', 700507, 1, 2) AS second, pg_temp.hold('ann@7005', 700507, 0, 2, 1) AS first, pg_temp.hold('ann@7005', 700507, 1, 2, 1) AS middle, pg_temp.hold('ann@7005', 700507, 11, 1, 11) AS two;
SELECT pg_temp.hold('ann@7005', 700508, 2, 2) AS event;
SELECT pg_temp.refusal(format($$SELECT ticketing.claim_free_tickets('ann@7005', 700507, %L)$$, pg_temp.cart(700507, 1, 2))) AS claim;
SELECT b.everything = pg_temp.everything() AS nothing_written FROM before b;
-- The same when one tier's dead holds would do and the other's would not: what is taken back stays consistent.
SELECT pg_temp.hold('ann@7005', 700507, 10) AS all_of_one;
CALL pg_temp.later('10 min');
SELECT pg_temp.hold('bob@7005', 700507, 10, 2) AS second_short, pg_temp.hold('bob@7005', 700507, 10, 1) AS whole;
SELECT * FROM pg_temp.stock(700507);
-- Several holds in one transaction, and a part of it rolled back: as if the part had never been.
CALL pg_temp.later('10 min');
BEGIN;
SELECT pg_temp.hold('ann@7005', 700507, 4, 1, 4) AS first;
SAVEPOINT a;
SELECT pg_temp.hold('ann@7005', 700507, 6, 0, 6) AS second;
ROLLBACK TO a;
SELECT pg_temp.hold('ann@7005', 700507, 6) AS again;
COMMIT;
SELECT * FROM pg_temp.stock(700507);

-- What is for sale through a sale's life: held, released, claimed, expired, refunded; the tier's and the event's figures agree.
CALL pg_temp.new_event(700509, 8);
CALL pg_temp.new_tier(700509, 1, 5);
CALL pg_temp.new_tier(700509, 2, NULL);
CREATE FUNCTION pg_temp.figures() RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(format('%s: %s available, %s held, %s sold, next %s', tier, available, held, sold, coalesce(to_char(next_release_at - ticketing.clock(), 'MI:SS'), 'never')), '; ' ORDER BY tier) FROM pg_temp.stock(700509) $$;
SELECT pg_temp.figures() AS new;
SELECT ticketing.hold_tickets('ann@7005', 700509, pg_temp.cart(700509, 2, 1)) ->> 'reservation_id' AS reservation \gset
SELECT pg_temp.figures() AS held;
SELECT ticketing.claim_free_tickets('bob@7005', 700509, pg_temp.cart(700509, 2, 2)) ? 'order_id' AS claimed;
SELECT pg_temp.figures() AS claimed;
SELECT pg_temp.hold('cid@7005', 700509, 0, 2) AS too_many;
CALL pg_temp.later('4 min');
SELECT pg_temp.hold('cid@7005', 700509, 0, 1) AS the_last;
SELECT pg_temp.figures() AS full;
SELECT ticketing.release_hold(:'reservation', 'ann@7005') -> 'released' AS released;
SELECT pg_temp.figures() AS released;
CALL pg_temp.later('10 min');
SELECT pg_temp.figures() AS expired;
UPDATE public.tickets SET status = 'refunded' WHERE id = (SELECT min(id::text)::uuid FROM public.tickets WHERE event_id = 700509 AND ticket_type_id = pg_temp.tier(700509, 1));
SELECT pg_temp.figures() AS refunded;
-- The rolled-up column says the same as what is sold.
SELECT ticketing.sync_quantity_sold() >= 0 AS rolled_up;
SELECT right(id::text, 1) AS tier, quantity_sold FROM public.ticket_types WHERE event_id = 700509 ORDER BY id;

SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
