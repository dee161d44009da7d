# shellcheck shell=bash disable=SC2034,SC2154,SC2016
# stripe_webhook beside bare transactions that write the same rows: payment_intent.succeeded of distinct orders of one
# event, each of which issues its ticket. Every turn has a copy of a database in which the orders wait to be paid.

declare -A webhook_statement=(
  [stripe_webhook]='SELECT ticketing.stripe_webhook(h.payload, h.signature) FROM (SELECT nextval($q$bench.next_hook$q$) AS n OFFSET 0) s JOIN bench.hook h USING (n)'
  [bare]='SELECT bench.bare(nextval($q$bench.next_hook$q$))'
  # The same in one statement.
  [bare_single]='WITH h AS MATERIALIZED (SELECT h.*, gen_random_uuid() AS ticket, clock_timestamp() AS at FROM (SELECT nextval($q$bench.next_hook$q$) AS n OFFSET 0) s JOIN bench.hook h USING (n)),
    inbox AS (INSERT INTO ticketing.stripe_inbox (stripe_event_id, type, object_id, livemode, api_version, payload, state, order_id, received_at, settled_at)
      SELECT event_id, $q$payment_intent.succeeded$q$, payment_intent_id, false, $q$2026-10-28.endive$q$, convert_from(payload, $q$UTF8$q$), $q$applied$q$, order_id, at, at FROM h),
    paid AS (UPDATE ticketing.orders o SET state = $q$paid$q$, updated_at = at, paid_at = at FROM h WHERE o.order_id = h.order_id),
    advanced AS (UPDATE ticketing.order_payments p SET state = $q$succeeded$q$, updated_at = at FROM h WHERE p.object_id = h.payment_intent_id),
    booked AS (INSERT INTO ticketing.ledger (kind, source, from_account, to_account, amount_cents, currency, event_id, order_id, payee_account, at)
      SELECT v.kind, payment_intent_id, v.f, v.t, v.cents, $q$usd$q$, 1, order_id, payee_account, at FROM h CROSS JOIN LATERAL (VALUES ($q$charge$q$, $q$buyer$q$, $q$platform$q$, total_cents), ($q$transfer$q$, $q$platform$q$, $q$organizer$q$, total_cents),
        ($q$buyer_fee$q$, $q$organizer$q$, $q$platform$q$, buyer_fee_cents), ($q$organizer_fee$q$, $q$organizer$q$, $q$platform$q$, organizer_fee_cents)) v (kind, f, t, cents)),
    logged AS (INSERT INTO ticketing.order_events (order_id, at, event, from_state, to_state, source, detail)
      SELECT order_id, at, $q$succeeded$q$, $q$awaiting_payment$q$, $q$paid$q$, event_id, jsonb_build_object($q$payment_intent$q$, payment_intent_id, $q$amount_received$q$, total_cents) FROM h),
    converted AS (UPDATE ticketing.ticket_holds t SET status = $q$converted$q$, ended_at = at FROM h WHERE t.reservation_id = h.reservation_id),
    issued AS (INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, status, qr_token, stripe_payment_intent_id, purchase_amount_cents, created_at, qr_payload)
      SELECT ticket, 1, bench.tier(1), user_id, $q$active$q$, md5(ticket::text) || md5(event_id), payment_intent_id, total_cents, at, left(md5(event_id) || md5(ticket::text), 62) FROM h),
    tied AS (INSERT INTO ticketing.order_tickets (ticket_id, order_id, item, ordinal) SELECT ticket, order_id, 1, 1 FROM h),
    told AS (INSERT INTO public.order_timeline (order_id, type, label, created_at)
      SELECT order_id, v.type, v.label, at FROM h, (VALUES ($q$payment_captured$q$, $q$Payment captured$q$), ($q$payment_authorized$q$, $q$Payment authorized$q$)) v (type, label)),
    dropped AS (DELETE FROM ticketing.stripe_handoff d USING h WHERE d.order_id = h.order_id),
    shown AS (UPDATE public.orders o SET status = $q$paid$q$, updated_at = at, paid_at = at FROM h WHERE o.id = h.order_id)
    INSERT INTO public.stripe_events (event_id, event_type, processed_at) SELECT event_id, $q$payment_intent.succeeded$q$, at FROM h'
)
webhook_contenders=(stripe_webhook bare bare_single)

run_webhook() {
  local rounds orders contender turns=0
  rounds=$(full_or_quick 5 1)
  orders=$(full_or_quick 4000 400)
  fresh_database webhook_ready
  note "webhook: $orders orders"
  sql -o /dev/null -v orders="$orders" -c 'CREATE EXTENSION IF NOT EXISTS pgcrypto' -c 'CREATE SCHEMA test' -c 'SET search_path = test, public' \
    -f test/pgtap/support/helpers.sql -f bench/webhook.sql
  sql -c 'VACUUM ANALYZE'
  export PGDATABASE=dvnt
  clients=16
  for ((round = 1; round <= rounds; round++)); do
    for latency in own '1 ms'; do
      note "webhook: round $round of $rounds, latency $latency"
      for contender in $(rotated $((turns++)) "${webhook_contenders[@]}"); do
        webhook_turn "$contender" "$orders"
      done
    done
  done
  drop_database webhook_ready
}

