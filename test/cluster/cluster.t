#!/usr/bin/env bash
# What scripts/cluster promises to its callers, tried with a checkout that has scripts/ and stubs for the rest.
# shellcheck disable=SC2016,SC2317
set -uo pipefail
# Jobs get process groups of their own, and with them an interrupt that is not ignored.
set -m

here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d /tmp/cluster_test.XXXXXX)
export TMPDIR=$work/tmp
mkdir -m 1777 "$TMPDIR"
chmod 755 "$work"
cluster=$work/scripts/cluster
unset TICKET_HMAC_SECRET STRIPE_WEBHOOK_SECRET DVNT_CLUSTER
number=0
failures=0

# ok DESCRIPTION COMMAND...: one test
ok() {
  number=$((number + 1))
  if "${@:2}"; then
    echo "ok $number - $1"
  else
    echo "not ok $number - $1"
    echo "#   failed: ${*:2}" | tr '\n' ' '
    echo
    failures=$((failures + 1))
  fi
}

is() { [[ $1 == "$2" ]] || { diff <(echo "$1") <(echo "$2") | sed 's/^/#   /' && false; }; }

holds() { grep -q -- "$2" "$1" || { sed 's/^/#   /' "$1" && false; }; }

await() {
  local end=$((SECONDS + 20))
  until "$@" 2>/dev/null; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

runs() { [[ -e /proc/$1/exe ]]; }
ended() { ! runs "$1"; }

# The postmaster and the folder that COMMAND wrote down are no more.
gone() {
  local folder postmaster
  read -r folder postmaster <"$1" && [[ ! -e $folder ]] && ended "$postmaster"
}

# note FILE: what a COMMAND does so that `gone` can tell
note='note() { echo "$DVNT_CLUSTER $(head -n 1 "$PGDATA/postmaster.pid")" >"$1"; };'

make_checkout() {
  mkdir -p "$work/scripts" "$work/migrations/deploy"
  cp "$here"/scripts/cluster "$here"/scripts/packages "$work/scripts/"
  cp "$here/migrations/sqitch.conf" "$work/migrations/"
  printf '%%syntax-version=1.0.0\n%%project=stub\n\none 2026-11-23T09:00:00Z a <a@b> # one\n' >"$work/migrations/sqitch.plan"
  echo 'CREATE TABLE migrated AS TABLE adopted;' >"$work/migrations/deploy/one.sql"
  printf 'all:\ninstall:\n\tinstall -D -m 644 library $(DESTDIR)$(CURDIR)/installed/library\n' >"$work/Makefile"
  echo first >"$work/library"
  echo "CREATE TABLE adopted AS SELECT 'é' AS name;" >"$work/old.sql"
  echo 'CREATE TABLE second AS SELECT * FROM adopted; SELECT 1/0;' >"$work/broken.sql"
}

test_usage() {
  local line
  "$cluster" --help >"$work/help"
  ok '--help explains' holds "$work/help" 'usage: scripts/cluster run'
  for line in '' 'run' 'run --conf work_mem -- true' 'run --load /nowhere -- true' 'run --what -- true' 'start' 'start a/b' 'restart'; do
    # shellcheck disable=SC2086
    "$cluster" $line >"$work/out" 2>"$work/err"
    ok "bad usage '$line' exits 2" is "$? $(wc -l <"$work/err") $(wc -c <"$work/out")" '2 1 0'
  done
  "$cluster" stop nobody 2>"$work/err"
  ok 'an unknown name is refused' is "$?" 1
}

test_run() {
  local status
  echo words | (umask 027 && exec "$cluster" run --load "$work/old.sql" --conf 'cron.host=it'\''s' --conf 'work_mem = 7MB' --conf max_connections=33 \
    -- bash -c "$note"'
      note '"$work"'/noted
      psql -XAtc "SELECT current_user, name FROM migrated" -c "SHOW work_mem" -c "SHOW max_connections" -c "SHOW cron.host"
      psql -XAt -h 127.0.0.1 -c "SELECT extname FROM pg_extension ORDER BY 1 LIMIT 1"
      cat; umask; id -u
      [[ $TICKET_HMAC_SECRET != "$STRIPE_WEBHOOK_SECRET" && ${#TICKET_HMAC_SECRET} -ge 32 ]] && exit 7') >"$work/out" 2>"$work/err"
  status=$?
  ok "COMMAND's exit status is ours" is "$status" 7
  ok "stdout is COMMAND's: superuser, migrated after --load, --conf wins, TCP, pg_cron, stdin, umask, caller" is "$(<"$work/out")" "postgres|é
7MB
33
it's
pg_cron
words
0027
$(id -u)"
  ok 'progress is on stderr' holds "$work/err" '^cluster: made in [0-9.]* s on port [0-9]*$'
  ok 'nothing is left after COMMAND' gone "$work/noted"
  ok 'make install has happened' is "$(cat "$work/installed/library")" first
}

test_failures() {
  "$cluster" run --load "$work/old.sql" --load "$work/broken.sql" -- echo never >"$work/out" 2>"$work/err"
  ok 'a --load that fails exits 1, COMMAND not run' is "$? $(<"$work/out")" '1 '
  ok 'the error names the file' holds "$work/err" "could not load $work/broken.sql"
  ok 'and is shown' holds "$work/err" 'division by zero'
  "$cluster" run --no-migrate --conf no_such_setting=1 -- echo never >"$work/out" 2>"$work/err"
  ok 'a server that does not start exits 1, with its log' holds "$work/err" 'unrecognized configuration parameter "no_such_setting"'
  (cd "$work" && mv library library.away)
  "$cluster" run --no-migrate -- echo never >"$work/out" 2>"$work/err"
  ok 'a build that fails exits 1, with its log' holds "$work/err" "cannot stat 'library'"
  (cd "$work" && mv library.away library)
  ok 'no folder is left by failures' is "$(ls "$TMPDIR")" ''
}

# interrupted SIGNAL TARGET-PREFIX STATUS: a run whose COMMAND has a child that must end, too
interrupted() {
  local pid
  "$cluster" run --no-migrate -- bash -c "$note"' sleep 1000 & echo $! >'"$work/child.$1; note $work/noted.$1; wait" >/dev/null 2>"$work/err.$1" &
  pid=$!
  await test -s "$work/noted.$1"
  kill -"$1" -- "$2$pid"
  wait "$pid"
  ok "SIG$1 ends the run with $3" is "$?" "$3"
  ok "nothing is left after SIG$1" gone "$work/noted.$1"
  ok "not even COMMAND's child" ended "$(<"$work/child.$1")"
}

test_killed_server() {
  "$cluster" run --no-migrate -- bash -c "$note"'
    setsid sleep 1000 & echo $! >'"$work"'/left
    psql -Xqc "SELECT pg_sleep(1000)" &
    note '"$work"'/noted; kill -9 $(head -n 1 "$PGDATA/postmaster.pid"); exit 3' >/dev/null 2>&1
  ok 'COMMAND that kills the postmaster keeps its exit status' is "$?" 3
  ok 'nothing is left then' gone "$work/noted"
  kill "$(<"$work/left")"
}

test_restart() {
  TICKET_HMAC_SECRET=given "$cluster" run --no-migrate -- bash -c '
    postmaster() { head -n 1 "$PGDATA/postmaster.pid"; }
    line() { tr "\0" "\n" <"/proc/$(postmaster)/environ" | grep "^$1="; }
    cd /
    first=$(postmaster)
    psql -Xqc "CREATE TABLE kept AS SELECT 1 AS a"
    line TICKET_HMAC_SECRET; line DVNT_CLUSTER
    TICKET_HMAC_SECRET= '"$cluster"' restart; line TICKET_HMAC_SECRET
    [[ $(postmaster) != "$first" ]] && echo another
    (unset TICKET_HMAC_SECRET && '"$cluster"' restart); line TICKET_HMAC_SECRET
    kill -9 $(postmaster); TICKET_HMAC_SECRET=other DVNT_X=y '"$cluster"' restart; line TICKET_HMAC_SECRET; line DVNT_X
    [[ $(line STRIPE_WEBHOOK_SECRET) == "STRIPE_WEBHOOK_SECRET=$STRIPE_WEBHOOK_SECRET" ]] && echo same
    psql -XAtc "TABLE kept"' >"$work/out" 2>"$work/err"
  ok 'restart takes the environment: empty, unset, after kill -9' is "$(<"$work/out")" 'TICKET_HMAC_SECRET=given
TICKET_HMAC_SECRET=
another
TICKET_HMAC_SECRET=given
TICKET_HMAC_SECRET=other
DVNT_X=y
same
1'
}

test_names() {
  local one=one$$ two=two$$ first second
  "$cluster" start "$one" --no-migrate >"$work/out" 2>"$work/err" &
  first=$!
  "$cluster" start "$two" --no-migrate >"$work/out.2" 2>"$work/err.2" &
  second=$!
  wait "$first" && wait "$second"
  ok 'two start at once' is "$?" 0
  ok 'with nothing on stdout' is "$(cat "$work/out" "$work/out.2")" ''
  "$cluster" start "$one" 2>"$work/err"
  ok 'a name that runs is refused' is "$? $(grep -c "$one exists already" "$work/err")" '1 1'
  "$cluster" list >"$work/out"
  ok 'list has both' is "$(grep -cE "^($one|$two) [0-9]+ running$" "$work/out")" 2
  (
    eval "$("$cluster" env "$one")"
    psql -Xqc 'CREATE TABLE here AS SELECT 1'
    head -n 1 "$PGDATA/postmaster.pid" >"$work/first"
    eval "$("$cluster" env "$two")"
    psql -XAtc "SELECT to_regclass('here') IS NULL" >"$work/out"
    head -n 1 "$PGDATA/postmaster.pid" >"$work/second"
  )
  ok 'env leads to each' is "$(<"$work/out")" t
  "$cluster" stop "$one" 2>/dev/null
  ok 'stop ends one' ended "$(<"$work/first")"
  ok 'and not the other' runs "$(<"$work/second")"
  "$cluster" stop "$two" 2>/dev/null
  ok 'until it is stopped' ended "$(<"$work/second")"
  "$cluster" env "$one" 2>/dev/null
  ok 'a stopped name is unknown' is "$?" 1
}

test_sweep() {
  local pid
  "$cluster" run --no-migrate -- bash -c "$note note $work/noted.sweep; exec sleep 1000" 2>/dev/null &
  pid=$!
  await test -s "$work/noted.sweep"
  "$cluster" run --no-migrate -- true 2>"$work/err"
  ok 'a run leaves the one beside it alone' kill -0 "$(cut -d' ' -f2 "$work/noted.sweep")"
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null
  kill -- "-$pid"
  "$cluster" run --no-migrate -- true 2>"$work/err"
  ok 'the next run deletes what a killed one left' gone "$work/noted.sweep"
}

make_checkout
test_usage
test_run
test_failures
interrupted INT - 130
interrupted TERM '' 143
interrupted HUP '' 129
test_killed_server
test_restart
test_names
test_sweep
rm -rf "$work"
echo "1..$number"
exit $((failures > 0))
