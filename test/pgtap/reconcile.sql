-- What reconcile_orders finds wrong with orders of the engine's own, made wrong by other code; and what it does about that.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(40);

CREATE TEMP TABLE shop AS SELECT make_event(make_host('reconcile'), 1000) AS event;
-- What the sample has is another test's.
SELECT count(*) FROM ticketing.reconcile_orders(pace => 1) \g /dev/null
-- A run, as lines; what is in the way of an answer is shown, not hidden.
CREATE FUNCTION run() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT concat_ws(' ', kind, CASE WHEN repaired THEN 'repaired' ELSE 'left' END, substring(repair FROM '^Not repaired: ([^.]*)')) FROM ticketing.reconcile_orders(pace => 1) ORDER BY 1;
END
$$;
CREATE FUNCTION valid_tickets(of_order uuid) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT count(*) FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id WHERE k.order_id = of_order AND t.status = 'active');
END
$$;

CREATE TEMP TABLE o AS SELECT paid_order('anna', 3) AS anna, paid_order('bert', 3) AS bert, paid_order('carla', 3, seats => 3) AS carla, paid_order('dora', 3) AS dora, paid_order('emil', 3) AS emil, paid_order('fred', 3) AS fred;
SELECT is_empty('SELECT run()', 'orders that are right are no finding');

-- ---- tickets that are gone

DELETE FROM public.tickets WHERE id IN (SELECT ticket_id FROM ticketing.order_tickets, o WHERE order_id IN (anna, bert, carla)) AND NOT EXISTS (SELECT FROM ticketing.order_tickets k, o WHERE k.ticket_id = tickets.id AND order_id = bert AND ordinal = 1);
SELECT hold('next buyer', event, items(tier_of(carla), 3)) FROM shop, o \g /dev/null
SELECT results_eq('SELECT run()', $$ VALUES ('paid_without_tickets left PT409: 3 asked for, 0 available'),
  ('paid_without_tickets left some of its tickets are there still, so the others may have been deleted on purpose'), ('paid_without_tickets repaired') $$,
  'a paid order whose tickets were all deleted gets them anew if its seats are free; one that has some is a person''s, one whose seats are sold, too');
SELECT is(valid_tickets(anna), 3::bigint, 'as many as were paid for') FROM o;
SELECT is(seats_left(anna), 7, 'in seats that nobody else can buy now') FROM o;
SELECT is(valid_tickets(carla), 0::bigint, 'who buys next is not harmed') FROM o;
SELECT matches((SELECT qr_payload FROM public.tickets t JOIN ticketing.order_tickets k ON k.ticket_id = t.id, o WHERE order_id = anna LIMIT 1), '^.{62}$', 'they have codes');
SELECT set_eq('SELECT event FROM ticketing.order_events, o WHERE order_id = anna', $$ VALUES ('made'), ('succeeded'), ('issued_again') $$, 'and the order''s log says so');
SELECT is_empty('SELECT run()', 'a second run has nothing to add');
SELECT ticketing.release_hold(reservation_id, user_id) FROM ticketing.ticket_holds WHERE user_id = 'next buyer' \g /dev/null
SELECT results_eq('SELECT run()', $$ VALUES ('paid_without_tickets repaired') $$, 'when the seats are free again the next run issues them');
SELECT is_empty($$ SELECT kind FROM ticketing.findings f, o WHERE f.entity IN ('orders/' || anna, 'orders/' || carla) AND resolved_at IS NULL $$, 'and the finding is closed');

-- A free one, which no payment ties to its tickets.
CREATE TEMP TABLE gift AS SELECT free_order('gina', 2) AS id;
DELETE FROM public.tickets WHERE id IN (SELECT ticket_id FROM ticketing.order_tickets k JOIN gift g ON g.id = k.order_id);
SELECT results_eq('SELECT run()', $$ VALUES ('paid_without_tickets repaired') $$, 'free tickets that were deleted come back, too');
SELECT is(valid_tickets(id), 2::bigint, 'both') FROM gift;

