#!/usr/bin/env bash
# The server's secrets are nowhere but in its environment or its key file: not in a log, however talkative, a setting,
# another file of the database, or a dump. What Stripe hands to a buyer does not reach a log through the relay either.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
source "$(dirname "${BASH_SOURCE[0]}")/support/keys.sh"
export TICKET_HMAC_SECRET='marker-of-the-ticket-secret-0123456789'
export STRIPE_WEBHOOK_SECRET='whsec_marker_of_the_first whsec_marker_of_the_second'
on_a_cluster "$@" -- --conf log_statement=all --conf log_min_messages=debug2 --conf log_min_error_statement=debug5 --conf log_error_verbosity=verbose \
  --conf log_parameter_max_length=-1 --conf log_parameter_max_length_on_error=-1 --conf log_min_duration_statement=0 --conf log_connections=on \
  --conf log_lock_waits=on --conf track_activity_query_size=64kB
log=$PGDATA/server.log
secrets=("$TICKET_HMAC_SECRET")
# shellcheck disable=SC2206
secrets+=($STRIPE_WEBHOOK_SECRET)

# The calls below sign outside of SQL, or the secret would be in the statement.
psql_here() { psql -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=verbose "$@"; }
webhook() {
  local time mac
  time=$(date +%s)
  mac=$(printf '%s.%s' "$time" "$2" | openssl dgst -sha256 -hmac "$1" | sed 's/.*= //')
  attempt "SELECT ticketing.stripe_webhook(convert_to('$2', 'UTF8'), 't=$time,v1=$mac')"
}

# in_other_forms TEXT: as it would look in a dump or a log, too
in_other_forms() {
  printf '%s\n' "$1"
  printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n' && echo
  printf '%s' "$1" | base64 -w0 && echo
}
for secret in "${secrets[@]}"; do in_other_forms "$secret"; done >"$scraps/secrets"
# nowhere_in FILE...: none of these has a secret in any form
nowhere_in() { ! LC_ALL=C grep -rlaFf "$scraps/secrets" -- "$@"; }
is 'the markers are found where they are' "$(nowhere_in <(cat "$scraps/secrets") "$0" >/dev/null || echo found)" found

# ---- everything that touches the secrets, successes and errors

sql "SET search_path = test, public; CREATE TABLE test.shop AS SELECT event, make_tier(event) AS tier, make_tier(event, 0) AS free FROM (SELECT make_event(make_host('host'), 100) AS event) e"
ticket=$(sql "SET search_path = test, public; SELECT ticketing.claim_free_tickets('buyer', event, items(free, 1)) -> 'tickets' -> 0 ->> 'qr_payload' FROM test.shop")
is 'a ticket is signed' "$(sql "SELECT valid FROM ticketing.verify_ticket('$ticket')")" t
is 'a forged one is not genuine' "$(sql "SELECT reason FROM ticketing.verify_ticket('${ticket%????}AAAA')")" bad_signature
is 'signing fails' "$(attempt "SELECT ticketing.sign_ticket(gen_random_uuid(), 1, '\x01')")" 'PT400 bad_request'
is 'the second suite signs' "$(attempt "SELECT ticketing.sign_ticket(gen_random_uuid(), 1, '\x0102030405060708', 2)")" ok
is 'a scan' "$(sql "SELECT ticketing.check_in('$ticket', event, 'host') ->> 'result' FROM test.shop")" admitted
for secret in "${secrets[@]:1}"; do
  is 'a genuine webhook' "$(webhook "$secret" "{\"id\": \"evt_of_$RANDOM\", \"type\": \"customer.created\", \"livemode\": false}")" ok
done
is 'a webhook signed with something else' "$(webhook nothing '{}')" 'PT400 bad_signature'
is 'a webhook without a signature' "$(attempt "SELECT ticketing.stripe_webhook('{}', 'nonsense')")" 'PT400 bad_signature'
sql 'CHECKPOINT'

# ---- where they could be

ok 'no secret is in a setting' nowhere_in <(sql 'SHOW ALL') <(sql 'SELECT s FROM pg_settings s') <(sql 'SELECT f FROM pg_file_settings f') <(sql 'SELECT r FROM pg_db_role_setting r')
ok 'none is in what sessions are seen to do' nowhere_in <(sql 'SELECT a FROM pg_stat_activity a')
ok 'none is in a function or its comment' nowhere_in <(sql 'SELECT p FROM pg_proc p') <(sql 'SELECT d FROM pg_description d')
pg_dumpall --no-sync >"$scraps/dump" 2>"$scraps/dump.err"
ok 'the dump is one' grep -q 'CREATE TABLE ticketing.orders' "$scraps/dump"
ok 'no secret is in a dump' nowhere_in "$scraps/dump"
ok 'the log has heard all of it' grep -q 'webhook signature is not valid' "$log"
ok 'none is in the log' nowhere_in "$log"
ok 'none is in any file of the database, WAL included' nowhere_in "$PGDATA"

