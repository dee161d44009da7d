CREATE FUNCTION ticketing.request_refund(order_id uuid, user_id text, ticket_ids uuid[] DEFAULT NULL, reason text DEFAULT 'requested_by_customer', notes text DEFAULT NULL, request_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_request_refund';
COMMENT ON FUNCTION ticketing.request_refund(uuid, text, uuid[], text, text, text) IS
'A buyer asks for his money back. The event''s refund policy (save_refund_policy) says whether and until when he may; under an automatic one the refund is made at once. public.refund_requests shows the request under the same id.
Arguments: order_id; user_id, who bought it; ticket_ids, tickets of the order (NULL: all that are left); reason, duplicate, fraudulent, requested_by_customer or other; notes, his words for the organizer; request_id, the same id and user get the first answer again.
Result: refund_request_id; order_id; state, pending or (automatic) approved; amount_cents, what he would get; currency; refund, as refund_order answers, if it was made.
Errors: PT400 bad_request; PT403 not_allowed (the policy takes no requests, its deadline is over, with deadline, or a ticket was checked in); PT404 not_found (unknown, or somebody else''s); PT409 already_done (asked for, refunded or about to be); PT409 wrong_state (not paid, or disputed); PT409 request_id_reused; 40001, 40P01, 55P03: try again.';

CREATE FUNCTION ticketing.approve_refund(refund_request_id uuid, actor text, note text DEFAULT NULL, force boolean DEFAULT false) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_approve_refund';
COMMENT ON FUNCTION ticketing.approve_refund(uuid, text, text, boolean) IS
'Approves a buyer''s request: its tickets are given back as by refund_order. The deadline of the policy does not bind who approves. public.refund_requests.status is approved, and processed when Stripe has given the money back.
Arguments: refund_request_id; actor, the host or an admin; note, kept beside the decision; force, also tickets that have been checked in meanwhile.
Result: refund_request_id; order_id; state, approved or (free tickets) processed; amount_cents; currency; refund, as refund_order answers.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found; PT409 already_done (decided before, with state; or the tickets are refunded); PT409 wrong_state (checked in and not forced; the payment is disputed; not made by request_refund); 40001, 40P01, 55P03: try again.';

CREATE FUNCTION ticketing.deny_refund(refund_request_id uuid, actor text, note text DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_deny_refund';
COMMENT ON FUNCTION ticketing.deny_refund(uuid, text, text) IS
'Denies a buyer''s request; he may ask again.
Arguments: refund_request_id; actor, the host or an admin; note, kept beside the decision.
Result: refund_request_id; order_id; state (denied); amount_cents; currency.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found; PT409 already_done (decided before, with state); PT409 wrong_state (not made by request_refund); 40001, 40P01: try again.';

CREATE FUNCTION ticketing.refund_requests(event_id integer, actor text) RETURNS TABLE (refund_request_id uuid, order_id uuid, user_id text, ticket_ids uuid[], reason text, notes text, amount_cents integer, state text, refund_id uuid, decided_by text, decision text, created_at timestamptz, decided_at timestamptz)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_refund_requests';
COMMENT ON FUNCTION ticketing.refund_requests(integer, text) IS
'The refund requests of an event, the oldest first.
Arguments: event_id; actor, the host or a co-organizer who may view.
Result: a row each: refund_request_id, order_id, user_id, ticket_ids, reason, notes, amount_cents, state (pending, approved, denied, processed), refund_id, decided_by, decision (the note), created_at, decided_at.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found.';

CREATE FUNCTION ticketing.save_refund_policy(event_id integer, actor text, policy jsonb) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_save_refund_policy';
COMMENT ON FUNCTION ticketing.save_refund_policy(integer, text, jsonb) IS
'Sets an event''s refund policy, as a whole. Without one buyers may ask until the doors open (or the event starts), and a person decides.
Arguments: event_id; actor, the host or an admin; policy, {"requests": boolean (true; false: buyers may not ask), "automatic": boolean (false; true: what they ask for is refunded at once), "hours_before": whole hours before the doors open (0) until when they may ask, "until": a time, the earlier of the two counts}, each optional.
Result: the policy.
Errors: PT400 bad_request; PT403 not_allowed; PT404 not_found.';
