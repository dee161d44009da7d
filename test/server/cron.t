#!/usr/bin/env bash
# pg_cron really runs the chores, as the role that they are granted to; and where it does not, every answer is right
# all the same.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
# shellcheck disable=SC2034
chores=run
on_a_cluster "$@"

is 'the chores are scheduled, each as a role of its own' "$(sql "SELECT jobname, schedule, username, database, active FROM cron.job ORDER BY jobid")" \
  'dvnt_ticketing: release expired holds|* * * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: roll up quantity_sold|* * * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: sweep stripe|* * * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: refund canceled events|* * * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: roll up event_financials|* * * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: roll up all event_financials|47 2 * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: settle with Stripe|17 3 * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: enqueue reconciliation|* * * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: reconcile orders|47 3 * * *|dvnt_ticketing_cron|dvnt|t
dvnt_ticketing: prune|*/5 * * * *|dvnt_ticketing_cron|dvnt|t'

# ---- no job runs

sql 'SELECT cron.alter_job(jobid, active := false) FROM cron.job' >/dev/null
rested=$(sql 'SELECT clock_timestamp()')
sql "CREATE TABLE test.shop AS SELECT event, make_tier(event, 2500, 2, 2) AS tier, make_tier(event, 0, 10) AS free FROM (SELECT make_event(make_host('host'), 10) AS event) e"
stock() { sql "SELECT a.available, a.held, a.sold, a.next_release_at IS NOT NULL FROM test.shop, ticketing.availability(event) a WHERE a.ticket_type_id = tier"; }
dead=$(sql "SELECT hold('late', event, items(tier, 2), '2 seconds') FROM test.shop")
status_of() { sql "SELECT status FROM ticketing.ticket_holds WHERE reservation_id = '$1'"; }
is 'without cron: both seats are held' "$(stock)" '0|2|0|t'
is 'without cron: nobody else gets one' "$(attempt "SELECT hold('next', event, items(tier, 1)) FROM test.shop")" 'PT409 sold_out'
await 5 says "SELECT expires_at <= clock_timestamp() FROM ticketing.ticket_holds WHERE reservation_id = '$dead'"
is 'without cron: nobody has swept the hold that is dead' "$(status_of "$dead")" active
is 'without cron: its seats count as free' "$(stock)" '2|0|0|f'
is 'without cron: it cannot be extended' "$(attempt "SELECT ticketing.extend_hold('$dead', 'late')")" 'PT410 hold_expired'
is 'without cron: nor paid' "$(attempt "SELECT ticketing.create_payment_intent('late', event, reservation_id => '$dead') FROM test.shop")" 'PT410 hold_expired'
is 'without cron: it does not count against its owner, who gets the seats again' "$(attempt "SELECT hold('late', event, items(tier, 2), '1 second') FROM test.shop")" ok
is 'without cron: the dead hold ended for that' "$(status_of "$dead")" expired
await 5 says "SELECT available(tier) = 2 FROM test.shop"
is 'without cron: the seats of the next dead hold are sold to somebody else' "$(attempt "SELECT hold('next', event, items(tier, 2)) FROM test.shop")" ok
is 'without cron: and to him alone' "$(attempt "SELECT hold('third', event, items(tier, 1)) FROM test.shop")" 'PT409 sold_out'
is 'without cron: nothing is wrong' "$(invariants)" ''
is 'without cron: no job has run' "$(sql "SELECT count(*) FROM cron.job_run_details WHERE start_time > '$rested'")" 0

# ---- they run, once a minute; for this test prune as well

sql "CREATE TABLE test.chores AS SELECT event, make_tier(event, 2500, 10) AS tier, make_tier(event, 0, 10) AS free FROM (SELECT make_event('host') AS event) e"
sql "SELECT ticketing.claim_free_tickets('guest', event, items(free, 3)) FROM test.chores" >/dev/null
order=$(sql "SELECT payable_order('payer', event, items(tier, 2)) FROM test.chores")
# The event comes when no relay has said whose database this is, and waits.
sql 'DELETE FROM ticketing.installation' "SELECT pay('$order')" "SELECT ticketing.relay_start('acct_platform', false, '')" >/dev/null
sql "UPDATE ticketing.stripe_handoff SET created_at = created_at - interval '1 hour'"
dead=$(sql "SELECT hold('late', event, items(tier, 1), '1 second') FROM test.chores")
is 'before: a hold that will be dead, a column that is behind, an event that waits, a secret that is too old' \
  "$(status_of "$dead"), $(sql "SELECT quantity_sold FROM public.ticket_types JOIN test.chores ON id = free"), $(sql 'SELECT state FROM ticketing.stripe_inbox'), $(sql 'SELECT count(*) > 0 FROM ticketing.stripe_handoff')" \
  'active, 0, parked, t'
await 5 says "SELECT expires_at <= clock_timestamp() FROM ticketing.ticket_holds WHERE reservation_id = '$dead'"
rested=$(sql 'SELECT clock_timestamp()')
sql "SELECT cron.alter_job(jobid, schedule := '* * * * *', active := true) FROM cron.job" >/dev/null
all_ran="SELECT count(DISTINCT jobid) = 10 FROM cron.job_run_details WHERE status IN ('succeeded', 'failed') AND start_time > '$rested'"
ok 'within a minute every job has run' await 70 says "$all_ran"
is 'every run succeeded, as that role' "$(sql 'SELECT DISTINCT status, username, database FROM cron.job_run_details ORDER BY 1')" 'succeeded|dvnt_ticketing_cron|dvnt'
is 'each ran what it is for' "$(sql 'SELECT DISTINCT command FROM cron.job_run_details ORDER BY 1')" \
  'CALL ticketing.reconcile()
SELECT ticketing.enqueue_reconciliation()
SELECT ticketing.enqueue_settlement()
SELECT ticketing.prune()
SELECT ticketing.refund_canceled_events()
SELECT ticketing.release_expired_holds()
SELECT ticketing.sweep_stripe()
SELECT ticketing.sync_event_financials()
SELECT ticketing.sync_event_financials(true)
SELECT ticketing.sync_quantity_sold()'
is 'the dead hold was swept' "$(status_of "$dead")" expired
is 'its seat is back' "$(sql 'SELECT available(tier) FROM test.chores')" 8
is 'the column says what is sold' "$(sql "SELECT quantity_sold FROM public.ticket_types JOIN test.chores ON id = free")" 3
is 'the event that waited was applied, and the order is paid' "$(sql "SELECT i.state, o.state FROM ticketing.stripe_inbox i JOIN ticketing.orders o USING (order_id)")" 'applied|paid'
is 'the old secret is gone' "$(sql 'SELECT count(*) FROM ticketing.stripe_handoff')" 0
is 'nothing is wrong' "$(invariants)" ''
done_testing
