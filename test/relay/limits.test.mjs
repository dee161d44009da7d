// Rate limits: whatever the relays do, Stripe never counts more calls in a second than it allows.
// If one of these failed, an on-sale would end in 429s, or a refund would wait behind thousands of buyers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session, sql } from './support/database.mjs';
import { median } from './support/median.mjs';
import { ownStripe } from './support/own_stripe.mjs';
import { add, count, isDone, placeOrder, row, setLimits } from './support/queue.mjs';
import { calls, startRelay } from './support/relay.mjs';
import { until } from './support/until.mjs';

const stripe = await ownStripe();

// Puts so many requests that fail at once into the outbox: each is a call to its endpoint.
const fill = (number, endpoints, lane = 1) =>
  sql(`INSERT INTO ticketing.stripe_requests (kind, lane, method, path, endpoint, api_version, user_id, run_at, created_at)
    SELECT 'get_payment_intent', ${lane}, 'GET', '/v1/' || resource || '/x_' || n, 'GET /v1/' || resource || '/:id', '2026-10-28.endive', 'limits', now(), now()
    FROM generate_series(1, ${number}) n, LATERAL (SELECT (ARRAY[${endpoints.map((name) => `'${name}'`)}])[1 + n % ${endpoints.length}] AS resource) r`);

// The most calls in any one second, of all or of one resource.
function most(stripe, resource = '') {
  const times = stripe.app.journal.list().filter(({ path }) => path.startsWith(`/v1/${resource}`)).map(({ time }) => time).sort((a, b) => a - b);
  let first = 0;
  let highest = 0;
  for (let last = 0; last < times.length; last++) {
    while (times[last] - times[first] >= 1000) first++;
    highest = Math.max(highest, last - first + 1);
  }
  return highest;
}

// Calls a second from the first to the last.
function rate(stripe, resource = '') {
  const times = calls(stripe).filter(({ path }) => path.startsWith(`/v1/${resource}`)).map(({ time }) => time);
  return ((times.length - 1) * 1000) / (Math.max(...times) - Math.min(...times));
}

test('three relays together keep to 20 a second for an endpoint', async (t) => {
  await setLimits(80, 20);
  await fill(200, ['customers']);
  await Promise.all([startRelay(t, stripe), startRelay(t, stripe), startRelay(t, stripe)]);
  await until(async () => (await count('failed')) === 200, 'all are answered', 30000);
  t.diagnostic(`most in a second: ${most(stripe, 'customers')}; on the average: ${rate(stripe).toFixed(1)}`);
  assert.ok(most(stripe, 'customers') <= 20, `${most(stripe, 'customers')} in a second`);
  assert.ok(rate(stripe) >= 17, `${rate(stripe)} a second`);
  assert.equal(calls(stripe).length, 200);
});

test('and to 80 a second in all', async (t) => {
  await setLimits(80, 20);
  const resources = ['customers', 'payment_intents', 'refunds', 'charges', 'events', 'balance'];
  await fill(600, resources);
  await Promise.all([startRelay(t, stripe), startRelay(t, stripe), startRelay(t, stripe)]);
  await until(async () => (await count('failed')) === 600, 'all are answered', 30000);
  t.diagnostic(`most in a second: ${most(stripe)}; on the average: ${rate(stripe).toFixed(1)}`);
  assert.ok(most(stripe) <= 80, `${most(stripe)} in a second`);
  for (const resource of resources) assert.ok(most(stripe, resource) <= 20, `${most(stripe, resource)} to ${resource} in a second`);
  assert.ok(rate(stripe) >= 0.85 * 75, `${rate(stripe)} a second`);
});

