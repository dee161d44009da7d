-- Who may call what. Run again after every upgrade: functions that are new get their grants.
DO $$
BEGIN
  -- Roles are the server's: another database may be at the same point.
  LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dvnt_ticketing_relay') THEN CREATE ROLE dvnt_ticketing_relay LOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dvnt_ticketing_cron') THEN CREATE ROLE dvnt_ticketing_cron LOGIN; END IF;
  -- Their parameters are answers of Stripe and webhooks: never into the log.
  ALTER ROLE dvnt_ticketing_relay SET log_parameter_max_length = 0;
  ALTER ROLE dvnt_ticketing_relay SET log_parameter_max_length_on_error = 0;
END
$$;
GRANT USAGE ON SCHEMA ticketing TO dvnt_ticketing_relay, dvnt_ticketing_cron;

-- Edge functions: they have verified the session and tell who acts.
GRANT EXECUTE ON FUNCTION
  ticketing.hold_tickets(text, integer, jsonb, interval, text),
  ticketing.extend_hold(uuid, text),
  ticketing.release_hold(uuid, text),
  ticketing.availability(integer),
  ticketing.quote(integer, jsonb),
  ticketing.claim_free_tickets(text, integer, jsonb, text),
  ticketing.create_payment_intent(text, integer, jsonb, uuid, integer, text, text, text),
  ticketing.create_checkout_session(text, integer, jsonb, uuid, integer, text, text, text, text),
  ticketing.cancel_order(uuid, text),
  ticketing.await_stripe(uuid, text, interval),
  ticketing.setup_payment_method(text, text, text),
  ticketing.payment_methods(text),
  ticketing.set_default_payment_method(text, text, text),
  ticketing.remove_payment_method(text, text, text),
  ticketing.connect_onboarding(text, text, text, text, text),
  ticketing.organizer_status(text),
  ticketing.refresh_organizer_status(text),
  ticketing.order_status(uuid, text),
  ticketing.refund_order(uuid, text, uuid[], text, boolean, text),
  ticketing.request_refund(uuid, text, uuid[], text, text, text),
  ticketing.approve_refund(uuid, text, text, boolean),
  ticketing.deny_refund(uuid, text, text),
  ticketing.refund_requests(integer, text),
  ticketing.save_refund_policy(integer, text, jsonb),
  ticketing.cancel_event(integer, text),
  ticketing.stripe_webhook(bytea, text),
  ticketing.host_disputes(text),
  ticketing.host_payouts(text),
  ticketing.host_payout_summary(text),
  ticketing.host_transactions(text, text, integer),
  ticketing.verify_ticket(text),
  ticketing.is_genuine_ticket(text),
  ticketing.ticket_qr_svg(text, text, double precision, integer, integer),
  ticketing.ticket_qr_text(text, text, integer, boolean),
  ticketing.check_in(text, integer, text, text, uuid, timestamptz, text, text, boolean),
  ticketing.sync_checkins(integer, text, text, timestamptz, jsonb),
  ticketing.undo_check_in(uuid, text, text),
  ticketing.door_manifest(integer, text, text, text),
  ticketing.door_key(integer, text),
  ticketing.enrol_door_device(integer, text, text, text),
  ticketing.revoke_door_device(integer, text, text),
  ticketing.list_door_devices(integer, text),
  ticketing.save_door_settings(integer, text, jsonb),
  ticketing.door_conflicts(integer, text),
  ticketing.door_progress(integer, text),
  ticketing.reissue_ticket(uuid, text),
  ticketing.transfer_ticket(uuid, text, text),
  ticketing.void_ticket(uuid, text, text),
  ticketing.suspend_ticket(uuid, text, text),
  ticketing.restore_ticket(uuid, text),
  ticketing.event_financials(integer, text),
  ticketing.has_event_permission(integer, text, text),
  ticketing.add_co_organizer(integer, text, text, text, jsonb),
  ticketing.accept_co_organizer(integer, text),
  ticketing.update_co_organizer(integer, text, text, text, jsonb),
  ticketing.remove_co_organizer(integer, text, text),
  ticketing.list_co_organizers(integer, text),
  ticketing.clock()
TO service_role;
-- For the application's policies: a client asks for himself alone.
GRANT EXECUTE ON FUNCTION ticketing.has_event_permission(integer, text, text) TO authenticated;
-- What is public anyway.
GRANT EXECUTE ON FUNCTION ticketing.availability(integer), ticketing.quote(integer, jsonb) TO anon, authenticated;

GRANT EXECUTE ON FUNCTION
  ticketing.relay_start(text, boolean, text),
  ticketing.relay_claim(integer, interval),
  ticketing.relay_pause(),
  ticketing.relay_complete(uuid, uuid, integer, jsonb, bytea),
  ticketing.relay_complete_many(uuid[], uuid[], integer[], jsonb[], bytea[])
TO dvnt_ticketing_relay;
GRANT EXECUTE ON FUNCTION
  ticketing.release_expired_holds(integer),
  ticketing.sync_quantity_sold(),
  ticketing.sweep_stripe(integer),
  ticketing.end_due_orders(integer),
  ticketing.refund_canceled_events(integer),
  ticketing.prune(),
  ticketing.sync_event_financials(boolean),
  ticketing.enqueue_settlement(),
  ticketing.settlement_report(date),
  ticketing.enqueue_reconciliation(),
  ticketing.reconcile_orders(integer, double precision),
  ticketing.check_invariants()
TO dvnt_ticketing_cron;
GRANT EXECUTE ON PROCEDURE ticketing.reconcile(integer, double precision) TO dvnt_ticketing_cron;
-- Monitoring.
GRANT USAGE ON SCHEMA ticketing TO pg_monitor;
GRANT EXECUTE ON FUNCTION ticketing.relay_health(), ticketing.reconciliation_report() TO pg_monitor;
