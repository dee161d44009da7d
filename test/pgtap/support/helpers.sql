-- Functions for tests, made in the first schema of search_path, which is theirs alone. Webhooks are signed with the
-- setting test.webhook_secret. Needs pgcrypto.

-- ---- what a statement does

-- Runs a statement as a role and says 'ok', or the SQLSTATE and, where there is one, the reason. What it did stays.
CREATE FUNCTION attempt(statement text, as_role text DEFAULT 'none', claims text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  IF claims IS NOT NULL THEN
    PERFORM set_config('request.jwt.claims', claims, true);
  END IF;
  PERFORM set_config('role', as_role, true);
  EXECUTE statement;
  PERFORM set_config('role', 'none', true);
  RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' ', SQLSTATE, substring(detail FROM '"reason": "(\w+)"'));
END
$$;

-- The same in a read-only transaction, of which nothing stays.
CREATE FUNCTION attempt_read_only(statement text, as_role text DEFAULT 'none') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  PERFORM set_config('transaction_read_only', 'on', true);
  PERFORM set_config('role', as_role, true);
  EXECUTE statement;
  RAISE SQLSTATE 'UNDO0';
EXCEPTION
  WHEN SQLSTATE 'UNDO0' THEN
    RETURN 'ok';
  WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' ', SQLSTATE, substring(detail FROM '"reason": "(\w+)"'));
END
$$;

-- The DETAIL of the refusal that a statement meets.
CREATE FUNCTION refusal(statement text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  EXECUTE statement;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN detail;
END
$$;

-- A trigger that raises, for failures at a chosen place.
CREATE FUNCTION made_to_fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'made to fail' USING ERRCODE = 'XX999'; END $$;

-- ---- things to sell

-- A claim of a client session.
CREATE FUNCTION claims_of(user_id text, role text DEFAULT 'authenticated') RETURNS text LANGUAGE sql AS
$$ SELECT json_build_object('role', role, 'sub', user_id)::text $$;

-- A host whose Stripe account can be paid.
CREATE FUNCTION make_host(host text) RETURNS text LANGUAGE sql AS $$
  INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted)
  VALUES (host, 'acct_' || host, true, true, true) RETURNING host_id
$$;

CREATE FUNCTION make_event(host text, seats numeric DEFAULT NULL) RETURNS integer LANGUAGE sql AS $$
  INSERT INTO public.events (host_id, title, start_date, max_attendees)
  VALUES (host, 'Test', now() + interval '30 days', seats) RETURNING id
$$;

CREATE FUNCTION make_tier(event integer, price integer DEFAULT 2500, seats integer DEFAULT 100, per_user integer DEFAULT NULL) RETURNS uuid LANGUAGE sql AS $$
  INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total, max_per_user)
  VALUES (event, 'Test', price, seats, per_user) RETURNING id
$$;

