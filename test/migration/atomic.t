#!/usr/bin/env bash
# A change is there as a whole or not at all: one that meets somebody's lock gives up after two seconds, so that the
# application does not queue behind it, leaves nothing of itself, and goes through the next time.
source "$(dirname "$0")/lib.sh"

state() { shape "$1" public ticketing; sums "$1" ticketing; versions "$1"; }

# gives_up DATABASE deploy|revert CHANGE TABLE: while somebody has the table locked, and then not any more.
gives_up() {
  local before started
  before=$(state "$1")
  open_session "locker_$1" "$1"
  told "locker_$1" "BEGIN; LOCK TABLE $4" || return
  started=$SECONDS
  refused 'canceling statement due to lock timeout' scripts "$1" "$2" "$3" || return
  ((SECONDS - started < 10)) || { echo "it waited $((SECONDS - started)) s" && return 1; }
  close_session "locker_$1"
  is "$(state "$1")" "$before" || return
  scripts "$1" "$2" "$3" && differs "$(state "$1")" "$before" >/dev/null
}

# The cases wait for their locks all at once, each in a database of its own.
# start_case DESCRIPTION TEMPLATE deploy|revert CHANGE TABLE
cases=0
start_case() {
  cases=$((cases + 1))
  copy "case$cases" "$2"
  begin 20 "$1" gives_up "case$cases" "${@:3}"
}

test_locks() {
  local change
  copy live legacy
  for change in "${changes[@]}"; do
    case $change in
      settings) start_case 'deploy settings, organizer_accounts locked: the trigger on events goes, too' live deploy settings public.organizer_accounts ;;
      stock) start_case 'deploy stock, tickets locked' live deploy stock public.tickets ;;
      holds) start_case 'deploy holds, events locked: the triggers on ticket_types go, too' live deploy holds public.events ;;
      tickets) start_case 'deploy tickets, tickets locked' live deploy tickets public.tickets ;;
    esac
    scripts live deploy "$change"
  done
  day live first
  for change in "${backwards[@]}"; do
    case $change in
      stripe) start_case 'revert stripe, the inbox locked: the outbox stays under its name' live revert stripe ticketing.stripe_inbox ;;
      doors) start_case 'revert doors, checkins locked' live revert doors ticketing.checkins ;;
      tickets) start_case 'revert tickets, superseded_codes locked: the column stays, with its values' live revert tickets ticketing.superseded_codes ;;
      orders) start_case 'revert orders, findings locked' live revert orders ticketing.findings ;;
      holds) start_case 'revert holds, events locked: the triggers on ticket_types stay' live revert holds public.events ;;
      stock) start_case 'revert stock, its last table locked: the triggers on tickets stay' live revert stock ticketing.adopted_counters ;;
      settings) start_case 'revert settings, organizer_accounts locked' live revert settings public.organizer_accounts ;;
    esac
    scripts live revert "$change"
  done
  judge
}

# Through sqitch: what was deployed before the failure stays, and the next deployment goes on from there.
test_sqitch() {
  copy sqitched legacy
  open_session locker sqitched
  told locker 'BEGIN; LOCK TABLE public.tickets'
  ok 'sqitch says why it stops' refused 'canceling statement due to lock timeout' deploy sqitched
  close_session locker
  ok 'it knows what is deployed' is "$(value sqitched "SELECT string_agg(change, ' ' ORDER BY planned_at) FROM sqitch.changes")" 'baseline extension settings'
  ok 'the application sells meanwhile: no half of a change is in its way' value sqitched "
    INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT event_id, id, 'app', md5('a') || md5('b') FROM public.ticket_types WHERE quantity_total = 120 LIMIT 1"
  ok 'a second deployment succeeds' deploy sqitched
  ok 'verifies' verify sqitched
  ok 'and the sale is in stock' is "$(sample_findings sqitched)" "$SAMPLE_FINDINGS"
  ok 'a third one has nothing to do' deploy sqitched
}

# Roles belong to the server: two databases that are the first to need them, at the same time.
test_two_databases() {
  local name
  createdb one && createdb two
  for name in one two; do begin 2 "$name of two databases on a new server" deploy_scripts "$name"; done
  judge
}

# Two at once, as when two people or two pipelines run it.
test_two_at_once() {
  local first second
  copy twice legacy
  deploy twice >"$work/first" 2>&1 &
  first=$!
  deploy twice >"$work/second" 2>&1 &
  second=$!
  wait "$first" && wait "$second"
  ok 'two deployments at once: one does it, the other has nothing to do' is "$? $(cat "$work/first" "$work/second" | grep ERROR)" '0 '
  ok 'verifies' verify twice
}

test_two_databases
make_legacy legacy
test_locks
test_sqitch
test_two_at_once
done_testing
