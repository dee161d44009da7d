-- Paying: how long a buyer has, what comes late, the two rails, methods that settle later, and news that cannot be believed as it is.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(58);

CREATE TEMP TABLE shop AS SELECT make_event(make_host('payments')) AS event;

-- ---- the buyer's time

CREATE TEMP TABLE slow AS SELECT order_tickets('slow', event, items(make_tier(event), 1)) AS id FROM shop;
SELECT wait_until(ticketing.clock() + '9 minutes') \g /dev/null
SELECT relay(), relay() \g /dev/null
SELECT is(show(id, 'date_trunc(''second'', expires_at - ticketing.clock()) BETWEEN ''00:07:59'' AND ''00:08:00'''), 'true', 'the secret was ready after 9 minutes: the buyer has 8 minutes from then on') FROM slow;
SELECT is(show(id, '(SELECT h.expires_at - o.expires_at FROM ticketing.ticket_holds h WHERE h.order_id = o.order_id)'), '00:15:00', 'and Stripe 15 more') FROM slow;
SELECT is(show(id, 'due_at = expires_at'), 'true', 'then the order is due') FROM slow;
SELECT clear_outbox() \g /dev/null
CREATE TEMP TABLE old AS SELECT (ticketing.create_payment_intent('old', event, reservation_id => hold('old', event, items(make_tier(event), 1), '28 minutes')) ->> 'order_id')::uuid AS id FROM shop;
SELECT wait_until(ticketing.clock() + '25 minutes') \g /dev/null
SELECT relay(), relay() \g /dev/null
SELECT is(show(id, 'expires_at - (SELECT min(h.created_at) FROM ticketing.ticket_holds h WHERE h.order_id = o.order_id)'), '00:30:00', 'within the hold''s maximum age') FROM old;
CREATE TEMP TABLE quick AS SELECT unpaid_order('quick') AS id;
SELECT is(show(id, 'expires_at - created_at'), '00:10:00', 'who did not wait has what he was told') FROM quick;

-- 3-D Secure: 3 minutes more, once.
SELECT is(tell(id, 'payment_intent.requires_action', intent(id, 'requires_action')), 'applied: awaiting_payment', 'the buyer is asked to authenticate') FROM quick;
SELECT is(pass(id), 'awaiting_payment', 'and has not done so in time') FROM quick;
SELECT is(show(id, 'date_trunc(''second'', expires_at - ticketing.clock()) BETWEEN ''00:02:59'' AND ''00:03:00'''), 'true', 'he has 3 minutes more') FROM quick;
SELECT is(pass(id), 'expiring', 'once') FROM quick;
SELECT is(history(id), 'made requires_action extended hold_ended', 'all of which is in the log') FROM quick;

-- ---- methods that settle later

CREATE TEMP TABLE settling AS SELECT unpaid_order('settling') AS id;
SELECT is(tell(id, 'payment_intent.processing', intent(id, 'processing')), 'applied: processing', 'the payment settles later') FROM settling;
SELECT is(show(id, 'due_at - created_at'), '7 days', 'for 7 days at most') FROM settling;
SELECT is(carry(id, 'get_payment_intent', 200, intent(id, 'requires_payment_method', '{"last_payment_error": {"code": "debit_not_authorized"}}')), 'done: awaiting_payment', 'that it has failed meanwhile is seen, in whatever order the news come') FROM settling;
SELECT is(show(id, 'due_at = expires_at'), 'true', 'and its time is the buyer''s again') FROM settling;
CREATE TEMP TABLE soon AS SELECT unpaid_order('soon') AS id;
UPDATE public.events SET start_date = ticketing.clock() + '2 days' FROM shop WHERE id = event;
SELECT is(tell(id, 'payment_intent.processing', intent(id, 'processing')), 'applied: processing', 'the doors open in two days') FROM soon;
SELECT is(show(id, 'due_at = (SELECT start_date FROM public.events WHERE id = event_id)'), 'true', 'it has until then') FROM soon;
SELECT is(pass(id), 'expiring', 'and not longer') FROM soon;
SELECT is(carry(id, 'cancel_payment_intent', 400, '{"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}}'), 'failed: expiring', 'Stripe cannot cancel it') FROM soon;
SELECT is(carry(id, 'get_payment_intent', 200, intent(id, 'processing')), 'done: expiring', 'because it settles still') FROM soon;
SELECT is(pass(id), 'expired', 'its seats go back all the same') FROM soon;
UPDATE public.events SET start_date = ticketing.clock() + '30 days' FROM shop WHERE id = event;

