// Ends and losses: signals, a server that restarts, a relay that dies between Stripe's answer and its storage.
// If one of these failed, a buyer could be charged twice or not at all.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session, sql } from './support/database.mjs';
import { median } from './support/median.mjs';
import { ownStripe } from './support/own_stripe.mjs';
import { CUSTOMER, add, addRow, count, endLeases, enqueueMany, isDone, leaveOutbox, lockRow, row, takeOutbox } from './support/queue.mjs';
import { calls, intents, runRelay, startRelay } from './support/relay.mjs';
import { restartServer } from './support/server.mjs';
import { until } from './support/until.mjs';

const stripe = await ownStripe();

// The statements of relays that wait for a lock.
const blocked = () => sql(`SELECT pid FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay' AND wait_event_type = 'Lock'`);

// A session that keeps a row locked until it is told to COMMIT.
async function hold(t, id) {
  const holder = new Session();
  t.after(() => holder.close());
  await holder.query(`BEGIN; ${lockRow(id)}`);
  return holder;
}

const noBackends = async () => (await sql(`SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay'`)) === '0';

const terminateBackends = () =>
  sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay'`);

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} lets calls in flight end and stores their answers`, async (t) => {
    stripe.app.faults.add({ match: { method: 'POST' }, kind: 'delay', ms: 500 });
    const relay = await startRelay(t, stripe, { DVNT_RELAY_CONCURRENCY: '1' });
    const first = await add();
    await until(() => calls(stripe).length === 1, 'the first is sent');
    const second = await add();
    assert.equal(await relay.kill(signal), 0);
    assert.equal((await row(first)).state, 'done');
    assert.equal((await row(second)).state, 'ready');
    assert.equal(intents(stripe).length, 1);
  });
}

test('a second signal ends it at once', async (t) => {
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'hang' });
  const relay = await startRelay(t, stripe);
  await add();
  await until(() => calls(stripe).length === 1, 'sent');
  relay.child.kill('SIGTERM');
  await relay.until('draining');
  assert.equal(await relay.kill('SIGTERM'), 143);
});

test('SIGHUP changes nothing', async (t) => {
  const relay = await startRelay(t, stripe);
  relay.child.kill('SIGHUP');
  await relay.until('hangup_ignored');
  const id = await add();
  await until(() => isDone(id), 'done');
});

test('an idle relay ends at once', async (t) => {
  const times = [];
  for (let i = 0; i < 5; i++) {
    const relay = await startRelay(t, stripe);
    await relay.untilAsleep();
    const start = performance.now();
    assert.equal(await relay.kill(), 0);
    times.push(performance.now() - start);
  }
  // it does not sleep its second out first
  assert.ok(median(times) < 500, `${times} ms`);
});

test('--once sends what is ready and ends', async (t) => {
  await sql(enqueueMany(40));
  const { status } = await runRelay(t, stripe, { DVNT_RELAY_CONCURRENCY: '7' }, ['--once']);
  assert.equal(status, 0);
  assert.equal(await count('done'), 40);
  assert.equal(intents(stripe).length, 40);
  const { status: unreachable } = await runRelay(t, stripe, { PGPORT: '1' }, ['--once']);
  assert.equal(unreachable, 1);
});

test('an answer outlives the connection it was to be stored through', async (t) => {
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'delay', ms: 1000 });
  const relay = await startRelay(t, stripe);
  const id = await add();
  await until(() => calls(stripe).length === 1, 'sent');
  await terminateBackends();
  await until(() => isDone(id), 'done');
  assert.equal(calls(stripe).length, 1);
  assert.equal(relay.of('disconnected').length, 1);
  assert.equal((await row(id)).attempts, 1);
});

test('an answer whose storage is cut off is stored again', async (t) => {
  const relay = await startRelay(t, stripe);
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'delay', ms: 1000 });
  const id = await add();
  await until(() => calls(stripe).length === 1, 'sent');
  const holder = await hold(t, id);
  await until(blocked, 'relay_complete waits');
  await terminateBackends();
  await relay.until('store_failed');
  await holder.query('COMMIT');
  await until(() => isDone(id), 'done');
  assert.equal(calls(stripe).length, 1);
});

test('a row that somebody keeps locked does not stop the others', async (t) => {
  const relay = await startRelay(t, stripe);
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'delay', ms: 1000 });
  const id = await add();
  await until(() => calls(stripe).length === 1, 'sent');
  const holder = await hold(t, id);
  await until(blocked, 'relay_complete waits');
  const other = await add();
  await until(() => isDone(other), 'the other is done');
  assert.match(relay.of('store_failed')[0].store_error, /lock timeout/);
  await holder.query('COMMIT');
  await until(() => isDone(id), 'done');
  assert.equal(calls(stripe).length, 2);
});

// Customers at Stripe, but for the one that was there before.
const customersMade = () => [...stripe.app.store.customers].filter(({ id }) => id !== CUSTOMER).length;

// So many calls whose answers are stored together: they are on the wire at once, and one row is locked by the session that is returned.
async function manyAnswers(t, amount) {
  stripe.app.faults.add({ match: { path: '/v1/customers' }, kind: 'delay', ms: 1000, times: amount });
  const ids = [];
  for (let i = 0; i < amount; i++) ids.push(await addRow({}));
  const relay = await startRelay(t, stripe);
  await until(() => calls(stripe).length === amount, 'all are sent');
  const holder = await hold(t, ids[0]);
  await until(blocked, 'relay_complete_many waits');
  return { relay, ids, holder };
}

test('of answers that are stored together, one whose row somebody keeps locked does not stop the others', async (t) => {
  const { relay, ids, holder } = await manyAnswers(t, 20);
  await until(async () => (await count('done')) === 19, 'the others are done');
  assert.match(relay.of('store_failed')[0].store_error, /lock timeout/);
  await holder.query('COMMIT');
  await until(() => isDone(ids[0]), 'done');
  assert.equal(calls(stripe).length, 20);
  assert.equal(customersMade(), 20);
});

test('kill -9 while answers are being stored together: one object each', async (t) => {
  const { relay, ids, holder } = await manyAnswers(t, 20);
  await relay.kill('SIGKILL');
  await terminateBackends();
  await until(noBackends, 'its backend is gone');
  await holder.query('COMMIT');
  assert.equal((await row(ids[0])).state, 'leased');
  const lost = await count('leased');
  assert.ok(lost > 1, `${lost} answers were lost`);

  await endLeases();
  await startRelay(t, stripe);
  await until(async () => (await count('done')) === 20, 'all are done');
  assert.equal(calls(stripe).length, 20 + lost);
  assert.equal(customersMade(), 20);
  assert.equal(new Set(calls(stripe).map(({ idempotency_key: key }) => key)).size, 20);
});

test('a drain that cannot store an answer ends, and says so', async (t) => {
  const relay = await startRelay(t, stripe, { DVNT_RELAY_TIMEOUT: '2' });
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'delay', ms: 1000 });
  const id = await add();
  await until(() => calls(stripe).length === 1, 'sent');
  t.after(() => sql('ALTER ROLE dvnt_ticketing_relay LOGIN'));
  await sql('ALTER ROLE dvnt_ticketing_relay NOLOGIN');
  await terminateBackends();
  assert.equal(await relay.kill(), 1);
  assert.equal(relay.of('exit')[0].unstored, '1');
  assert.equal(relay.of('not_connected').length, 1);
  assert.equal((await row(id)).state, 'leased');
});

test('a restart of the server is survived, and said once', async (t) => {
  const relay = await startRelay(t, stripe);
  const before = await add();
  await until(() => isDone(before), 'done');
  await leaveOutbox();
  await restartServer();
  await takeOutbox();
  await relay.until('ready', 2);
  const later = await add();
  await until(() => isDone(later), 'done');
  assert.equal(relay.of('disconnected').length, 1);
  assert.ok(relay.of('not_connected').length <= 3, relay.text);
});

test('kill -9 between the answer and its storage: one PaymentIntent', async (t) => {
  const relay = await startRelay(t, stripe);
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'delay', ms: 1000 });
  const id = await add();
  await until(() => calls(stripe).length === 1, 'sent');
  const holder = await hold(t, id);
  await until(() => intents(stripe).length === 1, 'Stripe has the object');
  await until(blocked, 'relay_complete waits');
  await relay.kill('SIGKILL');
  await terminateBackends();
  await until(noBackends, 'its backend is gone');
  await holder.query('COMMIT');
  assert.equal((await row(id)).state, 'leased');

  await endLeases();
  await startRelay(t, stripe);
  await until(() => isDone(id), 'done');
  assert.equal(intents(stripe).length, 1);
  const { answer, attempts } = await row(id);
  assert.equal(answer.id, intents(stripe)[0].id);
  assert.equal(attempts, 2);
  const [first, second] = calls(stripe);
  assert.equal(first.idempotency_key, second.idempotency_key);
  assert.equal(first.body, second.body);
});

test('kill -9 under load: every row ends done, with one object each', async (t) => {
  let relay = await startRelay(t, stripe);
  await sql(enqueueMany(300));
  for (const enough of [50, 150]) {
    await until(() => intents(stripe).length >= enough, `${enough} are made`);
    await relay.kill('SIGKILL');
    await until(noBackends, 'its backend is gone');
    await endLeases();
    relay = await startRelay(t, stripe);
  }
  await until(async () => (await count('done')) === 300, 'all are done');
  assert.equal(intents(stripe).length, 300);
});
