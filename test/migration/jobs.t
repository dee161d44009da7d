#!/usr/bin/env bash
# Housekeeping: with pg_cron its ten jobs are there, once, and may do what they do; without it the deployment says what to do instead.
source "$(dirname "$0")/lib.sh"

if [[ ${2-} == without ]]; then
  createdb bare && scripts bare deploy "${changes[@]}" && verify_scripts bare && is "$(value bare "SELECT count(*) FROM pg_extension WHERE extname = 'pg_cron'")" 0 && day bare first && is "$(findings bare)" ''
  exit
fi

jobs() { value dvnt "SELECT jobname, schedule, command, database, username, active FROM cron.job ORDER BY jobname"; }
# Seconds from pg_cron 1.5 on, minutes before.
often='* * * * *'
[[ $(value dvnt "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_cron'") =~ ^1\.[0-4](-|$) ]] || often='10 seconds'
ours="dvnt_ticketing: enqueue reconciliation|* * * * *|SELECT ticketing.enqueue_reconciliation()|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: prune|*/5 * * * *|SELECT ticketing.prune()|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: reconcile orders|47 3 * * *|CALL ticketing.reconcile()|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: refund canceled events|* * * * *|SELECT ticketing.refund_canceled_events()|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: release expired holds|$often|SELECT ticketing.release_expired_holds()|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: roll up all event_financials|47 2 * * *|SELECT ticketing.sync_event_financials(true)|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: roll up event_financials|* * * * *|SELECT ticketing.sync_event_financials()|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: roll up quantity_sold|$often|SELECT ticketing.sync_quantity_sold()|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: settle with Stripe|17 3 * * *|SELECT ticketing.enqueue_settlement()|dvnt|dvnt_ticketing_cron|t
dvnt_ticketing: sweep stripe|$often|SELECT ticketing.sweep_stripe()|dvnt|dvnt_ticketing_cron|t"
theirs='app: report|0 4 * * *|SELECT 1|dvnt|postgres|t'

# run_jobs: each command, as the role and in the database of its job.
run_jobs() {
  local command user
  while IFS='|' read -r command user; do
    value dvnt "SET SESSION AUTHORIZATION $user; $command" || return
  done < <(value dvnt 'SELECT command, username FROM cron.job')
}

test_without() {
  local said
  createdb blank
  said=$(deploy blank 2>&1)
  ok 'without pg_cron it is deployed' verify_scripts blank
  ok 'and says so' has "$said" 'NOTICE:  pg_cron is not in database "blank": no jobs were installed'
  ok 'with what to run instead' has "$said" 'run ticketing.release_expired_holds(), sync_quantity_sold(), sweep_stripe(), refund_canceled_events(), sync_event_financials(), enqueue_reconciliation() and prune() every minute from elsewhere, and enqueue_settlement() and CALL ticketing.reconcile() every night.'
  ok 'once: a second deployment has nothing to do' is "$(deploy blank 2>&1)" ''
  ok 'a revert does without pg_cron, too' scripts blank revert jobs
  ok 'on a server that has no pg_cron, nor our library preloaded' has "$(scripts/cluster run --no-migrate --no-build --conf fsync=off --conf shared_preload_libraries= -- bash "$test_file" --inside without 2>&1; echo "status $?")" 'status 0'
}

test_with() {
  value dvnt "SELECT cron.schedule('app: report', '0 4 * * *', 'SELECT 1')" >/dev/null
  ok 'with pg_cron it is deployed' is "$(scripts dvnt deploy "${changes[@]}" 2>&1)" ''
  ok 'its jobs are there, those of the application stay' is "$(jobs)" "$theirs
$ours"
  ok 'verifies' verify_scripts dvnt
  ok 'a day of sales' day dvnt first
  ok 'each job may do what it does' run_jobs
  ok 'all adds up' is "$(findings dvnt)" ''
  ok 'deployed again by hand' scripts dvnt deploy jobs
  ok 'they are not there twice' is "$(jobs)" "$theirs
$ours"
  value dvnt "SELECT cron.unschedule('app: report'), cron.unschedule(jobid) FROM cron.job WHERE jobname = 'dvnt_ticketing: prune'" >/dev/null
  ok 'one that is missing is found by verify' refused '9 pg_cron jobs of dvnt_ticketing, not 10' verify_scripts dvnt
  value dvnt "SELECT cron.schedule('app: report', '0 4 * * *', 'SELECT 1')" >/dev/null
  ok 'reverted' revert_scripts dvnt
  ok 'only the application'\''s job is left' is "$(jobs)" "$theirs"
  value dvnt 'DROP EXTENSION pg_cron' >/dev/null
  ok 'pg_cron is meant for this database, but not in it: deploys' deploy_scripts dvnt
  ok 'and makes it' is "$(jobs)" "$ours"
}

test_without
test_with
done_testing
