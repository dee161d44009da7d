BEGIN;
\ir ../lib/armed.sql
SET LOCAL lock_timeout = '2s';
REVOKE SELECT, INSERT, UPDATE ON public.refund_requests FROM dvnt_ticketing_owner;
REVOKE SELECT, INSERT, UPDATE ON public.payouts FROM dvnt_ticketing_owner;
REVOKE SELECT, INSERT, UPDATE ON public.event_financials FROM dvnt_ticketing_owner;
SELECT pg_temp.park('ticketing', t) FROM unnest(ARRAY['ledger', 'refunds', 'refund_tickets', 'refund_requests', 'disputes', 'dispute_tickets', 'payouts', 'payout_events']) t;
COMMIT;
