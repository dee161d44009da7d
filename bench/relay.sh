# shellcheck shell=bash disable=SC2034,SC2154
# The relay's requests a second, from an outbox that is full, beside those of h2load and wrk: the same GETs of the same
# customers from the same local Stripe, by h2load as by the relay over HTTP/2 with as many streams, by wrk over as many
# connections of HTTP/1.1, which is all that it speaks. Of the relay's requests each is claimed in one transaction and
# its answer stored and applied in another.

# As many as the server lets a connection have at once.
relay_streams=128

run_relay() {
  local rounds requests contender turns=0
  rounds=$(full_or_quick 5 1)
  requests=$(full_or_quick 20000 2000)
  fresh_database relay
  start_stripe
  trap 'stop_relay || :; stop_stripe' EXIT
  make_customers "$requests" >"$build/customers"
  sed 's,^,/v1/customers/,' "$build/customers" >"$build/paths"
  sed "s,^,$stripe_base," "$build/paths" >"$build/urls"
  sql -c 'CREATE TABLE bench.customer (id text)' -c "\\copy bench.customer FROM '$build/customers'"
  # Limits that are never met, but counted.
  sql -c 'ALTER DATABASE relay SET dvnt_ticketing.stripe_rate = 10000' -c 'ALTER DATABASE relay SET dvnt_ticketing.stripe_endpoint_rate = 10000'
  clients=$relay_streams
  # Whoever is first would find a server that has answered nothing yet.
  ask_by_h2load "$requests" >"$build/warm-up"
  for ((round = 1; round <= rounds; round++)); do
    note "relay: round $round of $rounds"
    for contender in $(rotated $((turns++)) relay h2load wrk); do "turn_of_$contender" "$requests"; done
  done
  drop_database relay
}

# So many customers at Stripe; prints their ids.
make_customers() {
  NODE_EXTRA_CA_CERTS=$stripe_ca node --input-type=module - "$stripe_base" "$stripe_key" "$1" <<'JS'
const [base, key, count] = process.argv.slice(2);
let left = Number(count);
await Promise.all(Array.from({ length: 16 }, async () => {
  while (left-- > 0) {
    const answer = await fetch(`${base}/v1/customers`, { method: 'POST', headers: { authorization: `Bearer ${key}` } });
    console.log((await answer.json()).id);
  }
}));
JS
}

start_stripe() {
  local tries folder=$DVNT_CLUSTER/stripe
  mkdir "$folder"
  node test/stripe/server.mjs --dir "$folder" >"$folder/log" 2>&1 &
  stripe_pid=$!
  for tries in {1..200}; do
    [[ ! -s $folder/stripe.json ]] || break
    ((tries < 200)) || fail 'the local Stripe does not start'
    sleep 0.05
  done
  read -r stripe_base stripe_ca stripe_key < <(node -p "const { base, ca, key } = JSON.parse(fs.readFileSync('$folder/stripe.json')); [base, ca, key].join(' ')")
}

stop_stripe() {
  kill "$stripe_pid"
  wait "$stripe_pid" || :
}

ask_by_h2load() {
  h2load -n "$1" -c 1 -m "$relay_streams" -i "$build/urls" -H "Authorization: Bearer $stripe_key" -H 'Stripe-Version: 2026-10-28.endive'
}

# Microseconds of processor time that a process has had.
processor_time() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum / 1000 }'; }

turn_of_h2load() {
  local requests=$1 output rate answered stripe_before
  stripe_before=$(processor_time "$stripe_pid")
  output=$(ask_by_h2load "$requests")
  record h2load stripe_us $((($(processor_time "$stripe_pid") - stripe_before) / requests))
  rate=$(sed -nE 's/^finished in .*, ([0-9.]+) req\/s.*/\1/p' <<<"$output")
  answered=$(sed -nE 's/^status codes: ([0-9]+) 2xx.*/\1/p' <<<"$output")
  record h2load rate "$rate"
  record h2load violations $((requests - ${answered:-0}))
}

turn_of_wrk() {
  local output
  output=$(BENCH_PATHS=$build/paths wrk -t 1 -c "$relay_streams" -d "$(full_or_quick 3s 1s)" -s bench/paths.lua -H "Authorization: Bearer $stripe_key" -H 'Stripe-Version: 2026-10-28.endive' "$stripe_base")
  record wrk rate "$(sed -nE 's/^Requests\/sec: *([0-9.]+)$/\1/p' <<<"$output")"
  record wrk violations "$(grep -cE 'Non-2xx|Socket errors' <<<"$output" || :)"
}

