-- A stand-in for the engine's side of the relay, for tests of the relay alone.
-- To be deleted once ticketing.relay_claim and its sisters exist.

CREATE SCHEMA IF NOT EXISTS ticketing;

CREATE TABLE ticketing.stand_in_installation (
  account_id text NOT NULL,
  livemode boolean NOT NULL,
  installation text NOT NULL
);

CREATE TABLE ticketing.stand_in_requests (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  seq bigint GENERATED ALWAYS AS IDENTITY,
  method text NOT NULL,
  path text NOT NULL,
  body text,
  stripe_account text,
  api_version text DEFAULT '2026-10-28.endive',
  idempotency_key text DEFAULT gen_random_uuid()::text,
  then_path text,                       -- once done, POST this next
  state text NOT NULL DEFAULT 'ready',
  attempts integer NOT NULL DEFAULT 0,
  run_at timestamptz NOT NULL DEFAULT '-infinity',
  lease_token uuid,
  lease_until timestamptz,
  status integer,
  headers jsonb,
  answer bytea,
  enqueued_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX ON ticketing.stand_in_requests (seq) WHERE state IN ('ready', 'leased');

CREATE FUNCTION ticketing.stand_in_enqueue(method text, path text, body text, stripe_account text DEFAULT NULL, then_path text DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  new_id uuid;
BEGIN
  INSERT INTO ticketing.stand_in_requests (method, path, body, stripe_account, then_path)
  VALUES (method, path, body, stripe_account, then_path)
  RETURNING id INTO new_id;
  -- ExclusiveLock conflicts with the relay's lock as RowExclusiveLock does, which SQL cannot ask for.
  IF NOT pg_try_advisory_xact_lock(1685454850, 0) THEN
    NOTIFY dvnt_ticketing_stripe;
  END IF;
  RETURN new_id;
END $$;

CREATE FUNCTION ticketing.relay_start(account_id text, livemode boolean, installation text)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  recorded ticketing.stand_in_installation;
BEGIN
  SELECT * INTO recorded FROM ticketing.stand_in_installation;
  IF NOT FOUND THEN
    INSERT INTO ticketing.stand_in_installation VALUES (account_id, livemode, installation);
  ELSIF recorded IS DISTINCT FROM ROW(account_id, livemode, installation)::ticketing.stand_in_installation THEN
    RETURN jsonb_build_object('armed', false, 'reason', 'another installation', 'recorded', to_jsonb(recorded));
  END IF;
  RETURN '{"armed": true}';
END $$;

CREATE FUNCTION ticketing.relay_claim(max_rows integer, lease interval)
RETURNS TABLE (id uuid, lease_token uuid, method text, path text, body text, stripe_account text, api_version text,
               idempotency_key text, attempts integer)
LANGUAGE sql ROWS 10 AS $$
  UPDATE ticketing.stand_in_requests r
  SET state = 'leased', attempts = r.attempts + 1, lease_token = gen_random_uuid(), lease_until = clock_timestamp() + lease
  FROM (SELECT q.id FROM ticketing.stand_in_requests q
        WHERE q.state IN ('ready', 'leased')
          AND CASE q.state WHEN 'ready' THEN q.run_at ELSE q.lease_until END <= clock_timestamp()
        ORDER BY q.seq LIMIT max_rows FOR UPDATE SKIP LOCKED) due
  WHERE r.id = due.id
  RETURNING r.id, r.lease_token, r.method, r.path, r.body, r.stripe_account, r.api_version, r.idempotency_key, r.attempts
$$;

CREATE FUNCTION ticketing.relay_complete(id uuid, lease_token uuid, status integer, headers jsonb, body bytea)
RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
  r ticketing.stand_in_requests;
  outcome text;
BEGIN
  SELECT * INTO r FROM ticketing.stand_in_requests q WHERE q.id = id FOR UPDATE;
  IF r.lease_token IS DISTINCT FROM lease_token THEN
    RETURN 'stale';
  END IF;
  outcome := CASE
    WHEN status IN (401, 403) OR (headers ->> 'tls')::boolean THEN 'stop'
    WHEN status BETWEEN 200 AND 299 THEN 'done'
    WHEN status IN (0, 409, 429) OR status >= 500 THEN 'retry'
    ELSE 'failed' END;
  UPDATE ticketing.stand_in_requests q
  SET state = CASE WHEN outcome IN ('stop', 'retry') THEN 'ready' ELSE outcome END,
      run_at = clock_timestamp() + CASE WHEN outcome = 'retry' THEN interval '100 ms' ELSE interval '0' END * q.attempts,
      lease_token = NULL, lease_until = NULL, status = relay_complete.status, headers = relay_complete.headers,
      answer = relay_complete.body
  WHERE q.id = r.id;
  IF outcome = 'done' AND r.then_path IS NOT NULL THEN
    PERFORM ticketing.stand_in_enqueue('POST', r.then_path, r.body);
  END IF;
  RETURN outcome;
END $$;
