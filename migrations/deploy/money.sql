-- Money after the sale: the ledger that explains every figure, refunds and the requests for them, disputes and payouts.
BEGIN;
\ir ../lib/park.sql
\ir ../lib/own.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['ledger', 'refunds', 'refund_tickets', 'refund_requests', 'disputes', 'dispute_tickets', 'payouts', 'payout_events']) t;

CREATE TABLE IF NOT EXISTS ticketing.ledger (
  kind          text NOT NULL,
  source        text NOT NULL,
  from_account  text NOT NULL CHECK (from_account IN ('buyer', 'platform', 'organizer', 'stripe', 'bank', 'organizer_debt', 'platform_claim')),
  to_account    text NOT NULL CHECK (to_account IN ('buyer', 'platform', 'organizer', 'stripe', 'bank', 'organizer_debt', 'platform_claim')),
  amount_cents  bigint NOT NULL CHECK (amount_cents > 0),
  currency      text NOT NULL,
  event_id      integer,
  order_id      uuid,
  payee_account text,
  at            timestamptz NOT NULL,
  PRIMARY KEY (source, kind),
  CHECK (from_account <> to_account)
);
COMMENT ON TABLE ticketing.ledger IS 'Double entry, append-only: each row moves an amount from one account to another, so that the sum over all accounts is always zero. Every figure that is reported is a sum over it.';
COMMENT ON COLUMN ticketing.ledger.kind IS 'What it was: src/ledger.c lists them, with the accounts of each.';
COMMENT ON COLUMN ticketing.ledger.source IS 'What it was about: Stripe''s id of the payment, dispute, payout or balance transaction, or a refund_id. Each thing is booked once of each kind.';
COMMENT ON COLUMN ticketing.ledger.from_account IS 'buyer; platform and organizer: their balances at Stripe; stripe: its fees; bank: what organizers were paid out; organizer_debt and platform_claim: what an organizer owes because a transfer could not be reversed.';
COMMENT ON COLUMN ticketing.ledger.payee_account IS 'The organizer''s Stripe account.';
CREATE INDEX IF NOT EXISTS ledger_order ON ticketing.ledger (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS ledger_event ON ticketing.ledger (event_id, kind);

CREATE TABLE IF NOT EXISTS ticketing.refunds (
  refund_id           uuid PRIMARY KEY,
  order_id            uuid NOT NULL,
  event_id            integer NOT NULL,
  payment_intent_id   text,
  reason              text NOT NULL CHECK (reason IN ('late', 'duplicate', 'review', 'requested_by_customer', 'fraudulent', 'event_canceled', 'other', 'dashboard')),
  amount_cents        integer NOT NULL CHECK (amount_cents >= 0),
  buyer_fee_cents     integer NOT NULL CHECK (buyer_fee_cents >= 0),
  organizer_fee_cents integer NOT NULL CHECK (organizer_fee_cents >= 0),
  state               text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'pending', 'succeeded', 'failed')),
  reverses            boolean NOT NULL DEFAULT true,
  stripe_request_id   uuid,
  stripe_refund_id    text UNIQUE,
  failure             text,
  actor               text,
  created_at          timestamptz NOT NULL,
  updated_at          timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.refunds IS 'Money that is given back, of tickets or of whole payments.';
