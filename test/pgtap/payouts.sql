-- Payouts and accounts: what Stripe says of an organizer's account counts only if it is a payee's, and is asked for;
-- a payout leaves the balance once, comes back once, and is divided over the events that it pays for.
\ir support/setup.sql
\ir support/orders.sql
SELECT plan(70);

SELECT make_host('pat'), make_host('nobody') \g /dev/null
-- Made in this order, held in the other.
CREATE TEMP TABLE newer AS SELECT make_event('pat') AS event;
CREATE TEMP TABLE older AS SELECT make_event('pat') AS event;
CREATE TEMP TABLE unsold AS SELECT make_event('pat') AS event;
UPDATE public.events SET start_date = now() + interval '10 days' FROM older WHERE id = event;
UPDATE public.events SET start_date = now() + interval '20 days' FROM newer WHERE id = event;

-- Delivers an event of an account's own, or of the platform's; says what became of it.
CREATE FUNCTION account_tells(type text, object jsonb, account text DEFAULT 'acct_pat') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN tell(type, object, jsonb_strip_nulls(jsonb_build_object('account', account)));
END
$$;
CREATE FUNCTION payout(id text, amount integer, status text, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', 'po_' || id, 'object', 'payout', 'amount', amount, 'currency', 'usd', 'status', status, 'arrival_date', 1800100000, 'created', 1800000000, 'failure_code', NULL, 'livemode', false) || changes
$$;
CREATE FUNCTION hear(payout jsonb, type text DEFAULT 'updated', account text DEFAULT 'acct_pat') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN account_tells('payout.' || type, payout, account) || ', ' || carry('get_payout', 200, payout);
END
$$;
CREATE FUNCTION which(event_id integer) RETURNS text LANGUAGE sql AS $$
  SELECT CASE which.event_id WHEN (SELECT event FROM older) THEN 'older' WHEN (SELECT event FROM newer) THEN 'newer' WHEN (SELECT event FROM unsold) THEN 'unsold' END
$$;
-- How a payout stands, what of it is which event's, before and after fees, and how the application sees it.
CREATE FUNCTION stands(named text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT status FROM ticketing.payouts WHERE payout_id = 'po_' || named);
END
$$;
CREATE FUNCTION parts(named text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(concat_ws(' ', which(event_id), gross_cents, amount_cents), ', ' ORDER BY event_id DESC)
          FROM ticketing.payout_events WHERE payout_id = 'po_' || named);
END
$$;
CREATE FUNCTION shown(named text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(concat_ws(' ', which(event_id), host_id, status, gross_cents, net_cents, extract(epoch FROM release_at)::bigint), ', ' ORDER BY event_id DESC)
          FROM public.payouts WHERE stripe_payout_id = 'po_' || named);
END
$$;
CREATE FUNCTION booked(named text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(kind || ' ' || amount_cents, ', ' ORDER BY kind) FROM ticketing.ledger WHERE source = 'po_' || named);
END
$$;
CREATE FUNCTION summary(host text DEFAULT 'pat') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT string_agg(format('%s: %s left, %s paid out, %s on its way, %s owed', currency, balance_cents, paid_out_cents, in_transit_cents, debt_cents), '; ' ORDER BY currency) FROM ticketing.host_payout_summary(host));
END
$$;
-- Two tickets at 25.00: 53.25 are paid, 46.75 are the host's.
SELECT is(pay(unpaid_order('first buyer', 2, of_event => event)), 'applied', 'sold') FROM older;
SELECT is(pay(unpaid_order('second buyer', 2, of_event => event)), 'applied', 'sold') FROM newer;
SELECT is(summary(), 'usd: 9350 left, 0 paid out, 0 on its way, 0 owed', 'what he has');

-- ---- whose news count

