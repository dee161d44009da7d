-- Codes to be checked, and the check by pgcrypto as one would write it in SQL and in plpgsql. Variables: rows, events.
-- The peers find the events' keys derived, in a table (our function derives them itself, once in a session).
\getenv secret TICKET_HMAC_SECRET
CREATE EXTENSION IF NOT EXISTS pgcrypto;

CREATE TABLE bench.event_keys (key_id integer, event_id integer, key bytea NOT NULL, PRIMARY KEY (key_id, event_id));

-- HKDF-SHA256 without salt, one block.
INSERT INTO bench.event_keys
SELECT 1, event, hmac(convert_to('dvnt-ticket-v1', 'UTF8') || int4send(event) || '\x01',
                      hmac(convert_to(:'secret', 'UTF8'), decode(repeat('00', 32), 'hex'), 'sha256'), 'sha256')
FROM generate_series(1, :events) event;

-- Every hundredth code is not genuine, in one of five ways: another nonce, free bits set, the standard alphabet, another
-- key, a newline behind.
CREATE TABLE bench.codes AS
SELECT CASE WHEN g % 100 <> 0 THEN code
            WHEN g % 500 = 0 THEN overlay(code PLACING CASE substr(code, 35, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM 35)
            WHEN g % 500 = 100 THEN left(code, -1) || translate(right(code, 1), 'AQgw', 'BRhx')
            WHEN g % 500 = 200 THEN overlay(code PLACING '+' FROM 35)
            WHEN g % 500 = 300 THEN overlay(code PLACING 'AQl' FROM 1)
            ELSE code || E'\n' END AS payload
FROM generate_series(1, :rows) g, ticketing.sign_ticket(gen_random_uuid(), 1 + g % :events, substr(uuid_send(gen_random_uuid()), 1, 8)) code;
VACUUM (FREEZE, ANALYZE) bench.codes;
ANALYZE bench.event_keys;

-- 46 bytes whose first is 1: of the second digit two bits are of the first byte, of the last digit four are free.
CREATE VIEW bench.genuine_sql AS
SELECT k.event_id FROM (SELECT decode(translate(payload, '-_', '+/') || '==', 'base64') AS bytes FROM bench.codes
             WHERE payload ~ '^A[Q-Za-f][A-Za-z0-9_-]{59}[AQgw]$' OFFSET 0) d
JOIN bench.event_keys k
  ON k.key_id = get_byte(bytes, 1)
 AND k.event_id = (get_byte(bytes, 18) << 24 | get_byte(bytes, 19) << 16 | get_byte(bytes, 20) << 8 | get_byte(bytes, 21))
WHERE substr(hmac(substr(bytes, 1, 30), k.key, 'sha256'), 1, 16) = substr(bytes, 31);

CREATE FUNCTION bench.genuine_plpgsql(payload text) RETURNS boolean LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
  bytes bytea;
  event_key bytea;
BEGIN
  IF payload !~ '^A[Q-Za-f][A-Za-z0-9_-]{59}[AQgw]$' THEN
    RETURN false;
  END IF;
  bytes := decode(translate(payload, '-_', '+/') || '==', 'base64');
  SELECT k.key INTO event_key FROM bench.event_keys k
  WHERE k.key_id = get_byte(bytes, 1)
    AND k.event_id = (get_byte(bytes, 18) << 24 | get_byte(bytes, 19) << 16 | get_byte(bytes, 20) << 8 | get_byte(bytes, 21));
  RETURN FOUND AND substr(hmac(substr(bytes, 1, 30), event_key, 'sha256'), 1, 16) = substr(bytes, 31);
END
$$;

-- Runs a query that gives a count; how long it took, in nanoseconds.
CREATE FUNCTION bench.timed(query text, OUT nanoseconds numeric, OUT answer bigint) LANGUAGE plpgsql AS $$
DECLARE
  begun timestamptz := clock_timestamp();
BEGIN
  EXECUTE query INTO answer;
  nanoseconds := extract(epoch FROM clock_timestamp() - begun) * 1e9;
END
$$;
