CREATE FUNCTION ticketing.order_status(order_id uuid, user_id text) RETURNS jsonb
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_order_status';
COMMENT ON FUNCTION ticketing.order_status(uuid, text) IS
'How an order stands.
Arguments: order_id; user_id, its owner.
Result: order_id; state, the engine''s (docs/order_states.md): awaiting_payment, processing (the method settles later), expiring or canceling (its time is over or it was given up; Stripe is asked to cancel), expired, canceled, paid, review (Stripe says paid, but amount, currency, account or mode are not those of the order: an operator decides), refunding, refunded or refund_failed (the payment came when the seats were gone); status, as in public.orders; event_id; currency; total_cents; expires_at, end of the time to pay, if there is something to pay; paid_at, once paid; tickets: [{ticket_id, ticket_type_id, status, qr_payload}], empty until paid.
Errors: PT400 bad_request (an argument is NULL, or user_id empty); PT404 not_found (unknown, or somebody else''s).';

CREATE FUNCTION ticketing.cancel_order(order_id uuid, user_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_cancel_order';
COMMENT ON FUNCTION ticketing.cancel_order(uuid, text) IS
'Gives up an order that is not paid. Its seats return as soon as Stripe has confirmed that it cannot be paid any more; if Stripe says that it was paid meanwhile, it is paid. An order that is over already stays as it is.
Arguments: order_id; user_id, its owner.
Result: order_id; state: canceling, canceled (nothing was to be canceled at Stripe), expiring or expired.
Errors: PT400 bad_request (an argument is NULL, or user_id empty); PT404 not_found (unknown, or somebody else''s); PT409 already_done (it is paid); PT409 wrong_state (its payment is settling, in review or being refunded; with state); 40001, 40P01: try again.
Source: https://docs.stripe.com/api/payment_intents/cancel, https://docs.stripe.com/api/checkout/sessions/expire.';

CREATE FUNCTION ticketing.end_due_orders(max_rows integer DEFAULT 1000) RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_end_due_orders';
COMMENT ON FUNCTION ticketing.end_due_orders(integer) IS
'Ends orders whose time is over: those that await their payment are asked of Stripe to be canceled (one that waits for the buyer''s authentication has 3 minutes more, once), those that Stripe has not confirmed within 15 minutes give their seats back. The relay''s claims and sweep_stripe do the same; whoever comes first.
Arguments: max_rows, at most so many.
Result: how many were due. Those that somebody works on at that moment are left to the next time.
Errors: PT400 bad_request; 40001, 40P01, 55P03: try again.';

CREATE FUNCTION ticketing.order_transitions(OUT state text, OUT public_status text, OUT event text, OUT effect text, OUT to_state text) RETURNS SETOF record
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dvnt_order_transitions';
COMMENT ON FUNCTION ticketing.order_transitions() IS
'The states of an order and what moves them, as the engine has them.
Result: a row for each state and event: state; public_status, what public.orders.status shows; event; effect moves | ignored | finding; to_state, the same state unless it moves.';
