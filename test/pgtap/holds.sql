-- Holds against a model: thousands of random holds, claims, orders, releases, expiries, capacity changes and sales by
-- other code, each compared with what plain counting says. One session: races are the specs' matter.
\ir support/setup.sql
SELECT plan(17);
-- The engine's clock stands still unless a step moves it.
SELECT set_config('dvnt_ticketing.test_clock_offset', (extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) * 1000)::text, true),
       set_config('dvnt_ticketing.test_clock_rate', '0', true) \g /dev/null

-- What counting rows says of a pool: the tier's, or the event's (tier NULL). NULL: no limit.
CREATE FUNCTION counted_free(event integer, tier uuid) RETURNS integer LANGUAGE sql AS $$
  SELECT (SELECT CASE WHEN tier IS NULL THEN (SELECT floor(max_attendees) FROM public.events WHERE id = event) ELSE (SELECT quantity_total FROM public.ticket_types WHERE id = tier) END)
    - (SELECT count(*) FROM public.tickets t WHERE t.event_id = event AND t.status IN ('active', 'scanned') AND (tier IS NULL OR t.ticket_type_id = tier))
    - (SELECT coalesce(sum(quantity), 0) FROM ticketing.ticket_holds h WHERE h.event_id = event AND h.status = 'active' AND (h.order_id IS NOT NULL OR h.expires_at > ticketing.clock()) AND (tier IS NULL OR h.ticket_type_id = tier))
$$;

-- How many of a tier a user has, held or owned.
CREATE FUNCTION counted_of_user(buyer text, tier uuid) RETURNS bigint LANGUAGE sql AS $$
  SELECT (SELECT count(*) FROM public.tickets t WHERE t.user_id = buyer AND t.ticket_type_id = tier AND t.status IN ('active', 'scanned'))
    + (SELECT coalesce(sum(quantity), 0) FROM ticketing.ticket_holds h WHERE h.user_id = buyer AND h.ticket_type_id = tier AND h.status = 'active' AND (h.order_id IS NOT NULL OR h.expires_at > ticketing.clock()))
$$;

-- What a cart of two tiers (the second may be missing) should meet.
CREATE FUNCTION expected_of(buyer text, event integer, a uuid, na integer, b uuid, nb integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM (VALUES (a, na), (b, nb)) v (tier, n) JOIN public.ticket_types t ON t.id = tier WHERE counted_of_user(buyer, tier) + n > t.max_per_user) THEN
    RETURN 'PT409 limit_reached';
  END IF;
  IF counted_free(event, a) < na OR counted_free(event, b) < nb OR counted_free(event, NULL) < na + coalesce(nb, 0) THEN
    RETURN 'PT409 sold_out';
  END IF;
  RETURN 'ok';
END
$$;

CREATE FUNCTION tiers_of(event integer) RETURNS uuid[] LANGUAGE sql AS $$ SELECT array_agg(id ORDER BY price_cents, id) FROM public.ticket_types WHERE event_id = event $$;

-- What availability says and counting does not.
CREATE FUNCTION miscounted(event integer) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT format('tier %s: availability %s, counted %s', a.ticket_type_id, a, c) FROM ticketing.availability(event) a CROSS JOIN LATERAL (
    SELECT greatest(0, least(counted_free(event, a.ticket_type_id), counted_free(event, NULL))) AS available,
           (SELECT coalesce(sum(quantity), 0) FROM ticketing.ticket_holds h WHERE h.ticket_type_id = a.ticket_type_id AND h.status = 'active' AND (h.order_id IS NOT NULL OR h.expires_at > ticketing.clock())) AS held,
           (SELECT count(*) FROM public.tickets t WHERE t.ticket_type_id = a.ticket_type_id AND t.status IN ('active', 'scanned')) AS sold) c
  WHERE (a.available, a.held, a.sold) IS DISTINCT FROM (c.available, c.held, c.sold)
$$;

CREATE TEMP TABLE met (event integer, outcome text);

-- Runs random steps and returns every surprise, with the step's number.
CREATE FUNCTION surprises(event integer, seed double precision, steps integer) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  tiers uuid[] := tiers_of(event);
  buyer text;
  dice double precision;
  a uuid;
  b uuid;
  na integer;
  nb integer;
  what text;
  expected text;
  met_outcome text;
  r record;
