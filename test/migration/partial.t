#!/usr/bin/env bash
# A revert of the upper changes only: sales that need no more than the lower ones are still followed, and a deployment brings
# the rest back, whichever change one stops at.
source "$(dirname "$0")/lib.sh"

EXCEPT='^(stock_shards|adopted_counters)$'

test_to_holds() {
  ok 'reverted to holds' revert live --to holds
  ok 'tables of later changes are parked, those of holds and before are not' is "$(value live "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'ticketing'::regnamespace AND relkind = 'r' AND relname !~ '_parked$'")" \
    'adopted_counters event_settings installation payees requests stock_pools stock_shards ticket_holds'
  ok 'every row is there' is "$(sums live ticketing "$EXCEPT")" "$before"
  ok 'tickets have no signed code now' is "$(value live "SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.tickets'::regclass AND attname = 'qr_payload'")" 0
  ok 'the application sells: it is followed' value live "INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token)
    SELECT t.event_id, t.id, 'app', md5('a') || md5('b') FROM public.ticket_types t JOIN public.events e ON e.id = t.event_id WHERE e.title = 'first' AND t.name = 'free'"
  ok 'and changes a capacity' value live "UPDATE public.ticket_types SET quantity_total = 31 WHERE name = 'paid'"
  ok 'verifies as far as it is deployed' verify live
  ok 'deployed again' deploy live
  ok 'verifies' verify_scripts live
  ok 'seats add up, with the sale and the capacity' is "$(sample_findings live)" "$SAMPLE_FINDINGS"
  ok 'in stock, too' is "$(day_stock live first)" 'free|20|17|0|3
open||86|1|2
paid|31|23|6|2'
  ok 'every row is back' is "$(sums live ticketing "^(stock_shards|adopted_counters|stock_pools)$")" "$(grep -v '^stock_pools' <<<"$before")"
  ok 'every ticket of the engine has its signed code' is "$(payloads live public.tickets id)" "$payloads_before"
  ok 'the engine works: another day' day live second
}

# there_and_back CHANGE: reverted until CHANGE is the last, and deployed again.
there_and_back() {
  local upper
  mapfile -t upper < <(printf '%s\n' "${changes[@]}" | sed "1,/^$1$/d")
  scripts live revert $(printf '%s\n' "${upper[@]}" | tac) && is "$(sums live ticketing "$EXCEPT")" "$before" && scripts live deploy "${upper[@]}" && verify_scripts live &&
    is "$(sample_findings live)" "$SAMPLE_FINDINGS" && is "$(sums live ticketing "$EXCEPT")" "$before" && is "$(payloads live public.tickets id)" "$payloads_before" && is "$(sums live public)" "$public_before"
}

make_legacy live
ok 'deployed' deploy live
ok 'and used' day live first
before=$(sums live ticketing "$EXCEPT")
payloads_before=$(payloads live public.tickets id)
test_to_holds
before=$(sums live ticketing "$EXCEPT")
payloads_before=$(payloads live public.tickets id)
public_before=$(sums live public)
shape_before=$(shape live ticketing)
for change in "${changes[@]}"; do
  ok "reverted to $change and deployed again: every row, every code, every seat" there_and_back "$change"
done
ok 'ticketing is defined as before all that' is "$(shape live ticketing)" "$shape_before"
done_testing
