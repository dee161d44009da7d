-- Money that is given back: which tickets, how much, when, and what happens when it does not arrive.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(124);

CREATE TEMP TABLE shop AS SELECT make_event(make_host('refunds')) AS event;
-- The refund's answer as a line; and as an object at Stripe.
CREATE FUNCTION refund(of_order uuid, of_tickets uuid[] DEFAULT NULL, by_force boolean DEFAULT false) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said jsonb := ticketing.refund_order(of_order, 'refunds', of_tickets, force => by_force);
BEGIN
  RETURN concat_ws(' ', said ->> 'state', said ->> 'amount_cents', said ->> 'order_state', jsonb_array_length(said -> 'ticket_ids'));
END
$$;
CREATE FUNCTION refund_object(of_order uuid, status text, nth integer DEFAULT 1, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT jsonb_build_object('id', 're_' || replace(refund_id::text, '-', ''), 'object', 'refund', 'status', status, 'amount', amount_cents, 'payment_intent', payment_intent_id,
                                    'metadata', jsonb_build_object('order_id', order_id, 'refund_id', refund_id)) || changes
          FROM (SELECT r.*, row_number() OVER (ORDER BY q.seq) AS n FROM ticketing.refunds r LEFT JOIN ticketing.stripe_requests q ON q.id = r.stripe_request_id WHERE r.order_id = of_order) r WHERE n = nth);
END
$$;
-- What the last request for a refund says.
CREATE FUNCTION asked_of_stripe(of_order uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT params FROM ticketing.stripe_requests WHERE order_id = of_order AND kind = 'create_refund' ORDER BY seq DESC LIMIT 1);
END
$$;
-- Balances of the ledger for an order: what buyer, platform and organizer have of it.
CREATE FUNCTION balances(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(a || ' ' || balance(of_order, a), ', ') FROM unnest(ARRAY['buyer', 'platform', 'organizer']) a);
END
$$;
CREATE FUNCTION open_findings(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(f.kind, ' ' ORDER BY f.id) FROM ticketing.findings f WHERE resolved_at IS NULL
          AND (f.entity = 'orders/' || of_order OR f.entity IN (SELECT 'refunds/' || refund_id FROM ticketing.refunds r WHERE r.order_id = of_order)));
END
$$;

-- ---- one ticket after the other

CREATE TEMP TABLE three AS SELECT paid_order('three', 3) AS id;
SELECT is(balances(id), 'buyer -7988, platform 976, organizer 7012', 'the ledger knows who has what of 3 tickets at 25.00') FROM three;
SELECT is(refund(id, tickets(id, 2)), 'requested 2663 paid 1', 'a ticket''s part is its price and its share of the buyer''s fee') FROM three;
SELECT is(statuses(id), 'active suspended active', 'it opens no door from now on, and the others do') FROM three;
SELECT is(seats(id), '1 held, 2 sold, 7 left', 'its seat is not for sale yet') FROM three;
SELECT is(asked_of_stripe(id) - 'metadata',
  jsonb_build_object('amount', 2663, 'reason', 'requested_by_customer', 'payment_intent', show(id, 'payment_intent_id'), 'reverse_transfer', true, 'refund_application_fee', true),
  'Stripe is asked for that amount, from whom it went to, with the fee') FROM three;
