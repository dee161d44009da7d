// Rates: what is counted, and that a limit holds in every second, wherever it begins.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Rates } from './rates.mjs';
import { INTENT, assertError, newStripe } from './support.mjs';

const ANY = 'most_in_any_second';
const CALENDAR = 'most_in_a_calendar_second';

// Rates on a clock that is set by hand, in milliseconds.
function byHand(limits = {}) {
  const clock = { now: 0, exact: () => clock.now };
  const rates = new Rates(clock);
  rates.limit(limits);
  return { rates, at: (now, endpoint = 'a') => ((clock.now = now), rates.count(endpoint)) };
}

test('a second is any second', () => {
  const { rates, at } = byHand();
  for (const now of [600, 700, 900, 1100, 1300, 1600.5, 5000]) at(now);
  const { total } = rates.describe();
  // 600 to 1599 holds five, 700 to 1699 too; the calendar's second holds three.
  assert.deepEqual([total.calls, total[ANY], total[CALENDAR]], [7, 5, 3]);
  // A whole second apart is another second.
  const apart = byHand();
  for (const now of [0, 1000, 2000]) apart.at(now);
  assert.equal(apart.rates.describe().total[ANY], 1);
  // A clock that was put back does not have the calls of its future in every second.
  for (const now of [500, 600, 2000]) apart.at(now);
  assert.equal(apart.rates.describe().total[ANY], 2);
});

test('the counts are those of looking at every window', () => {
  const { rates, at } = byHand();
  const times = [];
  let now = 0;
  for (let i = 0; i < 5000; i++) {
    now += ((i * 7919) % 211) ** 2 / 800;
    times.push(now);
    at(now, `e${i % 3}`);
  }
  const mostOf = (own) => Math.max(...own.map((start, i) => own.findIndex((time, j) => j > i && time >= start + 1000) - i));
  const until = (own) => [...own, Infinity];
  const { total, endpoints } = rates.describe();
  assert.equal(total[ANY], mostOf(until(times)));
  for (const n of [0, 1, 2]) assert.equal(endpoints[`e${n}`][ANY], mostOf(until(times.filter((_, i) => i % 3 === n))), `e${n}`);
});

test('no second has more than its limit, in total and per endpoint', () => {
  const { rates, at } = byHand({ total: 8, per_endpoint: 3, endpoints: { d: 1 } });
  const accepted = [];
  for (let now = 0; now < 4000; now += 10) {
    for (const endpoint of 'abcd') {
      const refusal = at(now, endpoint);
      if (refusal === null) accepted.push([now, endpoint]);
      else assert.ok(['global-rate', 'endpoint-rate'].includes(refusal.headers['stripe-rate-limited-reason']));
    }
  }
  for (const [start] of accepted) {
    const within = accepted.filter(([now]) => now >= start && now < start + 1000);
    assert.ok(within.length <= 8);
    for (const [endpoint, limit] of [['a', 3], ['b', 3], ['c', 3], ['d', 1]]) assert.ok(within.filter(([, name]) => name === endpoint).length <= limit);
  }
  assert.equal(accepted.length, 4 * 8);
  assert.equal(rates.describe().total.refused, 1600 - 32);
});

test('a call that is too many is refused before it does anything, and its key stays free', async (t) => {
  const { client, app } = await newStripe(t);
  await client.control('POST', 'rates', { per_endpoint: 2 });
  const create = (idempotencyKey) => client.post('/v1/payment_intents', INTENT, { idempotencyKey });
  await create('k1');
  const { body: second } = await create('k2');
  await client.control('POST', 'faults', { kind: 'status', status: 500 });
  const refused = await create('k3');
  assertError(refused, 429, { code: 'rate_limit', type: 'invalid_request_error' });
  assert.equal(refused.headers['stripe-rate-limited-reason'], 'endpoint-rate');
  assert.equal(refused.headers['stripe-should-retry'], undefined);
  assert.equal(app.store.payment_intents.size, 2);
  assert.equal((await client.control('GET', 'faults')).length, 1);
  await client.control('DELETE', 'faults');
  // Another endpoint has a budget of its own, and every object of one endpoint the same.
  assert.equal((await client.get(`/v1/payment_intents/${second.id}`)).status, 200);
  assert.equal((await client.get('/v1/payment_intents/pi_none')).status, 404);
  assert.equal((await client.get(`/v1/payment_intents/${second.id}`)).status, 429);
  await client.control('POST', 'clock', { advance: 1 });
  const after = await create('k3');
  assert.deepEqual([after.status, after.headers['idempotent-replayed']], [200, undefined]);

  const { limits, total, endpoints } = await client.control('GET', 'rates');
  assert.deepEqual([limits.per_endpoint, total.calls, total.refused], [2, 7, 2]);
  assert.deepEqual(Object.keys(endpoints), ['POST /v1/payment_intents', 'GET /v1/payment_intents/:id']);
  assert.deepEqual([endpoints['POST /v1/payment_intents'].calls, endpoints['POST /v1/payment_intents'][ANY]], [4, 3]);
  await client.control('DELETE', 'rates');
  assert.deepEqual((await client.control('GET', 'rates')).total.calls, 0);
  assert.equal((await client.control('GET', 'rates')).limits.per_endpoint, 2);
  for (const wrong of ['{"total": 0}', '{"each": 1}', '{"endpoints": {"a": "b"}}']) {
    assert.equal((await client.call('POST', '/_control/rates', { raw: wrong })).status, 400);
  }
});
