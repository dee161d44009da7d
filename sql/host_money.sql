CREATE FUNCTION ticketing.host_disputes(host_id text)
RETURNS TABLE (dispute_id text, order_id uuid, event_id integer, phase text, status text, reason text, amount_cents bigint, currency text, taken_back_cents bigint, debt_cents bigint, created_at timestamptz, closed_at timestamptz)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_host_disputes';
COMMENT ON FUNCTION ticketing.host_disputes(text) IS
'The payments for a host''s events that buyers dispute at their banks, the newest first.
Arguments: host_id.
Result: dispute_id; order_id; event_id; phase, inquiry (the bank asks, nothing is suspended), open (the tickets are suspended), won (they are as they were), lost (they are void) or closed (an inquiry that ended); status, as Stripe has it; reason; amount_cents, what is disputed, in cents of currency; taken_back_cents, what the dispute has cost the host so far: reversed of his transfer less the fees that he was given back and what was transferred to him again; debt_cents, what could not be reversed and he owes; created_at; closed_at (NULL: not yet).
Errors: PT400 bad_request (host_id is NULL or empty).
Source: https://docs.stripe.com/api/disputes/object.';

CREATE FUNCTION ticketing.host_payouts(host_id text)
RETURNS TABLE (payout_id text, amount_cents bigint, currency text, status text, failure_code text, arrival_date timestamptz, created_at timestamptz, events jsonb)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_host_payouts';
COMMENT ON FUNCTION ticketing.host_payouts(text) IS
'What Stripe has paid out to a host''s bank, the newest first, and which events it was for. Stripe pays an account, not an event: a payout is divided over the events whose money is still there by the ledger, the oldest first; what the ledger does not explain is the newest event''s.
Arguments: host_id.
Result: payout_id; amount_cents, in cents of currency (below zero: Stripe took from the bank what the balance lacked); status, pending, in_transit, paid, failed or canceled; failure_code; arrival_date, when the bank has or should have it; created_at; events, an array of {event_id, gross_cents, net_cents}: net_cents is the event''s part, gross_cents the same before fees.
Errors: PT400 bad_request (host_id is NULL or empty).
Source: https://docs.stripe.com/api/payouts/object.';

CREATE FUNCTION ticketing.host_payout_summary(host_id text)
RETURNS TABLE (currency text, balance_cents bigint, paid_out_cents bigint, in_transit_cents bigint, debt_cents bigint)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_host_payout_summary';
COMMENT ON FUNCTION ticketing.host_payout_summary(text) IS
'How a host''s money stands, a row for each currency; none before he has sold anything. All of it are sums over the ledger: when Stripe itself makes the money available for a payout is not in it.
Arguments: host_id.
Result: currency; balance_cents, in his Stripe account after fees, refunds and payouts; paid_out_cents, what has arrived at his bank; in_transit_cents, what is on its way there; debt_cents, what he owes because it could not be taken back.
Errors: PT400 bad_request (host_id is NULL or empty).';

CREATE FUNCTION ticketing.host_transactions(host_id text, before text DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (at timestamptz, kind text, source text, event_id integer, order_id uuid, amount_cents bigint, currency text, cursor text)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_host_transactions';
COMMENT ON FUNCTION ticketing.host_transactions(text, text, integer) IS
'Every movement of a host''s balance, the newest first, a page at a time. Their sum is host_payout_summary''s balance_cents less its debt_cents.
Arguments: host_id; before, the cursor of the last row of the page before (NULL: from the newest on); max_rows, of a page, 1 to 1000.
Result: at; kind, as in ticketing.ledger: transfer, buyer_fee, organizer_fee, reversal, buyer_fee_refund, organizer_fee_refund, retransfer, debt, debt_settled, payout, payout_failure and others; source, what it was about: a payment, refund, dispute or payout; event_id and order_id (NULL: of a payout); amount_cents, above zero what came in, below what went out, in cents of currency; cursor, for before.
Errors: PT400 bad_request (host_id is NULL or empty; before is no cursor; max_rows is NULL or out of bounds).';
