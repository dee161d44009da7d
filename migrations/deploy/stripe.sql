-- Stripe: the outbox that the relay empties, the hand-off of secrets to clients, the inbox of webhooks.
BEGIN;
\ir ../lib/park.sql
\ir ../lib/own.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['stripe_requests', 'stripe_buckets', 'stripe_handoff', 'stripe_inbox']) t;

CREATE TABLE IF NOT EXISTS ticketing.stripe_requests (
  id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  seq               bigint GENERATED ALWAYS AS IDENTITY,
  kind              text NOT NULL,
  lane              smallint NOT NULL CHECK (lane BETWEEN 0 AND 2),
  method            text NOT NULL CHECK (method IN ('GET', 'POST', 'DELETE')),
  path              text NOT NULL CHECK (path LIKE '/v1/%'),
  endpoint          text NOT NULL DEFAULT '',
  params            jsonb NOT NULL DEFAULT '{}',
  customer_of       text,
  account_of        text,
  body              text,
  stripe_account    text,
  api_version       text NOT NULL,
  idempotency_key   uuid NOT NULL DEFAULT gen_random_uuid(),
  waits_for         uuid,
  runnable          boolean NOT NULL DEFAULT true,
  state             text NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'leased', 'done', 'failed', 'unknown')),
  attempts          integer NOT NULL DEFAULT 0,
  run_at            timestamptz NOT NULL,
  first_sent_at     timestamptz,
  leased_at         timestamptz,
  lease_token       uuid,
  lease_expires_at  timestamptz,
  lookup_id         uuid,
  http_status       integer,
  stripe_request_id text,
  answer            jsonb,
  error             jsonb,
  applied           boolean NOT NULL DEFAULT false,
  apply_error       text,
  order_id          uuid,
  event_id          integer,
  user_id           text,
  created_at        timestamptz NOT NULL,
  completed_at      timestamptz
);
COMMENT ON TABLE ticketing.stripe_requests IS 'Outbox: calls that the relay makes after the transaction that asked for them has committed.';
COMMENT ON COLUMN ticketing.stripe_requests.kind IS 'What is asked and what the answer means: a function of src/stripe_effects.c.';
COMMENT ON COLUMN ticketing.stripe_requests.lane IS '0 refunds and cancels, 1 buyers, 2 reconciliation.';
COMMENT ON COLUMN ticketing.stripe_requests.customer_of IS 'User whose Stripe customer id becomes the parameter "customer" when the body is frozen.';
COMMENT ON COLUMN ticketing.stripe_requests.account_of IS 'Host whose Stripe account becomes the parameter "account" when the body is frozen.';
COMMENT ON COLUMN ticketing.stripe_requests.body IS 'Form body, frozen at the first lease: every retry sends the same bytes under the same key.';
COMMENT ON COLUMN ticketing.stripe_requests.waits_for IS 'Request whose answer this one needs.';
COMMENT ON COLUMN ticketing.stripe_requests.endpoint IS 'Method and path with ids replaced: what Stripe counts calls by. Empty: only the limit of all calls holds.';
COMMENT ON COLUMN ticketing.stripe_requests.runnable IS 'Of a ready request: nothing is in its way but its turn. False: it waits for another request (run_at is infinity) or for its time.';
COMMENT ON COLUMN ticketing.stripe_requests.state IS 'unknown: nobody knows whether it happened, and its key is too old to ask with; it is looked up.';
COMMENT ON COLUMN ticketing.stripe_requests.lookup_id IS 'Of an unknown request: the request that looks whether it happened; its own id when only a person can tell.';
COMMENT ON COLUMN ticketing.stripe_requests.answer IS 'The fields that are needed of Stripe''s answer, secrets never among them.';
COMMENT ON COLUMN ticketing.stripe_requests.applied IS 'Whether the answer''s effect is in the engine''s tables; if not, apply_error says why and a sweep tries again.';
CREATE INDEX IF NOT EXISTS stripe_requests_ready ON ticketing.stripe_requests (endpoint, lane, seq) WHERE state = 'ready' AND runnable;
CREATE INDEX IF NOT EXISTS stripe_requests_held_up ON ticketing.stripe_requests (endpoint, lane, seq) WHERE state = 'ready' AND NOT runnable;
CREATE INDEX IF NOT EXISTS stripe_requests_due ON ticketing.stripe_requests (run_at) WHERE state = 'ready' AND NOT runnable;
CREATE INDEX IF NOT EXISTS stripe_requests_leased ON ticketing.stripe_requests (lease_expires_at) WHERE state = 'leased';
CREATE INDEX IF NOT EXISTS stripe_requests_waiting ON ticketing.stripe_requests (waits_for) WHERE state = 'ready' AND waits_for IS NOT NULL;
CREATE INDEX IF NOT EXISTS stripe_requests_unknown ON ticketing.stripe_requests (seq) WHERE state = 'unknown' AND lookup_id IS NULL;
CREATE INDEX IF NOT EXISTS stripe_requests_looked_up ON ticketing.stripe_requests (lookup_id) WHERE state = 'unknown' AND lookup_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS stripe_requests_unapplied ON ticketing.stripe_requests (seq) WHERE state IN ('done', 'failed') AND NOT applied;
CREATE INDEX IF NOT EXISTS stripe_requests_order ON ticketing.stripe_requests (order_id) WHERE order_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS stripe_requests_open_customer ON ticketing.stripe_requests (user_id)
  WHERE kind = 'create_customer' AND state IN ('ready', 'leased', 'unknown');
