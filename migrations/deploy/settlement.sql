-- The proof of the ledger: what Stripe has booked on the platform's account and on organizers', beside what we have; and
-- what events had earned before us.
BEGIN;
\ir ../lib/park.sql
\ir ../lib/own.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['balance_transactions', 'settlement_cursors', 'event_openings']) t;

CREATE TABLE IF NOT EXISTS ticketing.balance_transactions (
  id                text PRIMARY KEY,
  account           text NOT NULL,
  type              text NOT NULL,
  category          text,
  source            text,
  cause             text,
  about             text,
  amount_cents      bigint NOT NULL,
  fee_cents         bigint NOT NULL,
  net_cents         bigint NOT NULL CHECK (net_cents = amount_cents - fee_cents),
  currency          text NOT NULL,
  created           timestamptz NOT NULL,
  available_on      timestamptz NOT NULL,
  payment_intent_id text,
  order_id          uuid,
  ledger_source     text,
  ledger_kinds      text[],
  settled           boolean NOT NULL DEFAULT false,
  stored_at         timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.balance_transactions IS 'What Stripe has booked, as it lists it: the sum of net_cents of an account is its balance at Stripe.';
COMMENT ON COLUMN ticketing.balance_transactions.id IS 'Stripe''s id, txn_…';
COMMENT ON COLUMN ticketing.balance_transactions.account IS 'The organizer''s Stripe account, or platform.';
COMMENT ON COLUMN ticketing.balance_transactions.type IS 'Stripe''s type; what Stripe calls an adjustment for a refund that failed is a refund_failure; of payouts, what leaves the account is a payout, what comes into it a payout_failure.';
COMMENT ON COLUMN ticketing.balance_transactions.category IS 'Stripe''s reporting_category, which tells adjustments apart.';
COMMENT ON COLUMN ticketing.balance_transactions.source IS 'Stripe''s id of what was booked: charge, transfer, refund, payout …';
COMMENT ON COLUMN ticketing.balance_transactions.cause IS 'What that follows from: a charge from its PaymentIntent, a transfer from its charge, a reversal from its transfer, a payment to an organizer from its transfer.';
COMMENT ON COLUMN ticketing.balance_transactions.about IS 'The refund or dispute that it is about.';
COMMENT ON COLUMN ticketing.balance_transactions.payment_intent_id IS 'The payment at the end of that chain, once it is known.';
COMMENT ON COLUMN ticketing.balance_transactions.ledger_source IS 'ticketing.ledger.source of what explains it.';
COMMENT ON COLUMN ticketing.balance_transactions.ledger_kinds IS 'And its kinds.';
COMMENT ON COLUMN ticketing.balance_transactions.settled IS 'Whether the ledger has the same figure.';
CREATE INDEX IF NOT EXISTS balance_transactions_source ON ticketing.balance_transactions (source);
CREATE INDEX IF NOT EXISTS balance_transactions_ledger ON ticketing.balance_transactions (ledger_source) WHERE ledger_source IS NOT NULL;
CREATE INDEX IF NOT EXISTS balance_transactions_payment ON ticketing.balance_transactions (payment_intent_id) WHERE payment_intent_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS balance_transactions_open ON ticketing.balance_transactions (created) WHERE NOT settled;

CREATE TABLE IF NOT EXISTS ticketing.settlement_cursors (
  account    text PRIMARY KEY,
  since      timestamptz NOT NULL,
  judged     timestamptz NOT NULL,
  until      timestamptz,
  request_id uuid,
  pages      integer NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.settlement_cursors IS 'How far each account''s balance transactions have been listed.';
COMMENT ON COLUMN ticketing.settlement_cursors.account IS 'The organizer''s Stripe account, or platform.';
COMMENT ON COLUMN ticketing.settlement_cursors.since IS 'All from before are here.';
COMMENT ON COLUMN ticketing.settlement_cursors.judged IS 'Bookings from before have been looked for at Stripe.';
COMMENT ON COLUMN ticketing.settlement_cursors.until IS 'Up to when they are being listed; NULL: they are not.';
COMMENT ON COLUMN ticketing.settlement_cursors.request_id IS 'The request for the page that is awaited.';
COMMENT ON COLUMN ticketing.settlement_cursors.pages IS 'How many pages the last listing had.';

-- What public.event_financials said before the ledger had anything of the event.
CREATE TABLE IF NOT EXISTS ticketing.event_openings (
  event_id         integer PRIMARY KEY,
  gross_cents      bigint NOT NULL,
  refunds_cents    bigint NOT NULL,
  dvnt_fee_cents   bigint NOT NULL,
  stripe_fee_cents bigint NOT NULL,
  net_cents        bigint NOT NULL,
  calculated_at    timestamptz,
  recorded_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ticketing.event_openings IS 'What public.event_financials said of an event before the ledger had anything of it: what is rolled up is this and the ledger''s sums.';
COMMENT ON COLUMN ticketing.event_openings.calculated_at IS 'As it was there; NULL also where there was no row.';

SELECT pg_temp.own_tables('balance_transactions', 'settlement_cursors', 'event_openings');

-- Bookings lie in the order of time: those of late are found without an index that every sale would pay for.
CREATE INDEX IF NOT EXISTS ledger_at ON ticketing.ledger USING brin (at) WITH (pages_per_range = 16, autosummarize = on);

INSERT INTO ticketing.event_openings (event_id, gross_cents, refunds_cents, dvnt_fee_cents, stripe_fee_cents, net_cents, calculated_at)
SELECT event_id, coalesce(gross_cents, 0), coalesce(refunds_cents, 0), coalesce(dvnt_fee_cents, 0), coalesce(stripe_fee_cents, 0), coalesce(net_cents, 0), calculated_at
FROM public.event_financials f WHERE NOT EXISTS (SELECT FROM ticketing.ledger l WHERE l.event_id = f.event_id)
ON CONFLICT DO NOTHING;

CREATE OR REPLACE VIEW ticketing.account_lines WITH (security_barrier) AS
SELECT s.account, l.currency, l.source, l.kind, s.cents, l.order_id, l.event_id, l.at,
       CASE
         WHEN l.kind IN ('stripe_fee', 'rounding_up', 'rounding_down') AND s.account = 'platform'
           THEN (SELECT b.created FROM ticketing.balance_transactions b WHERE b.id = l.source AND b.account = s.account AND b.settled)
         WHEN l.kind IN ('rounding_up', 'rounding_down')
           THEN (SELECT min(b.created) FROM ticketing.balance_transactions f JOIN ticketing.balance_transactions b ON b.ledger_source = f.ledger_source
                 WHERE f.id = l.source AND b.account = s.account AND b.settled AND b.type IN ('payment_refund', 'adjustment'))
         ELSE (SELECT min(b.created) FROM ticketing.balance_transactions b
               WHERE b.ledger_source = l.source AND b.account = s.account AND b.settled AND l.kind = ANY (b.ledger_kinds)) END AS settled_at
FROM ticketing.ledger l
CROSS JOIN LATERAL (VALUES
  (CASE l.from_account WHEN 'platform' THEN 'platform' WHEN 'organizer' THEN l.payee_account END, -l.amount_cents),
  (CASE l.to_account WHEN 'platform' THEN 'platform' WHEN 'organizer' THEN l.payee_account END, l.amount_cents)) s (account, cents)
WHERE s.account IS NOT NULL AND l.kind <> 'opening';
COMMENT ON VIEW ticketing.account_lines IS 'The ledger as each account at Stripe sees it: cents is what a booking adds to its balance; settled_at is when Stripe booked the same, NULL while it is not known to have done so.';
ALTER VIEW ticketing.account_lines OWNER TO dvnt_ticketing_owner;
COMMIT;