SELECT is(balances(id), 'buyer -7988, platform 976, organizer 7012', 'nothing has moved yet') FROM three;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''refunds'', ARRAY[%L]::uuid[])', id, ticket(id, 2))), 'PT409 already_done', 'a ticket is refunded once') FROM three;
SELECT is(attempt(format('SELECT ticketing.restore_ticket(%L, ''refunds'')', ticket(id, 2))), 'PT409 wrong_state', 'and cannot be had back with the money') FROM three;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'pending')), 'done: paid', 'Stripe takes it on') FROM three;
SELECT is(statuses(id), 'active suspended active', 'which is not money yet') FROM three;
SELECT is(tell(id, 'refund.updated', refund_object(id, 'succeeded')), 'applied fetched: paid', 'it tells of it') FROM three;
SELECT is(carry(id, 'get_refund', 200, refund_object(id, 'succeeded')), 'done: partially_refunded', 'asked, it says that the money is on its way') FROM three;
SELECT is(statuses(id), 'active refunded active', 'that ticket alone is refunded') FROM three;
SELECT is(seats(id), '0 held, 2 sold, 8 left', 'and its seat is for sale') FROM three;
SELECT is(balances(id), 'buyer -5325, platform 650, organizer 4675', 'buyer, platform and organizer have what two tickets are') FROM three;
SELECT is(show(id, '(SELECT status FROM public.orders p WHERE p.id = o.order_id)'), 'partially_refunded', 'the application sees it') FROM three;
SELECT is(tell(id, 'charge.refunded', jsonb_build_object('id', 'ch_1', 'object', 'charge', 'payment_intent', show(id, 'payment_intent_id'), 'amount_refunded', 2663)), 'applied fetched: partially_refunded', 'the charge says the same') FROM three;
SELECT is(tell(id, 'refund.created', refund_object(id, 'pending')), 'applied fetched: partially_refunded', 'so does its beginning, late') FROM three;
SELECT carry(id, 'get_refund', 200, refund_object(id, 'succeeded')) FROM three \g /dev/null
SELECT is(balances(id), 'buyer -5325, platform 650, organizer 4675', 'it is counted once') FROM three;
SELECT is(refund(id), 'requested 5325 refunding 2', 'then all the rest') FROM three;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''refunds'')', id)), 'PT409 already_done', 'of which nothing is left') FROM three;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'succeeded', 2)), 'done: refunded', 'and all is given back') FROM three;
SELECT is(statuses(id), 'refunded refunded refunded', 'no ticket is left') FROM three;
SELECT is(balances(id), 'buyer 0, platform 0, organizer 0', 'nor anybody''s money') FROM three;
SELECT is(show(id, '(SELECT string_agg(type, '' '' ORDER BY created_at, type) FROM public.order_timeline t WHERE t.order_id = o.order_id AND type LIKE ''refund%'')'), 'refund_requested refund_processed refund_requested refund_processed', 'the buyer can read it') FROM three;

-- Scenario 21: 33.33 three times and a cent: never more than was paid.
CREATE TEMP TABLE uneven AS SELECT paid_order('uneven', 7, 333) AS id;
SELECT is((SELECT sum((ticketing.refund_order(id, 'refunds', tickets(id, n)) ->> 'amount_cents')::integer) FROM generate_series(1, 7) n), show(id, 'total_cents')::bigint, 'seven parts are the whole, to the cent') FROM uneven;
SELECT is(show(id, '(SELECT sum(buyer_fee_cents) = o.buyer_fee_cents AND sum(organizer_fee_cents) = o.organizer_fee_cents FROM ticketing.refunds r WHERE r.order_id = o.order_id)'), 'true', 'and so are their fees') FROM uneven;
SELECT is(show(id, 'state'), 'refunding', 'all are on their way') FROM uneven;

-- ---- what is refused

