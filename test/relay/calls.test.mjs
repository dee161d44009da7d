// What goes over the wire, what is stored, and that trouble on the way ends with one object at Stripe.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { sql } from './support/database.mjs';
import { median } from './support/median.mjs';
import { ownStripe } from './support/own_stripe.mjs';
import { add, addRow, count, enqueueMany, isDone, row } from './support/queue.mjs';
import { calls, intents, localStripe, runRelay, startRelay } from './support/relay.mjs';
import { until } from './support/until.mjs';

const stripe = await ownStripe();

test('an order becomes a call, its answer is stored and applied', async (t) => {
  const relay = await startRelay(t, stripe);
  const id = await add();
  await until(() => isDone(id), 'done');
  const stored = await row(id);
  const [call] = calls(stripe);
  const [intent] = intents(stripe);
  assert.equal(calls(stripe).length, 1);
  assert.equal(call.method, 'POST');
  assert.equal(call.path, '/v1/payment_intents');
  assert.equal(call.idempotency_key, stored.idempotency_key);
  assert.equal(call.stripe_version, '2026-10-28.endive');
  assert.equal(call.http, '2');
  assert.equal(intent.amount, 1125);
  assert.equal(intent.metadata.order_id, stored.order_id);
  assert.equal(stored.http_status, 200);
  assert.equal(stored.attempts, 1);
  assert.equal(stored.stripe_request_id, call.request_id);
  assert.equal(stored.answer.id, intent.id);
  assert.equal(await sql(`SELECT payment_intent_id FROM ticketing.orders WHERE order_id = '${stored.order_id}'`), intent.id);

  const line = await relay.until('answer');
  assert.deepEqual(
    [line.id, line.kind, line.endpoint, line.status, line.attempt, line.request_id, line.outcome],
    [id, 'create_payment_intent', 'POST /v1/payment_intents', '200', '1', call.request_id, 'done'],
  );
  assert.doesNotMatch(relay.text, /secret|sk_test/);
});

test('the headers of each method', async (t) => {
  const seen = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      seen.push({ method: request.method, url: request.url, headers: request.headers, body });
      response.end(request.url === '/v1/account' ? '{"id": "acct_plain"}' : '{"id": "cus_1"}');
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => server.close(resolve)));

  const post = await addRow({ path: '/v1/refunds', body: 'amount=1', stripe_account: 'acct_1' });
  await addRow({ method: 'GET', path: '/v1/events', body: 'limit=1&type=a.b' });
  await addRow({ method: 'DELETE', path: '/v1/customers/cus_1' });
  const base = `http://127.0.0.1:${server.address().port}/`;
  const { status } = await runRelay(t, { base }, { STRIPE_CA_FILE: null, HTTP_PROXY: 'http://127.0.0.1:9', ALL_PROXY: 'http://127.0.0.1:9' }, ['--once']);
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
  const removed = of('DELETE', '/v1/customers/cus_1');
  assert.equal(removed.url, '/v1/customers/cus_1');
  assert.equal(removed.body, '');
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
  ['answered 400 with the advice to retry', { kind: 'status', status: 400, headers: { 'stripe-should-retry': 'true' } }],
]) {
  test(`a call that is ${name} ends with one object`, async (t) => {
    stripe.app.faults.add({ match: { method: 'POST' }, ...fault });
    await startRelay(t, stripe);
    const id = await add();
    await until(() => isDone(id), 'done');
    assert.equal(intents(stripe).length, 1);
    const made = calls(stripe);
    assert.equal(made.length, 2);
    assert.equal(made[0].idempotency_key, made[1].idempotency_key);
    assert.equal(made[0].body, made[1].body);
    assert.equal((await row(id)).answer.id, intents(stripe)[0].id);
  });
}

test('a 500 that Stripe has stored is left behind by a new key', async (t) => {
  stripe.app.faults.add({ match: { method: 'POST' }, kind: 'status', status: 500, store: true });
  await startRelay(t, stripe);
  const id = await add();
  await until(() => isDone(id), 'done');
  const keys = calls(stripe).map((call) => call.idempotency_key);
  assert.equal(keys[0], keys[1]);
  assert.notEqual(keys[1], keys[2]);
  assert.equal(keys.length, 3);
  assert.equal(intents(stripe).length, 1);
});

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
  assert.equal(intents(stripe).length, 2);
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

test('a refusal by Stripe is stored', async (t) => {
  stripe.app.store.customers.clear();
  await startRelay(t, stripe);
  const id = await add();
  await until(async () => (await row(id)).state === 'failed', 'failed');
  const { http_status: status, error } = await row(id);
  assert.equal(status, 400);
  assert.equal(error.param, 'customer');
});

for (const [name, fields] of [
  ['a line break in Stripe-Account', { stripe_account: 'acct_1\r\nX-Evil: 1' }],
  ['a line break in Stripe-Version', { api_version: '2026-10-28\nX-Evil: 1' }],
  ['a path with a line break', { path: '/v1/customers\r\n' }],
  ['a path with a fragment', { path: '/v1/customers#' }],
  ['a query with a blank', { method: 'GET', body: 'a b' }],
]) {
  test(`a row with ${name} is never sent`, async (t) => {
    const id = await addRow(fields);
    const relay = await startRelay(t, stripe);
    const line = await relay.until('answer');
    assert.equal(line.status, '0');
    assert.match(line.error, /^refused here/);
    assert.match((await row(id)).error.message, /^refused here/);
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
  assert.equal(relay.of('answer')[0].outcome, 'stop');
  assert.equal((await row(id)).state, 'ready');
  assert.deepEqual(impostor.app.journal.list(), []);
});

test('what an answer makes ready is sent at once', async (t) => {
  const relay = await startRelay(t, stripe, { DVNT_RELAY_CONCURRENCY: '1' });
  const times = [];
  for (let i = 0; i < 9; i++) {
    await relay.untilAsleep();
    stripe.app.journal.clear();
    const id = await add(`new-buyer-${process.pid}-${i}`);
    await until(() => isDone(id), 'done');
    const [customer, intent] = calls(stripe);
    assert.deepEqual([customer.path, intent.path], ['/v1/customers', '/v1/payment_intents']);
    times.push(intent.time - customer.time);
  }
  t.diagnostic(`from the call for a customer to that for the PaymentIntent: ${median(times)} ms (median)`);
  // the relay looks by itself every second
  assert.ok(median(times) < 300, `${times} ms`);
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
  assert.equal(intents(stripe).length, 500);
});