-- ---- cancels that come too late

CREATE TEMP TABLE race AS SELECT unpaid_order('race') AS id;
SELECT is(pass(id), 'expiring', 'the time is over') FROM race;
SELECT is(carry(id, 'cancel_payment_intent', 400, '{"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}}'), 'failed: expiring', 'Stripe does not cancel') FROM race;
SELECT is(carry(id, 'get_payment_intent', 200, intent(id, 'succeeded')), 'done: paid', 'because it was paid') FROM race;
CREATE TEMP TABLE gone AS SELECT unpaid_order('gone') AS id;
SELECT pass(id) FROM gone \g /dev/null
SELECT carry(id, 'cancel_payment_intent', 404, '{"error": {"code": "resource_missing"}}') FROM gone \g /dev/null
SELECT is(carry(id, 'get_payment_intent', 404, '{"error": {"code": "resource_missing"}}'), 'failed: expired', 'what does not exist cannot be paid') FROM gone;

-- ---- late payments

CREATE TEMP TABLE late AS SELECT unpaid_order('late') AS id;
SELECT pass(id), pass(id) FROM late \g /dev/null
SELECT is(show(id, 'state'), 'expired', 'Stripe was out of reach for 15 minutes') FROM late;
SELECT is(tell(id, 'payment_intent.succeeded', intent(id, 'succeeded')), 'applied: paid', 'the payment comes, and the seats are there') FROM late;
SELECT is(history(id), 'made hold_ended grace_over succeeded seats_taken', 'they are taken again') FROM late;
SELECT is(show(id, '(SELECT count(*) FROM ticketing.order_tickets t WHERE t.order_id = o.order_id)'), '1', 'and there is a ticket') FROM late;
-- By time alone, when nobody looked: another buyer has taken the dead hold's seat.
CREATE TEMP TABLE unseen AS SELECT unpaid_order('unseen', seats => 1) AS id;
SELECT wait_until(due_at + '15 minutes') FROM ticketing.orders JOIN unseen ON order_id = unseen.id \g /dev/null
SELECT hold('quicker', event, items(tier_of(id), 1)) FROM unseen, shop \g /dev/null
SELECT is(tell(id, 'payment_intent.succeeded', intent(id, 'succeeded')), 'applied: refunding', 'the seat went to another by time alone: the payment is given back') FROM unseen;
SELECT is(tell(id, 'payment_intent.succeeded', intent(id, 'succeeded')), 'ignored no_transition: refunding', 'told again') FROM unseen;
SELECT is(show(id, '(SELECT count(*) FROM ticketing.stripe_requests r WHERE r.order_id = o.order_id AND kind = ''create_refund'')'), '1', 'once') FROM unseen;
SELECT is(carry(id, 'create_refund', 400, '{"error": {"code": "charge_already_refunded"}}'), 'failed: refund_failed', 'somebody gave it back by hand') FROM unseen;
SELECT is(carry(id, 'list_refunds', 200, page(false, dashboard_refund(id, 're_by_hand', 2663))), 'done: refunded', 'that is as good') FROM unseen;
-- The user's limit.
CREATE TEMP TABLE limited AS SELECT unpaid_order('limited', per_user => 1) AS id;
SELECT pass(id), pass(id) FROM limited \g /dev/null
SELECT hold('limited', event, items(tier_of(id), 1)) FROM limited, shop \g /dev/null
SELECT is(tell(id, 'payment_intent.succeeded', intent(id, 'succeeded')), 'applied: refunding', 'who holds all that he may have gets his late payment back') FROM limited;

