CREATE FUNCTION ticketing.setup_payment_method(user_id text, mobile_api_version text DEFAULT NULL, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_setup_payment_method';
COMMENT ON FUNCTION ticketing.setup_payment_method(text, text, text) IS
'Asks Stripe for a SetupIntent, with which the user''s client saves a payment method for later payments. The user''s customer is made first, if Stripe has none. The relay calls Stripe after the commit; await_stripe then hands client_secret, customer_id, ephemeral_key and setup_intent_id.
Arguments: user_id; mobile_api_version, the mobile SDK''s Stripe-Version: an ephemeral key is made, too; request_id as for hold_tickets.
Result: stripe_request_id, for await_stripe.
Errors: PT400 bad_request (user_id is NULL or empty, mobile_api_version is no API version, request_id is empty or too long); PT409 request_id_reused.
Source: https://docs.stripe.com/api/setup_intents/create, https://docs.stripe.com/payments/save-and-reuse.';

CREATE FUNCTION ticketing.payment_methods(user_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_payment_methods';
COMMENT ON FUNCTION ticketing.payment_methods(text) IS
'Asks Stripe for the payment methods that the user has saved. Stripe keeps them; await_stripe hands the list. A call joins a request of the same user that has not been sent yet.
Arguments: user_id.
Result: stripe_request_id, for await_stripe, NULL when Stripe knows no customer of this user; payment_methods, then empty, else NULL: await_stripe hands them, 100 at most, the newest first, as [{id, type, brand, last4, exp_month, exp_year, is_default}], the card''s fields NULL for other types.
Errors: PT400 bad_request (user_id is NULL or empty).
Source: https://docs.stripe.com/api/payment_methods/customer_list.';

CREATE FUNCTION ticketing.set_default_payment_method(user_id text, payment_method_id text, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_set_default_payment_method';
COMMENT ON FUNCTION ticketing.set_default_payment_method(text, text, text) IS
'Makes a saved payment method the user''s default. Stripe is asked first whether it is the user''s; if it is not, nothing is sent and await_stripe answers failed, with http_status 404.
Arguments: user_id; payment_method_id, Stripe''s (pm_…); request_id as for hold_tickets.
Result: stripe_request_id, for await_stripe.
Errors: PT400 bad_request (an argument is NULL or empty, payment_method_id has characters that Stripe''s ids have not, request_id is empty or too long); PT404 not_found (Stripe knows no customer of this user; with payment_method_id); PT409 request_id_reused.
Source: https://docs.stripe.com/api/payment_methods/customer, https://docs.stripe.com/api/customers/update (invoice_settings.default_payment_method).';

CREATE FUNCTION ticketing.remove_payment_method(user_id text, payment_method_id text, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_remove_payment_method';
COMMENT ON FUNCTION ticketing.remove_payment_method(text, text, text) IS
'Takes a saved payment method from the user, for good. Stripe detaches whatever it is told to, so it is asked first whether the payment method is the user''s; if it is not, nothing is detached and await_stripe answers failed, with http_status 404.
Arguments: user_id; payment_method_id, Stripe''s (pm_…); request_id as for hold_tickets.
Result: stripe_request_id, for await_stripe.
Errors: those of set_default_payment_method.
Source: https://docs.stripe.com/api/payment_methods/customer, https://docs.stripe.com/api/payment_methods/detach.';