BEGIN
  PERFORM setseed(seed);
  FOR step IN 1 .. steps LOOP
    buyer := 'buyer ' || 1 + floor(random() * 15);
    dice := random();
    a := tiers[1 + floor(random() * cardinality(tiers))];
    b := CASE WHEN random() < 0.5 THEN tiers[1 + floor(random() * cardinality(tiers))] END;
    IF a = b THEN
      b := NULL;
    END IF;
    na := 1 + floor(random() * 6);
    nb := CASE WHEN b IS NOT NULL THEN 1 + floor(random() * 6) END;
    expected := 'ok';
    IF dice < 0.45 THEN
      what := format('SELECT ticketing.hold_tickets(%L, %s, %L, %L)', buyer, event, items(a, na, b, nb), 1 + floor(random() * 600) || ' seconds');
      expected := expected_of(buyer, event, a, na, b, nb);
    ELSIF dice < 0.55 THEN
      -- the cheapest tier is free
      a := tiers[1];
      what := format('SELECT ticketing.claim_free_tickets(%L, %s, %L)', buyer, event, items(a, na));
      expected := expected_of(buyer, event, a, na, NULL, NULL);
    ELSIF dice < 0.62 THEN
      a := tiers[2];
      what := format('SELECT pay(payable_order(%L, %s, %L))', buyer, event, items(a, na));
      expected := expected_of(buyer, event, a, na, NULL, NULL);
    ELSIF dice < 0.78 THEN
      SELECT format('SELECT ticketing.release_hold(%L, %L)', reservation_id, user_id) INTO what FROM ticketing.ticket_holds h WHERE h.event_id = event AND h.order_id IS NULL ORDER BY random() LIMIT 1;
    ELSIF dice < 0.86 THEN
      what := format('SELECT later(%L)', floor(random() * 120) || ' seconds');
    ELSIF dice < 0.88 THEN
      what := format('SELECT ticketing.release_expired_holds(%s)', 1 + floor(random() * 5));
    ELSIF dice < 0.91 THEN
      what := format('INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) VALUES (%s, %L, %L, gen_random_uuid()::text)', event, a, buyer);
    ELSIF dice < 0.95 THEN
      what := format($s$ UPDATE public.tickets SET status = %L WHERE id = (SELECT id FROM public.tickets WHERE event_id = %s ORDER BY random() LIMIT 1) $s$,
                     (ARRAY['active', 'void', 'refunded', 'scanned'])[1 + floor(random() * 4)], event);
    ELSIF dice < 0.96 THEN
      what := format('UPDATE public.tickets SET ticket_type_id = %L WHERE id = (SELECT id FROM public.tickets WHERE event_id = %s AND qr_payload IS NULL ORDER BY random() LIMIT 1)', a, event);
    ELSIF dice < 0.97 THEN
      -- a hold in a part of a transaction that is undone
      what := format($s$ DO $do$ BEGIN PERFORM ticketing.hold_tickets('undone', %s, %L); RAISE SQLSTATE 'UNDO0'; EXCEPTION WHEN SQLSTATE 'UNDO0' OR SQLSTATE 'PT409' THEN NULL; END $do$ $s$, event, items(a, 1));
    ELSE
      -- a new capacity, of a tier or the event; below what is used it is refused
      SELECT t.quantity_total AS old, t.quantity_total - 8 + floor(random() * 17)::integer AS new, counted_free(event, a) AS free,
             (SELECT coalesce(sum(quantity), 0) FROM ticketing.ticket_holds h WHERE h.ticket_type_id = a AND h.status = 'active' AND h.order_id IS NULL AND h.expires_at <= ticketing.clock()) AS dead
      INTO r FROM public.ticket_types t WHERE t.id = a;
      what := format('UPDATE public.ticket_types SET quantity_total = %s WHERE id = %L', greatest(r.new, 0), a);
      -- the seats of dead holds are counted as used until they have been given back
      IF greatest(r.new, 0) < r.old AND r.free - r.dead < r.old - greatest(r.new, 0) THEN
        expected := 'PT409 wrong_state';
      END IF;
    END IF;
    IF what IS NULL THEN
      CONTINUE;
    END IF;
    met_outcome := attempt(what);
    INSERT INTO met VALUES (event, met_outcome);
    IF met_outcome <> expected THEN
      RETURN NEXT format('step %s: %s, expected %s: %s', step, met_outcome, expected, what);
    END IF;
    IF step % 10 = 0 THEN
      RETURN QUERY SELECT format('step %s: %s', step, m) FROM miscounted(event) m;
    END IF;
  END LOOP;
END
$$;

