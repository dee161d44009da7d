# shellcheck shell=bash disable=SC2034,SC2154
# The way from a commit to the request on the wire while the relay sleeps, and what an idle relay costs; see latency.mjs.

run_latency() {
  local rounds calls seconds name value
  rounds=$(full_or_quick 3 1)
  calls=$(full_or_quick 200 20)
  seconds=$(full_or_quick 30 3)
  fresh_database latency
  clients=1
  for ((round = 1; round <= rounds; round++)); do
    note "latency: round $round of $rounds"
    node bench/latency.mjs "$calls" "$seconds" >"$build/latency"
    while IFS=$'\t' read -r name value; do record relay "$name" "$value"; done <"$build/latency"
  done
  drop_database latency
}

report_latency() {
  bound 'relay asleep: from COMMIT to the request on the wire, median, ms' "$(latency_median 'value / 1000' p50_us)" '<=' 5
  bound 'relay idle: transactions a second' "$(latency_median value transactions)" '<=' 1.2
  bound 'relay idle: % of a core, its server process included' \
    "SELECT bench.median(array_agg(cpu)) FROM (SELECT sum(value) AS cpu FROM bench.result WHERE scenario = 'latency' AND metric IN ('relay_cpu', 'backend_cpu') GROUP BY round) r" '<=' 1

  printf '\n## Latency\n\nSingle orders while the relay sleeps: milliseconds from COMMIT being sent (through psql) to the request arriving at a listener on the loopback, median of the rounds (least–most); beside it how long the COMMIT itself takes to be answered.\n'
  table "SELECT bench.shown_with_range(array_agg(value / 1000) FILTER (WHERE metric = 'p50_us')), bench.shown_with_range(array_agg(value / 1000) FILTER (WHERE metric = 'p95_us')),
                bench.shown_with_range(array_agg(value / 1000) FILTER (WHERE metric = 'max_us')), bench.shown_with_range(array_agg(value / 1000) FILTER (WHERE metric = 'commit_p50_us'))
         FROM bench.result WHERE scenario = 'latency'" 'median' '95 %' 'most' 'COMMIT, median'
  printf 'A relay with nothing to do, for %s seconds.\n' "$(full_or_quick 30 3)"
  table "SELECT bench.shown_with_range(array_agg(value) FILTER (WHERE metric = 'transactions')), bench.shown_with_range(array_agg(value) FILTER (WHERE metric = 'relay_cpu')),
                bench.shown_with_range(array_agg(value) FILTER (WHERE metric = 'backend_cpu')) FROM bench.result WHERE scenario = 'latency'" 'Transactions a second' 'Relay, % of a core' 'Its server process, % of a core'
}

latency_median() { echo "SELECT bench.median(array_agg($1)) FROM bench.result WHERE scenario = 'latency' AND metric = '$2'"; }
