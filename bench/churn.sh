# shellcheck shell=bash disable=SC2034,SC2154
# Holds and their releases without end: stock_shards must not grow with them.

run_churn() {
  local pairs
  pairs=$(full_or_quick 5000000 20000)
  clients=32
  fresh_database churn
  sql -c "SELECT bench.make_event(1, $seats, $seats)" >/dev/null
  note "churn: $pairs holds, each released at once"
  load hold_and_release -n "$pairs" -p 'bench: churn:' \
    "$(hold_of 1) ->> 'reservation_id'" "SELECT ticketing.release_hold(\$2::uuid, \$1)"
  record hold_and_release heap_bytes "$(sql -c "SELECT pg_relation_size('ticketing.stock_shards')")"
  record hold_and_release total_bytes "$(sql -c "SELECT pg_total_relation_size('ticketing.stock_shards')")"
  record hold_and_release updates "$(sql -c "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'ticketing.stock_shards'::regclass")"
  record hold_and_release hot_updates "$(sql -c "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'ticketing.stock_shards'::regclass")"
  record hold_and_release shards "$(sql -c 'SELECT count(*) FROM ticketing.stock_shards')"
  record hold_and_release violations "$(sql -c "SELECT (SELECT count(*) FROM ticketing.check_invariants()) + (SELECT count(*) FROM ticketing.availability(1) WHERE available <> $seats)
    + (SELECT abs(count(*) - $pairs) FROM ticketing.ticket_holds WHERE status = 'released')")"
  drop_database churn
}

report_churn() {
  bound "stock_shards after $(churned ok) holds and releases, MB with its index" "SELECT value / 1000000 FROM bench.result WHERE scenario = 'churn' AND metric = 'total_bytes'" '<=' 2
  bound 'churn: findings, seats not back, errors' "SELECT sum(value) FROM bench.result WHERE scenario = 'churn' AND metric IN ('violations', 'errors')" '=' 0

  printf '\n## Churn\n\n%s holds of one seat and their releases, 32 clients, on a tier and an event with a capacity (two pools, %s shards): %s pairs per second.\n' \
    "$(churned ok)" "$(churned shards)" "$(churned rate)"
  table "SELECT bench.shown(max(value) FILTER (WHERE metric = 'heap_bytes')), bench.shown(max(value) FILTER (WHERE metric = 'total_bytes')),
                bench.shown(max(value) FILTER (WHERE metric = 'updates')), bench.shown(max(value) FILTER (WHERE metric = 'hot_updates'))
         FROM bench.result WHERE scenario = 'churn'" 'stock_shards, bytes' 'with its index' 'n_tup_upd' 'n_tup_hot_upd'
}

churned() { sql -c "SELECT bench.shown(value) FROM bench.result WHERE scenario = 'churn' AND metric = '$1'"; }