CREATE TEMP TABLE checked AS SELECT paid_order('checked', 2) AS id;
SELECT ticketing.check_in(code(ticket(id, 1)), event, 'refunds') FROM checked, shop \g /dev/null
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''somebody'')', id)), 'PT403 not_allowed', 'only who leads the event refunds') FROM checked;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''refunds'')', id)), 'PT409 wrong_state', 'a ticket that was checked in is not refunded') FROM checked;
SELECT is(refund(id, tickets(id, 1), true), 'requested 2663 paid 1', 'but by force') FROM checked;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'succeeded')), 'done: partially_refunded', 'it is given back') FROM checked;
SELECT is((SELECT string_agg(c.result, ' ') FROM ticketing.checkins c WHERE c.ticket_id = ticket(checked.id, 1)), 'admitted', 'the check-in stays') FROM checked;
SELECT is(ticketing.check_in(code(ticket(id, 1)), event, 'refunds') ->> 'result', 'refunded', 'the next scan says so') FROM checked, shop;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''refunds'', ARRAY[%L]::uuid[])', id, gen_random_uuid())), 'PT404 not_found', 'tickets of other orders are not found') FROM checked;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''refunds'', ''{}'')', id)), 'PT400 bad_request', 'no ticket is none') FROM checked;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''refunds'', reason => ''duplicate'')', id)), 'PT400 bad_request', 'what came twice is given back by itself') FROM checked;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''refunds'')', gen_random_uuid())), 'PT404 not_found', 'nor unknown orders') FROM checked;
CREATE TEMP TABLE unpaid AS SELECT unpaid_order('unpaid') AS id;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''refunds'')', id)), 'PT409 wrong_state', 'what is not paid is not refunded') FROM unpaid;
CREATE TEMP TABLE again AS SELECT paid_order('again', 2) AS id;
SELECT is(ticketing.refund_order(id, 'refunds', request_id => 'r1') - 'order_state', ticketing.refund_order(id, 'refunds', request_id => 'r1') - 'order_state', 'the same request id: the same refund') FROM again;
SELECT is(show(id, '(SELECT count(*) FROM ticketing.refunds r WHERE r.order_id = o.order_id)'), '1', 'once') FROM again;

-- ---- free tickets

CREATE TEMP TABLE free AS SELECT free_order('free', 2) AS id;
SELECT is(refund(id, tickets(id, 1)), 'succeeded 0 partially_refunded 1', 'a free ticket is given back at once') FROM free;
SELECT is(statuses(id) || ', ' || coalesce(outbox(id), 'no call'), 'refunded active, no call', 'without Stripe') FROM free;
SELECT is(refund(id), 'succeeded 0 refunded 1', 'and so is the other') FROM free;
SELECT is(balances(id), 'buyer 0, platform 0, organizer 0', 'no money has moved') FROM free;

-- ---- refunds that fail

