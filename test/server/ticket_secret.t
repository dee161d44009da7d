#!/usr/bin/env bash
# Without a ticket secret, or with one that is too short, nothing is signed or sold, everything else goes on, and
# nothing is lost: what could not be done is done when the secret is there.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
export TICKET_HMAC_SECRET='the secret of these tests, long enough'
on_a_cluster "$@"
# The webhook secret of the cluster is in its environment.
secret=$TICKET_HMAC_SECRET

sql "CREATE TABLE test.shop AS SELECT event, make_tier(event) AS tier, make_tier(event, 0) AS free FROM (SELECT make_event(make_host('host'), 100) AS event) e" \
  "INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT event, free, 'of before', repeat('ab', 32) FROM test.shop"
event=$(sql 'SELECT event FROM test.shop')
ticket=$(sql "SELECT ticketing.claim_free_tickets('buyer', event, items(free, 1)) -> 'tickets' -> 0 ->> 'qr_payload' FROM test.shop")
order=$(sql "SELECT payable_order('buyer', event, items(tier, 2)) FROM test.shop")

# refused HOW: every call that signs or verifies is refused, and nothing is written
refused() {
  local before name call
  before=$(everything)
  while IFS='|' read -r name call; do
    is "$1: $name is refused" "$(attempt "$call")" 'PT503 not_configured'
    like "$1: $name says why" "$(<"$scraps/error")" "no ticket secret is configured$2"
    like "$1: $name says what to do" "$(<"$scraps/error")" 'HINT:  Set TICKET_HMAC_SECRET'
  done <<CALLS
verify_ticket|SELECT ticketing.verify_ticket('$ticket')
is_genuine_ticket|SELECT ticketing.is_genuine_ticket('$ticket')
verify_ticket of nonsense|SELECT ticketing.verify_ticket('nonsense')
sign_ticket|SELECT ticketing.sign_ticket(gen_random_uuid(), $event, '\x0102030405060708')
claim_free_tickets|SELECT ticketing.claim_free_tickets('other', event, items(free, 1), 'a request') FROM test.shop
create_payment_intent|SELECT ticketing.create_payment_intent('other', event, items(tier, 1), request_id => 'a request') FROM test.shop
check_in of a signed code|SELECT ticketing.check_in('$ticket', $event, 'host', scan_id => '5ca00000-0000-4000-8000-000000000001')
the webhook of a payment|SELECT pay('$order')
CALLS
  is "$1: nothing was written: no hold, order, request, scan or event" "$(everything)" "$before"
}

# goes_on HOW: what needs no signature still works; undone afterwards
goes_on() {
  is "$1: tickets can be held, what is for sale and what it costs be seen" "$(attempt "
    BEGIN;
    SELECT ticketing.hold_tickets('other', event, items(tier, 1)), ticketing.quote(event, items(tier, 1)) FROM test.shop;
    SELECT a.* FROM test.shop, ticketing.availability(event) a;
    SELECT ticketing.order_status('$order', 'buyer');
    ROLLBACK")" ok
  is "$1: a ticket of before is admitted by its token" "$(sql "BEGIN; SELECT ticketing.check_in('dvnt://ticket/' || repeat('ab', 32), $event, 'host') ->> 'result'; ROLLBACK")" admitted
  is "$1: a webhook that issues nothing is applied" "$(sql "BEGIN; SELECT deliver(stripe_event('evt_decline', 'payment_intent.payment_failed', intent('$order', 'requires_payment_method'))); ROLLBACK")" applied
}

TICKET_HMAC_SECRET='' restart
refused 'no secret' ''
goes_on 'no secret'

TICKET_HMAC_SECRET=$(printf '%031d' 0) restart
refused '31 bytes' ': the secret is shorter than 32 bytes'
goes_on '31 bytes'

TICKET_HMAC_SECRET=$(printf '%032d' 0) restart
is '32 bytes are enough' "$(attempt "SELECT ticketing.sign_ticket(gen_random_uuid(), $event, '\x0102030405060708')")" ok
is 'what another secret has signed is not genuine' "$(sql "SELECT reason FROM ticketing.verify_ticket('$ticket')")" bad_signature
is 'and opens no door' "$(sql "BEGIN; SELECT ticketing.check_in('$ticket', $event, 'host') ->> 'result'; ROLLBACK")" bad_signature

TICKET_HMAC_SECRET=$secret restart
is 'with the secret again the ticket is genuine' "$(sql "SELECT valid FROM ticketing.verify_ticket('$ticket')")" t
is 'Stripe delivers the payment again, and it is applied' "$(sql "SELECT pay('$order')")" applied
is 'the buyer has his tickets: nothing was lost' "$(sql "SELECT state, (SELECT count(*) FROM ticketing.order_tickets t WHERE t.order_id = o.order_id) FROM ticketing.orders o WHERE order_id = '$order'")" 'paid|2'
is 'the request that was refused can be made' "$(attempt "SELECT ticketing.claim_free_tickets('other', event, items(free, 1), 'a request') FROM test.shop")" ok
is 'nothing is wrong' "$(invariants)" ''
done_testing