CREATE UNIQUE INDEX IF NOT EXISTS stripe_requests_open_account ON ticketing.stripe_requests (user_id)
  WHERE kind = 'create_account' AND state IN ('ready', 'leased', 'unknown');
CREATE INDEX IF NOT EXISTS stripe_requests_unsent ON ticketing.stripe_requests (user_id, kind)
  WHERE kind IN ('list_payment_methods', 'get_account') AND state = 'ready' AND attempts = 0;

CREATE TABLE IF NOT EXISTS ticketing.stripe_buckets (
  endpoint     text PRIMARY KEY,
  held         integer[] NOT NULL DEFAULT array_fill(0, ARRAY[128]),
  slot         bigint NOT NULL DEFAULT 0,
  hold         double precision NOT NULL DEFAULT 1.1,
  calls        bigint NOT NULL DEFAULT 0,
  quickest     double precision NOT NULL DEFAULT 0,
  paused_until timestamptz,
  pauses       integer NOT NULL DEFAULT 0
) WITH (fillfactor = 40);
COMMENT ON TABLE ticketing.stripe_buckets IS 'How many calls Stripe may still count against a limit: a row for each endpoint, and one, with the empty name, for all. A call holds a token from its claim until a second after its answer.';
INSERT INTO ticketing.stripe_buckets (endpoint) VALUES ('') ON CONFLICT DO NOTHING;
COMMENT ON COLUMN ticketing.stripe_buckets.held IS 'Tokens held, by the slot of 20 ms at whose beginning they come back; a ring.';
COMMENT ON COLUMN ticketing.stripe_buckets.slot IS 'The slot up to which the ring is cleared.';
COMMENT ON COLUMN ticketing.stripe_buckets.hold IS 'For how many seconds a call held its token of late.';
COMMENT ON COLUMN ticketing.stripe_buckets.calls IS 'How many calls were answered; the first ones count for more in hold.';
COMMENT ON COLUMN ticketing.stripe_buckets.quickest IS 'Seconds that the quickest call of late took.';
COMMENT ON COLUMN ticketing.stripe_buckets.paused_until IS 'After a 429: no call to this endpoint before.';
COMMENT ON COLUMN ticketing.stripe_buckets.pauses IS 'How many 429 in a row.';

