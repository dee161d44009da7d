CREATE FUNCTION ticketing.stripe_webhook(payload bytea, signature text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_stripe_webhook';
COMMENT ON FUNCTION ticketing.stripe_webhook(bytea, text) IS
'Takes a webhook: checks Stripe''s signature over the bytes, records the event once and applies it, in one transaction. Answer 200 to Stripe when it returns, and the error''s HTTP status when it raises: Stripe sends again. payment_intent.succeeded and payment_intent.payment_failed have an effect, other types are recorded and ignored.
Arguments: payload, the request''s body, byte for byte (over PostgREST: \x and hex), 1,048,576 bytes at most; signature, the header Stripe-Signature.
Result: outcome applied | duplicate (recorded before) | ignored | parked (kept, and tried again when what it is about is known); event_id; type; reason, of ignored: livemode, type, account, no_object, no_transition, of parked: no_installation, unknown_object, not_json, not_an_event; order_id, where an order was found.
Errors: PT400 bad_request (an argument is NULL, the payload is too long); PT400 bad_signature (with signature: malformed, no_match, outside_tolerance, which is more than 300 seconds from the server''s clock); PT503 not_configured (no webhook secret, or no ticket secret and tickets are due).
Source: https://docs.stripe.com/webhooks#verify-manually.';
