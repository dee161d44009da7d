-- What moves an order: the table itself, and every event on an order in every state that it can rest in, through the functions
-- that bring the event in production.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(51);

-- ---- the table

CREATE TEMP TABLE design (state text, event text, effect text, to_state text);
INSERT INTO design SELECT f, e, 'moves', t FROM (VALUES
  ('created', 'free', 'paid'),
  ('awaiting_payment', 'requires_action', 'awaiting_payment'), ('awaiting_payment', 'declined', 'awaiting_payment'), ('awaiting_payment', 'processing', 'processing'),
  ('awaiting_payment', 'hold_ended', 'expiring'), ('awaiting_payment', 'user_canceled', 'canceling'), ('awaiting_payment', 'stripe_canceled', 'canceled'),
  ('processing', 'declined', 'awaiting_payment'), ('processing', 'hold_ended', 'expiring'), ('processing', 'stripe_canceled', 'canceled'),
  ('expiring', 'declined', 'expiring'), ('expiring', 'processing', 'processing'), ('expiring', 'stripe_canceled', 'expired'), ('expiring', 'grace_over', 'expired'),
  ('canceling', 'declined', 'canceling'), ('canceling', 'processing', 'processing'), ('canceling', 'stripe_canceled', 'canceled'), ('canceling', 'grace_over', 'canceled'),
  ('expired', 'succeeded', 'late_paid'), ('canceled', 'succeeded', 'late_paid'), ('late_paid', 'seats_taken', 'paid'), ('late_paid', 'seats_gone', 'refunding'),
  ('refund_failed', 'restored', 'paid')) v (f, e, t)
UNION ALL SELECT f, 'refund_requested', 'moves', 'refunding' FROM unnest(ARRAY['paid', 'partially_refunded', 'refund_failed', 'review']) f
UNION ALL SELECT f, e, 'moves', t FROM unnest(ARRAY['paid', 'partially_refunded', 'refunding', 'refund_failed']) f, (VALUES ('part_refunded', 'partially_refunded'), ('refund_succeeded', 'refunded')) v (e, t)
UNION ALL SELECT f, 'refund_failed', 'moves', 'refund_failed' FROM unnest(ARRAY['paid', 'partially_refunded', 'refunding', 'refunded']) f
UNION ALL SELECT f, e, 'moves', f FROM unnest(ARRAY['paid', 'partially_refunded', 'refunding', 'refunded', 'refund_failed']) f, unnest(ARRAY['dispute_opened', 'dispute_won', 'dispute_lost', 'dispute_settled']) e
UNION ALL SELECT f, 'dispute_opened', 'finding', f FROM unnest(ARRAY['review', 'expired', 'canceled']) f
UNION ALL SELECT f, e, 'moves', t FROM unnest(ARRAY['awaiting_payment', 'processing', 'expiring', 'canceling']) f, (VALUES ('succeeded', 'paid'), ('seats_lost', 'late_paid'), ('differs', 'review')) v (e, t)
UNION ALL SELECT f, 'duplicate', 'moves', f FROM unnest(ARRAY['paid', 'partially_refunded', 'refunding', 'refunded', 'refund_failed']) f
UNION ALL VALUES ('expired', 'differs', 'finding', 'expired'), ('canceled', 'differs', 'finding', 'canceled'), ('review', 'duplicate', 'finding', 'review');
SELECT set_eq($$ SELECT state, event, effect, to_state FROM ticketing.order_transitions() WHERE effect <> 'ignored' $$, 'SELECT * FROM design', 'what moves an order, and what is reported');
SELECT is_empty($$ SELECT FROM ticketing.order_transitions() WHERE effect = 'ignored' AND to_state <> state $$, 'all the rest is ignored');
SELECT is((SELECT count(*) FROM ticketing.order_transitions()), 14 * 23::bigint, 'each state has each event');
SELECT is_empty($$ SELECT DISTINCT public_status FROM ticketing.order_transitions() EXCEPT SELECT unnest(ARRAY['created', 'payment_pending', 'payment_failed', 'paid', 'partially_refunded', 'refunded', 'disputed']) $$,
  'public.orders has a word for each');

