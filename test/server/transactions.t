#!/usr/bin/env bash
# Commands are part of their caller's transaction: undone with a savepoint or by an exception's handler, several of them
# together, prepared for a two-phase commit and finished after a crash, refused where nothing may be written.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
on_a_cluster "$@"

sql "SELECT make_host('host')" >/dev/null
held() { sql "SELECT hold('$1', event, items($2)${3:+, '$3'}) FROM test.shop"; }
free_seats() { sql "SELECT available($1) FROM test.shop"; }

# A list of commands has a line NAME|STATEMENT for each.
# each_is HOW WANT COMMANDS SCRIPT WHAT: runs SCRIPT STATEMENT, psql's input, for each command, all in one session; WHAT, in
# psql's variables, is what it then says.
each_is() {
  local name statement
  while IFS='|' read -r name statement; do
    "$4" "$statement"
    printf '\\echo = %s: %s\n' "$name" "$5"
  done <<<"$3" | psql_here -v ON_ERROR_STOP=0 -o /dev/null >"$scraps/said" 2>"$scraps/errors"
  while IFS='|' read -r name statement; do
    is "$1: $name" "$(sed -n "s/^= $name: //p" "$scraps/said")" "$2"
  done <<<"$3"
}

# ---- commands that all have something to do

# stage: makes it, and the list
stage() {
  local hold to_pay leased token
  sql 'DROP TABLE IF EXISTS test.shop' "CREATE TABLE test.shop AS SELECT event, make_tier(event, 2500, 10) AS tier, make_tier(event, 0, 10) AS free, make_tier(event, 900, 1) AS last, make_tier(event, 700, NULL) AS open FROM (SELECT make_event('host', 40) AS event) e" 2>/dev/null
  event=$(sql 'SELECT event FROM test.shop')
  ticket=$(sql "SELECT ticketing.claim_free_tickets('guest', event, items(free, 1)) -> 'tickets' -> 0 ->> 'qr_payload' FROM test.shop")
  order=$(sql "SELECT payable_order('payer', event, items(tier, 1)) FROM test.shop")
  hold=$(held holder 'tier, 1' '5 minutes')
  to_pay=$(held buyer 'open, 1')
  held forgetful 'tier, 1' '1 millisecond' >/dev/null
  request=$(sql "SELECT ticketing.create_payment_intent('reader of $event', event, items(open, 1)) ->> 'stripe_request_id' FROM test.shop")
  IFS='|' read -r leased token <<<"$(sql "SELECT id, lease_token FROM ticketing.relay_claim(1, '1 hour')")"
  sql "SELECT order_tickets('next reader of $event', event, items(open, 1)) FROM test.shop" >/dev/null
  commands="hold_tickets|SELECT ticketing.hold_tickets('another', event, items(tier, 2, open, 1)) FROM test.shop
hold_tickets of a tier without limit|SELECT ticketing.hold_tickets('another', event, items(open, 1)) FROM test.shop
hold_tickets of the last seat|SELECT ticketing.hold_tickets('another', event, items(last, 1), '1 minute') FROM test.shop
hold_tickets with a request id|SELECT ticketing.hold_tickets('another', event, items(tier, 1), request_id => 'an id') FROM test.shop
hold_tickets of dead seats|SELECT ticketing.hold_tickets('another', event, items(tier, 8)) FROM test.shop
extend_hold|SELECT ticketing.extend_hold('$hold', 'holder')
release_hold|SELECT ticketing.release_hold('$hold', 'holder')
claim_free_tickets|SELECT ticketing.claim_free_tickets('another', event, items(free, 2)) FROM test.shop
create_payment_intent|SELECT ticketing.create_payment_intent('another', event, items(tier, 1)) FROM test.shop
create_payment_intent of a hold|SELECT ticketing.create_payment_intent('buyer', event, reservation_id => '$to_pay') FROM test.shop
relay_claim|SELECT ticketing.relay_claim(10, '1 minute')
relay_complete|SELECT ticketing.relay_complete('$leased', '$token', 200, '{}', '{\"id\": \"cus_1\"}')
stripe_webhook|SELECT pay('$order')
check_in|SELECT ticketing.check_in('$ticket', $event, 'host')
check_in of a wrong code|SELECT ticketing.check_in('nonsense', $event, 'host')
release_expired_holds|SELECT ticketing.release_expired_holds()
rebuild_stock|SELECT ticketing.rebuild_stock($event)
sync_quantity_sold|SELECT ticketing.sync_quantity_sold()"
}
stage
before=$(everything)

