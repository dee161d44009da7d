// Faults: each over HTTP/1.1 and HTTP/2, and what has and has not been executed after it.
// A fault that does less than it says would let a relay pass that loses or doubles calls.
import assert from 'node:assert/strict';
import test from 'node:test';
import { newClient, newStripe, until } from './support.mjs';

const CREATE = ['POST', '/v1/customers', { form: { name: 'A', description: 'x'.repeat(2000) }, idempotencyKey: 'k1' }];

// What a call that was cut off must look like: over HTTP/2, a stream that was reset with INTERNAL_ERROR.
function assertCut(error, protocol) {
  if (protocol === '2') assert.match(error.message, /NGHTTP2_INTERNAL_ERROR/);
}

// Runs `body(context)` over each protocol, with a client that speaks it.
function overBoth(name, body) {
  for (const protocol of ['1.1', '2']) {
    test(`${name}, over HTTP/${protocol}`, async (t) => {
      const { stripe, client: control, app } = await newStripe(t);
      const client = await newClient(t, stripe, protocol);
      const fault = (spec) => control.control('POST', 'faults', { match: { path: '/v1/customers' }, ...spec });
      await body({ app, client, control, fault, protocol, t });
    });
  }
}

overBoth('delay: the answer waits, and is the usual one', async ({ app, client, fault }) => {
  await fault({ kind: 'delay', ms: 150 });
  const start = Date.now();
  const answer = await client.call(...CREATE);
  assert.ok(Date.now() - start >= 145);
  assert.equal(answer.status, 200);
  assert.equal(app.store.customers.size, 1);
});

overBoth('delay: a client that leaves finds its call executed', async ({ app, client, fault }) => {
  await fault({ kind: 'delay', ms: 150 });
  const [method, path, options] = CREATE;
  await assert.rejects(client.call(method, path, { ...options, signal: AbortSignal.timeout(50) }));
  assert.equal(app.store.customers.size, 0);
  await until(() => app.store.customers.size === 1);
  assert.equal((await client.call(...CREATE)).headers['idempotent-replayed'], 'true');
});

overBoth('hang: no answer, nothing executed, the key free', async ({ app, client, control, fault }) => {
  await fault({ kind: 'hang' });
  const [method, path, options] = CREATE;
  await assert.rejects(client.call(method, path, { ...options, signal: AbortSignal.timeout(200) }));
  assert.equal(app.store.customers.size, 0);
  assert.equal((await control.control('GET', 'requests'))[0].status, 'hung');
  const answer = await client.call(...CREATE);
  assert.deepEqual([answer.status, answer.headers['idempotent-replayed']], [200, undefined]);
});

overBoth('drop_before: the connection is cut, nothing executed', async ({ app, client, fault, protocol }) => {
  await fault({ kind: 'drop_before', times: 2 });
  for (let i = 0; i < 2; i++) {
    await assert.rejects(client.call(...CREATE), (error) => {
      assertCut(error, protocol);
      return error.status === undefined;
    });
    assert.equal(app.store.customers.size, 0);
  }
  const answer = await client.call(...CREATE);
  assert.deepEqual([answer.status, answer.headers['idempotent-replayed']], [200, undefined]);
});

overBoth('drop_after: executed and kept, then cut', async ({ app, client, fault, protocol }) => {
  await fault({ kind: 'drop_after', times: 2 });
  for (let i = 0; i < 2; i++) {
    await assert.rejects(client.call(...CREATE), (error) => {
      assertCut(error, protocol);
      return error.status === undefined;
    });
    assert.equal(app.store.customers.size, 1);
  }
  const answer = await client.call(...CREATE);
  assert.deepEqual([answer.status, answer.headers['idempotent-replayed']], [200, 'true']);
  assert.equal(app.store.customers.size, 1);
});

overBoth('truncate: executed, and half of the answer comes', async ({ app, client, fault, protocol }) => {
  await fault({ kind: 'truncate' });
  await assert.rejects(client.call(...CREATE), (error) => {
    assertCut(error, protocol);
    assert.equal(error.status, 200);
    const promised = Number(error.headers['content-length']);
    assert.equal(error.received.length, Math.floor(promised / 2));
    return true;
  });
  const answer = await client.call(...CREATE);
  assert.equal(answer.headers['idempotent-replayed'], 'true');
  assert.equal(app.store.customers.size, 1);
});

overBoth('status: answered in its name, nothing executed or kept', async ({ app, client, fault }) => {
  await fault({ kind: 'status', status: 503 });
  const answer = await client.call(...CREATE);
  assert.deepEqual([answer.status, answer.body.error.type], [503, 'api_error']);
  assert.equal(answer.headers['stripe-should-retry'], undefined);
  assert.equal(app.store.customers.size, 0);
  assert.equal((await client.call(...CREATE)).status, 200);
});

overBoth('status with execute: executed, and the answer kept as Stripe keeps a 500', async ({ app, client, fault }) => {
  await fault({ kind: 'status', status: 500, execute: true });
  const answer = await client.call(...CREATE);
  assert.equal(answer.status, 500);
  assert.equal(app.store.customers.size, 1);
  const again = await client.call(...CREATE);
  assert.deepEqual([again.status, again.headers['idempotent-replayed'], again.text], [500, 'true', answer.text]);
  assert.equal(app.store.customers.size, 1);
});

