-- The nightly proof: what Stripe lists, page by page, is what the ledger has, to the cent, on the platform's account and on
-- each organizer's; and what is not is said.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(72);

CREATE TEMP TABLE shop AS SELECT event, make_tier(event) AS tier FROM (SELECT make_event(make_host('settled')) AS event) e;
SELECT clear_outbox() \g /dev/null

-- ---- Stripe, whose books are these

CREATE TABLE stripe_book (n integer GENERATED ALWAYS AS IDENTITY, account text, body jsonb);

CREATE FUNCTION txn(on_account text, type text, amount integer, fee integer, source jsonb, category text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
  INSERT INTO stripe_book (account, body)
  SELECT on_account, jsonb_build_object('object', 'balance_transaction', 'type', type, 'reporting_category', coalesce(category, type), 'amount', amount, 'fee', fee, 'net', amount - fee,
    'currency', 'usd', 'created', floor(extract(epoch FROM ticketing.clock()))::bigint, 'available_on', floor(extract(epoch FROM ticketing.clock()))::bigint + 172800, 'source', source) RETURNING 'txn_' || n
$$;
-- A destination charge: Stripe keeps 184, the application fee comes back.
CREATE FUNCTION stripe_charge(payment text, amount integer, app_fee integer) RETURNS void LANGUAGE sql AS $$
  SELECT txn('platform', 'charge', amount, 184, jsonb_build_object('object', 'charge', 'id', 'ch_' || payment, 'payment_intent', payment));
  SELECT txn('platform', 'transfer', -amount, 0, jsonb_build_object('object', 'transfer', 'id', 'tr_' || payment, 'source_transaction', 'ch_' || payment, 'metadata', '{}'::jsonb));
  SELECT txn('acct_settled', 'payment', amount, app_fee, jsonb_build_object('object', 'charge', 'id', 'py_' || payment, 'payment_intent', NULL, 'source_transfer', 'tr_' || payment));
  SELECT txn('platform', 'application_fee', app_fee, 0, jsonb_build_object('object', 'application_fee', 'id', 'fee_' || payment, 'charge', 'py_' || payment, 'originating_transaction', 'ch_' || payment))
$$;
-- A refund that reverses the transfer and gives back this much of the fee.
CREATE FUNCTION stripe_refund(payment text, refund text, amount integer, fee_back integer) RETURNS void LANGUAGE sql AS $$
  SELECT txn('platform', 'refund', -amount, 0, jsonb_build_object('object', 'refund', 'id', refund, 'payment_intent', payment, 'charge', 'ch_' || payment, 'source_transfer_reversal', NULL));
  SELECT txn('platform', 'transfer_refund', amount, 0, jsonb_build_object('object', 'transfer_reversal', 'id', 'trr_' || refund, 'transfer', 'tr_' || payment, 'source_refund', refund));
  SELECT txn('acct_settled', 'payment_refund', -amount, -fee_back, jsonb_build_object('object', 'refund', 'id', 'pyr_' || refund, 'charge', 'py_' || payment, 'source_transfer_reversal', 'trr_' || refund));
  SELECT txn('platform', 'application_fee_refund', -fee_back, 0, jsonb_build_object('object', 'fee_refund', 'id', 'fr_' || refund, 'fee', 'fee_' || payment))
$$;

-- A page as Stripe would answer: the newest first, so many.
CREATE FUNCTION stripe_page(on_account text, params jsonb, size integer) RETURNS jsonb LANGUAGE sql AS $$
  WITH matching AS (
    SELECT n, body || jsonb_build_object('id', 'txn_' || n) AS body FROM stripe_book WHERE account = on_account
    AND (body ->> 'created')::bigint BETWEEN (params #>> '{created,gte}')::bigint AND (params #>> '{created,lte}')::bigint
    AND n < coalesce(substr(params ->> 'starting_after', 5)::integer, 2147483647) ORDER BY n DESC LIMIT size + 1)
  SELECT jsonb_build_object('object', 'list', 'url', '/v1/balance_transactions', 'has_more', count(*) > size,
    'data', coalesce(jsonb_agg(body ORDER BY n DESC) FILTER (WHERE place <= size), '[]')) FROM (SELECT *, row_number() OVER (ORDER BY n DESC) AS place FROM matching) m
$$;
-- Plays the relay until no page is asked for any more, of these accounts; the next one first, so that organizers' may come before the platform's. Returns how many pages there were.
CREATE FUNCTION carry_pages(size integer DEFAULT 100, at_most integer DEFAULT 100) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  r record;
  pages integer := 0;
BEGIN
  LOOP
    PERFORM ticketing.relay_claim(100, '1 minute');
    SELECT * INTO r FROM ticketing.stripe_requests WHERE kind = 'list_balance_transactions' AND state = 'leased' ORDER BY stripe_account NULLS LAST, seq LIMIT 1;
    EXIT WHEN NOT FOUND OR pages = at_most;
    IF ticketing.relay_complete(r.id, r.lease_token, 200, '{}', convert_to(stripe_page(coalesce(r.stripe_account, 'platform'), r.params, size)::text, 'UTF8')) <> 'done' THEN
      RAISE 'the page was not taken';
    END IF;
    IF (SELECT apply_error FROM ticketing.stripe_requests WHERE id = r.id) IS NOT NULL THEN
      RAISE '%', (SELECT apply_error FROM ticketing.stripe_requests WHERE id = r.id);
    END IF;
    pages := pages + 1;
  END LOOP;
  RETURN pages;
END
$$;
CREATE FUNCTION settle(size integer DEFAULT 100) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ticketing.enqueue_settlement();
  RETURN carry_pages(size);
END
$$;
CREATE FUNCTION stripe_sum(on_account text) RETURNS bigint LANGUAGE sql AS $$ SELECT coalesce(sum((body ->> 'net')::bigint), 0)::bigint FROM stripe_book WHERE account = on_account $$;
-- The report in a line: account, ledger, Stripe, and what stands on one side alone.
CREATE FUNCTION report(day date DEFAULT NULL) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT format('%s %s %s%s%s', account, ledger_cents, stripe_cents, CASE WHEN only_at_stripe > 0 THEN format(', %s of %s at Stripe', only_at_stripe, only_at_stripe_cents) END,
    CASE WHEN only_in_ledger > 0 THEN format(', %s of %s in the ledger', only_in_ledger, only_in_ledger_cents) END) FROM ticketing.settlement_report(day)
$$;
CREATE FUNCTION findings() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT concat_ws(' ', kind, entity, detail ->> 'type', detail ->> 'kinds', 'Stripe ' || (detail ->> 'stripe_cents'), 'ledger ' || (detail ->> 'ledger_cents')) FROM ticketing.findings WHERE kind LIKE 'settlement%' AND resolved_at IS NULL
$$;
CREATE FUNCTION last_txn(back integer DEFAULT 0) RETURNS text LANGUAGE sql AS $$ SELECT 'txn_' || max(n) - back FROM stripe_book $$;

-- An order of two tickets, paid: 53.25, fees of 3.25 on each side.
CREATE FUNCTION sell(buyer text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  made uuid := payable_order(buyer, (SELECT event FROM shop), items((SELECT tier FROM shop), 2));
BEGIN
  PERFORM pay(made);
  PERFORM stripe_charge(intent(made, 'succeeded') ->> 'id', 5325, 650);
  RETURN intent(made, 'succeeded') ->> 'id';
END
$$;
-- A refund as the engine books it.
CREATE FUNCTION give_back(payment text, stripe_id text, amount integer, buyer_fee integer, organizer_fee integer, state text DEFAULT 'succeeded', reverses boolean DEFAULT true, reason text DEFAULT 'other') RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  o record;
  made uuid := gen_random_uuid();
BEGIN
  SELECT q.* INTO o FROM ticketing.order_payments p JOIN ticketing.orders q USING (order_id) WHERE p.payment_intent_id = payment;
  INSERT INTO ticketing.refunds (refund_id, order_id, event_id, payment_intent_id, reason, amount_cents, buyer_fee_cents, organizer_fee_cents, state, reverses, stripe_refund_id, created_at, updated_at)
  VALUES (made, o.order_id, o.event_id, payment, reason, amount, buyer_fee, organizer_fee, state, reverses, stripe_id, ticketing.clock(), ticketing.clock());
  IF state = 'succeeded' THEN
    INSERT INTO ticketing.ledger SELECT k.kind, made::text, k.f, k.t, k.cents, o.currency, o.event_id, o.order_id, o.payee_account, ticketing.clock()
    FROM (VALUES ('refund', 'platform', 'buyer', amount), ('reversal', 'organizer', 'platform', CASE WHEN reverses THEN amount END), ('buyer_fee_refund', 'platform', 'organizer', CASE WHEN reverses THEN buyer_fee END),
                 ('organizer_fee_refund', 'platform', 'organizer', CASE WHEN reverses THEN organizer_fee END)) k (kind, f, t, cents) WHERE k.cents > 0;
  END IF;
  RETURN made;
END
$$;

-- ---- nothing to prove, and a day of sales

SELECT is(ticketing.enqueue_settlement(), 0, 'before there is a booking nobody is asked');
CREATE TEMP TABLE sold AS SELECT sell('settled_1') AS one, sell('settled_2') AS two;
SELECT is(ticketing.enqueue_settlement(), 2, 'then the platform''s account is listed, and the organizer''s');
SELECT is(ticketing.enqueue_settlement(), 0, 'not twice at once');
SELECT results_eq($$ SELECT stripe_account, lane::integer, method, path, params ->> 'limit', params -> 'expand' ->> 0 FROM ticketing.stripe_requests WHERE kind = 'list_balance_transactions' ORDER BY seq $$,
  $$ VALUES (NULL, 2, 'GET', '/v1/balance_transactions', '100', 'data.source'), ('acct_settled', 2, 'GET', '/v1/balance_transactions', '100', 'data.source') $$, 'each is asked for a page, with what each entry is about, after all that buyers wait for');
SELECT ok((params #>> '{created,gte}')::bigint <= extract(epoch FROM min(o.created_at)) - 3599 AND (params #>> '{created,lte}')::bigint - 300 = floor(extract(epoch FROM c.until))::bigint, 'from an hour before the first order up to now, by either clock')
FROM ticketing.stripe_requests r JOIN ticketing.settlement_cursors c ON c.request_id = r.id AND c.account = 'platform', ticketing.orders o WHERE o.event_id = (SELECT event FROM shop) GROUP BY params, c.until;
SELECT set_eq('SELECT report()', ARRAY['acct_settled 9350 0, 6 of 9350 in the ledger', 'platform 1300 0, 8 of 1300 in the ledger'], 'until the answers come all stands in the ledger alone');
SELECT is(carry_pages(), 2, 'one page each is answered, the organizer''s first');
SELECT set_eq('SELECT report()', ARRAY['acct_settled 9350 9350', 'platform 932 932'], 'ledger and Stripe agree, to the cent');
SELECT is(ledger_cents, stripe_sum(account), account || ': that is Stripe''s own sum') FROM ticketing.settlement_report();
SELECT results_eq($$ SELECT l.kind, l.amount_cents, l.event_id, o.payment_intent_id FROM ticketing.ledger l JOIN ticketing.orders o USING (order_id) WHERE l.kind = 'stripe_fee' ORDER BY l.source $$,
  $$ SELECT 'stripe_fee', 184::bigint, event, p FROM shop, sold, unnest(ARRAY[one, two]) p $$, 'Stripe''s fee is booked, with its order and event');
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'there is nothing to say');
SELECT results_eq($$ SELECT account, since = updated_at, until, request_id, pages FROM ticketing.settlement_cursors c JOIN ticketing.stripe_requests r ON coalesce(r.stripe_account, 'platform') = account AND r.kind = 'list_balance_transactions' WHERE since >= r.created_at ORDER BY 1 $$,
  $$ VALUES ('acct_settled', false, NULL::timestamptz, NULL::uuid, 1), ('platform', false, NULL, NULL, 1) $$, 'the cursors have moved to when it was asked');

-- ---- again

SELECT later('1 day');
SELECT is(settle(), 2, 'the next night');
SELECT is((SELECT count(*) FROM ticketing.balance_transactions), 8::bigint, 'what was there already is not there twice');
SELECT ok((params #>> '{created,gte}')::bigint BETWEEN extract(epoch FROM ticketing.clock() - '25 hours 5 seconds'::interval) AND extract(epoch FROM ticketing.clock() - '25 hours'::interval + '5 seconds'::interval), 'an hour before the last time is asked for again')
FROM ticketing.stripe_requests WHERE kind = 'list_balance_transactions' AND stripe_account IS NULL ORDER BY seq DESC LIMIT 1;
SELECT set_eq('SELECT report()', ARRAY['acct_settled 9350 9350', 'platform 932 932'], 'nothing has changed');
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'nor is there anything to say');

-- ---- several pages

CREATE TEMP TABLE more AS SELECT sell('settled_3') AS three, sell('settled_4') AS four;
SELECT is(settle(2), 4, 'six entries of the platform''s are three pages of two, the organizer''s two are one');
SELECT is(pages, 3, 'the cursor counts them') FROM ticketing.settlement_cursors WHERE account = 'platform';
SELECT set_eq('SELECT report()', ARRAY['acct_settled 18700 18700', 'platform 1864 1864'], 'all are there: Stripe lists the newest first, so what each follows from comes on a later page');
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'and explained');

-- A page that comes twice, late, or for nobody.
SELECT later('3 hours');
SELECT sell('settled_5') \g /dev/null
SELECT ticketing.enqueue_settlement() \g /dev/null
SELECT is(carry_pages(2, 2), 2, 'a page of each is answered, another one is awaited');
UPDATE ticketing.stripe_requests SET applied = false WHERE kind = 'list_balance_transactions' AND state = 'done' AND id IN (SELECT id FROM ticketing.stripe_requests WHERE kind = 'list_balance_transactions' AND state = 'done' ORDER BY seq DESC LIMIT 2);
CREATE TEMP TABLE cursors AS SELECT * FROM ticketing.settlement_cursors;
SELECT is(ticketing.sweep_stripe(), 2, 'their effects come once more');
SELECT set_eq('SELECT * FROM ticketing.settlement_cursors', 'SELECT * FROM cursors', 'and change nothing: another page is awaited');
SELECT is(carry_pages(2), 5, 'the rest comes once: nine entries are five pages, three are two, the hour before the last time being listed again');
SELECT later('3 hours');
SELECT sell('settled_6') \g /dev/null
SELECT ticketing.enqueue_settlement(), ticketing.relay_claim(100, '1 minute') \g /dev/null
UPDATE ticketing.stripe_requests SET state = 'done', applied = false, answer = '{"object": "list"}' WHERE kind = 'list_balance_transactions' AND state = 'leased';
SELECT is(ticketing.enqueue_settlement(), 0, 'answers whose effects failed are still awaited');
SELECT is(ticketing.sweep_stripe(), 2, 'they are applied when their bodies are gone');
SELECT is(carry_pages(), 2, 'so the pages are asked for again');
SELECT set_eq('SELECT report()', ARRAY['acct_settled 28050 28050', 'platform 2796 2796'], 'and all is there');

-- ---- refunds

-- Stripe gives back as much as we.
CREATE TEMP TABLE exact AS SELECT three AS payment, give_back(three, 're_exact', 2663, 163, 163) AS id FROM more;
SELECT stripe_refund(payment, 're_exact', 2663, 326) FROM exact \g /dev/null
SELECT settle() \g /dev/null
SELECT set_eq('SELECT report()', ARRAY['acct_settled 25713 25713', 'platform 2470 2470'], 'a refund of one ticket, its fees and its transfer are what Stripe has');
-- By its own rounding: 325 and 324.
CREATE TEMP TABLE rounded AS SELECT four AS payment, give_back(four, 're_up', 2663, 163, 163) AS up FROM more;
SELECT stripe_refund(payment, 're_up', 2663, 325) FROM rounded \g /dev/null
SELECT later('2 minutes');
SELECT give_back(payment, 're_down', 2662, 162, 162) AS down FROM rounded \gset
SELECT stripe_refund(payment, 're_down', 2662, 325) FROM rounded \g /dev/null
SELECT settle() \g /dev/null
SELECT set_eq('SELECT report()', ARRAY['acct_settled 21038 21038', 'platform 1820 1820'], 'two refunds whose fees Stripe divides by its own rounding');
SELECT set_eq($$ SELECT kind || ' ' || l.amount_cents || ' ' || b.ledger_source FROM ticketing.ledger l JOIN ticketing.balance_transactions b ON b.id = l.source WHERE kind LIKE 'rounding%' $$,
  format($$ SELECT 'rounding_down 1 ' || up FROM rounded UNION ALL SELECT 'rounding_up 1 %s' $$, :'down'), 'the cent of each is booked, and the refund it belongs to is known');
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'there is nothing to say');
SELECT is((SELECT count(*) FROM ticketing.balance_transactions WHERE NOT settled), 0::bigint, 'all is settled');
-- More than rounding.
CREATE TEMP TABLE far AS SELECT one AS payment, give_back(one, 're_far', 2663, 163, 163) AS id FROM sold;
SELECT stripe_refund(payment, 're_far', 2663, 300) FROM far \g /dev/null
SELECT later('2 hours');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY['settlement_differs balance_transactions/' || last_txn(0) || ' application_fee_refund Stripe -300 ledger -326', 'settlement_differs balance_transactions/' || last_txn(1) || ' payment_refund Stripe -2363 ledger -2337'],
  'a fee that differs by more than rounding is found, on both accounts, with both figures');
SELECT set_eq('SELECT report()', ARRAY['acct_settled 18701 18675, 1 of -2363 at Stripe, 3 of -2337 in the ledger', 'platform 1494 1520, 1 of -300 at Stripe, 2 of -326 in the ledger'], 'and explains the difference');
-- Somebody mends it.
INSERT INTO ticketing.ledger SELECT 'rounding_down', last_txn(0), 'organizer', 'platform', 26, currency, event_id, order_id, payee_account, ticketing.clock() FROM ticketing.ledger WHERE source = (SELECT id::text FROM far) AND kind = 'refund';
SELECT settle() \g /dev/null
SELECT set_eq('SELECT report()', ARRAY['acct_settled 18675 18675', 'platform 1520 1520'], 'booked by hand, it agrees');
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'and the findings are resolved');

-- A refund that is on its way has left Stripe's balance already.
CREATE TEMP TABLE slow AS SELECT two AS payment, give_back(two, 're_slow', 2663, 163, 163, 'pending') AS id FROM sold;
SELECT stripe_refund(payment, 're_slow', 2663, 326) FROM slow \g /dev/null
SELECT later('3 days');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'that is no finding, however long it takes');
SELECT set_eq('SELECT report()', ARRAY['acct_settled 18675 16338, 1 of -2337 at Stripe', 'platform 1520 1194, 3 of -326 at Stripe'], 'the report says it');
UPDATE ticketing.refunds SET state = 'failed' WHERE refund_id = (SELECT id FROM slow);
SELECT txn('platform', 'adjustment', 2663, 0, jsonb_build_object('object', 'refund', 'id', 're_slow', 'payment_intent', payment, 'charge', 'ch_' || payment), 'refund_failure') FROM slow \g /dev/null
INSERT INTO ticketing.ledger SELECT k, (SELECT id::text FROM slow), f, t, 2663, l.currency, l.event_id, l.order_id, l.payee_account, ticketing.clock()
FROM ticketing.ledger l, (VALUES ('refund', 'platform', 'buyer'), ('refund_failure', 'buyer', 'platform')) v (k, f, t) WHERE l.source = (SELECT payment FROM slow) AND l.kind = 'charge';
SELECT later('2 hours');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT report()', ARRAY['acct_settled 16338 16338', 'platform 3857 3857'], 'it fails, and the transfer stays reversed: that is booked from Stripe''s figures');
SELECT set_eq('SELECT kind, amount_cents FROM ticketing.ledger WHERE source = (SELECT id::text FROM slow)', $$ VALUES ('refund', 2663::bigint), ('refund_failure', 2663), ('reversal', 2663), ('buyer_fee_refund', 163), ('organizer_fee_refund', 163) $$, 'as the refund''s');
SELECT is((SELECT count(*) FROM findings() f WHERE f LIKE 'settlement_booked%'), 2::bigint, 'which is said');
UPDATE ticketing.findings SET resolved_at = now() WHERE kind = 'settlement_booked';

