-- Wrong input of every function is refused with its code and reason, and nothing is written.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7002);
CALL pg_temp.new_payee();
CALL pg_temp.new_event(700201, 100);
CALL pg_temp.new_tier(700201, 1, 10, 1000);
CALL pg_temp.new_tier(700201, 2, 10);
INSERT INTO public.ticket_types (id, event_id, name, price_cents) VALUES ('00700201-0000-4000-8000-abcdefabcdef', 700201, 'Hexadecimal', 500);
CALL pg_temp.new_event(700202);
CALL pg_temp.new_tier(700202, 1, 10);
CREATE TEMP TABLE before AS SELECT pg_temp.everything() AS everything;

-- Items of every wrong kind, for every function that takes them: the same verdict everywhere, or a cart could pass one check and not another.
CREATE TEMP TABLE wrong_items (n integer, what text, items jsonb);
INSERT INTO wrong_items SELECT row_number() OVER (), what, replace(items, 'TIER', '"ticket_type_id": "' || pg_temp.tier(700201, 1) || '"')::jsonb FROM (VALUES
  ('JSON null', 'null'),
  ('a string', '"two tickets"'),
  ('a number', '1'),
  ('true', 'true'),
  ('an object', '{TIER, "quantity": 1}'),
  ('empty', '[]'),
  ('an empty object in it', '[{}]'),
  ('null in it', '[null]'),
  ('a string in it', '["x"]'),
  ('an array in it', '[[{TIER, "quantity": 1}]]'),
  ('no quantity', '[{TIER}]'),
  ('no tier', '[{"quantity": 1}]'),
  ('tier is null', '[{"ticket_type_id": null, "quantity": 1}]'),
  ('tier is a number', '[{"ticket_type_id": 1, "quantity": 1}]'),
  ('tier is no uuid', '[{"ticket_type_id": "vip", "quantity": 1}]'),
  ('tier is nearly a uuid', '[{"ticket_type_id": "00700201-0000-4000-8000-00000000000g", "quantity": 1}]'),
  ('tier has braces', '[{"ticket_type_id": "{00700201-0000-4000-8000-000000000001}", "quantity": 1}]'),
  ('tier has no hyphens', '[{"ticket_type_id": "00700201000040008000000000000001", "quantity": 1}]'),
  ('tier is nested', '[{"ticket_type_id": {"id": "x"}, "quantity": 1}]'),
  ('quantity is null', '[{TIER, "quantity": null}]'),
  ('quantity is a string', '[{TIER, "quantity": "1"}]'),
  ('quantity is true', '[{TIER, "quantity": true}]'),
  ('quantity is nested', '[{TIER, "quantity": [1]}]'),
  ('quantity 0', '[{TIER, "quantity": 0}]'),
  ('quantity -1', '[{TIER, "quantity": -1}]'),
  ('quantity 1.5', '[{TIER, "quantity": 1.5}]'),
  ('quantity 1e-3', '[{TIER, "quantity": 1e-3}]'),
  ('quantity 2^31', '[{TIER, "quantity": 2147483648}]'),
  ('quantity 2^32 + 1', '[{TIER, "quantity": 4294967297}]'),
  ('quantity 2^64 + 1', '[{TIER, "quantity": 18446744073709551617}]'),
  ('quantity 1e300', '[{TIER, "quantity": 1e300}]'),
  ('twice, together 2^31', '[{TIER, "quantity": 2147483647}, {TIER, "quantity": 1}]'),
  ('one good, one bad', '[{TIER, "quantity": 1}, {TIER, "quantity": 0}]'),
  ('of another event', '[{"ticket_type_id": "00700202-0000-4000-8000-000000000001", "quantity": 1}]'),
  ('of two events', '[{TIER, "quantity": 1}, {"ticket_type_id": "00700202-0000-4000-8000-000000000001", "quantity": 1}]'),
  ('an unknown tier', '[{TIER, "quantity": 1}, {"ticket_type_id": "00700209-0000-4000-8000-000000000001", "quantity": 1}]'),
  ('101 items', '[' || repeat('{TIER, "quantity": 1},', 100) || '{TIER, "quantity": 1}]')) AS w (what, items);
CREATE TEMP TABLE functions (n integer, name text, call text);
INSERT INTO functions VALUES
  (1, 'hold_tickets', $$SELECT ticketing.hold_tickets('ann@7002', 700201, %L)$$),
  (2, 'quote', $$SELECT ticketing.quote(700201, %L)$$),
  (3, 'claim_free_tickets', $$SELECT ticketing.claim_free_tickets('ann@7002', 700201, %L)$$),
  (4, 'create_payment_intent', $$SELECT ticketing.create_payment_intent('ann@7002', 700201, %L)$$);
