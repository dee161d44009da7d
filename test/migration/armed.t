#!/usr/bin/env bash
# A revert takes the engine out of a live database: it does so only when DVNT_REVERT names that very database.
source "$(dirname "$0")/lib.sh"

# attempt CHANGE [NAME]: one revert script, with DVNT_REVERT set to NAME, or not set.
attempt() {
  local arming=(-u DVNT_REVERT)
  (($# < 2)) || arming=("DVNT_REVERT=$2")
  env "${arming[@]}" psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d live -f "migrations/revert/$1.sql"
}

# By hand, as a DBA in a hurry would: psql goes on after an error.
careless() { env -u DVNT_REVERT psql -Xq -o /dev/null -d live -f "migrations/revert/$1.sql" && false; }

state() { shape live public && shape live ticketing && sums live ticketing && sums live public && value live 'SELECT change FROM sqitch.changes ORDER BY planned_at'; }

make_legacy live
ok 'deployed' deploy live
ok 'and used' day live first
before=$(state)
for change in "${changes[@]}"; do
  ok "$change: refused without DVNT_REVERT" refused 'DVNT_REVERT does not name database "live"' attempt "$change"
  ok "$change: refused when it is empty" refused 'DVNT_REVERT does not name' attempt "$change" ''
  ok "$change: refused when it names another database" refused 'DVNT_REVERT does not name' attempt "$change" postgres
  ok "$change: refused when psql goes on after errors" refused 'DVNT_REVERT does not name' careless "$change"
done
ok 'refused to sqitch, too' refused 'DVNT_REVERT does not name' env -u DVNT_REVERT bash -c 'cd migrations && TZ=UTC SQITCH_USER_CONFIG=/dev/null sqitch revert -y db:pg:live'
ok 'the refusal says how to arm it, and that no row is lost' refused 'Set DVNT_REVERT=live in the environment to arm it. Tables are parked, no row is lost.' attempt stock
ok 'nothing has changed by all that' is "$(state)" "$before"
ok 'verifies' verify_scripts live
ok 'no script was left out: each change has a deploy, a revert and a verify script' is "$(ls migrations/deploy)" "$(printf '%s.sql\n' "${changes[@]}" | sort)"
ok 'each revert' is "$(ls migrations/revert)" "$(ls migrations/deploy)"
ok 'each verify' is "$(ls migrations/verify)" "$(ls migrations/deploy)"
# Names that only look alike.
copy Live live
ok 'a name in other letters is another database' refused 'DVNT_REVERT does not name database "Live"' env DVNT_REVERT=live psql -Xq -v ON_ERROR_STOP=1 -d Live -f migrations/revert/jobs.sql
ok 'a name is never run as SQL' refused 'DVNT_REVERT does not name database "live"' attempt jobs "live' OR true --"
done_testing
