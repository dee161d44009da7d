#!/usr/bin/env bash
# The engine is deployed, taken out and deployed again while the application sells. It sees no error, waits for nothing longer
# than the lock timeout, and afterwards each of its sales is in the stock.
source "$(dirname "$0")/lib.sh"

clients=4
longest=3000000  # µs: the lock timeout of 2 s, and one for a busy machine

# What an application without the engine does, in a transaction each: sells and counts by itself, gives back, changes tiers, reads.
write_application() {
  cat >"$work/sell.sql" <<'SQL'
\set tier random(1, 40)
SELECT id AS tier, event_id AS event FROM app.tiers WHERE n = :tier \gset
BEGIN;
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) VALUES (:event, ':tier', 'online', md5(random()::text) || md5(random()::text));
UPDATE public.ticket_types SET quantity_sold = quantity_sold + 1 WHERE id = ':tier';
INSERT INTO public.orders (user_id, type, status, event_id) VALUES ('online', 'event_ticket', 'created', :event) RETURNING id AS order \gset
UPDATE public.orders SET status = 'paid', paid_at = now() WHERE id = ':order';
COMMIT;
\sleep 5 ms
SQL
  cat >"$work/change.sql" <<'SQL'
\set tier random(1, 40)
SELECT id AS tier, event_id AS event FROM app.tiers WHERE n = :tier \gset
UPDATE public.tickets SET status = 'refunded' WHERE id = (SELECT id FROM public.tickets WHERE user_id = 'online' AND ticket_type_id = ':tier' AND status = 'active' LIMIT 1 FOR UPDATE SKIP LOCKED);
UPDATE public.ticket_types SET quantity_total = quantity_total + 1 WHERE id = ':tier';
UPDATE public.events SET max_attendees = max_attendees + 1 WHERE id = :event;
SELECT * FROM public.tickets WHERE event_id = :event LIMIT 5;
\sleep 5 ms
SQL
}

# The sample with an application that sells 40 tiers, each of them large enough.
make_online() {
  copy online legacy && sql online <<'SQL'
CREATE SCHEMA app;
CREATE TABLE app.tiers AS
SELECT row_number() OVER (ORDER BY event_id, id) AS n, id, event_id FROM public.ticket_types WHERE quantity_total IN (30, 120) ORDER BY 1 LIMIT 40;
UPDATE public.ticket_types SET quantity_total = quantity_total + 20000 WHERE id IN (SELECT id FROM app.tiers);
UPDATE public.events SET max_attendees = max_attendees + 20000 WHERE id IN (SELECT event_id FROM app.tiers);
SQL
}

application_starts() {
  write_application
  (cd "$work" && exec pgbench -n -c "$clients" -T 60 --log --failures-detailed -f sell.sql@4 -f change.sql@1 online) >"$work/pgbench.out" 2>"$work/pgbench.err" &
  application=$!
  ok 'the application sells' await online "count(*) > 20 FROM public.tickets WHERE user_id = 'online'"
}
# Ends it as its time would; its report is then complete.
application_ends() {
  kill -ALRM "$application"
  wait "$application"
  ok 'the application ends well' is $? 0
}

reported() { sed -nE "s/^$1: ([0-9]+).*/\1/p" "$work/pgbench.out"; }
sold() { value online "SELECT count(*) FROM public.tickets WHERE user_id = 'online'"; }

# goes_on COMMAND...: meanwhile the application sells.
goes_on() {
  local before
  before=$(sold)
  "$@" || return
  (($(sold) > before)) || { echo 'nothing was sold meanwhile' && return 1; }
}

test_online() {
  ok 'the sample, with an application' make_online
  application_starts
  open_session report online
  told report 'BEGIN; LOCK TABLE public.tickets IN ROW EXCLUSIVE MODE'
  ok 'behind a long transaction the deployment gives up' refused 'canceling statement due to lock timeout' deploy online
  close_session report
  ok 'it is deployed' goes_on deploy online
  ok 'reverted' goes_on revert_scripts online
  ok 'and deployed again' goes_on deploy_scripts online
  application_ends
  ok 'it saw no error' is "$(cat "$work/pgbench.err"; reported 'number of failed transactions')" 0
  ok 'every sale that it was told of is there, and no other' is "$(sold)" "$(cat "$work"/pgbench_log.* | awk '$4 == 0' | wc -l)"
  ok 'no transaction took longer than the lock timeout' slowest_under "$longest"
  ok 'it did wait: the deployment really was in its way' refused 'slowest' slowest_under 1000000
  ok 'it verifies' verify online
  ok 'every sale is in the stock' is "$(wrong_pools online)" ''
  ok 'only the oversold tiers of the sample are reported' is "$(sample_findings online)" "$SAMPLE_FINDINGS"
  ok 'the engine sells, too' day online first
}

