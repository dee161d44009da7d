-- The application's twelve tables: made where missing, adopted untouched where present (any subset).
-- A table made here carries that in its comment, so that a rollback parks it and leaves adopted ones alone. Tables whose
-- columns are not what the engine needs are refused, with nothing done.
BEGIN;
\ir ../lib/park.sql
SET LOCAL lock_timeout = '2s';

DO $$
BEGIN
  -- Roles are the server's: another database may be at the same point.
  LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN CREATE ROLE anon NOLOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN CREATE ROLE authenticated NOLOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN CREATE ROLE service_role NOLOGIN BYPASSRLS; END IF;
END
$$;

-- The tables in an order in which each finds what it references.
CREATE TEMP TABLE baseline_tables (position serial, name text, definition text) ON COMMIT DROP;
INSERT INTO baseline_tables (name, definition) VALUES
('events', $$
  id                  serial PRIMARY KEY,
  host_id             text,
  title               text,
  description         text,
  start_date          timestamptz,
  end_date            timestamptz,
  location            text,
  price               numeric,
  max_attendees       numeric,
  total_attendees     numeric,
  visibility          text DEFAULT 'public' CHECK (visibility IN ('public', 'private', 'link_only')),
  location_type       text DEFAULT 'physical' CHECK (location_type IN ('virtual', 'physical')),
  age_restriction     text DEFAULT 'none' CHECK (age_restriction IN ('none', '18+', '21+')),
  ticketing_enabled   boolean DEFAULT true,
  payout_status       text DEFAULT 'pending' CHECK (payout_status IN ('pending', 'on_hold', 'released', 'disabled')),
  payout_release_at   timestamptz,
  share_slug          text UNIQUE,
  created_at          timestamptz DEFAULT now(),
  updated_at          timestamptz DEFAULT now()$$),
('ticket_types', $$
  id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  event_id       integer NOT NULL REFERENCES public.events ON DELETE CASCADE,
  name           text NOT NULL,
  price_cents    integer NOT NULL DEFAULT 0,
  currency       text DEFAULT 'usd',
  quantity_total integer,
  quantity_sold  integer DEFAULT 0,
  max_per_user   integer DEFAULT 4,
  sale_start     timestamptz,
  sale_end       timestamptz,
  created_at     timestamptz DEFAULT now()$$),
('tickets', $$
  id                         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  event_id                   integer NOT NULL REFERENCES public.events ON DELETE CASCADE,
  ticket_type_id             uuid NOT NULL REFERENCES public.ticket_types ON DELETE CASCADE,
  user_id                    text NOT NULL,
  status                     text DEFAULT 'active' CHECK (status IN ('active', 'scanned', 'refunded', 'void')),
  qr_token                   text NOT NULL UNIQUE,
  checked_in_at              timestamptz,
  checked_in_by              text,
  stripe_checkout_session_id text,
  stripe_payment_intent_id   text,
  purchase_amount_cents      integer,
  created_at                 timestamptz DEFAULT now()$$),
('orders', $$
  id                         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id                    text NOT NULL,
  type                       text NOT NULL CHECK (type IN ('event_ticket', 'promotion', 'sneaky_access')),
  status                     text DEFAULT 'created' CHECK (status IN (
                               'created', 'payment_pending', 'payment_failed', 'paid',
                               'partially_refunded', 'refunded', 'disputed')),
  currency                   text DEFAULT 'usd',
  subtotal_cents             integer NOT NULL DEFAULT 0,
  platform_fee_cents         integer DEFAULT 0,
  processing_fee_cents       integer DEFAULT 0,
  tax_cents                  integer DEFAULT 0,
  total_cents                integer NOT NULL DEFAULT 0,
  stripe_checkout_session_id text,
  stripe_payment_intent_id   text,
  payment_method_last4       text,
  payment_method_brand       text,
  event_id                   integer REFERENCES public.events,
  campaign_id                integer,
  receipt_generated          boolean DEFAULT false,
  receipt_pdf_path           text,
  invoice_pdf_path           text,
  created_at                 timestamptz DEFAULT now(),
  updated_at                 timestamptz DEFAULT now(),
  paid_at                    timestamptz,
  refunded_at                timestamptz$$),
