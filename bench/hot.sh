# shellcheck shell=bash disable=SC2034,SC2154
# One hot tier: hold_tickets beside a bare INSERT and the usual ways, with commit latency as it is and at 1 ms.

run_hot() {
  local rounds seconds warm_up contender turns=0
  rounds=$(full_or_quick 5 1)
  seconds=$(full_or_quick 3 0.5)
  warm_up=$(full_or_quick 0.5 0.2)
  fresh_database hot
  make_contenders
  start_redis
  trap stop_redis EXIT
  for ((round = 1; round <= rounds; round++)); do
    for latency in own '1 ms'; do
      for clients in $(full_or_quick '1 8 32 64' '8 32 64'); do
        note "hot: round $round of $rounds, latency $latency, $clients clients"
        for contender in $(rotated $((turns++)) "${contenders[@]}"); do
          reset_contender "$contender"
          sql -c CHECKPOINT
          turn "$contender" -w "$warm_up" -t "$seconds"
        done
      done
    done
  done
  drop_database hot
}

report_hot() {
  local contender latency name
  bound 'hot tier, 32 clients, 1 ms: hold_tickets / bare INSERT' "$(hot_median to_insert '1 ms' 32)" '>=' 0.85
  bound 'hot tier, 32 clients, 1 ms: hold_tickets / best lock-based peer' "$(hot_median to_lock '1 ms' 32)" '>=' 20
  bound 'hot tier, 32 clients, own latency: hold_tickets / bare INSERT' "$(hot_median to_insert own 32)" '>=' 0.55
  bound 'hot tier, 32 clients, own latency: hold_tickets / best lock-based peer' "$(hot_median to_lock own 32)" '>=' 3
  bound 'hot tier, 8 clients, own latency: hold_tickets / best lock-based peer' "$(hot_median to_lock own 8)" '>=' 2
  for latency in own '1 ms'; do
    name=${latency/own/own latency}
    bound "hot tier, $name: ratio to the INSERT, 64 clients / 32 clients" \
      "($(hot_median to_insert "$latency" 64)) / ($(hot_median to_insert "$latency" 32))" '>=' 0.75
  done
  bound 'hot tier: holds or seats too many or too few, all contenders' \
    "SELECT sum(value) FROM bench.result WHERE scenario = 'hot' AND metric IN ('violations', 'errors')" '=' 0

  printf '\n## One hot tier\n\n![Holds per second by clients](report.svg)\n\n'
  for contender in "${contenders[@]}"; do printf -- '- **%s**: %s\n' "$contender" "${described[$contender]}"; done
  for latency in own '1 ms'; do
    printf '\nHolds per second, commit latency %s; median of %s rounds (least–most).\n' \
      "$(if [[ $latency == own ]]; then echo 'as it is'; else echo 'emulated at 1 ms (commit_delay=1000, commit_siblings=0)'; fi)" \
      "$(sql -c "SELECT max(round) FROM bench.result WHERE scenario = 'hot'")"
    hot_table "SELECT contender, clients, bench.shown_with_range(array_agg(rate)) AS shown FROM bench.rate
               WHERE scenario = 'hot' AND latency = '$latency' GROUP BY 1, 2"
  done
  printf 'hold_tickets as a multiple of the others: median of the ratios within each round (least–most). Lock-based are those that wait for a lock: for_update, guarded_update, advisory_lock.\n'
  table "$hot_ratios" \
    'Latency' 'Clients' 'of the bare INSERT' 'of the best lock-based peer' 'of skip_locked' 'of redis'
  printf 'Median latency of a call in milliseconds at 32 clients.\n'
  table "SELECT contender, bench.shown(bench.median(array_agg(value / 1000) FILTER (WHERE latency = 'own'))),
                bench.shown(bench.median(array_agg(value / 1000) FILTER (WHERE latency = '1 ms')))
         FROM bench.result WHERE scenario = 'hot' AND metric = 'p50_us' AND clients = 32 GROUP BY 1 ORDER BY 2" 'Contender' 'as it is' '1 ms'
  plot_hot
}

hot_ratios="SELECT latency, clients, bench.shown_with_range(array_agg(to_insert)) AS \"hold_tickets / INSERT\",
                   bench.shown_with_range(array_agg(to_lock)) AS \"/ lock-based peer\",
                   bench.shown_with_range(array_agg(to_skip_locked)) AS \"/ skip_locked\", bench.shown_with_range(array_agg(to_redis)) AS \"/ redis\"
            FROM bench.hot GROUP BY 1, 2 ORDER BY latency = '1 ms', 2"

# A query for the median of one of the ratios in bench.hot.
hot_median() { echo "SELECT bench.median(array_agg($1)) FROM bench.hot WHERE latency = '$2' AND clients = $3"; }

# A table with a row per contender and a column per number of clients, from rows (contender, clients, shown).
hot_table() {
  local counts count columns='' headings=() order
  order=$(IFS=, && echo "{${contenders[*]}}")
  counts=$(sql -c "SELECT DISTINCT clients FROM bench.result WHERE scenario = 'hot' ORDER BY 1")
  for count in $counts; do
    columns+=", max(shown) FILTER (WHERE clients = $count)"
    headings+=("$count client$( ((count == 1)) || echo s)")
  done
  table "SELECT contender $columns FROM ($1) r GROUP BY 1 ORDER BY array_position('$order'::text[], contender)" 'Contender' "${headings[@]}"
}

plot_hot() {
  local contender data=$build/hot.dat
  for contender in "${contenders[@]}"; do
    sql -F ' ' -c "SELECT clients, bench.median(array_agg(rate) FILTER (WHERE latency = 'own')), bench.median(array_agg(rate) FILTER (WHERE latency = '1 ms'))
                   FROM bench.rate WHERE scenario = 'hot' AND contender = '$contender' GROUP BY 1 ORDER BY 1"
    printf '\n\n'
  done >"$data"
  gnuplot -e "data = '$data'; names = '${contenders[*]}'; output_file = '$report_folder/report.svg'" bench/hot.gp
}