CREATE TEMP TABLE bounced AS SELECT paid_order('bounced', 2) AS id;
SELECT refund(id, tickets(id, 1)) FROM bounced \g /dev/null
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'pending')), 'done: paid', 'a refund settles for days') FROM bounced;
SELECT is(tell(id, 'refund.failed', refund_object(id, 'failed')), 'applied fetched: paid', 'then it fails') FROM bounced;
SELECT is(carry(id, 'get_refund', 200, refund_object(id, 'failed', 1, '{"failure_reason": "lost_or_stolen_card"}')), 'done: refund_failed', 'the order says so') FROM bounced;
SELECT is(statuses(id), 'suspended active', 'the ticket stays as it was') FROM bounced;
SELECT is(open_findings(id), 'refund_failed', 'a person is told') FROM bounced;
SELECT is(balances(id), 'buyer -5325, platform 650, organizer 4675', 'no money is counted as returned') FROM bounced;
SELECT is(refund(id, tickets(id, 1)), 'requested 2663 paid 1', 'who decides may try again') FROM bounced;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'succeeded', 2)), 'done: partially_refunded', 'and it arrives') FROM bounced;
SELECT is(statuses(id), 'refunded active', 'then the ticket is refunded') FROM bounced;
-- The answer to its creation was lost; until it is asked for again, which repeats the answer of then, the refund has failed.
CREATE TEMP TABLE repeated AS SELECT paid_order('repeated') AS id;
SELECT refund(id) FROM repeated \g /dev/null
SELECT is(tell(id, 'refund.failed', refund_object(id, 'failed')), 'applied fetched: refunding', 'a refund fails before the answer to its creation is here') FROM repeated;
SELECT is(carry(id, 'get_refund', 200, refund_object(id, 'failed', 1, '{"failure_reason": "declined"}')), 'done: refund_failed', 'it is asked how it stands all the same') FROM repeated;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'succeeded')), 'done: refund_failed', 'the repeated answer is not believed') FROM repeated;
SELECT is(balances(id), 'buyer -2663, platform 326, organizer 2337', 'no money is counted as returned') FROM repeated;
CREATE TEMP TABLE kept AS SELECT paid_order('kept', 2) AS id;
SELECT refund(id) FROM kept \g /dev/null
SELECT is(carry(id, 'create_refund', 402, '{"error": {"code": "charge_disputed"}}'), 'failed: refund_failed', 'Stripe refuses one') FROM kept;
SELECT ticketing.restore_ticket(ticket(id, n), 'refunds') FROM kept, generate_series(1, 2) n \g /dev/null
SELECT is(statuses(id) || ', ' || show(id, 'state'), 'active active, paid', 'who decides may give the tickets back instead') FROM kept;
CREATE TEMP TABLE undone AS SELECT paid_order('undone') AS id;
SELECT refund(id) FROM undone \g /dev/null
SELECT carry(id, 'create_refund', 200, refund_object(id, 'succeeded')) FROM undone \g /dev/null
SELECT is(balances(id), 'buyer 0, platform 0, organizer 0', 'all was given back') FROM undone;
SELECT tell(id, 'refund.failed', refund_object(id, 'failed')) FROM undone \g /dev/null
SELECT is(carry(id, 'get_refund', 200, refund_object(id, 'failed')), 'done: refund_failed', 'three days later it was not') FROM undone;
SELECT is(balances(id), 'buyer -2663, platform 2663, organizer 0', 'the money is at the platform again, the organizer''s part, too') FROM undone;
SELECT is(statuses(id), 'refunded', 'the seat may be another''s: the ticket does not come back') FROM undone;
SELECT is(refund(id), 'requested 2663 refunding 1', 'it is tried again') FROM undone;
SELECT is(asked_of_stripe(id) ? 'reverse_transfer', false, 'without taking the organizer''s part twice') FROM undone;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'succeeded', 2)), 'done: refunded', 'and arrives') FROM undone;
SELECT is(balances(id) || ', ' || coalesce(open_findings(id), 'nothing'), 'buyer 0, platform 0, organizer 0, refund_failed', 'nobody owes anything') FROM undone;

-- Stripe takes the organizer's part when it makes the refund, and does not bring it again when that fails.
CREATE TEMP TABLE settling AS SELECT paid_order('settling') AS id;
SELECT refund(id) FROM settling \g /dev/null
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'pending', 1, '{"transfer_reversal": "trr_1"}')) || ', ' || balances(id), 'done: refunding, buyer -2663, platform 2663, organizer 0', 'a refund settles: the organizer has given his part') FROM settling;
SELECT tell(id, 'refund.failed', refund_object(id, 'failed')) FROM settling \g /dev/null
SELECT is(carry(id, 'get_refund', 200, refund_object(id, 'failed', 1, '{"transfer_reversal": "trr_1"}')) || ', ' || balances(id), 'done: refund_failed, buyer -2663, platform 2663, organizer 0', 'it fails: he has not got it again') FROM settling;
SELECT is(refund(id), 'requested 2663 refunding 1', 'tried again') FROM settling;
SELECT is(asked_of_stripe(id) ? 'reverse_transfer', false, 'nothing more is taken from him') FROM settling;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'failed', 2)), 'done: refund_failed', 'in vain') FROM settling;
SELECT ticketing.restore_ticket(ticket(id, 1), 'refunds') FROM settling \g /dev/null
SELECT is((SELECT detail ->> 'amount_cents' FROM ticketing.findings f, settling s WHERE f.kind = 'organizer_is_owed' AND f.entity = 'tickets/' || ticket(s.id, 1)), '2337', 'who gives the ticket back has the organizer''s part to send');

