#!/usr/bin/env bash
# While the engine is taken out, and between two steps of a deployment, the application goes on selling and changing
# tiers. Afterwards stock is what the tables say: nobody's sale is forgotten, no seat is made up.
source "$(dirname "$0")/lib.sh"

# What the application does to a database that has the sample and the day `first`, without the engine. Every change of the
# kinds that the engine's triggers would have followed.
changes_without_engine() {
  sql "$1" <<'SQL'
-- A legacy tier of 120 and one of the engine's own day.
SELECT id AS tier, event_id AS event FROM public.ticket_types WHERE quantity_total = 120 ORDER BY event_id LIMIT 1 \gset
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT :event, :'tier', 'goes-on', md5('a' || g) || md5('goes on') FROM generate_series(1, 3) g;
SELECT t.id AS paid, t.event_id AS day FROM public.ticket_types t JOIN public.events e ON e.id = t.event_id WHERE e.title = 'first' AND t.name = 'paid' \gset
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) VALUES (:day, :'paid', 'goes-on', md5('b') || md5('goes on'));
-- Refunded, valid again (of the sample's void ones: the day's is suspended, and to make that one valid is a finding), deleted.
UPDATE public.tickets SET status = 'refunded' WHERE id IN (SELECT id FROM public.tickets WHERE ticket_type_id = :'tier' AND status = 'active' ORDER BY id LIMIT 2);
UPDATE public.tickets SET status = 'active' WHERE id IN (SELECT id FROM public.tickets WHERE status = 'void' AND user_id <> 'first-app' ORDER BY id LIMIT 2);
DELETE FROM public.tickets WHERE id IN (SELECT id FROM public.tickets WHERE ticket_type_id = :'tier' AND status = 'active' AND user_id <> 'goes-on' ORDER BY id LIMIT 1);
-- Capacities: more, fewer than sold, no limit any more, a limit at last.
UPDATE public.ticket_types SET quantity_total = 150 WHERE id = :'tier';
UPDATE public.ticket_types SET quantity_total = 1 WHERE id = (SELECT t.id FROM public.ticket_types t WHERE quantity_total = 30 AND (SELECT count(*) FROM public.tickets k WHERE k.ticket_type_id = t.id AND k.status IN ('active', 'scanned')) > 1 ORDER BY event_id LIMIT 1);
UPDATE public.ticket_types SET quantity_total = NULL WHERE id = (SELECT id FROM public.ticket_types WHERE quantity_total = 40 ORDER BY event_id DESC LIMIT 1);
UPDATE public.ticket_types SET quantity_total = 500 WHERE id = (SELECT id FROM public.ticket_types WHERE quantity_total IS NULL AND name = 'Free Entry' ORDER BY event_id LIMIT 1);
UPDATE public.events SET max_attendees = 400 WHERE id = :event;
UPDATE public.events SET max_attendees = NULL WHERE id = (SELECT id FROM public.events WHERE max_attendees = 300 ORDER BY id DESC LIMIT 1);
UPDATE public.events SET max_attendees = 77.9 WHERE id = (SELECT id FROM public.events WHERE max_attendees IS NULL AND id < 60 ORDER BY id DESC LIMIT 1);
-- Tiers and events that come, go and move.
DELETE FROM public.ticket_types WHERE id = (SELECT id FROM public.ticket_types WHERE quantity_total = 30 ORDER BY event_id DESC OFFSET 3 LIMIT 1);
UPDATE public.ticket_types SET event_id = (SELECT max(id) FROM public.events WHERE title LIKE 'Event %') WHERE id = (SELECT id FROM public.ticket_types WHERE quantity_total = 120 ORDER BY event_id OFFSET 5 LIMIT 1);
DELETE FROM public.events WHERE id = (SELECT e.id FROM public.events e WHERE NOT EXISTS (SELECT FROM public.orders o WHERE o.event_id = e.id) AND max_attendees IS NOT NULL ORDER BY id LIMIT 1);
INSERT INTO public.events (host_id, title, max_attendees) VALUES ('new-host', 'new', 50) RETURNING id AS new \gset
INSERT INTO public.ticket_types (event_id, name, quantity_total) VALUES (:new, 'new', 5) RETURNING id AS new_tier \gset
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) SELECT :new, :'new_tier', 'goes-on', md5('c' || g) || md5('goes on') FROM generate_series(1, 2) g;
-- A host whose account was not there yet, and one who had none at Stripe.
INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled) VALUES ('new-host', 'acct_new', true);
UPDATE public.organizer_accounts SET stripe_account_id = 'acct_late', charges_enabled = true WHERE host_id = 'late-host';
-- The tier of seats that somebody holds without an order.
DELETE FROM public.ticket_types WHERE name = 'held';
SQL
}

