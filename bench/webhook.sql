-- Orders that wait to be paid, by the functions of test/pgtap/support/helpers.sql in the schema test: the relay is played
-- and the webhooks are made by them. Variable: orders.
SET search_path = test, public;
-- The relay that is played here takes all there is at once.
SET dvnt_ticketing.stripe_rate = 0;
SET dvnt_ticketing.stripe_endpoint_rate = 0;
SELECT bench.make_event(1, 1000000), make_host('host');
INSERT INTO public.stripe_customers (user_id, stripe_customer_id) SELECT 'user-' || n, 'cus_' || n FROM generate_series(1, :orders) n;
SELECT set_config('bench.orders', :'orders', false);
-- Each in a transaction of its own, and soon answered.
DO $$
BEGIN
  FOR n IN 1..current_setting('bench.orders')::integer LOOP
    PERFORM ticketing.create_payment_intent('user-' || n, 1, bench.cart(1, 1));
    COMMIT;
    IF n % 100 = 0 OR n = current_setting('bench.orders')::integer THEN
      PERFORM test.relay();
      COMMIT;
    END IF;
  END LOOP;
END
$$;
CREATE SEQUENCE bench.next_hook;
GRANT USAGE ON SCHEMA bench, test TO dvnt_ticketing_owner;
GRANT USAGE ON SEQUENCE bench.next_hook TO dvnt_ticketing_owner;

