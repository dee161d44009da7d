BEGIN;
SELECT event_id, host_id, capacity, hold_ttl, suite, doors_open, doors_close, reentry, refund_policy, canceled_at, shape FROM ticketing.event_settings WHERE false;
SELECT host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted FROM ticketing.payees WHERE false;
SELECT stripe_account_id, livemode, system_identifier, database_name, name FROM ticketing.installation WHERE false;
-- Every event and account has its trusted copy.
SELECT 1 / (count(*) = 0)::integer FROM public.events e WHERE NOT EXISTS (SELECT FROM ticketing.event_settings s WHERE s.event_id = e.id);
SELECT 1 / (count(*) = 0)::integer FROM public.organizer_accounts a WHERE NOT EXISTS (SELECT FROM ticketing.payees p WHERE p.host_id = a.host_id);
SELECT 1 / (count(*) = 2)::integer FROM pg_trigger WHERE tgname IN ('dvnt_record_event', 'dvnt_record_payee');
ROLLBACK;
