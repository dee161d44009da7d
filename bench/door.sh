# shellcheck shell=bash disable=SC2034,SC2154
# The door: check_in beside a bare UPDATE and INSERT of the same rows; a batch of scans made offline; a manifest.

door_rows='ticket_id, event_id, code_hash, result, direction, scanned_by, device_id, scan_id, scanned_at, happened_at, recorded_at, moved, answer'
# The next ticket that nobody has scanned in this turn.
next_ticket='(SELECT nextval($q$bench.next_ticket$q$) AS n OFFSET 0) s JOIN bench.ticket t USING (n)'

declare -A door_statement=(
  [check_in]="SELECT ticketing.check_in(t.code, 1, 'host', 'device-' || \$4::text, gen_random_uuid()) FROM $next_ticket"
  [bare]="WITH t AS MATERIALIZED (SELECT t.id FROM $next_ticket), admitted AS (
      UPDATE public.tickets k SET status = 'scanned', checked_in_at = clock_timestamp(), checked_in_by = 'host' FROM t WHERE k.id = t.id AND k.status = 'active' RETURNING k.id)
    INSERT INTO ticketing.checkins ($door_rows) SELECT id, 1, repeat('a', 64), 'admitted', 'in', 'host', 'device-' || \$4::text, gen_random_uuid(), clock_timestamp(), clock_timestamp(), clock_timestamp(), true, '{}' FROM admitted"
)
door_statement[bare_untold]=${door_statement[bare]}

run_door() {
  local rounds seconds tickets batch listed contender turns=0
  rounds=$(full_or_quick 5 1)
  seconds=$(full_or_quick 3 0.5)
  tickets=$(full_or_quick 100000 10000)
  batch=$(full_or_quick 10000 1000)
  listed=$(full_or_quick 50000 5000)
  fresh_database door
  note "door: $tickets signed tickets"
  sql >/dev/null <<SQL
SELECT bench.make_event(n, NULL) FROM generate_series(1, 3) n;
INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, qr_token, qr_payload)
SELECT id, event, bench.tier(event), 'user-' || n, md5('a' || event || '-' || n) || md5('b' || event || '-' || n), ticketing.sign_ticket(id, event, decode(lpad(to_hex(n), 16, '0'), 'hex'))
FROM (VALUES (1, $tickets), (2, $batch * $rounds), (3, $listed)) e (event, tickets), generate_series(1, tickets) n, LATERAL (SELECT md5(event || '/' || n)::uuid AS id) i;
CREATE TABLE bench.ticket AS SELECT row_number() OVER (ORDER BY id) AS n, id, qr_payload AS code FROM public.tickets WHERE event_id = 1;
ALTER TABLE bench.ticket ADD PRIMARY KEY (n);
CREATE SEQUENCE bench.next_ticket CACHE 1;
CREATE TABLE bench.batch AS
SELECT round, jsonb_agg(jsonb_build_object('scan_id', gen_random_uuid(), 'payload', qr_payload, 'scanned_at', now() - interval '1 hour', 'gate', 'north')) AS scans
FROM (SELECT qr_payload, (row_number() OVER (ORDER BY id) - 1) / $batch + 1 AS round FROM public.tickets WHERE event_id = 2) t GROUP BY round;
-- The bare statement runs as its caller: without this trigger, which asks how a sale by other code changes stock, it writes what check_in writes.
ALTER TABLE public.tickets DISABLE TRIGGER dvnt_follow_change;
SQL
  sql -c 'VACUUM ANALYZE'
  for ((round = 1; round <= rounds; round++)); do
    for latency in own '1 ms'; do
      clients=16
      note "door: round $round of $rounds, latency $latency"
      for contender in $(rotated $((turns++)) check_in bare bare_untold); do
        door_turn "$contender" "$seconds" "$tickets"
      done
    done
    latency=own clients=1
    load sync -n 1 "SELECT jsonb_array_length(ticketing.sync_checkins(2, 'host', 'd1', clock_timestamp(), scans) -> 'results') FROM bench.batch WHERE round = $round AND \$1 <> ''"
    record sync violations $((batch * round - $(sql -c "SELECT count(*) FROM ticketing.checkins WHERE event_id = 2 AND result = 'admitted' AND moved")))
    load sync_again -n 1 "SELECT jsonb_array_length(ticketing.sync_checkins(2, 'host', 'd1', clock_timestamp(), scans) -> 'results') FROM bench.batch WHERE round = $round AND \$1 <> ''"
    record sync_again violations $((batch * round - $(sql -c "SELECT count(*) FROM ticketing.checkins WHERE event_id = 2 AND result = 'admitted' AND moved")))
    load manifest -n 1 "SELECT length(ticketing.door_manifest(3, 'host', 'd1')::text) WHERE \$1 <> ''"
    record manifest violations $((listed - $(sql -c "SELECT jsonb_array_length(ticketing.door_manifest(3, 'host', 'd1') -> 'tickets')")))
  done
  drop_database door
}