# A secret that is of no use is not shown either.
short=marker-of-31-bytes-0123456789ab
TICKET_HMAC_SECRET=$short restart
in_other_forms $short >>"$scraps/secrets"
is 'a secret that is too short' "$(attempt "SELECT ticketing.verify_ticket('$ticket')")" 'PT503 not_configured'
ok 'is not in its error' nowhere_in "$scraps/error"
ok 'nor in the log' nowhere_in "$log"

# ---- the secrets of a key file

TICKET_HMAC_SECRET=${secrets[0]} restart
make_folder keys 700
file=$DVNT_CLUSTER/keys/ticket.keys
one='marker-of-the-file-one-0123456789-0123456789'
two='marker-of-the-file-two-0123456789-0123456789'
short='marker-of-the-short-one'
# Not even their beginnings.
for secret in "$one" "$two" "$short"; do in_other_forms "$secret" | cut -c 1-22; done >>"$scraps/secrets"
open_session old
# everyone WHAT: every call, in a new session and in one that stays; what they say is in $scraps/said
everyone() {
  local call
  for call in "SELECT ticketing.verify_ticket('$ticket')" "SELECT ticketing.verify_ticket('${ticket%????}AAAA')" "SELECT ticketing.is_genuine_ticket('$ticket')" "SELECT ticketing.check_in('$ticket', 7, 'host')" \
    "SELECT ticketing.sign_ticket(gen_random_uuid(), 7, '\\x0102030405060708')" "SELECT ticketing.sign_ticket(gen_random_uuid(), 7, '\\x0102030405060708', 2)" \
    "SELECT ticketing.sign_ticket(gen_random_uuid(), 7, '\\x01')" "SELECT ticketing.sign_ticket(gen_random_uuid(), 7, '\\x0102030405060708', 3)" \
    "SET search_path = test, public; BEGIN; SELECT ticketing.claim_free_tickets('other', event, items(free, 1)), ticketing.create_payment_intent('other', event, items(tier, 1)) FROM test.shop; ROLLBACK"; do
    echo "$1: $call"
    sql "SET client_min_messages = debug5" "$call"
    ask old "SET client_min_messages = debug5; $call"
  done >>"$scraps/said" 2>&1
}
write_keys "$file" "$(key 1 "$one")" "$(key 2 "$two")"
name_key_file "$file"
reload
everyone good
is 'the key file counts' "$(sql "SELECT reason FROM ticketing.verify_ticket('$ticket')")" bad_signature
# break_it WHAT LINE...: while keys are in use, and from the start
break_it() {
  write_keys "$file" "$(key 1 "$one")" "$(key 2 "$two")"
  reload
  write_keys "$file" "${@:2}"
  reload
  everyone "$1"
  close_session old
  restart
  open_session old
  everyone "$1, from the start"
}
break_it 'an id occurs twice' "$(key 1 "$one")" "$(key 1 "$two")"
break_it 'a secret is not base64' "$(key 1 "$one")" "2:$two"
break_it 'a line has no id' "$(key 1 "$one")" "$(base64_of "$two")"
break_it 'a secret is short' "$(key 1 "$one")" "$(key 2 "$short")"
break_it 'no line makes sense' "$one" "$two" "$short"
chmod 640 "$file"
reload
everyone 'others have access'
cp -p "$file" "$PGDATA/ticket.keys"
write_keys "$PGDATA/ticket.keys" "$(key 1 "$one")" "$(key 2 "$two")"
name_key_file ticket.keys
reload
everyone 'in the data directory'
sql 'CHECKPOINT'
ok 'callers have heard of broken files' grep -q 'PT503: no ticket secret is configured: the key file is broken: line 2: this key id occurs twice' "$scraps/said"
is 'no refusal and no message has a secret of the key file' "$(nowhere_in "$scraps/said"; grep -aFf "$scraps/secrets" "$scraps/said")" ''
is 'the setting has its path' "$(sql 'SHOW dvnt_ticketing.key_file')" ticket.keys
ok 'no setting has a secret' nowhere_in <(sql 'SHOW ALL') <(sql 'SELECT s FROM pg_settings s') <(sql 'SELECT f FROM pg_file_settings f') <(sql 'SELECT r FROM pg_db_role_setting r') <(sql 'SELECT a FROM pg_stat_activity a')
pg_dumpall --no-sync >"$scraps/dump" 2>"$scraps/dump.err"
ok 'nor has a dump' nowhere_in "$scraps/dump"
for line in 'line 2: this key id occurs twice' 'line 2: the secret is not standard base64 with padding' 'line 2: the secret is shorter than 32 bytes' 'line 1: expected id:base64'; do
  ok "the log has heard: $line" has "$log" "$line"