# ---- undone

other_code="a sale by other code|INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT event, tier, 'x', 'token' FROM test.shop
a change of capacity|UPDATE public.ticket_types SET quantity_total = 12 WHERE id = (SELECT tier FROM test.shop)"
undo_by_savepoint() {
  printf '%s;\n' "BEGIN ISOLATION LEVEL $level" 'SAVEPOINT here' "$1"
  echo "SELECT CASE WHEN everything() <> '$before' THEN 'done' ELSE 'not done' END AS done \\gset"
  printf '%s;\n' 'ROLLBACK TO SAVEPOINT here' COMMIT
  echo "SELECT CASE WHEN everything() = '$before' THEN 'undone' ELSE 'not undone' END AS undone \\gset"
}
undo_by_handler() {
  cat <<SQL
BEGIN ISOLATION LEVEL $level;
DO \$do\$
DECLARE ignored text;
BEGIN
  EXECUTE \$call\$$1\$call\$;
  RAISE EXCEPTION SQLSTATE 'UNDO0';
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
  NULL;
END \$do\$;
\\set done :SQLSTATE
COMMIT;
SELECT CASE WHEN everything() = '$before' THEN 'undone' ELSE 'not undone' END AS undone \\gset
SQL
}
for level in 'read committed' 'repeatable read' serializable; do
  here=$commands$'\n'$other_code
  if [[ $level != 'read committed' ]]; then
    here=$(grep -v '^rebuild_stock' <<<"$here")
    is "$level: rebuild_stock is refused, it could not count what is latest" "$(attempt "BEGIN ISOLATION LEVEL $level" "SELECT ticketing.rebuild_stock($event)")" 0A000
  fi
  each_is "$level, a savepoint" 'done, undone' "$here" undo_by_savepoint ':done, :undone'
  each_is "$level, an exception's handler" '00000, undone' "$here" undo_by_handler ':done, :undone'
done
is 'nothing is wrong' "$(invariants)" ''

# What a savepoint has given back is others' at once, though the transaction is still open; and so is the user's turn.
open_session one
ask one "BEGIN; SAVEPOINT here; SELECT hold('one', event, items(last, 1)) FROM test.shop; ROLLBACK TO SAVEPOINT here" >/dev/null
is 'a seat that a savepoint gave back is sold to another, who does not wait' "$(attempt "SET lock_timeout = '100ms'" "SELECT hold('two', event, items(last, 1), '1 millisecond') FROM test.shop")" ok
is 'nor does the same user' "$(attempt "SET lock_timeout = '100ms'" "SELECT hold('one', event, items(last, 1), '1 millisecond') FROM test.shop")" ok
ask one COMMIT >/dev/null
close_session one

# ---- a refusal that is caught, and several commands in one transaction

