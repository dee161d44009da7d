# Helpers of the migration tests. A test file sources this first: outside of a throw-away cluster that starts the file
# again inside one, without our migrations. `bash test/migration/NAME.t` from anywhere, as root; TAP on stdout.
# shellcheck shell=bash
set -uo pipefail

test_file=$(realpath "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
if [[ ${1-} != --inside ]]; then
  exec scripts/cluster run --no-migrate --conf fsync=off -- bash "$test_file" --inside
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mapfile -t changes < <(sed -nE 's/^([a-z_]+) .*/\1/p' migrations/sqitch.plan)
mapfile -t backwards < <(printf '%s\n' "${changes[@]}" | tac)
number=0
failures=0

# ---- TAP

# ok DESCRIPTION COMMAND...: one test; what COMMAND says is shown if it fails.
ok() {
  local output
  number=$((number + 1))
  if output=$("${@:2}" 2>&1); then
    echo "ok $number - $1"
  else
    echo "not ok $number - $1"
    echo "${output:-failed: ${*:2}}" | head -n 40 | sed 's/^/#   /'
    failures=$((failures + 1))
  fi
}

# begin LIMIT DESCRIPTION COMMAND...: a test that runs beside others, LIMIT of them at once. judge: what became of them, in order.
begun=()
begin() {
  local file=$work/begun${#begun[@]}
  while (($(jobs -rp | wc -l) >= $1)); do wait -n; done
  begun+=("$2")
  ("${@:3}" >"$file" 2>&1; echo $? >"$file.status") &
}
judge() {
  local n
  wait
  for n in "${!begun[@]}"; do ok "${begun[n]}" eval "cat '$work/begun$n'; exit $(<"$work/begun$n.status")"; done
  begun=()
}

# is GOT WANTED
is() { [[ $1 == "$2" ]] || { diff <(echo "$1") <(echo "$2") | sed 's/^</got   /; s/^>/wanted/' && false; }; }

differs() { [[ $1 != "$2" ]] || { echo "both are: $1" && false; }; }

has() { [[ $1 == *"$2"* ]] || { echo "no \"$2\" in: $1" && false; }; }

# refused TEXT COMMAND...: COMMAND fails, and says TEXT.
refused() {
  local said
  if said=$("${@:2}" 2>&1); then
    echo "not refused: ${*:2}"
    return 1
  fi
  has "$said" "$1"
}

# The plan and the exit status; the last line of a test file.
done_testing() {
  echo "1..$number"
  exit $((failures > 0))
}

# ---- SQL

# value DATABASE SQL: what the statements print, errors included.
value() { psql -XAtq -v ON_ERROR_STOP=1 -d "$1" -c "$2" 2>&1; }

# sql DATABASE: runs stdin; nothing is printed if all is well.
sql() { psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d "$1" -f -; }

# copy NEW TEMPLATE
copy() { createdb --template="$2" "$1"; }

# The production-like sample, as a database to copy.
make_legacy() {
  createdb "$1" && psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d "$1" -f test/fixtures/legacy_schema.sql -f test/fixtures/legacy_data.sql
}

# await DATABASE CONDITION
await() {
  local end=$((SECONDS + 30))
  until [[ $(value "$1" "SELECT $2") == t ]]; do
    ((SECONDS < end)) || { echo "# never: $2" >&2 && return 1; }
    sleep 0.02
  done
}

# open_session NAME DATABASE: a psql that stays.
declare -A session_input session_pid
steps=0
open_session() {
  local fd
  mkfifo "$work/$1"
  (
    for fd in "${session_input[@]}"; do exec {fd}>&-; done
    PGAPPNAME=$1 exec psql -XAtq -v ON_ERROR_STOP=1 -d "$2" <"$work/$1" >"$work/$1.out" 2>&1
  ) &
  session_pid[$1]=$!
  exec {fd}>"$work/$1"
  session_input[$1]=$fd
}
# tell NAME SQL: runs it there, without waiting. told NAME SQL: waits until it has been done.
tell() { echo "$2;" >&"${session_input[$1]}"; }
told() {
  steps=$((steps + 1))
  tell "$1" "$2; SET application_name = '$1:$steps'"
  await postgres "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '$1:$steps')"
}
# The session waits for a lock.
await_blocked() { await postgres "EXISTS (SELECT FROM pg_stat_activity WHERE application_name ~ '^$1(:|$)' AND wait_event_type = 'Lock')"; }
# Ends it; fails if a statement of it failed.
close_session() {
  local fd=${session_input[$1]}
  exec {fd}>&-
  wait "${session_pid[$1]}" || { cat "$work/$1.out" && false; }
}

# ---- the migrations

in_migrations() { (cd migrations && TZ=UTC SQITCH_USER_CONFIG=/dev/null "$@"); }
# deploy DATABASE [--to CHANGE]; prints what psql prints
deploy() { in_migrations sqitch --quiet deploy "${@:2}" "db:pg:$1"; }
verify() { in_migrations sqitch --quiet verify "db:pg:$1"; }
# revert DATABASE [--to CHANGE]: armed for it
revert() { DVNT_REVERT=$1 in_migrations sqitch --quiet revert -y "${@:2}" "db:pg:$1"; }

# scripts DATABASE deploy|verify|revert CHANGE...: the scripts alone, without sqitch, in the order given.
scripts() {
  local files=() change
  for change in "${@:3}"; do files+=(-f "migrations/$2/$change.sql"); done
  DVNT_REVERT=$1 psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d "$1" "${files[@]}"
}
deploy_scripts() { PGOPTIONS='-c client_min_messages=warning' scripts "$1" deploy "${changes[@]}"; }
verify_scripts() { scripts "$1" verify "${changes[@]}"; }
revert_scripts() { scripts "$1" revert "${backwards[@]}"; }

# What check_invariants finds, a line each.
findings() { value "$1" "SELECT check_name, entity, detail FROM ticketing.check_invariants() ORDER BY 1, 2"; }
# The same of the sample: two tiers that were oversold before we came.
sample_findings() { value "$1" "SELECT check_name || ' ' || detail FROM ticketing.check_invariants() ORDER BY 1"; }
SAMPLE_FINDINGS='oversold 13 of 10 sold
oversold 41 of 40 sold'

# wrong_pools DATABASE: each pool's figures, straight from public and the holds, beside what the engine has; nothing where they agree.
wrong_pools() {
  value "$1" "
    WITH wanted AS (
      SELECT event_id, id AS tier, greatest(quantity_total, 0)::bigint AS capacity FROM public.ticket_types WHERE quantity_total IS NOT NULL
      UNION ALL SELECT id, NULL, floor(max_attendees)::bigint FROM public.events WHERE max_attendees IS NOT NULL),
    used AS (
      SELECT w.*, (SELECT count(*) FROM public.tickets t WHERE t.event_id = w.event_id AND (w.tier IS NULL OR t.ticket_type_id = w.tier) AND t.status IN ('active', 'scanned'))
        + (SELECT coalesce(sum(quantity), 0) FROM ticketing.ticket_holds h WHERE h.event_id = w.event_id AND (w.tier IS NULL OR h.ticket_type_id = w.tier) AND h.status = 'active') AS used FROM wanted w),
    had AS (
      SELECT event_id, ticket_type_id AS tier, capacity::bigint, (SELECT sum(available) FROM ticketing.stock_shards s WHERE s.pool_id = p.pool_id) - deficit AS free FROM ticketing.stock_pools p)
    SELECT u.event_id, u.tier, u.capacity, u.capacity - u.used, h.event_id, h.tier, h.capacity, h.free
    FROM used u FULL JOIN had h ON h.event_id = u.event_id AND h.tier IS NOT DISTINCT FROM u.tier
    WHERE (u.capacity, u.capacity - u.used) IS DISTINCT FROM (h.capacity, h.free) ORDER BY 1, 2"
}

# sums DATABASE SCHEMA [EXCEPT]: name, rows and checksum of each table; a parked one under its own name, and qr_payload
# left out, because both come and go. EXCEPT is a regular expression of names.
sums() {
  psql -XAtq -v ON_ERROR_STOP=1 -v schema="$2" -v except="${3-^$}" -d "$1" 2>&1 <<'SQL'
SELECT format('SELECT %L, count(*), md5(coalesce(string_agg(row, E''\n'' ORDER BY row), '''')) FROM (SELECT (to_jsonb(t) - ''qr_payload'')::text COLLATE "C" AS row FROM %I.%I t) r',
              own_name, :'schema', relname)
FROM (SELECT relname, regexp_replace(relname, '_parked$', '') AS own_name FROM pg_class
      WHERE relnamespace = to_regnamespace(:'schema') AND relkind = 'r' AND relname <> 'ticket_payloads_parked') c
WHERE own_name !~ :'except' ORDER BY own_name \gexec
SQL
}

# payloads DATABASE TABLE ID: which ticket has which code.
payloads() { value "$1" "SELECT count(*), md5(string_agg($3 || qr_payload, ',' ORDER BY $3)) FROM $2 WHERE qr_payload IS NOT NULL"; }

# versions DATABASE: rows of public as they lie there; a row that was only rewritten differs.
versions() {
  psql -XAtq -v ON_ERROR_STOP=1 -d "$1" 2>&1 <<'SQL'
SELECT format('SELECT %L, md5(string_agg(ctid || '' '' || xmin || '' '' || xmax, '','' ORDER BY ctid)) FROM public.%I', relname, relname)
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname \gexec
SQL
}

# rights DATABASE: who owns and who may do what, in ticketing and, of the engine's roles, in public.
rights() {
  value "$1" "
    WITH things AS (
      SELECT 'schema ' || nspname AS thing, nspowner AS owner, nspacl AS acl FROM pg_namespace WHERE nspname IN ('public', 'ticketing')
      UNION ALL SELECT oid::regclass::text, relowner, relacl FROM pg_class WHERE relnamespace = 'ticketing'::regnamespace AND relkind IN ('r', 'v', 'S')
      UNION ALL SELECT oid::regprocedure || CASE WHEN prosecdef THEN ' definer' ELSE '' END, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = 'ticketing'::regnamespace
      UNION ALL SELECT oid::regclass::text, 'dvnt_ticketing_owner'::regrole, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace
      UNION ALL SELECT attrelid::regclass || '.' || attname, 'dvnt_ticketing_owner'::regrole, attacl FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace))
    SELECT thing || ': ' || owner::regrole FROM things
    UNION ALL SELECT thing || ': ' || privilege_type || ' to ' || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END FROM things CROSS JOIN LATERAL aclexplode(acl)
    WHERE thing ~ 'ticketing' OR grantee::regrole::text ~ '^dvnt'
    ORDER BY 1"
}

# shape DATABASE SCHEMA...: their definition as pg_dump has it.
shape() { pg_dump --schema-only $(printf -- '--schema=%s ' "${@:2}") "$1" | grep -vE '^(\\(un)?restrict |--|$)'; }

# traces DATABASE: what a revert must have taken away; nothing if it did.
traces() {
  value "$1" "
    SELECT 'table ticketing.' || relname FROM pg_class WHERE relnamespace = 'ticketing'::regnamespace AND relkind IN ('r', 'v', 'm', 'f', 'p') AND relname !~ '_parked$'
    UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE pronamespace = 'ticketing'::regnamespace
    UNION ALL SELECT 'extension ' || extname FROM pg_extension WHERE extname = 'dvnt_ticketing'
    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname LIKE 'dvnt%'
    UNION ALL SELECT 'column ' || attname FROM pg_attribute WHERE attrelid IN (to_regclass('public.tickets'), to_regclass('public.tickets_parked')) AND attname = 'qr_payload'
    UNION ALL SELECT 'grant on ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relacl::text LIKE '%dvnt_ticketing%'
    UNION ALL SELECT 'grant on ' || attrelid::regclass || '.' || attname FROM pg_attribute WHERE attacl::text LIKE '%dvnt_ticketing%'
    UNION ALL SELECT 'grant on schema public' FROM pg_namespace WHERE nspname = 'public' AND nspacl::text LIKE '%dvnt_ticketing%'
    ORDER BY 1"
}

# ---- a day of the engine's

# day DATABASE NAME: an event whose tickets are held, released, expired, given away, bought, paid, scanned and sold by the
# application itself, each through the function that does it in production. Leaves rows in every table that has such a
# function; the others get one by hand. Prints nothing if all is well.
day() {
  sql "$1" <<SQL || return
\set day '$2'
INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted)
VALUES (:'day' || '-host', 'acct_' || :'day', true, true, true);
INSERT INTO public.events (host_id, title, start_date, end_date, max_attendees)
VALUES (:'day' || '-host', :'day', now() + interval '1 day', now() + interval '2 days', 100) RETURNING id AS event \gset
INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total) VALUES (:event, 'free', 0, 20) RETURNING id AS free \gset
INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total) VALUES (:event, 'paid', 2500, 30) RETURNING id AS paid \gset
INSERT INTO public.ticket_types (event_id, name, price_cents) VALUES (:event, 'open', 2500) RETURNING id AS open \gset
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token)
SELECT :event, :'open', :'day' || '-app', md5(:'day' || g) || md5('b' || g || :'day') FROM generate_series(1, 3) g;

SET ROLE dvnt_ticketing_relay;
SELECT ticketing.relay_start('acct_platform', false, '');
SET ROLE service_role;
SELECT ticketing.hold_tickets(:'day' || '-1', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'paid', 'quantity', 2)), NULL, 'hold');
SELECT ticketing.hold_tickets(:'day' || '-2', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'open', 'quantity', 1))) ->> 'reservation_id' AS reservation \gset
SELECT ticketing.release_hold(:'reservation', :'day' || '-2');
SELECT ticketing.hold_tickets(:'day' || '-3', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'paid', 'quantity', 4)), '1 microsecond');
SET ROLE dvnt_ticketing_cron;
SELECT ticketing.release_expired_holds();
SET ROLE service_role;
SELECT ticketing.claim_free_tickets(:'day' || '-4', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'free', 'quantity', 2)), 'claim') #>> '{tickets,0,qr_payload}' AS code \gset
SELECT ticketing.check_in(:'code', :event, :'day' || '-host', 'door-1', gen_random_uuid());
SELECT ticketing.claim_free_tickets(:'day' || '-8', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'free', 'quantity', 1))) ->> 'order_id' AS unwanted \gset
SELECT ticketing.request_refund(:'unwanted', :'day' || '-8') ->> 'refund_request_id' AS refund_request \gset
SELECT ticketing.approve_refund(:'refund_request', :'day' || '-host');
SELECT ticketing.check_in('no code', :event, :'day' || '-host');
SELECT ticketing.add_co_organizer(:event, :'day' || '-host', :'day' || '-helper');
SELECT ticketing.create_payment_intent(:'day' || '-5', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'paid', 'quantity', 2)), mobile_api_version => '2024-06-20');
SELECT ticketing.create_payment_intent(:'day' || '-6', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'paid', 'quantity', 3)));
SQL
  relay "$1" && pay "$1" "$2-5" || return
  sql "$1" <<SQL
\set day '$2'
SELECT id AS event FROM public.events WHERE title = :'day' \gset
SELECT id AS paid FROM public.ticket_types WHERE event_id = :event AND name = 'paid' \gset
SET ROLE service_role;
-- One whose calls wait for the relay.
SELECT ticketing.create_payment_intent(:'day' || '-7', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'paid', 'quantity', 1)));
RESET ROLE;
SELECT ticketing.sync_quantity_sold();
SELECT ticketing.door_manifest(:event, :'day' || '-host', 'door-2');
SELECT ticketing.suspend_ticket(id, :'day' || '-host', 'a test') FROM (SELECT id FROM public.tickets WHERE user_id = :'day' || '-app' ORDER BY id LIMIT 1) t;
INSERT INTO public.events (host_id, title) VALUES (:'day' || '-host', :'day' || ' annex') RETURNING id AS annex \gset
SELECT ticketing.save_door_settings(:annex, :'day' || '-host', '{"gates": {"north": null}}');
INSERT INTO ticketing.findings (kind, entity, detail) VALUES ('test', :'day', '{}');
SET ROLE dvnt_ticketing_cron;
SELECT ticketing.enqueue_reconciliation();
RESET ROLE;
-- Not by reconcile_orders, which would repair the sample.
INSERT INTO ticketing.reconciliation_runs (started_at, finished_at, found, repaired, gone) VALUES (now(), now(), 0, 0, 0);
INSERT INTO ticketing.stripe_checks SELECT payment_intent_id, order_id, 1, now() FROM ticketing.orders WHERE user_id = :'day' || '-6';
INSERT INTO ticketing.disputes (dispute_id, order_id, event_id, payment_intent_id, amount_cents, currency, status, phase, created_at, updated_at)
SELECT 'dp_' || :'day', order_id, event_id, payment_intent_id, 0, 'usd', 'warning_closed', 'closed', now(), now() FROM ticketing.orders WHERE user_id = :'day' || '-5';
INSERT INTO ticketing.dispute_tickets SELECT 'dp_' || :'day', gen_random_uuid();
INSERT INTO ticketing.payouts (payout_id, payee_account, host_id, amount_cents, currency, status, created_at, updated_at)
VALUES ('po_' || :'day', 'acct_' || :'day', :'day' || '-host', 1, 'usd', 'pending', now(), now());
INSERT INTO ticketing.payout_events VALUES ('po_' || :'day', :event, 1, 1, gen_random_uuid());
SELECT ticketing.sync_event_financials(), ticketing.enqueue_settlement();
INSERT INTO ticketing.balance_transactions (id, account, type, amount_cents, fee_cents, net_cents, currency, created, available_on, settled, stored_at)
VALUES ('txn_' || :'day', 'platform', 'charge', 100, 33, 67, 'usd', now(), now(), true, now());
INSERT INTO ticketing.superseded_codes VALUES (encode(sha256(:'day'), 'hex'), gen_random_uuid(), :event, now());
SQL
}
DAY_STOCK='free|20|18|0|2
open||87|1|2
paid|30|22|6|2'

# relay DATABASE: does the relay's work: what is ready is claimed and answered as Stripe would, until nothing is.
relay() {
  sql "$1" <<'SQL'
SET ROLE dvnt_ticketing_relay;
DO $$
DECLARE
  call record;
BEGIN
  FOR round IN 1..4 LOOP
    FOR call IN SELECT * FROM ticketing.relay_claim(100, '1 minute') LOOP
      PERFORM ticketing.relay_complete(call.id, call.lease_token, 200, '{"request-id": "req_1"}', convert_to(format(CASE call.path
        WHEN '/v1/customers' THEN '{"id": "cus_%s"}'
        WHEN '/v1/ephemeral_keys' THEN '{"id": "ephkey_%s", "secret": "ek_secret"}'
        ELSE '{"id": "pi_%s", "object": "payment_intent", "status": "requires_payment_method", "client_secret": "pi_secret"}' END, replace(call.id::text, '-', '')), 'UTF8'));
    END LOOP;
  END LOOP;
END
$$;
SQL
}

# pay DATABASE USER: Stripe tells us that this user's order is paid.
pay() {
  local body time signature
  body=$(value "$1" "SELECT jsonb_build_object('id', 'evt_' || user_id, 'object', 'event', 'type', 'payment_intent.succeeded', 'livemode', false, 'data', jsonb_build_object('object', jsonb_build_object(
      'id', payment_intent_id, 'object', 'payment_intent', 'status', 'succeeded', 'amount_received', total_cents, 'currency', currency, 'livemode', false, 'transfer_data', jsonb_build_object('destination', payee_account))))
    FROM ticketing.orders WHERE user_id = '$2'")
  time=$(date +%s)
  signature=$(printf '%s.%s' "$time" "$body" | openssl dgst -sha256 -hmac "$STRIPE_WEBHOOK_SECRET" -r)
  is "$(value "$1" "SET ROLE service_role; SELECT ticketing.stripe_webhook(convert_to('$body', 'UTF8'), 't=$time,v1=${signature%% *}') ->> 'outcome'")" applied
}

# day_goes_on DATABASE NAME: what was sold, held and ordered on that day is worth what it was: a ticket opens the door, once;
# held seats are given back; an order that waited for its payment is paid.
day_goes_on() {
  is "$(value "$1" "SELECT ticketing.check_in(qr_payload, event_id, '$2-host', 'door', gen_random_uuid()) ->> 'result' FROM (SELECT * FROM public.tickets WHERE user_id = '$2-5' ORDER BY id LIMIT 1) t CROSS JOIN generate_series(1, 2)")" \
    'admitted
already_admitted' && is "$(day_stock "$1" "$2")" "$DAY_STOCK" &&
    is "$(value "$1" "SELECT ticketing.release_hold(reservation_id, user_id) -> 'released' FROM ticketing.ticket_holds WHERE user_id = '$2-1'")" true &&
    pay "$1" "$2-6" && is "$(day_stock "$1" "$2")" 'free|20|18|0|2
open||89|1|2
paid|30|24|1|5'
}

# What is left of that day's tiers: name, capacity, available, held, sold.
day_stock() {
  value "$1" "SELECT tt.name, a.capacity, a.available, a.held, a.sold FROM public.events e
    CROSS JOIN LATERAL ticketing.availability(e.id) a JOIN public.ticket_types tt ON tt.id = a.ticket_type_id WHERE e.title = '$2' ORDER BY 1"
}
