// The outbox as the tests use it: orders of one buyer, whom Stripe knows already, so that each is one call.
import { Session, json, quote, sql } from './database.mjs';

// The mode in which an enqueuer holds the doorbell's tag, as pg_locks has it.
export const ENQUEUER_LOCK = 'RowExclusiveLock';

export const CUSTOMER = 'cus_relay';

let lock = null;
let cart;

// One test file at a time has the outbox to itself.
export async function takeOutbox() {
  lock = new Session();
  await lock.query('SELECT pg_advisory_lock(hashtext($$test/relay$$))');
  cart = await sql(`
    INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted)
    VALUES ('relay-host', 'acct_relayhost', true, true, true) ON CONFLICT DO NOTHING;
    INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES ('relay-buyer', '${CUSTOMER}') ON CONFLICT DO NOTHING;
    WITH event AS (INSERT INTO public.events (host_id, title, start_date) VALUES ('relay-host', 'Test', now() + interval '30 days') RETURNING id)
    INSERT INTO public.ticket_types (event_id, name, price_cents, max_per_user) SELECT id, 'Test', 1000, NULL FROM event
    RETURNING event_id || $$, '[{"ticket_type_id": "$$ || id || $$", "quantity": 1}]'$$`);
  // What cron has the relay ask by itself would be among the calls of a test.
  await sql(`DO $$ BEGIN
    IF to_regclass('cron.job') IS NOT NULL THEN
      PERFORM cron.alter_job(jobid, active := false) FROM cron.job WHERE jobname LIKE '%: enqueue %';
    END IF;
  END $$`);
  await setLimits(0, 0);
  await emptyOutbox();
}

export async function leaveOutbox() {
  await sql('ALTER ROLE dvnt_ticketing_relay RESET dvnt_ticketing.stripe_rate; ALTER ROLE dvnt_ticketing_relay RESET dvnt_ticketing.stripe_endpoint_rate');
  await lock.close();
}

// What relays that connect from now on may send a second, in all and to each endpoint; 0 is as much as they can.
export const setLimits = (all, endpoint) =>
  sql(`ALTER ROLE dvnt_ticketing_relay SET dvnt_ticketing.stripe_rate = ${all}; ALTER ROLE dvnt_ticketing_relay SET dvnt_ticketing.stripe_endpoint_rate = ${endpoint}`);

export const emptyOutbox = () => sql('TRUNCATE ticketing.stripe_requests, ticketing.installation; DELETE FROM ticketing.stripe_buckets WHERE endpoint <> $$$$');

// SQL of the answer to an order of the buyer whom an expression names.
export const placeOrder = (buyer) => `ticketing.create_payment_intent(${buyer}, ${cart})`;

// SQL that places an order and gives the id of its request for a PaymentIntent.
export const enqueue = (buyer = 'relay-buyer') =>
  `SELECT ticketing.create_payment_intent(${quote(buyer)}, ${cart}) ->> 'stripe_request_id'`;

export const add = (buyer) => sql(enqueue(buyer));

// SQL that places so many orders, each in a transaction of its own.
export const enqueueMany = (count) =>
  `DO $do$ BEGIN FOR i IN 1..${count} LOOP PERFORM (${enqueue()}); COMMIT; END LOOP; END $do$`;

// Puts a row into the outbox that no function of the engine would; gives its id.
export function addRow({ method = 'POST', path = '/v1/customers', body = '', stripe_account: account = null, api_version: version = '2026-10-28.endive' }) {
  const values = [method, path, body, account, version].map(quote).join(', ');
  return sql(`INSERT INTO ticketing.stripe_requests (kind, lane, method, path, body, stripe_account, api_version, user_id, run_at, created_at)
    SELECT 'create_customer', 1, v.*, gen_random_uuid(), now(), now() FROM (VALUES (${values})) v RETURNING id`);
}

// The row of a request.
export const row = (id) => json(`SELECT to_json(r) FROM ticketing.stripe_requests r WHERE id = ${quote(id)}`);

export const isDone = async (id) => (await row(id)).state === 'done';

export const count = async (state) =>
  Number(await sql(`SELECT count(*) FROM ticketing.stripe_requests WHERE state = ${quote(state)}`));

// How many wait for Stripe's answer.
export const unanswered = async () => Number(await sql(`SELECT count(*) FROM ticketing.stripe_requests WHERE state IN ('ready', 'leased')`));

// How many have not come to their effect.
export const underWay = async () => Number(await sql(`SELECT count(*) FROM ticketing.stripe_requests WHERE state IN ('ready', 'leased', 'unknown') OR NOT applied`));

// SQL that locks a row until the session's transaction ends.
export const lockRow = (id) => `SELECT 1 FROM ticketing.stripe_requests WHERE id = ${quote(id)} FOR UPDATE`;

export const endLeases = () =>
  sql(`UPDATE ticketing.stripe_requests SET lease_expires_at = '-infinity' WHERE state = 'leased'`);
