#!/usr/bin/env bash
# Tables that are adopted may have columns of their own, one of them named as ours; what the engine could not work with is
# refused before anything is done.
source "$(dirname "$0")/lib.sh"

test_columns() {
  copy wide legacy
  sql wide <<'SQL'
ALTER TABLE public.tickets ADD COLUMN seat text, ADD COLUMN vip boolean NOT NULL DEFAULT false, ADD COLUMN short text GENERATED ALWAYS AS (left(qr_token, 6)) STORED;
ALTER TABLE public.ticket_types DROP COLUMN created_at, ADD COLUMN color text DEFAULT 'red', ADD COLUMN created_at timestamptz DEFAULT now();
ALTER TABLE public.events ADD COLUMN capacity integer, ALTER COLUMN title TYPE varchar(64);
ALTER TABLE public.orders ADD COLUMN campaign_code text, ADD COLUMN note text NOT NULL DEFAULT '';
SQL
  wide_shape=$(shape wide public)
  ok 'columns of their own on adopted tables, others at another place, varchar for text' deploy_scripts wide
  ok 'verifies' verify_scripts wide
  ok 'a day of sales' day wide first
  ok 'adds up' is "$(sample_findings wide)" "$SAMPLE_FINDINGS"
  ok 'reverts' revert_scripts wide
  ok 'and public is as it was' is "$(shape wide public)" "$wide_shape"
}

test_own_payload() {
  copy own legacy
  value own "ALTER TABLE public.tickets ADD COLUMN qr_payload text; COMMENT ON COLUMN public.tickets.qr_payload IS 'ours';
    UPDATE public.tickets SET qr_payload = 'old ' || left(qr_token, 8) WHERE status = 'active'" >/dev/null
  own_shape=$(shape own public)
  own_payloads=$(payloads own public.tickets id)
  ok 'tickets.qr_payload is there already, with values: deploys' deploy_scripts own
  ok 'verifies' verify_scripts own
  ok 'the values are left alone' is "$(payloads own public.tickets id)" "$own_payloads"
  ok 'a day of sales' day own first
  both=$(payloads own public.tickets id)
  ok 'reverts' revert_scripts own
  ok 'the column stays: it is not ours to drop' is "$(shape own public)" "$own_shape"
  ok 'with all values, those of the day, too' is "$(payloads own public.tickets id)" "$both"
  ok 'deploys again' deploy_scripts own
  ok 'with the same values' is "$(payloads own public.tickets id)" "$both"
}

# One that nobody has described, and none of whose tickets has a code.
test_bare_payload() {
  copy bare legacy
  value bare 'ALTER TABLE public.tickets ADD COLUMN qr_payload text' >/dev/null
  bare_shape=$(shape bare public)
  ok 'tickets.qr_payload is there, empty and without a comment: deploys' deploy_scripts bare
  ok 'reverts' revert_scripts bare
  ok 'the column stays' is "$(shape bare public)" "$bare_shape"
}

# refuses DATABASE SQL TEXT: a table that the engine could not work with; nothing is changed.
refuses() {
  local before
  copy "$1" legacy
  value "$1" "$2" >/dev/null
  before=$(shape "$1" public)
  refused "$3" deploy_scripts "$1" && is "$(shape "$1" public)" "$before" && is "$(value "$1" "SELECT to_regnamespace('ticketing') IS NULL")" t
}

# The engine reads these columns without asking for their type again: another type would be read as garbage.
test_refusals() {
  ok 'a column that is missing is named before anything is done' refuses lacks 'ALTER TABLE public.ticket_types DROP COLUMN max_per_user' 'public.ticket_types.max_per_user is missing'
  ok 'so is one of another type' refuses whole 'ALTER TABLE public.events ALTER max_attendees TYPE integer' 'public.events.max_attendees is integer, not numeric'
  ok 'and every other' refuses several 'ALTER TABLE public.orders ALTER total_cents TYPE bigint; ALTER TABLE public.tickets DROP COLUMN status CASCADE' 'public.orders.total_cents is bigint, not integer; public.tickets.status is missing'
  ok 'a qr_payload that is not text' refuses typed 'ALTER TABLE public.tickets ADD COLUMN qr_payload jsonb' 'public.tickets.qr_payload is jsonb, not text'
  ok 'or too short for a signed code' refuses short 'ALTER TABLE public.tickets ADD COLUMN qr_payload varchar(100)' 'public.tickets.qr_payload is character varying(100), not text'
  ok 'a view in the place of a table' refuses view 'ALTER TABLE public.payouts RENAME TO payouts_table; CREATE VIEW public.payouts AS SELECT * FROM public.payouts_table' 'public.payouts is not a table'
}

make_legacy legacy
test_columns
test_own_payload
test_bare_payload
test_refusals
done_testing
