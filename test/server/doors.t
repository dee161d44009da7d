#!/usr/bin/env bash
# What the doors need more than one transaction for: payloads for tickets from before, some at a time and past locked ones;
# a change of suite while selling; cursors that a restore makes worthless; a batch as large as may be.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
on_a_cluster "$@"

sql "SELECT make_event(make_host('host'))" >/dev/null
event=$(sql "SELECT id FROM public.events WHERE host_id = 'host'")
tier=$(sql "SELECT make_tier($event, 0, NULL)")

# ---- payloads for tickets from before

sql "INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token, status)
     SELECT $event, '$tier', 'legacy-' || n, lpad(to_hex(n), 64, '0'), (ARRAY['active', 'scanned', 'void', 'refunded'])[n % 4 + 1] FROM generate_series(1, 2500) n" >/dev/null
locked=$(sql "SELECT id FROM public.tickets WHERE status = 'active' ORDER BY id OFFSET 300 LIMIT 1")
open_session worker
ask worker "BEGIN; UPDATE public.tickets SET purchase_amount_cents = 1 WHERE id = '$locked'" >/dev/null

# backfill: every call a transaction of its own, from the beginning
backfill() {
  local after=NULL written skipped next total=0 left=0 calls=0
  while :; do
    IFS='|' read -r written skipped next < <(sql "SELECT * FROM ticketing.backfill_payloads(400, $after)")
    total=$((total + written)) left=$((left + skipped)) calls=$((calls + 1))
    [[ -n $next ]] || break
    after="'$next'"
  done
  echo "$total written, $left skipped, $calls calls"
}
is 'all valid tickets but the locked one get a payload, and nobody waits' "$(backfill)" '1249 written, 1 skipped, 7 calls'
is 'again: only what was left is looked for' "$(backfill)" '0 written, 1 skipped, 7 calls'
ask worker COMMIT >/dev/null
close_session worker
is 'once it is free it gets its own' "$(backfill)" '1 written, 0 skipped, 7 calls'
is 'void and refunded ones get none' "$(sql "SELECT count(*) FROM public.tickets WHERE qr_payload IS NOT NULL AND status IN ('void', 'refunded')")" 0
is 'each payload is its ticket'"'"'s' "$(sql "SELECT count(*) FROM public.tickets t, ticketing.verify_ticket(t.qr_payload) v WHERE v.valid AND v.ticket_id = t.id AND v.event_id = t.event_id")" 1250
is 'both codes of such a ticket open the door' \
  "$(sql "SELECT ticketing.check_in(qr_payload, $event, 'host') ->> 'result', ticketing.check_in('dvnt://ticket/' || qr_token, $event, 'host') ->> 'result' FROM public.tickets WHERE id = '$locked'")" 'admitted|already_admitted'

# ---- another suite, while selling

claim() { sql "SELECT t ->> 'qr_payload' FROM jsonb_array_elements(ticketing.claim_free_tickets('$1', $event, items('$tier', 1)) -> 'tickets') t"; }
before=$(claim before)
sql "SELECT ticketing.save_door_settings($event, 'host', '{\"suite\": 2}')" >/dev/null
after=$(claim after)
is 'a ticket of before is of suite 1, one of after of suite 2' "${#before} ${#after}" '62 126'
is 'both are genuine' "$(sql "SELECT suite, valid FROM unnest('{$before,$after}'::text[]) p, ticketing.verify_ticket(p) v ORDER BY 1")" $'1|t\n2|t'
is 'and both open the door' "$(sql "SELECT ticketing.check_in(p, $event, 'host') ->> 'result' FROM unnest('{$before,$after}'::text[]) p")" $'admitted\nadmitted'
is 'a reissue brings an old one into the new suite' "$(sql "SELECT length(ticketing.reissue_ticket(id, 'before') ->> 'qr_payload') FROM public.tickets WHERE qr_payload = '$before'")" 126

# ---- a batch as large as may be

sql "INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT $event, '$tier', 'crowd', md5('a' || n) || md5('b' || n) FROM generate_series(1, 9990) n" >/dev/null
sql "CREATE TABLE test.batch AS SELECT jsonb_agg(jsonb_build_object('scan_id', gen_random_uuid(), 'payload', qr_token, 'scanned_at', now() - interval '1 hour')) ||
       (SELECT jsonb_agg(jsonb_build_object('scan_id', gen_random_uuid(), 'payload', 'no ticket', 'scanned_at', now())) FROM generate_series(1, 10)) AS scans FROM public.tickets WHERE user_id = 'crowd'"
upload="SELECT string_agg(n || ' ' || result, ', ' ORDER BY result) FROM (SELECT a ->> 'result' AS result, count(*) AS n FROM test.batch, jsonb_array_elements(ticketing.sync_checkins($event, 'host', 'd1', clock_timestamp(), scans) -> 'results') a GROUP BY 1) r"
is '10,000 scans in one call, each with its answer' "$(sql "$upload")" '9990 admitted, 10 malformed'
state="SELECT md5(string_agg(c::text, '' ORDER BY id)) FROM ticketing.checkins c"
recorded=$(sql "$state")
is 'again: the same answers' "$(sql "$upload")" '9990 admitted, 10 malformed'
is 'and not a row has changed' "$(sql "$state")" "$recorded"

# ---- restores

manifest() { PGDATABASE=${3-$PGDATABASE} psql_here -c "SELECT m ->> 'cursor', m -> 'full', jsonb_array_length(m -> 'tickets') FROM (SELECT ticketing.door_manifest($event, 'host', '$1', $2) AS m) x"; }
IFS='|' read -r cursor full listed < <(manifest d1 NULL)
is 'a first manifest has all tickets' "$full $listed" "true $(sql "SELECT count(*) FROM public.tickets WHERE event_id = $event")"
is 'its cursor asks for changes alone' "$(manifest d1 "'$cursor'" | cut -d'|' -f 2-)" 'false|0'
sql "UPDATE public.tickets SET status = 'void' WHERE id = '$locked'" >/dev/null
is 'which come' "$(manifest d1 "'$cursor'" | cut -d'|' -f 2-)" 'false|1'
restart
is 'a restart of the server does not harm the cursor' "$(manifest d1 "'$cursor'" | cut -d'|' -f 2-)" 'false|1'
createdb restored && pg_dump -Fc | pg_restore --dbname restored 2>"$scraps/restore"
is 'in a restored copy it is of another epoch: all tickets come' "$(manifest d1 "'$cursor'" restored | cut -d'|' -f 2-)" "true|$listed"
IFS='|' read -r cursor full listed < <(manifest d1 NULL restored)
is 'whose own cursor is good there' "$(manifest d1 "'$cursor'" restored | cut -d'|' -f 2-)" 'false|0'
PGDATABASE=restored psql_here -c "SELECT 'x' FROM (SELECT ticketing.check_in(qr_token, $event, 'host') FROM public.tickets WHERE user_id = 'legacy-4') x" >/dev/null
is 'and misses nothing' "$(manifest d1 "'$cursor'" restored | cut -d'|' -f 2-)" 'false|1'
is 'nothing is wrong' "$(invariants)" ''
done_testing
