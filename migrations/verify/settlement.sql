BEGIN;
SELECT id, account, type, category, source, cause, about, amount_cents, fee_cents, net_cents, currency, created, available_on, payment_intent_id, order_id, ledger_source, ledger_kinds, settled, stored_at FROM ticketing.balance_transactions WHERE false;
SELECT account, since, judged, until, request_id, pages, updated_at FROM ticketing.settlement_cursors WHERE false;
SELECT event_id, gross_cents, refunds_cents, dvnt_fee_cents, stripe_fee_cents, net_cents, calculated_at, recorded_at FROM ticketing.event_openings WHERE false;
SELECT account, currency, source, kind, cents, order_id, event_id, at, settled_at FROM ticketing.account_lines WHERE false;
ROLLBACK;
