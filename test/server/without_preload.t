#!/usr/bin/env bash
# The extension works where its library is not preloaded: each session loads it with its first call.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
source "$(dirname "${BASH_SOURCE[0]}")/support/keys.sh"
on_a_cluster "$@" -- --conf shared_preload_libraries=pg_cron

is 'the library is not preloaded' "$(sql 'SHOW shared_preload_libraries')" pg_cron
sql "CREATE TABLE test.shop AS SELECT event, make_tier(event, 2500, 10) AS tier, make_tier(event, 0, 10) AS free FROM (SELECT make_event(make_host('host'), 15) AS event) e"

# Each call is the first of its session.
hold=$(sql "SELECT hold('buyer', event, items(tier, 2)) FROM test.shop")
is 'tickets are held' "$(sql "SELECT available(tier) FROM test.shop")" 8
is 'and released' "$(sql "SELECT ticketing.release_hold('$hold', 'buyer') ->> 'released'")" true
ticket=$(sql "SELECT ticketing.claim_free_tickets('buyer', event, items(free, 1)) -> 'tickets' -> 0 ->> 'qr_payload' FROM test.shop")
is 'tickets are signed' "$(sql "SELECT valid FROM ticketing.verify_ticket('$ticket')")" t
is 'and scanned' "$(sql "SELECT ticketing.check_in('$ticket', event, 'host') ->> 'result' FROM test.shop")" admitted
order=$(sql "SELECT payable_order('buyer', event, items(tier, 2)) FROM test.shop")
is 'orders are paid' "$(sql "SELECT pay('$order')")" applied
is 'a parallel worker loads it, too' "$(sql "SELECT FROM pg_settings, set_config(name, 'on', false) WHERE name IN ('force_parallel_mode', 'debug_parallel_query'); SELECT ticketing.is_genuine_ticket('$ticket')")" t
is 'what other code does is followed without it' "$(sql "UPDATE public.tickets SET status = 'void' WHERE user_id = 'buyer'; SELECT available(tier) FROM test.shop")" 10

# Settings that were made before the library is there are held to their rules when it comes.
now=$(sql 'SELECT ticketing.clock()')
shifted() { sql "SET ROLE service_role; SET dvnt_ticketing.test_clock_offset = '1e12'; SELECT ticketing.clock() > '$now'::timestamptz + interval '1 hour'"; }
is 'nobody but superusers shifts the clock, not by a setting made beforehand' "$(shifted 2>/dev/null)" f
is 'nor can one stretch a hold' "$(sql "SET ROLE service_role; SET dvnt_ticketing.hold_ttl = '20min'; RESET ROLE; SELECT (ticketing.hold_tickets('long', event, items(tier, 1)) ->> 'expires_at')::timestamptz < now() + interval '11 minutes' FROM test.shop" 2>/dev/null)" t
is 'a setting of ours that does not exist is refused once the library is there' "$(attempt 'SELECT ticketing.clock(); SET dvnt_ticketing.no_such = 1')" 42602
is "a superuser's setting counts from the first call on" "$(sql "SET dvnt_ticketing.hold_ttl = '7min'; SELECT (ticketing.hold_tickets('short', event, items(tier, 1)) ->> 'expires_at')::timestamptz < now() + interval '8 minutes' FROM test.shop")" t