-- What Stripe sends of each: an event with the members of a PaymentIntent that a webhook has, about 2.5 kB.
CREATE FUNCTION bench.make_hooks() RETURNS void LANGUAGE sql SET search_path = test, public AS $$
  CREATE TABLE bench.hook AS
  SELECT row_number() OVER (ORDER BY md5(order_id::text)) AS n, order_id, reservation_id, user_id, payment_intent_id, total_cents, buyer_fee_cents, organizer_fee_cents, payee_account, 'evt_' || md5(order_id::text) AS event_id,
         payload, test.stripe_signature(payload) AS signature
  FROM ticketing.orders o, LATERAL (
    SELECT convert_to(jsonb_pretty(jsonb_build_object('id', 'evt_' || md5(order_id::text), 'object', 'event', 'type', 'payment_intent.succeeded', 'livemode', false,
             'api_version', '2026-10-28.endive', 'created', 1790000000, 'pending_webhooks', 1, 'request', jsonb_build_object('id', 'req_' || left(md5(user_id), 14), 'idempotency_key', gen_random_uuid()),
             'data', jsonb_build_object('object', intent(order_id, 'succeeded') || '{
               "amount_capturable": 0, "amount_details": {"tip": {}}, "application": null, "application_fee_amount": 250, "automatic_payment_methods": {"allow_redirects": "always", "enabled": true},
               "canceled_at": null, "cancellation_reason": null, "capture_method": "automatic_async", "confirmation_method": "automatic", "created": 1790000000, "customer": "cus_QXg1o8vlGmoR32",
               "description": null, "excluded_payment_method_types": null, "last_payment_error": null, "latest_charge": "ch_3PgVtDB7WZ01zgkW0hRSWoJk", "metadata": {"event_id": "1", "order_id": "9b0f6a3e-52f1-4a3e-8a8e-5a4f4b6c2d10"},
               "next_action": null, "on_behalf_of": null, "payment_method": "pm_1PgVtCB7WZ01zgkWf5oDnGf9", "payment_method_configuration_details": {"id": "pmc_1OuE9dB7WZ01zgkWpFbBzY7C", "parent": null},
               "payment_method_options": {"card": {"installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic"}, "link": {"persistent_token": null}},
               "payment_method_types": ["card", "link"], "processing": null, "receipt_email": "buyer@example.com", "review": null, "setup_future_usage": null, "shipping": null, "source": null,
               "statement_descriptor": null, "statement_descriptor_suffix": null, "transfer_group": "group_pi_3PgVtDB7WZ01zgkW0Q4cV6fC"}'))), 'UTF8') AS payload) p
  WHERE o.state = 'awaiting_payment';
  ALTER TABLE bench.hook ADD PRIMARY KEY (n);
  GRANT SELECT ON bench.hook TO dvnt_ticketing_owner;
$$;

-- The same rows as stripe_webhook leaves, each statement prepared, as plain as it can be: it knows beforehand what is to be written.
CREATE FUNCTION bench.bare(hook bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  h record;
  ticket uuid := gen_random_uuid();
  now timestamptz := clock_timestamp();
BEGIN
  SELECT * INTO STRICT h FROM bench.hook WHERE n = bare.hook;
  INSERT INTO ticketing.stripe_inbox (stripe_event_id, type, object_id, livemode, api_version, payload, state, order_id, received_at, settled_at)
  VALUES (h.event_id, 'payment_intent.succeeded', h.payment_intent_id, false, '2026-10-28.endive', convert_from(h.payload, 'UTF8'), 'applied', h.order_id, now, now);
  UPDATE ticketing.orders SET state = 'paid', updated_at = now, paid_at = now WHERE order_id = h.order_id;
  UPDATE ticketing.order_payments SET state = 'succeeded', updated_at = now WHERE object_id = h.payment_intent_id;
  INSERT INTO ticketing.ledger (kind, source, from_account, to_account, amount_cents, currency, event_id, order_id, payee_account, at)
  VALUES ('charge', h.payment_intent_id, 'buyer', 'platform', h.total_cents, 'usd', 1, h.order_id, h.payee_account, now),
         ('transfer', h.payment_intent_id, 'platform', 'organizer', h.total_cents, 'usd', 1, h.order_id, h.payee_account, now),
         ('buyer_fee', h.payment_intent_id, 'organizer', 'platform', h.buyer_fee_cents, 'usd', 1, h.order_id, h.payee_account, now),
         ('organizer_fee', h.payment_intent_id, 'organizer', 'platform', h.organizer_fee_cents, 'usd', 1, h.order_id, h.payee_account, now);
  INSERT INTO ticketing.order_events (order_id, at, event, from_state, to_state, source, detail)
  VALUES (h.order_id, now, 'succeeded', 'awaiting_payment', 'paid', h.event_id, jsonb_build_object('payment_intent', h.payment_intent_id, 'amount_received', h.total_cents));
  UPDATE ticketing.ticket_holds SET status = 'converted', ended_at = now WHERE reservation_id = h.reservation_id;
  INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, status, qr_token, stripe_payment_intent_id, purchase_amount_cents, created_at, qr_payload)
  VALUES (ticket, 1, bench.tier(1), h.user_id, 'active', md5(ticket::text) || md5(h.event_id), h.payment_intent_id, h.total_cents, now, left(md5(h.event_id) || md5(ticket::text), 62));
  INSERT INTO ticketing.order_tickets (ticket_id, order_id, item, ordinal) VALUES (ticket, h.order_id, 1, 1);
  INSERT INTO public.order_timeline (order_id, type, label, created_at)
  VALUES (h.order_id, 'payment_captured', 'Payment captured', now), (h.order_id, 'payment_authorized', 'Payment authorized', now);
  DELETE FROM ticketing.stripe_handoff WHERE order_id = h.order_id;
  UPDATE public.orders SET status = 'paid', updated_at = now, paid_at = now WHERE id = h.order_id;
  INSERT INTO public.stripe_events (event_id, event_type, processed_at) VALUES (h.event_id, 'payment_intent.succeeded', now);
END
$$;

-- Rows that were inserted, updated and deleted in tables of the engine and of the application since the database was made.
CREATE VIEW bench.written AS
SELECT sum(n_tup_ins) AS inserted, sum(n_tup_upd) AS updated, sum(n_tup_del) AS deleted FROM pg_stat_user_tables WHERE schemaname IN ('public', 'ticketing');
