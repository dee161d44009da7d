#!/usr/bin/env bash
# pg_dump and restore need no special case: the whole database, restored under another name or in another cluster, verifies, sells,
# and its tickets are genuine. So does one whose engine is parked.
source "$(dirname "$0")/lib.sh"

everything() { sums "$1" ticketing; sums "$1" public; shape "$1" public ticketing; payloads "$1" public.tickets id; }

# test_restored DATABASE: a copy of live.
test_restored() {
  ok "$1: every row, every definition" is "$(everything "$1")" "$before"
  ok "$1: owners and rights" is "$(rights "$1")" "$rights_before"
  ok "$1: verifies" verify_scripts "$1"
  ok "$1: only the sample's oversold tiers are reported" is "$(sample_findings "$1")" "$SAMPLE_FINDINGS"
  ok "$1: what was sold, held and ordered is worth what it was" day_goes_on "$1" first
  ok "$1: a relay does not call Stripe from a copy" is "$(value "$1" "SET ROLE dvnt_ticketing_relay; SELECT ticketing.relay_start('acct_platform', false, '') -> 'armed'")" false
  value "$1" 'DELETE FROM ticketing.installation' >/dev/null
  ok "$1: armed by hand, the engine works: another day" day "$1" second
  ok "$1: which adds up" is "$(sample_findings "$1")" "$SAMPLE_FINDINGS"
}

plain() { createdb "$2" && pg_dump "$1" | psql -Xq -1 -v ON_ERROR_STOP=1 -o /dev/null -d "$2" -f -; }
custom() { createdb "$2" && pg_dump -Fc -f "$work/$2.dump" "$1" && pg_restore --exit-on-error -j 2 -d "$2" "$work/$2.dump"; }

# In a cluster that has never seen us: the roles come first, as pg_dumpall has them. There the database has pg_cron's jobs, too.
elsewhere() {
  pg_dumpall --roles-only | grep -vE '^(CREATE|ALTER) ROLE postgres\b' >"$work/roles.sql" && pg_dump -Fc -f "$work/dvnt.dump" dvnt || return
  scripts/cluster run --no-migrate --no-build --conf fsync=off -- bash "$test_file" --inside elsewhere "$work" 2>&1
}
in_the_other_cluster() {
  psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d postgres -f "$1/roles.sql" && pg_restore --exit-on-error -d dvnt "$1/dvnt.dump" && verify dvnt &&
    is "$(sample_findings dvnt)" "$SAMPLE_FINDINGS" && is "$(sums dvnt ticketing)" "$(<"$1/sums")" && is "$(rights dvnt)" "$(<"$1/rights")" && day_goes_on dvnt first &&
    is "$(value dvnt 'SELECT count(*) FROM cron.job WHERE active')" 10
}
if [[ ${2-} == elsewhere ]]; then
  in_the_other_cluster "$3"
  exit
fi

make_legacy live
ok 'deployed' deploy live
ok 'and used' day live first
before=$(everything live)
rights_before=$(rights live)
ok 'restored from a plain dump, in one transaction' plain live plain
ok 'restored from one in custom format, by two at once' custom live custom
test_restored plain
test_restored custom

# Client secrets that wait to be handed over are best left out of a dump. They are fetched again.
ok 'dumped without unlogged tables' bash -o pipefail -c 'createdb bare && pg_dump --no-unlogged-table-data live | psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d bare -f -'
ok 'no secret is in it' is "$(value live 'SELECT count(*) > 0 FROM ticketing.stripe_handoff'; value bare 'SELECT count(*) FROM ticketing.stripe_handoff')" 't
0'
ok 'all else is' is "$(sums bare ticketing '^stripe_handoff$'; sums bare public)" "$(sums live ticketing '^stripe_handoff$'; sums live public)"
ok 'verifies' verify_scripts bare

# Restored as people do it who have other roles there: it would refuse every call.
ok 'restored without owners' bash -c "createdb ownerless && pg_restore --exit-on-error --no-owner -d ownerless '$work/custom.dump'"
ok 'which verify says' refused 'verify/access.sql' verify_scripts ownerless

# The database of the jobs.
ok 'restored into one that has pg_cron' bash -o pipefail -c 'pg_dump live | psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d dvnt -f -'
ok 'verify misses the jobs' refused '0 pg_cron jobs of dvnt_ticketing, not 10' verify_scripts dvnt
ok 'they are made by their script' scripts dvnt deploy jobs
ok 'verifies' verify_scripts dvnt
sums dvnt ticketing >"$work/sums"
rights dvnt >"$work/rights"
ok 'in another cluster: verifies, jobs included, its tickets are genuine' elsewhere

# Dumped while the engine was taken out.
payloads_before=$(payloads live public.tickets id)
kept=$(sums live ticketing '^(stock_shards|adopted_counters)$')
ok 'reverted' revert live
ok 'restored from a dump of that' custom live parked
ok 'and deployed again' deploy parked
ok 'every row is back' is "$(sums parked ticketing '^(stock_shards|adopted_counters)$')" "$kept"
ok 'every ticket has its signed code' is "$(payloads parked public.tickets id)" "$payloads_before"
ok 'verifies' verify_scripts parked
ok 'what was sold, held and ordered is worth what it was' day_goes_on parked first
done_testing
