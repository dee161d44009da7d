-- What the migrations made of the sample database: stock derived from the tickets there are, counters kept as
-- evidence, and from then on quantity_sold as output only.
\ir support/setup.sql
SELECT plan(44);

CREATE TEMP VIEW pools AS
SELECT p.*, (SELECT sum(available) FROM ticketing.stock_shards s WHERE s.pool_id = p.pool_id) AS available,
       (SELECT count(*) FROM public.tickets t WHERE t.event_id = p.event_id AND t.status IN ('active', 'scanned')
        AND (p.ticket_type_id IS NULL OR t.ticket_type_id = p.ticket_type_id)) AS sold
FROM ticketing.stock_pools p;

-- ---- pools

SELECT set_eq('SELECT ticket_type_id, event_id, capacity FROM pools WHERE ticket_type_id IS NOT NULL',
  'SELECT id, event_id, quantity_total FROM public.ticket_types WHERE quantity_total IS NOT NULL',
  'each limited tier has its pool, or it could be sold without end');
SELECT set_eq('SELECT event_id, capacity FROM pools WHERE ticket_type_id IS NULL',
  'SELECT id, max_attendees::integer FROM public.events WHERE max_attendees IS NOT NULL',
  'each event with a capacity has its pool');
SELECT is_empty('SELECT * FROM pools WHERE capacity <> available - deficit + sold', 'each pool has for sale what its valid tickets leave, to the seat');
SELECT is_empty('SELECT * FROM pools WHERE shards <> (SELECT count(*) FROM ticketing.stock_shards s WHERE s.pool_id = pools.pool_id)', 'each pool has all its shards');
SELECT results_eq('SELECT (SELECT count(*) FROM ticketing.event_settings), (SELECT count(*) FROM ticketing.payees)',
  'SELECT (SELECT count(*) FROM public.events), (SELECT count(*) FROM public.organizer_accounts)', 'every event and every account has its trusted copy');
SELECT is_empty($$ SELECT event_id FROM ticketing.event_settings s JOIN public.events e ON e.id = event_id
  WHERE (s.host_id, s.capacity) IS DISTINCT FROM (e.host_id, e.max_attendees::integer) $$, 'with the host and capacity of the day of adoption, a missing host included');
SELECT is_empty('SELECT broken_invariants()', 'nothing but the two oversold tiers is wrong');

-- ---- oversold tiers

CREATE TEMP TABLE oversold AS SELECT pool_id, event_id, ticket_type_id AS tier, capacity, deficit, sold FROM pools WHERE deficit > 0;
SELECT results_eq('SELECT capacity, deficit, sold::integer FROM oversold ORDER BY capacity', 'VALUES (10, 3, 13), (40, 1, 41)',
  'two tiers have sold more than there is: they have a deficit');
SELECT set_eq($$ SELECT entity FROM ticketing.check_invariants() WHERE check_name = 'oversold' $$, $$ SELECT 'ticket_types/' || tier FROM oversold $$,
  'which check_invariants says');
UPDATE public.ticket_types SET sale_end = now() + interval '1 day', max_per_user = NULL WHERE event_id IN (SELECT event_id FROM oversold);
SELECT is(available(tier), 0, format('of %s seats with %s sold none is available', capacity, sold)) FROM oversold ORDER BY capacity;
SELECT is(attempt(format('SELECT hold(''buyer'', %s, %L)', event_id, items(tier, 1))), 'PT409 sold_out', format('nor can one of %s be held', capacity)) FROM oversold ORDER BY capacity;
CREATE TEMP TABLE small AS SELECT * FROM oversold WHERE capacity = 10;
UPDATE public.tickets SET status = 'refunded' WHERE id IN (SELECT t.id FROM public.tickets t JOIN small s ON t.ticket_type_id = s.tier WHERE t.status IN ('active', 'scanned') ORDER BY t.id LIMIT 3);
SELECT results_eq('SELECT p.deficit, p.available, p.sold FROM pools p JOIN small s USING (pool_id)', 'VALUES (0, 0::bigint, 10::bigint)',
  'three refunds by other code pay the deficit, and no more');
