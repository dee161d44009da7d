#!/usr/bin/env bash
# The extension owns functions only: it is dropped and made again, as docs/operations.md has it for an upgrade, without a row being
# lost. The application's own sales go on meanwhile. Rights come back with migrations/lib/grants.sql.
source "$(dirname "$0")/lib.sh"

everything() { sums live ticketing; sums live public; shape live public; payloads live public.tickets id; }
sell() {
  value live "INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) VALUES ($event, '$tier', 'app', md5('a') || md5('b')) RETURNING 'sold'"
}
hold() {
  value live "SET ROLE service_role; SELECT ticketing.hold_tickets('again', $event, '[{\"ticket_type_id\": \"$tier\", \"quantity\": 1}]') ? 'reservation_id'"
}

make_legacy live
ok 'deployed' deploy_scripts live
ok 'and used' day live first
IFS='|' read -r event tier < <(value live "SELECT e.id, t.id FROM public.ticket_types t JOIN public.events e ON e.id = t.event_id WHERE e.title = 'first' AND t.name = 'free'")
before=$(everything)
rights_before=$(rights live)

ok 'dropped: nothing depends on it' value live 'DROP EXTENSION dvnt_ticketing'
ok 'every row is there' is "$(everything)" "$before"
ok 'its functions are not: those that are left are the triggers'\'', which touch no C' is "$(value live "SELECT DISTINCT lanname FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE pronamespace = 'ticketing'::regnamespace ORDER BY 1")" 'plpgsql
sql'
ok 'the application sells' is "$(sell)" sold
ok 'and changes a capacity' value live "UPDATE public.ticket_types SET quantity_total = 31 WHERE name = 'paid'"
ok 'made again' value live 'CREATE EXTENSION dvnt_ticketing'
ok 'nobody may call it before it is granted' has "$(hold)" 'permission denied for function hold_tickets'
ok 'which verify says' refused access verify_scripts live
ok 'the grants are run' psql -Xq -v ON_ERROR_STOP=1 -d live -f migrations/lib/grants.sql
ok 'owners and rights are what they were' is "$(rights live)" "$rights_before"
ok 'verifies' verify_scripts live
ok 'a buyer holds a seat' is "$(hold)" t
ok 'seats add up, with the sale and the capacity' is "$(sample_findings live)" "$SAMPLE_FINDINGS"
ok 'in stock, too' is "$(day_stock live first)" 'free|20|16|1|3
open||85|1|2
paid|31|23|6|2'
ok 'the engine works: another day' day live second

# As the upgrade is written down: in one transaction nobody ever misses it.
before=$(everything)
ok 'dropped, made and granted in one transaction' sql live <<'SQL'
BEGIN;
DROP EXTENSION dvnt_ticketing;
CREATE EXTENSION dvnt_ticketing;
\i migrations/lib/grants.sql
COMMIT;
SQL
ok 'every row is there' is "$(everything)" "$before"
ok 'owners and rights are what they were' is "$(rights live)" "$rights_before"
ok 'the day before is worth what it was' day_goes_on live second

ok 'even dropped with CASCADE' value live 'SET client_min_messages = warning; DROP EXTENSION dvnt_ticketing CASCADE; CREATE EXTENSION dvnt_ticketing'
ok 'the grants are run' psql -Xq -v ON_ERROR_STOP=1 -d live -f migrations/lib/grants.sql
ok 'nothing has gone: tables, triggers, views, rights' verify_scripts live
ok 'nor a right' is "$(rights live)" "$rights_before"
ok 'the grants can be run at any time' psql -Xq -v ON_ERROR_STOP=1 -d live -f migrations/lib/grants.sql
ok 'and are the same' is "$(rights live)" "$rights_before"
done_testing