('order_timeline', $$
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  order_id   uuid NOT NULL REFERENCES public.orders ON DELETE CASCADE,
  type       text NOT NULL CHECK (type IN (
               'created', 'payment_authorized', 'payment_captured', 'receipt_generated',
               'refund_requested', 'refund_processed', 'dispute_opened', 'dispute_resolved')),
  label      text NOT NULL,
  detail     text,
  created_at timestamptz DEFAULT now()$$),
('refund_requests', $$
  id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  order_id         uuid NOT NULL REFERENCES public.orders ON DELETE CASCADE,
  user_id          text NOT NULL,
  status           text DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'denied', 'processed')),
  reason           text NOT NULL CHECK (reason IN ('duplicate', 'fraudulent', 'requested_by_customer', 'other')),
  notes            text,
  amount_cents     integer,
  stripe_refund_id text,
  created_at       timestamptz DEFAULT now(),
  resolved_at      timestamptz$$),
('organizer_accounts', $$
  host_id           text PRIMARY KEY,
  stripe_account_id text UNIQUE,
  charges_enabled   boolean DEFAULT false,
  payouts_enabled   boolean DEFAULT false,
  details_submitted boolean DEFAULT false,
  created_at        timestamptz DEFAULT now(),
  updated_at        timestamptz DEFAULT now()$$),
('organizer_branding', $$
  host_id             text PRIMARY KEY,
  logo_url            text,
  logo_monochrome_url text,
  display_name        text,
  fallback_text       text,
  created_at          timestamptz DEFAULT now(),
  updated_at          timestamptz DEFAULT now()$$),
('stripe_customers', $$
  user_id            text PRIMARY KEY,
  stripe_customer_id text NOT NULL UNIQUE,
  created_at         timestamptz DEFAULT now()$$),
('stripe_events', $$
  event_id     text PRIMARY KEY,
  event_type   text NOT NULL,
  processed_at timestamptz DEFAULT now()$$),
('payouts', $$
  id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  event_id         integer NOT NULL REFERENCES public.events ON DELETE CASCADE,
  host_id          text NOT NULL,
  stripe_payout_id text,
  status           text DEFAULT 'pending' CHECK (status IN ('pending', 'paid', 'failed', 'on_hold')),
  gross_cents      integer,
  net_cents        integer,
  release_at       timestamptz,
  created_at       timestamptz DEFAULT now()$$),
('event_financials', $$
  event_id         integer PRIMARY KEY REFERENCES public.events ON DELETE CASCADE,
  gross_cents      integer DEFAULT 0,
  refunds_cents    integer DEFAULT 0,
  dvnt_fee_cents   integer DEFAULT 0,
  stripe_fee_cents integer DEFAULT 0,
  net_cents        integer DEFAULT 0,
  calculated_at    timestamptz$$);

CREATE TEMP TABLE baseline_indexes (table_name text, name text, columns text) ON COMMIT DROP;
INSERT INTO baseline_indexes VALUES
('ticket_types', 'ticket_types_event', 'event_id'),
('tickets', 'tickets_event', 'event_id'),
('tickets', 'tickets_user', 'user_id'),
('tickets', 'tickets_event_status', 'event_id, status'),
('orders', 'orders_user', 'user_id'),
('orders', 'orders_status', 'status'),
('orders', 'orders_event', 'event_id'),
('orders', 'orders_payment_intent', 'stripe_payment_intent_id'),
('order_timeline', 'order_timeline_order', 'order_id'),
('refund_requests', 'refund_requests_order', 'order_id'),
('refund_requests', 'refund_requests_user', 'user_id'),
('payouts', 'payouts_event', 'event_id'),
('payouts', 'payouts_host', 'host_id');

