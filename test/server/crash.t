#!/usr/bin/env bash
# A crash of the server in the middle of sales loses no seat, sells none twice, and takes back nothing that a buyer or a
# door was told; what was under way is sent again under its request id and happens once.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
on_a_cluster "$@"
psql_here -f "$root/test/stress/stress.sql" >/dev/null || exit 1

# sell_through NAME COMMAND...: sixteen clients hold, release, claim and scan while COMMAND crashes the server and brings it back
sell_through() {
  local name=$1 folder load
  folder=$(mktemp -d -p "$scraps")
  perl "$root/test/stress/clients.pl" --folder "$folder" --clients 16 --seconds 2.5 --lossy --only hold,extend,release,sweep,claim,check_in,void 2>"$folder/err" &
  load=$!
  sleep 1.2
  "${@:2}"
  ok "$name: the clients go on" eval "wait $load || { cat '$folder/err' && false; }"
  psql_here -c 'TRUNCATE stress.outcomes' -c "\\copy stress.outcomes FROM PROGRAM 'cat $folder/*.outcomes'" -c "\\copy stress.journal FROM PROGRAM 'cat $folder/*.journal'"
  ok "$name: calls were under way" says "SELECT sum(calls) > 0 FROM stress.outcomes WHERE outcome = 'lost'"
  sent_again=$((sent_again + $(sql "SELECT coalesce(sum(calls), 0) FROM stress.outcomes WHERE shape = 'again'")))
  is "$name: no call ends but in an answer, a refusal or \"try again\"" "$(sql "SELECT DISTINCT operation, outcome FROM stress.classified WHERE class = 'wrong'")" ''
  is "$name: holds, releases, tickets and scans were made" "$(sql "SELECT string_agg(k, ' ' ORDER BY k) FROM unnest('{held,released,claimed,scanned}'::text[]) k WHERE EXISTS (SELECT FROM stress.journal WHERE kind = k)")" 'claimed held released scanned'
  is "$name: what the clients were told is true" "$(sql 'SELECT * FROM stress.untrue() LIMIT 20')" ''
  is "$name: nothing is wrong" "$(invariants)" ''
}

server_dies() { kill_server && restart; }
backend_dies() {
  kill -KILL "$(sql "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY state = 'active' DESC, random() LIMIT 1")"
}
power_fails() {
  local postmaster
  postmaster=$(head -n 1 "$PGDATA/postmaster.pid")
  # shellcheck disable=SC2046
  kill -KILL "$postmaster" $(pgrep -P "$postmaster")
  restart
}

sent_again=0
sell_through 'the postmaster is killed' server_dies
sell_through 'a backend is killed, and the server recovers by itself' backend_dies
sell_through 'every process is killed at once' power_fails
ok 'calls without an answer were sent again' test "$sent_again" -gt 0
aftermath
done_testing
