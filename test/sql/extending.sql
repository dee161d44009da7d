-- Extending a hold: for the usual time from now, never past its maximum age, never shorter; refused, it changes nothing.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7016);
CALL pg_temp.new_payee();
CALL pg_temp.new_event(701601, 10);
CALL pg_temp.new_tier(701601, 1, 10, 1000);
CALL pg_temp.new_tier(701601, 2, 10, 1000);
SELECT ticketing.clock() AS begun \gset
SELECT ticketing.hold_tickets('ann@7016', 701601, pg_temp.cart(701601, 2, 3)) ->> 'reservation_id' AS reservation \gset
CREATE FUNCTION pg_temp.extend(reservation uuid, since timestamptz, who text DEFAULT 'ann@7016') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  verdict text := pg_temp.refusal(format('SELECT ticketing.extend_hold(%L, %L)', reservation, who));
BEGIN
  RETURN concat_ws(', ends after ', replace(verdict, reservation::text, 'RESERVATION'), (SELECT string_agg(DISTINCT (expires_at - since)::text, ' and ') FROM ticketing.ticket_holds WHERE reservation_id = reservation));
END
$$;

-- The answer: the same reservation, its new end, what it holds; both rows end together.
CALL pg_temp.later('4 min');
SELECT a ->> 'reservation_id' = :'reservation' AS same, (a ->> 'expires_at')::timestamptz - :'begun' AS ends_after, a -> 'items' = pg_temp.cart(701601, 2, 3) AS items
FROM ticketing.extend_hold(:'reservation', 'ann@7016') a;
SELECT pg_temp.extend(:'reservation', :'begun') AS at_once_again;
SELECT * FROM pg_temp.stock(701601);
-- A stranger learns nothing.
SELECT pg_temp.extend(:'reservation', :'begun', 'bob@7016') AS by_a_stranger;
-- Never past half an hour after it was made; there, refused with the figure.
CALL pg_temp.later('9 min');
SELECT pg_temp.extend(:'reservation', :'begun') AS after_13_min;
CALL pg_temp.later('9 min 59 s');
SELECT pg_temp.extend(:'reservation', :'begun') AS after_22_min_59_s;
SELECT pg_temp.extend(:'reservation', :'begun') AS at_its_maximum;
-- The event's own time counts, and what is longer than that is not shortened.
UPDATE ticketing.event_settings SET hold_ttl = '2 min' WHERE event_id = 701601;
SELECT ticketing.clock() AS begun \gset
SELECT ticketing.hold_tickets('bob@7016', 701601, pg_temp.cart(701601, 1), '5 min') ->> 'reservation_id' AS reservation \gset
SELECT pg_temp.extend(:'reservation', :'begun', 'bob@7016') AS not_shortened;
CALL pg_temp.later('4 min 59.999999 s');
SELECT pg_temp.extend(:'reservation', :'begun', 'bob@7016') AS live_for_a_microsecond;
CALL pg_temp.later('2 min');
SELECT pg_temp.extend(:'reservation', :'begun', 'bob@7016') AS dead;
-- Released, behind an order, paid: refused.
SELECT ticketing.hold_tickets('cid@7016', 701601, pg_temp.cart(701601, 1)) ->> 'reservation_id' AS reservation \gset
SELECT ticketing.release_hold(:'reservation', 'cid@7016') -> 'released' AS released;
SELECT regexp_replace(pg_temp.extend(:'reservation', ticketing.clock(), 'cid@7016'), ', ends.*', '') AS released;
SELECT ticketing.hold_tickets('cid@7016', 701601, pg_temp.cart(701601, 1)) ->> 'reservation_id' AS reservation \gset
SELECT ticketing.create_payment_intent('cid@7016', 701601, reservation_id => :'reservation') ->> 'order_id' AS ordered \gset
SELECT replace(pg_temp.extend(:'reservation', ticketing.clock(), 'cid@7016'), :'ordered', 'ORDER') AS ordered;
SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
