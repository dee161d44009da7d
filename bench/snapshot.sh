# shellcheck shell=bash disable=SC2034,SC2154
# The hot tier while somebody keeps a snapshot open (a dump, a report): the versions of a row that every hold
# leaves cannot be cleaned up. Before, with and after, in turns; a counter with a guarded UPDATE beside it.

run_snapshot() {
  local contender seconds
  clients=32
  fresh_database snapshot
  make_contenders
  trap close_snapshot EXIT
  for contender in hold_tickets guarded_update; do
    for round in 1 2 3; do
      seconds=$(full_or_quick 10 2)
      reset_contender "$contender"
      sql -c CHECKPOINT
      if ((round == 2)); then
        seconds=$(full_or_quick 60 6)
        open_snapshot
      fi
      note "snapshot: $contender, $seconds s $(if ((round == 2)); then echo with; else echo without; fi) a snapshot"
      turn "$contender" -p "bench: $contender" -w 0.5 -t "$seconds"
      close_snapshot
    done
  done
  drop_database snapshot
}

open_snapshot() {
  local tries
  PGAPPNAME=snapshot sql -c 'BEGIN ISOLATION LEVEL REPEATABLE READ' -c 'SELECT count(*) FROM ticketing.stock_shards' -c 'SELECT pg_sleep(86400)' >/dev/null 2>&1 &
  for tries in {1..100}; do
    [[ $(sql -c "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'snapshot' AND backend_xmin IS NOT NULL AND wait_event = 'PgSleep'") != 1 ]] || return 0
    sleep 0.05
  done
  fail "no snapshot after $tries tries"
}

close_snapshot() { PGDATABASE=dvnt sql -c "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'snapshot'" >/dev/null; }

report_snapshot() {
  bound "hot tier, 32 clients, own latency: rate with a snapshot open for $(full_or_quick 60 6) s / without" "$(snapshot_ratio hold_tickets)" '>=' 0.25
  bound 'snapshot: holds or seats too many or too few' \
    "SELECT sum(value) FROM bench.result WHERE scenario = 'snapshot' AND metric IN ('violations', 'errors')" '=' 0

  printf '\n## A snapshot open elsewhere\n\nHolds per second of the hot tier, 32 clients, own latency, while another session keeps a snapshot open for %s s; without is the mean of a run before and one after, each on fresh tables.\n' \
    "$(sql -c "SELECT round(max(value)) FROM bench.result WHERE scenario = 'snapshot' AND metric = 'seconds'")"
  table "SELECT contender, bench.shown(avg(value) FILTER (WHERE metric = 'rate' AND round <> 2)), bench.shown(avg(value) FILTER (WHERE metric = 'rate' AND round = 2)),
                bench.shown(avg(value) FILTER (WHERE metric = 'last_rate' AND round = 2)),
                bench.shown(avg(value) FILTER (WHERE metric = 'rate' AND round = 2) / avg(value) FILTER (WHERE metric = 'rate' AND round <> 2))
         FROM bench.result WHERE scenario = 'snapshot' GROUP BY 1 ORDER BY 1 DESC" 'Contender' 'without' 'with, mean' 'with, last tenth of the time' 'mean / without'
}

snapshot_ratio() {
  echo "SELECT avg(rate) FILTER (WHERE round = 2) / avg(rate) FILTER (WHERE round <> 2) FROM bench.rate WHERE scenario = 'snapshot' AND contender = '$1'"
}