-- ---- each of them happens

CREATE TEMP TABLE shop AS SELECT make_event(make_host('states')) AS event;
-- Delivers an event about the order's PaymentIntent, or about another one.
CREATE FUNCTION tell_of_payment(id uuid, type text, status text, changes jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN tell(id, 'payment_intent.' || type, intent(id, status, changes));
END
$$;
-- Stripe's answer to the order's request for a refund, or to the question how it stands.
CREATE FUNCTION refund_answer(of_order uuid, status text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM carry(of_order, kind, 200, jsonb_build_object('id', 're_' || replace(of_order::text, '-', ''), 'object', 'refund', 'status', status)) FROM unnest(ARRAY['create_refund', 'get_refund']) kind;
END
$$;
-- Does to an order what an event is in production.
CREATE FUNCTION happen(id uuid, what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  other text := 'pi_other_' || replace(id::text, '-', '');
BEGIN
  CASE what
    WHEN 'requires_action', 'processing', 'canceled', 'succeeded' THEN PERFORM tell_of_payment(id, what, what);
    WHEN 'declined' THEN PERFORM tell_of_payment(id, 'payment_failed', 'requires_payment_method', '{"last_payment_error": {"code": "card_declined"}}');
    WHEN 'differs' THEN PERFORM tell_of_payment(id, 'succeeded', 'succeeded', '{"amount_received": 1}');
    WHEN 'another succeeded' THEN
      INSERT INTO ticketing.order_payments SELECT other, id, other, 'open', ticketing.clock(), ticketing.clock();
      PERFORM tell_of_payment(id, 'succeeded', 'succeeded', jsonb_build_object('id', other));
    WHEN 'time' THEN PERFORM pass(id);
    WHEN 'cancel_order' THEN PERFORM attempt(format('SELECT ticketing.cancel_order(%L, user_id) FROM ticketing.orders WHERE order_id = %1$L', id));
    WHEN 'refunded' THEN PERFORM refund_answer(id, 'succeeded');
    WHEN 'refund failed' THEN
      IF NOT EXISTS (SELECT FROM ticketing.refunds r WHERE r.order_id = id AND stripe_refund_id IS NULL) THEN
        PERFORM tell('refund.failed', jsonb_build_object('id', 're_' || replace(id::text, '-', ''), 'object', 'refund', 'status', 'failed', 'payment_intent', intent(id, 'succeeded') ->> 'id'));
      END IF;
      PERFORM refund_answer(id, 'failed');
  END CASE;
END
$$;
-- An order of one seat of a tier of its own, brought into a state.
CREATE FUNCTION reach(state text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  id uuid := unpaid_order('state ' || nextval('n'), seats => 1);
BEGIN
  CASE state
    WHEN 'awaiting_payment' THEN NULL;
    WHEN 'processing' THEN PERFORM happen(id, 'processing');
    WHEN 'expiring' THEN PERFORM pass(id);
    WHEN 'canceling' THEN PERFORM happen(id, 'cancel_order');
    WHEN 'expired' THEN PERFORM pass(id), pass(id);
    WHEN 'canceled' THEN PERFORM happen(id, 'cancel_order'), happen(id, 'canceled');
    WHEN 'paid' THEN PERFORM happen(id, 'succeeded');
    WHEN 'review' THEN PERFORM happen(id, 'differs');
    ELSE
      PERFORM pass(id), pass(id), hold('another', (SELECT event FROM shop), items(tier_of(id), 1)), happen(id, 'succeeded');
      IF state IN ('refunded', 'refund_failed') THEN PERFORM happen(id, replace(state, '_', ' ')); END IF;
  END CASE;
  RETURN id;
END
$$;

CREATE TEMP TABLE expected (state text, requires_action text, declined text, processing text, succeeded text, differs text, another_succeeded text, canceled text, "time" text, cancel_order text);
INSERT INTO expected VALUES
  ('awaiting_payment', '-', '-', 'processing', 'paid', 'review', 'paid', 'canceled', 'expiring', 'canceling'),
  ('processing', '-', 'awaiting_payment', '-', 'paid', 'review', 'paid', 'canceled', 'expiring', '-'),
  ('expiring', '-', '-', 'processing', 'paid', 'review', 'paid', 'expired', 'expired', '-'),
  ('canceling', '-', '-', 'processing', 'paid', 'review', 'paid', 'canceled', 'canceled', '-'),
  ('expired', '-', '-', '-', 'paid', '-', 'paid', '-', '-', '-'),
  ('canceled', '-', '-', '-', 'paid', '-', 'paid', '-', '-', '-'),
  ('paid', '-', '-', '-', '-', '-', '-', '-', '-', '-'),
  ('review', '-', '-', '-', '-', '-', '-', '-', '-', '-'),
  ('refunding', '-', '-', '-', '-', '-', '-', '-', '-', '-'),
  ('refunded', '-', '-', '-', '-', '-', '-', '-', '-', '-'),
  ('refund_failed', '-', '-', '-', '-', '-', '-', '-', '-', '-');
CREATE FUNCTION outcome(state text, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  id uuid := reach(state);
BEGIN
  IF show(id, 'state') IS DISTINCT FROM state THEN RETURN 'not reached: ' || show(id, 'state'); END IF;
  PERFORM happen(id, what);
  RETURN coalesce(nullif(show(id, 'state'), state), '-');
END
$$;
SELECT results_eq(
  format('SELECT outcome(%L, e) FROM unnest(ARRAY[''requires_action'', ''declined'', ''processing'', ''succeeded'', ''differs'', ''another succeeded'', ''canceled'', ''time'', ''cancel_order'']) WITH ORDINALITY u (e, n) ORDER BY n', state),
  format('SELECT v FROM expected e, unnest(ARRAY[e.requires_action, e.declined, e.processing, e.succeeded, e.differs, e.another_succeeded, e.canceled, e.time, e.cancel_order]) WITH ORDINALITY u (v, n) WHERE e.state = %L ORDER BY n', state),
  format('%s: each event does what the table says', state))
FROM expected;
SELECT is(outcome(state, what), to_state, format('%s, %s', state, what)) FROM (VALUES ('refunding', 'refunded', 'refunded'), ('refunding', 'refund failed', 'refund_failed'), ('refunded', 'refund failed', 'refund_failed'),
  ('refund_failed', 'refunded', '-')) v (state, what, to_state);
SELECT is_empty('SELECT broken_invariants()', 'and all is well after them');

-- ---- what is refused by cancel_order, and what it says of what is over

SELECT is(attempt(format('SELECT ticketing.cancel_order(%L, ''somebody else'')', reach('awaiting_payment'))), 'PT404 not_found', 'an order is its owner''s');
CREATE FUNCTION refusal_of(state text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  id uuid := reach(state);
BEGIN
  RETURN attempt(format('SELECT ticketing.cancel_order(%L, %L)', id, (SELECT user_id FROM ticketing.orders WHERE order_id = id)));
END
$$;
SELECT is(refusal_of(state), refusal, 'cancel_order: ' || state) FROM (VALUES ('awaiting_payment', 'ok'), ('expiring', 'ok'), ('canceling', 'ok'), ('expired', 'ok'), ('canceled', 'ok'),
  ('paid', 'PT409 already_done'), ('processing', 'PT409 wrong_state'), ('review', 'PT409 wrong_state'), ('refunding', 'PT409 wrong_state')) v (state, refusal);

-- ---- seats, and what Stripe is asked

SELECT is(seats(reach(state)), seats, state || ': ' || seats) FROM (VALUES ('awaiting_payment', '1 held, 0 sold, 0 left'), ('processing', '1 held, 0 sold, 0 left'), ('expiring', '1 held, 0 sold, 0 left'), ('canceling', '1 held, 0 sold, 0 left'),
  ('expired', '0 held, 0 sold, 1 left'), ('canceled', '0 held, 0 sold, 1 left'), ('paid', '0 held, 1 sold, 0 left'), ('review', '1 held, 0 sold, 0 left')) v (state, seats);
SELECT is(outbox(reach('expiring')), 'create_payment_intent done, cancel_payment_intent ready', 'at the end of the time Stripe is asked to cancel');
SELECT is(outbox(reach('canceling')), 'create_payment_intent done, cancel_payment_intent ready', 'and when the buyer gives up');
SELECT is(outbox(reach('processing')), 'create_payment_intent done, get_payment_intent ready', 'news of a payment that settles is checked: it may be old');
SELECT is(outbox(reach('refunding')), 'create_payment_intent done, cancel_payment_intent ready, create_refund ready', 'a late payment is given back');
CREATE TEMP TABLE twice AS SELECT reach('paid') AS id;
SELECT happen(id, 'another succeeded'), tell_of_payment(id, 'succeeded', 'succeeded', jsonb_build_object('id', 'pi_other_' || replace(id::text, '-', ''))) FROM twice \g /dev/null
SELECT is(outbox(id), 'create_payment_intent done, create_refund ready', 'a second payment is given back, once') FROM twice;
SELECT results_eq($$ SELECT r.reason, r.payment_intent_id = 'pi_other_' || replace(twice.id::text, '-', ''), q.params ->> 'payment_intent' = r.payment_intent_id, q.params -> 'reverse_transfer', q.params -> 'refund_application_fee'
  FROM twice JOIN ticketing.refunds r ON r.order_id = twice.id JOIN ticketing.stripe_requests q ON q.id = r.stripe_request_id $$, $$ VALUES ('duplicate', true, true, 'true'::jsonb, 'true'::jsonb) $$, 'the second one, whole, from whom it went to');
SELECT happen(id, 'refunded') FROM twice \g /dev/null
SELECT is(show(id, 'state') || ' ' || history(id), 'paid made succeeded duplicate duplicate_refunded', 'and the order is as it was') FROM twice;

-- Before anything was sent nothing is to be canceled: the seats are back at once.
SELECT clear_outbox() \g /dev/null
CREATE TEMP TABLE unsent AS SELECT order_tickets('unsent', event, items(make_tier(event, 2500, 1), 1)) AS id FROM shop;
SELECT happen(id, 'cancel_order') FROM unsent \g /dev/null
SELECT is(show(id, 'state') || ', ' || seats(id), 'canceled, 0 held, 0 sold, 1 left', 'an order whose requests were never sent ends at once') FROM unsent;
SELECT results_eq($$ SELECT r.kind, r.state, r.error ->> 'code' FROM ticketing.stripe_requests r JOIN unsent ON order_id = unsent.id ORDER BY seq $$, $$ VALUES ('create_payment_intent', 'failed', 'order_ended') $$, 'and nothing is created for it');
-- One that was sent comes back, and is canceled then.
SELECT clear_outbox() \g /dev/null
CREATE TEMP TABLE sent AS SELECT order_tickets('sent', event, items(make_tier(event, 2500, 1), 1)) AS id FROM shop;
INSERT INTO public.stripe_customers VALUES ('sent', 'cus_sent');
UPDATE ticketing.stripe_requests SET waits_for = NULL, runnable = true, run_at = ticketing.clock() FROM sent WHERE order_id = sent.id;
DELETE FROM ticketing.stripe_requests WHERE kind = 'create_customer' AND state = 'ready';
SELECT ticketing.relay_claim(100, '1 minute'), happen(id, 'cancel_order') FROM sent \g /dev/null
SELECT is(show(id, 'state') || ', ' || seats(id), 'canceling, 1 held, 0 sold, 0 left', 'one that is on its way is waited for') FROM sent;
SELECT carry(id, 'create_payment_intent', 200, intent(id, 'requires_payment_method')) FROM sent \g /dev/null
SELECT is(outbox(id), 'create_payment_intent done, cancel_payment_intent ready', 'and canceled when it is there') FROM sent;
SELECT is_empty('SELECT FROM sent JOIN ticketing.stripe_handoff h ON h.order_id = sent.id', 'its secret is not handed out');
SELECT is_empty('SELECT broken_invariants()', 'all is well');
SELECT * FROM finish();
ROLLBACK;
