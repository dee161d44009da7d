#!/usr/bin/env bash
# Sales through PgBouncer in transaction mode, where each transaction of a client may meet another server connection:
# nothing of the engine lives in a session.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
on_a_cluster "$@"

# ---- the bouncer: four connections to the server, for whoever comes

sql 'CREATE ROLE edge LOGIN IN ROLE service_role'
bouncer=$DVNT_CLUSTER/bouncer
make_folder bouncer 755
cat >"$scraps/pgbouncer.ini" <<INI
[databases]
dvnt = host=$PGHOST port=$PGPORT dbname=$PGDATABASE user=edge
[pgbouncer]
; a socket in a folder of its own; the port is but a part of its name
listen_addr =
listen_port = $PGPORT
unix_socket_dir = $bouncer
pidfile = $bouncer/pid
logfile = $bouncer/log
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 100
ignore_startup_parameters = options, extra_float_digits
INI
install -m 644 "$scraps/pgbouncer.ini" "$bouncer/pgbouncer.ini"
PATH=$PATH:/usr/sbin as_server pgbouncer -q "$bouncer/pgbouncer.ini" &
stop_bouncer() { [[ ! -e $bouncer/pid ]] || kill "$(<"$bouncer/pid")"; }
trap 'stop_bouncer; rm -rf "$scraps"' EXIT
# bounced COMMAND...: a helper's calls go through it, as edge; without search_path and settings
bounced() { PGHOST=$bouncer PGUSER=edge PGDATABASE=dvnt "$@"; }
ok 'the bouncer is there' await 10 bounced says 'SELECT true'
is 'calls come as the role of edge functions' "$(bounced sql "SELECT current_user, pg_has_role('service_role', 'USAGE')")" 'edge|t'

# ---- sixteen clients

