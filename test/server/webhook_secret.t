#!/usr/bin/env bash
# Webhooks are taken only when they are signed with a secret of ours; without one, none is.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
export STRIPE_WEBHOOK_SECRET='whsec_first_of_these_tests'
on_a_cluster "$@"

# signed_with SECRET ID: what becomes of a genuine event of that secret
signed_with() {
  local payload time mac
  payload="{\"id\": \"evt_$2\", \"object\": \"event\", \"type\": \"customer.created\", \"livemode\": false, \"data\": {\"object\": {\"id\": \"cus_1\"}}}"
  time=$(date +%s)
  mac=$(printf '%s.%s' "$time" "$payload" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n')" | sed 's/.*= //')
  attempt "SELECT ticketing.stripe_webhook(convert_to('$payload', 'UTF8'), 't=$time,v1=$mac')"
}
recorded() { sql "SELECT count(*) FROM ticketing.stripe_inbox"; }

is 'an event signed with the secret is taken' "$(signed_with whsec_first_of_these_tests 1)" ok
is 'one signed with another is not' "$(signed_with whsec_second_of_these_tests 2)" 'PT400 bad_signature'

for none in '' ' ' $' \t '; do
  STRIPE_WEBHOOK_SECRET=$none restart
  name="a secret of ${#none} blanks"
  is "$name is none: no event is taken" "$(signed_with whsec_first_of_these_tests 3)" 'PT503 not_configured'
  like "$name: it says why" "$(<"$scraps/error")" 'no webhook secret is configured'
  like "$name: and what to do" "$(<"$scraps/error")" 'HINT:  Set STRIPE_WEBHOOK_SECRET'
  ok "$name: nobody signs with an empty key, or with the blanks" test "$(signed_with x 4) $(signed_with ' ' 5)" = 'PT503 not_configured PT503 not_configured'
done
is 'nothing of these was recorded' "$(recorded)" 1
is 'without a webhook secret tickets are still sold' "$(attempt "SELECT ticketing.claim_free_tickets('buyer', event, items(make_tier(event, 0), 1)) FROM (SELECT make_event('host') AS event) e")" ok

# Two endpoints, or one whose secret is being rolled.
STRIPE_WEBHOOK_SECRET='whsec_first_of_these_tests whsec_second_of_these_tests' restart
is 'with two secrets the first is taken' "$(signed_with whsec_first_of_these_tests 6)" ok
is 'and the second' "$(signed_with whsec_second_of_these_tests 7)" ok
is 'not both as one' "$(signed_with 'whsec_first_of_these_tests whsec_second_of_these_tests' 8)" 'PT400 bad_signature'
is 'nor a part of one' "$(signed_with whsec_first_of_these_test 9)" 'PT400 bad_signature'
STRIPE_WEBHOOK_SECRET=whsec_second_of_these_tests restart
is 'a secret that was taken away is of no use' "$(signed_with whsec_first_of_these_tests 10)" 'PT400 bad_signature'
is 'an event that Stripe sends again after a 503 is taken' "$(signed_with whsec_second_of_these_tests 3)" ok
is 'each was recorded once' "$(recorded)" 4
done_testing
