BEGIN;
SELECT order_id, event_id, user_id, reservation_id, rail, state, currency, subtotal_cents, buyer_fee_cents, organizer_fee_cents, total_cents, application_fee_cents, transfer_cents, host_id, payee_account, email, payment_intent_id, checkout_session_id, created_at, expires_at, due_at, action_extended, dispute, paid_at, updated_at FROM ticketing.orders WHERE false;
SELECT object_id, order_id, payment_intent_id, state, created_at, updated_at FROM ticketing.order_payments WHERE false;
SELECT order_id, item, ticket_type_id, quantity, price_cents, buyer_fee_cents, organizer_fee_cents FROM ticketing.order_items WHERE false;
SELECT ticket_id, order_id, item, ordinal FROM ticketing.order_tickets WHERE false;
SELECT id, order_id, at, event, from_state, to_state, source, detail FROM ticketing.order_events WHERE false;
SELECT id, kind, entity, detail, found_at, resolved_at, resolution, repaired, repair FROM ticketing.findings WHERE false;
ROLLBACK;
