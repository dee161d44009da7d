-- Orders with every state they can be in; public.orders and public.order_timeline are projections of
-- them onto the application's fixed lists.
BEGIN;
\ir ../lib/park.sql
\ir ../lib/own.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['orders', 'order_payments', 'order_items', 'order_tickets', 'order_events', 'findings']) t;

CREATE TABLE IF NOT EXISTS ticketing.orders (
  order_id              uuid PRIMARY KEY,
  event_id              integer NOT NULL,
  user_id               text NOT NULL,
  reservation_id        uuid,
  rail                  text NOT NULL CHECK (rail IN ('free', 'payment_intent', 'checkout_session')),
  state                 text NOT NULL CHECK (state IN (
                          'created', 'awaiting_payment', 'processing', 'expiring', 'canceling', 'expired', 'canceled', 'late_paid',
                          'paid', 'review', 'partially_refunded', 'refunding', 'refunded', 'refund_failed')),
  currency              text NOT NULL,
  subtotal_cents        integer NOT NULL CHECK (subtotal_cents >= 0),
  buyer_fee_cents       integer NOT NULL CHECK (buyer_fee_cents >= 0),
  organizer_fee_cents   integer NOT NULL CHECK (organizer_fee_cents >= 0),
  total_cents           integer NOT NULL CHECK (total_cents = subtotal_cents + buyer_fee_cents),
  application_fee_cents integer NOT NULL CHECK (application_fee_cents = buyer_fee_cents + organizer_fee_cents),
  transfer_cents        integer NOT NULL CHECK (transfer_cents = subtotal_cents - organizer_fee_cents),
  host_id               text,
  payee_account         text,
  email                 text,
  payment_intent_id     text,
  checkout_session_id   text,
  created_at            timestamptz NOT NULL,
  expires_at            timestamptz,
  due_at                timestamptz,
  action_extended       boolean NOT NULL DEFAULT false,
  dispute               text CHECK (dispute IN ('open', 'won', 'lost')),
  paid_at               timestamptz,
  updated_at            timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.orders IS 'One order: its price, fees, currency and payee are frozen when it is made. state is moved by one C function alone.';
COMMENT ON COLUMN ticketing.orders.order_id IS 'public.orders.id';
COMMENT ON COLUMN ticketing.orders.payee_account IS 'Stripe account of the host, from ticketing.payees when the order was made.';
COMMENT ON COLUMN ticketing.orders.expires_at IS 'End of the buyer''s time to pay.';
COMMENT ON COLUMN ticketing.orders.due_at IS 'When the order leaves its state by time: to pay, to settle, or to be canceled by Stripe.';
COMMENT ON COLUMN ticketing.orders.action_extended IS 'Its time has been made longer, once, because the buyer was about to authenticate.';
COMMENT ON COLUMN ticketing.orders.dispute IS 'How the disputes of its payment stand, over and above its state; NULL: none. won: or a part was lost, and people have decided about the tickets.';
CREATE INDEX IF NOT EXISTS orders_disputed ON ticketing.orders (order_id) WHERE dispute = 'open';
CREATE INDEX IF NOT EXISTS orders_due ON ticketing.orders (due_at) WHERE state IN ('awaiting_payment', 'processing', 'expiring', 'canceling');
CREATE UNIQUE INDEX IF NOT EXISTS orders_payment_intent_id ON ticketing.orders (payment_intent_id) WHERE payment_intent_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS orders_checkout_session_id ON ticketing.orders (checkout_session_id) WHERE checkout_session_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS orders_open_of_reservation ON ticketing.orders (reservation_id)
  WHERE state IN ('created', 'awaiting_payment', 'processing', 'expiring', 'canceling', 'review');
CREATE INDEX IF NOT EXISTS orders_of_user ON ticketing.orders (user_id, event_id);

CREATE TABLE IF NOT EXISTS ticketing.order_payments (
  object_id         text PRIMARY KEY,
  order_id          uuid NOT NULL,
  payment_intent_id text UNIQUE,
  state             text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'requires_action', 'processing', 'succeeded', 'canceled')),
  created_at        timestamptz NOT NULL,
  updated_at        timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.order_payments IS 'What an order was offered to be paid by: a PaymentIntent, or a Checkout Session and the PaymentIntent that it makes when it is paid.';