# One contender scans tickets that are all active, for so long.
door_turn() {
  local contender=$1 seconds=$2 tickets=$3
  sql >/dev/null <<SQL
ALTER TABLE public.tickets DISABLE TRIGGER dvnt_follow_door_change;
UPDATE public.tickets SET status = 'active', checked_in_at = NULL, checked_in_by = NULL WHERE event_id = 1 AND status <> 'active';
DELETE FROM ticketing.checkins WHERE event_id = 1;
ALTER SEQUENCE bench.next_ticket RESTART;
ALTER TABLE public.tickets $([[ $contender == bare_untold ]] || echo ENABLE TRIGGER dvnt_follow_door_change, ) ENABLE TRIGGER dvnt_follow_sale;
SQL
  sql -c 'VACUUM public.tickets, ticketing.checkins, ticketing.door_states' -c CHECKPOINT
  load "$contender" -w 0.3 -t "$seconds" "${door_statement[$contender]}"
  # Tickets scanned without a row, or the other way round, or no ticket left to scan.
  record "$contender" violations "$(sql -c "SELECT abs((SELECT count(*) FROM public.tickets WHERE event_id = 1 AND status = 'scanned') - (SELECT count(*) FROM ticketing.checkins WHERE event_id = 1 AND result = 'admitted'))
    + greatest(0, (SELECT last_value FROM bench.next_ticket) - $tickets)")"
}

report_door() {
  local name
  for latency in own '1 ms'; do
    name=${latency/own/own latency}
    bound "check_in, 16 devices, $name: / bare UPDATE and INSERT of the same rows" "$(door_median bare "$latency")" '>=' 0.6
  done
  bound "sync_checkins of $(full_or_quick 10,000 1,000) scans, seconds" "$(door_seconds sync)" '<=' 2
  bound "door_manifest of $(full_or_quick 50,000 5,000) tickets, seconds" "$(door_seconds manifest)" '<=' 1
  bound 'door: scans or tickets too many or too few, and errors' "SELECT sum(value) FROM bench.result WHERE scenario = 'door' AND metric IN ('violations', 'errors')" '=' 0

  printf '\n## Doors\n\n16 devices scan distinct tickets: **check_in**; **bare**, one statement that updates the ticket and inserts the row of checkins, under the same trigger that tells the doors of the change; **bare_untold**, the same without that trigger. Scans per second, median of the rounds (least–most).\n'
  table "SELECT contender, bench.shown_with_range(array_agg(rate) FILTER (WHERE latency = 'own')), bench.shown_with_range(array_agg(rate) FILTER (WHERE latency = '1 ms'))
         FROM bench.rate WHERE scenario = 'door' AND contender IN ('check_in', 'bare', 'bare_untold') GROUP BY 1 ORDER BY array_position('{check_in,bare,bare_untold}'::text[], contender)" 'Call' 'Own latency' '1 ms'
  printf 'One call each, milliseconds: a batch of %s scans made offline, the same batch again, a full manifest of %s tickets.\n' "$(full_or_quick 10,000 1,000)" "$(full_or_quick 50,000 5,000)"
  table "SELECT contender, bench.shown_with_range(array_agg(value / 1000)) FROM bench.result WHERE scenario = 'door' AND metric = 'mean_us' AND contender IN ('sync', 'sync_again', 'manifest')
         GROUP BY 1 ORDER BY array_position('{sync,sync_again,manifest}'::text[], contender)" 'Call' 'Milliseconds'
}

door_median() {
  echo "SELECT bench.median(array_agg(c.rate / b.rate)) FROM bench.rate c JOIN bench.rate b USING (scenario, latency, round)
        WHERE scenario = 'door' AND c.contender = 'check_in' AND b.contender = '$1' AND latency = '$2'"
}
door_seconds() { echo "SELECT bench.median(array_agg(value)) / 1000000 FROM bench.result WHERE scenario = 'door' AND contender = '$1' AND metric = 'mean_us'"; }