# prepare DATABASE: the sample with the engine, used, and what changes_without_engine needs.
prepare() {
  make_legacy "$1" && deploy_scripts "$1" && day "$1" first && sql "$1" <<'SQL'
INSERT INTO public.organizer_accounts (host_id) VALUES ('late-host');
INSERT INTO public.events (title, max_attendees) VALUES ('to hold', 9) RETURNING id AS event \gset
INSERT INTO public.ticket_types (event_id, name, quantity_total) VALUES (:event, 'held', 4) RETURNING id AS tier \gset
SELECT ticketing.hold_tickets('holder', :event, jsonb_build_array(jsonb_build_object('ticket_type_id', :'tier', 'quantity', 3)));
INSERT INTO public.events (title, max_attendees) VALUES ('to delete', 9);
SQL
}

# The tiers that were oversold by then, and none that was not.
all_is_well() {
  ok "$1: every pool has what the tables say" is "$(wrong_pools "$2")" ''
  ok "$1: only oversold tiers are reported: the sample's two and the one cut below what it had sold" is "$(value "$2" 'SELECT check_name, count(*) FROM ticketing.check_invariants() GROUP BY 1')" 'oversold|3'
  ok "$1: verifies" verify_scripts "$2"
  ok "$1: new hosts and events are known, and a first Stripe account" is "$(value "$2" "
    SELECT (SELECT stripe_account_id || ' ' || charges_enabled FROM ticketing.payees WHERE host_id = 'new-host'), (SELECT stripe_account_id || ' ' || charges_enabled FROM ticketing.payees WHERE host_id = 'late-host'),
           (SELECT s.host_id || ' ' || s.capacity FROM ticketing.event_settings s JOIN public.events e ON e.id = s.event_id WHERE e.title = 'new'),
           (SELECT count(*) FROM public.events e JOIN ticketing.event_settings s ON s.event_id = e.id WHERE s.capacity IS DISTINCT FROM floor(e.max_attendees))")" 'acct_new true|acct_late true|new-host 50|0'
}

ok 'the sample, deployed and used' prepare used
ok 'every pool has what the tables say' is "$(wrong_pools used)" ''

# The whole engine out.
copy out used
ok 'all of it is reverted' revert_scripts out
ok 'the application goes on without it' changes_without_engine out
ok 'and it is deployed again' deploy_scripts out
all_is_well 'taken out' out

# Only the upper changes out: the triggers on tickets stay, those on tiers and events do not.
copy half used
ok 'reverted to stock' scripts half revert $(printf '%s\n' "${changes[@]}" | tac | sed '/^stock$/,$d')
ok 'the application goes on with half of the engine' changes_without_engine half
ok 'and it is deployed again' scripts half deploy $(printf '%s\n' "${changes[@]}" | sed '1,/^stock$/d')
all_is_well 'half taken out' half

# The same in a first deployment that stops between the two.
make_legacy stopped
ok 'a first deployment that stops after stock' scripts stopped deploy $(printf '%s\n' "${changes[@]}" | sed '/^holds$/,$d')
sql stopped <<'SQL'
UPDATE public.ticket_types SET quantity_total = NULL WHERE id = (SELECT id FROM public.ticket_types WHERE quantity_total = 30 ORDER BY event_id LIMIT 1);
UPDATE public.ticket_types SET quantity_total = 99 WHERE id = (SELECT id FROM public.ticket_types WHERE quantity_total = 120 ORDER BY event_id LIMIT 1);
UPDATE public.events SET max_attendees = 299 WHERE id = (SELECT id FROM public.events WHERE max_attendees = 300 ORDER BY id LIMIT 1);
DELETE FROM public.ticket_types WHERE id = (SELECT id FROM public.ticket_types WHERE quantity_total = 40 ORDER BY event_id DESC LIMIT 1);
INSERT INTO public.ticket_types (event_id, name, quantity_total) SELECT 1, 'new', 7 RETURNING id AS tier \gset
INSERT INTO public.tickets (event_id, ticket_type_id, user_id, qr_token) VALUES (1, :'tier', 'goes-on', md5('d') || md5('goes on'));
SQL
ok 'goes on from there' scripts stopped deploy $(printf '%s\n' "${changes[@]}" | sed '1,/^stock$/d')
ok 'every pool has what the tables say' is "$(wrong_pools stopped)" ''
ok 'and only the sample'\''s oversold tiers are reported' is "$(sample_findings stopped)" "$SAMPLE_FINDINGS"
done_testing
