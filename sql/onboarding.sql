CREATE FUNCTION ticketing.connect_onboarding(host_id text, return_url text, refresh_url text, email text DEFAULT NULL, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_connect_onboarding';
COMMENT ON FUNCTION ticketing.connect_onboarding(text, text, text, text, text) IS
'Asks Stripe for a link to its own pages, where a host enters what Stripe needs to pay him. His Express account is made first, once, if he has none. The relay calls Stripe after the commit; await_stripe then hands url and expires_at to the host. A link works once and for some minutes: for another one call again, with a new request id or none.
Arguments: host_id; return_url, where Stripe sends the host when he has done or left; refresh_url, where it sends him when the link has expired or was used: call again there; email, for a new account; request_id as for hold_tickets.
Result: stripe_request_id, for await_stripe with host_id as user_id; stripe_account_id, NULL while there is none.
Errors: PT400 bad_request (host_id, return_url or refresh_url is NULL, empty or no URL, request_id is empty or too long); PT409 wrong_state (the account is another host''s, too, or what was taken over as such is no id of Stripe''s; with stripe_account_id); PT409 request_id_reused.
Source: https://docs.stripe.com/api/accounts/create, https://docs.stripe.com/api/account_links/create, https://docs.stripe.com/connect/express-accounts.';

CREATE FUNCTION ticketing.organizer_status(host_id text) RETURNS jsonb
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_organizer_status';
COMMENT ON FUNCTION ticketing.organizer_status(text) IS
'What Stripe last said of a host''s account, by which sales are allowed; not what public.organizer_accounts says, which clients can write.
Arguments: host_id.
Result: host_id; stripe_account_id; charges_enabled, whether tickets can be sold for him; payouts_enabled; details_submitted.
Errors: PT400 bad_request (host_id is NULL or empty); PT404 not_found (the host has no account; with host_id).
Source: https://docs.stripe.com/api/accounts/object.';

CREATE FUNCTION ticketing.refresh_organizer_status(host_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_refresh_organizer_status';
COMMENT ON FUNCTION ticketing.refresh_organizer_status(text) IS
'Asks Stripe how a host''s account stands, for example when he is back from its pages. When await_stripe says done, organizer_status and public.organizer_accounts have the answer. A call joins a request of the same host that has not been sent yet.
Arguments: host_id.
Result: stripe_request_id, for await_stripe with host_id as user_id.
Errors: PT400 bad_request (host_id is NULL or empty); PT404 not_found (the host has no account; with host_id); PT409 wrong_state (the account is another host''s, too, or what was taken over as such is no id of Stripe''s; with stripe_account_id).
Source: https://docs.stripe.com/api/accounts/retrieve.';