turn_of_relay() {
  local requests=$1 tries backend stripe_before
  # Customers, because the effect of their answer is the least there is: a row.
  sql <<SQL
TRUNCATE ticketing.stripe_requests, public.stripe_customers;
INSERT INTO ticketing.stripe_requests (kind, lane, method, path, endpoint, api_version, user_id, run_at, created_at)
SELECT 'create_customer', 1, 'GET', '/v1/customers/' || id, 'GET /v1/customers/:id', '2026-10-28.endive', 'user-' || id, now(), now() FROM bench.customer;
SQL
  sql -c 'VACUUM ANALYZE ticketing.stripe_requests' -c CHECKPOINT
  stripe_before=$(processor_time "$stripe_pid")
  PGUSER=dvnt_ticketing_relay STRIPE_API_BASE=$stripe_base STRIPE_CA_FILE=$stripe_ca STRIPE_SECRET_KEY=$stripe_key DVNT_RELAY_CONCURRENCY=$relay_streams \
    src/relay/dvnt_stripe_relay 2>"$build/relay.log" &
  relay_pid=$!
  for ((tries = 1; ; tries++)); do
    [[ $(sql -c "SELECT EXISTS (SELECT FROM ticketing.stripe_requests WHERE state IN ('ready', 'leased'))") == t ]] || break
    ((tries < 240)) || fail "the relay does not come to an end: $(tail -n 1 "$build/relay.log")"
    sleep 0.5
  done
  backend=$(sql -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay' AND datname = current_database()")
  record relay stripe_us $((($(processor_time "$stripe_pid") - stripe_before) / requests))
  record relay relay_us $(($(processor_time "$relay_pid") / requests))
  record relay backend_us $(($(processor_time "$backend") / requests))
  stop_relay || fail "the relay ended badly: $(tail -n 1 "$build/relay.log")"
  # From the first claim to the last answer that is stored.
  record relay rate "$(sql -c "SELECT count(*) / extract(epoch FROM max(completed_at) - min(first_sent_at)) FROM ticketing.stripe_requests")"
  record relay violations "$(sql -c "SELECT $requests - count(*) FILTER (WHERE state = 'done' AND applied AND attempts = 1) FROM ticketing.stripe_requests")"
}

report_relay() {
  bound "relay, $relay_streams streams: requests a second / those of h2load" "$(relay_median h2load)" '>=' 0.6
  bound "relay, $relay_streams streams: requests a second / those of wrk over $relay_streams connections" "$(relay_median wrk)" '>=' 0.6
  bound 'relay: requests that were not answered, stored and applied at the first attempt' "SELECT sum(violations) FROM bench.violations WHERE scenario = 'relay'" '=' 0

  printf '\n## Relay\n\nThe same GETs of customers from the same local Stripe, over HTTP/2 with %s streams: **h2load**; **relay**, from a full outbox, claim and storing of each answer included. **wrk**, over %s connections of HTTP/1.1. Requests a second, median of the rounds (least–most).\n' "$relay_streams" "$relay_streams"
  table "SELECT contender, bench.shown_with_range(array_agg(rate)) FROM bench.rate WHERE scenario = 'relay' GROUP BY 1 ORDER BY 1" '' 'Requests per second'
  printf 'Where a request goes: microseconds of processor time for each, of all cores together.\n'
  table "SELECT contender, CASE WHEN bool_or(metric = 'stripe_us') THEN bench.shown_with_range(array_agg(value) FILTER (WHERE metric = 'stripe_us')) END, CASE WHEN bool_or(metric = 'relay_us') THEN bench.shown_with_range(array_agg(value) FILTER (WHERE metric = 'relay_us')) END,
                CASE WHEN bool_or(metric = 'backend_us') THEN bench.shown_with_range(array_agg(value) FILTER (WHERE metric = 'backend_us')) END
         FROM bench.result WHERE scenario = 'relay' AND contender <> 'wrk' GROUP BY 1 ORDER BY 1" '' 'Local Stripe' 'Relay' 'Its server process'
}

stop_relay() {
  local pid=${relay_pid-}
  relay_pid=''
  [[ -z $pid ]] || { kill "$pid" && wait "$pid"; }
}

relay_median() {
  echo "SELECT bench.median(array_agg(r.rate / h.rate)) FROM bench.rate r JOIN bench.rate h USING (scenario, latency, clients, round)
        WHERE scenario = 'relay' AND r.contender = 'relay' AND h.contender = '$1'"
}