done
ok 'and of a good one' grep -q 'LOG: .*ticket key file .*: key id 1 signs, 2 verify' "$log"
ok 'the log has no secret' nowhere_in "$log"
is 'nor has any file of the database but the key file itself' "$(LC_ALL=C grep -rlaFf "$scraps/secrets" -- "$PGDATA")" "$PGDATA/ticket.keys"
close_session old
name_key_file ''
rm "$PGDATA/ticket.keys"

# ---- what Stripe hands to a buyer

restart
sql "SET search_path = test, public; SELECT order_tickets('payer', event, items(tier, 1)) FROM test.shop" >/dev/null
# The relay binds Stripe's answers as parameters.
cat >"$scraps/relay.pl" <<'PERL'
use strict;
use DBI;
my $db = DBI->connect("dbi:Pg:dbname=$ENV{PGDATABASE};host=$ENV{PGHOST};port=$ENV{PGPORT}", 'dvnt_ticketing_relay', '', { RaiseError => 1, pg_server_prepare => 1 });
$db->selectrow_array(q{SELECT ticketing.relay_start('acct_platform', false, '')});
my $complete = $db->prepare('SELECT ticketing.relay_complete(?::uuid, ?::uuid, ?::integer, ?::jsonb, ?::bytea)');
my $bad = $db->prepare('SELECT length(ticketing.relay_complete(?::uuid, ?::uuid, ?::integer, ?::jsonb, ?::bytea)) / 0');
for (1 .. 2) {
    my $claimed = $db->selectall_arrayref(q{SELECT id, lease_token, path FROM ticketing.relay_claim(10, '1 minute')});
    for my $request (@$claimed) {
        my ($id, $token, $path) = @$request;
        my $answer = $path =~ /customers/ ? '{"id": "cus_1"}' : '{"id": "pi_1", "status": "requires_payment_method", "client_secret": "pi_1_secret_marker_of_a_buyer"}';
        $answer = '\x' . unpack('H*', $answer);
        eval { local $db->{PrintError} = 0; $bad->execute($id, $token, 200, '{"marker-of-a-header": "x"}', $answer) };
        $complete->execute($id, $token, 200, '{"marker-of-a-header": "x"}', $answer);
        print $complete->fetchrow_array, "\n";
    }
}
PERL
is 'the relay brings answers' "$(perl "$scraps/relay.pl" 2>"$scraps/relay.err" | tr '\n' ' ')" 'done done '
in_other_forms pi_1_secret_marker_of_a_buyer >"$scraps/secrets"
echo marker-of-a-header >>"$scraps/secrets"
is 'which are there for the buyer' "$(sql "SELECT client_secret FROM ticketing.stripe_handoff WHERE user_id = 'payer'")" pi_1_secret_marker_of_a_buyer
ok 'the log has heard of the relay' grep -q 'dvnt_ticketing_relay@.*relay_complete' "$log"
ok 'and of its failed calls' grep -q 'dvnt_ticketing_relay@.*division by zero' "$log"
ok 'and has not one of their parameters' nowhere_in "$log"
webhook "${secrets[1]}" '{"id": "evt_secret", "type": "payment_intent.created", "livemode": false, "data": {"object": {"id": "pi_2", "client_secret": "pi_1_secret_marker_of_a_buyer"}}}' >/dev/null
is 'a client secret of a webhook is struck out before it is stored' "$(sql "SELECT payload FROM ticketing.stripe_inbox WHERE stripe_event_id = 'evt_secret'" | grep -o 'client_secret": "[^"]*"')" "client_secret\": \"$(printf '%29s' '' | tr ' ' '*')\""
is 'nothing is wrong' "$(invariants)" ''
done_testing