# A key file is read by each session: at its first call, and after a reload.
make_folder keys 700
file=$DVNT_CLUSTER/keys/ticket.keys
other=$DVNT_CLUSTER/keys/other.keys
use_key_functions
write_keys "$file" "$(key 2)"
write_keys "$other" "$(key 7)"
is 'without a key file the environment signs' "$(sql 'SELECT signs()')" 1
name_key_file "$file"
reload
open_session old
is 'the key file signs, once it is named' "$(both 'signs()')" '2, 2'
is 'a session that names another beforehand is not heard' "$(sql "SET dvnt_ticketing.key_file = '$other'" 'SELECT signs()' 2>/dev/null), $(sql 'SET ROLE service_role' "SET dvnt_ticketing.key_file = ''" 'RESET ROLE' 'SELECT signs()' 2>/dev/null)" '2, 2'
# These PostgreSQL lets overwrite the value of the configuration files, before it forbids them.
lost() {
  is "$1: it does not count, and no other keys are used instead" "$(attempt 'SELECT signs()')" 'PT503 not_configured'
  like "$1: it says why" "$(<"$scraps/error")" 'dvnt_ticketing.key_file was set for this session, user or database, where it does not count'
}
PGOPTIONS="-c dvnt_ticketing.key_file=$other" lost 'named by startup options'
PGOPTIONS='-c DVNT_Ticketing.Key_File=' lost 'taken away by startup options'
sql "ALTER DATABASE dvnt SET dvnt_ticketing.key_file = ''"
lost 'taken away for the database'
open_session lost
is 'a session that has lost it has no keys' "$(ask lost 'SELECT signs()' | grep -c 'PT503: no ticket secret is configured')" 1
reload
is 'until a reload' "$(ask lost 'SELECT signs()')" 2
close_session lost
sql 'ALTER DATABASE dvnt RESET dvnt_ticketing.key_file'
is 'the others sign all the while' "$(both 'signs()')" '2, 2'
is 'a parallel worker reads it, too' "$(sql "SELECT FROM pg_settings, set_config(name, 'on', false) WHERE name IN ('force_parallel_mode', 'debug_parallel_query'); SELECT key_of(ticketing.sign_ticket('6f9619ff-8b86-4d01-b42d-00c04fc964ff', 7, '\x0102030405060708'))")" 2
write_keys "$file" "$(key 3)" "$(key 2)"
is 'a session that has read it reads it again after a reload' "$(ask old 'SELECT signs()')" 2
reload
is 'which is when it counts' "$(both 'signs()')" '3, 3'

# A command is told of a reload when it ends; what others sign with a new key meanwhile is genuine for it all the same.
sql 'CREATE TABLE test.codes (code text)' 'CREATE TABLE test.heard (signs integer, verdict text)'
begin old "DO \$\$
BEGIN
  INSERT INTO heard VALUES (signs());
  WHILE NOT EXISTS (SELECT FROM codes) LOOP
    PERFORM pg_sleep(0.01);
  END LOOP;
  INSERT INTO heard (signs, verdict) SELECT signs(), verdict(code) FROM codes;
END \$\$"
await 10 says "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE application_name = 'old'"
write_keys "$file" "$(key 3)" "$(key 2)" "$(key 6)"
reload
write_keys "$file" "$(key 6)" "$(key 3)" "$(key 2)"
reload
sql 'INSERT INTO codes SELECT new_code()'
finish old >/dev/null
is 'a command that began before two reloads verifies what the newest key has signed' "$(sql 'SELECT * FROM heard')" $'3|\n3|valid'
write_keys "$file" "$(key 3)" "$(key 2)"
reload
is 'rotation the other way round' "$(both 'signs()')" '3, 3'
write_keys "$file" '4:not base64'
mark_log
reload
is 'where it is broken a session keeps the keys that it has' "$(ask old 'SELECT signs()')" 3
is 'a new one has none, nor those of the environment' "$(attempt 'SELECT signs()')" 'PT503 not_configured'
like 'and says why' "$(<"$scraps/error")" 'no ticket secret is configured: the key file is broken: line 1: the secret is not standard base64 with padding'
is 'both complain of it in the log' "$(key_news)" "old: ticket key file \"$file\" is broken: line 1: the secret is not standard base64 with padding
another: ticket key file \"$file\" is broken: line 1: the secret is not standard base64 with padding"
write_keys "$file" "$(key 4)" "$(key 3)"
reload
is 'mended, it counts' "$(both 'signs()')" '4, 4'
name_key_file ''
reload
is 'named no more, it does not, and the environment signs' "$(both 'signs()')" '1, 1'
is 'nothing is wrong' "$(invariants)" ''
done_testing
