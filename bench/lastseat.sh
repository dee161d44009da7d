# shellcheck shell=bash disable=SC2034,SC2154
# The last one to five seats, 32 buyers at once, round after round. Half of the buyers want one seat, half want two,
# and each goes on until it is refused. The seats lie in one shard, one by one in several, or in dead holds, of a tier
# alone or of a tier and its event.

run_lastseat() {
  local rounds log=$build/lastseat.log
  rounds=$(full_or_quick 10000 100)
  clients=32
  fresh_database lastseat
  note "lastseat: preparing $rounds tiers"
  sql -v rounds="$rounds" -f bench/lastseat.sql >/dev/null
  note "lastseat: $rounds rounds"
  load lastseat -r "$rounds" -l "$log" -p 'bench: lastseat:' \
    "SELECT ticketing.hold_tickets(\$1, \$3::integer, bench.cart(\$3::bigint, 1 + \$4::integer % 2))"
  sql -c "\\copy bench.call FROM '$log'" -c 'CREATE INDEX ON bench.call (round)' -c 'ANALYZE bench.call'
  record lastseat rounds "$rounds"
  record lastseat seats "$(sql -c 'SELECT sum(seats) FROM bench.round')"
  record lastseat wrong_rounds "$(sql -c 'SELECT count(*) FROM bench.wrong_round')"
  record lastseat early_refusals "$(sql -c 'SELECT count(*) FROM bench.early_refusal')"
  record lastseat deadlocks "$(sql -c 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()')"
  record lastseat retries "$(sql -c "SELECT count(*) FROM bench.call WHERE outcome IN ('40001', '40P01', '55P03')")"
  record lastseat surprises "$(sql -c "SELECT count(*) FROM bench.call WHERE outcome NOT IN ('', 'PT409', '40001', '40P01', '55P03')")"
  record lastseat findings "$(sql -c 'SELECT count(*) FROM ticketing.check_invariants()')"
  drop_database lastseat
}

report_lastseat() {
  local name
  bound 'last seats: rounds in which not exactly the seats there were are held' "$(lastseat_figure wrong_rounds)" '=' 0
  bound 'last seats: refusals of n while n seats were free' "$(lastseat_figure early_refusals)" '=' 0
  bound 'last seats: deadlocks' "$(lastseat_figure deadlocks)" '=' 0
  bound 'last seats: findings of check_invariants, and unexpected answers' "SELECT sum(value) FROM bench.result WHERE scenario = 'lastseat' AND metric IN ('findings', 'surprises')" '=' 0

  printf '\n## The last seats\n\nIn each round 32 clients ask at once for one or two of the last one to five seats and go on until they are refused. The seats lie in one shard, one by one in several, or in dead holds.\n'
  printf 'A refusal of n is early if those who asked after it had arrived still got n seats or more.\n'
  table "SELECT $(for name in rounds seats error_PT409 retries wrong_rounds early_refusals deadlocks; do printf "%s(SELECT bench.shown(coalesce((%s), 0)))" "${comma-}" "$(lastseat_figure $name)"; comma=', '; done)" \
    'Rounds' 'Seats' 'Refusals' 'Told to try again' 'Rounds not sold exactly' 'Early refusals' 'Deadlocks'
}

lastseat_figure() { echo "SELECT sum(value) FROM bench.result WHERE scenario = 'lastseat' AND metric = '$1'"; }
