#!/usr/bin/env bash
# CALL reconcile: a run that takes long keeps no row version alive while it rests, one session runs at a time, and who
# stops it finds everything as it was.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
on_a_cluster "$@" -- --load test/fixtures/legacy_schema.sql --load test/fixtures/legacy_data.sql

# The row of a session: resting, that is, waiting by itself; and whether it holds back what VACUUM may remove.
night="FROM pg_stat_activity WHERE application_name = 'night' AND state = 'active'"
rests="SELECT EXISTS (SELECT $night AND wait_event = 'Extension')"
found() { sql 'SELECT count(*) FROM ticketing.findings'; }
runs() { sql 'SELECT count(*) FROM ticketing.reconciliation_runs'; }

open_session night
begin night 'CALL ticketing.reconcile(pace => 0.01)'
ok 'a slow run rests' await 20 says "$rests"
is 'and has neither snapshot nor transaction id meanwhile: what buyers leave behind can be removed' \
  "$(sql "SELECT backend_xmin IS NULL, backend_xid IS NULL $night AND wait_event = 'Extension'")" 't|t'
like 'another session is told that one runs, and does not wait' "$(sql 'CALL ticketing.reconcile(pace => 1)' 2>&1)" 'reconciled by another session'
like 'reconcile_orders as well' "$(sql 'SELECT count(*) FROM ticketing.reconcile_orders(pace => 1)' 2>&1)" 'reconciled by another session'
is 'nothing is found before the end' "$(found)" 0
sql "SELECT pg_cancel_backend(pid) $night" >/dev/null
like 'who cancels it stops it' "$(finish night)" 'canceling statement due to user request'
is 'then nothing is found or repaired' "$(found) $(runs)" '0 0'
is 'its settings are as they were' "$(ask night 'SHOW search_path; SHOW work_mem; SHOW lock_timeout; SHOW jit; SELECT session_user = current_user')" \
  "test,public
4MB
0
on
t"

begin night 'CALL ticketing.reconcile(pace => 0.05)'
ok 'the same session can begin anew' await 20 says "$rests"
is 'it ends by itself' "$(finish night)" ''
is 'the sample'"'"'s faults are found, what is safe is repaired' "$(sql 'SELECT count(*), count(*) FILTER (WHERE repaired) FROM ticketing.findings')" '21|12'
is 'in one transaction, the last' "$(sql 'SELECT count(DISTINCT xmin::text) FROM ticketing.findings')" 1
is 'reconcile_orders has nothing to add' "$(sql 'SELECT count(*) FROM ticketing.reconcile_orders(pace => 1)')" 0
close_session night

is 'in a transaction block all is one transaction' "$(sql "BEGIN; CALL ticketing.reconcile(pace => 1); SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid(); COMMIT")" 0
is 'a caller who is not the owner sees what the owner sees' "$(sql 'SET ROLE dvnt_ticketing_cron; CALL ticketing.reconcile(pace => 1); RESET ROLE; SELECT max(found), count(*) FROM ticketing.reconciliation_runs')" '21|4'
is 'nobody else may' "$(attempt 'SET ROLE service_role; CALL ticketing.reconcile()')" '42501'
done_testing