sql "CREATE TABLE test.shop AS SELECT event, make_tier(event, 2500, 300) AS tier, make_tier(event, 0, 90) AS free, make_tier(event, 700, NULL, 5) AS open FROM (SELECT make_event(make_host('host'), 420) AS event) e"
IFS='|' read -r event tier free open <<<"$(sql 'SELECT * FROM test.shop')"
# items TIER QUANTITY...: as JSON
items() { printf '[{"ticket_type_id": "%s", "quantity": %s}' "$1" "$2" && { (($# < 4)) || printf ', {"ticket_type_id": "%s", "quantity": %s}' "$3" "$4"; } && echo ']'; }
# Holds, of which some are released; carts and claims, two in a transaction. Each line that is said is an outcome.
client() {
  local n
  for n in {1..12}; do
    cat <<SQL
\\set held 00000000-0000-4000-8000-000000000000
SELECT ticketing.hold_tickets('buyer $1', $event, '$(items "$tier" $((1 + n % 3)) "$open" 1)', NULL, 'first $1 $n') ->> 'reservation_id' AS held \\gset
\\echo hold :SQLSTATE
SELECT ticketing.hold_tickets('buyer $1', $event, '$(items "$tier" $((1 + n % 4)))', NULL, 'second $1 $n') ->> 'reservation_id' AS held \\gset
\\echo hold :SQLSTATE
\\if $((n % 2))
SELECT ticketing.release_hold(:'held', 'buyer $1');
\\echo release :SQLSTATE
\\endif
BEGIN;
SELECT ticketing.claim_free_tickets('buyer $1', $event, '$(items "$free" 1)', 'third $1 $n');
\\echo claim :SQLSTATE
SELECT ticketing.hold_tickets('buyer $1', $event, '$(items "$tier" 1)', NULL, 'fourth $1 $n');
COMMIT;
SQL
  done
}
clients=()
for ((i = 1; i <= 16; i++)); do
  client $i | bounced psql_here -v ON_ERROR_STOP=0 >"$scraps/client.$i" 2>"$scraps/client.$i.err" &
  clients+=($!)
done
ok 'sixteen clients come to their end' wait "${clients[@]}"
cat "$scraps"/client.*[0-9] | grep -E '^(hold|release|claim) ' | sort | uniq -c | sed 's/^/# /'
is 'each of them had its calls' "$(cat "$scraps"/client.*[0-9] | grep -cE '^(hold|claim) [0-9A-Z]{5}$')" $((16 * 36))
is 'no call ends but in an answer, a refusal or "try again"' "$(cat "$scraps"/client.*.err | sed -nE 's/.*(ERROR|FATAL): +([0-9A-Z]{5}): (.*)/\2 \3/p' | grep -vE '^(PT404|PT409|PT410|40001|40P01|55P03|25P02) ')" ''
is 'they met four server connections' "$(sql "SELECT count(*) FROM pg_stat_activity WHERE usename = 'edge'")" 4
left=$(bounced sql "SELECT available FROM ticketing.availability($event) WHERE ticket_type_id = '$tier'")
is 'what is said to be left can be held' "$( ((left == 0)) && echo ok || bounced attempt "SELECT ticketing.hold_tickets('last', $event, '$(items "$tier" "$left")', NULL, 'last')")" ok
is 'and not one more' "$(bounced attempt "SELECT ticketing.hold_tickets('too late', $event, '$(items "$tier" 1)')")" 'PT409 sold_out'
is 'counted from the tables: the tier'"'"'s 300 seats, or the event'"'"'s 420, are gone to the last one' "$(sql "
  WITH used AS (SELECT ticket_type_id, quantity FROM ticketing.ticket_holds WHERE event_id = $event AND status = 'active' UNION ALL SELECT ticket_type_id, 1 FROM public.tickets WHERE event_id = $event)
  SELECT least(300 - (SELECT sum(quantity) FROM used WHERE ticket_type_id = '$tier'), 420 - (SELECT sum(quantity) FROM used))")" 0
is 'whoever was told that he has a hold has one, and nobody else' "$(sql "SELECT count(DISTINCT reservation_id) = (SELECT count(*) FROM ticketing.requests WHERE function_name = 'hold_tickets') FROM ticketing.ticket_holds")" t
is 'nothing is wrong' "$(invariants)" ''

# ---- nothing is left in the sessions

# Four transactions at once have all four connections.
for i in 1 2 3 4; do bounced open_session "client $i"; done
for i in 1 2 3 4; do
  ask "client $i" "BEGIN; SELECT 'server ' || pg_backend_pid()"
  ask "client $i" "SELECT 'setting ' || name FROM pg_settings WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'IntervalStyle', 'TimeZone', 'standard_conforming_strings', 'transaction_isolation', 'transaction_read_only', 'transaction_deferrable')
    UNION ALL SELECT 'statement ' || name FROM pg_prepared_statements UNION ALL SELECT 'channel ' || c FROM pg_listening_channels() c
    UNION ALL SELECT 'advisory lock ' || objid FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' UNION ALL SELECT 'table ' || relname FROM pg_class WHERE relpersistence = 't'"
done >"$scraps/sessions"
is 'we look into four sessions' "$(grep '^server ' "$scraps/sessions" | sort -u | wc -l)" 4
is 'no setting, statement, channel, lock or table of ours stays in them' "$(grep -v '^server ' "$scraps/sessions")" ''
for i in 1 2 3 4; do ask "client $i" COMMIT >/dev/null && close_session "client $i"; done

# ---- request ids

sql "UPDATE public.ticket_types SET quantity_total = 310 WHERE id = '$tier'; UPDATE public.events SET max_attendees = NULL WHERE id = $event"
same="SELECT ticketing.hold_tickets('impatient', $event, '$(items "$tier" 2)', NULL, 'the same')"
clients=()
for i in {1..8}; do bounced sql "$same" "$same" >"$scraps/same.$i" & clients+=($!); done
wait "${clients[@]}"
is 'the same request, sixteen times from eight clients, has one answer' "$(cat "$scraps"/same.* | wc -l), $(cat "$scraps"/same.* | sort -u | wc -l)" '16, 1'
is 'and one hold' "$(sql "SELECT count(*), sum(quantity) FROM ticketing.ticket_holds WHERE user_id = 'impatient'")" '1|2'
is 'with other arguments it is refused, on whichever connection' "$(bounced attempt "SELECT ticketing.hold_tickets('impatient', $event, '$(items "$tier" 1)', NULL, 'the same')")" 'PT409 request_id_reused'

# ---- from the order to the door

like 'in the transaction that asked Stripe, there is nothing to wait for' "$(bounced psql_here <<SQL 2>&1
BEGIN;
SELECT ticketing.create_payment_intent('payer', $event, '$(items "$tier" 1)') ->> 'stripe_request_id' AS request \\gset
SELECT ticketing.await_stripe(:'request', 'payer');
SQL
)" 'ERROR:  PT409: .*"reason": "wrong_state"'
IFS='|' read -r order request <<<"$(bounced sql "SELECT a ->> 'order_id', a ->> 'stripe_request_id' FROM ticketing.create_payment_intent('payer', $event, '$(items "$tier" 1)') a")"
is 'in the next one there is' "$(bounced sql "SELECT ticketing.await_stripe('$request', 'payer', '1 millisecond') ->> 'status'")" queued
bounced sql "SELECT ticketing.await_stripe('$request', 'payer') ->> 'client_secret'" >"$scraps/secret" &
waiting=$!
await 5 says "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'edge' AND state = 'active' AND query LIKE '%await_stripe%')"
sql 'SELECT relay(), relay()' >/dev/null
wait "$waiting"
is 'the answer comes while one waits' "$(<"$scraps/secret")" "pi_secret_$order"
IFS='|' read -r payload signature <<<"$(sql "SELECT p, stripe_signature(p) FROM stripe_event('evt_1', 'payment_intent.succeeded', intent('$order', 'succeeded')) p")"
is 'the payment comes through the bouncer' "$(bounced sql "SELECT ticketing.stripe_webhook('$payload', '$signature') ->> 'outcome'")" applied
ticket=$(bounced sql "SELECT ticketing.order_status('$order', 'payer') -> 'tickets' -> 0 ->> 'qr_payload'")
is 'and the scan' "$(bounced sql "SELECT ticketing.check_in('$ticket', $event, 'host') ->> 'result'")" admitted
is 'nothing is wrong' "$(invariants)" ''
done_testing
