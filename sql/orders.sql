CREATE FUNCTION ticketing.order_status(order_id uuid, user_id text) RETURNS jsonb
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_order_status';
COMMENT ON FUNCTION ticketing.order_status(uuid, text) IS
'How an order stands.
Arguments: order_id; user_id, its owner.
Result: order_id; state, the engine''s: awaiting_payment, paid, or review (Stripe says paid, but amount, currency, account or mode are not those of the order: an operator decides); status, as in public.orders; event_id; currency; total_cents; expires_at of the hold, if there was one; paid_at, once paid; tickets: [{ticket_id, ticket_type_id, status, qr_payload}], empty until paid.
Errors: PT400 bad_request (an argument is NULL, or user_id empty); PT404 not_found (unknown, or somebody else''s).';