for level in 'read committed' 'repeatable read' serializable; do
  sql 'DROP TABLE test.shop' "CREATE TABLE test.shop AS SELECT event, make_tier(event, 2500, 10) AS tier, make_tier(event, 0, 10) AS free, make_tier(event, 2500, 64) AS big, make_tier(event, 900, 1) AS last FROM (SELECT make_event('host', 80) AS event) e"
  is "$level: after a refusal that was caught the transaction goes on" "$(sql "BEGIN ISOLATION LEVEL $level" "SELECT attempt(\$\$SELECT hold('a', event, items(tier, 11)) FROM test.shop\$\$), attempt(\$\$SELECT hold('a', event, items(tier, 10, last, 2)) FROM test.shop\$\$), attempt(\$\$SELECT hold('a', event, items(tier, 4)) FROM test.shop\$\$)" COMMIT)" 'PT409 sold_out|PT409 sold_out|ok'
  is "$level: and holds what was not refused" "$(free_seats tier)" 6
  is "$level: several draws, from one shard and from all, until there is none" "$(sql "BEGIN ISOLATION LEVEL $level" "SELECT attempt(format('SELECT hold(%L, %s, items(%L, %s))', 'b', event, tier, n)) FROM test.shop, unnest('{1,2,3,1}'::integer[]) n" "SELECT attempt(format('SELECT hold(%L, %s, items(%L, %s))', 'b', event, big, n)) FROM test.shop, unnest('{9,50,5,1}'::integer[]) n" COMMIT)" $'ok\nok\nok\nPT409 sold_out\nok\nok\nok\nPT409 sold_out'
  is "$level: they are held" "$(sql "SELECT sum(quantity) FILTER (WHERE ticket_type_id = tier), sum(quantity) FILTER (WHERE ticket_type_id = big) FROM ticketing.ticket_holds, test.shop WHERE user_id = 'b' AND event_id = event")" '6|64'
  sql "SELECT ticketing.release_hold(reservation_id, user_id) FROM ticketing.ticket_holds, test.shop WHERE event_id = event AND status = 'active'" >/dev/null
  is "$level: released in one transaction, all are for sale" "$(free_seats tier), $(free_seats big)" '10, 64'
  sql "BEGIN ISOLATION LEVEL $level" "SELECT hold('c', event, items(tier, 3)) FROM test.shop" 'SAVEPOINT outer_one' "SELECT hold('c', event, items(tier, 4)) FROM test.shop" 'SAVEPOINT inner_one' "SELECT hold('c', event, items(tier, 3)) FROM test.shop" \
    'ROLLBACK TO SAVEPOINT inner_one' "SELECT hold('c', event, items(tier, 1)) FROM test.shop" 'RELEASE SAVEPOINT outer_one' COMMIT >/dev/null
  is "$level: of nested savepoints, what was not rolled back is held" "$(sql "SELECT sum(quantity) FROM ticketing.ticket_holds, test.shop WHERE user_id = 'c' AND event_id = event AND status = 'active'"), $(free_seats tier)" '8, 2'
  is "$level: a hold, its order, the payment and the scan of a ticket, in one transaction" "$(sql "BEGIN ISOLATION LEVEL $level" \
    "SELECT pay(payable_order('d', event, items(big, 2))) FROM test.shop" \
    "SELECT ticketing.check_in(qr_payload, event_id, 'host') ->> 'result' FROM public.tickets, test.shop WHERE user_id = 'd' AND event_id = event LIMIT 1" COMMIT)" $'applied\nadmitted'
  is "$level: nothing is wrong" "$(invariants)" ''
done

# ---- prepared transactions

sql 'DROP TABLE test.shop' "CREATE TABLE test.shop AS SELECT event, make_tier(event, 2500, 10) AS tier, make_tier(event, 0, 10) AS free, make_tier(event, 900, 1) AS last FROM (SELECT make_event('host') AS event) e"
event=$(sql 'SELECT event FROM test.shop')
ticket=$(sql "SELECT ticketing.claim_free_tickets('guest', event, items(free, 1)) -> 'tickets' -> 0 ->> 'qr_payload' FROM test.shop")
paid_soon=$(sql "SELECT payable_order('payer', event, items(tier, 1)) FROM test.shop")
hold=$(held holder 'tier, 1')
# prepare NAME LEVEL BUYER: a day's work, the last seat included
prepare() {
  sql "BEGIN ISOLATION LEVEL $2" 'SET LOCAL dvnt_ticketing.doorbell = off' "
    SELECT hold('$3', event, items(last, 1)), ticketing.release_hold('$hold', 'holder'), order_tickets('$3', event, items(tier, 2)), pay('$paid_soon'),
           ticketing.check_in('$ticket', event, 'host'), ticketing.claim_free_tickets('$3', event, items(free, 2)) FROM test.shop" "PREPARE TRANSACTION '$1'" >/dev/null
}
# while_prepared HOW: what others see and get
while_prepared() {
  is "$1: nobody sees what is prepared" "$(sql "SELECT (SELECT count(*) FROM pg_prepared_xacts), available(last), available(tier), available(free) FROM test.shop")" '1|1|8|9'
  is "$1: nobody gets its seat; who does not want to wait is told to try again" "$(attempt "SET lock_timeout = '50ms'" "SELECT hold('other', event, items(last, 1)) FROM test.shop")" 55P03
  is "$1: its user waits for his turn" "$(attempt "SET lock_timeout = '50ms'" "SELECT hold('two-phase buyer', event, items(tier, 1)) FROM test.shop")" 55P03
  is "$1: other seats are sold meanwhile" "$(attempt 'BEGIN' "SELECT hold('other', event, items(tier, 1)) FROM test.shop" 'ROLLBACK')" ok
}
before=$(everything)
for level in 'read committed' 'repeatable read' serializable; do
  ok "$level: a transaction is prepared" prepare sale "$level" 'two-phase buyer'
  sql "ROLLBACK PREPARED 'sale'"
  is "$level: rolled back, it leaves nothing" "$(everything)" "$before"
