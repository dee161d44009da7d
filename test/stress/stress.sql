-- What the clients of this folder sell, and what must be the case when they have done their worst. Goes into the schema
-- stress; needs test/pgtap/support/helpers.sql in the schema test.
CREATE SCHEMA stress;
GRANT USAGE ON SCHEMA stress TO PUBLIC;
SET search_path = test, public;

-- ---- things to sell

-- crowded: every tier is short, and so is the event. roomy: many shards, and tiers without limit. doorway: the event
-- alone is limited. last: the last seats.
SELECT make_host('host');
CREATE TABLE stress.events AS
SELECT name, make_event('host', seats) AS event_id, seats FROM (VALUES ('crowded', 60), ('roomy', NULL), ('doorway', 8), ('last', NULL)) e (name, seats);
CREATE TABLE stress.tiers AS
SELECT e.event_id, make_tier(e.event_id, price, t.seats, per_user) AS tier, price
FROM stress.events e JOIN (VALUES
  ('crowded', 2500, 30, NULL), ('crowded', 1500, 30, 4), ('crowded', 0, 20, NULL), ('crowded', 0, NULL, 2),
  ('roomy', 900, 3000, NULL), ('roomy', 0, 300, 6), ('roomy', 700, NULL, NULL),
  ('doorway', 2000, NULL, 3), ('doorway', 0, NULL, NULL),
  ('last', 5000, 1, NULL), ('last', 0, 3, NULL)) t (name, price, seats, per_user) USING (name);
SELECT ticketing.relay_start('acct_platform', false, '');

-- ---- what the clients need

-- Runs a statement where its error is caught, so that it rolls back a subtransaction alone.
CREATE FUNCTION stress.caught(statement text, OUT outcome text, OUT answer text) LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  EXECUTE statement INTO answer;
  outcome := 'ok';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  outcome := concat_ws(' ', SQLSTATE, coalesce(substring(detail FROM '"reason": "(\w+)"'), CASE WHEN SQLSTATE !~ '^(PT|40|55P03)' THEN SQLERRM END));
END
$$;

-- What Stripe answers to a request.
CREATE FUNCTION stress.answer(request uuid) RETURNS bytea LANGUAGE sql AS $$
  SELECT convert_to(CASE kind WHEN 'create_customer' THEN jsonb_build_object('id', 'cus_' || replace(id::text, '-', ''))
                              ELSE test.intent(order_id, 'requires_payment_method') END::text, 'UTF8')
  FROM ticketing.stripe_requests WHERE id = request
$$;

-- A webhook about an order's PaymentIntent, and its signature.
CREATE FUNCTION stress.webhook(order_id uuid, event_id text, type text, OUT payload bytea, OUT signature text) LANGUAGE sql AS $$
  SELECT payload, test.stripe_signature(payload)
  FROM test.stripe_event(event_id, 'payment_intent.' || type, test.intent(order_id, CASE type WHEN 'succeeded' THEN type ELSE 'requires_payment_method' END)) payload
$$;

-- ---- what the clients have seen

CREATE TABLE stress.outcomes (operation text, shape text, level text, outcome text, calls integer);
-- Answers that a client has had for a transaction that is committed, as far as it knows.
CREATE TABLE stress.journal (kind text, id text, detail text);

CREATE VIEW stress.classified AS
SELECT *, CASE WHEN outcome LIKE 'ok%' THEN 'done'
               WHEN outcome IN ('nothing to do', 'undone', 'rolled back') THEN outcome
               WHEN outcome ~ '^PT4\d\d ' THEN 'refused'
               WHEN outcome ~ '^0A000 .*(a limit cannot be set on what had none|stock cannot be rebuilt) at isolation level' AND level <> 'read committed' THEN 'refused'
               WHEN outcome IN ('40001', '40P01', '55P03') THEN 'try again'
               WHEN outcome = 'lost' THEN 'lost'
               ELSE 'wrong' END AS class
FROM stress.outcomes;