SELECT is(attempt(format('SELECT hold(''buyer'', %s, %L)', event_id, items(tier, 1))), 'PT409 sold_out', 'the paid deficit is not for sale') FROM small;
DELETE FROM public.tickets WHERE id = (SELECT t.id FROM public.tickets t JOIN small s ON t.ticket_type_id = s.tier WHERE t.status = 'active' OR t.status = 'scanned' ORDER BY t.id LIMIT 1);
SELECT is(available(tier), 1, 'the fourth ticket that ends gives a seat back') FROM small;
SELECT is(attempt(format('SELECT hold(''buyer'', %s, %L)', event_id, items(tier, 1))), 'ok', 'which the next buyer gets') FROM small;
SELECT is(attempt(format('SELECT hold(''other'', %s, %L)', event_id, items(tier, 1))), 'PT409 sold_out', 'and nobody else') FROM small;
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT event_id, tier, 'walk-in', 'one more' FROM small;
SELECT results_eq('SELECT p.deficit FROM pools p JOIN small s USING (pool_id)', 'VALUES (1)', 'a sale by other code stands, and is a deficit again');

-- ---- no limit, and none at all

CREATE TEMP TABLE tiers AS
SELECT e.id AS event, make_tier(e.id, 0, NULL) AS unlimited, make_tier(e.id, 0, 0) AS none FROM (SELECT make_event('adoption_host') AS id) e;
SELECT is_empty('SELECT FROM ticketing.stock_pools JOIN tiers ON event = event_id WHERE ticket_type_id = unlimited OR ticket_type_id IS NULL', 'NULL quantity_total is no limit: there is no pool');
SELECT is(attempt(format('SELECT hold(''buyer'', %s, %L)', event, items(unlimited, 5000))), 'ok', '5,000 of it can be held') FROM tiers;
SELECT results_eq('SELECT capacity, available, held, sold FROM tiers, ticketing.availability(event) WHERE ticket_type_id = unlimited', 'VALUES (NULL::integer, NULL::integer, 5000, 0)', 'availability says NULL for it, and counts what is held');
SELECT is(attempt(format('SELECT hold(''buyer'', %s, %L)', event, items(none, 1))), 'PT409 sold_out', '0 is none, not "no limit"') FROM tiers;
SELECT is(refusal(format('SELECT hold(''buyer'', %s, %L)', event, items(none, 1))) - 'ticket_type_id',
  '{"reason": "sold_out", "pool": "tier", "requested": 1, "available": 0, "held": 0, "next_release_at": null}', 'with the figures') FROM tiers;
SELECT is(attempt(format('SELECT ticketing.claim_free_tickets(''buyer'', %s, %L)', event, items(none, 1))), 'PT409 sold_out', 'nor can it be claimed') FROM tiers;
UPDATE public.ticket_types SET sale_end = NULL WHERE id IN (SELECT id FROM public.ticket_types WHERE quantity_total = 0);
SELECT isnt_empty('SELECT FROM ticketing.adopted_counters a JOIN ticketing.stock_pools p USING (ticket_type_id) WHERE p.capacity = 0', 'the sample has such a tier, too');
SELECT is(attempt(format('SELECT hold(''buyer'', %s, %L)', t.event_id, items(t.id, 1))), 'PT409 sold_out', 'which sells nothing')
FROM public.ticket_types t JOIN ticketing.adopted_counters a ON a.ticket_type_id = t.id WHERE t.quantity_total = 0;