COMMENT ON COLUMN ticketing.refunds.payment_intent_id IS 'The payment; NULL: free tickets, of which Stripe knows nothing.';
COMMENT ON COLUMN ticketing.refunds.reason IS 'late: the seats were gone when the payment came. duplicate: the order was paid by another already. review: an operator gave back what differed. dashboard: made at Stripe, not by us.';
COMMENT ON COLUMN ticketing.refunds.amount_cents IS 'What the buyer gets, his fee included.';
COMMENT ON COLUMN ticketing.refunds.buyer_fee_cents IS 'Shares of the fees that are given back with it.';
COMMENT ON COLUMN ticketing.refunds.reverses IS 'Whether the organizer''s part is taken back from his Stripe account. False: it could not be, and he owes it; or it was before, by a refund that failed later.';
COMMENT ON COLUMN ticketing.refunds.stripe_request_id IS 'The request that asks Stripe for it.';
COMMENT ON COLUMN ticketing.refunds.actor IS 'Who asked for it; NULL: the engine.';
CREATE UNIQUE INDEX IF NOT EXISTS refunds_of_payment ON ticketing.refunds (payment_intent_id) WHERE reason IN ('late', 'duplicate');
CREATE UNIQUE INDEX IF NOT EXISTS refunds_request ON ticketing.refunds (stripe_request_id) WHERE stripe_request_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS refunds_order ON ticketing.refunds (order_id);
CREATE INDEX IF NOT EXISTS refunds_open ON ticketing.refunds (created_at) WHERE state IN ('requested', 'pending');

CREATE TABLE IF NOT EXISTS ticketing.refund_tickets (
  refund_id           uuid NOT NULL,
  ticket_id           uuid NOT NULL,
  amount_cents        integer NOT NULL CHECK (amount_cents >= 0),
  buyer_fee_cents     integer NOT NULL CHECK (buyer_fee_cents >= 0),
  organizer_fee_cents integer NOT NULL CHECK (organizer_fee_cents >= 0),
  failed              boolean NOT NULL DEFAULT false,
  PRIMARY KEY (refund_id, ticket_id)
);
COMMENT ON TABLE ticketing.refund_tickets IS 'Which tickets a refund gives back, and what of each.';
CREATE UNIQUE INDEX IF NOT EXISTS refund_tickets_once ON ticketing.refund_tickets (ticket_id) WHERE NOT failed;