-- The organizer's balance does not suffice: the buyer is refunded all the same.
CREATE TEMP TABLE poor AS SELECT paid_order('poor') AS id;
SELECT refund(id) FROM poor \g /dev/null
SELECT is(carry(id, 'create_refund', 400, '{"error": {"code": "balance_insufficient"}}'), 'failed: refunding', 'the transfer cannot be reversed') FROM poor;
SELECT is(show(id, '(SELECT params - ''metadata'' - ''payment_intent'' - ''reason'' FROM ticketing.stripe_requests r WHERE r.order_id = o.order_id AND kind = ''create_refund'' AND state = ''ready'')'), '{"amount": 2663}', 'the platform pays') FROM poor;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'succeeded')), 'done: refunded', 'and the buyer has his money') FROM poor;
SELECT is(balances(id), 'buyer 0, platform -2337, organizer 2337', 'the organizer has his still') FROM poor;
SELECT is(show(id, '(SELECT from_account || '' '' || amount_cents FROM ticketing.ledger l WHERE l.order_id = o.order_id AND kind = ''debt'')') || ' ' || open_findings(id), 'organizer_debt 2337 organizer_owes', 'which he owes') FROM poor;
CREATE TEMP TABLE broke AS SELECT paid_order('broke') AS id;
SELECT refund(id) FROM broke \g /dev/null
SELECT carry(id, 'create_refund', 400, '{"error": {"code": "balance_insufficient"}}') FROM broke \g /dev/null
SELECT is(carry(id, 'create_refund', 400, '{"error": {"code": "balance_insufficient"}}'), 'failed: refund_failed', 'nor has the platform the money: it has failed') FROM broke;

-- ---- refunds that we have not made

SELECT is(tell('refund.created', '{"id": "re_early", "object": "refund", "status": "succeeded", "amount": 1, "payment_intent": "pi_of_a_session"}'), 'parked unknown_object', 'of a payment that is not known yet a refund waits for it');
SELECT is(tell('charge.refunded', '{"id": "ch_early", "object": "charge", "amount_refunded": 1, "payment_intent": "pi_of_a_session"}'), 'parked unknown_object', 'so does what its charge says');
SELECT is(tell('refund.created', '{"id": "re_old", "object": "refund", "status": "succeeded", "amount": 1, "payment_intent": null}'), 'ignored not_ours', 'one of no payment is not ours');
SELECT is(tell('refund.created', '{"id": "../x", "object": "refund", "status": "succeeded", "amount": 1, "payment_intent": "pi_of_a_session"}'), 'ignored no_object', 'nor one whose id is none');