-- The items argument of a call.
CREATE FUNCTION items(tier uuid, quantity integer, other_tier uuid DEFAULT NULL, other_quantity integer DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_agg(jsonb_build_object('ticket_type_id', t, 'quantity', q)) FROM (VALUES (tier, quantity), (other_tier, other_quantity)) v (t, q) WHERE t IS NOT NULL
$$;

CREATE FUNCTION hold(buyer text, event integer, items jsonb, ttl interval DEFAULT NULL) RETURNS uuid LANGUAGE sql AS
$$ SELECT (ticketing.hold_tickets(buyer, event, items, ttl) ->> 'reservation_id')::uuid $$;

CREATE FUNCTION available(tier uuid) RETURNS integer LANGUAGE sql AS
$$ SELECT a.available FROM public.ticket_types t, ticketing.availability(t.event_id) a WHERE t.id = tier AND a.ticket_type_id = tier $$;

-- Tickets of a free tier: their ids, and what is to be seen of one.
CREATE FUNCTION claim(buyer text, tier uuid, n integer DEFAULT 1) RETURNS SETOF uuid LANGUAGE sql AS $$
  SELECT (t ->> 'ticket_id')::uuid FROM public.ticket_types k, jsonb_array_elements(ticketing.claim_free_tickets(buyer, k.event_id, items(claim.tier, n)) -> 'tickets') t WHERE k.id = claim.tier
$$;
CREATE FUNCTION code(ticket uuid) RETURNS text LANGUAGE sql AS $$ SELECT qr_payload FROM public.tickets WHERE id = ticket $$;
CREATE FUNCTION token(ticket uuid) RETURNS text LANGUAGE sql AS $$ SELECT qr_token FROM public.tickets WHERE id = ticket $$;
CREATE FUNCTION status(ticket uuid) RETURNS text LANGUAGE sql AS $$ SELECT t.status FROM public.tickets t WHERE id = ticket $$;

-- Moves the engine's clock, for the rest of the transaction.
CREATE FUNCTION later(by interval) RETURNS void LANGUAGE sql AS $$
  SELECT set_config('dvnt_ticketing.test_clock_offset',
                    (current_setting('dvnt_ticketing.test_clock_offset')::numeric + extract(epoch FROM by) * 1000)::text, true)
$$;

-- ---- Stripe

-- Asks for a PaymentIntent and returns the order.
CREATE FUNCTION order_tickets(buyer text, event integer, items jsonb) RETURNS uuid LANGUAGE sql AS
$$ SELECT (ticketing.create_payment_intent(buyer, event, items) ->> 'order_id')::uuid $$;

-- A PaymentIntent as Stripe would show it for an order.
CREATE FUNCTION intent(order_id uuid, status text, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', 'pi_' || replace(o.order_id::text, '-', ''), 'object', 'payment_intent', 'status', status,
                            'amount', o.total_cents, 'amount_received', CASE WHEN status = 'succeeded' THEN o.total_cents ELSE 0 END,
                            'currency', o.currency, 'livemode', false, 'client_secret', 'pi_secret_' || o.order_id,
                            'transfer_data', jsonb_build_object('destination', o.payee_account)) || changes
  FROM ticketing.orders o WHERE o.order_id = intent.order_id
$$;

-- An account as Stripe would show it.
CREATE FUNCTION account(id text, charges boolean, payouts boolean DEFAULT true, details boolean DEFAULT true) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'object', 'account', 'charges_enabled', charges, 'payouts_enabled', payouts, 'details_submitted', details)
$$;

-- Plays the relay, once: claims every request that is ready and answers it as Stripe would; returns what relay_complete said.
CREATE FUNCTION relay(intent_status text DEFAULT 'requires_payment_method') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r record;
  body jsonb;
  said text;
  outcomes text[];
BEGIN
  PERFORM ticketing.relay_start('acct_platform', false, '');
  FOR r IN SELECT c.*, q.order_id, q.kind FROM ticketing.relay_claim(100, '1 minute') c JOIN ticketing.stripe_requests q USING (id) LOOP
    body := CASE r.kind
              WHEN 'create_customer' THEN jsonb_build_object('id', 'cus_' || replace(r.id::text, '-', ''), 'object', 'customer')
              WHEN 'create_ephemeral_key' THEN jsonb_build_object('id', 'ephkey_1', 'secret', 'ek_secret')
              ELSE intent(r.order_id, intent_status) END;
    said := ticketing.relay_complete(r.id, r.lease_token, 200, '{"request-id": "req_1"}', convert_to(body::text, 'UTF8'));
    outcomes := outcomes || said;
  END LOOP;
  RETURN array_to_string(outcomes, ' ');
END
$$;

-- The relay in single steps. Leases what is ready; what a user was leased is then answered by kind.
CREATE TABLE leased (id uuid, lease_token uuid, body text, api_version text, kind text, user_id text);
CREATE FUNCTION lease() RETURNS SETOF text LANGUAGE sql AS $$
  WITH made AS (
    INSERT INTO leased SELECT c.id, c.lease_token, c.body, c.api_version, r.kind, r.user_id FROM ticketing.relay_claim(100, '1 minute') c JOIN ticketing.stripe_requests r USING (id)
    RETURNING leased.user_id, leased.kind)
  SELECT made.user_id || ' ' || made.kind FROM made