slowest_under() {
  local slowest
  slowest=$(cat "$work"/pgbench_log.* | sort -k3n | tail -n 1)
  (($(cut -d' ' -f3 <<<"$slowest") < $1)) || { echo "slowest: $slowest" && return 1; }
}

# What the script would be in a deadlock with: a transaction that has its second table and waits for its first. It waited first:
# of a deadlock it would be the victim.
# never_the_victim DATABASE ACTION CHANGE FIRST SECOND
never_the_victim() {
  local change
  copy "$1" "before_$2_$3"
  open_session "other_$1" "$1"
  open_session "app_$1" "$1"
  told "other_$1" "BEGIN; UPDATE $4 SET created_at = created_at WHERE false"
  told "app_$1" "BEGIN; UPDATE $5 SET created_at = created_at WHERE false"
  PGAPPNAME="script_$1" scripts "$1" "$2" "$3" 2>"$work/script_$1" &
  change=$!
  await_blocked "script_$1" || return
  tell "app_$1" "UPDATE $4 SET created_at = created_at WHERE false"
  await_blocked "app_$1" || return
  told "other_$1" COMMIT && told "app_$1" COMMIT && close_session "app_$1" && close_session "other_$1" || return
  wait "$change" || { cat "$work/script_$1" && return 1; }
}

test_deadlocks() {
  local change
  copy step legacy
  for change in "${changes[@]}"; do
    [[ $change != @(settings|holds) ]] || copy "before_deploy_$change" step
    scripts step deploy "$change" 2>/dev/null
  done
  for change in "${backwards[@]}"; do
    [[ $change != @(settings|holds) ]] || copy "before_revert_$change" step
    scripts step revert "$change"
  done
  ok 'settings: a transaction that changes accounts, then events, goes on' never_the_victim settings deploy settings public.events public.organizer_accounts
  ok 'holds: one that changes events, then tiers' never_the_victim holds deploy holds public.ticket_types public.events
  ok 'holds: one that sells, then counts in the tier' never_the_victim holds_sale deploy holds public.ticket_types public.tickets
  ok 'reverting holds: one that changes events, then tiers' never_the_victim holds_out revert holds public.ticket_types public.events
  ok 'reverting settings: one that changes accounts, then events' never_the_victim settings_out revert settings public.events public.organizer_accounts
}

# Signed codes that were put aside come back some at a time. What is left when that was broken off comes back beside an
# application that has some of the tickets locked.
test_codes() {
  local change codes
  copy codes legacy && deploy_scripts codes && day codes first
  value codes "UPDATE public.tickets SET qr_payload = 'code ' || id WHERE qr_payload IS NULL" >/dev/null
  codes=$(payloads codes public.tickets id)
  revert_scripts codes
  ok 'more codes are put aside than come back at a time' is "$(value codes 'SELECT count(*) > 2000 FROM ticketing.ticket_payloads_parked')" t
  value codes 'CREATE TABLE app AS TABLE ticketing.ticket_payloads_parked' >/dev/null
  deploy_scripts codes
  ok 'all come back' is "$(payloads codes public.tickets id)" "$codes"
  sql codes <<'SQL'
ALTER TABLE app SET SCHEMA ticketing;
ALTER TABLE ticketing.app RENAME TO ticket_payloads_parked;
UPDATE public.tickets SET qr_payload = NULL;
DELETE FROM public.tickets WHERE id = (SELECT id FROM public.tickets WHERE status = 'void' LIMIT 1);
SQL
  open_session scanner codes
  told scanner "BEGIN; UPDATE public.tickets SET checked_in_by = 'scanner' WHERE user_id = 'first-5'"
  scripts codes deploy tickets 2>"$work/codes" &
  change=$!
  ok 'those of tickets that nobody has locked come back' await codes "count(*) = 2 FROM public.tickets t JOIN ticketing.ticket_payloads_parked p ON p.ticket_id = t.id WHERE t.qr_payload IS NULL"
  told scanner COMMIT
  close_session scanner
  wait "$change"
  ok 'and the others when they are free' is "$?$(<"$work/codes")" 0
  ok 'all are back, but of the ticket that is gone' is "$(payloads codes public.tickets id | cut -d'|' -f1)" "$((${codes%%|*} - 1))"
  ok 'the scanned ticket is genuine' day_goes_on codes first
  ok 'verifies' verify_scripts codes
}

make_legacy legacy
test_online
test_deadlocks
test_codes
done_testing
