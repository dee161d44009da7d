BEGIN;
SELECT id, seq, kind, lane, method, path, endpoint, params, customer_of, account_of, body, stripe_account, api_version, idempotency_key, waits_for, runnable, state, attempts, run_at, first_sent_at, leased_at, lease_token, lease_expires_at, lookup_id, http_status, stripe_request_id, answer, error, applied, apply_error, order_id, event_id, user_id, created_at, completed_at FROM ticketing.stripe_requests WHERE false;
SELECT request_id, user_id, order_id, client_secret, ephemeral_key, payment_methods, url, url_expires_at, created_at FROM ticketing.stripe_handoff WHERE false;
SELECT stripe_event_id, type, object_id, account, livemode, api_version, payload, raw_payload, state, reason, order_id, received_at, settled_at FROM ticketing.stripe_inbox WHERE false;
SELECT endpoint, held, slot, hold, calls, quickest, paused_until, pauses FROM ticketing.stripe_buckets WHERE false;
SELECT ready, held_up, leased, unknown, unapplied, oldest_ready, oldest_refund, oldest_buyer, oldest_reconciliation, paused, relays, armed FROM ticketing.relay_status WHERE false;
ROLLBACK;