$$;
CREATE FUNCTION answer(who text, what text, status integer, body jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  l leased;
BEGIN
  DELETE FROM leased WHERE (user_id, kind) = (who, what) RETURNING * INTO STRICT l;
  RETURN ticketing.relay_complete(l.id, l.lease_token, status, '{"request-id": "req_1"}', convert_to(body::text, 'UTF8'));
END
$$;
-- How the requests of a user stand.
CREATE FUNCTION requests(who text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT r.kind || ' ' || r.state FROM ticketing.stripe_requests r WHERE r.user_id = who ORDER BY seq
$$;
-- What a call enqueued, by its answer.
CREATE FUNCTION request(said jsonb) RETURNS ticketing.stripe_requests LANGUAGE sql AS $$
  SELECT r FROM ticketing.stripe_requests r WHERE r.id = (said ->> 'stripe_request_id')::uuid
$$;

-- An order whose PaymentIntent the buyer can pay.
CREATE FUNCTION payable_order(buyer text, event integer, items jsonb) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  made uuid := order_tickets(buyer, event, items);
BEGIN
  PERFORM relay(), relay();
  RETURN made;
END
$$;

-- A webhook event about an order's PaymentIntent.
CREATE FUNCTION stripe_event(event_id text, type text, object jsonb, changes jsonb DEFAULT '{}') RETURNS bytea LANGUAGE sql AS $$
  SELECT convert_to((jsonb_build_object('id', event_id, 'object', 'event', 'type', type, 'livemode', false, 'api_version', '2026-10-28.endive',
                                        'data', jsonb_build_object('object', object)) || changes)::text, 'UTF8')
$$;

-- The header Stripe-Signature of a payload.
CREATE FUNCTION stripe_signature(payload bytea) RETURNS text LANGUAGE sql AS $$
  SELECT 't=' || t || ',v1=' || encode(hmac(convert_to(t || '.', 'UTF8') || payload, convert_to(current_setting('test.webhook_secret'), 'UTF8'), 'sha256'), 'hex')
  FROM (SELECT extract(epoch FROM ticketing.clock())::bigint AS t OFFSET 0) now
$$;

-- Delivers a webhook and returns its outcome.
CREATE FUNCTION deliver(payload bytea) RETURNS text LANGUAGE sql AS
$$ SELECT ticketing.stripe_webhook(payload, stripe_signature(payload)) ->> 'outcome' $$;

-- The buyer of an order pays.
CREATE FUNCTION pay(order_id uuid) RETURNS text LANGUAGE sql AS
$$ SELECT deliver(stripe_event('evt_paid_' || replace(order_id::text, '-', ''), 'payment_intent.succeeded', intent(order_id, 'succeeded'))) $$;

-- ---- what is the case

-- What check_invariants says besides the two tiers that were oversold before the engine came.
CREATE FUNCTION broken_invariants() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT concat_ws(' ', check_name, entity, detail) FROM ticketing.check_invariants()
  WHERE NOT (check_name = 'oversold' AND entity IN (
    SELECT 'ticket_types/' || ticket_type_id FROM ticketing.adopted_counters a JOIN public.ticket_types t ON t.id = a.ticket_type_id WHERE a.counted > t.quantity_total))
$$;

-- A fingerprint of every table of the engine, and of what it writes in public.
CREATE FUNCTION everything() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  t regclass;
  sum text;
  sums text := '';
BEGIN
  FOR t IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' AND (c.relnamespace = 'ticketing'::regnamespace
             OR c.oid IN ('public.tickets'::regclass, 'public.orders'::regclass, 'public.order_timeline'::regclass,
                          'public.stripe_events'::regclass, 'public.stripe_customers'::regclass, 'public.ticket_types'::regclass))
           ORDER BY c.oid LOOP
    EXECUTE format('SELECT md5(coalesce(string_agg(md5(r::text), '''' ORDER BY md5(r::text)), '''')) FROM %s r', t) INTO sum;
    sums := sums || sum;
  END LOOP;
  RETURN md5(sums);
END
$$;
