// Webhooks: signatures, what is sent, and that it is sent until it is taken.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import test from 'node:test';
import { newEndpoint, newStripe, until } from './support.mjs';
import { signature } from './webhooks.mjs';

const SECRET = 'whsec_test_secret';
const INTENT = { amount: 2500, currency: 'usd' };

test('a signature is the HMAC of the time, a dot and the body', () => {
  assert.equal(
    signature(SECRET, 1700000000, '{"id":"evt_test_1","object":"event"}'),
    't=1700000000,v1=29ab30b7065c11b28e53ac114fac5d6c492ed811a12d11ed2c2aad5bb4cf9809',
  );
});

async function withEndpoint(t, respond, options) {
  const endpoint = await newEndpoint(t, respond);
  const context = await newStripe(t, { webhookUrl: endpoint.url, webhookSecret: SECRET, ...options });
  const deliveries = () => context.client.control('GET', 'deliveries');
  return { ...context, ...endpoint, deliveries };
}

async function newIntent(client) {
  return (await client.post('/v1/payment_intents', INTENT)).body;
}

test('an event is posted as it is, signed over its bytes', async (t) => {
  const { client, taken, deliveries } = await withEndpoint(t);
  const { id } = await newIntent(client);
  await client.control('POST', 'pay', { payment_intent: id });
  const [{ headers, text, event }] = await until(() => taken.length > 0 && taken);
  assert.equal(event.type, 'payment_intent.succeeded');
  assert.deepEqual([event.data.object.id, event.data.object.status, event.pending_webhooks], [id, 'succeeded', 1]);
  assert.equal(text, JSON.stringify(event, null, 2));
  const [, at, digest] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(headers['stripe-signature']);
  assert.ok(Math.abs(Date.now() / 1000 - at) < 5);
  assert.equal(digest, createHmac('sha256', SECRET).update(`${at}.${text}`).digest('hex'));
  assert.match(headers['content-type'], /^application\/json/);
  await until(async () => (await deliveries())[0].status === 'delivered');
  assert.deepEqual(await deliveries(), [
    { event: event.id, type: 'payment_intent.succeeded', status: 'delivered', attempts: 1, http_status: 200, error: null },
  ]);
  assert.equal((await client.get(`/v1/events/${event.id}`)).body.pending_webhooks, 0);
});

test('only the types that the engine acts on are sent, unless others are asked for', async (t) => {
  const { client, taken } = await withEndpoint(t);
  const all = async () => {
    const { id } = await newIntent(client);
    await client.control('POST', 'decline', { payment_intent: id });
    await client.control('POST', 'pay', { payment_intent: id });
    await client.control('POST', 'refund', { payment_intent: id });
  };
  const types = () => taken.map(({ event }) => event.type).sort();
  const USUAL = ['charge.refunded', 'payment_intent.payment_failed', 'payment_intent.succeeded', 'refund.created', 'refund.updated'];
  await all();
  await until(() => taken.length === USUAL.length);
  assert.deepEqual(types(), USUAL);
  taken.length = 0;
  await client.control('POST', 'webhook', { events: ['*'] });
  await all();
  await until(() => taken.length === USUAL.length + 3);
  assert.deepEqual(types(), [...USUAL, 'charge.failed', 'charge.succeeded', 'payment_intent.created'].sort());
  taken.length = 0;
  await client.control('POST', 'webhook', { events: ['charge.refunded'] });
  await all();
  await until(() => taken.length === 1);
  assert.deepEqual(types(), ['charge.refunded']);
});

test('an event is sent again, further and further apart, until it is taken', async (t) => {
  const { client, taken, deliveries } = await withEndpoint(t, (n) => [500, null, 302, 204][n - 1]);
  const { id } = await newIntent(client);
  await client.post(`/v1/payment_intents/${id}/cancel`);
  await until(() => taken.length === 2);
  await until(async () => (await deliveries())[0].status === 'retrying');
  assert.equal((await deliveries())[0].error, 'ECONNRESET');
  await until(async () => (await deliveries())[0].status === 'delivered');
  assert.deepEqual((await deliveries()).map(({ attempts, http_status }) => [attempts, http_status]), [[4, 204]]);
  const gaps = taken.slice(1).map(({ at }, i) => at - taken[i].at);
  [200, 500, 1000].forEach((least, i) => assert.ok(gaps[i] >= least - 10 && gaps[i] < least + 400, `gaps ${gaps}`));
  // Each attempt is signed for its own time.
  assert.equal(new Set(taken.map(({ text }) => text)).size, 1);
  assert.ok(new Set(taken.map(({ headers }) => headers['stripe-signature'])).size > 1);
});

test('an endpoint can be set, changed and taken away while running', async (t) => {
  const [down, up] = [await newEndpoint(t, () => 500), await newEndpoint(t)];
  const { client } = await newStripe(t);
  await client.post(`/v1/payment_intents/${(await newIntent(client)).id}/cancel`);
  assert.deepEqual(await client.control('GET', 'deliveries'), []);
  const described = await client.control('POST', 'webhook', { url: down.url, secret: 'whsec_other', api_version: '2026-08-26.dahlia' });
  assert.deepEqual([described.url, described.secret, described.api_version], [down.url, 'whsec_other', '2026-08-26.dahlia']);
  await client.post(`/v1/payment_intents/${(await newIntent(client)).id}/cancel`);
  await until(() => down.taken.length > 0);
  await client.control('POST', 'webhook', { url: up.url });
  await until(() => up.taken.length === 1);
  assert.equal(up.taken[0].event.id, down.taken[0].event.id);
  assert.equal(up.taken[0].event.api_version, '2026-08-26.dahlia');
  const [, at, digest] = /^t=(\d+),v1=(\w+)$/.exec(up.taken[0].headers['stripe-signature']);
  assert.equal(digest, createHmac('sha256', 'whsec_other').update(`${at}.${up.taken[0].text}`).digest('hex'));
  await client.control('POST', 'webhook', { url: null });
  await client.post(`/v1/payment_intents/${(await newIntent(client)).id}/cancel`);
  assert.equal((await client.control('GET', 'deliveries')).length, 1);
  assert.equal((await client.call('POST', '/_control/webhook', { raw: '{"url":"ftp://x"}' })).status, 400);
});