done
prepare sale 'read committed' 'two-phase buyer'
while_prepared prepared
restart
while_prepared 'after a restart'
sql "ROLLBACK PREPARED 'sale'"
is 'rolled back after a restart, it leaves nothing' "$(everything)" "$before"
is 'its seat is for sale' "$(attempt BEGIN "SELECT hold('other', event, items(last, 1)) FROM test.shop" ROLLBACK)" ok
prepare sale serializable 'two-phase buyer'
kill_server
restart
while_prepared 'after a crash'
sql "COMMIT PREPARED 'sale'"
is 'committed after a crash: seats are held, sold and given back as it said' "$(sql "SELECT available(last), available(tier), available(free) FROM test.shop")" '0|7|7'
is 'nobody else gets its seat' "$(attempt "SELECT hold('other', event, items(last, 1)) FROM test.shop")" 'PT409 sold_out'
is 'the payment stands, the ticket was scanned, the hold released' "$(sql "SELECT state FROM ticketing.orders WHERE order_id = '$paid_soon'"), $(sql "SELECT ticketing.check_in('$ticket', $event, 'host') ->> 'result'"), $(sql "SELECT ticketing.release_hold('$hold', 'holder') ->> 'released'")" 'paid, already_admitted, false'
sql 'SELECT relay(), relay()' >/dev/null
is 'a relay finds the request that no bell announced' "$(sql "SELECT pay(order_id) FROM ticketing.orders WHERE user_id = 'two-phase buyer' AND rail = 'payment_intent'")" applied
is 'nothing is wrong' "$(invariants)" ''

# The doorbell: a relay sleeps, so NOTIFY is needed, which cannot be prepared.
open_session relay
ask relay 'SELECT pg_advisory_lock_shared(1685454850, 0)' >/dev/null
before=$(everything)
is 'with the doorbell on, PREPARE is refused' "$(attempt BEGIN "SELECT order_tickets('ringer', event, items(tier, 1)) FROM test.shop" "PREPARE TRANSACTION 'rings'")" 0A000
is 'and leaves nothing' "$(everything)" "$before"
is 'with the doorbell off it is done' "$(attempt BEGIN 'SET LOCAL dvnt_ticketing.doorbell = off' "SELECT order_tickets('silent', event, items(tier, 1)) FROM test.shop" "PREPARE TRANSACTION 'silent'")" ok
sql "COMMIT PREPARED 'silent'"
close_session relay
is 'where no relay sleeps nothing rings' "$(attempt BEGIN "SELECT order_tickets('awake', event, items(tier, 1)) FROM test.shop" "PREPARE TRANSACTION 'awake'")" ok
sql "COMMIT PREPARED 'awake'"
is 'both requests wait for the relay' "$(sql "SELECT count(DISTINCT order_id) FROM ticketing.stripe_requests WHERE user_id IN ('silent', 'awake') AND state = 'ready'")" 2

# ---- read only