-- Row security of a table made here: people read what is theirs, service_role does the rest. The
-- acting user is the claim "sub"; an unset claims setting can be ''.
CREATE TEMP TABLE baseline_policies (table_name text, definition text) ON COMMIT DROP;
INSERT INTO baseline_policies
SELECT name, format('CREATE POLICY %I ON public.%I FOR SELECT USING (%s)', name || '_read', name,
                    replace(condition, 'SUB', $s$(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')$s$))
FROM (VALUES
  ('events', 'visibility <> ''private'' OR host_id = SUB'),
  ('ticket_types', 'true'),
  ('tickets', 'user_id = SUB'),
  ('orders', 'user_id = SUB'),
  ('order_timeline', 'EXISTS (SELECT FROM public.orders o WHERE o.id = order_id AND o.user_id = SUB)'),
  ('refund_requests', 'user_id = SUB'),
  ('organizer_accounts', 'host_id = SUB'),
  ('organizer_branding', 'true'),
  ('stripe_customers', 'user_id = SUB'),
  ('payouts', 'host_id = SUB')) AS p (name, condition);

CREATE TEMP TABLE baseline_made (name text) ON COMMIT DROP;
DO $$
DECLARE
  t record;
  statement text;
BEGIN
  FOR t IN SELECT name, definition FROM baseline_tables ORDER BY position LOOP
    IF obj_description(to_regclass(format('public.%I', t.name || '_parked')), 'pg_class') = 'Made by the dvnt_ticketing baseline.' THEN
      PERFORM pg_temp.unpark('public', t.name);
    END IF;
    CONTINUE WHEN to_regclass('public.' || t.name) IS NOT NULL;
    EXECUTE format('CREATE TABLE public.%I (%s)', t.name, t.definition);
    EXECUTE format('COMMENT ON TABLE public.%I IS %L', t.name, 'Made by the dvnt_ticketing baseline.');
    -- A table that was moved aside may still have the name of an index: then PostgreSQL chooses another.
    FOR statement IN
      SELECT format('CREATE INDEX %s ON public.%I (%s)', CASE WHEN to_regclass('public.' || i.name) IS NULL THEN i.name END, t.name, i.columns)
      FROM baseline_indexes i WHERE i.table_name = t.name LOOP
      EXECUTE statement;
    END LOOP;
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', t.name);
    FOR statement IN SELECT definition FROM baseline_policies WHERE table_name = t.name LOOP
      EXECUTE statement;
    END LOOP;
    EXECUTE format('GRANT ALL ON public.%I TO service_role', t.name);
    IF EXISTS (SELECT FROM baseline_policies WHERE table_name = t.name) THEN
      EXECUTE format('GRANT SELECT ON public.%I TO authenticated', t.name);
    END IF;
    IF t.name IN ('events', 'ticket_types', 'organizer_branding') THEN
      EXECUTE format('GRANT SELECT ON public.%I TO anon', t.name);
    END IF;
    IF t.name = 'events' THEN
      EXECUTE format('GRANT USAGE ON SEQUENCE %s TO service_role', pg_get_serial_sequence('public.events', 'id'));
      INSERT INTO baseline_made VALUES ('events');
    END IF;
  END LOOP;
END
$$;
\ir ../lib/columns.sql

-- A new event must not get the id, and with it the tickets, of one that is missing. Only where events was made: planned
-- anywhere else, the query would already wait for locks on adopted tables.
DO $$
BEGIN
  IF EXISTS (SELECT FROM baseline_made WHERE name = 'events') THEN
    PERFORM setval(pg_get_serial_sequence('public.events', 'id'), max(event_id))
    FROM (SELECT event_id FROM public.ticket_types UNION ALL SELECT event_id FROM public.tickets UNION ALL SELECT event_id FROM public.orders
          UNION ALL SELECT event_id FROM public.payouts UNION ALL SELECT event_id FROM public.event_financials) used
    HAVING max(event_id) >= 1;
  END IF;
END
$$;
COMMIT;
