-- An event with one tier for each round, its last seats, and what must not have happened to them.
-- Variable: rounds.
CREATE TABLE bench.round AS
SELECT n, 1 + n % 5 AS seats, (ARRAY['one shard', 'scattered', 'dead holds'])[1 + n % 3] AS kind, n % 2 = 0 AS of_event_too,
       CASE n % 3 WHEN 1 THEN 512 ELSE 1 + n % 5 END AS capacity
FROM generate_series(1, :rounds) n;
ALTER TABLE bench.round ADD PRIMARY KEY (n);

SET synchronous_commit = off;
-- Each event's locks are kept to the end of its transaction.
SELECT format('SELECT count(*) FROM (SELECT bench.make_event(n, capacity, CASE WHEN of_event_too THEN capacity END) FROM bench.round WHERE n BETWEEN %s AND %s OFFSET 0) m', first, first + 99)
FROM generate_series(1, :rounds, 100) first
\gexec

-- Scattered: one early buyer holds all but the last seats, which lie in a shard each.
INSERT INTO ticketing.ticket_holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at)
SELECT gen_random_uuid(), n, bench.tier(n), 'early', capacity - seats, now() + interval '1 day' FROM bench.round WHERE kind = 'scattered';
-- Dead holds: one seat each.
INSERT INTO ticketing.ticket_holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at)
SELECT gen_random_uuid(), n, bench.tier(n), 'late', 1, now() - interval '1 minute' FROM bench.round, generate_series(1, seats) WHERE kind = 'dead holds';
UPDATE ticketing.stock_shards s SET available = CASE r.kind WHEN 'scattered' THEN (s.shard < r.seats)::integer ELSE 0 END
FROM ticketing.stock_pools p JOIN bench.round r ON r.n = p.event_id
WHERE p.pool_id = s.pool_id AND r.kind <> 'one shard';
SELECT 'finding before the first round: ' || check_name || ' ' || entity || ' ' || detail FROM ticketing.check_invariants();
VACUUM ANALYZE;

-- Sold exactly: half of the buyers take single seats until they are refused, so none is left.
CREATE VIEW bench.wrong_round AS
SELECT r.n, r.seats, coalesce(sum(h.quantity), 0) AS held
FROM bench.round r
LEFT JOIN ticketing.ticket_holds h ON h.event_id = r.n AND h.status = 'active' AND h.user_id LIKE 'user-%'
GROUP BY r.n HAVING coalesce(sum(h.quantity), 0) <> r.seats;

-- Seats only go within a round, so those that are taken by calls that began after a refusal's arrival were
-- free at that refusal. bench.call is the log of all calls.
CREATE TABLE bench.call (round integer, client integer, started bigint, ended bigint, outcome text);
CREATE VIEW bench.early_refusal AS
SELECT c.* FROM bench.call c
WHERE c.outcome = 'PT409'
  AND (SELECT sum(1 + later.client % 2) FROM bench.call later
       WHERE later.round = c.round AND later.outcome = '' AND later.started > c.ended) >= 1 + c.client % 2;