CREATE FUNCTION make_shop(host text, capacity numeric, seats integer, per_user integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  event integer := make_event(make_host(host), capacity);
BEGIN
  PERFORM make_tier(event, 0, seats, per_user), make_tier(event, 2500, seats, per_user), make_tier(event, 6000, seats / 2, NULL), make_tier(event, 9000, 200, per_user);
  RETURN event;
END
$$;

-- All holds of an event ended, what other code sold beyond capacity taken back: everything is accounted for.
CREATE FUNCTION settle(event integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  surplus record;
BEGIN
  PERFORM later('2 days');
  PERFORM ticketing.release_expired_holds();
  FOR surplus IN SELECT ticket_type_id, deficit FROM ticketing.stock_pools WHERE event_id = event AND deficit > 0 ORDER BY ticket_type_id NULLS LAST LOOP
    DELETE FROM public.tickets WHERE id IN (SELECT t.id FROM public.tickets t WHERE t.event_id = event AND t.status IN ('active', 'scanned') AND t.qr_payload IS NULL
      AND (surplus.ticket_type_id IS NULL OR t.ticket_type_id = surplus.ticket_type_id) ORDER BY t.id
      LIMIT (SELECT deficit FROM ticketing.stock_pools p WHERE p.event_id = event AND p.ticket_type_id IS NOT DISTINCT FROM surplus.ticket_type_id));
  END LOOP;
END
$$;

CREATE TEMP TABLE shops AS
SELECT n, title, make_shop('holds host ' || n, capacity, seats, per_user) AS event
FROM (VALUES (1, 'few seats, event and tiers short', 60, 20, 8), (2, 'the event short of its tiers', 70, 60, NULL), (3, 'no capacity of the event', NULL, 30, 6), (4, 'many seats', 2000, 400, NULL)) v (n, title, capacity, seats, per_user);
SELECT is_empty(format('SELECT surprises(%s, 0.%s, 600) LIMIT 5', event, n), format('%s: 600 steps give what counting expects, each sale and each refusal', title)) FROM shops ORDER BY n;
SELECT set_eq('SELECT DISTINCT outcome FROM met', ARRAY['ok', 'PT409 sold_out', 'PT409 limit_reached', 'PT409 wrong_state'],
  'among them each kind: the steps do reach the edges');
SELECT is_empty(format('SELECT miscounted(%s)', event), format('%s: availability is what counting says', title)) FROM shops ORDER BY n;
SELECT is_empty($$ SELECT b FROM broken_invariants() b WHERE b NOT LIKE 'oversold %' $$, 'stock is conserved');
SELECT settle(event) FROM shops \g /dev/null
SELECT is_empty('SELECT broken_invariants()', 'with the surplus of other code taken back, nothing is wrong but the two tiers of the sample');
SELECT is_empty($$ SELECT h.id FROM ticketing.ticket_holds h JOIN shops ON event = h.event_id WHERE h.status = 'active' $$, 'no hold is left');
SELECT results_eq($$ SELECT sum(s.available)::bigint FROM shops JOIN ticketing.stock_pools p ON p.event_id = event JOIN ticketing.stock_shards s USING (pool_id) $$,
  $$ SELECT (sum(p.capacity) - sum((SELECT count(*) FROM public.tickets t WHERE t.event_id = event AND t.status IN ('active', 'scanned') AND (p.ticket_type_id IS NULL OR t.ticket_type_id = p.ticket_type_id))))::bigint
     FROM shops JOIN ticketing.stock_pools p ON p.event_id = event $$, 'and every seat that is not a ticket is for sale');

-- The cache can be derived afresh at any time.
CREATE TEMP TABLE stock_before AS SELECT p.pool_id, sum(s.available) AS available, p.deficit FROM ticketing.stock_pools p JOIN ticketing.stock_shards s USING (pool_id) GROUP BY p.pool_id;
UPDATE ticketing.stock_shards SET available = available + 7 WHERE pool_id IN (SELECT pool_id FROM ticketing.stock_pools JOIN shops ON event = event_id);
SELECT isnt_empty($$ SELECT FROM broken_invariants() b WHERE b LIKE 'stock_conserved%' $$, 'seats that come from nowhere are seen');
SELECT ticketing.rebuild_stock(event) FROM shops \g /dev/null
SELECT set_eq('SELECT p.pool_id, sum(s.available) AS available, p.deficit FROM ticketing.stock_pools p JOIN ticketing.stock_shards s USING (pool_id) GROUP BY p.pool_id', 'SELECT * FROM stock_before',
  'and rebuild_stock has the truth again');
SELECT is_empty('SELECT broken_invariants()', 'so that nothing is wrong');
SELECT is(ticketing.rebuild_stock(event), 4, 'an event without a capacity has a pool for each tier') FROM shops WHERE n = 3;

SELECT * FROM finish();
ROLLBACK;
