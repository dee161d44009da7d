CREATE FUNCTION ticketing.relay_start(account_id text, livemode boolean, installation text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_relay_start';
COMMENT ON FUNCTION ticketing.relay_start(text, boolean, text) IS
'For the relay, once for each connection: records which Stripe account this database belongs to, or says that it is another one, so that a restored copy never calls out.
Arguments: account_id, from GET /v1/account; livemode, by the key''s prefix; installation, DVNT_INSTALLATION of the relay''s environment, or empty.
Result: armed; if not, differs (stripe_account_id, livemode, system_identifier, database_name, name) and reason, a sentence.
Errors: PT400 bad_request (account_id or livemode is NULL, account_id is empty).
Source: https://docs.stripe.com/api/accounts/retrieve.';

CREATE FUNCTION ticketing.rearm_relay(database text, pending text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_rearm_relay';
COMMENT ON FUNCTION ticketing.rearm_relay(text, text) IS
'For an operator, on a copy of a database that is meant to call Stripe: forgets the installation, so that the next relay records its own. Until then webhooks are parked.
Arguments: database, the name of the one you are connected to, as a proof; pending, what becomes of requests that came with the copy: send, if it takes the original''s place, or drop, if the original goes on and sends them itself.
Result: dropped, how many requests will not be sent.
Errors: PT400 bad_request (an argument is NULL or empty, database is another, pending is neither).';

CREATE FUNCTION ticketing.relay_health(OUT healthy boolean, OUT reason text)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_relay_health';
COMMENT ON FUNCTION ticketing.relay_health() IS
'For monitoring: whether Stripe''s calls are being carried.
Result: healthy; reason, if not, the worst there is: not armed, no relay connected, leases that nobody takes up, a refund or cancel that waits for more than a minute, a buyer for more than 15, an answer that could not be applied for 5, a request that needs a person, 429 again and again.';

CREATE FUNCTION ticketing.relay_claim(max_rows integer, lease interval)
RETURNS TABLE (id uuid, lease_token uuid, method text, path text, body text, stripe_account text, api_version text, idempotency_key text, attempts integer, kind text, endpoint text, alone boolean)
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_relay_claim';
COMMENT ON FUNCTION ticketing.relay_claim(integer, interval) IS
'For the relay: leases requests that may run now, in lane order and no more than the limits of Stripe allow, and freezes their bodies. Requests whose lease has run out are leased again, with the same key and bytes; 23 hours after they were first sent they are looked up at Stripe before they get a new key. Never waits: while another relay claims, it finds nothing.
Arguments: max_rows; lease, how long the relay may take, in hours, minutes and seconds.
Result: a row per request: id and lease_token, for relay_complete; method; path; body, form-encoded; stripe_account, NULL for the platform''s own; api_version; idempotency_key; attempts, this one included; kind; endpoint, which the limits are counted by; alone, whether its answer is for relay_complete only.
Errors: PT400 bad_request (an argument is NULL, max_rows is below 1, lease is not positive).
Source: https://docs.stripe.com/api/idempotent_requests.';

CREATE FUNCTION ticketing.relay_pause(OUT for_tokens integer, OUT for_time integer)
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_relay_pause';
COMMENT ON FUNCTION ticketing.relay_pause() IS
'For the relay: when to claim again, by what this session''s last claim saw. It reads no table.
Result: for_tokens, milliseconds until a request that is ready may have its token; NULL: none lacks one; for_time, milliseconds until a request is tried again; NULL: none will be.';

CREATE FUNCTION ticketing.relay_complete(id uuid, lease_token uuid, status integer, headers jsonb, body bytea) RETURNS text
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_relay_complete';
COMMENT ON FUNCTION ticketing.relay_complete(uuid, uuid, integer, jsonb, bytea) IS
'For the relay: stores an answer and applies its effect, in one transaction. If the effect fails, the answer is stored all the same, and sweep_stripe tries again.
Arguments: id and lease_token as claimed; status, HTTP''s, or 0 when there was no answer; headers, lower-case names (for status 0: error, tls, refused); body, the bytes as received.
Result: done; failed, for good; retry, it will be leased again; stale, the lease is not the caller''s any more; stop, which is 401, 403 or TLS: an operator is needed.
Errors: PT400 bad_request (id, lease_token or status is NULL); 40001, 40P01, 55P03: try again.
Source: https://docs.stripe.com/error-low-level (retries), https://docs.stripe.com/api/idempotent_requests.';

CREATE FUNCTION ticketing.relay_complete_many(ids uuid[], lease_tokens uuid[], statuses integer[], headers jsonb[], bodies bytea[]) RETURNS text[]
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_relay_complete_many';
COMMENT ON FUNCTION ticketing.relay_complete_many(uuid[], uuid[], integer[], jsonb[], bytea[]) IS
'For the relay: stores several good answers and applies their effects, in one transaction. An effect that fails harms no other: its answer is stored all the same, and sweep_stripe tries again.
Arguments: ids and lease_tokens, as claimed; statuses; headers; bodies: arrays of the same length, an element for each answer, as relay_complete takes it.
Result: for each answer done, or alone: it is stored by relay_complete only, which every answer is that is not good, whose effect may lock what another''s does, or whose lease is not the caller''s any more.
Errors: PT400 bad_request (an argument or an element is NULL, arrays differ in length); any other: store each by relay_complete.
Source: https://docs.stripe.com/api/idempotent_requests.';