test('events can be let come late, out of order, and twice', async (t) => {
  let refusals = 0;
  const { client, app, taken, deliveries } = await withEndpoint(t, (n) => (n % 10 === 0 && refusals++ < 5 ? 500 : 200));
  await client.control('POST', 'webhook', { disorder: { delay_ms: 200, duplicates: 0.2, seed: 7 } });
  for (let i = 0; i < 100; i++) await client.post(`/v1/payment_intents/${(await newIntent(client)).id}/cancel`);
  await until(async () => (await deliveries()).every(({ status }) => status === 'delivered'));
  const made = Array.from(app.store.events).filter(({ type }) => type === 'payment_intent.canceled');
  const seen = new Map();
  for (const { event } of taken) seen.set(event.id, (seen.get(event.id) ?? 0) + 1);
  assert.deepEqual(new Set(seen.keys()), new Set(made.map(({ id }) => id)));
  // A fifth of a hundred, and those that were refused at first.
  const extra = taken.length - refusals - 100;
  assert.ok(extra >= 10 && extra <= 32, `${extra} came twice`);
  const order = [...seen.keys()];
  assert.notDeepEqual(order, made.map(({ id }) => id));
  assert.ok(made.every(({ id }) => app.store.events.get(id).pending_webhooks === 0));
  await client.control('POST', 'webhook', { disorder: null });
  for (const wrong of ['{"disorder": {"duplicates": 2}}', '{"disorder": {"delay": 5}}']) {
    assert.equal((await client.call('POST', '/_control/webhook', { raw: wrong })).status, 400);
  }
});

test('a share of the events can be let go lost', async (t) => {
  const { client, app, taken, deliveries } = await withEndpoint(t);
  await client.control('POST', 'webhook', { disorder: { lost: 0.2, duplicates: 0.1, seed: 3 } });
  for (let i = 0; i < 100; i++) await client.post(`/v1/payment_intents/${(await newIntent(client)).id}/cancel`);
  await until(async () => (await deliveries()).every(({ status }) => status === 'delivered' || status === 'lost'));
  const lost = (await deliveries()).filter(({ status }) => status === 'lost');
  const { platform, connected } = await client.control('GET', 'deliveries/counts');
  assert.deepEqual([platform.events, platform.lost, platform.delivered], [100, lost.length, 100 - lost.length]);
  assert.ok(lost.length >= 10 && lost.length <= 32, `${lost.length} were lost`);
  await until(() => taken.length === platform.delivered + platform.duplicated);
  assert.deepEqual(connected, { events: 0, delivered: 0, lost: 0, duplicated: 0 });
  // They happened all the same.
  assert.equal(Array.from(app.store.events).filter(({ type }) => type === 'payment_intent.canceled').length, 100);
  assert.ok(lost.every(({ event, attempts }) => app.store.events.get(event).pending_webhooks === 1 && attempts === 0));
  await client.control('POST', 'webhook', { events: ['*'] });
  assert.ok((await deliveries()).some(({ status }) => status === 'lost'));
  await client.control('POST', 'resend', { event: lost[0].event });
  await until(() => taken.some(({ event }) => event.id === lost[0].event));
  assert.equal((await client.call('POST', '/_control/webhook', { raw: '{"disorder": {"lost": 2}}' })).status, 400);
});

test('what was not taken can be listed', async (t) => {
  let well = true;
  const { client, taken } = await withEndpoint(t, () => (well ? 200 : 500));
  const [{ id: first }, { id: second }] = [await newIntent(client), await newIntent(client)];
  const listed = async (delivered) => {
    const { body } = await client.get(`/v1/events?type=payment_intent.canceled&delivery_success=${delivered}`);
    return body.data.map((event) => event.data.object.id);
  };
  await client.post(`/v1/payment_intents/${first}/cancel`);
  await until(async () => (await listed(true)).length === 1);
  well = false;
  await client.post(`/v1/payment_intents/${second}/cancel`);
  await until(() => taken.length === 2);
  assert.deepEqual([await listed(true), await listed(false)], [[first], [second]]);
  well = true;
  await until(async () => (await listed(false)).length === 0);
});

test('an event can be sent once more, with the same bytes', async (t) => {
  const { client, taken } = await withEndpoint(t);
  await client.post(`/v1/payment_intents/${(await newIntent(client)).id}/cancel`);
  await until(() => taken.length === 1);
  await client.control('POST', 'resend', { event: taken[0].event.id });
  await until(() => taken.length === 2);
  assert.equal(taken[1].text, taken[0].text);
});

test('a call is answered before its webhook is sent', async (t) => {
  const order = [];
  const { client } = await withEndpoint(t, () => {
    order.push('webhook');
    return 200;
  });
  const { id } = await newIntent(client);
  await client.post(`/v1/payment_intents/${id}/cancel`).then(() => order.push('answer'));
  await until(() => order.length === 2);
  assert.deepEqual(order, ['answer', 'webhook']);
});