CREATE TEMP TABLE dashboard AS SELECT paid_order('dashboard', 2) AS id;
SELECT is(tell(id, 'refund.created', dashboard_refund(id, 're_d1', 1000)), 'applied fetched: paid', 'somebody gave something back at Stripe') FROM dashboard;
SELECT is(carry(id, 'list_refunds', 200, page(false, dashboard_refund(id, 're_d1', 1000))), 'done: partially_refunded', 'a part') FROM dashboard;
SELECT is(statuses(id) || ' ' || open_findings(id), 'active active dashboard_refund', 'which makes no ticket void: nobody knows which it was for') FROM dashboard;
SELECT is(refund(id), 'requested 4325 refunding 2', 'nobody gets more than he has paid') FROM dashboard;
CREATE TEMP TABLE cut AS SELECT paid_order('cut', 3, 333) AS id;
SELECT tell(id, 'refund.created', dashboard_refund(id, 're_cut', 21)) FROM cut \g /dev/null
SELECT is(carry(id, 'list_refunds', 200, page(false, dashboard_refund(id, 're_cut', 21))), 'done: partially_refunded', 'a small part was given back at Stripe') FROM cut;
SELECT refund(id, tickets(id, 1)), refund(id, tickets(id, 2)) FROM cut \g /dev/null
SELECT is(refund(id, tickets(id, 3)), 'requested 420 refunding 1', 'the last ticket''s refund is what is left') FROM cut;
SELECT results_eq($$ SELECT buyer_fee_cents, organizer_fee_cents FROM ticketing.refunds r, cut WHERE order_id = id AND amount_cents = 420 $$, 'VALUES (103, 103)', 'of 441: each fee goes back with it as Stripe divides it, 325 of 1324, to the nearest cent');
CREATE TEMP TABLE emptied AS SELECT paid_order('emptied', 2) AS id;
SELECT tell(id, 'charge.refunded', jsonb_build_object('id', 'ch_2', 'object', 'charge', 'payment_intent', show(id, 'payment_intent_id'), 'amount_refunded', 5325)) FROM emptied \g /dev/null
SELECT is(carry(id, 'list_refunds', 200, page(false, dashboard_refund(id, 're_d2', 5325, '{"transfer_reversal": "trr_1"}'))), 'done: refunded', 'all of it') FROM emptied;
SELECT is(statuses(id) || ' ' || coalesce(open_findings(id), ''), 'refunded refunded ', 'then no ticket is left, and there is nothing to find') FROM emptied;
-- The news of a refund comes before that of its payment.
CREATE TEMP TABLE before AS SELECT unpaid_order('before') AS id;
SELECT tell(id, 'refund.created', dashboard_refund(id, 're_d3', 2663)) FROM before \g /dev/null
SELECT is(carry(id, 'list_refunds', 200, page(false, dashboard_refund(id, 're_d3', 2663))), 'done: awaiting_payment', 'a refund before its payment') FROM before;
SELECT is(carry(id, 'get_payment_intent', 200, intent(id, 'succeeded')), 'done: refunded', 'Stripe is asked for that, and all is right in the end') FROM before;
SELECT is(statuses(id), 'refunded', 'no ticket is given away') FROM before;

-- An order in review: whoever looks at it gives back what came.
CREATE TEMP TABLE review AS SELECT unpaid_order('review') AS id;
SELECT tell(id, 'payment_intent.succeeded', intent(id, 'succeeded', '{"amount_received": 100}')) FROM review \g /dev/null
SELECT is(refund(id), 'requested 2663 refunding 0', 'all that was paid, whatever it was') FROM review;
SELECT is(asked_of_stripe(id) ? 'amount', false, 'which Stripe knows best') FROM review;
SELECT is(show(id, '(SELECT sum(quantity) FILTER (WHERE status = ''active'') FROM ticketing.ticket_holds h WHERE h.order_id = o.order_id)'), NULL, 'its seats are free') FROM review;

-- ---- buyers who ask

