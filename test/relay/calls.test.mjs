// What goes over the wire, what is stored, and that trouble on the way ends with one object at Stripe.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { sql } from './support/database.mjs';
import { add, count, emptyOutbox, enqueueMany, isDone, leaveOutbox, row, takeOutbox, update } from './support/queue.mjs';
import { calls, localStripe, runRelay, startRelay } from './support/relay.mjs';
import { until } from './support/until.mjs';

let stripe;
before(async () => {
  await takeOutbox();
  stripe = await localStripe();
});
beforeEach(async () => {
  await emptyOutbox();
  stripe.app.reset();
});
after(async () => {
  await stripe.stop();
  await leaveOutbox();
});

const intents = () => [...stripe.app.store.payment_intents];

test('a row becomes a call, its answer is stored', async (t) => {
  const relay = await startRelay(t, stripe);
  const id = await add();
  await until(() => isDone(id), 'done');
  const { idempotency_key: key, status, headers, answer, attempts } = await row(id);
  const [call] = calls(stripe);
  assert.equal(call.method, 'POST');
  assert.equal(call.path, '/v1/payment_intents');
  assert.equal(call.body, 'amount=1125&currency=usd');
  assert.equal(call.idempotency_key, key);
  assert.equal(call.stripe_version, '2026-10-28.endive');
  assert.equal(call.http, '2');
  assert.equal(status, 200);
  assert.equal(attempts, 1);
  assert.equal(headers['request-id'], call.request_id);
  assert.equal(headers['content-type'], 'application/json');
  assert.equal(headers['stripe-version'], '2026-10-28.endive');
  assert.deepEqual(JSON.parse(answer), intents()[0]);

  const line = await relay.until('answer');
  assert.deepEqual(
    [line.id, line.method, line.path, line.status, line.attempt, line.request_id, line.outcome],
    [id, 'POST', '/v1/payment_intents', '200', '1', call.request_id, 'done'],
  );
  assert.doesNotMatch(relay.text, /secret/);
});

test('the headers of each method', async (t) => {
  const seen = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      seen.push({ method: request.method, url: request.url, headers: request.headers, body });
      response.setHeader('Request-Id', 'req_1');
      response.setHeader('Stripe-Should-Retry', 'false');
      response.setHeader('Idempotent-Replayed', 'true');
      response.setHeader('Retry-After', '3');
      response.setHeader('X-Other', 'not kept');
      response.end(request.url === '/v1/account' ? '{"id": "acct_plain"}' : Buffer.from([0x7b, 0x00, 0xff, 0x7d]));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => server.close(resolve)));

  const post = await add({ path: '/v1/refunds', body: 'amount=1', account: 'acct_1' });
  const get = await add({ method: 'GET', path: '/v1/events', body: 'limit=1&type=a.b' });
  const remove = await add({ method: 'DELETE', path: '/v1/customers/cus_1', body: null });
  const { status } = await runRelay(t, { base: `http://127.0.0.1:${server.address().port}/` }, { STRIPE_CA_FILE: null, HTTP_PROXY: 'http://127.0.0.1:9', ALL_PROXY: 'http://127.0.0.1:9' }, ['--once']);
  assert.equal(status, 0);

  const of = (method, path) => seen.find((call) => call.method === method && call.url.startsWith(path));
  const posted = of('POST', '/v1/refunds');
  assert.equal(posted.body, 'amount=1');
  assert.equal(posted.headers.authorization, 'Bearer sk_test_local');
  assert.equal(posted.headers['content-type'], 'application/x-www-form-urlencoded');
  assert.equal(posted.headers['idempotency-key'], (await row(post)).idempotency_key);
  assert.equal(posted.headers['stripe-account'], 'acct_1');
  assert.equal(posted.headers['stripe-version'], '2026-10-28.endive');
  assert.equal(posted.headers['user-agent'], 'dvnt_stripe_relay/1.0');
  assert.equal(posted.headers.expect, undefined);
  const got = of('GET', '/v1/events');
  assert.equal(got.url, '/v1/events?limit=1&type=a.b');
  assert.equal(got.headers['idempotency-key'], undefined);
  assert.equal(got.headers['stripe-account'], undefined);
  assert.equal(got.body, '');
  assert.equal(of('DELETE', '/v1/customers/cus_1').body, '');

  const stored = await row(get);
  assert.deepEqual(stored.headers, {
    'request-id': 'req_1', 'stripe-should-retry': 'false', 'idempotent-replayed': 'true', 'retry-after': '3',
  });
  assert.equal(await sql(`SELECT answer FROM ticketing.stand_in_requests WHERE id = '${remove}'`), '\\x7b00ff7d');
});

for (const [name, fault] of [
  ['cut before it is executed', { kind: 'drop_before' }],
  ['cut after it was executed', { kind: 'drop_after' }],
  ['cut with its connection', { kind: 'drop_after', cut: 'connection' }],
  ['answered in half', { kind: 'truncate' }],
  ['answered in half, connection gone', { kind: 'truncate', cut: 'connection' }],
  ['answered 500 before it is executed', { kind: 'status', status: 500 }],
  ['answered 500 after it was executed', { kind: 'status', status: 500, execute: true, store: false }],
  ['answered 409', { kind: 'status', status: 409 }],
  ['answered 429', { kind: 'status', status: 429 }],
]) {
  test(`a call that is ${name} ends with one object`, async (t) => {
    stripe.app.faults.add({ match: { method: 'POST' }, ...fault });
    await startRelay(t, stripe);
    const id = await add();
    await until(() => isDone(id), 'done');
    assert.equal(intents().length, 1);
    const made = calls(stripe);
    assert.equal(made.length, 2);
    assert.equal(made[0].idempotency_key, made[1].idempotency_key);
    assert.equal(made[0].body, made[1].body);
    assert.equal(JSON.parse((await row(id)).answer).id, intents()[0].id);
  });
}

