# shellcheck shell=bash disable=SC2034,SC2154
# The comparison of a million orders, half of them from before the engine, while buyers hold seats of one hot tier, as cron
# calls it: how long it takes, what it finds of the faults that were planted, and how many seats are held meanwhile.

reconcile_call='CALL ticketing.reconcile()'

run_reconcile() {
  local rounds seconds orders events
  rounds=$(full_or_quick 5 1)
  seconds=$(full_or_quick 5 0.5)
  orders=$(full_or_quick 1000000 200010)
  events=$(full_or_quick 4000 400)
  fresh_database reconcile
  sql -c "SELECT bench.make_event(1, $seats)" >/dev/null
  note "reconcile: filling: $orders orders"
  sql -v orders="$orders" -v events="$events" -f bench/orders.sql >/dev/null
  record database orders "$(sql -c 'SELECT count(*) FROM public.orders')"
  record database tickets "$(sql -c 'SELECT count(*) FROM public.tickets')"
  record database megabytes "$(sql -c 'SELECT pg_database_size(current_database()) / 1048576')"
  sql -c CHECKPOINT
  record idle seconds "$(timed_reconcile 1)"
  for finding in paid_without_tickets tickets_issued_twice ticket_without_order order_status_drift; do
    record planted "$finding" "$(planted "$finding")"
    record found "$finding" "$(sql -c "SELECT count(*) FROM ticketing.findings WHERE kind = '$finding'")"
  done
  record found others "$(sql -c "SELECT count(*) FROM ticketing.findings WHERE kind NOT IN ('paid_without_tickets', 'tickets_issued_twice', 'ticket_without_order', 'order_status_drift')")"
  for ((round = 1; round <= rounds; round++)); do
    for clients in 8 32; do reconcile_beside; done
    note "reconcile: round $round of $rounds"
  done
  round=0
  # The stock was compared with tickets and holds each time.
  record beside violations "$(sql -c "SELECT count(*) FROM ticketing.findings WHERE kind NOT IN ('paid_without_tickets', 'tickets_issued_twice', 'ticket_without_order', 'order_status_drift')")"
  drop_database reconcile
}

# A run beside buyers, and buyers alone before and after it; those before them are forgotten.
reconcile_beside() {
  local before
  sql -c 'TRUNCATE ticketing.ticket_holds' -c 'SELECT ticketing.rebuild_stock(1)' >/dev/null
  sql -c CHECKPOINT
  hold_beside alone
  before=$(sql -c 'SELECT coalesce(max(id), 0) FROM ticketing.reconciliation_runs')
  sql -c "$reconcile_call" >/dev/null &
  until [[ $(sql -c "SELECT count(*) FROM pg_stat_activity WHERE query = '$reconcile_call' AND state = 'active'") == 1 ]]; do sleep 0.02; done
  # Turns that began and ended while it ran.
  while hold_turn && [[ $(sql -c 'SELECT coalesce(max(id), 0) FROM ticketing.reconciliation_runs') == "$before" ]]; do
    record beside rate "$turn_rate"
  done
  wait
  record beside seconds "$(sql -c 'SELECT extract(epoch FROM finished_at - started_at) FROM ticketing.reconciliation_runs ORDER BY id DESC LIMIT 1')"
  hold_beside alone
}

# Seconds of a run at a pace, with nothing beside it.
timed_reconcile() {
  sql -c "SELECT count(*) FROM ticketing.reconcile_orders(pace => $1)" >/dev/null
  sql -c 'SELECT extract(epoch FROM finished_at - started_at) FROM ticketing.reconciliation_runs ORDER BY id DESC LIMIT 1'
}

# The rate of a turn of holds, into turn_rate.
hold_turn() {
  turn_rate=$("$build/load" -c "$clients" -w 0.2 -t "$seconds" "$(hold_of 1)" | awk -F '\t' '$1 == "rate" {print $2}')
  [[ -n $turn_rate ]] || fail 'the holds failed'
}

hold_beside() {
  local segment
  for segment in 1 2 3; do
    hold_turn
    record "$1" rate "$turn_rate"
  done
}

# How many of a fault bench/orders.sql has planted.
planted() {
  case $1 in
    paid_without_tickets) sql -c "SELECT count(*) FROM generate_series(1, $orders) n WHERE n % 100000 = 50001 AND n % 2 = 1 AND n % 3 < 2" ;;
    tickets_issued_twice) sql -c "SELECT count(*) FROM generate_series(1, $orders) n WHERE n % 100000 IN (50003, 50005) AND n % 3 < 2" ;;
    ticket_without_order) echo 7 ;;
    order_status_drift) sql -c "SELECT count(*) FROM generate_series(1, $orders) n WHERE n % 100000 = 2 AND n % 2 = 0 AND n % 3 = 2" ;;
  esac
}

report_reconcile() {
  bound "reconciling $(full_or_quick 1,000,000 200,010) orders beside buyers, seconds, the longest run" \
    "SELECT max(value) FROM bench.result WHERE scenario = 'reconcile' AND contender = 'beside' AND metric = 'seconds'" '<=' 60
  for clients in 8 32; do
    bound "hot tier, $clients clients: rate of holds beside it / alone" \
      "SELECT bench.median(array_agg(ratio)) FROM (SELECT avg(value) FILTER (WHERE contender = 'beside') / avg(value) FILTER (WHERE contender = 'alone') AS ratio
       FROM bench.result WHERE scenario = 'reconcile' AND metric = 'rate' AND clients = $clients GROUP BY round) r" '>=' 0.9
  done
  bound 'reconcile: planted faults that were not found, or found where none is' \
    "SELECT sum(abs(coalesce(f.value, 0) - coalesce(p.value, 0))) FROM (SELECT * FROM bench.result WHERE scenario = 'reconcile' AND contender = 'found') f
     FULL JOIN (SELECT * FROM bench.result WHERE scenario = 'reconcile' AND contender = 'planted') p USING (metric)" '=' 0
  bound 'reconcile: findings after holds beside it' "SELECT sum(value) FROM bench.result WHERE scenario = 'reconcile' AND metric = 'violations'" '=' 0

  printf '\n## Reconciliation\n\n%s orders, half of them from before the engine, with %s tickets (%s MB), compared by `reconcile_orders` alone in a hurry (`pace => 1`): %s s. By `CALL ticketing.reconcile()`, as cron does, beside clients who hold seats of one hot tier, at its usual pace:\n' \
    "$(reconcile_figure database orders)" "$(reconcile_figure database tickets)" "$(reconcile_figure database megabytes)" "$(reconcile_figure idle seconds)"
  table "SELECT clients, round, bench.shown(max(value) FILTER (WHERE metric = 'seconds')), bench.shown(avg(value) FILTER (WHERE metric = 'rate' AND contender = 'alone')),
                bench.shown(avg(value) FILTER (WHERE metric = 'rate' AND contender = 'beside')),
                bench.shown(avg(value) FILTER (WHERE metric = 'rate' AND contender = 'beside') / avg(value) FILTER (WHERE metric = 'rate' AND contender = 'alone'))
         FROM bench.result WHERE scenario = 'reconcile' AND round > 0 GROUP BY 1, 2 ORDER BY 1, 2" 'Clients' 'Round' 'seconds' 'holds a second alone' 'beside it' 'ratio'
}

reconcile_figure() { sql -c "SELECT bench.shown(max(value)) FROM bench.result WHERE scenario = 'reconcile' AND contender = '$1' AND metric = '$2'"; }
