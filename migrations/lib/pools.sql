-- For deploy scripts, inside their transaction: makes the pools those of the tiers and events that there are now. Whatever
-- happened while nobody followed is made good: pools whose tier or event has gone, moved or become unlimited go, missing
-- ones are made with nothing for sale, capacities are set. changed_pools then names those whose stock is to be derived.
-- Where triggers follow the sales already, public.tickets is locked by then: a sale could be missed while a pool is made.

CREATE TEMP TABLE changed_pools (pool_id bigint PRIMARY KEY) ON COMMIT DROP;

DELETE FROM ticketing.stock_pools p
WHERE CASE WHEN p.ticket_type_id IS NULL
           THEN NOT EXISTS (SELECT FROM public.events e WHERE e.id = p.event_id AND e.max_attendees IS NOT NULL)
           ELSE NOT EXISTS (SELECT FROM public.ticket_types tt WHERE tt.id = p.ticket_type_id AND tt.event_id = p.event_id AND tt.quantity_total IS NOT NULL) END;
DELETE FROM ticketing.stock_shards s WHERE NOT EXISTS (SELECT FROM ticketing.stock_pools p WHERE p.pool_id = s.pool_id);

INSERT INTO changed_pools
SELECT made FROM (
  SELECT ticketing.stock_make_pool(event_id, id, ticketing.capacity_of(quantity_total)) AS made
  FROM (SELECT event_id, id, quantity_total FROM public.ticket_types WHERE quantity_total IS NOT NULL ORDER BY event_id, id) t OFFSET 0) m
WHERE made IS NOT NULL;
INSERT INTO changed_pools
SELECT made FROM (
  SELECT ticketing.stock_make_pool(id, NULL, ticketing.capacity_of(max_attendees)) AS made
  FROM (SELECT id, max_attendees FROM public.events WHERE max_attendees IS NOT NULL ORDER BY id) e OFFSET 0) m
WHERE made IS NOT NULL;
WITH dealt AS (
  INSERT INTO ticketing.stock_shards (pool_id, shard, available)
  SELECT p.pool_id, g, 0 FROM ticketing.stock_pools p CROSS JOIN LATERAL generate_series(0, p.shards - 1) g
  ON CONFLICT DO NOTHING RETURNING pool_id)
INSERT INTO changed_pools SELECT DISTINCT pool_id FROM dealt ON CONFLICT DO NOTHING;

WITH changed AS (
  UPDATE ticketing.stock_pools p SET capacity = n.capacity
  FROM (SELECT event_id, id AS ticket_type_id, ticketing.capacity_of(quantity_total) AS capacity FROM public.ticket_types
        UNION ALL
        SELECT id, NULL, ticketing.capacity_of(max_attendees) FROM public.events) n
  WHERE p.event_id = n.event_id AND p.ticket_type_id IS NOT DISTINCT FROM n.ticket_type_id AND p.capacity <> n.capacity
  RETURNING p.pool_id)
INSERT INTO changed_pools SELECT pool_id FROM changed ON CONFLICT DO NOTHING;
UPDATE ticketing.event_settings s SET capacity = ticketing.capacity_of(e.max_attendees)
FROM public.events e WHERE e.id = s.event_id AND s.capacity IS DISTINCT FROM ticketing.capacity_of(e.max_attendees);