-- ---- the dashboard

CREATE TEMP TABLE aside AS SELECT sell('settled_7') AS payment;
SELECT give_back(payment, 're_aside', 5325, 0, 0, 'succeeded', false, 'dashboard') FROM aside \g /dev/null
SELECT stripe_refund(payment, 're_aside', 5325, 650) FROM aside \g /dev/null
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'somebody gave back a payment at Stripe, transfer and fee included: news of it may be on its way');
SELECT later('2 hours');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT report()', ARRAY['acct_settled 16338 16338', 'platform 3673 3673'], 'an hour later what nobody has told us is booked from Stripe''s figures');
SELECT is((SELECT count(*) FROM findings() f WHERE f ~ '^settlement_booked balance_transactions/txn_\d+ (transfer_refund Stripe 5325|application_fee_refund Stripe -650)$'), 2::bigint, 'and found');
SELECT is((SELECT string_agg(DISTINCT split_part(b, ' ', 1), ' ') FROM broken_invariants() b WHERE b LIKE 'ledger%' OR b LIKE 'refund%'), NULL, 'the books are right');
UPDATE ticketing.findings SET resolved_at = now() WHERE kind = 'settlement_booked';

-- ---- what cannot be explained, and what is missing

SELECT txn('platform', 'charge', 700, 50, '{"object": "charge", "id": "ch_other", "payment_intent": "pi_other"}') \g /dev/null
SELECT txn('acct_settled', 'payment', 100, 0, '{"object": "charge", "id": "py_other", "source_transfer": "tr_other"}') \g /dev/null
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'a payment that we do not know may be on its way');
SELECT later('61 minutes');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY['settlement_unknown balance_transactions/' || last_txn(1) || ' charge Stripe 700', 'settlement_unknown balance_transactions/' || last_txn(0) || ' payment Stripe 100'], 'an hour later it is unknown');
SELECT set_eq('SELECT report()', ARRAY['acct_settled 16338 16438, 1 of 100 at Stripe', 'platform 3673 4323, 1 of 650 at Stripe'], 'the report explains the difference by it');
DELETE FROM stripe_book WHERE n > (SELECT max(n) - 2 FROM stripe_book);
DELETE FROM ticketing.balance_transactions WHERE source IN ('ch_other', 'py_other');
DELETE FROM ticketing.findings WHERE kind = 'settlement_unknown';
-- A payment that Stripe knows nothing of.
CREATE TEMP TABLE lost AS SELECT sell('settled_8') AS payment;
CREATE TEMP TABLE hidden AS WITH gone AS (DELETE FROM stripe_book WHERE body::text LIKE '%' || (SELECT payment FROM lost) || '%' RETURNING account, body) SELECT * FROM gone;
SELECT later('20 hours');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'what we have and Stripe has not');
SELECT later('5 hours');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', format($$ VALUES ('settlement_missing ledger/platform/%1$s ["buyer_fee", "charge", "organizer_fee", "transfer"] ledger 650'), ('settlement_missing ledger/acct_settled/%1$s ["buyer_fee", "organizer_fee", "transfer"] ledger 4675') $$, (SELECT payment FROM lost)), 'is missing a day later, on both accounts');
INSERT INTO stripe_book (account, body) SELECT account, body FROM hidden;
UPDATE ticketing.settlement_cursors SET since = since - interval '2 days';
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'listed after all, it is not missing any more');
SELECT set_eq('SELECT report()', ARRAY['acct_settled 21013 21013', 'platform 4139 4139'], 'and agrees');
-- A charge of another amount, and one transferred twice.
CREATE TEMP TABLE odd AS SELECT sell('settled_9') AS payment;
UPDATE stripe_book SET body = body || '{"amount": 5000, "net": 4816}' WHERE body #>> '{source,id}' = 'ch_' || (SELECT payment FROM odd);
SELECT txn('platform', 'transfer', -5325, 0, jsonb_build_object('object', 'transfer', 'id', 'tr_again', 'source_transaction', 'ch_' || payment, 'metadata', '{}'::jsonb)) FROM odd \g /dev/null
SELECT later('2 hours');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY['settlement_differs balance_transactions/' || last_txn(4) || ' charge Stripe 5000 ledger 5325', 'settlement_differs balance_transactions/' || last_txn(0) || ' transfer Stripe -5325 ledger -5325'], 'what differs is found with both figures, and what Stripe has twice');
DELETE FROM ticketing.balance_transactions WHERE id = last_txn(0);
DELETE FROM stripe_book WHERE 'txn_' || n = last_txn(0);
UPDATE ticketing.balance_transactions SET amount_cents = 5325, net_cents = 5141 WHERE source = 'ch_' || (SELECT payment FROM odd);
UPDATE stripe_book SET body = body || '{"amount": 5325, "net": 5141}' WHERE body #>> '{source,id}' = 'ch_' || (SELECT payment FROM odd);
DELETE FROM ticketing.findings WHERE kind LIKE 'settlement%';
SELECT settle() \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'set right, there is nothing to say');