CREATE TABLE IF NOT EXISTS ticketing.refund_requests (
  refund_request_id uuid PRIMARY KEY,
  order_id          uuid NOT NULL,
  event_id          integer NOT NULL,
  user_id           text NOT NULL,
  ticket_ids        uuid[] NOT NULL,
  reason            text NOT NULL CHECK (reason IN ('duplicate', 'fraudulent', 'requested_by_customer', 'other')),
  notes             text,
  amount_cents      integer NOT NULL CHECK (amount_cents >= 0),
  state             text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'denied', 'processed')),
  refund_id         uuid,
  decided_by        text,
  decision          text,
  created_at        timestamptz NOT NULL,
  decided_at        timestamptz
);
COMMENT ON TABLE ticketing.refund_requests IS 'Buyers who ask for their money back, and what became of it; public.refund_requests shows it under the same id.';
COMMENT ON COLUMN ticketing.refund_requests.decision IS 'What whoever decided said about it.';
CREATE INDEX IF NOT EXISTS refund_requests_order ON ticketing.refund_requests (order_id);
CREATE INDEX IF NOT EXISTS refund_requests_event ON ticketing.refund_requests (event_id) WHERE state = 'pending';
CREATE UNIQUE INDEX IF NOT EXISTS refund_requests_refund ON ticketing.refund_requests (refund_id) WHERE refund_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS ticketing.disputes (
  dispute_id        text PRIMARY KEY,
  order_id          uuid NOT NULL,
  event_id          integer NOT NULL,
  payment_intent_id text NOT NULL,
  charge_id         text,
  transfer_id       text,
  amount_cents      integer NOT NULL CHECK (amount_cents >= 0),
  currency          text NOT NULL,
  reason            text,
  status            text NOT NULL,
  phase             text NOT NULL CHECK (phase IN ('inquiry', 'open', 'won', 'lost', 'closed')),
  reversal_request_id uuid,
  reversal_id       text,
  reversed_cents    integer NOT NULL DEFAULT 0,
  fees_refunded_cents integer NOT NULL DEFAULT 0,
  retransfer_request_id uuid,
  retransfer_id     text,
  created_at        timestamptz NOT NULL,
  closed_at         timestamptz,
  updated_at        timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.disputes IS 'Payments that buyers dispute at their banks.';
COMMENT ON COLUMN ticketing.disputes.status IS 'As Stripe has it.';
COMMENT ON COLUMN ticketing.disputes.phase IS 'inquiry: warning_*, no money has moved and no ticket is suspended. open: the money is gone for now and the tickets are suspended. won: as if it had not been. lost: the tickets are void. closed: an inquiry that ended.';
COMMENT ON COLUMN ticketing.disputes.transfer_id IS 'The transfer of the payment to the organizer.';
COMMENT ON COLUMN ticketing.disputes.reversal_request_id IS 'The request that takes the organizer''s part back, after it was lost.';
COMMENT ON COLUMN ticketing.disputes.reversal_id IS 'Stripe''s id of that reversal.';
COMMENT ON COLUMN ticketing.disputes.retransfer_request_id IS 'The request that gives it to him again, when it was won after all.';
COMMENT ON COLUMN ticketing.disputes.retransfer_id IS 'Stripe''s id of that transfer.';
CREATE INDEX IF NOT EXISTS disputes_event ON ticketing.disputes (event_id);
CREATE INDEX IF NOT EXISTS disputes_order ON ticketing.disputes (order_id);
CREATE UNIQUE INDEX IF NOT EXISTS disputes_reversal ON ticketing.disputes (reversal_request_id) WHERE reversal_request_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS disputes_retransfer ON ticketing.disputes (retransfer_request_id) WHERE retransfer_request_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS disputes_open ON ticketing.disputes (created_at) WHERE phase IN ('inquiry', 'open');

CREATE TABLE IF NOT EXISTS ticketing.dispute_tickets (
  dispute_id text NOT NULL,
  ticket_id  uuid NOT NULL,
  PRIMARY KEY (dispute_id, ticket_id)
);
COMMENT ON TABLE ticketing.dispute_tickets IS 'Tickets that a dispute has suspended: those of the order that were valid when it was opened.';

CREATE TABLE IF NOT EXISTS ticketing.payouts (
  payout_id     text PRIMARY KEY,
  payee_account text NOT NULL,
  host_id       text NOT NULL,
  amount_cents  bigint NOT NULL,
  currency      text NOT NULL,
  status        text NOT NULL CHECK (status IN ('pending', 'in_transit', 'paid', 'failed', 'canceled')),
  failure_code  text,
  arrival_date  timestamptz,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.payouts IS 'What Stripe pays out to organizers'' banks, as it said last.';
CREATE INDEX IF NOT EXISTS payouts_host ON ticketing.payouts (host_id, created_at);

CREATE TABLE IF NOT EXISTS ticketing.payout_events (
  payout_id    text NOT NULL,
  event_id     integer NOT NULL,
  amount_cents bigint NOT NULL,
  gross_cents  bigint NOT NULL,
  public_id    uuid NOT NULL UNIQUE,
  PRIMARY KEY (payout_id, event_id)
);
COMMENT ON TABLE ticketing.payout_events IS 'The part of a payout that is an event''s: public.payouts shows a row for each. Stripe pays an account, not an event: the oldest events are paid out first.';
COMMENT ON COLUMN ticketing.payout_events.gross_cents IS 'The same before fees, in proportion by the ledger.';
CREATE INDEX IF NOT EXISTS payout_events_event ON ticketing.payout_events (event_id);
COMMENT ON COLUMN ticketing.payout_events.public_id IS 'public.payouts.id';

SELECT pg_temp.own_tables('ledger', 'refunds', 'refund_tickets', 'refund_requests', 'disputes', 'dispute_tickets', 'payouts', 'payout_events');
GRANT SELECT, INSERT, UPDATE ON public.refund_requests TO dvnt_ticketing_owner;
GRANT SELECT, INSERT, UPDATE ON public.payouts TO dvnt_ticketing_owner;
GRANT SELECT, INSERT, UPDATE ON public.event_financials TO dvnt_ticketing_owner;
COMMIT;
