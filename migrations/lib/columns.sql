-- Refuses tables of the application that the engine could not work with. It reads these columns as what they are here and
-- does not ask again: of another type they would be garbage to it. varchar may stand for text, a domain for its type.
DO $$
DECLARE
  wrong text;
BEGIN
  SELECT string_agg(problem, '; ' ORDER BY problem) INTO wrong FROM (
    SELECT DISTINCT CASE
      WHEN c.relkind IS DISTINCT FROM 'r' THEN format('public.%s is not a table', n.table_name)
      WHEN a.attname IS NULL THEN CASE WHEN n.column_name <> 'qr_payload' THEN format('public.%s.%s is missing', n.table_name, n.column_name) END
      WHEN (format_type(b.oid, NULL) = n.type OR (format_type(b.oid, NULL) = 'character varying' AND n.type = 'text'))
           AND (n.column_name <> 'qr_payload' OR greatest(a.atttypmod, b.typtypmod) = -1) THEN NULL
      ELSE format('public.%s.%s is %s, not %s', n.table_name, n.column_name, format_type(a.atttypid, a.atttypmod), n.type) END AS problem
    FROM (SELECT table_name, type, unnest(column_names) AS column_name FROM (VALUES
      ('events', 'integer', '{id}'::name[]), ('events', 'text', '{host_id, title}'), ('events', 'timestamp with time zone', '{start_date, end_date}'),
      ('events', 'numeric', '{max_attendees}'), ('events', 'boolean', '{ticketing_enabled}'),
      ('ticket_types', 'uuid', '{id}'), ('ticket_types', 'integer', '{event_id, price_cents, quantity_total, quantity_sold, max_per_user}'),
      ('ticket_types', 'text', '{name, currency}'), ('ticket_types', 'timestamp with time zone', '{sale_start, sale_end}'),
      ('tickets', 'uuid', '{id, ticket_type_id}'), ('tickets', 'integer', '{event_id, purchase_amount_cents}'),
      ('tickets', 'text', '{user_id, status, qr_token, checked_in_by, stripe_checkout_session_id, stripe_payment_intent_id, qr_payload}'),
      ('tickets', 'timestamp with time zone', '{checked_in_at, created_at}'),
      ('orders', 'uuid', '{id}'), ('orders', 'text', '{user_id, type, status, currency, stripe_checkout_session_id, stripe_payment_intent_id}'),
      ('orders', 'integer', '{subtotal_cents, platform_fee_cents, total_cents, event_id}'), ('orders', 'timestamp with time zone', '{created_at, updated_at, paid_at}'),
      ('order_timeline', 'uuid', '{order_id}'), ('order_timeline', 'text', '{type, label, detail}'), ('order_timeline', 'timestamp with time zone', '{created_at}'),
      ('refund_requests', 'uuid', '{id, order_id}'), ('refund_requests', 'text', '{user_id, status, reason, stripe_refund_id}'), ('refund_requests', 'integer', '{amount_cents}'),
      ('organizer_accounts', 'text', '{host_id, stripe_account_id}'), ('organizer_accounts', 'boolean', '{charges_enabled, payouts_enabled, details_submitted}'),
      ('organizer_branding', 'text', '{host_id, logo_url, logo_monochrome_url, display_name, fallback_text}'),
      ('stripe_customers', 'text', '{user_id, stripe_customer_id}'),
      ('stripe_events', 'text', '{event_id, event_type}'), ('stripe_events', 'timestamp with time zone', '{processed_at}'),
      ('payouts', 'integer', '{event_id, gross_cents, net_cents}'), ('payouts', 'text', '{host_id, stripe_payout_id, status}'), ('payouts', 'timestamp with time zone', '{release_at}'),
      ('event_financials', 'integer', '{event_id, gross_cents, refunds_cents, dvnt_fee_cents, stripe_fee_cents, net_cents}'), ('event_financials', 'timestamp with time zone', '{calculated_at}')
    ) AS t (table_name, type, column_names)) n
    LEFT JOIN pg_class c ON c.relnamespace = 'public'::regnamespace AND c.relname = n.table_name
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = n.column_name AND NOT a.attisdropped
    LEFT JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END) p;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'the tables in schema public do not fit: %', wrong
      USING HINT = 'Bring them to the types named here. Nothing has been changed.';
  END IF;
END
$$;
