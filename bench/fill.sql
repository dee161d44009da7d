-- A database with a past. Variables: tiers (in events of five), tickets, holds. The hot event, the first, has a
-- tenth of the holds and a hundredth of the tickets. Triggers and foreign keys rest while rows pour in; the stock is
-- derived afterwards by rebuild_stock.
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';

INSERT INTO public.events (id, host_id, title) SELECT g, 'host-' || g % 1000, 'event ' || g FROM generate_series(1, :tiers / 5) g;
SET session_replication_role = replica;
INSERT INTO public.ticket_types (id, event_id, name, price_cents, quantity_total, max_per_user)
SELECT bench.tier(g), (g + 4) / 5, 'tier ' || g, 2500, CASE g WHEN 1 THEN 1000000000 ELSE 500 END, NULL FROM generate_series(1, :tiers) g;

-- Secondary indexes are made afterwards, which is faster.
CREATE TEMP TABLE later AS
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
WHERE indrelid IN ('public.tickets'::regclass, 'ticketing.ticket_holds'::regclass) AND NOT indisprimary AND NOT indisunique;
SELECT 'DROP INDEX ' || name FROM later
\gexec
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, status, qr_token)
SELECT (t + 4) / 5, bench.tier(t), 'user-' || g % 2000000, CASE WHEN g % 3 = 0 THEN 'scanned' ELSE 'active' END, 'token-' || g
FROM (SELECT g, CASE WHEN g % 100 = 0 THEN 1 ELSE g % (:tiers - 1) + 2 END AS t FROM generate_series(1, :tickets) g) n;
INSERT INTO ticketing.ticket_holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at)
SELECT gen_random_uuid(), (t + 4) / 5, bench.tier(t), 'user-' || g % 2000000, 1, now() + interval '1 day'
FROM (SELECT g, CASE WHEN g % 10 = 0 THEN 1 ELSE g % (:tiers - 1) + 2 END AS t FROM generate_series(1, :holds) g) n;
SELECT definition FROM later
\gexec
SET session_replication_role = origin;
VACUUM (FREEZE, ANALYZE) public.tickets, public.ticket_types, public.events, ticketing.ticket_holds;

-- Not too many events in one transaction: it keeps the lock of each to its end.
SELECT format('SELECT count(ticketing.rebuild_stock(e)) FROM generate_series(%s, %s) e', first, least(first + 499, :tiers / 5))
FROM generate_series(1, :tiers / 5, 500) first
\gexec
VACUUM (FREEZE, ANALYZE);