test('a call that hangs ends with its timeout, and others pass it', async (t) => {
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'hang' });
  const relay = await startRelay(t, stripe, { DVNT_RELAY_TIMEOUT: '1' });
  const slow = await add();
  await until(() => calls(stripe).length === 1, 'sent');
  const quick = await add();
  await until(() => isDone(quick), 'the quick one is done');
  assert.equal((await row(slow)).state, 'leased');
  await until(() => isDone(slow), 'the slow one is done');
  const [line] = relay.of('answer').filter(({ status }) => status === '0');
  assert.equal(line.outcome, 'retry');
  assert.match(line.error, /timed out/);
  assert.equal(intents().length, 2);
});

test('an answer of more than 4 MB is refused', async (t) => {
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'status', status: 200, body: 'x'.repeat(4 * 1024 * 1024 + 1) });
  const relay = await startRelay(t, stripe);
  const id = await add();
  await until(() => isDone(id), 'done');
  assert.match(relay.of('answer')[0].error, /larger than/);
});

test('a redirect is an answer, and is not followed', async (t) => {
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'status', status: 302, headers: { location: `${stripe.base}/v1/stolen` } });
  await startRelay(t, stripe);
  const id = await add();
  await until(async () => (await row(id)).state === 'failed', 'failed');
  assert.equal(calls(stripe).length, 1);
});

test('a refusal by Stripe is stored with its body', async (t) => {
  await startRelay(t, stripe);
  const id = await add({ body: 'amount=-1&currency=usd' });
  await until(async () => (await row(id)).state === 'failed', 'failed');
  const { status, answer } = await row(id);
  assert.equal(status, 400);
  assert.equal(JSON.parse(answer).error.param, 'amount');
});

for (const [name, assignments] of [
  ['a line break in Stripe-Account', String.raw`stripe_account = E'acct_1\r\nX-Evil: 1'`],
  ['a line break in Stripe-Version', String.raw`api_version = E'2026-10-28\nX-Evil: 1'`],
  ['a line break in the key', String.raw`idempotency_key = E'a\rb'`],
  ['no idempotency key', `idempotency_key = NULL`],
  ['a method of its own', `method = 'PUT'`],
  ['a path to another host', `path = '@stripe.example/v1'`],
  ['a path with a line break', String.raw`path = E'/v1/customers\r\n'`],
  ['a query with a blank', `method = 'GET', body = 'a b'`],
]) {
  test(`a row with ${name} is never sent`, async (t) => {
    const id = await add();
    await update(id, assignments);
    const relay = await startRelay(t, stripe);
    const line = await relay.until('answer');
    assert.equal(line.status, '0');
    assert.match(line.error, /^refused here/);
    const { status, headers } = await row(id);
    assert.equal(status, 0);
    assert.match(headers.error, /^refused here/);
    assert.equal(headers.tls, false);
    assert.deepEqual(calls(stripe), []);
  });
}

test('a key that Stripe stops accepting drains the relay', async (t) => {
  const relay = await startRelay(t, stripe);
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'status', status: 401 });
  const id = await add();
  assert.equal(await relay.ended, 4);
  assert.equal(relay.of('answer')[0].outcome, 'stop');
  assert.equal((await row(id)).state, 'ready');
});

test('a Stripe that stops being trusted drains the relay', async (t) => {
  const other = await localStripe();
  const relay = await startRelay(t, other);
  await other.stop();
  const impostor = await localStripe({ port: other.port });
  t.after(() => impostor.stop());
  const id = await add();
  assert.equal(await relay.ended, 4);
  assert.match(relay.of('answer')[0].error, /certificate/);
  assert.equal((await row(id)).headers.tls, true);
  assert.deepEqual(impostor.app.journal.list(), []);
});

test('what an answer makes ready is sent at once', async (t) => {
  const relay = await startRelay(t, stripe, { DVNT_RELAY_CONCURRENCY: '1' });
  const times = [];
  for (let i = 0; i < 9; i++) {
    await relay.untilAsleep();
    stripe.app.journal.clear();
    await add({ path: '/v1/customers', body: 'name=a', then: '/v1/customers' });
    const [first, second] = await until(() => calls(stripe).length === 2 && calls(stripe), 'both are sent');
    times.push(second.time - first.time);
    await until(async () => (await count('done')) === 2 * (i + 1), 'both are stored');
  }
  const median = times.sort((a, b) => a - b)[4];
  t.diagnostic(`from the first call of a chain to the second: ${median} ms (median)`);
  assert.ok(median < 300, `${median} ms`);
});

test('no more calls at once than there is room for', async (t) => {
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'delay', ms: 50, times: 12 });
  await sql(enqueueMany(12));
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, calls(stripe).filter(({ status }) => status === null).length);
  }, 5);
  t.after(() => clearInterval(watch));
  const { status } = await runRelay(t, stripe, { DVNT_RELAY_CONCURRENCY: '3' }, ['--once']);
  assert.equal(status, 0);
  assert.equal(await count('done'), 12);
  assert.equal(most, 3);
});

test('two relays send nothing twice', async (t) => {
  await Promise.all([startRelay(t, stripe), startRelay(t, stripe)]);
  for (let i = 0; i < 10; i++) await sql(enqueueMany(50));
  await until(async () => (await count('done')) === 500, 'all are done', 30000);
  const keys = calls(stripe).map((call) => call.idempotency_key);
  assert.equal(keys.length, 500);
  assert.equal(new Set(keys).size, 500);
  assert.equal(intents().length, 500);
});
