# shellcheck shell=bash
# What the tests of this folder share. Each is `bash FILE`; it starts a cluster of its own and runs in it:
#   source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
#   on_a_cluster "$@" [-- OPTIONS of scripts/cluster run]
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
root=$(cd "$here/../.." && pwd)
number=0
failures=0

# Outside of a cluster: makes one, runs this file in it, and ends with its status. Inside: goes on, with a folder for
# scraps and the helpers of test/pgtap in the schema test.
on_a_cluster() {
  if [[ ${1-} != --inside ]]; then
    [[ ${1-} != -- ]] || shift
    exec "$root/scripts/cluster" run "$@" -- bash "$here/$(basename "$0")" --inside
  fi
  scraps=$(mktemp -d)
  trap 'rm -rf "$scraps"' EXIT
  use_helpers
}

# pg_cron's chores rest, or they would change what a test looks at, once a minute; cron.t sets chores=run.
use_helpers() {
  {
    echo 'CREATE EXTENSION IF NOT EXISTS pgcrypto; CREATE SCHEMA test; SET search_path = test, public;'
    cat "$root/test/pgtap/support/helpers.sql"
    [[ ${chores-} == run ]] || echo "DO \$\$ BEGIN IF to_regclass('cron.job') IS NOT NULL THEN PERFORM cron.alter_job(jobid, active := false) FROM cron.job; END IF; END \$\$;"
  } | psql -XqAt -v ON_ERROR_STOP=1 >/dev/null || exit 1
}

