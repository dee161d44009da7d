CREATE FUNCTION ticketing.claim_free_tickets(user_id text, event_id integer, items jsonb, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_claim_free_tickets';
COMMENT ON FUNCTION ticketing.claim_free_tickets(text, integer, jsonb, text) IS
'Issues tickets of tiers that cost nothing, in one transaction and without a hold before.
Arguments: user_id; event_id; items as for quote; request_id as for hold_tickets.
Result: order_id; state, paid; tickets: [{ticket_id, ticket_type_id, status, qr_payload}].
Errors: those of hold_tickets; PT409 wrong_state (a tier is not free, with ticket_type_id, price_cents); PT422 invalid_items (also: more than 10,000 tickets); PT503 not_configured (no ticket secret).';

CREATE FUNCTION ticketing.create_payment_intent(user_id text, event_id integer, items jsonb DEFAULT NULL, reservation_id uuid DEFAULT NULL,
  expected_total_cents integer DEFAULT NULL, email text DEFAULT NULL, mobile_api_version text DEFAULT NULL, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_create_payment_intent';
COMMENT ON FUNCTION ticketing.create_payment_intent(text, integer, jsonb, uuid, integer, text, text, text) IS
'Holds the seats (or takes a reservation), makes the order and asks Stripe for a PaymentIntent, in one transaction. The relay calls Stripe after the commit. Asked again for the same reservation it returns the same order, with the same object.
Arguments: user_id; event_id; items as for quote, or reservation_id of a live hold (with both, they must agree); expected_total_cents, what the buyer was shown; email, for the customer and the receipt; mobile_api_version, the mobile SDK''s Stripe-Version: an ephemeral key is made, too; request_id as for hold_tickets.
Result: order_id; reservation_id; stripe_request_id, for await_stripe; currency and the figures of quote, in cents; ready_in, whole seconds until Stripe is likely to have answered, by the queue and the rate limits; queued, whether that is so long that await_stripe would not see it (more than 2.5 s); expires_at of the hold.
Errors: those of hold_tickets; PT400 bad_request (also: mobile_api_version is no API version); PT404 not_found (also: the reservation is unknown, somebody else''s or of another event); PT409 wrong_state (nothing to pay; the host cannot be paid yet; the reservation''s order is being asked for on the other rail, or its time is over, with order_id, state); PT409 price_changed (with expected_total_cents, total_cents); PT409 already_done (the reservation is paid); PT410 hold_expired; PT422 invalid_items (also: items are not what the reservation holds, more than 10,000 tickets); PT503 not_configured (no ticket secret).
Source: https://docs.stripe.com/api/payment_intents/create, https://docs.stripe.com/connect/destination-charges.';

CREATE FUNCTION ticketing.create_checkout_session(user_id text, event_id integer, items jsonb DEFAULT NULL, reservation_id uuid DEFAULT NULL,
  expected_total_cents integer DEFAULT NULL, email text DEFAULT NULL, success_url text DEFAULT NULL, cancel_url text DEFAULT NULL, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_create_checkout_session';
COMMENT ON FUNCTION ticketing.create_checkout_session(text, integer, jsonb, uuid, integer, text, text, text, text) IS
'The same as create_payment_intent for Stripe''s own payment page: the order is offered a Checkout Session, whose url await_stripe hands out. A reservation has one open order: asked for on the other rail, what it was offered before is canceled first, and the new object waits for that.
Arguments: user_id, event_id, items, reservation_id, expected_total_cents, email, request_id as for create_payment_intent; success_url, where Stripe sends the buyer who has paid (needed); cancel_url, where it sends one who turns back.
Result: as create_payment_intent. The session is expired when the buyer''s time to pay is over; Stripe''s own limit, 35 minutes after it was asked for, is a net only.
Errors: those of create_payment_intent; PT400 bad_request (also: no success_url); PT409 wrong_state (also: Stripe is still being asked for the other rail''s object; the order''s time is over; with order_id, state).
Source: https://docs.stripe.com/api/checkout/sessions/create, https://docs.stripe.com/connect/destination-charges.';