-- ---- tickets that are too many

INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token, stripe_payment_intent_id, purchase_amount_cents)
SELECT t.event_id, t.ticket_type_id, t.user_id, 'again ' || t.id, t.stripe_payment_intent_id, 0 FROM public.tickets t JOIN ticketing.order_tickets k ON k.ticket_id = t.id, o WHERE order_id = dora;
SELECT is(seats_left(dora), 4, 'another handler issues the tickets of a payment a second time: seats are gone') FROM o;
SELECT results_eq('SELECT run()', $$ VALUES ('tickets_issued_twice repaired') $$, 'the surplus ends');
SELECT is(valid_tickets(dora), 3::bigint, 'the order''s own tickets stay, whatever the others say of themselves') FROM o;
SELECT is(seats_left(dora), 7, 'and the seats are back') FROM o;

-- ---- what the application is shown

UPDATE public.orders SET status = 'payment_failed' WHERE id = (SELECT emil FROM o);
UPDATE public.orders SET total_cents = 1, subtotal_cents = 1 WHERE id = (SELECT dora FROM o);
SELECT results_eq('SELECT run()', $$ VALUES ('order_amount_drift repaired'), ('order_status_drift repaired') $$, 'a status and an amount that other code has written are found');
SELECT results_eq('SELECT p.status, p.total_cents = e.total_cents AND p.subtotal_cents = e.subtotal_cents FROM public.orders p JOIN ticketing.orders e ON e.order_id = p.id, o WHERE p.id IN (emil, dora) ORDER BY 1',
  $$ VALUES ('paid', true), ('paid', true) $$, 'and shown as they are');
DELETE FROM public.orders WHERE id = (SELECT fred FROM o);
SELECT results_eq('SELECT run()', $$ VALUES ('order_missing left') $$, 'an order that was deleted is a person''s: its payment and tickets stand');
SELECT is(valid_tickets(fred), 3::bigint, 'its tickets open the door') FROM o;

-- ---- whom nobody believes

UPDATE public.events SET host_id = 'thief' WHERE id = (SELECT event FROM shop);
UPDATE public.organizer_accounts SET stripe_account_id = 'acct_thief' WHERE host_id = 'reconcile';
SELECT results_eq('SELECT run()', $$ VALUES ('host_drift left'), ('payee_drift left') $$, 'a host and an account that a client rewrote are findings');
SELECT is(payee_account, 'acct_reconcile', 'money goes where it went') FROM ticketing.orders WHERE order_id = (SELECT order_tickets('hans', event, items(make_tier(event), 1)) FROM shop);
SELECT is(attempt(format('SELECT ticketing.save_door_settings(%s, ''thief'', ''{}'')', event)), 'PT403 not_allowed', 'and the doors are whose they were') FROM shop;
UPDATE public.events SET host_id = 'reconcile' WHERE id = (SELECT event FROM shop);
UPDATE public.organizer_accounts SET stripe_account_id = 'acct_reconcile' WHERE host_id = 'reconcile';
SELECT is_empty('SELECT run()', 'written back,');
SELECT is(count(*), 2::bigint, 'both are closed') FROM ticketing.findings WHERE kind IN ('host_drift', 'payee_drift') AND resolution = 'gone';

-- ---- stock

SAVEPOINT sp;
UPDATE ticketing.stock_shards SET available = available + 5 WHERE (pool_id, shard) IN (SELECT pool_id, 0 FROM ticketing.stock_pools, o WHERE ticket_type_id = tier_of(emil));
SELECT is(seats_left(emil), 12, 'by a mistake in the table there are five seats more than there are') FROM o;
SELECT results_eq('SELECT run()', $$ VALUES ('stock_drift repaired') $$, 'stock that is not what tickets and holds leave of the capacity is found');
SELECT is(seats_left(emil), 7, 'and derived afresh') FROM o;

