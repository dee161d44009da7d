CREATE FUNCTION ticketing.stripe_webhook(payload bytea, signature text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_stripe_webhook';
COMMENT ON FUNCTION ticketing.stripe_webhook(bytea, text) IS
'Takes a webhook: checks Stripe''s signature over the bytes, records the event once and applies it, in one transaction. Answer 200 to Stripe when it returns, the error''s HTTP status when it raises.
Arguments: payload, the request''s body, byte for byte (over PostgREST: \x and hex), 1 MB at most; signature, the header Stripe-Signature.
Result: outcome applied | duplicate | ignored | parked (kept until what it is about is known), event_id, type, reason, order_id.
Errors: PT400 bad_request, bad_signature (also: older than 300 s); PT503 not_configured (no webhook secret, or no ticket secret).
Source: https://docs.stripe.com/webhooks#verify-manually.';