-- ---- Stripe's own page

CREATE FUNCTION session(of_order uuid, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', 'cs_' || replace(of_order::text, '-', ''), 'object', 'checkout.session', 'status', 'open', 'payment_status', 'unpaid', 'payment_intent', NULL, 'livemode', false,
    'url', 'https://checkout.example/' || of_order, 'metadata', jsonb_build_object('order_id', of_order)) || changes
$$;
CREATE FUNCTION paid_session(of_order uuid) RETURNS jsonb LANGUAGE sql AS
$$ SELECT session(of_order, jsonb_build_object('status', 'complete', 'payment_status', 'paid', 'payment_intent', intent(of_order, 'succeeded') ->> 'id', 'url', NULL)) $$;
CREATE FUNCTION new_session(buyer text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  event integer := (SELECT shop.event FROM shop);
  made uuid;
BEGIN
  INSERT INTO public.stripe_customers VALUES (buyer, 'cus_' || buyer);
  PERFORM clear_outbox();
  made := ticketing.create_checkout_session(buyer, event, items(make_tier(event), 2), success_url => 'https://example.com/done', cancel_url => 'https://example.com/back') ->> 'order_id';
  PERFORM carry(made, 'create_checkout_session', 200, session(made));
  RETURN made;
END
$$;
CREATE TEMP TABLE page AS SELECT new_session('page') AS id;
SELECT matches(body, '^' || pattern, 'what Stripe''s page is told') FROM page JOIN LATERAL (SELECT ticketing.stripe_form(params) AS body FROM ticketing.stripe_requests r WHERE r.order_id = page.id) b ON true,
  (VALUES ('.*line_items\[0\]\[quantity\]=2&?.*line_items\[1\]\[price_data\]\[unit_amount\]=325'), ('.*payment_intent_data\[transfer_data\]\[destination\]=acct_payments'), ('.*mode=payment'), ('.*success_url=https%3A%2F%2Fexample.com%2Fdone')) p (pattern);
SELECT results_eq('SELECT h.user_id, h.url FROM ticketing.stripe_handoff h JOIN page ON page.id = h.order_id', $$ SELECT 'page', 'https://checkout.example/' || id FROM page $$, 'its address is there for the buyer');
SELECT is(tell(id, 'payment_intent.succeeded', intent(id, 'succeeded')), 'parked unknown_object: awaiting_payment', 'the payment is heard of before the session') FROM page;
SELECT is(tell(id, 'checkout.session.completed', paid_session(id)), 'applied: paid', 'the session says whose it is: paid') FROM page;
SELECT is(show(id, '(SELECT count(*) FROM public.tickets t JOIN ticketing.order_tickets k ON k.ticket_id = t.id WHERE k.order_id = o.order_id AND t.stripe_checkout_session_id = o.checkout_session_id AND t.stripe_payment_intent_id = o.payment_intent_id)'), '2', 'and the tickets name both') FROM page;
CREATE TEMP TABLE asked AS SELECT new_session('asked') AS id;
SELECT is(tell(id, 'checkout.session.completed', paid_session(id)), 'applied: awaiting_payment', 'a session alone does not say who is paid') FROM asked;
SELECT is(carry(id, 'get_payment_intent', 200, intent(id, 'succeeded')), 'done: paid', 'its PaymentIntent is asked') FROM asked;
CREATE TEMP TABLE debit AS SELECT new_session('debit') AS id;
SELECT tell(id, 'checkout.session.completed', session(id, jsonb_build_object('status', 'complete', 'payment_intent', intent(id, 'processing') ->> 'id'))), tell(id, 'payment_intent.processing', intent(id, 'processing')) FROM debit \g /dev/null
SELECT is(tell(id, 'checkout.session.async_payment_failed', session(id, jsonb_build_object('status', 'complete', 'payment_intent', intent(id, 'processing') ->> 'id'))), 'applied: expiring', 'a debit that fails cannot be tried again on that page') FROM debit;
SELECT is(tell(id, 'payment_intent.canceled', intent(id, 'canceled')), 'applied: expired', 'its PaymentIntent is canceled') FROM debit;

-- From one rail to the other, and both paid (33).
CREATE TEMP TABLE both_rails AS SELECT unpaid_order('both') AS id;
SELECT is((ticketing.create_checkout_session('both', o.event_id, reservation_id => o.reservation_id, success_url => 'https://example.com/') ->> 'order_id')::uuid, o.order_id, 'the other rail: the same order') FROM ticketing.orders o JOIN both_rails b ON b.id = o.order_id;
SELECT is(outbox(id), 'create_payment_intent done, cancel_payment_intent ready, create_checkout_session ready', 'the PaymentIntent is canceled') FROM both_rails;
SELECT is((SELECT q.waits_for = c.id AND NOT q.runnable FROM ticketing.stripe_requests q, ticketing.stripe_requests c WHERE q.order_id = b.id AND c.order_id = b.id AND q.kind = 'create_checkout_session' AND c.kind = 'cancel_payment_intent'), true, 'before the session is made') FROM both_rails b;
SELECT is(carry(id, 'cancel_payment_intent', 200, intent(id, 'canceled')) || ', ' || carry(id, 'create_checkout_session', 200, session(id)), 'done: awaiting_payment, done: awaiting_payment', 'the order goes on') FROM both_rails;
SELECT is(tell(id, 'payment_intent.succeeded', intent(id, 'succeeded')), 'applied: paid', 'the first one was paid all the same') FROM both_rails;
SELECT is(tell(id, 'checkout.session.completed', session(id, '{"status": "complete", "payment_status": "paid", "payment_intent": "pi_second_of_both"}')), 'applied: paid', 'and so is the second') FROM both_rails;
SELECT is(carry(id, 'get_payment_intent', 200, intent(id, 'succeeded', '{"id": "pi_second_of_both"}')) || show(id, '(SELECT string_agg(reason || '' '' || payment_intent_id, '','') FROM ticketing.refunds r WHERE r.order_id = o.order_id)'),
  'done: paidduplicate pi_second_of_both', 'which is given back') FROM both_rails;

-- What the client needs is gone here, its mobile SDK's key, too: both are asked for again.
SELECT clear_outbox() \g /dev/null
CREATE TEMP TABLE mobile AS SELECT (ticketing.create_payment_intent('mobile', event, items(make_tier(event), 1), mobile_api_version => '2024-06-20') ->> 'order_id')::uuid AS id FROM shop;
SELECT relay(), relay(), relay() \g /dev/null
SELECT is((SELECT count(*) FROM ticketing.stripe_handoff JOIN mobile ON order_id = id), 2::bigint, 'a secret and a key are there');
DELETE FROM ticketing.stripe_handoff;
SELECT ticketing.create_payment_intent('mobile', event_id, reservation_id => reservation_id, mobile_api_version => '2024-06-20') FROM ticketing.orders JOIN mobile ON order_id = id \g /dev/null
SELECT is(outbox(id), 'create_ephemeral_key done, create_payment_intent done, create_ephemeral_key ready, get_payment_intent ready', 'lost, both are asked for again') FROM mobile;

-- ---- news in another version of the API

CREATE TEMP TABLE other_version AS SELECT unpaid_order('version') AS id;
SELECT is(tell(id, 'payment_intent.succeeded', intent(id, 'succeeded'), '{"api_version": "2019-12-03"}'), 'applied fetched: awaiting_payment', 'its fields may mean something else') FROM other_version;
SELECT is(carry(id, 'get_payment_intent', 200, intent(id, 'succeeded')), 'done: paid', 'the object is asked for in ours') FROM other_version;
SELECT is_empty('SELECT broken_invariants()', 'all is well');
SELECT * FROM finish();
ROLLBACK;
