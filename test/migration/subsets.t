#!/usr/bin/env bash
# Deployments have failed halfway before: any of the twelve tables may be missing when we come. What is there is adopted as
# it is, what is missing is made.
source "$(dirname "$0")/lib.sh"

tables=(events ticket_types tickets orders order_timeline refund_requests organizer_accounts organizer_branding stripe_customers
  stripe_events payouts event_financials)

# deploys_without DATABASE MISSING...: the sample without those tables; the others stay as they are, and all is well.
deploys_without() {
  local kept versions_before
  copy "$1" legacy
  value "$1" "DROP TABLE $(printf 'public.%s, ' "${@:2}" | sed 's/, $//') CASCADE" >/dev/null || return
  kept=$(value "$1" "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'")
  versions_before=$(versions "$1")
  PGOPTIONS='-c client_min_messages=warning' psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d "$1" "${deploy_and_verify[@]}" || return
  is "$(value "$1" "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")" 12 || return
  is "$(versions "$1" | grep -E "^(${kept// /|})\|")" "$versions_before" || return
  is "$(value "$1" "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND obj_description(oid, 'pg_class') IS DISTINCT FROM 'Made by the dvnt_ticketing baseline.'")" "$kept" || return
  if [[ " $kept " == *' ticket_types tickets '* ]]; then
    is "$(sample_findings "$1")" "$SAMPLE_FINDINGS"
  else
    is "$(sample_findings "$1")" ''
  fi
}
deploy_and_verify=()
for action in deploy verify; do
  for change in "${changes[@]}"; do deploy_and_verify+=(-f "migrations/$action/$change.sql"); done
done

test_subsets() {
  local table others
  for table in "${tables[@]}"; do
    begin 2 "without $table: it is made, the eleven others are left as they are" deploys_without "no_$table" "$table"
  done
  for table in "${tables[@]}"; do
    mapfile -t others < <(printf '%s\n' "${tables[@]}" | grep -vx "$table")
    begin 2 "$table alone: it is left as it is, the eleven others are made" deploys_without "only_$table" "${others[@]}"
  done
  begin 2 'the people alone, without what they do' deploys_without people events ticket_types tickets orders order_timeline refund_requests stripe_events payouts event_financials
  begin 2 'the sale without the money' deploys_without sale orders order_timeline refund_requests stripe_customers stripe_events payouts event_financials
  begin 2 'the money without the sale' deploys_without money events ticket_types tickets organizer_branding
  begin 2 'every other table' deploys_without others ticket_types orders refund_requests organizer_branding stripe_events event_financials
  judge
  ok 'only the tables that were made are parked again' revert_parks no_tickets tickets
  ok 'the adopted one stays' revert_parks only_orders "$(printf '%s\n' "${tables[@]}" | grep -vx orders | LC_ALL=C sort | xargs)"
  ok 'sales go on where the tiers were missing' day no_ticket_types first
}

# revert_parks DATABASE NAMES
revert_parks() {
  revert_scripts "$1" || return
  is "$(value "$1" "SELECT string_agg(regexp_replace(tablename, '_parked$', ''), ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '_parked$'")" "$2"
}

# Event ids are in tickets and orders that stayed: a new event must not inherit them.
test_event_ids() {
  value no_events "INSERT INTO public.events (title) VALUES ('new')" >/dev/null
  ok 'a new event does not get the id, and with it the tickets, of one that is missing' is "$(value no_events "SELECT count(*) FROM public.tickets t JOIN public.events e ON e.id = t.event_id")" 0
  value no_tickets "INSERT INTO public.events (title) VALUES ('new')" >/dev/null
  ok 'where events was there, its ids go on as they would have' is "$(value no_tickets "SELECT id FROM public.events WHERE title = 'new'")" 61
}

# A table of somebody else's that only has the name that ours would have when parked.
test_alien_parked() {
  copy alien legacy
  value alien 'DROP TABLE public.payouts; CREATE TABLE public.payouts_parked AS SELECT 1 AS mine' >/dev/null
  ok 'beside a table of the name payouts_parked that is not ours' deploy_scripts alien
  ok 'it is left alone, and payouts is made' is "$(value alien 'SELECT mine FROM public.payouts_parked; SELECT count(stripe_payout_id) FROM public.payouts')" '1
0'
}

# The old table, moved aside by hand, still has the names of the indexes, the sequence and the constraints.
test_moved_aside() {
  copy moved legacy
  value moved 'ALTER TABLE public.tickets RENAME TO tickets_old; ALTER TABLE public.events RENAME TO events_old' >/dev/null
  ok 'beside the old tables under other names, with their indexes' deploy_scripts moved
  ok 'tickets has its indexes' is "$(value moved "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'tickets'")" 5
  ok 'the application may make events' is "$(value moved "SET ROLE service_role; INSERT INTO public.events (title) VALUES ('new') RETURNING id")" 61
  ok 'verifies' verify_scripts moved
}

make_legacy legacy
test_subsets
test_event_ids
test_alien_parked
test_moved_aside
done_testing
