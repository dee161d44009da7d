CREATE FUNCTION ticketing.setup_payment_method(user_id text, mobile_api_version text DEFAULT NULL, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_setup_payment_method';
COMMENT ON FUNCTION ticketing.setup_payment_method(text, text, text) IS
'Asks Stripe for a SetupIntent, with which the user''s client saves a payment method for later payments. The user''s customer is made first, if Stripe has none. The relay calls Stripe after the commit; await_stripe then hands client_secret, customer_id, ephemeral_key and setup_intent_id.
Arguments: user_id; mobile_api_version, the mobile SDK''s Stripe-Version: an ephemeral key is made, too; request_id as for hold_tickets.
Result: stripe_request_id, for await_stripe.
Errors: PT400 bad_request (user_id is NULL or empty, mobile_api_version is no API version, request_id is empty or too long); PT409 request_id_reused.
Source: https://docs.stripe.com/api/setup_intents/create, https://docs.stripe.com/payments/save-and-reuse.';