SELECT is(account_tells('payout.created', payout('x', 1, 'pending'), NULL), 'ignored account', 'the platform''s own payouts are its own affair');
SELECT is(account_tells('payout.created', payout('x', 1, 'pending'), 'acct_stranger'), 'ignored account', 'strangers'' are theirs');
SELECT is(account_tells('account.updated', '{"id": "acct_platform", "object": "account"}', NULL), 'ignored account', 'the platform is no payee');
SELECT is(account_tells('account.updated', '{"id": "acct_stranger", "object": "account"}', 'acct_stranger'), 'ignored account', 'nor is a stranger');
SELECT is(account_tells('payout.created', payout('a/b', 1, 'pending')), 'ignored no_object', 'what is no id comes into no path');
SELECT is(account_tells('payment_intent.succeeded', '{"id": "pi_of_pat", "object": "payment_intent"}'), 'ignored account', 'what is paid to an account itself pays no order of ours');
SELECT is_empty($$ SELECT FROM ticketing.stripe_requests WHERE kind IN ('get_payout', 'get_account') $$, 'none of which Stripe is asked about');

-- ---- divided over the events

SELECT is(account_tells('payout.created', payout('one', 7000, 'pending')), 'applied fetched', 'a payout is told');
SELECT is(stands('one'), NULL, 'what is told is not believed');
SELECT results_eq($$ SELECT path, stripe_account FROM ticketing.stripe_requests WHERE kind = 'get_payout' $$, $$ VALUES ('/v1/payouts/po_one', 'acct_pat') $$, 'it is asked for, of his account');
SELECT is(carry('get_payout', 200, payout('one', 7000, 'pending')), 'done', 'Stripe says how it stands');
SELECT is(parts('one'), 'older 5325 4675, newer 2648 2325', 'the older event first, then the newer one; before fees in proportion');
SELECT is(shown('one'), 'older pat pending 5325 4675 1800100000, newer pat pending 2648 2325 1800100000', 'as the application sees it');
SELECT is(booked('one'), 'payout 7000', 'it has left the balance');
SELECT is(summary(), 'usd: 2350 left, 0 paid out, 7000 on its way, 0 owed', 'and is on its way');
SELECT is(hear(payout('one', 7000, 'in_transit')) || ' ' || stands('one'), 'applied fetched, done in_transit', 'it goes on');
SELECT is(hear(payout('one', 7000, 'paid'), 'paid') || ' ' || stands('one'), 'applied fetched, done paid', 'and arrives');
SELECT is(summary(), 'usd: 2350 left, 7000 paid out, 0 on its way, 0 owed', 'at the bank');
SELECT is(hear(payout('one', 7000, 'pending'), 'created') || ' ' || stands('one') || ' ' || booked('one') || ' ' || shown('one'),
  'applied fetched, done paid payout 7000 older pat paid 5325 4675 1800100000, newer pat paid 2648 2325 1800100000', 'old news changes nothing');

-- ---- what the ledger does not explain; failure after it was paid

SELECT is(hear(payout('two', 3000, 'paid'), 'paid') || ': ' || parts('two'), 'applied fetched, done: newer 3327 3000', 'more than is left is the newest event''s of which something was sold');
SELECT is(summary(), 'usd: -650 left, 10000 paid out, 0 on its way, 0 owed', 'he has more than he sold through us');
SELECT is(hear(payout('two', 3000, 'failed', '{"failure_code": "account_closed"}'), 'failed') || ' ' || stands('two'), 'applied fetched, done failed', 'his bank sends it back');
SELECT is(booked('two') || ' ' || shown('two'), 'payout 3000, payout_failure 3000 newer pat failed 3327 3000 1800100000', 'it is in the balance again');
SELECT is(summary(), 'usd: 2350 left, 7000 paid out, 0 on its way, 0 owed', 'as before it');
SELECT is(hear(payout('two', 3000, 'paid'), 'paid') || ' ' || stands('two') || ' ' || booked('two'), 'applied fetched, done failed payout 3000, payout_failure 3000', 'failed is for ever');
SELECT is(hear(payout('three', 1000, 'canceled'), 'canceled') || ' ' || booked('three') || ' ' || shown('three'), 'applied fetched, done payout 1000, payout_failure 1000 newer pat failed 1139 1000 1800100000', 'canceled is the first that is heard of it: out and back');
SELECT is(hear(payout('four', 2350, 'in_transit')) || ': ' || parts('four'), 'applied fetched, done: newer 2677 2350', 'what failed is still to be paid out, to the cent');
SELECT is(summary(), 'usd: 0 left, 7000 paid out, 2350 on its way, 0 owed', 'then nothing is left');
SELECT is((SELECT sum(gross_cents) FROM ticketing.payout_events v JOIN ticketing.payouts USING (payout_id) WHERE status NOT IN ('failed', 'canceled')), 10650::numeric, 'the parts before fees are what was sold');