COMMENT ON COLUMN ticketing.order_payments.object_id IS 'Stripe''s id of the PaymentIntent or Checkout Session.';
COMMENT ON COLUMN ticketing.order_payments.state IS 'How far it has come by all that Stripe said; succeeded is for ever, canceled unless it succeeded after all.';
CREATE INDEX IF NOT EXISTS order_payments_order ON ticketing.order_payments (order_id);

CREATE TABLE IF NOT EXISTS ticketing.order_items (
  order_id         uuid NOT NULL,
  item             smallint NOT NULL,
  ticket_type_id   uuid NOT NULL,
  quantity         integer NOT NULL CHECK (quantity > 0),
  price_cents      integer NOT NULL CHECK (price_cents >= 0),
  buyer_fee_cents  integer[] NOT NULL,
  organizer_fee_cents integer[] NOT NULL,
  PRIMARY KEY (order_id, item),
  CHECK (cardinality(buyer_fee_cents) = quantity AND cardinality(organizer_fee_cents) = quantity)
);
COMMENT ON TABLE ticketing.order_items IS 'A line per tier: quantity, unit price and each ticket''s share of the fees (largest remainder, so that the shares add up).';

CREATE TABLE IF NOT EXISTS ticketing.order_tickets (
  ticket_id uuid PRIMARY KEY,
  order_id  uuid NOT NULL,
  item      smallint NOT NULL,
  ordinal   integer NOT NULL CHECK (ordinal > 0),
  UNIQUE (order_id, item, ordinal)
);
COMMENT ON TABLE ticketing.order_tickets IS 'Which line of which order a ticket was issued for: a second issue for the same place is impossible.';

CREATE TABLE IF NOT EXISTS ticketing.order_events (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  order_id   uuid NOT NULL,
  at         timestamptz NOT NULL,
  event      text NOT NULL,
  from_state text,
  to_state   text NOT NULL,
  source     text NOT NULL,
  detail     jsonb
);
COMMENT ON TABLE ticketing.order_events IS 'Append-only log that explains every state of an order.';
COMMENT ON COLUMN ticketing.order_events.source IS 'What caused it: a function, a Stripe event id, a request id.';
CREATE INDEX IF NOT EXISTS order_events_order ON ticketing.order_events (order_id, id);

CREATE TABLE IF NOT EXISTS ticketing.findings (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind        text NOT NULL,
  entity      text NOT NULL,
  detail      jsonb NOT NULL,
  found_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  resolved_at timestamptz,
  resolution  text,
  repaired    boolean NOT NULL DEFAULT false,
  repair      text
);
COMMENT ON TABLE ticketing.findings IS 'What was found wrong, and what became of it.';
COMMENT ON COLUMN ticketing.findings.entity IS 'table/id';
COMMENT ON COLUMN ticketing.findings.resolved_at IS 'NULL: somebody has to look. One that a person resolves is not found again as long as its detail stays the same.';
COMMENT ON COLUMN ticketing.findings.resolution IS 'repaired: by reconcile_orders. gone: it looked again, and the fault was there no more. Anything else: what a person says.';
COMMENT ON COLUMN ticketing.findings.repair IS 'What was done (repaired), or why nothing was and what a person can do.';
CREATE UNIQUE INDEX IF NOT EXISTS findings_open ON ticketing.findings (kind, entity) WHERE resolved_at IS NULL;

SELECT pg_temp.own_tables('orders', 'order_payments', 'order_items', 'order_tickets', 'order_events', 'findings');
GRANT SELECT, INSERT, UPDATE ON public.orders TO dvnt_ticketing_owner;
GRANT SELECT, INSERT ON public.order_timeline TO dvnt_ticketing_owner;
COMMIT;
