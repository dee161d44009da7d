CREATE FUNCTION ticketing.enqueue_settlement() RETURNS integer
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_enqueue_settlement';
COMMENT ON FUNCTION ticketing.enqueue_settlement() IS
'For cron, every night, and for whoever wants to know now: asks Stripe for what it has booked on the platform''s account and on each organizer''s since the last time, page by page. Each balance transaction is compared with the ledger; what differs, is missing or cannot be explained is a finding when all accounts have been listed (settlement_differs, settlement_missing, settlement_unknown), and so is what was booked from Stripe''s figures because we had not heard of it (settlement_booked).
Result: how many accounts are being listed from now on; those that still are do not count.';

CREATE FUNCTION ticketing.settlement_report(day date DEFAULT NULL)
RETURNS TABLE (account text, currency text, ledger_cents bigint, stripe_cents bigint, difference_cents bigint, only_at_stripe bigint, only_at_stripe_cents bigint,
  only_in_ledger bigint, only_in_ledger_cents bigint, listed_until timestamptz)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_settlement_report';
COMMENT ON FUNCTION ticketing.settlement_report(date) IS
'The balance of each account at Stripe by the ledger and by Stripe, to the cent.
Arguments: day, up to whose end, UTC; NULL: all there is.
Result: rows: account, platform or an organizer''s Stripe account; currency; ledger_cents, what the ledger''s bookings come to; stripe_cents, the sum of the nets of Stripe''s balance transactions; difference_cents, the ledger less Stripe, which what stands on one side alone explains; only_at_stripe and only_at_stripe_cents, transactions without the same booking, and their net; only_in_ledger and only_in_ledger_cents, bookings without the same transaction; listed_until, when Stripe was last asked.';
