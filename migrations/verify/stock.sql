BEGIN;
SELECT pool_id, event_id, ticket_type_id, capacity, deficit, shards FROM ticketing.stock_pools WHERE false;
SELECT pool_id, shard, available FROM ticketing.stock_shards WHERE false;
SELECT ticket_type_id, event_id, quantity_sold, counted FROM ticketing.adopted_counters WHERE false;
-- Every limited tier and every event with a capacity has its pool, with all its shards.
SELECT 1 / (count(*) = 0)::integer FROM public.ticket_types tt
WHERE quantity_total IS NOT NULL AND NOT EXISTS (SELECT FROM ticketing.stock_pools p WHERE p.ticket_type_id = tt.id);
SELECT 1 / (count(*) = 0)::integer FROM public.events e
WHERE max_attendees IS NOT NULL AND NOT EXISTS (SELECT FROM ticketing.stock_pools p WHERE p.event_id = e.id AND p.ticket_type_id IS NULL);
SELECT 1 / (count(*) = 0)::integer FROM ticketing.stock_pools p
WHERE shards <> (SELECT count(*) FROM ticketing.stock_shards s WHERE s.pool_id = p.pool_id);
SELECT 1 / (count(*) = 2)::integer FROM pg_trigger WHERE tgname IN ('dvnt_follow_sale', 'dvnt_follow_change') AND tgrelid = 'public.tickets'::regclass;
ROLLBACK;
