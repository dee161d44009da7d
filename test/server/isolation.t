#!/usr/bin/env bash
# The extension works, and sells no seat twice, where transactions are SERIALIZABLE or REPEATABLE READ by default; the
# migrations below are deployed under the former.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
on_a_cluster "$@" -- --conf default_transaction_isolation=serializable

# Buyers in parallel: a cart of two tiers in either order; and some who change their mind. After a serialization failure
# the caller tries again.
cat >"$scraps/buy.sql" <<'SQL'
\set buyer random(1, 1000000000)
\set first random(0, 1)
SELECT ticketing.hold_tickets('buyer ' || :buyer, event, CASE :first WHEN 0 THEN items(a, 1, b, 1) ELSE items(b, 1, a, 1) END) FROM test.shop;
SQL
cat >"$scraps/release.sql" <<'SQL'
SELECT ticketing.release_hold(h.reservation_id, h.user_id) FROM test.shop CROSS JOIN LATERAL (SELECT * FROM ticketing.ticket_holds h WHERE h.ticket_type_id = a AND h.status = 'active' ORDER BY random() LIMIT 1) h;
SQL
# buyers NAME OPTION...: eight clients, fifty scripts each
buyers() {
  PGOPTIONS='-c search_path=test,public' pgbench -n -c 8 -j 2 -t 50 --max-tries=1000 "${@:2}" >"$scraps/pgbench" 2>&1
  ok "$1" has "$scraps/pgbench" 'number of transactions actually processed: 400/400'
  ok "$1: none was refused for good" has "$scraps/pgbench" 'number of failed transactions: 0 '
}

for level in serializable 'repeatable read'; do
  sql "ALTER SYSTEM SET default_transaction_isolation = '$level'" 'SELECT pg_reload_conf()' >/dev/null
  await 10 says "SELECT current_setting('transaction_isolation') = '$level'"
  is "sessions are $level" "$(sql 'SHOW transaction_isolation')" "$level"
  sql 'DROP TABLE IF EXISTS test.shop' \
    "CREATE TABLE test.shop AS SELECT event, make_tier(event, 2500, 1000) AS a, make_tier(event, 1500, 1000) AS b, make_tier(event, 0, 10) AS free, make_tier(event, 900, 1) AS last FROM (SELECT make_event(make_host('host of ' || '$level'), 2500) AS event) e" 2>/dev/null
  event=$(sql 'SELECT event FROM test.shop')

  ticket=$(sql "SELECT ticketing.claim_free_tickets('buyer', event, items(free, 1)) -> 'tickets' -> 0 ->> 'qr_payload' FROM test.shop")
  is "$level: a scan" "$(sql "SELECT ticketing.check_in('$ticket', $event, 'host of $level') ->> 'result'")" admitted
  order=$(sql "SELECT payable_order('buyer', event, items(a, 2)) FROM test.shop")
  is "$level: a payment" "$(sql "SELECT pay('$order')")" applied
  is "$level: has its tickets" "$(sql "SELECT jsonb_array_length(ticketing.order_status('$order', 'buyer') -> 'tickets')")" 2
  is "$level: a hold that has ended is stock for the next buyer" "$(sql "SELECT hold('one', event, items(last, 1)) FROM test.shop" "SET dvnt_ticketing.test_clock_offset = 700000; SELECT hold('two', event, items(last, 1)) IS NOT NULL FROM test.shop" | tail -n 1)" t
  is "$level: a second one is refused" "$(attempt "SELECT hold('three', event, items(last, 1)) FROM test.shop")" 'PT409 sold_out'

  # A snapshot from before a sale does not see seats that have gone.
  sql "UPDATE public.ticket_types SET quantity_total = 2 WHERE id = (SELECT last FROM test.shop)"
  coproc psql_here 2>&1
  echo 'BEGIN; SELECT count(*) FROM public.events;' >&"${COPROC[1]}"
  read -r -u "${COPROC[0]}" _
  sql "SELECT hold('faster', event, items(last, 1)) FROM test.shop" >/dev/null
  echo "SELECT hold('slower', event, items(last, 1)) FROM test.shop;" >&"${COPROC[1]}"
  read -r -u "${COPROC[0]}" answer
  like "$level: a transaction whose snapshot is older than a sale sells nothing of it" "$answer" 'ERROR:  (PT409|40001): '
  exec {COPROC[1]}>&-
  wait "$COPROC_PID" 2>/dev/null

  buyers "$level: 400 buyers in parallel" -f "$scraps/buy.sql"
  is "$level: every hold is one seat of each tier" "$(sql "SELECT count(*), min(quantity), max(quantity), count(DISTINCT reservation_id) FROM ticketing.ticket_holds h JOIN test.shop ON ticket_type_id = b")" '400|1|1|400'
  buyers "$level: buyers, and some who change their mind" -f "$scraps/buy.sql" -f "$scraps/release.sql"
  is "$level: what is available is what is left" "$(sql "SELECT a.available + a.held + a.sold = 1000 FROM test.shop, ticketing.availability(event) a WHERE a.ticket_type_id IN (shop.a, shop.b)")" $'t\nt'
  is "$level: the chores run" "$(attempt 'SELECT ticketing.release_expired_holds(), ticketing.sync_quantity_sold(), ticketing.sweep_stripe(), ticketing.prune()')" ok
  is "$level: nothing is wrong" "$(invariants)" ''
done
done_testing
