CREATE FUNCTION ticketing.await_stripe(stripe_request_id uuid, user_id text, timeout interval DEFAULT '3 seconds') RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_await_stripe';
COMMENT ON FUNCTION ticketing.await_stripe(uuid, text, interval) IS
'Waits for Stripe''s answer to a request, without a lock on any row. To be called in a transaction of its own, after the one that made the request. Where dvnt_ticketing.await_stripe_slots backends wait already, it answers queued at once.
Arguments: stripe_request_id; user_id, who asked; timeout, 3 seconds at most and by default, 0 only looks.
Result: status done | queued (not yet: ask again) | failed; payment_intent_id or setup_intent_id, when done and where the request was for one; client_secret, up to 15 minutes after Stripe''s answer (later: call create_payment_intent for the reservation again, or setup_payment_method with a new request id, and await the request that it returns); customer_id; ephemeral_key, up to 15 minutes; payment_methods, where the request was for them, up to 15 minutes: [{id, type, brand, last4, exp_month, exp_year, is_default}]; url and expires_at, where the request was for a link to Stripe''s pages, up to 15 minutes; error, NULL unless failed: {http_status, type, code, decline_code, param, message}, as far as there is one.
Errors: PT400 bad_request (stripe_request_id or user_id is NULL, timeout is negative); PT404 not_found (unknown, or somebody else''s); PT409 wrong_state (the request is of this very transaction).';