-- ---- orders that nobody ends, tickets that nobody paid for

DELETE FROM ticketing.stripe_requests WHERE state = 'ready';
SELECT ticketing.cancel_order(order_id, 'hans') FROM ticketing.orders WHERE user_id = 'hans' \g /dev/null
CREATE TEMP TABLE late AS SELECT order_tickets('ida', event, items(make_tier(event), 1)) AS id FROM shop;
SELECT wait_until(due_at + '59 minutes') FROM ticketing.orders, late WHERE order_id = id \g /dev/null
SELECT is_empty('SELECT run()', 'an order whose time is over for less than an hour waits for the next claim');
SELECT wait_until(due_at + '61 minutes') FROM ticketing.orders, late WHERE order_id = id \g /dev/null
SELECT results_eq('SELECT run()', $$ VALUES ('stuck_pending repaired') $$, 'after that nobody seems to look');
SELECT is(show(id, 'state'), 'expired', 'and it is ended') FROM late;

UPDATE public.orders SET stripe_payment_intent_id = 'pi_late' WHERE id = (SELECT id FROM late);
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token, stripe_payment_intent_id) SELECT event, tier_of(id), 'ida', 'unpaid', 'pi_late' FROM late, shop;
SELECT results_eq('SELECT run()', $$ VALUES ('unpaid_with_tickets left') $$, 'tickets of an order that was never paid are a finding');
UPDATE public.tickets SET stripe_payment_intent_id = 'pi_nobody' WHERE qr_token = 'unpaid';
SELECT results_eq('SELECT run()', $$ VALUES ('ticket_without_order left') $$, 'tickets of a payment that no order has are another');
SELECT is(kind || ' ' || resolution, 'unpaid_with_tickets gone', 'and the one that is none any more is closed') FROM ticketing.findings WHERE resolution = 'gone' ORDER BY id DESC LIMIT 1;
DELETE FROM public.tickets WHERE qr_token = 'unpaid';

-- ---- refunds

SELECT ticketing.refund_order(emil, 'reconcile') FROM o \g /dev/null
SELECT is_empty('SELECT run()', 'a refund that is under way is no finding, nor are its suspended tickets');
SELECT wait_until(ticketing.clock() + '25 hours') \g /dev/null
SELECT results_eq('SELECT run()', $$ VALUES ('refund_stuck left') $$, 'one that Stripe has not heard of for a day is');
UPDATE ticketing.refunds SET state = 'succeeded' WHERE order_id = (SELECT emil FROM o);
UPDATE ticketing.orders SET state = 'refunded' WHERE order_id = (SELECT emil FROM o);
UPDATE public.tickets SET status = 'active' WHERE id IN (SELECT ticket_id FROM ticketing.order_tickets, o WHERE order_id = emil);
SELECT results_eq('SELECT run()', $$ VALUES ('order_status_drift repaired') $$, 'an order that is refunded is shown as such');
SELECT results_eq('SELECT run()', $$ VALUES ('refunded_with_tickets left') $$, 'tickets of it that still open the door are a finding');

-- ---- how much at once

UPDATE public.orders SET status = 'created' WHERE id IN (SELECT unnest(ARRAY[anna, bert, carla, dora]) FROM o);
SELECT is((SELECT count(*) FROM ticketing.reconcile_orders(2, 1)), 2::bigint, 'no more are repaired or recorded at once than asked for');
SELECT is((SELECT count(*) FROM public.orders WHERE status = 'created' AND id IN (SELECT unnest(ARRAY[anna, bert, carla, dora]) FROM o)), 2::bigint, 'the others wait');
SELECT is((SELECT count(*) FROM ticketing.reconcile_orders(2, 1) WHERE repaired), 2::bigint, 'for the next run');

SELECT * FROM finish();
ROLLBACK;