CREATE TEMP TABLE verdicts AS
SELECT w.n, w.what, f.name, pg_temp.refusal(format(f.call, w.items)) AS verdict FROM wrong_items w, functions f;
SELECT what, string_agg(DISTINCT verdict, ' | ') AS verdict, count(*) AS functions FROM verdicts GROUP BY n, what ORDER BY n;

-- What may look wrong and is not: whole numbers in other spellings, upper case, a tier twice, members that nobody asked for.
SELECT what, ticketing.quote(700201, replace(items, 'TIER', '"ticket_type_id": "' || pg_temp.tier(700201, 1) || '"')::jsonb) -> 'subtotal_cents' AS subtotal FROM (VALUES
  ('1e2', '[{TIER, "quantity": 1e2}]'),
  ('a tier twice', '[{TIER, "quantity": 1}, {TIER, "quantity": 2}]'),
  ('100 items', '[' || repeat('{TIER, "quantity": 1},', 99) || '{TIER, "quantity": 1}]'),
  ('upper case', '[{"ticket_type_id": "00700201-0000-4000-8000-ABCDEFABCDEF", "quantity": 1}]'),
  ('more members', '[{TIER, "quantity": 1, "price_cents": 0, "note": null}]')) AS c (what, items);

-- Unknown events and NULL or empty arguments.
SELECT what, pg_temp.refusal(call) AS verdict FROM (VALUES
  ('hold: event unknown', format($$SELECT ticketing.hold_tickets('ann@7002', 700209, %L)$$, pg_temp.cart(700201, 1))),
  ('hold: event 0', format($$SELECT ticketing.hold_tickets('ann@7002', 0, %L)$$, pg_temp.cart(700201, 1))),
  ('hold: event negative', format($$SELECT ticketing.hold_tickets('ann@7002', -2147483648, %L)$$, pg_temp.cart(700201, 1))),
  ('hold: no user', format('SELECT ticketing.hold_tickets(NULL, 700201, %L)', pg_temp.cart(700201, 1))),
  ('hold: empty user', format($$SELECT ticketing.hold_tickets('', 700201, %L)$$, pg_temp.cart(700201, 1))),
  ('hold: no event', format($$SELECT ticketing.hold_tickets('ann@7002', NULL, %L)$$, pg_temp.cart(700201, 1))),
  ('hold: no items', $$SELECT ticketing.hold_tickets('ann@7002', 700201, NULL)$$),
  ('hold: ttl 0', format($$SELECT ticketing.hold_tickets('ann@7002', 700201, %L, '0')$$, pg_temp.cart(700201, 1))),
  ('hold: ttl negative', format($$SELECT ticketing.hold_tickets('ann@7002', 700201, %L, '-1 microsecond')$$, pg_temp.cart(700201, 1))),
  ('hold: ttl negative in sum', format($$SELECT ticketing.hold_tickets('ann@7002', 700201, %L, '1 month -31 days')$$, pg_temp.cart(700201, 1))),
  ('hold: empty request id', format($$SELECT ticketing.hold_tickets('ann@7002', 700201, %L, NULL, '')$$, pg_temp.cart(700201, 1))),
  ('hold: request id of 256 bytes', format($$SELECT ticketing.hold_tickets('ann@7002', 700201, %L, NULL, %L)$$, pg_temp.cart(700201, 1), repeat('é', 128))),
  ('extend: unknown', $$SELECT ticketing.extend_hold('00000000-0000-4000-8000-000000000000', 'ann@7002')$$),
  ('extend: no reservation', $$SELECT ticketing.extend_hold(NULL, 'ann@7002')$$),
  ('extend: no user', $$SELECT ticketing.extend_hold('00000000-0000-4000-8000-000000000000', NULL)$$),
  ('extend: empty user', $$SELECT ticketing.extend_hold('00000000-0000-4000-8000-000000000000', '')$$),
  ('release: unknown', $$SELECT ticketing.release_hold('00000000-0000-4000-8000-000000000000', 'ann@7002')$$),
  ('release: no reservation', $$SELECT ticketing.release_hold(NULL, 'ann@7002')$$),
  ('release: no user', $$SELECT ticketing.release_hold('00000000-0000-4000-8000-000000000000', NULL)$$),
  ('release: empty user', $$SELECT ticketing.release_hold('00000000-0000-4000-8000-000000000000', '')$$),
  ('availability: no event', 'SELECT ticketing.availability(NULL)'),
  ('availability: event unknown', 'SELECT ticketing.availability(700209)'),
  ('quote: no event', format('SELECT ticketing.quote(NULL, %L)', pg_temp.cart(700201, 1))),
  ('quote: no items', 'SELECT ticketing.quote(700201, NULL)'),
  ('quote: event unknown', format('SELECT ticketing.quote(700209, %L)', pg_temp.cart(700201, 1))),
  ('claim: no user', format('SELECT ticketing.claim_free_tickets(NULL, 700201, %L)', pg_temp.cart(700201, 0, 1))),
  ('claim: empty user', format($$SELECT ticketing.claim_free_tickets('', 700201, %L)$$, pg_temp.cart(700201, 0, 1))),
  ('claim: no event', format($$SELECT ticketing.claim_free_tickets('ann@7002', NULL, %L)$$, pg_temp.cart(700201, 0, 1))),
  ('claim: no items', $$SELECT ticketing.claim_free_tickets('ann@7002', 700201, NULL)$$),
  ('claim: event unknown', format($$SELECT ticketing.claim_free_tickets('ann@7002', 700209, %L)$$, pg_temp.cart(700201, 0, 1))),
  ('claim: empty request id', format($$SELECT ticketing.claim_free_tickets('ann@7002', 700201, %L, '')$$, pg_temp.cart(700201, 0, 1))),
  ('pay: no user', format('SELECT ticketing.create_payment_intent(NULL, 700201, %L)', pg_temp.cart(700201, 1))),
  ('pay: empty user', format($$SELECT ticketing.create_payment_intent('', 700201, %L)$$, pg_temp.cart(700201, 1))),
  ('pay: no event', format($$SELECT ticketing.create_payment_intent('ann@7002', NULL, %L)$$, pg_temp.cart(700201, 1))),
  ('pay: neither items nor reservation', $$SELECT ticketing.create_payment_intent('ann@7002', 700201)$$),
  ('pay: event unknown', format($$SELECT ticketing.create_payment_intent('ann@7002', 700209, %L)$$, pg_temp.cart(700201, 1))),
  ('pay: reservation unknown', $$SELECT ticketing.create_payment_intent('ann@7002', 700201, reservation_id => '00000000-0000-4000-8000-000000000000')$$),
  ('pay: empty request id', format($$SELECT ticketing.create_payment_intent('ann@7002', 700201, %L, request_id => '')$$, pg_temp.cart(700201, 1))),
  ('await: unknown', $$SELECT ticketing.await_stripe('00000000-0000-4000-8000-000000000000', 'ann@7002', '0')$$),
  ('await: no request', $$SELECT ticketing.await_stripe(NULL, 'ann@7002')$$),
  ('await: no user', $$SELECT ticketing.await_stripe('00000000-0000-4000-8000-000000000000', NULL)$$),
  ('await: empty user', $$SELECT ticketing.await_stripe('00000000-0000-4000-8000-000000000000', '')$$),
  ('await: negative timeout', $$SELECT ticketing.await_stripe('00000000-0000-4000-8000-000000000000', 'ann@7002', '-1 s')$$),
  ('status: unknown', $$SELECT ticketing.order_status('00000000-0000-4000-8000-000000000000', 'ann@7002')$$),
  ('status: no order', $$SELECT ticketing.order_status(NULL, 'ann@7002')$$),
  ('status: no user', $$SELECT ticketing.order_status('00000000-0000-4000-8000-000000000000', NULL)$$),
  ('webhook: no payload', $$SELECT ticketing.stripe_webhook(NULL, 't=1,v1=1')$$),
  ('webhook: no signature', $$SELECT ticketing.stripe_webhook('{}', NULL)$$),
  ('sign: no ticket', $$SELECT ticketing.sign_ticket(NULL, 1, '\x0102030405060708')$$),
  ('sign: no event', $$SELECT ticketing.sign_ticket('00000000-0000-4000-8000-000000000000', NULL, '\x0102030405060708')$$),
  ('sign: no nonce', $$SELECT ticketing.sign_ticket('00000000-0000-4000-8000-000000000000', 1, NULL)$$),
  ('sign: short nonce', $$SELECT ticketing.sign_ticket('00000000-0000-4000-8000-000000000000', 1, '\x01020304050607')$$),
  ('sign: long nonce', $$SELECT ticketing.sign_ticket('00000000-0000-4000-8000-000000000000', 1, '\x010203040506070809')$$),
  ('sign: no suite', $$SELECT ticketing.sign_ticket('00000000-0000-4000-8000-000000000000', 1, '\x0102030405060708', NULL)$$),
  ('sign: suite 3', $$SELECT ticketing.sign_ticket('00000000-0000-4000-8000-000000000000', 1, '\x0102030405060708', 3)$$),
  ('check_in: no payload', $$SELECT ticketing.check_in(NULL, 700201, 'host@7002')$$),
  ('check_in: empty payload', $$SELECT ticketing.check_in('', 700201, 'host@7002')$$),
  ('check_in: huge payload', $$SELECT ticketing.check_in(repeat('A', 4097), 700201, 'host@7002')$$),
  ('check_in: no event', $$SELECT ticketing.check_in('x', NULL, 'host@7002')$$),
  ('check_in: event unknown', $$SELECT ticketing.check_in(repeat('0', 64), 700209, 'host@7002')$$),
  ('check_in: no operator', $$SELECT ticketing.check_in('x', 700201, NULL)$$),
  ('check_in: empty operator', $$SELECT ticketing.check_in('x', 700201, '')$$),
  ('check_in: direction', $$SELECT ticketing.check_in('x', 700201, 'host@7002', direction => 'IN')$$),
  ('check_in: no direction', $$SELECT ticketing.check_in('x', 700201, 'host@7002', direction => NULL)$$),
  ('check_in: no force', $$SELECT ticketing.check_in('x', 700201, 'host@7002', force => NULL)$$),
  ('relay_start: no account', $$SELECT ticketing.relay_start(NULL, true, '')$$),
  ('relay_start: empty account', $$SELECT ticketing.relay_start('', true, '')$$),
  ('relay_start: no livemode', $$SELECT ticketing.relay_start('acct_x', NULL, '')$$),
  ('relay_claim: no rows', $$SELECT ticketing.relay_claim(NULL, '1 minute')$$),
  ('relay_claim: 0 rows', $$SELECT ticketing.relay_claim(0, '1 minute')$$),
  ('relay_claim: no lease', 'SELECT ticketing.relay_claim(1, NULL)'),
  ('relay_claim: lease 0', $$SELECT ticketing.relay_claim(1, '0')$$),
  ('relay_claim: negative lease', $$SELECT ticketing.relay_claim(1, '-1 s')$$),
  ('relay_complete: no id', $$SELECT ticketing.relay_complete(NULL, '00000000-0000-4000-8000-000000000000', 200, '{}', '{}')$$),
  ('relay_complete: no token', $$SELECT ticketing.relay_complete('00000000-0000-4000-8000-000000000000', NULL, 200, '{}', '{}')$$),
  ('relay_complete: no status', $$SELECT ticketing.relay_complete('00000000-0000-4000-8000-000000000000', '00000000-0000-4000-8000-000000000000', NULL, '{}', '{}')$$),
  ('relay_complete_many: no ids', $$SELECT ticketing.relay_complete_many(NULL, '{}', '{}', '{}', '{}')$$),
  ('relay_complete_many: a NULL', $$SELECT ticketing.relay_complete_many(ARRAY['00000000-0000-4000-8000-000000000000'::uuid], ARRAY['00000000-0000-4000-8000-000000000000'::uuid], '{200}', ARRAY[NULL::jsonb], ARRAY[''::bytea])$$),
  ('relay_complete_many: too few tokens', $$SELECT ticketing.relay_complete_many(ARRAY['00000000-0000-4000-8000-000000000000'::uuid], '{}', '{200}', ARRAY['{}'::jsonb], ARRAY[''::bytea])$$),
  ('release_expired_holds: NULL', 'SELECT ticketing.release_expired_holds(NULL)'),
  ('release_expired_holds: 0', 'SELECT ticketing.release_expired_holds(0)'),
  ('rebuild_stock: NULL', 'SELECT ticketing.rebuild_stock(NULL)'),
  ('sweep_stripe: NULL', 'SELECT ticketing.sweep_stripe(NULL)'),
  ('sweep_stripe: 0', 'SELECT ticketing.sweep_stripe(0)'),
  ('stripe_form: an array', $$SELECT ticketing.stripe_form('[1]')$$),
  ('stripe_form: a string', $$SELECT ticketing.stripe_form('"x"')$$),
  ('stripe_form: deep', format('SELECT ticketing.stripe_form(%L)', repeat('{"a":', 200) || '1' || repeat('}', 200)))) AS c (what, call);
-- Unknown to relay_complete is a lease that is nobody's any more.
SELECT ticketing.relay_complete('00000000-0000-4000-8000-000000000000', '00000000-0000-4000-8000-000000000000', 200, '{}', '{}');
SELECT ticketing.rebuild_stock(700209) AS pools_of_no_event;

-- None of the above has written anything.
SELECT b.everything = pg_temp.everything() AS nothing_written FROM before b;
CALL pg_temp.clear_test();
