-- Trusted copies of what clients can rewrite in public: who hosts an event, and whose Stripe account is
-- paid. Copied at adoption and when an event or account first appears; later changes in public are
-- drift, never obeyed.
BEGIN ISOLATION LEVEL READ COMMITTED;
\ir ../lib/park.sql
\ir ../lib/own.sql
\ir ../lib/locks.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['event_settings', 'payees', 'installation']) t;

CREATE TABLE IF NOT EXISTS ticketing.event_settings (
  event_id      integer PRIMARY KEY,
  host_id       text,
  capacity      integer CHECK (capacity >= 0),
  hold_ttl      interval CHECK (hold_ttl > '0'),
  suite         smallint NOT NULL DEFAULT 1 CHECK (suite IN (1, 2)),
  doors_open    timestamptz,
  doors_close   timestamptz,
  reentry       boolean NOT NULL DEFAULT false,
  refund_policy jsonb NOT NULL DEFAULT '{}',
  canceled_at   timestamptz,
  shape         integer NOT NULL DEFAULT 0,
  recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS event_settings_host ON ticketing.event_settings (host_id);
COMMENT ON TABLE ticketing.event_settings IS 'The engine''s own copy of what decides about an event''s money and doors.';
COMMENT ON COLUMN ticketing.event_settings.capacity IS 'Places over all tiers; NULL: no limit.';
COMMENT ON COLUMN ticketing.event_settings.shape IS 'Counts the limits made and removed: a transaction with an older snapshot learns that there is a pool which it cannot see.';
COMMENT ON COLUMN ticketing.event_settings.canceled_at IS 'Since when the event is canceled: nothing of it is sold any more, and every order is given back.';
COMMENT ON COLUMN ticketing.event_settings.hold_ttl IS 'How long a hold lives; NULL: the setting dvnt_ticketing.hold_ttl.';
COMMENT ON COLUMN ticketing.event_settings.suite IS 'Signature of new tickets: 1 HMAC-SHA-256, 2 Ed25519.';
COMMENT ON COLUMN ticketing.event_settings.reentry IS 'Whether a ticket that was scanned out may come in again.';

CREATE TABLE IF NOT EXISTS ticketing.payees (
  host_id           text PRIMARY KEY,
  stripe_account_id text,
  charges_enabled   boolean NOT NULL DEFAULT false,
  payouts_enabled   boolean NOT NULL DEFAULT false,
  details_submitted boolean NOT NULL DEFAULT false,
  recorded_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ticketing.payees IS 'Whose Stripe account receives a host''s money, as first seen or made; its flags as Stripe said last.';
CREATE INDEX IF NOT EXISTS payees_account ON ticketing.payees (stripe_account_id);

CREATE TABLE IF NOT EXISTS ticketing.installation (
  only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  stripe_account_id text NOT NULL,
  livemode          boolean NOT NULL,
  system_identifier bigint NOT NULL,
  database_name     text NOT NULL,
  name              text NOT NULL,
  recorded_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ticketing.installation IS 'Which Stripe account this database belongs to, recorded by the first relay. A relay refuses to send where they differ, so that a restored copy never calls out. To arm a copy on purpose: rearm_relay().';
COMMENT ON COLUMN ticketing.installation.name IS 'DVNT_INSTALLATION of the relay''s environment: tells physical copies apart.';

SELECT pg_temp.own_tables('event_settings', 'payees', 'installation');
GRANT USAGE ON SCHEMA public TO dvnt_ticketing_owner;
GRANT SELECT ON public.events, public.organizer_accounts TO dvnt_ticketing_owner;
-- What Stripe says of an account is shown there.
GRANT INSERT (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted, created_at, updated_at),
      UPDATE (stripe_account_id, charges_enabled, payouts_enabled, details_submitted, updated_at) ON public.organizer_accounts TO dvnt_ticketing_owner;

-- An event's capacity as an integer. The column is numeric: NULL is no limit.
CREATE OR REPLACE FUNCTION ticketing.capacity_of(max_attendees numeric) RETURNS integer LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS
$$ SELECT CASE WHEN max_attendees IS NOT NULL THEN greatest(0, least(2147483647, floor(max_attendees)))::integer END $$;

CREATE OR REPLACE FUNCTION ticketing.record_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO ticketing.event_settings (event_id, host_id, capacity)
  VALUES (NEW.id, NEW.host_id, ticketing.capacity_of(NEW.max_attendees))
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;

-- An account that is first seen, or gets its first Stripe account.
CREATE OR REPLACE FUNCTION ticketing.record_payee() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO ticketing.payees AS p (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted)
  VALUES (NEW.host_id, NEW.stripe_account_id, coalesce(NEW.charges_enabled, false), coalesce(NEW.payouts_enabled, false), coalesce(NEW.details_submitted, false))
  ON CONFLICT (host_id) DO UPDATE
  SET stripe_account_id = excluded.stripe_account_id, charges_enabled = excluded.charges_enabled,
      payouts_enabled = excluded.payouts_enabled, details_submitted = excluded.details_submitted
  WHERE p.stripe_account_id IS NULL AND excluded.stripe_account_id IS NOT NULL;
  RETURN NULL;
END
$$;
SELECT pg_temp.own_functions('capacity_of(numeric)', 'record_event()', 'record_payee()');

SELECT pg_temp.lock_tables('SHARE ROW EXCLUSIVE', 'public.events', 'public.organizer_accounts');
CREATE OR REPLACE TRIGGER dvnt_record_event AFTER INSERT ON public.events
  FOR EACH ROW EXECUTE FUNCTION ticketing.record_event();
CREATE OR REPLACE TRIGGER dvnt_record_payee AFTER INSERT OR UPDATE ON public.organizer_accounts
  FOR EACH ROW EXECUTE FUNCTION ticketing.record_payee();

INSERT INTO ticketing.event_settings (event_id, host_id, capacity)
SELECT id, host_id, ticketing.capacity_of(max_attendees) FROM public.events
ON CONFLICT DO NOTHING;
-- As the trigger does it, for what came while the engine was parked.
INSERT INTO ticketing.payees AS p (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted)
SELECT host_id, stripe_account_id, coalesce(charges_enabled, false), coalesce(payouts_enabled, false), coalesce(details_submitted, false)
FROM public.organizer_accounts
ON CONFLICT (host_id) DO UPDATE
SET stripe_account_id = excluded.stripe_account_id, charges_enabled = excluded.charges_enabled,
    payouts_enabled = excluded.payouts_enabled, details_submitted = excluded.details_submitted
WHERE p.stripe_account_id IS NULL AND excluded.stripe_account_id IS NOT NULL;
COMMIT;