-- ---- payouts, disputes, and what is the platform's own

SELECT txn('acct_settled', 'payout', -1000, 0, '{"object": "payout", "id": "po_known"}') \g /dev/null
INSERT INTO ticketing.ledger VALUES ('payout', 'po_known', 'organizer', 'bank', 1000, 'usd', NULL, NULL, 'acct_settled', ticketing.clock());
SELECT txn('acct_settled', 'payout', -2000, 0, '{"object": "payout", "id": "po_unheard"}'), txn('acct_settled', 'payout_cancel', 2000, 0, '{"object": "payout", "id": "po_unheard"}') \g /dev/null
SELECT txn('platform', 'payout', -500, 0, '{"object": "payout", "id": "po_own"}'), txn('platform', 'payout_failure', 500, 0, '{"object": "payout", "id": "po_own"}') \g /dev/null
SELECT txn('platform', 'stripe_fee', -25, 0, NULL), txn('platform', 'topup', 10000, 0, '{"object": "topup", "id": "tu_1"}') \g /dev/null
SELECT settle() \g /dev/null
SELECT set_eq('SELECT report()', ARRAY['acct_settled 24688 24688, 2 of 0 at Stripe', 'platform 14580 14580'], 'a payout that we were told of agrees; the platform''s own, its top-up and Stripe''s other fees are booked');
SELECT set_eq($$ SELECT kind, from_account, to_account, amount_cents FROM ticketing.ledger WHERE source IN ('po_own', 'tu_1') OR (kind = 'stripe_fee' AND order_id IS NULL) $$,
  $$ VALUES ('platform_payout', 'platform', 'bank', 500::bigint), ('platform_payout_failure', 'bank', 'platform', 500), ('topup', 'bank', 'platform', 10000), ('stripe_fee', 'platform', 'stripe', 25) $$, 'between platform, bank and Stripe');