# One contender settles every order.
webhook_turn() {
  local contender=$1 orders=$2 secret name
  secret=${STRIPE_WEBHOOK_SECRET%% *}
  sql -c 'CREATE DATABASE webhook TEMPLATE webhook_ready'
  export PGDATABASE=webhook
  sql -c "SET test.webhook_secret = '$secret'" -c 'SELECT bench.make_hooks()' -c 'VACUUM ANALYZE bench.hook' -c 'SELECT pg_stat_reset()' -c CHECKPOINT >/dev/null
  # What the engine's own functions run as: for it the triggers of the tables do what they do for them.
  [[ $contender == stripe_webhook ]] || sql -c 'ALTER DATABASE webhook SET role = dvnt_ticketing_owner'
  load "$contender" -w "$(full_or_quick 0.5 0)" -n "$orders" "${webhook_statement[$contender]}"
  export PGDATABASE=dvnt
  sql -c 'ALTER DATABASE webhook RESET role'
  export PGDATABASE=webhook
  # Orders without their ticket or not paid, in our tables or the application's; a call that settled nothing.
  record "$contender" violations "$(sql -c "SELECT count(*) FROM ticketing.check_invariants()" -c "SELECT abs($orders - (SELECT count(*) FROM ticketing.orders o
      JOIN public.orders p ON p.id = o.order_id AND p.status = 'paid' JOIN ticketing.order_tickets k USING (order_id) JOIN public.tickets t ON t.id = k.ticket_id AND t.status = 'active'
      JOIN ticketing.ticket_holds h ON h.order_id = o.order_id AND h.status = 'converted'
      JOIN ticketing.stripe_inbox i ON i.order_id = o.order_id AND i.state = 'applied' JOIN public.stripe_events s ON s.event_id = i.stripe_event_id WHERE o.state = 'paid'))" |
    awk '{ sum += $1 } END { print sum }')"
  for name in inserted updated deleted; do
    record "$contender" "$name" "$(sql -c "SELECT $name::numeric / $orders FROM bench.written")"
  done
  export PGDATABASE=dvnt
  sql -c 'DROP DATABASE webhook WITH (FORCE)'
}

report_webhook() {
  local name
  for latency in own '1 ms'; do
    name=${latency/own/own latency}
    bound "stripe_webhook, 16 clients, $name: / bare transaction with the same writes" "$(webhook_median bare "$latency")" '>=' 0.5
  done
  bound 'stripe_webhook: orders not settled as they should be, findings and errors' "SELECT sum(value) FROM bench.result WHERE scenario = 'webhook' AND metric IN ('violations', 'errors')" '=' 0
  # Of the updates one is stripe_webhook's own: its row of the inbox is written before what it means is known.
  for name in inserted deleted; do
    bound "stripe_webhook: rows $name, more or fewer than by the bare transaction" "$(webhook_rows "$name")" '=' 0
  done

  printf '\n## Webhooks\n\n16 clients settle `payment_intent.succeeded` of distinct orders, each issuing a ticket: **stripe_webhook**, signature and all; **bare**, a transaction of prepared statements (plpgsql) that writes the same rows and knows\n'
  printf 'beforehand which; **bare_single**, the same in one statement. Events a second, median of the rounds (least–most), and rows that an event inserts, updates and deletes.\n'
  table "SELECT contender, bench.shown_with_range(array_agg(value) FILTER (WHERE latency = 'own' AND metric = 'rate')), bench.shown_with_range(array_agg(value) FILTER (WHERE latency = '1 ms' AND metric = 'rate')),
                concat_ws(', ', bench.shown(max(value) FILTER (WHERE metric = 'inserted')), bench.shown(max(value) FILTER (WHERE metric = 'updated')), bench.shown(max(value) FILTER (WHERE metric = 'deleted')))
         FROM bench.result WHERE scenario = 'webhook' GROUP BY 1 ORDER BY array_position('{stripe_webhook,bare,bare_single}'::text[], contender)" '' 'Own latency' '1 ms' 'Rows'
}

webhook_median() {
  echo "SELECT bench.median(array_agg(c.rate / b.rate)) FROM bench.rate c JOIN bench.rate b USING (scenario, latency, clients, round)
        WHERE scenario = 'webhook' AND c.contender = 'stripe_webhook' AND b.contender = '$1' AND latency = '$2'"
}
webhook_rows() {
  echo "SELECT max(abs(c.value - b.value)) FROM bench.result c JOIN bench.result b USING (scenario, latency, clients, round, metric)
        WHERE scenario = 'webhook' AND c.contender = 'stripe_webhook' AND b.contender = 'bare' AND metric = '$1'"
}