stage
commands+="
relay_start|SELECT ticketing.relay_start('acct_platform', false, '')
sweep_stripe|SELECT ticketing.sweep_stripe()"
before=$(everything)
reads="availability|SELECT a.* FROM test.shop, ticketing.availability(event) a
quote|SELECT ticketing.quote(event, items(tier, 2, open, 1)) FROM test.shop
order_status|SELECT ticketing.order_status('$order', 'payer')
verify_ticket|SELECT ticketing.verify_ticket('$ticket')
is_genuine_ticket|SELECT ticketing.is_genuine_ticket('$ticket')
ticket_qr_svg|SELECT md5(ticketing.ticket_qr_svg('$ticket'))
check_invariants|SELECT count(*) FROM ticketing.check_invariants()"
await_stripe="await_stripe|SELECT ticketing.await_stripe('$request', 'reader of $event', '1 millisecond') ->> 'status'"
declare -A answers
while IFS='|' read -r name statement; do answers[$name]=$(sql "$statement"); done <<<"$reads"$'\n'"$await_stripe"

refuse_under() { printf '%s;\n' "$begin" "$1"; printf '\\set state :SQLSTATE\nROLLBACK;\n'; }
# reads_and_refuses HOW BEGIN COMMANDS READS: in a transaction that begins so, the commands are refused and the reads answered
reads_and_refuses() {
  local name statement
  begin=$2
  each_is "$1, refused" 25006 "$3" refuse_under :state
  while IFS='|' read -r name statement; do
    is "$1, answered: $name" "$(sql "$2" "$statement")" "${answers[$name]}"
  done <<<"$4"
}
reads_and_refuses 'read only' 'BEGIN READ ONLY' "$commands"$'\nprune|SELECT ticketing.prune()' "$reads"$'\n'"$await_stripe"
reads_and_refuses 'serializable, read only' 'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY' "$commands" "$reads"
is 'nothing was written' "$(everything)" "$before"

# ---- a hot standby

bin=$("${PG_CONFIG:-pg_config}" --bindir)
# A folder of this name goes with the cluster, server and all, should we not come to stop it.
standby=$DVNT_CLUSTER/data.standby
make_folder data.standby 700
make_folder standby 755
of_standby() { as_server env -u DVNT_CLUSTER "$bin/pg_ctl" -s -w -D "$standby" "$@"; }
make_standby() {
  as_server "$bin/pg_basebackup" -h "$PGHOST" -p "$PGPORT" -U postgres -D "$standby" -R -X stream -c fast --no-sync &&
    of_standby -l "$standby/server.log" -o "-c listen_addresses='' -c unix_socket_directories='$DVNT_CLUSTER/standby'" start
}
ok 'a standby is made' make_standby
stop_standby() { of_standby -m immediate stop >/dev/null 2>&1; }
trap 'stop_standby; rm -rf "$scraps"' EXIT
on_standby() { PGHOST=$DVNT_CLUSTER/standby "$@"; }
sent=$(sql 'SELECT pg_current_wal_lsn()')
await 20 on_standby says "SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= '$sent'"
# (await_stripe cannot answer there: it reads clients' secrets, which are in an unlogged table.)
on_standby reads_and_refuses 'on the standby' BEGIN "$commands" "$reads"
of_standby promote
is 'promoted, it sells' "$(on_standby sql "SELECT available(last), attempt(format('SELECT hold(%L, %s, items(%L, 1))', 'late', event, last)), attempt(format('SELECT hold(%L, %s, items(%L, 8))', 'late', event, tier)) FROM test.shop")" '1|ok|ok'
is 'and no seat twice' "$(on_standby sql "SELECT attempt(format('SELECT hold(%L, %s, items(%L, 1))', 'later', event, last)), attempt(format('SELECT hold(%L, %s, items(%L, 1))', 'later', event, tier)) FROM test.shop")" 'PT409 sold_out|PT409 sold_out'
is 'and signs with the same key' "$(on_standby sql "SELECT ticketing.check_in('$ticket', $event, 'host') ->> 'result'")" admitted
is 'nothing is wrong there' "$(on_standby invariants)" ''
stop_standby
is 'nor on the primary' "$(invariants)" ''
done_testing
