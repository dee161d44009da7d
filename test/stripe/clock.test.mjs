// The clock: moved, made faster, as the engine's; and that everything follows it.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Clock } from './clock.mjs';
import { SESSION, newEndpoint, newStripe, until } from './support.mjs';

const near = (actual, expected, by, what) => assert.ok(Math.abs(actual - expected) <= by, `${what}: ${actual}, not ${expected} ± ${by}`);

test('the clock does what is due, unless called off', async () => {
  const clock = new Clock();
  const done = [];
  const now = clock.millis() / 1000;
  clock.at(now + 0.02, () => done.push('first'));
  clock.at(now + 0.03, () => done.push('called off'))();
  clock.at(now - 10, () => done.push('late'));
  clock.at(now + 0.04, () => done.push('last'));
  await until(() => done.length === 3);
  assert.deepEqual(done, ['late', 'first', 'last']);
  clock.at(now + 0.05, () => done.push('cleared'));
  clock.clear();
  await new Promise((resolve) => setTimeout(resolve, 80));
  assert.equal(done.length, 3);
});

test('a jump does what it passes, in order, each at its own time', () => {
  const clock = new Clock();
  const start = clock.seconds();
  const done = [];
  const due = Array.from({ length: 200 }, (_, i) => start + 1 + ((i * 73) % 97));
  for (const seconds of due) clock.at(seconds, () => done.push([seconds, clock.seconds()]));
  clock.at(start + 50, () => clock.at(start + 51, () => done.push('chained')));
  clock.at(start + 1000, () => done.push('too early'));
  clock.set({ advance: 100 });
  assert.equal(done.length, 201);
  const chained = done.indexOf('chained');
  assert.ok(done[chained - 1][0] <= start + 51 && done[chained + 1][0] > start + 51);
  done.splice(chained, 1);
  assert.deepEqual(done.map(([seconds]) => seconds), due.sort((a, b) => a - b));
  for (const [seconds, stamped] of done) assert.equal(stamped, seconds);
  near(clock.millis() / 1000, start + 100, 2, 'after');
  clock.clear();
});

test('rate, anchor and offset mean what they mean to the engine', () => {
  const clock = new Clock();
  const anchor = Date.now() / 1000 - 10;
  clock.set({ rate: 60, anchor, offset: 5000 });
  near(clock.millis() / 1000, Date.now() / 1000 + 10 * 59 + 5, 1, 'anchored');
  near(clock.exact(), clock.millis(), 5000, 'the exact one');
  // The pace changes and the time does not.
  const before = clock.millis();
  clock.set({ rate: 2 });
  near(clock.millis(), before, 3000, 'slower');
  clock.set({ now: 2000000000 });
  near(clock.millis() / 1000, 2000000000, 1, 'set');
  for (const wrong of [{ rate: 0 }, { rate: 'fast' }, { ofset: 1 }, { now: null }]) assert.throws(() => clock.set(wrong), { status: 400 });
});

test('a faster clock rings earlier', async () => {
  const clock = new Clock();
  let rung = false;
  clock.at(clock.seconds() + 3600, () => (rung = true));
  clock.set({ rate: 36000 });
  await until(() => rung);
  clock.clear();
});

test('objects, events, signatures and keys follow the clock', async (t) => {
  const endpoint = await newEndpoint(t);
  const { client } = await newStripe(t, { webhookUrl: endpoint.url });
  const first = await client.post('/v1/customers', {}, { idempotencyKey: 'k1' });
  const { now } = await client.control('POST', 'clock', { now: 2000000000 });
  near(now, 2000000000, 1, 'told');
  const { body: made } = await client.post('/v1/payment_intents', { amount: 2500, currency: 'usd' });
  near(made.created, 2000000000, 5, 'created');
  const { body: canceled } = await client.post(`/v1/payment_intents/${made.id}/cancel`);
  near(canceled.canceled_at, 2000000000, 5, 'canceled_at');
  const [{ headers, event }] = await until(() => endpoint.taken.length > 0 && endpoint.taken);
  near(event.created, 2000000000, 5, 'event');
  near(Number(/^t=(\d+),/.exec(headers['stripe-signature'])[1]), 2000000000, 5, 'signature');
  const calls = await client.control('GET', 'requests');
  near(calls.at(-1).time / 1000, 2000000000, 5, 'journal');
  // A day and more has passed since the key was used.
  assert.notEqual((await client.post('/v1/customers', {}, { idempotencyKey: 'k1' })).body.id, first.body.id);
  assert.equal((await client.call('POST', '/_control/clock', { raw: '{"rate": -1}' })).status, 400);
  await client.control('POST', 'reset');
  near((await client.control('GET', 'clock')).now, Date.now() / 1000, 5, 'reset');
});

test('a Checkout Session expires when the clock passes its end', async (t) => {
  const { client } = await newStripe(t);
  const { body: made } = await client.post('/v1/checkout/sessions', SESSION);
  await client.control('POST', 'clock', { advance: 86400 - 60 });
  assert.equal((await client.get(`/v1/checkout/sessions/${made.id}`)).body.status, 'open');
  await client.control('POST', 'clock', { advance: 61 });
  assert.equal((await client.get(`/v1/checkout/sessions/${made.id}`)).body.status, 'expired');
  const { data } = (await client.get('/v1/events?type=checkout.session.expired')).body;
  assert.deepEqual(data.map((event) => [event.data.object.id, event.created]), [[made.id, made.expires_at]]);
});
