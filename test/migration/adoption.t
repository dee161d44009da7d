#!/usr/bin/env bash
# A live database with its twelve tables and its faults is adopted without a row being written, and given back as it was.
source "$(dirname "$0")/lib.sh"

findings_of_sample() { ok "$1" is "$(sample_findings live)" "$SAMPLE_FINDINGS"; }

test_adoption() {
  make_legacy live
  shape_before=$(shape live public)
  rows_before=$(sums live public)
  versions_before=$(versions live)
  counters_before=$(value live "SELECT id, quantity_sold FROM public.ticket_types ORDER BY 1")
  ok 'the sample has all twelve tables' is "$(wc -l <<<"$rows_before")" 12
  ok 'and a counter that is NULL' is "$(grep -c '|$' <<<"$counters_before")" 1
  ok 'deploys beside them' deploy_scripts live
  ok 'verifies' verify_scripts live
  ok 'adoption leaves every row as it was' is "$(sums live public)" "$rows_before"
  ok 'and rewrites none: no write that triggers, replicas or readers of the application could notice' is "$(versions live)" "$versions_before"
  ok 'the counters of before are kept as evidence, NULL included' is "$(value live 'SELECT ticket_type_id, quantity_sold FROM ticketing.adopted_counters ORDER BY 1')" "$counters_before"
  ok 'beside the tickets there were: seven counters were wrong' is "$(value live 'SELECT count(*) FROM ticketing.adopted_counters WHERE quantity_sold IS DISTINCT FROM counted')" 7
  findings_of_sample 'the two tiers that were oversold are reported, and nothing else'
  ok 'every event and account has its trusted copy, as it is now' is "$(value live "
    SELECT (SELECT count(*) FROM public.events e JOIN ticketing.event_settings s ON s.event_id = e.id AND s.host_id IS NOT DISTINCT FROM e.host_id AND s.capacity IS NOT DISTINCT FROM e.max_attendees),
           (SELECT count(*) FROM public.organizer_accounts a JOIN ticketing.payees p USING (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted))")" '60|14'
}

# Straight back, with nothing done in between.
test_unused() {
  ok 'a revert goes through' revert_scripts live
  ok 'nothing of the engine is left in the way' is "$(traces live)" ''
  ok 'public is defined as it was before adoption: columns, constraints, indexes, policies, grants, comments' is "$(shape live public)" "$shape_before"
  ok 'with the same rows' is "$(sums live public)" "$rows_before"
  ok 'not rewritten' is "$(versions live)" "$versions_before"
  ok 'adopted tables are not parked' is "$(value live "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '_parked$'")" 0
}

test_used() {
  ok 'deploys again' deploy_scripts live
  findings_of_sample 'the two oversold tiers again, and nothing else'
  ok 'the engine works: a day of sales' day live first
  findings_of_sample 'which adds up'
  before=$(sums live ticketing '^(stock_shards|adopted_counters)$')
  counters_before=$(value live 'SELECT c FROM ticketing.adopted_counters c ORDER BY 1')
  rows_before=$(sums live public)
  payloads_before=$(payloads live public.tickets id)
  ok 'a second revert goes through' revert_scripts live
  ok 'nothing of the engine is left in the way' is "$(traces live)" ''
  ok 'the parked tables have every row' is "$(sums live ticketing '^(stock_shards|adopted_counters)$')" "$before"
  ok 'what was sold meanwhile stays sold' is "$(sums live public)" "$rows_before"
  ok 'public is defined as it was before adoption' is "$(shape live public)" "$shape_before"
  ok 'deploys a third time' deploy_scripts live
  ok 'verifies' verify_scripts live
  ok 'the same rows are back' is "$(sums live ticketing '^(stock_shards|adopted_counters)$')" "$before"
  ok 'those of public, too' is "$(sums live public)" "$rows_before"
  ok 'every ticket has its signed code again' is "$(payloads live public.tickets id)" "$payloads_before"
  ok 'the evidence is that of the first adoption' is "$(value live "SELECT c FROM ticketing.adopted_counters c WHERE ticket_type_id IN (SELECT id FROM public.ticket_types WHERE name NOT IN ('free', 'paid', 'open')) ORDER BY 1")" "$counters_before"
  findings_of_sample 'the two oversold tiers, and nothing else'
  ok 'held seats are still held' is "$(day_stock live first)" "$DAY_STOCK"
  ok 'what was sold, held and ordered before the revert is worth what it was' day_goes_on live first
}

# What other code writes into quantity_sold is replaced from now on, and the roll-up mends the drifted counters.
test_counters() {
  value live 'SELECT ticketing.sync_quantity_sold()' >/dev/null
  ok 'the roll-up sets every counter to the tickets there are' is "$(value live "SELECT count(*) FROM public.ticket_types tt
    WHERE quantity_sold IS DISTINCT FROM (SELECT count(*) FROM public.tickets t WHERE t.ticket_type_id = tt.id AND t.status IN ('active', 'scanned'))")" 0
}

test_adoption
test_unused
test_used
test_counters
done_testing
