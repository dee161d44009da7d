#!/usr/bin/env bash
# A database without any table: deployed, used, taken back, deployed again. Every row comes back.
source "$(dirname "$0")/lib.sh"

# Stock is derived from what is sold and held; tiers that were made since are adopted now.
dealt_anew='^(stock_shards|adopted_counters)$'

test_deployed() {
  createdb blank
  ok 'deploys where there is no table at all' deploy blank
  ok 'verifies' verify blank
  ok 'the twelve tables are there' is "$(value blank "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")" 12
  ok 'the engine works: a day of sales' day blank first
  ok 'seats add up after it' is "$(findings blank)" ''
  ok 'stock is what was sold and held' is "$(day_stock blank first)" "$DAY_STOCK"
  ok 'rows in every table, so that every table is tested (adopted_counters: nothing was adopted)' is "$(empty_tables)" 'adopted_counters|0'
}

# Tables without a row.
empty_tables() { sums blank ticketing | grep -F '|0|' | cut -d'|' -f1,2; }

test_reverted() {
  before=$(sums blank ticketing "$dealt_anew")
  public_before=$(sums blank public)
  payloads_before=$(payloads blank public.tickets id)
  shards_before=$(value blank 'SELECT count(*) FROM ticketing.stock_shards')
  ok 'a revert goes through' revert blank
  ok 'nothing of the engine is left in the way' is "$(traces blank)" ''
  ok 'the parked tables have every row' is "$(sums blank ticketing "$dealt_anew")" "$before"
  ok 'the shards, too' is "$(value blank 'SELECT count(*) FROM ticketing.stock_shards_parked')" "$shards_before"
  ok 'tables that the baseline made are parked, not dropped' is "$(value blank "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '_parked$'")" 12
  ok 'none of them is left under its own name' is "$(value blank "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '_parked$'")" 0
  ok 'with every row' is "$(sums blank public)" "$public_before"
  ok 'signed codes are put aside, not lost' is "$(payloads blank ticketing.ticket_payloads_parked ticket_id)" "$payloads_before"
  ok 'no client can read them there' is "$(value blank "SELECT has_table_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, DELETE')::text FROM unnest(ARRAY['anon', 'authenticated', 'service_role']) r, pg_class c WHERE c.relnamespace = 'ticketing'::regnamespace AND c.relkind = 'r' GROUP BY 1")" false
  ok 'sqitch knows that nothing is deployed' is "$(value blank 'SELECT count(*) FROM sqitch.changes')" 0
}

test_deployed_again() {
  local shape_before=$1
  ok 'deploys again' deploy blank
  ok 'verifies' verify blank
  ok 'the same rows are back' is "$(sums blank ticketing "$dealt_anew")" "$before"
  ok 'those of the application, too' is "$(sums blank public)" "$public_before"
  ok 'every ticket has its signed code again' is "$(payloads blank public.tickets id)" "$payloads_before"
  ok 'seats add up: stock was derived from what is sold and held' is "$(findings blank)" ''
  ok 'held seats are still held' is "$(day_stock blank first)" "$DAY_STOCK"
  ok 'public looks as it did' is "$(shape blank public)" "$shape_before"
  ok 'nothing is parked any more' is "$(value blank "SELECT relname FROM pg_class WHERE relname ~ '_parked$'")" ''
  ok 'an answer given before the revert is given again, and nothing is held twice' is "$(repeat_hold)" 'same'
  ok 'what was sold, held and ordered before the revert is worth what it was' day_goes_on blank first
  ok 'the engine works: another day of sales' day blank second
  ok 'and it adds up' is "$(findings blank)" ''
}

# The same request id as on the first day.
repeat_hold() {
  value blank "SELECT CASE WHEN ticketing.hold_tickets('first-1', e.id, jsonb_build_array(jsonb_build_object('ticket_type_id', t.id, 'quantity', 2)), NULL, 'hold') = r.answer THEN 'same' END
    FROM public.events e JOIN public.ticket_types t ON t.event_id = e.id AND t.name = 'paid'
    JOIN ticketing.requests r ON r.user_id = 'first-1' AND r.request_id = 'hold' WHERE e.title = 'first'"
}

test_deployed
shape_deployed=$(shape blank public)
shape_ticketing=$(shape blank ticketing)
test_reverted
test_deployed_again "$shape_deployed"
ok 'and so does ticketing' is "$(shape blank ticketing)" "$shape_ticketing"
done_testing