CREATE VIEW stress.table AS
SELECT operation, sum(calls) AS calls,
       coalesce(sum(calls) FILTER (WHERE class = 'done'), 0) AS done, coalesce(sum(calls) FILTER (WHERE class = 'refused'), 0) AS refused,
       coalesce(sum(calls) FILTER (WHERE outcome = '40001'), 0) AS "40001", coalesce(sum(calls) FILTER (WHERE outcome = '40P01'), 0) AS "40P01",
       coalesce(sum(calls) FILTER (WHERE outcome = '55P03'), 0) AS "55P03",
       coalesce(sum(calls) FILTER (WHERE class IN ('undone', 'rolled back')), 0) AS undone, coalesce(sum(calls) FILTER (WHERE class = 'lost'), 0) AS lost,
       coalesce(sum(calls) FILTER (WHERE class = 'wrong'), 0) AS wrong,
       (SELECT string_agg(format('%s %s', r.reason, r.calls), ', ' ORDER BY r.calls DESC)
        FROM (SELECT regexp_replace(x.outcome, '^(ok|PT\d+) ', '') AS reason, sum(x.calls) AS calls FROM stress.classified x
              WHERE x.operation = c.operation AND x.class IN ('done', 'refused') AND x.outcome <> 'ok' GROUP BY 1) r) AS answers
FROM stress.classified c GROUP BY operation;

-- Answers that are not true, or no longer.
CREATE FUNCTION stress.untrue() RETURNS SETOF text LANGUAGE sql AS $$
  -- A seat that was held, a release, an extension.
  SELECT 'no such hold: ' || id FROM stress.journal j WHERE kind = 'held' AND NOT EXISTS (SELECT FROM ticketing.ticket_holds h WHERE h.reservation_id = j.id::uuid)
  UNION ALL
  SELECT format('released, but %s: %s', h.status, j.id) FROM stress.journal j JOIN ticketing.ticket_holds h ON h.reservation_id = j.id::uuid WHERE j.kind = 'released' AND h.status IN ('active', 'converted')
  UNION ALL
  SELECT format('extended to %s, but ends %s: %s', detail, h.expires_at, j.id) FROM stress.journal j JOIN ticketing.ticket_holds h ON h.reservation_id = j.id::uuid
  WHERE j.kind = 'extended' AND h.expires_at < detail::timestamptz
  UNION ALL
  -- Tickets and orders.
  SELECT format('%s, but %s: %s', j.kind, coalesce(o.state, 'no such order'), j.id) FROM stress.journal j LEFT JOIN ticketing.orders o ON o.order_id = j.id::uuid
  -- refunding: paid when the order's time was over and the seats were gone
  WHERE j.kind IN ('claimed', 'paid') AND coalesce(o.state, '') NOT IN ('paid', CASE j.kind WHEN 'paid' THEN 'refunding' ELSE 'paid' END) OR j.kind = 'ordered' AND o.order_id IS NULL
  UNION ALL
  SELECT format('%s tickets, not %s: %s', count(DISTINCT t.id), j.detail, j.id) FROM stress.journal j LEFT JOIN ticketing.order_tickets k ON k.order_id = j.id::uuid LEFT JOIN public.tickets t ON t.id = k.ticket_id
  WHERE j.kind = 'claimed' GROUP BY j.id, j.detail HAVING count(DISTINCT t.id) <> j.detail::integer
  UNION ALL
  SELECT 'no Stripe request: ' || j.id FROM stress.journal j WHERE j.kind = 'ordered' AND NOT EXISTS (SELECT FROM ticketing.stripe_requests r WHERE r.order_id = j.id::uuid)
  UNION ALL
  -- Scans; nobody is admitted twice.
  SELECT format('scanned (%s), but %s: %s', j.detail, coalesce(c.result, 'no such scan'), j.id) FROM stress.journal j LEFT JOIN ticketing.checkins c ON c.id = j.id::uuid
  WHERE j.kind = 'scanned' AND c.result IS DISTINCT FROM j.detail
  UNION ALL
  SELECT format('admitted %s times: %s', count(*), ticket_id) FROM ticketing.checkins WHERE result = 'admitted' GROUP BY ticket_id HAVING count(*) > 1
  UNION ALL
  SELECT format('admitted, but %s: %s', t.status, t.id) FROM ticketing.checkins c JOIN public.tickets t ON t.id = c.ticket_id WHERE c.result = 'admitted' AND t.status = 'active'
  UNION ALL
  -- What other code sold.
  SELECT 'sold by other code, but gone: ' || id FROM stress.journal j WHERE kind = 'sold' AND NOT EXISTS (SELECT FROM public.tickets t WHERE t.id = j.id::uuid)
    AND NOT EXISTS (SELECT FROM stress.journal d WHERE d.kind = 'deleted' AND d.id = j.id)
  UNION ALL
  -- A request id stands for one effect, also if it was sent again after a crash; what was undone has none.
  SELECT format('%s holds, but %s answers', h.holds, r.answers)
  FROM (SELECT count(DISTINCT reservation_id) AS holds FROM ticketing.ticket_holds) h,
       (SELECT count(DISTINCT answer ->> 'reservation_id') AS answers FROM ticketing.requests WHERE answer ? 'reservation_id') r
  WHERE h.holds <> r.answers
  UNION ALL
  SELECT format('%s orders, but %s answers', o.orders, r.answers)
  FROM (SELECT count(*) AS orders FROM ticketing.orders) o,
       (SELECT count(DISTINCT answer ->> 'order_id') AS answers FROM ticketing.requests WHERE answer ? 'order_id') r
  WHERE o.orders <> r.answers
  UNION ALL
  SELECT 'undone, but there: ' || j.id FROM stress.journal j WHERE kind = 'undone'
    AND (EXISTS (SELECT FROM ticketing.ticket_holds h WHERE h.reservation_id = j.id::uuid) OR EXISTS (SELECT FROM ticketing.orders o WHERE o.order_id = j.id::uuid)
         OR EXISTS (SELECT FROM ticketing.checkins c WHERE c.id = j.id::uuid) OR EXISTS (SELECT FROM public.tickets t WHERE t.id = j.id::uuid))
  UNION ALL
  SELECT format('seen meanwhile, %s: %s', detail, id) FROM stress.journal WHERE kind = 'finding'
