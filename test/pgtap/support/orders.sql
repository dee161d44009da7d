-- Orders as Stripe moves them, for tests: \ir support/orders.sql after support/setup.sql.
SELECT ticketing.relay_start('acct_platform', false, '') \g /dev/null
CREATE SEQUENCE n;

-- In plpgsql, whose statements see what this very statement did before.
CREATE FUNCTION show(of_order uuid, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  shown text;
BEGIN
  EXECUTE format('SELECT (%s)::text FROM ticketing.orders o WHERE order_id = %L', what, of_order) INTO shown;
  RETURN shown;
END
$$;
-- The clock stands at an instant, or where it is if that is past. (An offset that is read back is rounded: it is derived anew.)
CREATE FUNCTION wait_until(instant timestamptz) RETURNS void LANGUAGE sql AS $$
  SELECT set_config('dvnt_ticketing.test_clock_offset', (extract(epoch FROM greatest(instant, ticketing.clock()) - clock_timestamp()) * 1000 + 1)::text, true)
$$;
CREATE FUNCTION pass(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM wait_until((SELECT due_at FROM ticketing.orders WHERE order_id = of_order));
  PERFORM ticketing.end_due_orders();
  RETURN show(of_order, 'state');
END
$$;
-- Delivers an event; says what became of it and of the order.
CREATE FUNCTION tell(of_order uuid, type text, object jsonb, changes jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  payload bytea := stripe_event('evt_payments_' || nextval('n'), type, object, changes);
  said jsonb := ticketing.stripe_webhook(payload, stripe_signature(payload));
BEGIN
  RETURN concat_ws(' ', said ->> 'outcome', said ->> 'reason') || ': ' || show(of_order, 'state');
END
$$;
-- Stripe's answer to the order's request of a kind, whatever else is in the outbox; with the order's state after it.
CREATE FUNCTION carry(of_order uuid, what text, http integer, said_body jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said text;
BEGIN
  PERFORM ticketing.relay_claim(100, '1 minute');
  SELECT ticketing.relay_complete(r.id, r.lease_token, http, '{}', convert_to(said_body::text, 'UTF8')) INTO said
  FROM ticketing.stripe_requests r WHERE r.order_id = of_order AND r.kind = what AND r.state = 'leased';
  RETURN coalesce(said, 'nothing') || ': ' || show(of_order, 'state');
END
$$;
CREATE FUNCTION outbox(of_order uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(r.kind || ' ' || r.state, ', ' ORDER BY r.seq) FROM ticketing.stripe_requests r WHERE r.order_id = of_order);
END
$$;