# Runs a program as the server's user.
as_server() {
  if ((EUID == 0)); then
    (cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@")
  else
    (cd / && exec "$@")
  fi
}

# make_folder NAME MODE: one of the server's user in the cluster's, which goes with it
make_folder() {
  local owner=()
  ((EUID != 0)) || owner=(-o postgres -g postgres)
  install -d -m "$2" "${owner[@]}" "$DVNT_CLUSTER/$1"
}

restart() { "$root/scripts/cluster" restart 2>"$scraps/restart" || { cat "$scraps/restart" && exit 1; }; }

# Kills the postmaster as the kernel would: its children find it gone and end, and nothing is written down first.
kill_server() { kill -KILL "$(head -n 1 "$PGDATA/postmaster.pid")"; }

# ---- results

# ok DESCRIPTION COMMAND...: passes if the command succeeds
ok() {
  number=$((number + 1))
  if "${@:2}" >"$scraps/ok" 2>&1; then
    echo "ok $number - $1"
  else
    echo "not ok $number - $1"
    { echo "failed: ${*:2}" && cat "$scraps/ok"; } | sed 's/^/#   /'
    failures=$((failures + 1))
  fi
}

# is DESCRIPTION HAVE WANT
is() {
  number=$((number + 1))
  if [[ $2 == "$3" ]]; then
    echo "ok $number - $1"
  else
    echo "not ok $number - $1"
    printf 'have: %s\nwant: %s\n' "$2" "$3" | sed 's/^/#   /'
    failures=$((failures + 1))
  fi
}

# like DESCRIPTION HAVE PATTERN
like() {
  number=$((number + 1))
  if [[ $2 =~ $3 ]]; then
    echo "ok $number - $1"
  else
    echo "not ok $number - $1"
    printf 'have: %s\nto match: %s\n' "$2" "$3" | sed 's/^/#   /'
    failures=$((failures + 1))
  fi
}

# has FILE TEXT: for ok; shows the file if it has not
has() { grep -qF -- "$2" "$1" || { cat "$1" && false; }; }

done_testing() {
  echo "1..$number"
  exit $((failures > 0))
}

# await SECONDS COMMAND...: until the command succeeds
await() {
  local end=$((SECONDS + $1))
  until "${@:2}" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# ---- SQL

# psql with the helpers in its path, and what it needs to sign webhooks.
psql_here() {
  PGOPTIONS="-c search_path=test,public -c test.webhook_secret=${STRIPE_WEBHOOK_SECRET%% *} ${PGOPTIONS-}" psql -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=verbose "$@"
}

# sql STATEMENT...: runs statements, each in a transaction of its own, and prints their results
sql() {
  local statement arguments=()
  for statement; do arguments+=(-c "$statement"); done
  psql_here "${arguments[@]}"
}

# says STATEMENT: whether a query says true
says() { [[ $(sql "$1") == t ]]; }

# attempt STATEMENT...: prints ok, or the SQLSTATE and, where there is one, the reason; the whole error is in $scraps/error
attempt() {
  local reason
  if sql "$@" >"$scraps/result" 2>"$scraps/error"; then
    echo ok
  else
    reason=$(grep -o '"reason": "[a-z_]*"' "$scraps/error" | cut -d'"' -f4)
    echo "$(sed -nE 's/.*(ERROR|FATAL):  ([0-9A-Z]{5}): .*/\2/p' "$scraps/error" | head -n 1)${reason:+ $reason}"
  fi
}

# A fingerprint of all that the engine writes.
everything() { sql 'SELECT everything()'; }

# What check_invariants says; on a cluster of these tests nothing is wrong but what they did.
invariants() { sql 'SELECT * FROM ticketing.check_invariants()'; }

# ---- sessions that stay open, by name

declare -A session_input session_asked session_pid

open_session() {
  local fd
  mkfifo "$scraps/$1.in"
  (
    for fd in "${session_input[@]}"; do exec {fd}>&-; done
    PGAPPNAME=$1 psql_here -v ON_ERROR_STOP=0 <"$scraps/$1.in" >>"$scraps/$1.out" 2>&1
  ) &
  session_pid[$1]=$!
  exec {fd}>"$scraps/$1.in"
  session_input[$1]=$fd
  session_asked[$1]=0
}

# begin NAME STATEMENTS: sends them and does not wait
begin() {
  session_asked[$1]=$((session_asked[$1] + 1))
  printf '%s;\n\\warn end of %s\n' "$2" "${session_asked[$1]}" >&"${session_input[$1]}"
}

# finish NAME: what the session's last statements said, when they have ended
finish() {
  await 30 grep -qx "end of ${session_asked[$1]}" "$scraps/$1.out" || echo '(no answer)'
  sed "/^end of ${session_asked[$1]}$/d; /^LOCATION: /d" "$scraps/$1.out"
  : >"$scraps/$1.out"
}

ask() {
  begin "$@"
  finish "$1"
}

# Whether a session waits for a lock.
is_blocked() { says "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '$1' AND wait_event_type = 'Lock')"; }

close_session() {
  exec {session_input[$1]}>&-
  wait "${session_pid[$1]}"
  rm "$scraps/$1.in"
  unset "session_input[$1]"
}

# ---- test/stress

# What must be the case when its clients have gone: what they were told is true, no seat is lost or sold twice, and every
# seat that is said to be for sale can be bought.
aftermath() {
  is 'what the clients were told is true' "$(sql 'SELECT * FROM stress.untrue() LIMIT 20')" ''
  is 'nothing is wrong but what other code oversold' "$(sql 'SELECT * FROM stress.findings()')" ''
  is 'every order comes to its end' "$(sql 'SELECT stress.settle()')" 0
  # An hour later every hold is dead, and nobody has swept.
  is 'sold, held and available make up every capacity, dead holds not swept' "$(PGOPTIONS='-c dvnt_ticketing.test_clock_offset=3600000' sql 'SELECT * FROM stress.miscounted()')" ''
  ok 'dead holds are swept' eval 'PGOPTIONS="-c dvnt_ticketing.test_clock_offset=3600000" sql "SELECT ticketing.release_expired_holds(1000000)"'
  is 'sold, held and available make up every capacity' "$(sql 'SELECT * FROM stress.miscounted()')" ''
  is 'no hold is left' "$(sql "SELECT count(*) FROM ticketing.ticket_holds WHERE status = 'active'")" 0
  is 'every seat for sale can be held, and not one more' "$(sql 'SELECT * FROM stress.drain()')" ''
  is 'the column says what is sold' "$(sql 'SELECT ticketing.sync_quantity_sold() * 0' 'SELECT * FROM stress.column_differs()')" 0
  is 'nothing is wrong after all that' "$(sql 'SELECT * FROM stress.findings()')" ''
}

# Whether the server has logged nothing since a line that tells of broken things.
log_is_clean() { ! tail -n "+$1" "$PGDATA/server.log" | grep -E ' (PANIC|FATAL|WARNING):|TRAP:|was terminated by signal' | grep -vE 'FATAL:  (the database system is|terminating connection due to unexpected postmaster exit)'; }