SELECT later('2 hours');
SELECT settle() \g /dev/null
SELECT set_eq('SELECT report()', ARRAY['acct_settled 24688 24688', 'platform 14580 14580'], 'one that nobody has told us of is booked an hour later, and that it came back');
SELECT is((SELECT count(*) FROM findings() f WHERE f ~ '^settlement_booked balance_transactions/txn_\d+ payout'), 2::bigint, 'and found');
-- A dispute, told; its reversal when it was lost, also under its own id; and one of which only the bank's part is known.
CREATE TEMP TABLE banked AS SELECT sell('settled_10') AS payment;
SELECT known_dispute(o.order_id, 'dp_1', 5325, 'needs_response', 'inquiry') FROM banked JOIN ticketing.orders o ON o.payment_intent_id = payment \g /dev/null
SELECT txn('platform', 'adjustment', -5325, 1500, jsonb_build_object('object', 'dispute', 'id', 'dp_1', 'payment_intent', payment, 'charge', 'ch_' || payment), 'dispute') FROM banked \gset
SELECT later('2 hours');
SELECT settle() \g /dev/null
SELECT set_eq(format('SELECT kind, amount_cents FROM ticketing.ledger WHERE source = %L', :'txn'), $$ VALUES ('dispute', 5325::bigint), ('dispute_fee', 1500) $$, 'what a bank took back, and Stripe for that, is booked an hour later, if nobody did it before');
INSERT INTO ticketing.ledger SELECT k, 'dp_1', f, t, c, l.currency, l.event_id, l.order_id, l.payee_account, ticketing.clock()
FROM ticketing.ledger l, (VALUES ('reversal', 'organizer', 'platform', 5325), ('buyer_fee_refund', 'platform', 'organizer', 325), ('organizer_fee_refund', 'platform', 'organizer', 325)) v (k, f, t, c) WHERE l.source = (SELECT payment FROM banked) AND l.kind = 'charge';
UPDATE ticketing.disputes SET reversal_id = 'trr_lost';
SELECT txn('platform', 'transfer_refund', 5325, 0, jsonb_build_object('object', 'transfer_reversal', 'id', 'trr_lost', 'transfer', 'tr_' || payment, 'source_refund', NULL)),
       txn('acct_settled', 'payment_refund', -5325, -650, jsonb_build_object('object', 'refund', 'id', 'pyr_lost', 'charge', 'py_' || payment, 'source_transfer_reversal', 'trr_lost')),
       txn('platform', 'application_fee_refund', -650, 0, jsonb_build_object('object', 'fee_refund', 'id', 'fr_lost', 'fee', 'fee_' || payment)) FROM banked \g /dev/null