$$;

-- ---- what must be the case

-- Findings of check_invariants that are not explained: a pool may be oversold by as many tickets as other code has sold in it.
CREATE FUNCTION stress.findings() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT concat_ws(' ', c.check_name, c.entity, c.detail) FROM ticketing.check_invariants() c
  WHERE c.check_name <> 'oversold' OR NOT EXISTS (
    SELECT FROM ticketing.stock_pools p
    WHERE c.entity = CASE WHEN p.ticket_type_id IS NULL THEN 'events/' || p.event_id ELSE 'ticket_types/' || p.ticket_type_id END
      AND p.deficit <= (SELECT count(*) FROM public.tickets t WHERE t.event_id = p.event_id AND (p.ticket_type_id IS NULL OR t.ticket_type_id = p.ticket_type_id)
                        AND t.status IN ('active', 'scanned') AND t.qr_payload IS NULL))
$$;

-- Tiers whose availability is not what tickets, holds and capacities add up to.
CREATE FUNCTION stress.miscounted() RETURNS SETOF text LANGUAGE sql AS $$
  WITH counted AS (
    SELECT t.id, t.event_id, t.quantity_total AS capacity,
           (SELECT coalesce(sum(h.quantity), 0) FROM ticketing.ticket_holds h
            WHERE h.ticket_type_id = t.id AND h.status = 'active' AND h.expires_at > ticketing.clock()) AS held,
           (SELECT count(*) FROM public.tickets k WHERE k.ticket_type_id = t.id AND k.status IN ('active', 'scanned')) AS sold
    FROM public.ticket_types t),
  expected AS (
    SELECT c.id, c.event_id, c.capacity, c.held, c.sold, least(c.capacity - c.held - c.sold, e.max_attendees - sum(c.held + c.sold) OVER (PARTITION BY c.event_id)) AS free
    FROM counted c JOIN public.events e ON e.id = c.event_id)
  SELECT format('%s: %s, not %s', x.id, a, ROW (x.id, x.capacity, greatest(x.free, CASE WHEN x.free IS NOT NULL THEN 0 END), x.held, x.sold))
  FROM expected x JOIN LATERAL ticketing.availability(x.event_id) a ON a.ticket_type_id = x.id
  WHERE (a.capacity, a.available, a.held, a.sold) IS DISTINCT FROM (x.capacity, greatest(x.free, CASE WHEN x.free IS NOT NULL THEN 0 END)::integer, x.held::integer, x.sold::integer)
