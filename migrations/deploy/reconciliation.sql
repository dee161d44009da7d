-- Reconciliation: how far Stripe's events have been read, which objects have been asked about, and what each comparison came to.
BEGIN;
\ir ../lib/park.sql
\ir ../lib/own.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['event_cursors', 'stripe_checks', 'reconciliation_runs']) t;

CREATE TABLE IF NOT EXISTS ticketing.event_cursors (
  account      text PRIMARY KEY,
  seen_until   timestamptz NOT NULL,
  window_from  timestamptz,
  window_until timestamptz,
  request_id   uuid,
  next_at      timestamptz NOT NULL,
  failure      text,
  updated_at   timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.event_cursors IS 'Up to when the events of a Stripe account have been read, beside what its webhooks brought.';
COMMENT ON COLUMN ticketing.event_cursors.account IS 'A connected account; empty: the platform.';
COMMENT ON COLUMN ticketing.event_cursors.seen_until IS 'All events that were made before have been read. It moves when the last page of a window has been.';
COMMENT ON COLUMN ticketing.event_cursors.window_from IS 'Of the window that is being read: it begins a little before seen_until, for events that Stripe shows late.';
COMMENT ON COLUMN ticketing.event_cursors.request_id IS 'The request of stripe_requests that asks for the page which comes next; NULL: no window is being read.';
COMMENT ON COLUMN ticketing.event_cursors.next_at IS 'When the next window is due.';
COMMENT ON COLUMN ticketing.event_cursors.failure IS 'Why Stripe did not show the events the last time; NULL: it did.';

CREATE TABLE IF NOT EXISTS ticketing.stripe_checks (
  object_id  text PRIMARY KEY,
  order_id   uuid NOT NULL,
  checks     smallint NOT NULL,
  checked_at timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.stripe_checks IS 'How often Stripe has been asked by reconciliation about an object that somebody waits for: 1 minute, 10 minutes, an hour, a day and each further day after it was made. Gone when nobody waits any more.';

CREATE TABLE IF NOT EXISTS ticketing.reconciliation_runs (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  started_at  timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  found       integer NOT NULL,
  repaired    integer NOT NULL,
  gone        integer NOT NULL
);
COMMENT ON TABLE ticketing.reconciliation_runs IS 'What each run of reconcile_orders came to: new findings, repairs, findings whose fault had gone. The last hundred.';

-- What is looked for each minute.

SELECT pg_temp.own_tables('event_cursors', 'stripe_checks', 'reconciliation_runs');
COMMIT;
