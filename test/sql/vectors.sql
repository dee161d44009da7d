-- Known answers: ticket codes, fees, Stripe's signature and form encoding. The server and psql have
-- TICKET_HMAC_SECRET='correct horse battery staple 32+ bytes' STRIPE_WEBHOOK_SECRET=whsec_test_secret
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7001);

-- The code of suite 1; another one, and no ticket in circulation is valid.
SELECT ticketing.sign_ticket('6f9619ff-8b86-4d01-b42d-00c04fc964ff', 7, '\x0102030405060708')
     = 'AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg' AS as_designed;
SELECT * FROM ticketing.verify_ticket('AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg');
SELECT ticketing.is_genuine_ticket('AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg');

-- The same by RFC 5869 and RFC 2104 in SQL, for events at the ends of their range: a key per event, bytes big-endian.
CREATE FUNCTION pg_temp.code_by_rfc(ticket uuid, event integer, nonce bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  pseudo_random_key bytea := pg_temp.hmac(decode(repeat('00', 32), 'hex'), convert_to('correct horse battery staple 32+ bytes', 'UTF8'));
  key bytea := pg_temp.hmac(pseudo_random_key, convert_to('dvnt-ticket-v1', 'UTF8') || int4send(event) || '\x01');
  signed bytea := '\x0101'::bytea || uuid_send(ticket) || int4send(event) || nonce;
BEGIN
  RETURN translate(rtrim(encode(signed || substr(pg_temp.hmac(key, signed), 1, 16), 'base64'), '='), E'+/\n', '-_');
END
$$;
SELECT event, ticketing.sign_ticket(id, event, nonce) = pg_temp.code_by_rfc(id, event, nonce) AS same
FROM (VALUES (0), (1), (256), (65536), (2147483647), (-1)) AS e (event),
     (VALUES ('6f9619ff-8b86-4d01-b42d-00c04fc964ff'::uuid, '\xffffffffffffffff'::bytea)) AS t (id, nonce);

-- Suite 2, as OpenSSL's command signs with the derived seed; devices verify these with the event's public key alone.
SELECT ticketing.sign_ticket('6f9619ff-8b86-4d01-b42d-00c04fc964ff', 7, '\x0102030405060708', 2)
     = 'AgFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcI7AsqDLHy9-r346tX00lov06PcWk1aF1X63LYx60iuGhgz_Y1qHM9bQXSauRSZQCnzZm8q6I7rdPunpunCdmuDQ' AS as_computed;
SELECT * FROM ticketing.verify_ticket('AgFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcI7AsqDLHy9-r346tX00lov06PcWk1aF1X63LYx60iuGhgz_Y1qHM9bQXSauRSZQCnzZm8q6I7rdPunpunCdmuDQ');
SELECT valid, reason FROM ticketing.verify_ticket('AgFvlhn_i4ZNAbQtAMBPyWT_AAAACAECAwQFBgcI7AsqDLHy9-r346tX00lov06PcWk1aF1X63LYx60iuGhgz_Y1qHM9bQXSauRSZQCnzZm8q6I7rdPunpunCdmuDQ');

-- One changed character anywhere is noticed, and by which check: a code with another event's or ticket's id is no ticket.
SELECT v.valid, v.reason, count(*), string_agg(i::text, ' ' ORDER BY i) FILTER (WHERE v.reason = 'malformed') AS places
FROM (SELECT i, overlay('AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg'
                        PLACING translate(substr('AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg', i, 1),
                                          'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_',
                                          'QRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_ABCDEFGHIJKLMNOP') FROM i FOR 1) AS code
      FROM generate_series(1, 62) i) c, ticketing.verify_ticket(c.code) v GROUP BY 1, 2 ORDER BY 2;

-- Only the canonical text of a code is one: padding, spaces, standard base64, a dirty last digit, other lengths and nothing are not.
SELECT what, v.valid, v.reason FROM (VALUES
  ('padded', 'AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg=='),
  ('space after', 'AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg '),
  ('standard alphabet', 'AQFvlhn/i4ZNAbQtAMBPyWT/AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg'),
  ('not canonical', 'AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrh'),
  ('truncated', 'AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rr'),
  ('suite 3', 'AwFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg'),
  ('key 2', 'AQJvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg'),
  ('key 0', 'AQBvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg'),
  ('empty', ''),
  ('NULL', NULL)) AS c (what, code), ticketing.verify_ticket(c.code) v;
SELECT ticketing.is_genuine_ticket(NULL) AS of_null, ticketing.is_genuine_ticket('') AS of_nothing;

-- The fees of policy v1_250_1pt: half a cent is rounded up on each side by itself, free tickets carry nothing.
CALL pg_temp.new_event(700101);
INSERT INTO public.ticket_types (id, event_id, name, price_cents) SELECT pg_temp.tier(700101, p), 700101, p, p FROM unnest(ARRAY[0, 200, 219, 220, 1000, 1001, 2000, 2147483647]) p;
CREATE FUNCTION pg_temp.quote(price integer, quantity integer) RETURNS jsonb LANGUAGE sql AS
$$ SELECT ticketing.quote(700101, jsonb_build_array(jsonb_build_object('ticket_type_id', pg_temp.tier(700101, price), 'quantity', quantity))) $$;
SELECT price, quantity, q ->> 'currency' AS currency, q -> 'subtotal_cents' AS subtotal, q -> 'buyer_fee_cents' AS buyer_fee, q -> 'organizer_fee_cents' AS organizer_fee,
       q -> 'total_cents' AS charge, q -> 'transfer_cents' AS transfer, q -> 'application_fee_cents' AS application_fee
FROM (VALUES (1000, 1), (2000, 2), (0, 7), (200, 1), (219, 1), (220, 1), (1001, 1), (1000, 10000)) AS c (price, quantity), pg_temp.quote(price, quantity) q;
-- Keys are these and no more: clients read them.
SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(pg_temp.quote(1000, 1)) k;
-- An amount that does not fit is refused, not wrapped around.
SELECT price, quantity, pg_temp.refusal(format('SELECT pg_temp.quote(%s, %s)', price, quantity))
FROM (VALUES (2147483647, 1), (2147483647, 2147483647), (1000, 2147483647), (0, 2147483647), (1000, 2095104)) AS c (price, quantity);

-- Stripe's signature: genuine for 300 s either way, not 301; a wrong one would let anybody confirm payments.
CREATE FUNCTION pg_temp.check_signature(seconds_later numeric, header text, body text DEFAULT '{"id":"evt_test_1","object":"event"}') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.clock_at(to_timestamp(1700000000 + seconds_later));
  RETURN pg_temp.refusal(format('SELECT ticketing.stripe_webhook(%L, %L)', convert_to(body, 'UTF8'), header));
END
$$;
\set v1 29ab30b7065c11b28e53ac114fac5d6c492ed811a12d11ed2c2aad5bb4cf9809
BEGIN;
SELECT later, pg_temp.check_signature(later, 't=1700000000,v1=' || :'v1')
FROM (VALUES (0), (300), (300.999999), (301), (-300), (-300.000001), (-301)) AS c (later);
SELECT what, pg_temp.check_signature(0, header) FROM (VALUES
  ('second v1 of three', 't=1700000000,v1=' || repeat('0', 64) || ',v1=' || :'v1' || ',v1=' || repeat('f', 64)),
  ('other schemes, other order', 'v0=x,v1=' || :'v1' || ',t=1700000000'),
  ('another secret''s v1', 't=1700000000,v1=' || pg_temp.v1('{"id":"evt_test_1","object":"event"}', 1700000000, 'whsec_other')),
  ('another time''s v1', 't=1700000001,v1=' || :'v1'),
  ('upper case', 't=1700000000,v1=' || upper(:'v1')),
  ('v0 alone', 't=1700000000,v0=' || :'v1'),
  ('cut short', 't=1700000000,v1=' || left(:'v1', 63)),
  ('two times', 't=1700000000,t=1700000000,v1=' || :'v1'),
  ('no time', 'v1=' || :'v1'),
  ('time is no number', 't=1e9,v1=' || :'v1'),
  ('huge time', 't=99999999999999999999,v1=' || :'v1'),
  ('trailing comma', 't=1700000000,v1=' || :'v1' || ','),
  ('spaces', 't=1700000000, v1=' || :'v1'),
  ('nonsense', 'hello'),
  ('empty', '')) AS c (what, header);
SELECT what, pg_temp.check_signature(0, 't=1700000000,v1=' || :'v1', body) FROM (VALUES
  ('space after', '{"id":"evt_test_1","object":"event"} '),
  ('reordered', '{"object":"event","id":"evt_test_1"}'),
  ('empty', '')) AS c (what, body);
ROLLBACK;

-- Stripe's form encoding, as its library for Node writes it: jsonb's key order, brackets plain, no space as plus.
SELECT ticketing.stripe_form('{"amount": 1125, "currency": "usd", "automatic_payment_methods": {"enabled": true},
  "transfer_data": {"destination": "acct_1"}, "metadata": {"order_id": "a b&c=d+e", "naïve": "é€😀"}, "expand": ["a", "b.c"],
  "items": [{"price": "p_1", "quantity": 2}, {"price": "p_2"}], "unset": null, "empty": "", "none": {}, "no": [], "big": 12345678901234567890, "half": 0.5}');
SELECT ticketing.stripe_form('{}') = '' AS nothing, ticketing.stripe_form(NULL) IS NULL AS of_null;

CALL pg_temp.clear_test();
