-- Orders as Stripe moves them, for tests: \ir support/orders.sql after support/setup.sql. The event is that of the test's
-- table shop, unless another is named. In plpgsql, whose statements see what this very statement did before.
SELECT ticketing.relay_start('acct_platform', false, '') \g /dev/null
CREATE SEQUENCE n;

-- ---- what is bought

-- Requests that nobody has answered are no part of what follows.
CREATE FUNCTION clear_outbox() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM ticketing.stripe_requests WHERE state IN ('ready', 'leased');
END
$$;
-- The event that is named, or the test's.
CREATE FUNCTION this_event(named integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
  IF named IS NULL THEN
    RETURN (SELECT event FROM shop);
  END IF;
  RETURN named;
END
$$;
-- Orders of so many tickets of a tier of their own: one that the buyer can pay, one that he has paid, and one of free tickets.
CREATE FUNCTION unpaid_order(buyer text, quantity integer DEFAULT 1, price integer DEFAULT 2500, seats integer DEFAULT 10, per_user integer DEFAULT NULL, of_event integer DEFAULT NULL) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  its_event integer := this_event(of_event);
BEGIN
  PERFORM clear_outbox();
  RETURN payable_order(buyer, its_event, items(make_tier(its_event, price, seats, per_user), quantity));
END
$$;
CREATE FUNCTION paid_order(buyer text, quantity integer DEFAULT 1, price integer DEFAULT 2500, seats integer DEFAULT 10, of_event integer DEFAULT NULL) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  made uuid := unpaid_order(buyer, quantity, price, seats, of_event => of_event);
BEGIN
  PERFORM pay(made);
  RETURN made;
END
$$;
CREATE FUNCTION free_order(buyer text, quantity integer DEFAULT 1, of_event integer DEFAULT NULL) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  its_event integer := this_event(of_event);
BEGIN
  RETURN ticketing.claim_free_tickets(buyer, its_event, items(make_tier(its_event, 0), quantity)) ->> 'order_id';
END
$$;

-- ---- what is to be seen of an order

-- An expression of the row o of ticketing.orders.
CREATE FUNCTION show(of_order uuid, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  shown text;
BEGIN
  EXECUTE format('SELECT (%s)::text FROM ticketing.orders o WHERE order_id = %L', what, of_order) INTO shown;
  RETURN shown;
END
$$;
-- All events of its log.
CREATE FUNCTION history(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(event, ' ' ORDER BY id) FROM ticketing.order_events WHERE order_id = of_order);
END
$$;
CREATE FUNCTION outbox(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(r.kind || ' ' || r.state, ', ' ORDER BY r.seq) FROM ticketing.stripe_requests r WHERE r.order_id = of_order);
END
$$;
-- Its tickets by their places, and how they stand, one after the other; a suspended one is void in public.
CREATE FUNCTION ticket(of_order uuid, place integer DEFAULT 1) RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT ticket_id FROM ticketing.order_tickets WHERE order_id = of_order ORDER BY item, ordinal OFFSET place - 1 LIMIT 1);
END
$$;
CREATE FUNCTION tickets(of_order uuid, VARIADIC places integer[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT array_agg(ticket(of_order, place) ORDER BY place) FROM unnest(places) place);
END
$$;
CREATE FUNCTION statuses(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(CASE WHEN s.ticket_id IS NOT NULL THEN 'suspended' ELSE t.status END, ' ' ORDER BY k.item, k.ordinal)
          FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id LEFT JOIN ticketing.suspended_tickets s ON s.ticket_id = t.id WHERE k.order_id = of_order);
END
$$;
-- Its tier, where it has one alone, and the seats of that.
CREATE FUNCTION tier_of(of_order uuid) RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT ticket_type_id FROM ticketing.order_items WHERE order_id = of_order);
END
$$;
CREATE FUNCTION seats_left(of_order uuid) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
  RETURN available(tier_of(of_order));
END
$$;
CREATE FUNCTION seats(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT format('%s held, %s sold, %s left', a.held, a.sold, a.available) FROM public.ticket_types t, ticketing.availability(t.event_id) a WHERE t.id = tier_of(of_order) AND a.ticket_type_id = t.id);
END
$$;
-- What an account of the ledger has of it.
CREATE FUNCTION balance(of_order uuid, account text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT coalesce(sum(CASE account WHEN to_account THEN amount_cents WHEN from_account THEN -amount_cents END), 0) FROM ticketing.ledger WHERE order_id = of_order);
END
$$;

-- ---- time

-- The clock stands at an instant, or where it is if that is past. (An offset that is read back is rounded: it is derived anew.)
CREATE FUNCTION wait_until(instant timestamptz) RETURNS void LANGUAGE sql AS $$
  SELECT set_config('dvnt_ticketing.test_clock_offset', (extract(epoch FROM greatest(instant, ticketing.clock()) - clock_timestamp()) * 1000 + 1)::text, true)
$$;
-- Time passes until an order is due, and somebody looks.
CREATE FUNCTION pass(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM wait_until((SELECT due_at FROM ticketing.orders WHERE order_id = of_order));
  PERFORM ticketing.end_due_orders();
  RETURN show(of_order, 'state');
END
$$;

-- ---- what Stripe says

-- Delivers an event; says what became of it, and of an order.
CREATE FUNCTION tell(type text, object jsonb, changes jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  payload bytea := stripe_event('evt_told_' || nextval('n'), type, object, changes);
  said jsonb := ticketing.stripe_webhook(payload, stripe_signature(payload));
BEGIN
  RETURN concat_ws(' ', said ->> 'outcome', said ->> 'reason');
END
$$;
CREATE FUNCTION tell(of_order uuid, type text, object jsonb, changes jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN tell(type, object, changes) || ': ' || show(of_order, 'state');
END
$$;
-- Answers the oldest request of a kind, or the oldest of an order's, whatever else is in the outbox; says what became of the
-- answer, with what kept it from being applied, and of the order.
CREATE FUNCTION carry(what text, http integer, body jsonb, of_order uuid DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  asked record;
  said text;
BEGIN
  PERFORM ticketing.relay_claim(100, '1 minute');
  SELECT id, lease_token INTO asked FROM ticketing.stripe_requests WHERE kind = what AND state = 'leased' AND (of_order IS NULL OR order_id = of_order) ORDER BY seq LIMIT 1;
  IF NOT FOUND THEN
    RETURN 'nothing';
  END IF;
  said := ticketing.relay_complete(asked.id, asked.lease_token, http, '{}', convert_to(carry.body::text, 'UTF8'));
  RETURN concat_ws(' ', said, (SELECT apply_error FROM ticketing.stripe_requests WHERE id = asked.id));
END
$$;
CREATE FUNCTION carry(of_order uuid, what text, http integer, body jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN carry(what, http, body, of_order) || ': ' || show(of_order, 'state');
END
$$;
-- Requests of a kind are answered, but the effect fails: the sweep applies it, when only some fields are left.
CREATE FUNCTION carry_late(what text, kept jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ticketing.relay_claim(100, '1 minute');
  UPDATE ticketing.stripe_requests SET state = 'done', applied = false, apply_error = 'x', lease_token = NULL, lease_expires_at = NULL, completed_at = ticketing.clock(), answer = kept
  WHERE kind = what AND state = 'leased';
  PERFORM ticketing.sweep_stripe();
END
$$;
-- A dispute that the engine knows of, without what follows from one.
CREATE FUNCTION known_dispute(of_order uuid, id text, amount integer, status text, phase text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ticketing.disputes (dispute_id, order_id, event_id, payment_intent_id, amount_cents, currency, status, phase, created_at, updated_at)
  SELECT id, order_id, event_id, payment_intent_id, amount, currency, known_dispute.status, known_dispute.phase, ticketing.clock(), ticketing.clock() FROM ticketing.orders WHERE order_id = of_order;
END
$$;
-- A list of Stripe's.
CREATE FUNCTION page(more boolean, VARIADIC objects jsonb[]) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('object', 'list', 'has_more', more, 'data', to_jsonb(objects)) $$;
-- A refund that somebody has made at Stripe.
CREATE FUNCTION dashboard_refund(of_order uuid, id text, amount integer, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN jsonb_build_object('id', id, 'object', 'refund', 'status', 'succeeded', 'amount', amount, 'payment_intent', show(of_order, 'payment_intent_id')) || changes;
END
$$;
