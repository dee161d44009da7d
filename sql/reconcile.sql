CREATE FUNCTION ticketing.enqueue_reconciliation() RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_enqueue_reconciliation';
COMMENT ON FUNCTION ticketing.enqueue_reconciliation() IS
'For cron, every minute: has the relay ask Stripe, after everybody else''s calls, about what somebody waits for, 1 minute, 10 minutes, an hour, a day and each further day after it was made; and for the events of the platform (every 5 minutes) and of each connected account (every hour) since the last time, which are then heard as if their webhooks had come. Cheap when nothing is due; called twice it asks once.
Result: payments, refunds and disputes, how many Stripe is asked about; event_pages, of how many accounts a page of events is asked for. All 0 while another session does the same.
Errors: 40001, 40P01: try again.
Source: https://docs.stripe.com/api/events/list.';

CREATE FUNCTION ticketing.reconcile_orders(max_findings integer DEFAULT 1000, pace double precision DEFAULT 0.1)
RETURNS TABLE (kind text, entity text, detail jsonb, repaired boolean, repair text)
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET work_mem = '64MB' SET lock_timeout = '2s' SET jit = off
AS 'MODULE_PATHNAME', 'dvnt_reconcile_orders';
COMMENT ON FUNCTION ticketing.reconcile_orders(integer, double precision) IS
'For cron or a DBA: compares orders (ours, and those of type event_ticket from before us), tickets, refunds, amounts, stock and what is shown to the application; records each fault in ticketing.findings, repairs in the same transaction what is safe, and says of the rest what a person can do. Findings whose fault has gone are resolved. docs/reconciliation.md explains the kinds.
Arguments: max_findings, how many new findings are recorded, and how many repairs made, at most; pace, the part of the time of one processor that may be used, from 0.01 to 1 (in a hurry).
Result: what is new, or was repaired in this run: kind; entity, as table/id; detail, the figures; repaired; repair, what was done, or why nothing was and what a person can do. No rows when nothing is new, or another session reconciles.
Errors: PT400 bad_request (an argument is NULL or out of its range); 40001, 40P01: try again.';

CREATE PROCEDURE ticketing.reconcile(max_findings integer DEFAULT 1000, pace double precision DEFAULT 0.1)
LANGUAGE c
AS 'MODULE_PATHNAME', 'dvnt_reconcile';
COMMENT ON PROCEDURE ticketing.reconcile(integer, double precision) IS
'For cron: the same as reconcile_orders, in many short transactions, so that no snapshot is older than a statement of it while buyers buy. Repairs and findings are one transaction, the last; when it is cut short nothing is recorded. In a transaction block all of it is one transaction.
Arguments: max_findings, how many new findings are recorded, and how many repairs made, at most; pace, the part of the time of one processor that may be used, from 0.01 to 1 (in a hurry).
Result: none; findings are in ticketing.findings, reconciliation_report shows them, and ticketing.reconciliation_runs says what each run came to. A notice, and nothing else, where another session reconciles.
Errors: PT400 bad_request (an argument is NULL or out of its range); 40001, 40P01: try again.';

CREATE FUNCTION ticketing.reconciliation_report() RETURNS TABLE (section text, line text)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_reconciliation_report';
COMMENT ON FUNCTION ticketing.reconciliation_report() IS
'What people should know of the orders: open findings and what to do about each, what was repaired in the last 7 days, how far the events of Stripe have been read, orders that wait for longer than they should.
Result: section: summary, open, to do, repaired, events read, waiting orders; line, a sentence.';
