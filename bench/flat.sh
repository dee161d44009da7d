# shellcheck shell=bash disable=SC2034,SC2154
# What a hold costs in a full database and in an empty one, turn about: of one hot tier, and of tiers at random.

run_flat() {
  local rounds seconds tiers tickets holds place range contender
  rounds=$(full_or_quick 7 1)
  seconds=$(full_or_quick 3 0.5)
  tiers=$(full_or_quick 100000 1000)
  tickets=$(full_or_quick 10000000 50000)
  holds=$(full_or_quick 1000000 5000)
  fresh_database flat_empty
  sql -c "SELECT bench.make_event(1, $seats)" >/dev/null
  fresh_database flat_full
  note "flat: filling: $tiers tiers, $tickets tickets, $holds live holds"
  sql -v tiers="$tiers" -v tickets="$tickets" -v holds="$holds" -f bench/fill.sql >/dev/null
  record full megabytes "$(sql -c 'SELECT pg_database_size(current_database()) / 1048576')"
  sql -c CHECKPOINT
  for ((round = 1; round <= rounds; round++)); do
    for clients in 1 8; do
      note "flat: round $round of $rounds, $clients clients"
      for contender in $(rotated "$round" empty/hot full/hot empty/any full/any); do
        place=${contender%/*}
        range=1
        [[ $contender != full/any ]] || range=$tiers
        # Tiers are in events of five; the empty database has tier 1 of event 1 alone.
        PGDATABASE=flat_$place load "$contender" -w "$(full_or_quick 1 0.2)" -t "$seconds" -m "$range" \
          "SELECT ticketing.hold_tickets(\$1, ((\$3::bigint + 4) / 5)::integer, bench.cart(\$3::bigint, 1))"
      done
    done
  done
  for place in empty full; do
    note "flat: checking the $place database"
    PGDATABASE=flat_$place
    record "$place" violations "$(sql -c 'SELECT count(*) FROM ticketing.check_invariants()')"
  done
  drop_database flat_empty
  drop_database flat_full
}

report_flat() {
  local count kind
  for count in 1 8; do
    for kind in hot any; do
      bound "$(flat_kind $kind), $count client$( ((count == 1)) || echo s): median latency of a hold, full database / empty" \
        "SELECT bench.median(array_agg(f.value / e.value)) FROM bench.result f JOIN bench.result e USING (scenario, clients, round, metric)
         WHERE scenario = 'flat' AND clients = $count AND metric = 'p50_us' AND f.contender = 'full/$kind' AND e.contender = 'empty/$kind'" '<=' 1.3
    done
  done
  bound 'flat: findings of check_invariants, and errors' \
    "SELECT sum(value) FROM bench.result WHERE scenario = 'flat' AND metric IN ('violations', 'errors')" '=' 0

  printf '\n## Cost by size\n\nA hold in a database of %s MB (%s tiers, %s tickets, %s live holds) and in an empty one with a single tier: **hot**, of one tier; **any**, of a tier at random. Milliseconds, median of the rounds (least–most).\n' \
    "$(sql -c "SELECT value FROM bench.result WHERE scenario = 'flat' AND metric = 'megabytes'")" \
    "$(full_or_quick 100,000 1,000)" "$(full_or_quick 10,000,000 50,000)" "$(full_or_quick 1,000,000 5,000)"
  table "SELECT split_part(contender, '/', 2), clients, split_part(contender, '/', 1),
                bench.shown_with_range(array_agg(value / 1000) FILTER (WHERE metric = 'p50_us')),
                bench.shown_with_range(array_agg(value / 1000) FILTER (WHERE metric = 'mean_us')),
                bench.shown_with_range(array_agg(value / 1000) FILTER (WHERE metric = 'p99_us'))
         FROM bench.result WHERE scenario = 'flat' AND contender LIKE '%/%' GROUP BY contender, clients ORDER BY 1 DESC, 2, 3" \
    'Tier' 'Clients' 'Database' 'median' 'mean' '99 %'
}

flat_kind() { if [[ $1 == hot ]]; then echo 'one hot tier'; else echo 'tiers at random'; fi; }