$$;

-- Stripe has canceled an order's PaymentIntent.
CREATE FUNCTION stress.cancel(order_id uuid) RETURNS text LANGUAGE sql AS
$$ SELECT test.deliver(test.stripe_event('evt_canceled_' || replace(order_id::text, '-', ''), 'payment_intent.canceled', test.intent(order_id, 'canceled'))) $$;

-- Brings every order that is under way to its end: the relay answers, Stripe cancels what it was asked to, the buyer pays the others.
CREATE FUNCTION stress.settle() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  left_over integer;
BEGIN
  UPDATE ticketing.stripe_requests SET run_at = ticketing.clock(), lease_expires_at = CASE WHEN state = 'leased' THEN ticketing.clock() END WHERE state IN ('ready', 'leased');
  LOOP
    PERFORM test.relay();
    EXIT WHEN NOT EXISTS (SELECT FROM ticketing.stripe_requests WHERE state IN ('ready', 'leased'));
  END LOOP;
  PERFORM stress.cancel(order_id) FROM ticketing.orders WHERE state IN ('expiring', 'canceling');
  PERFORM test.pay(order_id) FROM ticketing.orders WHERE state = 'awaiting_payment';
  SELECT count(*) INTO left_over FROM ticketing.orders WHERE state NOT IN ('paid', 'expired', 'canceled', 'refunding');
  RETURN left_over;
END
$$;

-- Holds every seat that is said to be for sale; returns tiers where that fails, or where one more can be held.
CREATE FUNCTION stress.drain() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  t record;
  free integer;
  taken integer;
  more text;
BEGIN
  FOR t IN SELECT * FROM public.ticket_types ORDER BY id LOOP
    free := test.available(t.id);
    CONTINUE WHEN free IS NULL;
    BEGIN
      FOR n IN 0 .. CASE WHEN free = 0 THEN -1 ELSE (free - 1) / coalesce(t.max_per_user, free) END LOOP
        taken := least(free - n * coalesce(t.max_per_user, free), coalesce(t.max_per_user, free));
        PERFORM test.hold('late ' || n, t.event_id, test.items(t.id, taken));
      END LOOP;
    EXCEPTION WHEN OTHERS THEN
      RETURN NEXT format('%s of %s: %s', free, t.id, SQLERRM);
    END;
    more := test.attempt(format('SELECT test.hold(''too late'', %s, test.items(%L, 1))', t.event_id, t.id));
    IF more <> 'PT409 sold_out' THEN
      RETURN NEXT format('one more than %s of %s: %s', free, t.id, more);
    END IF;
  END LOOP;
END
$$;

-- Tiers whose column says something else than what is sold.
CREATE FUNCTION stress.column_differs() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT format('%s: %s, not %s', t.id, t.quantity_sold, s.sold) FROM public.ticket_types t
  CROSS JOIN LATERAL (SELECT count(*) AS sold FROM public.tickets k WHERE k.ticket_type_id = t.id AND k.status IN ('active', 'scanned')) s WHERE t.quantity_sold IS DISTINCT FROM s.sold
$$;
