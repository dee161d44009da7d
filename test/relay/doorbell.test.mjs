// Sleeping and waking: a commit wakes a sleeping relay at once, and rings only when one sleeps.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session, sql } from './support/database.mjs';
import { median } from './support/median.mjs';
import { ownStripe } from './support/own_stripe.mjs';
import { add, count, enqueue, ENQUEUER_LOCK, isDone } from './support/queue.mjs';
import { calls, startRelay } from './support/relay.mjs';
import { pause, until } from './support/until.mjs';

const stripe = await ownStripe();

// The locks on the doorbell's tag, by mode.
const locks = (mode) =>
  sql(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1685454850 AND objid = 0 AND objsubid = 2 AND mode = '${mode}'`);

test('a commit wakes a sleeping relay', async (t) => {
  const relay = await startRelay(t, stripe);
  const session = new Session();
  t.after(() => session.close());
  const delays = [];
  for (let i = 0; i < 21; i++) {
    await relay.untilAsleep();
    stripe.app.journal.clear();
    await session.query(`BEGIN; ${enqueue()}`);
    const committed = performance.timeOrigin + performance.now();
    await session.query('COMMIT');
    const [call] = await until(() => calls(stripe).length === 1 && calls(stripe), 'sent');
    delays.push(call.time - committed);
    await until(async () => (await count('done')) === i + 1, 'stored');
  }
  const delay = median(delays);
  t.diagnostic(`from COMMIT being sent to the request at Stripe: ${delay.toFixed(1)} ms (median), ${Math.max(...delays).toFixed(1)} ms (most)`);
  assert.ok(delay < 300, `${delay} ms`);
});

test('a sleeping relay holds the lock, a busy one does not', async (t) => {
  const relay = await startRelay(t, stripe, { DVNT_RELAY_CONCURRENCY: '1' });
  await relay.untilAsleep();
  assert.equal(await locks('ShareLock'), '1');
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'hang' });
  await add();
  await until(() => calls(stripe).length === 1, 'sent');
  await until(async () => (await locks('ShareLock')) === '0', 'unlocked: there is no room');
});

test('it sleeps while calls are in flight, and takes more', async (t) => {
  const relay = await startRelay(t, stripe);
  await relay.untilAsleep();
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'hang' });
  await add();
  await until(() => calls(stripe).length === 1, 'sent');
  await until(() => relay.of('asleep').length === 2, 'asleep again');
  const id = await add();
  await until(() => isDone(id), 'the second is done');
});

test('a transaction that enqueued and stays open keeps it awake, and is seen at its commit', async (t) => {
  const relay = await startRelay(t, stripe);
  const session = new Session();
  t.after(() => session.close());
  await until(async () => {
    // the relay lingers for 50 ms after this
    const id = await session.query(enqueue());
    await until(() => isDone(id), 'done');
    await session.query(`BEGIN; ${enqueue()}`);
    if ((await locks(ENQUEUER_LOCK)) === '1') return true;
    await session.query('ROLLBACK');
    return false;
  }, 'an enqueuer that got its lock');
  assert.ok(!relay.sleeps);
  const before = calls(stripe).length;
  await session.query('COMMIT');
  await until(() => calls(stripe).length === before + 1, 'sent');
  await relay.untilAsleep();
});

test('no row is missed at the edge of sleep', async (t) => {
  const relay = await startRelay(t, stripe, { DVNT_RELAY_POLL: '3600' });
  const session = new Session();
  t.after(() => session.close());
  const delays = [];
  for (let i = 0; i < 200; i++) {
    await relay.untilAsleep();
    // the second row comes 40 to 60 ms after the first one's answer: the relay is falling asleep
    const answers = relay.of('answer').length;
    await session.query(enqueue());
    await until(() => relay.of('answer').length > answers, 'stored');
    const end = performance.now() + 40 + i / 10;
    await until(() => performance.now() >= end, 'its linger ends');
    stripe.app.journal.clear();
    const start = performance.timeOrigin + performance.now();
    await session.query(enqueue());
    const [call] = await until(() => calls(stripe).length === 1 && calls(stripe), 'sent');
    delays.push(call.time - start);
    await until(() => relay.of('answer').length > answers + 1, 'stored');
  }
  const late = delays.filter((delay) => delay > 500);
  t.diagnostic(`median ${median(delays).toFixed(1)} ms, most ${Math.max(...delays).toFixed(1)} ms`);
  assert.deepEqual(late, []);
});

// A client's script: how it enqueues in one transaction, with pauses (ms) in which relays fall asleep or wake. Its last
// word is whether a request of it is committed.
const scripts = [
  async ({ say }) => say(enqueue()).then(() => 1),
  async ({ say }) => say(`BEGIN; ${enqueue()}; COMMIT`).then(() => 1),
  async ({ say, pause }) => {
    await say(`BEGIN; ${enqueue()}`);
    await pause(150);
    await say('COMMIT');
    return 1;
  },
  // What the first request has learnt of the relays is gone with its lock.
  async ({ say, pause }) => {
    await say(`BEGIN; SAVEPOINT s; ${enqueue()}; ROLLBACK TO s`);
    await pause(150);
    await say(`${enqueue()}; COMMIT`);
    return 1;
  },
  async ({ say, pause }) => {
    await say(`BEGIN; ${enqueue()}; SAVEPOINT s; ${enqueue()}`);
    await pause(80);
    await say('ROLLBACK TO s; COMMIT');
    return 1;
  },
  async ({ say, pause }) => {
    await say(`BEGIN; SAVEPOINT s; ${enqueue()}; RELEASE s`);
    await pause(80);
    await say(`SAVEPOINT s; ${enqueue()}; ROLLBACK TO s; COMMIT`);
    return 1;
  },
  async ({ say, pause }) => {
    await say(`BEGIN; ${enqueue()}`);
    await pause(80);
    await say('ROLLBACK');
    return 0;
  },
  // Stripe does not know this buyer: a second request becomes ready when the first one's answer is stored.
  async ({ say, next }) => say(enqueue(`sleepless-buyer-${process.pid}-${next()}`)).then(() => 2),
];

test('no committed row waits for the poll', { timeout: 300000 }, async (t) => {
  const rounds = 120;
  const patience = 5000;
  const relays = await Promise.all(['1', '2', '32'].map((concurrency) => startRelay(t, stripe, { DVNT_RELAY_POLL: '3600', DVNT_RELAY_CONCURRENCY: concurrency })));
  const sessions = Array.from({ length: 12 }, () => new Session());
  t.after(() => Promise.all(sessions.map((session) => session.close())));
  const watcher = new Session();
  t.after(() => watcher.close());
  const atMost = (ms) => pause(Math.random() * ms);
  const one = (list) => list[Math.floor(Math.random() * list.length)];
  let buyers = 0;
  let committed = 0;
  const delays = [];

  // Each round is a flurry and then silence, in which nobody rings for a row that was missed.
  for (let round = 0; round < rounds; round++) {
    stripe.app.faults.add({ match: { method: 'POST' }, kind: 'delay', ms: Math.floor(Math.random() * 60), times: 3 });
    const clients = sessions.slice(0, 1 + Math.floor(Math.random() * sessions.length));
    const counts = await Promise.all(
      clients.map(async (session) => {
        await atMost(one([0, 20, 150]));
        return one(scripts)({ say: (text) => session.query(text), pause: atMost, next: () => ++buyers });
      }),
    );
    committed += counts.reduce((sum, count) => sum + count, 0);
    const start = performance.now();
    await until(async () => (await watcher.query(`SELECT count(*) FROM ticketing.stripe_requests WHERE first_sent_at IS NULL`)) === '0', `round ${round}: every row is claimed`, patience);
    delays.push(performance.now() - start);
  }
  await until(async () => (await count('done')) === committed, 'all are done');
  const slept = relays.map((relay) => relay.of('asleep').length);
  t.diagnostic(`${committed} rows in ${rounds} rounds; the last one claimed after ${median(delays).toFixed(1)} ms (median), ${Math.max(...delays).toFixed(1)} ms (most); the relays slept ${slept.join(', ')} times`);
  assert.ok(slept.every((times) => times > rounds / 10), 'they slept and woke');
});

test('an idle relay costs about one claim a second', async (t) => {
  const relay = await startRelay(t, stripe, { PGUSER: process.env.PGUSER, PGOPTIONS: '-c track_functions=all' });
  await relay.untilAsleep();
  const claims = async () => Number(await sql(`SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'relay_claim'`));
  const before = await until(claims, 'counted');
  const start = performance.now();
  const later = await until(async () => (await claims()) >= before + 3 && claims(), 'three more');
  const perSecond = ((later - before) * 1000) / (performance.now() - start);
  t.diagnostic(`${perSecond.toFixed(1)} claims a second`);
  assert.ok(perSecond < 3, `${perSecond} claims a second`);
  assert.equal(await locks('ShareLock'), '1');
  assert.ok(relay.sleeps);
});
