CREATE FUNCTION ticketing.stripe_form(params jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dvnt_stripe_form';
COMMENT ON FUNCTION ticketing.stripe_form(jsonb) IS
'Nested parameters in Stripe''s form encoding, e.g. a[b][0]=c.
Arguments: params, an object, up to 16 levels deep.
Result: the body of a request, NULL for NULL.
Errors: PT400 bad_request (not an object, nested too deep).
Source: https://docs.stripe.com/api (form-encoded request bodies).';