SELECT settle() \g /dev/null
SELECT is((SELECT count(*) FROM ticketing.balance_transactions WHERE NOT settled), 0::bigint, 'a lost one takes the organizer''s part back, which agrees');
SELECT set_eq($$ SELECT account, ledger_cents, difference_cents FROM ticketing.settlement_report() $$, $$ SELECT a, stripe_sum(a), 0::bigint FROM unnest(ARRAY['platform', 'acct_settled']) a $$, 'to the cent');

-- ---- accounts that cannot be listed

UPDATE ticketing.findings SET resolved_at = now() WHERE kind LIKE 'settlement%';
SELECT ticketing.enqueue_settlement(), ticketing.relay_claim(100, '1 minute') \g /dev/null
SELECT ticketing.relay_complete(id, lease_token, 403, '{}', convert_to('{"error": {"type": "invalid_request_error", "code": "account_invalid"}}', 'UTF8')) FROM ticketing.stripe_requests WHERE state = 'leased' AND stripe_account IS NOT NULL \g /dev/null
SELECT set_eq('SELECT findings()', ARRAY['settlement_not_listed settlement_cursors/acct_settled invalid_request_error'], 'an organizer has left: that his account cannot be listed is found');
SELECT carry_pages() \g /dev/null
SELECT is(settle(), 2, 'the next night asks again');
SELECT set_eq('SELECT findings()', ARRAY[]::text[], 'and is answered');

-- ---- by day

SELECT is((SELECT count(*) FROM ticketing.settlement_report((ticketing.clock() AT TIME ZONE 'UTC')::date - 100)), 0::bigint, 'before the first day there is nothing');
SELECT is((SELECT count(*) FROM ticketing.settlement_report('-infinity')), 0::bigint, 'nor before all days');
SELECT set_eq($$ SELECT r::text FROM ticketing.settlement_report('5874897-12-31') r $$, $$ SELECT r::text FROM ticketing.settlement_report() r $$, 'up to a day beyond all instants there is everything');
SELECT set_eq('SELECT report((ticketing.clock() AT TIME ZONE ''UTC'')::date)', 'SELECT report()', 'up to today is all');
SELECT is((SELECT count(*) FROM ticketing.settlement_report(((SELECT min(created) FROM ticketing.balance_transactions) AT TIME ZONE 'UTC')::date) WHERE difference_cents = 0), 2::bigint, 'the first day agrees by itself');

SELECT * FROM finish();
ROLLBACK;