CREATE UNLOGGED TABLE IF NOT EXISTS ticketing.stripe_handoff (
  request_id      uuid PRIMARY KEY,
  user_id         text NOT NULL,
  order_id        uuid,
  client_secret   text,
  ephemeral_key   text,
  payment_methods jsonb,
  url             text,
  url_expires_at  timestamptz,
  created_at      timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.stripe_handoff IS 'What a client must be handed. Unlogged, read only by the function that checks the owner, gone after 15 minutes; lost in a crash it is fetched again.';
CREATE INDEX IF NOT EXISTS stripe_handoff_age ON ticketing.stripe_handoff (created_at);
CREATE INDEX IF NOT EXISTS stripe_handoff_order ON ticketing.stripe_handoff (order_id);

CREATE TABLE IF NOT EXISTS ticketing.stripe_inbox (
  stripe_event_id text PRIMARY KEY,
  type            text,
  object_id       text,
  account         text,
  livemode        boolean,
  api_version     text,
  payload         text,
  raw_payload     bytea,
  state           text NOT NULL CHECK (state IN ('applied', 'ignored', 'parked')),
  reason          text,
  order_id        uuid,
  received_at     timestamptz NOT NULL,
  settled_at      timestamptz
);
COMMENT ON TABLE ticketing.stripe_inbox IS 'Every genuine webhook event, once, written in the transaction that applies it.';
COMMENT ON COLUMN ticketing.stripe_inbox.stripe_event_id IS 'Stripe''s event id; of a payload that is not JSON: sha256: and its hash.';
COMMENT ON COLUMN ticketing.stripe_inbox.object_id IS 'What it is about; of a dispute: the payment, by which its order is found.';
COMMENT ON COLUMN ticketing.stripe_inbox.payload IS 'As received, values of client_secret struck out.';
COMMENT ON COLUMN ticketing.stripe_inbox.raw_payload IS 'Set instead of payload when the bytes are not text.';
CREATE INDEX IF NOT EXISTS stripe_inbox_unsettled ON ticketing.stripe_inbox (object_id) WHERE state = 'parked';

SELECT pg_temp.own_tables('stripe_requests', 'stripe_buckets', 'stripe_handoff', 'stripe_inbox');
GRANT SELECT, INSERT ON public.stripe_customers, public.stripe_events TO dvnt_ticketing_owner;

CREATE OR REPLACE VIEW ticketing.relay_status WITH (security_barrier) AS
SELECT count(*) FILTER (WHERE state = 'ready') AS ready,
       count(*) FILTER (WHERE state = 'ready' AND NOT runnable) AS held_up,
       count(*) FILTER (WHERE state = 'leased') AS leased,
       count(*) FILTER (WHERE state = 'unknown') AS unknown,
       count(*) FILTER (WHERE state IN ('done', 'failed') AND NOT applied) AS unapplied,
       now() - min(created_at) FILTER (WHERE state = 'ready' AND runnable) AS oldest_ready,
       now() - min(created_at) FILTER (WHERE state = 'ready' AND runnable AND lane = 0) AS oldest_refund,
       now() - min(created_at) FILTER (WHERE state = 'ready' AND runnable AND lane = 1) AS oldest_buyer,
       now() - min(created_at) FILTER (WHERE state = 'ready' AND runnable AND lane = 2) AS oldest_reconciliation,
       (SELECT array_agg(endpoint ORDER BY endpoint) FROM ticketing.stripe_buckets WHERE paused_until > clock_timestamp()) AS paused,
       (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay' AND datname = current_database()) AS relays,
       EXISTS (SELECT FROM ticketing.installation) AS armed
FROM ticketing.stripe_requests
WHERE state IN ('ready', 'leased', 'unknown') OR (state IN ('done', 'failed') AND NOT applied);
COMMENT ON VIEW ticketing.relay_status IS 'Health of the outbox: what waits, for how long by lane, which endpoints Stripe told us to leave alone, how many relays are connected, and whether one has recorded whose database this is. For machines: relay_health().';
ALTER VIEW ticketing.relay_status OWNER TO dvnt_ticketing_owner;
COMMIT;