// Three times, and of each place in the queue the median: a machine that stops for a second would spoil one.
test('buyers are told when their turn comes: within 20 %', async (t) => {
  await setLimits(80, 20);
  await startRelay(t, stripe);
  const session = new Session();
  t.after(() => session.close());
  await session.query('CREATE TEMP TABLE told (place integer, id uuid, at timestamptz, ready_in numeric)');
  for (let round = 1; round <= 3; round++) {
    // new buyers: each needs a customer first, then a PaymentIntent
    await session.query(`DO $do$ DECLARE a jsonb; BEGIN FOR i IN 1..300 LOOP
        a := ${placeOrder(`'told ${round} ' || i`)};
        INSERT INTO told VALUES (i, (a ->> 'stripe_request_id')::uuid, clock_timestamp(), (a ->> 'ready_in')::numeric);
        COMMIT;
      END LOOP; END $do$`);
    const open = () => sql(`SELECT count(*) FROM ticketing.stripe_requests WHERE state <> 'done'`);
    await until(async () => (await open()) === '0', 'all are done', 40000);
  }
  const [places, wrong, worst] = (
    await session.query(`SELECT count(*), count(*) FILTER (WHERE off > greatest(0.2 * took, 1)), max(off / took) FILTER (WHERE took > 5)
      FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(ready_in - took)) AS off, percentile_cont(0.5) WITHIN GROUP (ORDER BY took) AS took
            FROM (SELECT place, ready_in, extract(epoch FROM r.completed_at - t.at) AS took FROM told t JOIN ticketing.stripe_requests r USING (id)) q GROUP BY place) m`)
  ).split('|');
  t.diagnostic(`of ${places} places those that wait for more than 5 s are told at most ${(100 * worst).toFixed(0)} % wrong`);
  assert.equal(places, '300');
  assert.equal(wrong, '0');
});

test('a Stripe that answers in jerks is not sent more', async (t) => {
  await setLimits(80, 20);
  stripe.app.faults.add({ match: { path: '/v1/customers' }, kind: 'delay', ms: 400, times: 20 });
  await fill(60, ['customers']);
  await Promise.all([startRelay(t, stripe), startRelay(t, stripe)]);
  await until(async () => (await count('failed')) === 60, 'all are answered', 30000);
  assert.ok(most(stripe, 'customers') <= 20, `${most(stripe, 'customers')} in a second`);
});

test('a refund does not wait behind buyers', async (t) => {
  await setLimits(8, 8);
  await fill(100, ['customers']);
  await startRelay(t, stripe);
  await until(() => calls(stripe).length >= 7, 'the buyers have all they get');
  const before = calls(stripe).length;
  await fill(1, ['refunds'], 0);
  const place = await until(() => 1 + calls(stripe).findIndex(({ path }) => path.startsWith('/v1/refunds')), 'the refund is asked for');
  assert.ok(place - before <= 8, `${place - before - 1} buyers came between`);
});

test('429 pauses one endpoint for as long as Stripe says, and the others go on', async (t) => {
  stripe.app.faults.add({ match: { path: '/v1/payment_intents' }, kind: 'status', status: 429, headers: { 'retry-after': '2' } });
  await startRelay(t, stripe);
  const buyer = await add();
  await until(() => calls(stripe).length === 1, 'refused');
  await fill(1, ['customers']);
  await until(async () => (await count('failed')) === 1, 'another endpoint is answered');
  await until(() => isDone(buyer), 'done');
  assert.deepEqual(calls(stripe).map(({ path }) => path), ['/v1/payment_intents', '/v1/customers/x_1', '/v1/payment_intents']);
  const [first, , second] = calls(stripe);
  assert.ok(second.time - first.time >= 2000, `${second.time - first.time} ms`);
  assert.equal((await row(buyer)).attempts, 1);
});

test('a retry comes when it is due, not when the relay happens to look', async (t) => {
  const relay = await startRelay(t, stripe);
  const waits = [];
  for (let i = 0; i < 7; i++) {
    await relay.untilAsleep();
    stripe.app.journal.clear();
    stripe.app.faults.add({ match: { method: 'POST' }, kind: 'status', status: 500 });
    const id = await add();
    await until(() => isDone(id), 'sent again');
    const [first, second] = calls(stripe);
    waits.push(second.time - first.time);
  }
  // it is due after a quarter to half a second; the relay looks every second
  assert.ok(median(waits) < 750, `${waits} ms`);
});
