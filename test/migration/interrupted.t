#!/usr/bin/env bash
# A deployment or revert that is killed between a change and its entry in sqitch's registry has done something that sqitch does
# not know. It does it again the next time: every script must stand that, and the second time do nothing.
source "$(dirname "$0")/lib.sh"

except='^(stock_shards|adopted_counters)$'

# twice ACTION CHANGE...: each script, and again, before the next one.
twice() {
  local change
  for change in "${@:2}"; do ok "$1 $change twice" scripts live "$1" "$change" "$change"; done
}

make_legacy live
copy once live
export PGOPTIONS='-c client_min_messages=warning'
scripts once deploy "${changes[@]}"
versions_before=$(versions live)
twice deploy "${changes[@]}"
ok 'ticketing is as if it had been deployed once' is "$(shape live ticketing)" "$(shape once ticketing)"
ok 'public, too' is "$(shape live public)" "$(shape once public)"
ok 'and owners and rights' is "$(rights live)" "$(rights once)"
ok 'no row of public was rewritten' is "$(versions live)" "$versions_before"
ok 'every pool has what the tables say' is "$(wrong_pools live)" ''

ok 'the engine works: a day of sales' day live first
before=$(sums live ticketing "$except")
payloads_before=$(payloads live public.tickets id)
ok 'all is deployed again, with rows in every table' deploy_scripts live
ok 'every row is as it was' is "$(sums live ticketing "$except")" "$before"
ok 'seats are as they were' is "$(day_stock live first)" "$DAY_STOCK"

twice revert "${backwards[@]}"
ok 'nothing of the engine is left in the way' is "$(traces live)" ''
ok 'the parked tables have every row' is "$(sums live ticketing "$except")" "$before"
twice deploy "${changes[@]}"
ok 'every row is back' is "$(sums live ticketing "$except")" "$before"
ok 'every ticket has its signed code' is "$(payloads live public.tickets id)" "$payloads_before"
ok 'what was sold, held and ordered is worth what it was' day_goes_on live first
ok 'adds up' is "$(sample_findings live)" "$SAMPLE_FINDINGS"

# Through sqitch: as if it had been killed during the deployment, when the later entries were not there yet.
createdb killed
ok 'deployed by sqitch' deploy killed
value killed "DELETE FROM sqitch.dependencies; DELETE FROM sqitch.changes WHERE change NOT IN ('baseline', 'extension', 'settings')" >/dev/null
ok 'what it forgot is deployed again' deploy killed
ok 'verifies' verify killed
done_testing
