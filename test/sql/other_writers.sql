-- The application's own code writes public's tables: stock follows its sales, and its capacities are the engine's.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7006);
CREATE FUNCTION pg_temp.figures(event integer) RETURNS text LANGUAGE sql AS $$
  SELECT (SELECT string_agg(format('%s: %s free, %s held, %s sold of %s', tier, coalesce(available::text, 'any'), held, sold, coalesce(capacity::text, 'any')), '; ' ORDER BY tier) FROM pg_temp.stock(event))
      || coalesce((SELECT '; deficit ' || string_agg(deficit::text, ', ' ORDER BY ticket_type_id) FROM ticketing.stock_pools WHERE event_id = event AND deficit > 0), '')
$$;
-- A sale as the application makes it.
CREATE PROCEDURE pg_temp.sell(event integer, n integer, count integer, state text DEFAULT 'active') LANGUAGE sql AS $$
  INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token, status)
  SELECT event, pg_temp.tier(event, n), 'legacy@7006', encode(sha256(convert_to(format('%s %s %s %s', event, n, state, g) || clock_timestamp(), 'UTF8')), 'hex'), state FROM generate_series(1, count) g
$$;

-- A sale, refund, change of tier, deletion by other code moves the tiers' and the event's stock; void and refunded tickets never were stock.
CALL pg_temp.new_event(700601, 10);
CALL pg_temp.new_tier(700601, 1, 6);
CALL pg_temp.new_tier(700601, 2, 6);
CALL pg_temp.sell(700601, 1, 3);
CALL pg_temp.sell(700601, 2, 1, 'scanned');
CALL pg_temp.sell(700601, 2, 4, 'void');
CALL pg_temp.sell(700601, 2, 4, 'refunded');
SELECT pg_temp.figures(700601) AS sold;
UPDATE public.tickets SET status = 'scanned' WHERE event_id = 700601 AND status = 'active';
SELECT pg_temp.figures(700601) AS scanned;
UPDATE public.tickets SET status = 'refunded' WHERE id = (SELECT id FROM public.tickets WHERE event_id = 700601 AND ticket_type_id = pg_temp.tier(700601, 1) ORDER BY id LIMIT 1);
SELECT pg_temp.figures(700601) AS refunded;
UPDATE public.tickets SET status = 'active' WHERE event_id = 700601 AND status = 'void';
SELECT pg_temp.figures(700601) AS revived;
UPDATE public.tickets SET ticket_type_id = pg_temp.tier(700601, 1) WHERE id IN (SELECT id FROM public.tickets WHERE event_id = 700601 AND ticket_type_id = pg_temp.tier(700601, 2) AND status = 'active' ORDER BY id LIMIT 2);
SELECT pg_temp.figures(700601) AS other_tier;
UPDATE public.tickets SET checked_in_at = now(), purchase_amount_cents = 5 WHERE event_id = 700601;
DELETE FROM public.tickets WHERE event_id = 700601 AND status IN ('active', 'scanned');
SELECT pg_temp.figures(700601) AS deleted;
DELETE FROM public.tickets WHERE event_id = 700601;
SELECT pg_temp.figures(700601) AS all_deleted;
-- A sale that is rolled back was none.
BEGIN;
CALL pg_temp.sell(700601, 1, 5);
SELECT pg_temp.figures(700601) AS in_the_transaction;
ROLLBACK;
SELECT pg_temp.figures(700601) AS rolled_back;
SELECT * FROM ticketing.check_invariants();