-- ---- what the balance lacks, other currencies, no events

SELECT is(hear(payout('back', -500, 'paid')) || ' ' || booked('back') || ' ' || parts('back'), 'applied fetched, done payout_failure 500 newer -500 -500', 'Stripe takes from the bank');
SELECT is(summary(), 'usd: 500 left, 6500 paid out, 2350 on its way, 0 owed', 'what the balance lacks');
SELECT is(hear(payout('euro', 900, 'paid', '{"currency": "eur"}')) || ': ' || parts('euro'), 'applied fetched, done: unsold 900 900', 'of a currency in which nothing was sold: the newest event''s');
SELECT is(hear(payout('alone', 700, 'paid'), 'paid', 'acct_nobody') || ' ' || stands('alone') || ' ' || booked('alone'), 'applied fetched, done paid payout 700', 'a host without events');
SELECT is(parts('alone') || coalesce(shown('alone'), ''), NULL, 'has a payout alone');
SELECT is(hear(payout('odd', 1, 'mislaid')), 'applied fetched, done 22000: a payout has no status "mislaid"', 'a status that we do not know is kept for a person');

-- ---- answers that are applied late, and none

SELECT account_tells('payout.created', payout('late', 5, 'pending')) \g /dev/null
SELECT carry_late('get_payout', '{"id": "po_late", "object": "payout", "status": "pending", "amount": 5, "currency": "usd", "created": 1800000000}') \g /dev/null
SELECT is(stands('late'), NULL, 'of an answer that is applied late only some fields are left');
SELECT is(carry('get_payout', 200, payout('late', 5, 'paid')) || ' ' || stands('late'), 'done paid', 'it is asked for again');
SELECT is(account_tells('payout.created', payout('gone', 5, 'pending')) || ', ' || carry('get_payout', 403, '{"error": {"code": "account_invalid"}}'), 'applied fetched, failed', 'he does not let us see it');
SELECT is((SELECT count(*) FROM ticketing.findings WHERE (kind, entity) = ('payout_not_readable', 'payouts/po_gone')), 1::bigint, 'which is a finding');
SELECT is_empty('SELECT broken_invariants()', 'payouts: all is well');

-- ---- what the host sees

SELECT results_eq($$ SELECT payout_id, amount_cents, status, failure_code, jsonb_array_length(events) FROM ticketing.host_payouts('pat') WHERE payout_id IN ('po_one', 'po_two', 'po_back') ORDER BY payout_id $$,
  $$ VALUES ('po_back', -500::bigint, 'paid', NULL, 1), ('po_one', 7000, 'paid', NULL, 2), ('po_two', 3000, 'failed', 'account_closed', 1) $$, 'his payouts, by the ledger');
