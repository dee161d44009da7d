-- Disputes: tickets suspended, restored as they were, or void; what the bank takes and brings, and the organizer's part of it.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(137);

CREATE TEMP TABLE shop AS SELECT make_event(make_host('disputes')) AS event;
-- Orders are of tickets at 25.00, each 1.63 for buyer and organizer.

-- How an order stands: for the application, and its tickets.
CREATE FUNCTION stands(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT concat_ws(': ', status, statuses(id)) FROM public.orders WHERE id = of_order);
END
$$;
CREATE FUNCTION timeline(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(label, ', ' ORDER BY created_at, type) FROM public.order_timeline t WHERE t.order_id = of_order AND type LIKE 'dispute%');
END
$$;
-- What is in the ledger about the order: kind and amount.
CREATE FUNCTION booked(of_order uuid, about text DEFAULT '%') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(kind || ' ' || amount_cents, ', ' ORDER BY at, source, kind) FROM ticketing.ledger WHERE order_id = of_order AND source LIKE about AND kind NOT IN ('charge', 'transfer', 'buyer_fee', 'organizer_fee'));
END
$$;
CREATE FUNCTION found(of_entity text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(kind, ', ' ORDER BY kind) FROM ticketing.findings WHERE entity = of_entity);
END
$$;
CREATE FUNCTION asked(of_order uuid, of_kind text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(path || ' ' || params, '; ' ORDER BY seq) FROM ticketing.stripe_requests WHERE order_id = of_order AND kind = of_kind);
END
$$;

-- A dispute as Stripe shows it, and what the bank has moved because of it.
CREATE FUNCTION taken(of_order uuid, amount integer DEFAULT NULL, suffix text DEFAULT '') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_array(jsonb_build_object('id', 'txn_taken_' || replace(of_order::text, '-', '') || suffix, 'object', 'balance_transaction', 'amount', -coalesce(amount, total_cents), 'fee', 1500, 'net', -coalesce(amount, total_cents) - 1500, 'currency', currency, 'type', 'adjustment'))
  FROM ticketing.orders WHERE order_id = of_order
$$;
CREATE FUNCTION brought(of_order uuid, suffix text DEFAULT '') RETURNS jsonb LANGUAGE sql AS $$
  SELECT taken(of_order, suffix => suffix) || jsonb_build_array(jsonb_build_object('id', 'txn_brought_' || replace(of_order::text, '-', '') || suffix, 'object', 'balance_transaction', 'amount', total_cents, 'fee', -1500, 'net', total_cents + 1500, 'currency', currency, 'type', 'adjustment'))
  FROM ticketing.orders WHERE order_id = of_order
$$;
CREATE FUNCTION dispute_id(of_order uuid, suffix text DEFAULT '') RETURNS text LANGUAGE sql AS $$ SELECT 'dp_' || replace(of_order::text, '-', '') || suffix $$;
CREATE FUNCTION dispute(of_order uuid, status text, movements jsonb DEFAULT '[]', changes jsonb DEFAULT '{}', suffix text DEFAULT '') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', dispute_id(of_order, suffix), 'object', 'dispute', 'status', status, 'amount', total_cents, 'currency', currency, 'reason', 'fraudulent', 'created', 1800000000, 'livemode', false,
    'payment_intent', payment_intent_id, 'balance_transactions', movements, 'is_charge_refundable', false,
    'charge', jsonb_build_object('id', 'ch_' || replace(of_order::text, '-', ''), 'object', 'charge', 'transfer', 'tr_' || replace(of_order::text, '-', ''))) || changes
  FROM ticketing.orders WHERE order_id = of_order