-- Oversold by other code: the sale stands, the deficit is reported, and every return pays it before anything is for sale again.
CALL pg_temp.new_event(700602);
CALL pg_temp.new_tier(700602, 1, 4);
SELECT ticketing.hold_tickets('ann@7006', 700602, pg_temp.cart(700602, 3)) ->> 'reservation_id' AS reservation \gset
CALL pg_temp.sell(700602, 1, 3);
SELECT pg_temp.figures(700602) AS oversold;
SELECT check_name, replace(entity, pg_temp.tier(700602, 1)::text, '700602/1') AS entity, detail FROM ticketing.check_invariants();
SELECT pg_temp.hold('bob@7006', 700602, 1);
DELETE FROM public.tickets WHERE id = (SELECT id FROM public.tickets WHERE event_id = 700602 ORDER BY id LIMIT 1);
SELECT pg_temp.figures(700602) AS one_deleted;
SELECT ticketing.release_hold(:'reservation', 'ann@7006') -> 'released' AS released;
SELECT pg_temp.figures(700602) AS three_released;
SELECT pg_temp.hold('bob@7006', 700602, 3) AS three, pg_temp.hold('bob@7006', 700602, 2) AS two;
-- Dead holds pay it as well, before the next buyer is served.
CALL pg_temp.sell(700602, 1, 1);
SELECT pg_temp.figures(700602) AS oversold_again;
CALL pg_temp.later('10 min');
SELECT pg_temp.figures(700602) AS hold_is_dead;
SELECT pg_temp.hold('bob@7006', 700602, 2) AS two, pg_temp.hold('bob@7006', 700602, 1) AS one;
SELECT pg_temp.figures(700602) AS full;
SELECT * FROM ticketing.check_invariants();

-- Capacity raised: for sale at once. Cut: down to what is sold and held, below it refused with the figures and nothing changed.
CALL pg_temp.new_event(700603, 10);
CALL pg_temp.new_tier(700603, 1, 5);
CALL pg_temp.sell(700603, 1, 2);
SELECT pg_temp.hold('ann@7006', 700603, 2) AS two_held, pg_temp.hold('ann@7006', 700603, 2) AS two_more;
UPDATE public.ticket_types SET quantity_total = 6 WHERE event_id = 700603;
SELECT pg_temp.figures(700603) AS raised, pg_temp.hold('ann@7006', 700603, 2) AS two_more;
SELECT pg_temp.refusal('UPDATE public.ticket_types SET quantity_total = 5 WHERE event_id = 700603') AS tier_too_low,
       pg_temp.refusal('UPDATE public.ticket_types SET quantity_total = -1 WHERE event_id = 700603') AS tier_negative,
       pg_temp.refusal('UPDATE public.events SET max_attendees = 5.9 WHERE id = 700603') AS event_too_low;
UPDATE public.events SET max_attendees = 6.5 WHERE id = 700603;
SELECT pg_temp.figures(700603) AS unchanged, (SELECT capacity FROM ticketing.event_settings WHERE event_id = 700603) AS event_capacity;
UPDATE public.ticket_types SET quantity_total = 600 WHERE event_id = 700603;
SELECT pg_temp.figures(700603) AS tier_raised, pg_temp.hold('bob@7006', 700603, 1) AS event_is_full;
UPDATE public.events SET max_attendees = 500 WHERE id = 700603;
SELECT pg_temp.figures(700603) AS event_raised;
UPDATE public.ticket_types SET quantity_total = 6 WHERE event_id = 700603;
SELECT pg_temp.figures(700603) AS tier_cut;
-- Limits that go and come: an unlimited tier is counted when it gets one.
UPDATE public.ticket_types SET quantity_total = NULL WHERE event_id = 700603;
UPDATE public.events SET max_attendees = NULL WHERE id = 700603;
SELECT pg_temp.figures(700603) AS unlimited, pg_temp.hold('bob@7006', 700603, 100) AS a_hundred;
SELECT pg_temp.refusal('UPDATE public.ticket_types SET quantity_total = 105 WHERE event_id = 700603') AS too_low;
UPDATE public.ticket_types SET quantity_total = 107 WHERE event_id = 700603;
UPDATE public.events SET max_attendees = 106 WHERE id = 700603;
SELECT pg_temp.figures(700603) AS limited_again, pg_temp.hold('bob@7006', 700603, 1) AS event_is_full;
SELECT * FROM ticketing.check_invariants();

