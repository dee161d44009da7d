-- The ledger: every figure is a sum over it, what an event has earned is rolled up behind the sales, and check_invariants
-- sees each way in which books and orders could disagree.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(51);

CREATE TEMP TABLE shop AS SELECT make_event(make_host('ledger')) AS event;

-- Two tickets of 25.00: fees of 3.25 on each side.
CREATE TEMP TABLE bought AS SELECT unpaid_order('ledger_buyer', 2) AS id;
SELECT is(pay(id), 'applied', 'two tickets are paid') FROM bought;
CREATE FUNCTION payment() RETURNS text LANGUAGE sql AS $$ SELECT intent(id, 'succeeded') ->> 'id' FROM bought $$;
CREATE FUNCTION lines(of_source text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT format('%s %s→%s %s', kind, from_account, to_account, amount_cents) FROM ticketing.ledger WHERE source = of_source
$$;

-- ---- a sale

SELECT set_eq($$ SELECT lines(payment()) $$,
  ARRAY['charge buyer→platform 5325', 'transfer platform→organizer 5325', 'buyer_fee organizer→platform 325', 'organizer_fee organizer→platform 325'],
  'the buyer has paid, all of it has gone to the organizer, who has given the fees');
SELECT is((SELECT pay(id) FROM bought), 'duplicate', 'told again');
SELECT is((SELECT count(*) FROM ticketing.ledger WHERE order_id = (SELECT id FROM bought)), 4::bigint, 'it is booked once');
SELECT results_eq($$ SELECT account, sum(cents)::bigint FROM ticketing.account_lines WHERE order_id = (SELECT id FROM bought) GROUP BY 1 ORDER BY 1 $$,
  $$ VALUES ('acct_ledger', 4675::bigint), ('platform', 650::bigint) $$, 'the organizer''s account has the prices less his fee, the platform''s both fees');
SELECT is(claim.n, 0::bigint, 'what is free is not booked') FROM (SELECT claim('ledger_free', make_tier(event, 0)) FROM shop) c, LATERAL (SELECT count(*) AS n FROM ticketing.ledger l WHERE l.order_id <> (SELECT id FROM bought) AND l.event_id = (SELECT event FROM shop)) claim;
SELECT throws_ok($$ INSERT INTO ticketing.ledger VALUES ('charge', 'pi_none', 'buyer', 'buyer', 1, 'usd', NULL, NULL, NULL, now()) $$, '23514', NULL, 'no booking goes from an account to itself');
SELECT throws_ok($$ INSERT INTO ticketing.ledger VALUES ('charge', 'pi_none', 'buyer', 'platform', -1, 'usd', NULL, NULL, NULL, now()) $$, '23514', NULL, 'nor backwards');
SELECT throws_ok(format($$ INSERT INTO ticketing.ledger VALUES ('charge', %L, 'buyer', 'platform', 1, 'usd', NULL, NULL, NULL, now()) $$, payment()), '23505', NULL, 'nor is a thing booked twice');

-- ---- what the event has earned

-- A booking by hand, as the engine would make it.
CREATE FUNCTION book(kind text, source text, from_account text, to_account text, cents integer) RETURNS void LANGUAGE sql AS $$
  INSERT INTO ticketing.ledger SELECT kind, source, from_account, to_account, cents, o.currency, o.event_id, o.order_id, o.payee_account, ticketing.clock() FROM ticketing.orders o JOIN bought b ON b.id = o.order_id
$$;
CREATE FUNCTION figures() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s: %s - %s, fees %s and %s, net %s', currency, gross_cents, refunds_cents, dvnt_fee_cents, stripe_fee_cents, net_cents), '; ') FROM shop, ticketing.event_financials(event, 'ledger')
$$;
CREATE FUNCTION rolled_up(of_event integer) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s - %s, fees %s and %s, net %s', gross_cents, refunds_cents, dvnt_fee_cents, stripe_fee_cents, net_cents) FROM public.event_financials WHERE event_id = of_event
$$;
SELECT is(figures(), 'usd: 5000 - 0, fees 650 and 0, net 4675', 'gross is the prices, the platform''s fees are both, net is the organizer''s');
SELECT is(attempt('SELECT * FROM shop, ticketing.event_financials(event, ''ledger_buyer'')'), 'PT403 not_allowed', 'a buyer is not told');
SELECT ticketing.add_co_organizer(event, 'ledger', 'ledger_scanner', 'scanner') FROM shop \g /dev/null
SELECT ticketing.accept_co_organizer(event, 'ledger_scanner') FROM shop \g /dev/null
SELECT is(attempt('SELECT * FROM shop, ticketing.event_financials(event, ''ledger_scanner'')'), 'PT403 not_allowed', 'nor who scans');
SELECT is(attempt('SELECT * FROM ticketing.event_financials(-1, ''ledger'')'), 'PT404 not_found', 'of what is not there nobody is');
SELECT is(attempt('SELECT * FROM ticketing.event_financials(NULL, ''ledger'')'), 'PT400 bad_request', 'an event is needed');
SELECT book('stripe_fee', 'txn_fee', 'platform', 'stripe', 184) \g /dev/null
SELECT is(figures(), 'usd: 5000 - 0, fees 650 and 184, net 4675', 'Stripe''s fee is the platform''s, not the organizer''s');

-- One ticket is given back.
CREATE TEMP TABLE given AS
WITH r AS (INSERT INTO ticketing.refunds (refund_id, order_id, event_id, payment_intent_id, reason, amount_cents, buyer_fee_cents, organizer_fee_cents, state, stripe_refund_id, created_at, updated_at)
           SELECT gen_random_uuid(), id, event, payment(), 'requested_by_customer', 2663, 163, 163, 'succeeded', 're_ledger', ticketing.clock(), ticketing.clock() FROM bought, shop RETURNING *),
t AS (INSERT INTO ticketing.refund_tickets SELECT r.refund_id, k.ticket_id, 2663, 163, 163 FROM r, ticketing.order_tickets k WHERE k.order_id = r.order_id ORDER BY k.ordinal LIMIT 1 RETURNING ticket_id)
SELECT r.refund_id::text AS id, t.ticket_id FROM r, t;
UPDATE public.tickets SET status = 'refunded' WHERE id = (SELECT ticket_id FROM given);
UPDATE ticketing.orders SET state = 'partially_refunded' WHERE order_id = (SELECT id FROM bought);
UPDATE public.orders SET status = 'partially_refunded' WHERE id = (SELECT id FROM bought);
INSERT INTO ticketing.order_events (order_id, at, event, from_state, to_state, source) SELECT id, ticketing.clock(), 'part_refunded', 'paid', 'partially_refunded', 'test' FROM bought;
SELECT book('refund', id, 'platform', 'buyer', 2663), book('reversal', id, 'organizer', 'platform', 2663), book('buyer_fee_refund', id, 'platform', 'organizer', 163), book('organizer_fee_refund', id, 'platform', 'organizer', 163) FROM given \g /dev/null
SELECT is(figures(), 'usd: 5000 - 2500, fees 324 and 184, net 2338', 'a ticket given back: its price, both its fees, and the organizer''s part');
SELECT book('rounding_up', 'txn_round', 'platform', 'organizer', 1) \g /dev/null
SELECT is(figures(), 'usd: 5000 - 2500, fees 323 and 184, net 2339', 'a cent that Stripe divided otherwise');
SELECT book('debt', 'd1', 'organizer_debt', 'platform_claim', 300) \g /dev/null
SELECT is(figures(), 'usd: 5000 - 2500, fees 323 and 184, net 2039', 'what the organizer owes is not his');
DELETE FROM ticketing.ledger WHERE source = 'd1';
SELECT book('payout', 'po_ledger', 'organizer', 'bank', 1000) \g /dev/null
SELECT is(figures(), 'usd: 5000 - 2500, fees 323 and 184, net 2339', 'that he is paid out does not change what he has earned');
DELETE FROM ticketing.ledger WHERE source = 'po_ledger';
SELECT set_eq('SELECT broken_invariants()', ARRAY[]::text[], 'the books are right');

-- ---- rolled up

SELECT is(rolled_up(event), NULL, 'nothing is rolled up yet') FROM shop;
SELECT is(ticketing.sync_event_financials(), 1, 'the event that has changed is rolled up');
SELECT is(rolled_up(event), '5000 - 2500, fees 323 and 184, net 2339', 'as it is') FROM shop;
SELECT is(ticketing.sync_event_financials(), 0, 'what has not changed is not written again');
SELECT is(ticketing.sync_event_financials(true), 0, 'nor is anything when all are looked at');
UPDATE public.event_financials SET net_cents = 7 WHERE event_id = (SELECT event FROM shop);
SELECT is(ticketing.sync_event_financials(true), 1, 'what other code writes there');
SELECT is(rolled_up(event), '5000 - 2500, fees 323 and 184, net 2339', 'is output only') FROM shop;
SELECT is(attempt('SELECT ticketing.sync_event_financials(NULL)'), 'PT400 bad_request', 'an answer is needed');

-- What was there before us: an event of the sample, whose host sells on.
CREATE TEMP TABLE before AS SELECT f.* FROM public.event_financials f JOIN ticketing.event_openings o USING (event_id) WHERE f.gross_cents > 0 AND f.refunds_cents > 0 ORDER BY f.event_id LIMIT 1;
SELECT is((SELECT count(*) FROM public.event_financials f JOIN ticketing.event_openings o USING (event_id) WHERE (f.gross_cents, f.refunds_cents, f.dvnt_fee_cents, f.stripe_fee_cents, f.net_cents, f.calculated_at) IS NOT DISTINCT FROM (o.gross_cents, o.refunds_cents, o.dvnt_fee_cents, o.stripe_fee_cents, o.net_cents, o.calculated_at)),
  (SELECT count(*) - 1 FROM public.event_financials), 'every row that there was at adoption is kept beside, and none was changed');
INSERT INTO ticketing.ledger SELECT kind, source || ' again', from_account, to_account, amount_cents, currency, b.event_id, NULL, payee_account, ticketing.clock() FROM ticketing.ledger, before b WHERE source = payment();
SELECT is(ticketing.sync_event_financials(), 1, 'it sells on');
SELECT is(rolled_up(event_id), format('%s - %s, fees %s and %s, net %s', gross_cents + 5000, refunds_cents, dvnt_fee_cents + 650, stripe_fee_cents, net_cents + 4675), 'what is rolled up is what was there and what the ledger has') FROM before;
SELECT is(ticketing.sync_event_financials(true), 0, 'once');
DELETE FROM ticketing.ledger WHERE source LIKE '% again';
-- An event whose row came after adoption, before the ledger had anything of it.
CREATE TEMP TABLE late AS SELECT make_event('ledger') AS event;
INSERT INTO public.event_financials (event_id, gross_cents, net_cents) SELECT event, 100, 90 FROM late;
INSERT INTO ticketing.ledger SELECT kind, source || ' late', from_account, to_account, amount_cents, currency, event, NULL, payee_account, ticketing.clock() FROM ticketing.ledger, late WHERE source = payment();
SELECT ticketing.sync_event_financials() \g /dev/null
SELECT is(rolled_up(event), '5100 - 0, fees 650 and 0, net 4765', 'what other code had written there by then is kept, too') FROM late;
DELETE FROM ticketing.ledger WHERE source LIKE '% late';

-- ---- each check fails where it should

-- The checks that a change by hand breaks; the change is undone.
CREATE FUNCTION broken_by(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  names text;
BEGIN
  EXECUTE statement;
  SELECT string_agg(DISTINCT split_part(b, ' ', 1), ' ') INTO names FROM broken_invariants() b;
  RAISE SQLSTATE 'UNDO0' USING MESSAGE = coalesce(names, 'none');
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
  RETURN SQLERRM;
END
$$;
CREATE FUNCTION our_order() RETURNS text LANGUAGE sql AS $$ SELECT quote_literal(id) FROM bought $$;
SELECT is(broken_by('DELETE FROM ticketing.ledger WHERE kind = ''charge'' AND source = payment()'), 'ledger_charged refunded_within_payment', 'ledger_charged: a payment without its charge, which nothing can be given back of');
SELECT is(broken_by('SELECT book(''charge'', ''pi_of_nobody'', ''buyer'', ''platform'', 100)'), 'ledger_charged', 'and a charge that nobody has paid');
SELECT is(broken_by('UPDATE ticketing.ledger SET amount_cents = 324 WHERE kind = ''buyer_fee'' AND source = payment()'), 'ledger_amounts', 'ledger_amounts: fees are the order''s');
SELECT is(broken_by('UPDATE ticketing.ledger SET amount_cents = 5324 WHERE kind = ''transfer'' AND source = payment()'), 'ledger_amounts', 'and all that was paid is transferred');
SELECT is(broken_by('DELETE FROM ticketing.ledger WHERE kind = ''refund'' AND source = (SELECT id FROM given)'), 'ledger_refunded', 'ledger_refunded: a refund without its booking');
SELECT is(broken_by('SELECT book(''refund'', ''a refund of nobody'', ''platform'', ''buyer'', 1)'), 'ledger_refunded', 'a booking without its refund');
SELECT is(broken_by('UPDATE ticketing.ledger SET amount_cents = 2000 WHERE kind = ''reversal'' AND source = (SELECT id FROM given)'), 'ledger_refunded', 'another part of the organizer''s');
SELECT is(broken_by('UPDATE ticketing.refunds SET state = ''failed'' WHERE refund_id::text = (SELECT id FROM given)'), 'ledger_refunded', 'a refund that failed and is booked still');
SELECT is(broken_by(format('UPDATE ticketing.ledger SET amount_cents = 5400 WHERE kind = ''refund'' AND source = %1$L; UPDATE ticketing.refunds SET amount_cents = 5400, reverses = false WHERE refund_id::text = %1$L; UPDATE ticketing.refund_tickets SET amount_cents = 5400 WHERE refund_id::text = %1$L', (SELECT id FROM given))),
  'ledger_balanced refunded_within_payment', 'refunded_within_payment, ledger_balanced: more given back than was paid');
SELECT is(broken_by('SELECT book(''reversal'', ''trr_more'', ''organizer'', ''platform'', 3000)'), 'ledger_balanced', 'or more taken from the organizer than he was given');
SELECT is(broken_by('SELECT book(''dispute'', ''txn_bank'', ''platform'', ''buyer'', 100)'), 'ledger_disputed', 'ledger_disputed: a bank took what nobody disputes');
SELECT is(broken_by('UPDATE ticketing.refund_tickets SET organizer_fee_cents = 162 WHERE refund_id::text = (SELECT id FROM given)'), 'refund_within_tickets', 'refund_within_tickets: a refund is not more than its tickets'' parts');
SELECT is(broken_by('UPDATE public.tickets SET status = ''active'' WHERE id = (SELECT ticket_id FROM given)'), 'refunded_ticket_ended', 'refunded_ticket_ended: what was given back opens no door');
SELECT is(broken_by(format('UPDATE ticketing.orders SET dispute = ''won'' WHERE order_id = %s', our_order())), 'dispute_of_order', 'dispute_of_order: an order whose dispute nobody knows');
SELECT is(broken_by(format('SELECT known_dispute(%1$s, ''dp_1'', 100, ''lost'', ''lost''); INSERT INTO ticketing.dispute_tickets SELECT ''dp_1'', ticket_id FROM ticketing.order_tickets WHERE order_id = %1$s', our_order())),
  'disputed_ticket_suspended', 'disputed_ticket_suspended: what a bank took back opens no door');
CREATE FUNCTION disputed(status text) RETURNS text LANGUAGE sql AS $$
  SELECT format('SELECT known_dispute(%1$s, ''dp_1'', 100, ''needs_response'', ''open''); UPDATE ticketing.orders SET dispute = ''open'' WHERE order_id = %1$s; UPDATE public.orders SET status = %2$L WHERE id = %1$s', our_order(), status)
$$;
SELECT is(broken_by(disputed('partially_refunded')), 'order_projected', 'order_projected: a dispute lies over the state');
SELECT is(broken_by(disputed('disputed')), 'none', 'and is shown');
SELECT is(broken_by('INSERT INTO ticketing.payout_events (payout_id, event_id, amount_cents, gross_cents, public_id) SELECT ''po_none'', event, 1, 1, gen_random_uuid() FROM shop'), 'payout_divided', 'payout_divided: events have no more of a payout than it was');

SELECT * FROM finish();
ROLLBACK;
