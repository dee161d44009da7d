# shellcheck shell=bash disable=SC2034,SC2154
# Refusals: how fast a sold-out tier says so, beside SELECT 1. Two tiers of 1,000: all sold, and all held by
# buyers who have not paid yet, as at the moment when an on-sale is over. Another event has many live holds.

run_soldout() {
  local rounds seconds others contender
  rounds=$(full_or_quick 5 1)
  seconds=$(full_or_quick 3 1)
  others=$(full_or_quick 100000 20000)
  clients=8
  fresh_database soldout
  sql >/dev/null <<SQL
SELECT bench.make_event(1, 1000), bench.make_event(2, 1000), bench.make_event(3, $seats);
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT 1, bench.tier(1), 'user-' || g, 'token-' || g FROM generate_series(1, 1000) g;
INSERT INTO ticketing.ticket_holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at)
SELECT gen_random_uuid(), 3, bench.tier(3), 'user-' || g, 1, now() + interval '1 day' FROM generate_series(1, $others) g;
SELECT ticketing.rebuild_stock(3);
SQL
  load fill -n 1000 "SELECT ticketing.hold_tickets(\$1, 2, bench.cart(2, 1), '30 minutes')"
  sql -c 'VACUUM ANALYZE'
  for ((round = 1; round <= rounds; round++)); do
    note "soldout: round $round of $rounds"
    for contender in $(rotated "$round" select_1 sold held); do
      case $contender in
        select_1) load select_1 -w 0.5 -t "$seconds" 'SELECT 1' ;;
        sold) load sold -w 0.5 -t "$seconds" "$(hold_of 1)" ;;
        held) load held -w 0.5 -t "$seconds" "$(hold_of 2)" ;;
      esac
      # Whatever is not a refusal, and a seat that a refused buyer got.
      [[ $contender == select_1 ]] ||
        record "$contender" violations $((measured[ok] + measured[errors] - ${measured[error_PT409]:-0} + $(sql -c 'SELECT count(*) FROM ticketing.check_invariants()')))
    done
  done
  drop_database soldout
}

report_soldout() {
  local kind
  for kind in sold held; do
    bound "sold out ($kind), 8 clients: refusals / SELECT 1" \
      "SELECT bench.median(array_agg(r.rate / s.rate)) FROM bench.rate r JOIN bench.rate s USING (scenario, round)
       WHERE scenario = 'soldout' AND r.contender = '$kind' AND s.contender = 'select_1'" '>=' 0.125
  done
  bound 'sold out: answers other than the refusal' "SELECT sum(violations) FROM bench.violations WHERE scenario = 'soldout'" '=' 0

  printf '\n## Sold out\n\n8 clients ask for a seat of a tier of 1,000 that has none left: **sold**, all are tickets; **held**, all are held and not yet paid. Another event has %s live holds.\n' "$(full_or_quick 100,000 20,000)"
  printf 'A refusal is an error with its figures, written to the server'"'"'s log as well. Calls per second, median of the rounds (least–most).\n'
  table "SELECT contender, bench.shown_with_range(array_agg(rate)) FROM bench.rate WHERE scenario = 'soldout' AND contender <> 'fill'
         GROUP BY 1 ORDER BY array_position('{select_1,sold,held}'::text[], contender)" 'Call' 'Calls per second'
}