-- An oversold tier may be raised (and pays), and its capacity rewritten as it is; it may not be cut further.
CALL pg_temp.new_event(700604);
CALL pg_temp.new_tier(700604, 1, 2);
CALL pg_temp.sell(700604, 1, 5);
SELECT pg_temp.figures(700604) AS oversold;
UPDATE public.ticket_types SET quantity_total = 4 WHERE event_id = 700604;
SELECT pg_temp.figures(700604) AS raised, pg_temp.refusal('UPDATE public.ticket_types SET quantity_total = 3 WHERE event_id = 700604') AS cut;
UPDATE public.ticket_types SET quantity_total = quantity_total, name = 'Same' WHERE event_id = 700604;
UPDATE public.ticket_types SET quantity_total = 6 WHERE event_id = 700604;
SELECT pg_temp.figures(700604) AS raised_above;

-- quantity_sold is output only: what other code writes there is replaced, NULL too, on insert and update.
CALL pg_temp.new_event(700605);
INSERT INTO public.ticket_types (id, event_id, name, quantity_total, quantity_sold) VALUES (pg_temp.tier(700605, 1), 700605, 'Tier 1', 10, 7), (pg_temp.tier(700605, 2), 700605, 'Tier 2', 10, NULL);
CALL pg_temp.sell(700605, 1, 2);
UPDATE public.ticket_types SET quantity_sold = quantity_sold + 5, price_cents = 500 WHERE event_id = 700605;
UPDATE public.ticket_types SET quantity_sold = NULL WHERE event_id = 700605;
SELECT pg_temp.figures(700605) AS figures;
SELECT ticketing.sync_quantity_sold() >= 0 AS rolled_up;
SELECT right(id::text, 1) AS tier, price_cents, quantity_sold FROM public.ticket_types WHERE event_id = 700605 ORDER BY id;

-- A tier stays what and where it is; one with seats in buyers' hands cannot be deleted, one with tickets alone can.
SELECT pg_temp.refusal('UPDATE public.ticket_types SET event_id = 700604 WHERE event_id = 700605 AND id = pg_temp.tier(700605, 1)') AS moved,
       pg_temp.refusal('UPDATE public.ticket_types SET id = pg_temp.tier(700605, 9) WHERE id = pg_temp.tier(700605, 1)') AS renamed;
SELECT pg_temp.hold('ann@7006', 700605, 0, 1) AS held;
SELECT pg_temp.refusal('DELETE FROM public.ticket_types WHERE id = pg_temp.tier(700605, 2)') AS deleted,
       pg_temp.refusal('DELETE FROM public.events WHERE id = 700605') AS event_deleted;
SELECT ticketing.release_hold(reservation_id, user_id) -> 'released' AS released FROM ticketing.ticket_holds WHERE event_id = 700605 LIMIT 1;
DELETE FROM public.ticket_types WHERE id = pg_temp.tier(700605, 2);
SELECT pg_temp.figures(700605) AS without_it, count(*) AS pools FROM ticketing.stock_pools WHERE event_id = 700605;
DELETE FROM public.events WHERE id = 700605;
SELECT count(*) AS pools FROM ticketing.stock_pools WHERE event_id = 700605;
SELECT pg_temp.hold('ann@7006', 700605, 1) AS gone;

-- A client that rewrites the host or the payee changes nothing for the engine: money and doors stay where they were.
CALL pg_temp.new_event(700606);
CALL pg_temp.new_tier(700606, 1, 10, 1000);
CALL pg_temp.new_payee();
UPDATE public.events SET host_id = 'mallory@7006' WHERE id = 700606;
INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled) VALUES ('mallory@7006', 'acct_mallory', true);
UPDATE public.organizer_accounts SET stripe_account_id = 'acct_mallory2' WHERE host_id = 'host@7006';
SELECT ticketing.create_payment_intent('ann@7006', 700606, pg_temp.cart(700606, 1)) ? 'order_id' AS paying;
SELECT o.host_id, o.payee_account, r.params #>> '{transfer_data,destination}' AS destination
FROM ticketing.orders o JOIN ticketing.stripe_requests r USING (order_id) WHERE o.event_id = 700606;
SELECT ticketing.check_in(repeat('0', 64), 700606, who) ->> 'result' AS at_the_door FROM (VALUES ('mallory@7006'), ('host@7006')) w (who);

SELECT check_name, replace(entity, pg_temp.tier(700604, 1)::text, '700604/1') AS entity, detail FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
