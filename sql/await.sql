CREATE FUNCTION ticketing.await_stripe(stripe_request_id uuid, user_id text, timeout interval DEFAULT '3 seconds') RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_await_stripe';
COMMENT ON FUNCTION ticketing.await_stripe(uuid, text, interval) IS
'Waits for Stripe''s answer to a request, without a lock on any row.
Arguments: stripe_request_id; user_id, who asked; timeout, 3 seconds at most. To be called in a transaction of its own.
Result: status done | queued | failed; payment_intent_id, client_secret, customer_id, ephemeral_key as far as they are there (client_secret for 15 minutes; ask create_payment_intent again for it later); error of a failed request: {http_status, type, code, message}. queued means: not yet, ask again.
Errors: PT400 bad_request; PT404 not_found (unknown, or somebody else''s); PT409 wrong_state (the request is of this very transaction).';