CREATE TEMP TABLE asks AS SELECT paid_order('asks', 2) AS id;
SELECT is(attempt(format('SELECT ticketing.request_refund(%L, ''somebody'')', id)), 'PT404 not_found', 'an order is its buyer''s') FROM asks;
CREATE TEMP TABLE asked AS SELECT id, (ticketing.request_refund(id, 'asks', tickets(id, 1), 'other', 'cannot come') ->> 'refund_request_id')::uuid AS request FROM asks;
SELECT is((SELECT concat_ws(' ', status, reason, notes, amount_cents) FROM public.refund_requests WHERE id = request), 'pending other cannot come 2663', 'the application sees his request') FROM asked;
SELECT is(attempt(format('SELECT ticketing.request_refund(%L, ''asks'')', id)), 'PT409 already_done', 'he asks once') FROM asked;
SELECT is(attempt(format('SELECT ticketing.approve_refund(%L, ''asks'')', request)), 'PT403 not_allowed', 'he does not decide') FROM asked;
SELECT is(ticketing.deny_refund(request, 'refunds', 'too late') ->> 'state', 'denied', 'the organizer does') FROM asked;
SELECT is(attempt(format('SELECT ticketing.approve_refund(%L, ''refunds'')', request)), 'PT409 already_done', 'once') FROM asked;
CREATE TEMP TABLE asked_again AS SELECT id, (ticketing.request_refund(id, 'asks') ->> 'refund_request_id')::uuid AS request FROM asks;
SELECT is(ticketing.approve_refund(request, 'refunds') #>> '{refund,order_state}', 'refunding', 'he may ask again, and it is approved') FROM asked_again;
SELECT is(carry(id, 'create_refund', 200, refund_object(id, 'succeeded')) || ' ' || (SELECT status || coalesce(' ' || stripe_refund_id, '') LIKE 'approved%' FROM public.refund_requests r WHERE r.id = request), 'done: refunded true', 'it is not processed before the money has gone') FROM asked_again;
SELECT is((SELECT string_agg(state || ' ' || coalesce(decision, '-'), ', ' ORDER BY created_at) FROM ticketing.refund_requests((SELECT event FROM shop), 'refunds') WHERE user_id = 'asks'), 'denied too late, processed -', 'then it is') FROM asked_again;
SELECT ticketing.save_refund_policy(event, 'refunds', '{"automatic": true, "hours_before": 24}') FROM shop \g /dev/null
CREATE TEMP TABLE quick AS SELECT paid_order('quick') AS id;
SELECT is(ticketing.request_refund(id, 'quick') ->> 'state', 'approved', 'an automatic policy asks nobody') FROM quick;
CREATE TEMP TABLE late AS SELECT paid_order('late') AS id;
UPDATE public.events SET start_date = ticketing.clock() + '23 hours' FROM shop WHERE id = event;
SELECT is(attempt(format('SELECT ticketing.request_refund(%L, ''late'')', id)), 'PT403 not_allowed', 'after the deadline nobody may ask') FROM late;
SELECT is(attempt(format('SELECT ticketing.save_refund_policy(%s, ''refunds'', %L)', event, p)), 'PT400 bad_request', 'no policy: ' || p) FROM shop, unnest(ARRAY['[]', '{"automatic": 1}', '{"hours": 2}', '{"hours_before": -1}', '{"until": "soon"}']) p;

-- ---- an event that does not take place

CREATE TEMP TABLE off AS SELECT make_event('refunds') AS event;
CREATE TEMP TABLE off_orders AS SELECT paid_order('off1', 2, of_event => event) AS paid, paid_order('off2', of_event => event) AS scanned,
  free_order('off3', of_event => event) AS free FROM off;
SELECT ticketing.check_in(code(ticket(scanned, 1)), event, 'refunds') FROM off_orders, off \g /dev/null
ALTER TABLE off_orders ADD waits uuid;
UPDATE off_orders SET waits = unpaid_order('off4', of_event => (SELECT event FROM off));
SELECT is((SELECT concat_ws(' ', s ->> 'orders_done', s ->> 'orders_left') FROM off, ticketing.cancel_event(event, 'refunds') s), '4 0', 'every order of a canceled event');
SELECT is(show(paid, 'state') || ' ' || show(scanned, 'state') || ' ' || show(free, 'state') || ' ' || show(waits, 'state'), 'refunding refunding refunded canceling', 'is given back, used or not, or canceled') FROM off_orders;
SELECT is(attempt(format('SELECT ticketing.hold_tickets(''off5'', %s, %L)', event, items(make_tier(event), 1))), 'PT410 sale_closed', 'nothing more is sold') FROM off;
SELECT is(carry(waits, 'cancel_payment_intent', 400, '{"error": {"code": "payment_intent_unexpected_state"}}'), 'failed: canceling', 'one was paid in that moment') FROM off_orders;
SELECT is(carry(waits, 'get_payment_intent', 200, intent(waits, 'succeeded')), 'done: paid', 'it has its tickets for a moment') FROM off_orders;
SELECT is(ticketing.refund_canceled_events(), 1, 'the next round gives it back, too');
SELECT is(show(waits, 'state'), 'refunding', 'so that nobody pays for nothing') FROM off_orders;
SELECT is(ticketing.refund_canceled_events(), 0, 'then there is nothing left');

SELECT is_empty('SELECT broken_invariants()', 'and all invariants hold');
SELECT * FROM finish();
ROLLBACK;
