// The outbox as the tests see it; for now that of stand_in.sql.
import { readFile } from 'node:fs/promises';
import { Session, quote, sql } from './database.mjs';

// The mode in which an enqueuer holds the doorbell's tag, as pg_locks has it.
export const ENQUEUER_LOCK = 'ExclusiveLock';

// One test file at a time has the outbox to itself.
let lock = null;

export async function takeOutbox() {
  lock = new Session();
  await lock.query('SELECT pg_advisory_lock(hashtext($$test/relay$$))');
  if ((await sql(`SELECT to_regclass('ticketing.stand_in_requests') IS NULL`)) === 't') {
    await sql(await readFile(new URL('../stand_in.sql', import.meta.url), 'utf8'));
  }
  await emptyOutbox();
}

export async function emptyOutbox() {
  await sql('TRUNCATE ticketing.stand_in_requests, ticketing.stand_in_installation');
}

export const leaveOutbox = () => lock.close();

// SQL that enqueues a call and gives its id.
export const enqueue = ({ method = 'POST', path = '/v1/payment_intents', body = 'amount=1125&currency=usd', account = null, then = null } = {}) =>
  `SELECT ticketing.stand_in_enqueue(${[method, path, body, account, then].map(quote).join(', ')})`;

export const add = (call) => sql(enqueue(call));

// SQL that enqueues so many calls, each in a transaction of its own.
export const enqueueMany = (count) => `${enqueue()};\n`.repeat(count);

// The row of a call.
export async function row(id) {
  const text = await sql(`SELECT to_json(r) FROM ticketing.stand_in_requests r WHERE id = ${quote(id)}`);
  const found = JSON.parse(text);
  return { ...found, answer: found.answer === null ? null : Buffer.from(found.answer.slice(2), 'hex').toString() };
}

export const isDone = async (id) => (await row(id)).state === 'done';

export const count = async (state) => Number(await sql(`SELECT count(*) FROM ticketing.stand_in_requests WHERE state = ${quote(state)}`));

// SQL that changes a row as the engine never would.
export const update = (id, assignments) => sql(`UPDATE ticketing.stand_in_requests SET ${assignments} WHERE id = ${quote(id)}`);

// SQL that locks a row until the session's transaction ends.
export const lockRow = (id) => `SELECT 1 FROM ticketing.stand_in_requests WHERE id = ${quote(id)} FOR UPDATE`;

// SQL that ends all leases.
export const endLeases = () => sql(`UPDATE ticketing.stand_in_requests SET lease_until = '-infinity' WHERE state = 'leased'`);
