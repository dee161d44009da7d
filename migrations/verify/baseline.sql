-- Every table is there, with the columns that the engine reads or writes.
BEGIN;
SELECT id, host_id, title, start_date, end_date, max_attendees, ticketing_enabled FROM public.events WHERE false;
SELECT id, event_id, name, price_cents, currency, quantity_total, quantity_sold, max_per_user, sale_start, sale_end FROM public.ticket_types WHERE false;
SELECT id, event_id, ticket_type_id, user_id, status, qr_token, checked_in_at, checked_in_by, stripe_checkout_session_id, stripe_payment_intent_id, purchase_amount_cents, created_at FROM public.tickets WHERE false;
SELECT id, user_id, type, status, currency, subtotal_cents, platform_fee_cents, total_cents, stripe_checkout_session_id, stripe_payment_intent_id, event_id, created_at, updated_at, paid_at FROM public.orders WHERE false;
SELECT order_id, type, label, detail, created_at FROM public.order_timeline WHERE false;
SELECT id, order_id, user_id, status, reason, amount_cents, stripe_refund_id FROM public.refund_requests WHERE false;
SELECT host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted FROM public.organizer_accounts WHERE false;
SELECT host_id, logo_url, logo_monochrome_url, display_name, fallback_text FROM public.organizer_branding WHERE false;
SELECT user_id, stripe_customer_id FROM public.stripe_customers WHERE false;
SELECT event_id, event_type, processed_at FROM public.stripe_events WHERE false;
SELECT event_id, host_id, stripe_payout_id, status, gross_cents, net_cents, release_at FROM public.payouts WHERE false;
SELECT event_id, gross_cents, refunds_cents, dvnt_fee_cents, stripe_fee_cents, net_cents, calculated_at FROM public.event_financials WHERE false;
ROLLBACK;
