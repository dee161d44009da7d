# shellcheck shell=bash disable=SC2034,SC2154,SC2016
# The doorbell: enqueueing with a relay that is awake and one that sleeps whenever it may, beside the same transaction
# without any notification and with one in every transaction.
#
# A call is the engine's enqueue_stripe_request alone (enqueue.c), so that the notification decides and not the order
# that production writes around it. The relay is stood in for by sleeper.pl, which makes no calls and so takes no
# processor time from the clients. It finds nothing to claim, because each request counts as answered once it is made
# (by the columns' defaults): a relay that has rows to carry is awake, this one goes to sleep whenever it may.

doorbell_contenders=(awake sleeping silent notify)

run_doorbell() {
  local rounds seconds contender turns=0
  rounds=$(full_or_quick 5 1)
  seconds=$(full_or_quick 3 0.5)
  build_enqueue
  fresh_database doorbell
  sql >/dev/null <<SQL
CREATE FUNCTION bench.enqueue(user_id text, order_id uuid) RETURNS uuid LANGUAGE c AS '$DVNT_CLUSTER/enqueue', 'bench_enqueue';
ALTER TABLE ticketing.stripe_requests ALTER state SET DEFAULT 'done', ALTER applied SET DEFAULT true;
SQL
  trap stop_sleeper EXIT
  clients=32
  for ((round = 1; round <= rounds; round++)); do
    for latency in own '1 ms'; do
      note "doorbell: round $round of $rounds, latency $latency"
      for contender in $(rotated $((turns++)) "${doorbell_contenders[@]}"); do
        doorbell_turn "$contender" "$seconds"
      done
    done
  done
  drop_database doorbell
}

# Where the server's user can read it.
build_enqueue() {
  local include
  include=$("$pg_config" --includedir-server)
  "${CC:-cc}" -O2 -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare -fPIC -shared \
    -I"$include" -Isrc -o "$DVNT_CLUSTER/enqueue.so" bench/enqueue.c
  chmod 755 "$DVNT_CLUSTER/enqueue.so"
}

doorbell_turn() {
  local contender=$1 seconds=$2 option='' doorbell=on call name value
  call="SELECT bench.enqueue(\$1, '$(tier_of 1)')"
  case $contender in
    sleeping) option=--sleep ;;
    silent) doorbell=off ;;
    notify) doorbell=off call+=", pg_notify('dvnt_ticketing_stripe', '')" ;;
  esac
  sql -c 'TRUNCATE ticketing.stripe_requests' -c "ALTER DATABASE doorbell SET dvnt_ticketing.doorbell = $doorbell" -c CHECKPOINT
  start_sleeper $option
  load "$contender" -w "$(full_or_quick 0.5 0.2)" -t "$seconds" "$call"
  record "$contender" violations "$(sql -c "SELECT abs(${measured[ok]} - count(*)) FROM ticketing.stripe_requests")"
  stop_sleeper
  while IFS=$'\t' read -r name value; do record "$contender" "$name" "$value"; done < <(tail -n +2 "$build/sleeper.log")
}

start_sleeper() {
  local tries
  perl bench/sleeper.pl "$@" >"$build/sleeper.log" 2>&1 &
  sleeper_pid=$!
  for tries in {1..100}; do
    ! grep -q '^ready' "$build/sleeper.log" || return 0
    sleep 0.05
  done
  cat "$build/sleeper.log" >&2
  fail 'no session at the doorbell'
}

stop_sleeper() {
  [[ -n ${sleeper_pid-} ]] || return 0
  kill "$sleeper_pid"
  wait "$sleeper_pid" || { cat "$build/sleeper.log" >&2 && fail 'the session at the doorbell ended'; }
  sleeper_pid=''
}

report_doorbell() {
  local contender
  for contender in awake sleeping; do
    bound "enqueueing, 32 clients, 1 ms, relay $contender: / the same without any notification" "$(doorbell_median "$contender" silent '1 ms')" '>=' 0.9
    bound "enqueueing, 32 clients, 1 ms, relay $contender: / the same with NOTIFY every time" "$(doorbell_median "$contender" notify '1 ms')" '>=' 10
    bound "enqueueing, 32 clients, own latency, relay $contender: / the same without any notification" "$(doorbell_median "$contender" silent own)" '>=' 0.9
  done
  bound 'enqueueing: requests too many or too few, and errors' "SELECT sum(value) FROM bench.result WHERE scenario = 'doorbell' AND metric IN ('violations', 'errors')" '=' 0

  printf '\n## Doorbell\n\n32 clients enqueue, each transaction one request as the engine makes it: **awake**, with a relay that is awake; **sleeping**, with one that sleeps whenever it may and is rung; **silent**, the same with\n'
  printf '`dvnt_ticketing.doorbell = off`; **notify**, that with `pg_notify` in every transaction. The relay is a session that listens, looks and sleeps as a relay does, and makes no calls. Median of the rounds (least–most).\n'
  table "SELECT contender, bench.shown_with_range(array_agg(value) FILTER (WHERE latency = 'own' AND metric = 'rate')), bench.shown_with_range(array_agg(value) FILTER (WHERE latency = '1 ms' AND metric = 'rate')),
                bench.shown_with_range(array_agg(value) FILTER (WHERE latency = '1 ms' AND metric = 'rung'))
         FROM bench.result WHERE scenario = 'doorbell' GROUP BY 1 ORDER BY array_position('{awake,sleeping,silent,notify}'::text[], contender)" 'Relay' 'Requests per second, own latency' 'Requests per second, 1 ms' 'Rings in a turn, 1 ms'
}

doorbell_median() {
  echo "SELECT bench.median(array_agg(c.rate / b.rate)) FROM bench.rate c JOIN bench.rate b USING (scenario, latency, clients, round)
        WHERE scenario = 'doorbell' AND c.contender = '$1' AND b.contender = '$2' AND latency = '$3'"
}