SELECT is(summary('nobody'), 'usd: -700 left, 700 paid out, 0 on its way, 0 owed', 'each his own');
SELECT is(summary('somebody'), NULL, 'who has sold nothing has no summary');
CREATE TEMP TABLE pages AS SELECT * FROM ticketing.host_transactions('pat', NULL, 5);
INSERT INTO pages SELECT t.* FROM (SELECT cursor FROM pages ORDER BY at, source, kind LIMIT 1) c CROSS JOIN LATERAL ticketing.host_transactions('pat', c.cursor, 5) t;
INSERT INTO pages SELECT t.* FROM (SELECT cursor FROM pages ORDER BY at, source, kind LIMIT 1) c CROSS JOIN LATERAL ticketing.host_transactions('pat', c.cursor, 1000) t;
SELECT results_eq('SELECT kind, source, amount_cents FROM pages ORDER BY at DESC, source DESC, kind DESC', $$ SELECT kind, source, amount_cents FROM ticketing.host_transactions('pat', max_rows => 1000) $$, 'page by page nothing is missing and nothing twice');
SELECT is((SELECT sum(amount_cents)::bigint FROM pages WHERE currency = 'usd'), (SELECT balance_cents - debt_cents FROM ticketing.host_payout_summary('pat') WHERE currency = 'usd'), 'they add up to his balance');
SELECT is((SELECT string_agg(kind || ' ' || amount_cents, ', ' ORDER BY kind) FROM pages JOIN older ON event_id = event), 'buyer_fee -325, organizer_fee -325, transfer 5325', 'as he sees them');
SELECT is(attempt(call), 'PT400 bad_request', call) FROM (VALUES
  ('SELECT * FROM ticketing.host_payouts(NULL)'), ('SELECT * FROM ticketing.host_payout_summary('''')'), ('SELECT * FROM ticketing.host_transactions(NULL)'),
  ('SELECT * FROM ticketing.host_transactions(''pat'', ''x'')'), ('SELECT * FROM ticketing.host_transactions(''pat'', ''1 a'')'), ('SELECT * FROM ticketing.host_transactions(''pat'', ''1 a b c'')'),
  ('SELECT * FROM ticketing.host_transactions(''pat'', '''')'), ('SELECT * FROM ticketing.host_transactions(''pat'', NULL, 0)'), ('SELECT * FROM ticketing.host_transactions(''pat'', NULL, 1001)'), ('SELECT * FROM ticketing.host_transactions(''pat'', NULL, NULL)')) c (call);

-- ---- accounts

CREATE FUNCTION flags(host text DEFAULT 'pat') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT concat_ws(' ', p.charges_enabled, p.payouts_enabled, p.details_submitted, '/', a.charges_enabled, a.payouts_enabled, a.details_submitted) FROM ticketing.payees p JOIN public.organizer_accounts a USING (host_id) WHERE host_id = host);
END
$$;
CREATE TEMP TABLE waiting AS SELECT unpaid_order('waiting', 2, of_event => event) AS id FROM newer;
SELECT is(account_tells('account.updated', account('acct_pat', true)) || ', ' || account_tells('account.updated', account('acct_pat', false)), 'applied fetched, applied fetched', 'an account has changed, twice');
SELECT results_eq($$ SELECT path, stripe_account, count(*) FROM ticketing.stripe_requests WHERE kind = 'get_account' GROUP BY 1, 2 $$, $$ VALUES ('/v1/accounts/acct_pat', NULL, 1::bigint) $$, 'the platform asks for it, once');
SELECT is(flags(), 't t t / t t t', 'what is told is not believed');
SELECT is(carry('get_account', 200, account('acct_pat', false)) || ' ' || flags(), 'done f t t / f t t', 'what Stripe answers is, and is shown');
SELECT is(attempt(format('SELECT ticketing.create_payment_intent(''new'', %s, items(make_tier(%1$s), 1))', event)), 'PT409 wrong_state', 'nothing is sold for who cannot be paid') FROM newer;
SELECT is(pay(id), 'applied', 'what was ordered before is paid') FROM waiting;
SELECT is((SELECT state FROM ticketing.orders JOIN waiting ON id = order_id), 'paid', 'as it was asked for');
SELECT account_tells('account.updated', account('acct_pat', true)) \g /dev/null
SELECT carry_late('get_account', '{"id": "acct_pat", "object": "account"}') \g /dev/null
SELECT is(flags() || ', ' || carry('get_account', 200, account('acct_pat', true)) || ' ' || flags(), 'f t t / f t t, done t t t / t t t', 'an answer that is applied late says nothing: it is asked for again');
SELECT is(account_tells('account.application.deauthorized', '{"id": "ca_ours", "object": "application"}') || ' ' || flags(), 'applied f t t / f t t', 'he cuts us off: he cannot be paid any more');
SELECT is((SELECT detail FROM ticketing.findings WHERE (kind, entity) = ('payee_left', 'payees/pat')), '{"stripe_account_id": "acct_pat"}', 'which is a finding');
SELECT is_empty('SELECT broken_invariants()', 'all is well');
SELECT * FROM finish();
ROLLBACK;