overBoth('status between Stripe and us: executed, its own answer kept', async ({ app, client, fault }) => {
  await fault({ kind: 'status', status: 502, execute: true, store: false, body: '<html>Bad Gateway</html>', headers: { 'content-type': 'text/html' } });
  const answer = await client.call(...CREATE);
  assert.deepEqual([answer.status, answer.text, answer.headers['content-type']], [502, '<html>Bad Gateway</html>', 'text/html']);
  const again = await client.call(...CREATE);
  assert.deepEqual([again.status, again.headers['idempotent-replayed']], [200, 'true']);
  assert.equal(app.store.customers.size, 1);
});

overBoth('status stored without effect: the endpoint failed and will not run again', async ({ app, client, fault }) => {
  await fault({ kind: 'status', status: 500, store: true });
  assert.equal((await client.call(...CREATE)).status, 500);
  assert.equal((await client.call(...CREATE)).status, 500);
  assert.equal(app.store.customers.size, 0);
});

overBoth('status with a body and headers of its own', async ({ client, fault }) => {
  const body = { error: { type: 'invalid_request_error', code: 'lock_timeout', message: 'Locked.' } };
  await fault({ kind: 'status', status: 429, body, headers: { 'stripe-should-retry': 'true', 'retry-after': '1' } });
  const answer = await client.call(...CREATE);
  assert.deepEqual([answer.status, answer.body], [429, body]);
  assert.deepEqual([answer.headers['stripe-should-retry'], answer.headers['retry-after']], ['true', '1']);
});

test('a 409 or 429 is never kept, whatever the fault asks', async (t) => {
  const { client, app } = await newStripe(t);
  await client.control('POST', 'faults', { kind: 'status', status: 429, store: true });
  assert.equal((await client.call(...CREATE)).status, 429);
  assert.equal((await client.call(...CREATE)).status, 200);
  assert.equal(app.store.customers.size, 1);
});

test('over HTTP/2 a cut takes the stream, or all of the connection', async (t) => {
  const { client, app } = await newStripe(t);
  const slow = () => client.call('GET', '/v1/account');
  await client.control('POST', 'faults', { match: { path: '/v1/account' }, kind: 'delay', ms: 150, times: 2 });
  await client.control('POST', 'faults', { match: { path: '/v1/customers' }, kind: 'drop_before' });
  const spared = slow();
  await assert.rejects(client.call(...CREATE), { code: 'ERR_HTTP2_STREAM_ERROR' });
  assert.equal((await spared).status, 200);

  await client.control('POST', 'faults', { match: { path: '/v1/customers' }, kind: 'drop_before', cut: 'connection' });
  const lost = assert.rejects(slow());
  await assert.rejects(client.call(...CREATE));
  await lost;
  assert.equal(app.store.customers.size, 0);
  assert.equal((await client.call(...CREATE)).status, 200);
});

test('a fault meets the calls it names, in order, as often as it says', async (t) => {
  const { client } = await newStripe(t);
  const statusOf = async (...call) => (await client.call(...call)).status;
  await client.control('POST', 'faults', { match: { method: 'post', path: '^/v1/payment_intents/[^/]+/cancel$' }, kind: 'status', status: 501 });
  await client.control('POST', 'faults', { match: { method: 'GET', path: '/v1/payment' }, kind: 'status', status: 502, times: 2 });
  await client.control('POST', 'faults', { kind: 'status', status: 503 });
  assert.equal((await client.control('GET', 'faults')).length, 3);
  const got = [
    await statusOf('GET', '/v1/payment_intents/pi_1/cancel'),
    await statusOf('POST', '/v1/payment_intents/pi_1/cancel'),
    await statusOf('POST', '/v1/payment_intents/pi_1/cancel'),
    await statusOf('GET', '/v1/payment_intents'),
    await statusOf('GET', '/v1/payment_intents'),
  ];
  assert.deepEqual(got, [502, 501, 503, 502, 200]);
  const customerBy = async (key) => (await client.call('POST', '/v1/customers', { idempotencyKey: key })).status;
  await client.control('POST', 'faults', { match: { idempotency_key: 'second' }, kind: 'status', status: 504 });
  assert.deepEqual([await customerBy('first'), await customerBy('second'), await customerBy('second')], [200, 504, 200]);
  await client.control('POST', 'faults', { kind: 'hang' });
  await client.control('DELETE', 'faults');
  assert.equal(await statusOf('GET', '/v1/account'), 200);
});

test('what is no fault is refused, not ignored', async (t) => {
  const { client } = await newStripe(t);
  for (const spec of [
    {},
    { kind: 'explode' },
    { kind: 'delay' },
    { kind: 'status' },
    { kind: 'hang', time: 3 },
    { kind: 'hang', times: 0 },
    { kind: 'hang', match: { url: '/' } },
    { kind: 'hang', match: { path: '^(' } },
  ]) {
    const answer = await client.call('POST', '/_control/faults', { raw: JSON.stringify(spec) });
    assert.equal(answer.status, 400, JSON.stringify(spec));
  }
  assert.equal((await client.call('POST', '/_control/faults', { raw: '[' })).status, 400);
  assert.equal((await client.call('GET', '/_control/nothing')).status, 404);
});
