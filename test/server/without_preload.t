#!/usr/bin/env bash
# The extension works where its library is not preloaded: each session loads it with its first call.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
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
is 'nothing is wrong' "$(invariants)" ''
done_testing