$$;
-- As an event has it: nothing is expanded.
CREATE FUNCTION in_event(dispute jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT dispute || jsonb_build_object('charge', dispute #> '{charge,id}') $$;
-- Stripe tells of a dispute, is asked, and answers.
CREATE FUNCTION hear(of_dispute jsonb, type text DEFAULT 'updated') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN tell('charge.dispute.' || type, in_event(of_dispute)) || ', ' || carry('get_dispute', 200, of_dispute);
END
$$;

-- ---- opened and won

CREATE TEMP TABLE won AS SELECT paid_order('won', 2) AS id;
SELECT is(stands(id), 'paid: active active', 'sold') FROM won;
SELECT ticketing.check_in(code(ticket(id)), (SELECT event FROM shop), 'disputes', scan_id => gen_random_uuid()) FROM won \g /dev/null
SELECT is(stands(id), 'paid: scanned active', 'one is inside already') FROM won;
SELECT is(tell('charge.dispute.created', in_event(dispute(id, 'needs_response'))), 'applied fetched', 'a dispute is told') FROM won;
SELECT is(stands(id), 'paid: scanned active', 'what is told is not believed') FROM won;
SELECT is(asked(id, 'get_dispute'), '/v1/disputes/' || dispute_id(id) || ' {"expand": ["charge"]}', 'Stripe is asked how it stands, and by which charge') FROM won;
SELECT is(carry('get_dispute', 200, dispute(id, 'needs_response')), 'done', 'it answers') FROM won;
SELECT is(stands(id), 'disputed: suspended suspended', 'the tickets are suspended') FROM won;
SELECT is(seats_left(id), 8, 'their seats stay theirs') FROM won;
SELECT is(timeline(id), 'Payment disputed', 'the buyer is told') FROM won;
SELECT is(ticketing.check_in(code(ticket(id, 2)), (SELECT event FROM shop), 'disputes', scan_id => gen_random_uuid()) ->> 'result', 'suspended', 'no door admits them') FROM won;
SELECT is(booked(id), NULL, 'no money has moved yet') FROM won;
SELECT is(hear(dispute(id, 'needs_response', taken(id)), 'funds_withdrawn'), 'applied fetched, done', 'the bank takes the money') FROM won;
SELECT is(booked(id), 'dispute 5325, dispute_fee 1500', 'and its price') FROM won;
SELECT is(hear(dispute(id, 'under_review', taken(id))), 'applied fetched, done', 'told again') FROM won;
SELECT is(booked(id), 'dispute 5325, dispute_fee 1500', 'nothing is booked twice') FROM won;
SELECT is(stands(id) || '; ' || timeline(id), 'disputed: suspended suspended; Payment disputed', 'or done twice') FROM won;
SELECT is_empty('SELECT broken_invariants()', 'open: all is well');
SELECT is(hear(dispute(id, 'won', brought(id)), 'closed'), 'applied fetched, done', 'it is won') FROM won;
SELECT is(stands(id), 'paid: scanned active', 'the tickets are as they were') FROM won;
SELECT is(seats_left(id), 8, 'and so are the seats') FROM won;
SELECT is(timeline(id), 'Payment disputed, Dispute won', 'the buyer is told') FROM won;
SELECT is(balance(id, 'buyer') || ' ' || balance(id, 'stripe'), '-5325 0', 'the money is back, and the price of it') FROM won;
SELECT is(hear(dispute(id, 'needs_response', taken(id))) || ': ' || stands(id), 'applied fetched, done: paid: scanned active', 'old news changes nothing') FROM won;
SELECT is(hear(dispute(id, 'lost', taken(id))) || ': ' || stands(id), 'applied fetched, done: paid: scanned active', 'nor can what was won be lost') FROM won;
SELECT is(history(id), 'made succeeded dispute_opened dispute_won', 'the log has all of it, once') FROM won;
SELECT is(asked(id, 'create_reversal'), NULL, 'nothing was asked of the organizer') FROM won;
SELECT is_empty('SELECT broken_invariants()', 'won: all is well');

-- ---- lost

CREATE TEMP TABLE lost AS SELECT paid_order('lost', 2) AS id;
SELECT hear(dispute(id, 'needs_response', taken(id)), 'created') FROM lost \g /dev/null
SELECT is(hear(dispute(id, 'lost', taken(id)), 'closed'), 'applied fetched, done', 'it is lost') FROM lost;
SELECT is(stands(id), 'refunded: void void', 'the tickets are void') FROM lost;
SELECT is(seats_left(id), 10, 'their seats are for sale again') FROM lost;
SELECT is(timeline(id), 'Payment disputed, Dispute lost', 'the buyer is told') FROM lost;
SELECT is(hear(dispute(id, 'lost', taken(id))) || ', ' || seats_left(id), 'applied fetched, done, 10', 'told again: not twice') FROM lost;
SELECT is(asked(id, 'create_reversal'), format('/v1/transfers/tr_%s/reversals {"amount": 5325, "metadata": {"order_id": "%s", "dispute_id": "%s"}, "refund_application_fee": true}', replace(id::text, '-', ''), id, dispute_id(id)),
  'the organizer''s part is taken back, once, and he is given the fees') FROM lost;
SELECT is((SELECT lane FROM ticketing.stripe_requests r WHERE r.order_id = lost.id AND kind = 'create_reversal'), 0::smallint, 'before the buyers'' own requests') FROM lost;
SELECT is(balance(id, 'organizer'), 4675::bigint, 'he has it until Stripe says so') FROM lost;
SELECT is_empty('SELECT broken_invariants()', 'lost: all is well');
SELECT is(carry('create_reversal', 200, jsonb_build_object('id', 'trr_lost', 'object', 'transfer_reversal', 'amount', 5325, 'currency', 'usd')), 'done', 'Stripe takes it back');
SELECT is_empty($$ SELECT FROM ticketing.relay_claim(1, '1 minute') $$, 'nothing else is to be sent');
SELECT is(booked(id, 'dp_%'), 'buyer_fee_refund 325, organizer_fee_refund 325, reversal 5325', 'and is booked') FROM lost;
SELECT is(balance(id, 'organizer') || ' ' || balance(id, 'buyer') || ' ' || balance(id, 'stripe') || ' ' || balance(id, 'platform'), '0 0 1500 -1500', 'the platform has paid the bank''s price') FROM lost;
SELECT results_eq('SELECT d.phase, d.reversal_id, d.reversed_cents, d.fees_refunded_cents, d.closed_at IS NOT NULL FROM ticketing.disputes d JOIN lost ON lost.id = d.order_id', $$ VALUES ('lost', 'trr_lost', 5325, 650, true) $$, 'the dispute knows what it cost');
SELECT is_empty('SELECT broken_invariants()', 'reversed: all is well');

-- ---- lost, and won after all

SELECT is(hear(dispute(id, 'won', brought(id)), 'closed'), 'applied fetched, done', 'the bank changes its mind') FROM lost;
SELECT is(stands(id), 'paid: void void', 'the order is paid; what is void stays void, its seats may be sold') FROM lost;
SELECT is(found('disputes/' || dispute_id(id)), 'tickets_stay_void', 'a person must see to it') FROM lost;
SELECT is(seats_left(id), 10, 'no seat is taken') FROM lost;
SELECT is(asked(id, 'create_transfer'), format('/v1/transfers {"amount": 4675, "currency": "usd", "metadata": {"order_id": "%s", "dispute_id": "%s"}, "destination": "acct_disputes"}', id, dispute_id(id)), 'the organizer is given his part again, less the fees that he has') FROM lost;
SELECT is(carry('create_transfer', 200, '{"id": "tr_again", "object": "transfer", "amount": 4675}'), 'done', 'Stripe transfers it');
SELECT is(balance(id, 'organizer') || ' ' || balance(id, 'buyer') || ' ' || balance(id, 'platform'), '4675 -5325 650', 'all have what they had') FROM lost;
SELECT is((SELECT retransfer_id FROM ticketing.disputes d WHERE d.order_id = lost.id), 'tr_again', 'by this transfer') FROM lost;
SELECT is_empty('SELECT broken_invariants()', 'won after all: all is well');
CREATE TEMP TABLE quick AS SELECT paid_order('quick', 2) AS id;
SELECT hear(dispute(id, 'lost', taken(id))), hear(dispute(id, 'won', brought(id))) FROM quick \g /dev/null
SELECT is(asked(id, 'create_transfer'), NULL, 'won before the reversal was answered: nothing to give yet') FROM quick;
SELECT carry('create_reversal', 200, '{"id": "trr_quick", "object": "transfer_reversal", "amount": 5325}') \g /dev/null
SELECT is(asked(id, 'create_transfer') ~ '"amount": 4675', true, 'what is taken back is given again at once') FROM quick;
SELECT is(carry('create_transfer', 400, '{"error": {"code": "balance_insufficient"}}'), 'failed', 'the platform has not got it');
SELECT is(found('disputes/' || dispute_id(id)), 'not_transferred_again, tickets_stay_void', 'a person must see to it') FROM quick;

-- ---- the organizer has it no more

CREATE TEMP TABLE poor AS SELECT paid_order('poor', 2) AS id;
SELECT hear(dispute(id, 'lost', taken(id)), 'closed') FROM poor \g /dev/null
SELECT is(stands(id) || ', ' || seats_left(id) || '; ' || timeline(id), 'refunded: void void, 10; Payment disputed, Dispute lost', 'lost is the first that is heard of it') FROM poor;
SELECT is(carry('create_reversal', 400, '{"error": {"type": "invalid_request_error", "code": "balance_insufficient"}}'), 'failed', 'his balance does not suffice');
SELECT is(booked(id, 'dp_%') || '; ' || found('disputes/' || dispute_id(id)), 'debt 4675; organizer_owes', 'he owes it') FROM poor;
SELECT is((SELECT debt_cents FROM ticketing.host_payout_summary('disputes')), 4675::bigint, 'and is told so');
SELECT is_empty('SELECT broken_invariants()', 'a debt: all is well');
SELECT hear(dispute(id, 'won', brought(id))) FROM poor \g /dev/null
SELECT is(balance(id, 'organizer_debt') || ' ' || coalesce(asked(id, 'create_transfer'), 'nothing'), '0 nothing', 'won after all, he owes nothing and is given nothing') FROM poor;
CREATE TEMP TABLE refused AS SELECT paid_order('refused', 2) AS id;
SELECT hear(dispute(id, 'lost', taken(id))) FROM refused \g /dev/null
SELECT carry('create_reversal', 404, '{"error": {"code": "resource_missing"}}') \g /dev/null
SELECT is(booked(id, 'dp_%') || found('disputes/' || dispute_id(id)), NULL, 'what Stripe refuses for another reason is no debt') FROM refused;
SELECT is(found('disputes/' || dispute_id(id)), 'transfer_not_reversed', 'but a finding') FROM refused;
CREATE TEMP TABLE direct AS SELECT paid_order('direct', 2) AS id;
SELECT hear(dispute(id, 'lost', taken(id), '{"charge": {"id": "ch_direct", "transfer": null}}')) FROM direct \g /dev/null
SELECT is(found('disputes/' || dispute_id(id)) || coalesce(asked(id, 'create_reversal'), ''), 'transfer_not_reversed', 'a charge without a transfer: a person must see to it') FROM direct;

-- ---- inquiries

CREATE TEMP TABLE inquiry AS SELECT paid_order('inquiry', 2) AS id;
SELECT is(hear(dispute(id, 'warning_needs_response'), 'created'), 'applied fetched, done', 'the bank asks') FROM inquiry;
SELECT is(stands(id), 'paid: active active', 'nothing is suspended') FROM inquiry;
SELECT is(hear(dispute(id, 'warning_closed'), 'closed'), 'applied fetched, done', 'it asks no more') FROM inquiry;
SELECT is(stands(id) || '; ' || timeline(id), 'paid: active active; The bank asks about the payment, The bank asks no more', 'which is all') FROM inquiry;
SELECT is(hear(dispute(id, 'warning_under_review')) || '; ' || timeline(id), 'applied fetched, done; The bank asks about the payment, The bank asks no more', 'old news') FROM inquiry;
SELECT is(hear(dispute(id, 'needs_response', taken(id))) || ': ' || stands(id), 'applied fetched, done: disputed: suspended suspended', 'it may become a dispute yet') FROM inquiry;
SELECT is(hear(dispute(id, 'prevented', taken(id))) || ': ' || stands(id), 'applied fetched, done: disputed: suspended suspended', 'a status that we do not know moves nothing') FROM inquiry;
SELECT is(found('disputes/' || dispute_id(id)), 'dispute_status_unknown', 'and is a finding') FROM inquiry;
SELECT is_empty('SELECT broken_invariants()', 'inquiries: all is well');

-- ---- out of order

CREATE TEMP TABLE early AS SELECT unpaid_order('early', 2) AS id;
SELECT is(tell('charge.dispute.created', in_event(dispute(id, 'needs_response', '[]', jsonb_build_object('payment_intent', intent(id, 'succeeded') ->> 'id')))), 'applied fetched', 'disputed before we heard that it is paid') FROM early;
SELECT is(carry('get_dispute', 200, dispute(id, 'needs_response', taken(id), jsonb_build_object('payment_intent', intent(id, 'succeeded') ->> 'id'))), 'done', 'Stripe says so') FROM early;
SELECT is(stands(id), 'payment_pending', 'there is nothing to dispute yet') FROM early;
SELECT is(carry('get_payment_intent', 200, intent(id, 'succeeded')), 'done', 'the payment is asked for') FROM early;
SELECT is(stands(id), 'paid: active active', 'it was paid') FROM early;
SELECT is(carry('get_dispute', 200, dispute(id, 'needs_response', taken(id))), 'done', 'the dispute is asked for again') FROM early;
SELECT is(stands(id), 'disputed: suspended suspended', 'right in the end') FROM early;
-- Of an order that was never paid, as far as Stripe says.
CREATE TEMP TABLE unpaid AS SELECT unpaid_order('unpaid', 2) AS id;
SELECT hear(dispute(id, 'needs_response', taken(id), jsonb_build_object('payment_intent', intent(id, 'processing') ->> 'id'))) FROM unpaid \g /dev/null
SELECT carry('get_payment_intent', 200, intent(id, 'processing')) FROM unpaid \g /dev/null
SELECT is(carry('get_dispute', 200, dispute(id, 'needs_response', taken(id))), 'done', 'asked for once') FROM unpaid;
SELECT is(found('orders/' || id) || ', ' || booked(id), 'disputed, dispute 5325, dispute_fee 1500', 'then it is a finding, and the money is booked') FROM unpaid;
SELECT is(carry('get_payment_intent', 200, '{}'), 'nothing', 'not for ever');
-- Before the order is known by its payment.
CREATE TEMP TABLE unknown AS SELECT '{"id": "dp_unknown", "object": "dispute", "payment_intent": "pi_unknown", "charge": "ch_unknown", "status": "needs_response", "balance_transactions": []}'::jsonb AS said;
SELECT is(tell('charge.dispute.created', said), 'parked unknown_object', 'nobody knows the payment') FROM unknown;
CREATE TEMP TABLE known AS SELECT paid_order('known', 2) AS id;
UPDATE ticketing.order_payments SET payment_intent_id = 'pi_unknown' WHERE order_id = (SELECT id FROM known);
UPDATE ticketing.ledger SET source = 'pi_unknown' WHERE order_id = (SELECT id FROM known);
UPDATE ticketing.orders SET payment_intent_id = 'pi_unknown' WHERE order_id = (SELECT id FROM known);
UPDATE public.orders SET stripe_payment_intent_id = 'pi_unknown' WHERE id = (SELECT id FROM known);
SELECT ticketing.sweep_stripe() \g /dev/null
SELECT is(carry('get_dispute', 200, dispute(id, 'needs_response', taken(id))) || ': ' || stands(id), 'done: disputed: suspended suspended', 'when it is known the dispute is asked for') FROM known;
INSERT INTO public.orders (id, user_id, type, status, currency, event_id, stripe_payment_intent_id) SELECT gen_random_uuid(), 'before', 'event_ticket', 'paid', 'usd', event, 'pi_before_us' FROM shop;
SELECT is(tell('charge.dispute.created', '{"id": "dp_before", "payment_intent": "pi_before_us"}'), 'ignored before_us', 'one from before us is not ours');
SELECT is(tell('charge.dispute.created', '{"id": "dp_other", "payment_intent": null}'), 'ignored not_ours', 'nor is one of no payment');
SELECT is(tell('charge.dispute.created', in_event(dispute(id, 'lost')), '{"account": "acct_disputes"}'), 'ignored account', 'nor one of a connected account''s own charges') FROM won;
CREATE TEMP TABLE other_version AS SELECT paid_order('version', 2) AS id;
SELECT is(tell('charge.dispute.created', in_event(dispute(id, 'needs_response')) - 'payment_intent', '{"api_version": "2015-01-01"}'), 'applied fetched', 'an old version does not say which payment') FROM other_version;
SELECT is(carry('get_dispute', 200, dispute(id, 'needs_response', taken(id))) || ': ' || stands(id), 'done: disputed: suspended suspended', 'the answer does') FROM other_version;

-- ---- answers that are applied late, and none

CREATE TEMP TABLE late AS SELECT paid_order('late', 2) AS id;
SELECT tell('charge.dispute.created', in_event(dispute(id, 'needs_response'))) FROM late \g /dev/null
SELECT carry_late('get_dispute', jsonb_build_object('id', dispute_id(id), 'object', 'dispute', 'status', 'needs_response', 'amount', 5325, 'currency', 'usd', 'payment_intent', show(id, 'payment_intent_id'))) FROM late \g /dev/null
SELECT is(stands(id), 'paid: active active', 'of an answer that is applied late only some fields are left') FROM late;
SELECT is(carry('get_dispute', 200, dispute(id, 'needs_response', taken(id))) || ': ' || stands(id), 'done: disputed: suspended suspended', 'it is asked for again') FROM late;
SELECT is(tell('charge.dispute.updated', in_event(dispute(id, 'lost'))) || ', ' || carry('get_dispute', 404, '{"error": {"code": "resource_missing"}}') || ', ' || found('disputes/' || dispute_id(id)), 'applied fetched, failed, dispute_not_readable', 'what Stripe will not say is a finding') FROM late;

-- ---- a part of the payment

CREATE TEMP TABLE part AS SELECT paid_order('part', 2) AS id;
SELECT hear(dispute(id, 'needs_response', taken(id, 2663), '{"amount": 2663}'), 'created') FROM part \g /dev/null
SELECT is(stands(id), 'disputed: suspended suspended', 'nobody can tell which ticket it is about') FROM part;
SELECT is(hear(dispute(id, 'lost', taken(id, 2663), '{"amount": 2663}'), 'closed') || ': ' || stands(id), 'applied fetched, done: disputed: suspended suspended', 'lost, they stay suspended') FROM part;
SELECT is(found('disputes/' || dispute_id(id)), 'dispute_of_a_part', 'until a person has decided') FROM part;
SELECT is(carry('create_reversal', 200, '{"id": "trr_part", "object": "transfer_reversal", "amount": 2663}') || ': ' || booked(id, 'dp_%'), 'done: buyer_fee_refund 163, organizer_fee_refund 163, reversal 2663', 'the organizer gives his part of it') FROM part;
SELECT is_empty('SELECT broken_invariants()', 'a part: all is well');
SELECT is(hear(dispute(id, 'won', taken(id, 2663), '{"amount": 2663}')) || ': ' || stands(id), 'applied fetched, done: paid: active active', 'won after all, they come back') FROM part;

CREATE TEMP TABLE at_stripe AS SELECT paid_order('dashboard', 2) AS id;
SELECT is(hear(dispute(id, 'lost', taken(id, 5315), jsonb_build_object('amount', 5315, 'charge', jsonb_build_object('id', 'ch_dashboard', 'transfer', 'tr_dashboard', 'amount', 5325, 'amount_refunded', 10))), 'closed') || ': ' || stands(id), 'applied fetched, done: refunded: void void', 'what was given back at Stripe before, of which we have not heard yet, the charge tells: it is all that was left') FROM at_stripe;
CREATE TEMP TABLE decided AS SELECT paid_order('decided', 2) AS id;
SELECT hear(dispute(id, 'lost', taken(id, 2663), '{"amount": 2663}'), 'closed') FROM decided \g /dev/null
SELECT ticketing.void_ticket(ticket(id, 1), 'disputes', 'it was about this one') FROM decided \g /dev/null
SELECT ticketing.sweep_stripe() \g /dev/null
SELECT is(stands(id), 'disputed: void suspended', 'one ticket is decided about') FROM decided;
SELECT ticketing.restore_ticket(ticket(id, 2), 'disputes') FROM decided \g /dev/null
SELECT ticketing.sweep_stripe() \g /dev/null
SELECT is(stands(id), 'paid: void active', 'then all are: the order is disputed no more') FROM decided;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''disputes'', ARRAY[%L]::uuid[])', id, ticket(id, 2))), 'ok', 'and what is left can be given back') FROM decided;
SELECT is((SELECT amount_cents FROM ticketing.refunds r WHERE r.order_id = decided.id), 2662, 'but no more than was not lost') FROM decided;
CREATE TEMP TABLE none_left AS SELECT paid_order('none', 2) AS id;
SELECT hear(dispute(id, 'lost', taken(id, 2663), '{"amount": 2663}'), 'closed') FROM none_left \g /dev/null
SELECT ticketing.void_ticket(ticket(id, n), 'disputes', 'none of them') FROM none_left, generate_series(1, 2) n \g /dev/null
SELECT ticketing.sweep_stripe() \g /dev/null
SELECT is(stands(id), 'refunded: void void', 'where none is left it was lost') FROM none_left;
SELECT is_empty('SELECT broken_invariants()', 'decided: all is well');

-- ---- what others did meanwhile

CREATE TEMP TABLE meanwhile AS SELECT paid_order('meanwhile', 4) AS id;
SELECT ticketing.void_ticket(ticket(id, 1), 'disputes', 'a test') FROM meanwhile \g /dev/null
SELECT ticketing.suspend_ticket(ticket(id, 2), 'disputes', 'a test') FROM meanwhile \g /dev/null
SELECT hear(dispute(id, 'needs_response', taken(id)), 'created') FROM meanwhile \g /dev/null
SELECT is(stands(id), 'disputed: void suspended suspended suspended', 'what was valid is suspended') FROM meanwhile;
SELECT ticketing.void_ticket(ticket(id, 3), 'disputes', 'a test') FROM meanwhile \g /dev/null
SELECT hear(dispute(id, 'won', brought(id)), 'closed') FROM meanwhile \g /dev/null
SELECT is(stands(id) || ', ' || seats_left(id), 'paid: void suspended void active, 8', 'only what the dispute took comes back') FROM meanwhile;
SELECT is(found('disputes/' || dispute_id(id)), NULL, 'which needs nobody') FROM meanwhile;
CREATE TEMP TABLE freed AS SELECT paid_order('freed', 2) AS id;
SELECT hear(dispute(id, 'needs_response', taken(id)), 'created') FROM freed \g /dev/null
SELECT is(attempt(format('SELECT ticketing.restore_ticket(%L, ''disputes'')', ticket(id))), 'PT409 wrong_state', 'while the bank decides no operator lets anybody in') FROM freed;
SELECT is(attempt(format('SELECT ticketing.refund_order(%L, ''disputes'')', id)), 'PT409 wrong_state', 'nor gives money back that is gone') FROM freed;
-- A refund of a ticket before, whose money is not disputed any more.
CREATE TEMP TABLE refunded AS SELECT paid_order('refunded', 2) AS id;
SELECT ticketing.refund_order(id, 'disputes', tickets(id, 1)) FROM refunded \g /dev/null
SELECT is(carry('create_refund', 200, '{"id": "re_before_dispute", "object": "refund", "status": "succeeded", "amount": 2663, "currency": "usd"}') || ': ' || stands(id), 'done: partially_refunded: refunded active', 'one is refunded') FROM refunded;
SELECT hear(dispute(id, 'needs_response', taken(id, 2662), '{"amount": 2662}'), 'created') FROM refunded \g /dev/null
SELECT is(stands(id) || ', ' || seats_left(id), 'disputed: refunded suspended, 9', 'the rest is disputed') FROM refunded;
SELECT hear(dispute(id, 'lost', taken(id, 2662), '{"amount": 2662}'), 'closed') FROM refunded \g /dev/null
SELECT is(stands(id) || ', ' || seats_left(id), 'refunded: refunded void, 10', 'and lost: all that was left of the payment; no seat goes back twice') FROM refunded;
SELECT is(asked(id, 'create_reversal') ~ '"amount": 2662', true, 'never more than is left of the transfer is asked for') FROM refunded;
SELECT carry('create_reversal', 200, '{"id": "trr_rest", "object": "transfer_reversal", "amount": 2662}') \g /dev/null
SELECT is(balance(id, 'organizer') || ' ' || balance(id, 'buyer'), '0 0', 'the organizer gives back all that he had left, with all the fees that were left') FROM refunded;
-- A refund in flight keeps its ticket.
CREATE TEMP TABLE in_flight AS SELECT paid_order('flight', 2) AS id;
SELECT ticketing.refund_order(id, 'disputes', tickets(id, 1)) FROM in_flight \g /dev/null
SELECT hear(dispute(id, 'needs_response', taken(id, 2662), '{"amount": 2662}'), 'created') FROM in_flight \g /dev/null
SELECT is((SELECT string_agg(reason, ', ' ORDER BY reason) FROM ticketing.suspended_tickets s JOIN ticketing.order_tickets k USING (ticket_id) WHERE k.order_id = in_flight.id), format('dispute %s, refund %s', dispute_id(id), (SELECT refund_id FROM ticketing.refunds r WHERE r.order_id = in_flight.id)), 'each is suspended by what came first') FROM in_flight;
SELECT is(hear(dispute(id, 'lost', taken(id, 2662), '{"amount": 2662}'), 'closed') || ': ' || stands(id) || ', ' || seats_left(id), 'applied fetched, done: refunded: suspended void, 9', 'what a refund has suspended is the refund''s') FROM in_flight;
SELECT is(carry('create_refund', 200, '{"id": "re_in_dispute", "object": "refund", "status": "succeeded", "amount": 2663, "currency": "usd"}') || ': ' || stands(id) || ', ' || seats_left(id), 'done: refunded: refunded void, 10', 'which ends it, and gives the seat back') FROM in_flight;
CREATE TEMP TABLE restored AS SELECT paid_order('restored', 2) AS id;
SELECT ticketing.refund_order(id, 'disputes', tickets(id, 1)) FROM restored \g /dev/null
SELECT hear(dispute(id, 'needs_response', taken(id)), 'created'), hear(dispute(id, 'won', brought(id)), 'closed') FROM restored \g /dev/null
SELECT is(stands(id), 'paid: suspended active', 'won, it gives back only what it took') FROM restored;
SELECT is_empty('SELECT broken_invariants()', 'refunds and disputes: all is well');

-- ---- two disputes of one payment

CREATE TEMP TABLE twice AS SELECT paid_order('twice', 2) AS id;
SELECT hear(dispute(id, 'needs_response', taken(id)), 'created'), hear(dispute(id, 'needs_response', taken(id, suffix => 'b'), suffix => 'b'), 'created') FROM twice \g /dev/null
SELECT is(hear(dispute(id, 'won', brought(id)), 'closed') || ': ' || stands(id), 'applied fetched, done: disputed: suspended suspended', 'the first is won: the tickets are the second''s now') FROM twice;
SELECT is_empty('SELECT broken_invariants()', 'one of two: all is well');
SELECT is(hear(dispute(id, 'won', brought(id, 'b'), suffix => 'b')) || ': ' || stands(id), 'applied fetched, done: paid: active active', 'both are won') FROM twice;
CREATE TEMP TABLE halves AS SELECT paid_order('halves', 2) AS id;
SELECT hear(dispute(id, 'needs_response', taken(id)), 'created'), hear(dispute(id, 'needs_response', taken(id, suffix => 'b'), suffix => 'b'), 'created'), hear(dispute(id, 'lost', taken(id)), 'closed') FROM halves \g /dev/null
SELECT is(stands(id), 'disputed: void void', 'one is lost, the other open') FROM halves;
SELECT is(hear(dispute(id, 'won', brought(id, 'b'), suffix => 'b')) || ': ' || stands(id), 'applied fetched, done: refunded: void void', 'won, it does not bring back what the other lost') FROM halves;

-- ---- a payment that is not the one the order lives by

CREATE TEMP TABLE second AS SELECT paid_order('second', 2) AS id;
INSERT INTO ticketing.order_payments (object_id, order_id, payment_intent_id, state, created_at, updated_at) SELECT 'pi_second_of_disputes', id, 'pi_second_of_disputes', 'succeeded', now(), now() FROM second;
INSERT INTO ticketing.refunds (refund_id, order_id, event_id, payment_intent_id, reason, amount_cents, buyer_fee_cents, organizer_fee_cents, state, created_at, updated_at)
SELECT gen_random_uuid(), order_id, event_id, 'pi_second_of_disputes', 'duplicate', 5325, 325, 325, 'requested', now(), now() FROM ticketing.orders JOIN second ON id = order_id;
INSERT INTO ticketing.ledger SELECT kind, 'pi_second_of_disputes', from_account, to_account, amount_cents, currency, event_id, order_id, payee_account, at FROM ticketing.ledger JOIN second ON id = order_id;
SELECT is(hear(dispute(id, 'needs_response', taken(id), '{"payment_intent": "pi_second_of_disputes"}', 'x'), 'created') || ': ' || stands(id), 'applied fetched, done: paid: active active', 'the tickets were paid for by another') FROM second;
SELECT is(booked(id) || '; ' || found('disputes/' || dispute_id(id, 'x')), 'dispute 5325, dispute_fee 1500; second_payment_disputed', 'the money is booked; a person looks') FROM second;

-- ---- a settlement in another currency

CREATE TEMP TABLE foreign_money AS SELECT paid_order('foreign', 2) AS id;
SELECT hear(dispute(id, 'needs_response', '[{"id": "txn_foreign", "amount": -4900, "fee": 1500, "currency": "eur"}]'), 'created') FROM foreign_money \g /dev/null
SELECT is(show(id, '(SELECT string_agg(kind || '' '' || amount_cents || '' '' || l.currency, '', '' ORDER BY kind) FROM ticketing.ledger l WHERE source = ''txn_foreign'')'), 'dispute 5325 usd, dispute_fee 1500 eur', 'the payment is booked as it was paid, the bank''s price as it is') FROM foreign_money;

-- ---- a reversal of which nobody knows whether it happened

CREATE TEMP TABLE lookup AS SELECT paid_order('lookup', 2) AS id;
SELECT hear(dispute(id, 'lost', taken(id)), 'closed') FROM lookup \g /dev/null
SELECT ticketing.relay_claim(100, '1 minute') \g /dev/null
SELECT matches(body, 'metadata\[request_id\]=' || id, 'it says which request made it') FROM ticketing.stripe_requests WHERE kind = 'create_reversal' AND order_id = (SELECT id FROM lookup);
UPDATE ticketing.stripe_requests SET state = 'unknown', lease_token = NULL, lease_expires_at = NULL WHERE kind = 'create_reversal' AND order_id = (SELECT id FROM lookup);
SELECT ticketing.relay_claim(1, '1 minute') \g /dev/null
SELECT is(asked(id, 'list_created'), format('/v1/transfers/tr_%s/reversals {"limit": 100}', replace(id::text, '-', '')), 'the reversals of its transfer are listed') FROM lookup;
SELECT is(carry('list_created', 200, page(false, jsonb_build_object('id', 'trr_found', 'object', 'transfer_reversal', 'amount', 5325, 'metadata', jsonb_build_object('request_id', (SELECT id FROM ticketing.stripe_requests WHERE kind = 'create_reversal' AND order_id = lookup.id))))) || ': ' || booked(id, 'dp_%'), 'done: buyer_fee_refund 325, organizer_fee_refund 325, reversal 5325', 'it is found, and not made again') FROM lookup;

-- ---- what the host sees

SELECT set_eq($$ SELECT phase, amount_cents, currency, taken_back_cents, debt_cents, closed_at IS NOT NULL FROM ticketing.host_disputes('disputes') WHERE order_id IN (SELECT id FROM won UNION SELECT id FROM poor UNION SELECT id FROM lookup UNION SELECT id FROM inquiry) $$,
  $$ VALUES ('won', 5325::bigint, 'usd', 0::bigint, 0::bigint, true), ('lost', 5325, 'usd', 4675, 0, true), ('open', 5325, 'usd', 0, 0, false) $$, 'his disputes, and what they cost him');
SELECT is_empty($$ SELECT FROM ticketing.host_disputes('somebody else') $$, 'nobody else''s');
SELECT is(attempt('SELECT * FROM ticketing.host_disputes(NULL)'), 'PT400 bad_request', 'of whom?');
SELECT is((SELECT sum(CASE to_account WHEN 'organizer' THEN amount_cents ELSE 0 END - CASE from_account WHEN 'organizer' THEN amount_cents ELSE 0 END)::bigint FROM ticketing.ledger l JOIN shop ON l.event_id = shop.event), (SELECT balance_cents FROM ticketing.host_payout_summary('disputes')), 'his balance is what the ledger says');
SELECT is_empty('SELECT broken_invariants()', 'all is well');
SELECT * FROM finish();
ROLLBACK;
