-- The measurements of a run, the bounds that they have to meet, and what the reports ask of them.
CREATE SCHEMA bench;

CREATE TABLE bench.result (
  scenario  text NOT NULL,
  latency   text NOT NULL,
  clients   integer NOT NULL,
  round     integer NOT NULL,
  contender text NOT NULL,
  metric    text NOT NULL,
  value     numeric NOT NULL
);

CREATE TABLE bench.bound (
  id       integer GENERATED ALWAYS AS IDENTITY,
  scenario text NOT NULL,
  what     text NOT NULL,
  measured numeric,
  operator text NOT NULL CHECK (operator IN ('<=', '>=', '=')),
  bound    numeric NOT NULL
);

CREATE FUNCTION bench.median(measured numeric[]) RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY m) FROM unnest(measured) m);

-- A figure with about three digits that mean something.
CREATE FUNCTION bench.shown(figure numeric) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN abs(figure) >= 100 OR figure = trunc(figure) THEN to_char(figure, 'FM999,999,999,990')
            ELSE trim_scale(round(figure, CASE WHEN abs(figure) >= 10 THEN 1 WHEN abs(figure) >= 1 THEN 2 ELSE 3 END))::text END;

CREATE FUNCTION bench.shown_with_range(figures numeric[]) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (SELECT format('%s (%s–%s)', bench.shown(bench.median(figures)), bench.shown(min(f)), bench.shown(max(f))) FROM unnest(figures) f);

CREATE VIEW bench.verdict AS
SELECT id, what, coalesce(bench.shown(measured), 'nothing') AS shown,
       replace(replace(operator, '>=', '≥'), '<=', '≤') || ' ' || bench.shown(bound) AS wanted,
       CASE WHEN CASE operator WHEN '>=' THEN measured >= bound WHEN '<=' THEN measured <= bound ELSE measured = bound END
            THEN 'met' ELSE 'NOT MET' END AS verdict
FROM bench.bound;

-- Calls per second of a turn.
CREATE VIEW bench.rate AS
SELECT scenario, latency, clients, round, contender, value AS rate FROM bench.result WHERE metric = 'rate';

-- What a turn got wrong: seats or holds too many or too few, answers that should not be.
CREATE VIEW bench.violations AS
SELECT scenario, contender, sum(value) AS violations FROM bench.result WHERE metric = 'violations' GROUP BY 1, 2;

-- hold_tickets on the hot tier as multiples of the others in the same round. to_lock: of the best peer that
-- waits for a lock.
CREATE VIEW bench.hot AS
SELECT latency, clients, round,
       ours / insert AS to_insert, ours / greatest(for_update, guarded_update, advisory_lock) AS to_lock,
       ours / skip_locked AS to_skip_locked, ours / redis AS to_redis
FROM (SELECT latency, clients, round,
             max(rate) FILTER (WHERE contender = 'hold_tickets') AS ours, max(rate) FILTER (WHERE contender = 'insert') AS insert,
             max(rate) FILTER (WHERE contender = 'for_update') AS for_update, max(rate) FILTER (WHERE contender = 'guarded_update') AS guarded_update,
             max(rate) FILTER (WHERE contender = 'advisory_lock') AS advisory_lock, max(rate) FILTER (WHERE contender = 'skip_locked') AS skip_locked,
             max(rate) FILTER (WHERE contender = 'redis') AS redis
      FROM bench.rate WHERE scenario = 'hot' GROUP BY 1, 2, 3) r;