-- A limit for what had none counts who is in already.
SELECT is(attempt(format('UPDATE public.ticket_types SET quantity_total = 4999 WHERE id = %L', unlimited)), 'PT409 wrong_state', 'a limit below what is held is refused') FROM tiers;
SELECT is(attempt(format('UPDATE public.ticket_types SET quantity_total = 5001 WHERE id = %L', unlimited)), 'ok', 'one above it is taken') FROM tiers;
SELECT is(available(unlimited), 1, 'and leaves the difference') FROM tiers;
SELECT is(attempt(format('UPDATE public.events SET max_attendees = 5000.9 WHERE id = %s', event)), 'ok', 'the same for an event, whose capacity is numeric') FROM tiers;
SELECT is(available(unlimited), 0, 'a fraction of a seat is none') FROM tiers;
UPDATE public.ticket_types SET quantity_total = NULL WHERE id IN (SELECT unlimited FROM tiers);
UPDATE public.events SET max_attendees = NULL WHERE id IN (SELECT event FROM tiers);
SELECT is(available(unlimited), NULL, 'a limit that is lifted is gone at once') FROM tiers;

-- ---- counters

SELECT is((SELECT count(*) FROM ticketing.adopted_counters a WHERE quantity_sold IS DISTINCT FROM counted), 7::bigint,
  'adoption kept what quantity_sold said beside what it counted: seven differ, which a later finding needs');
SELECT is((SELECT count(*) FROM ticketing.adopted_counters WHERE quantity_sold IS NULL), 1::bigint, 'one of them is NULL');
SELECT is((SELECT count(*) FROM ticketing.adopted_counters), (SELECT count(*) FROM public.ticket_types t WHERE EXISTS (SELECT FROM public.events e WHERE e.id = t.event_id AND e.title LIKE 'Event %')),
  'every tier of the day of adoption is there, the unlimited ones included');
CREATE TEMP VIEW wrong AS
SELECT t.id, t.quantity_sold, (SELECT count(*) FROM public.tickets k WHERE k.ticket_type_id = t.id AND k.status IN ('active', 'scanned')) AS truth FROM public.ticket_types t;
SELECT isnt(ticketing.sync_quantity_sold(), 0, 'sync_quantity_sold changes what is wrong, by the refunds above for one');
SELECT is_empty('SELECT * FROM wrong WHERE quantity_sold IS DISTINCT FROM truth', 'and brings every tier''s column to the truth, NULL and unlimited ones included, holds not counted');
SELECT is(ticketing.sync_quantity_sold(), 0, 'once right it writes nothing: no bloat by a job that runs each minute');

-- ---- the column is output only

CREATE TEMP TABLE victim AS SELECT event_id AS event, id AS tier, quantity_sold FROM public.ticket_types WHERE quantity_sold BETWEEN 5 AND 20 ORDER BY id LIMIT 1;
UPDATE public.ticket_types SET quantity_sold = quantity_sold - 3 WHERE id IN (SELECT tier FROM victim);
UPDATE public.ticket_types SET quantity_sold = NULL, name = 'renamed' WHERE id IN (SELECT tier FROM victim);
SELECT results_eq('SELECT t.quantity_sold, name FROM public.ticket_types t JOIN victim ON id = tier', $$ SELECT quantity_sold, 'renamed' FROM victim $$,
  'other code''s read-modify-write of quantity_sold is ignored, its other changes are not: no lost update gives seats away');
INSERT INTO public.ticket_types (event_id, name, quantity_total, quantity_sold) SELECT event, 'made up', 10, 7 FROM victim;
SELECT results_eq($$ SELECT quantity_sold FROM public.ticket_types WHERE name = 'made up' $$, 'VALUES (0)', 'nor can a new tier begin with sales that never were');
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT event, tier, 'walk-in', 'at the desk' FROM victim;
SELECT is(sold, quantity_sold + 1, 'a sale by other code is in availability at once') FROM victim, ticketing.availability(event) WHERE ticket_type_id = tier;
SELECT results_eq('SELECT ticketing.sync_quantity_sold()', 'VALUES (1)', 'and in the column with the next run');
SELECT is((SELECT quantity_sold FROM public.ticket_types WHERE id = tier), quantity_sold + 1, 'of that tier alone') FROM victim;

SELECT * FROM finish();
ROLLBACK;
