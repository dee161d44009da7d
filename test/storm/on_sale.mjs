// An on-sale: thousands of buyers at once, and a Stripe that takes twenty creates a second; see run. The clock of engine
// and Stripe runs faster than ours. Some give up while they wait, some later, some pay, most let their time pass.
import { parseArgs } from 'node:util';
import { json, quote, rows, sql } from '../relay/support/database.mjs';
import { unanswered } from '../relay/support/queue.mjs';
import { pause, until } from '../relay/support/until.mjs';
import { atStripe } from '../stripe/at_stripe.mjs';
import { Client } from './client.mjs';
import { EACH, IN_ALL, countCalls, endpointOf, most, openHall, timesOf } from './hall.mjs';
import { settled } from './quiet.mjs';
import { Scene } from './scene.mjs';
import { done, is, none, ok, say } from './tap.mjs';
import { Turns } from './turns.mjs';

const { values: options } = parseArgs({ options: { buyers: { type: 'string' } } });
const BUYERS = Number(options.buyers ?? 5000);
const CONNECTIONS = 100; // more than may wait
// Orders being placed at the same moment know nothing of each other: to be few beside those that wait already.
const PLACING = Math.min(CONNECTIONS, Math.max(8, Math.ceil(BUYERS / 50)));
const TIME_TO_PAY = 480; // seconds
const WAITERS = 64;
const GIVES_UP_WAITING = 0.03; // in the queue
const GIVES_UP = 0.03; // with the client secret in hand
const PAYS = 0.2;
const CANCEL_WITHIN = 5; // seconds from cancel_order to Stripe's answer, however long the buyers' queue
const TOLERANCE = 0.2; // of what ready_in says
const LEAST_MEASURED = 10; // seconds: whole seconds say little of shorter waits
const WAITER_TAG = 4; // of the places in await_stripe, in src/locks.c
const TRY_AGAIN = ['40001', '40P01', '55P03'];
const SETTLED_WITHIN = 240000;

const RATE = Number(await sql('SHOW dvnt_ticketing.test_clock_rate'));

const percent = (share) => `${(share * 100).toFixed(1)} %`;
const offset = async () => Number((await sql('SHOW dvnt_ticketing.test_clock_offset')).replace('ms', ''));

// Moves the engine's clock and Stripe's on to the time that a query says.
async function moveClockTo(when) {
  const wanted = (await offset()) + Math.max(0, Number(await sql(`SELECT round(extract(epoch FROM (${when}) - ticketing.clock()) * 1000)`)));
  await sql(`ALTER SYSTEM SET dvnt_ticketing.test_clock_offset = ${wanted}`);
  await sql('SELECT pg_reload_conf()');
  await until(async () => (await offset()) === wanted, 'the clock is moved');
  stripe.app.clock.set({ ...clock, offset: wanted });
}

const count = (buyers, when) => buyers.filter(({ gaveUp }) => gaveUp === when).length;
const settle = () => settled(office, unanswered, 'what was asked of Stripe is done', SETTLED_WITHIN);

const scene = await Scene.set({ connections: CONNECTIONS, hooks: 4 });
const { office, stripe } = scene;
const clock = { rate: RATE, anchor: Number(await sql('SELECT extract(epoch FROM pg_postmaster_start_time())')) };
stripe.app.clock.set(clock);
const connections = new Turns(CONNECTIONS);
// Asks again only where the engine says that others were faster.
const client = new Client(
  { query: (statement) => connections.run(() => scene.clients.query(statement)) },
  { isFinal: ({ sqlstate }) => !TRY_AGAIN.includes(sqlstate), after: () => 50 + 100 * Math.random() },
);
const placing = new Turns(PLACING);
const figures = { waiting: 0, queued: 0 };
let watching;
try {
  await onSale();
} finally {
  clearInterval(watching);
  await scene.close();
}
done();

// How many backends wait in await_stripe: each has a place, which is an advisory lock.
function watch() {
  let busy = false;
  watching = setInterval(async () => {
    if (busy) return;
    busy = true;
    const count = Number(await scene.hooks.query(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = ${WAITER_TAG} AND granted`));
    figures.waiting = Math.max(figures.waiting, count);
    busy = false;
  }, 20);
}

// One buyer, from the click until he pays, gives up, or has what he needs to pay and does not.
async function buy(hall, user) {
  const kind = Math.random();
  const { order_id: order, stripe_request_id: request, ready_in: readyIn } = await placing.run(() => client.ask(hall.order(quote(user))));
  const giveUp = () => client.ask(`SELECT ticketing.cancel_order('${order}', ${quote(user)})`);
  const buyer = { order, request, readyIn, gaveUp: null, paid: false };
  if (kind < GIVES_UP_WAITING) {
    await pause((readyIn * 1000 * Math.random()) / 2 / RATE);
    await giveUp();
    return { ...buyer, gaveUp: 'waiting' };
  }
  // He asks a little before he was told to, and then again and again.
  await pause((readyIn * 0.8 * 1000) / RATE);
  let secret = null;
  while (secret === null) {
    const answer = await client.ask(`SELECT ticketing.await_stripe('${request}', ${quote(user)}, '3 s')`);
    if (answer.status === 'failed') throw new Error(`${user}: ${JSON.stringify(answer)}`);
    secret = answer.client_secret;
    if (secret === null) {
      figures.queued += 1;
      await pause(500 + 500 * Math.random());
    }
  }
  if (kind < GIVES_UP_WAITING + GIVES_UP) {
    await giveUp();
    return { ...buyer, gaveUp: 'with his secret' };
  }
  if (kind >= GIVES_UP_WAITING + GIVES_UP + PAYS) return buyer;
  atStripe(stripe, 'pay', { payment_intent: secret.split('_secret_')[0] });
  return { ...buyer, paid: true };
}

async function onSale() {
  const hall = await openHall(BUYERS * 2);
  await scene.open();
  countCalls(stripe);
  watch();
  const began = stripe.app.clock.exact();
  const users = Array.from({ length: BUYERS }, (_, i) => `on-sale-buyer-${i}`);
  const buyers = await Promise.all(users.map((user) => buy(hall, user)));
  const soldIn = (stripe.app.clock.exact() - began) / 1000;
  clearInterval(watching);
  await settle();
  const ofRequest = Object.fromEntries((await rows(`SELECT id, extract(epoch FROM completed_at - created_at)::float8 AS waited FROM ticketing.stripe_requests WHERE kind = 'create_payment_intent' AND state = 'done'`)).map(({ id, waited }) => [id, waited]));
  say(`${BUYERS} buyers; the last was ready to pay ${soldIn.toFixed(0)} s after the first click, at ${RATE} times our pace`);
  const placed = await json(`SELECT json_build_object('seconds', extract(epoch FROM max(created_at) - min(created_at))) FROM ticketing.orders`);
  say(`all orders were placed within ${placed.seconds.toFixed(0)} s; ${client.repeated} calls were sent again because others were faster`);
  say(`gave up in the queue ${count(buyers, 'waiting')}, with a secret ${count(buyers, 'with his secret')}; paid ${buyers.filter(({ paid }) => paid).length}`);

  const errors = buyers
    .filter(({ request, readyIn }) => ofRequest[request] !== undefined && readyIn >= LEAST_MEASURED)
    .map(({ request, readyIn }) => ({ said: readyIn, took: ofRequest[request] }))
    .map(({ said, took }) => ({ said, took, off: (said - took) / took }));
  const offs = errors.map(({ off }) => Math.abs(off)).sort((a, b) => a - b);
  say(`ready_in: ${errors.length} of ${LEAST_MEASURED} s and more, up to ${Math.max(...errors.map(({ said }) => said))} s; off by ${percent(offs[offs.length >> 1])} (median), ${percent(offs.at(-1))} (most); ${errors.filter(({ off }) => off > TOLERANCE).length} too much, ${errors.filter(({ off }) => off < -TOLERANCE).length} too little`);
  ok('the wait was long enough to be measured', errors.length > BUYERS / 5);
  none(`ready_in is right within ${percent(TOLERANCE)}`, errors.filter(({ off }) => Math.abs(off) > TOLERANCE));

  say(`waiting in await_stripe: ${figures.waiting} at most; ${figures.queued} calls were told that they are queued`);
  ok(`at most ${WAITERS} backends wait`, figures.waiting > 0 && figures.waiting <= WAITERS, `${figures.waiting}`);

  checkPace();
  await checkCancels();
  await checkTheDead(buyers);
  await checkTimeToPay();
}

function checkPace() {
  const calls = stripe.app.journal.list();
  for (const [endpoint, of] of timesOf(calls)) {
    say(`${endpoint}: ${of.length} calls, ${(of.length / ((Math.max(...of) - Math.min(...of) + 1000) / 1000)).toFixed(1)} a second, ${most(of)} in the busiest`);
    ok(`${endpoint}: at most ${EACH} a second`, most(of) <= EACH, `${most(of)}`);
  }
  ok(`in all at most ${IN_ALL}`, most(calls.map(({ time }) => time)) <= IN_ALL);
  none('Stripe refused nothing for coming too often', calls.filter(({ status }) => status === 429).map(endpointOf));
}

async function checkCancels() {
  const cancels = await rows(`SELECT id, extract(epoch FROM completed_at - created_at)::float8 AS took FROM ticketing.stripe_requests WHERE kind = 'cancel_payment_intent' AND state = 'done'`);
  const slowest = Math.max(0, ...cancels.map(({ took }) => took));
  say(`cancels: ${cancels.length}, the slowest took ${slowest.toFixed(1)} s`);
  ok('there were cancels while buyers queued', cancels.length > 0);
  none(`none took longer than ${CANCEL_WITHIN} s`, cancels.filter(({ took }) => took > CANCEL_WITHIN));
}

// Who gave up before his create was sent has nothing at Stripe; what was under way is canceled there.
async function checkTheDead(buyers) {
  const intents = new Map([...stripe.app.store.payment_intents].map((intent) => [intent.metadata.order_id, intent]));
  const sent = new Map((await rows(`SELECT order_id, first_sent_at FROM ticketing.stripe_requests WHERE kind = 'create_payment_intent'`)).map((row) => [row.order_id, row.first_sent_at]));
  const dead = buyers.filter(({ gaveUp }) => gaveUp !== null).map(({ order }) => order);
  const unsent = dead.filter((order) => sent.get(order) === null);
  say(`${unsent.length} orders died before their create was sent`);
  ok('some did', unsent.length > 0);
  none('nothing was created for them', unsent.filter((order) => intents.has(order)));
  none('of the other dead all is canceled at Stripe', dead.filter((order) => intents.has(order) && intents.get(order).status !== 'canceled').map((order) => intents.get(order).status));
  none('the dead are canceled here', await rows(`SELECT order_id, state FROM ticketing.orders WHERE state <> 'canceled' AND order_id = ANY ('{${dead}}')`));
  none('who paid has his ticket', await rows(`SELECT order_id, state FROM ticketing.orders WHERE state <> 'paid' AND order_id = ANY ('{${buyers.filter(({ paid }) => paid).map(({ order }) => order)}}')`));
}

// The others let their time pass: the end came no earlier than promised, and their seats come back.
async function checkTimeToPay() {
  const shortest = `SELECT o.order_id, extract(epoch FROM o.expires_at - r.completed_at)::float8 AS seconds FROM ticketing.orders o
    JOIN ticketing.stripe_requests r ON r.order_id = o.order_id AND r.kind = 'create_payment_intent' AND r.state = 'done' WHERE o.state = 'awaiting_payment'`;
  const least = await rows(`${shortest} ORDER BY 2 LIMIT 1`);
  say(`time to pay from the moment that the secret was ready: ${least[0]?.seconds.toFixed(1)} s at least, of ${await sql(`SELECT count(*) FROM (${shortest}) s`)} who have not paid`);
  none(`nobody has less than ${TIME_TO_PAY} s`, await rows(`${shortest} AND o.expires_at < r.completed_at + interval '${TIME_TO_PAY} s'`));
  // Shortly before the first one's end nobody's has come.
  await moveClockTo(`SELECT min(r.completed_at) + interval '${TIME_TO_PAY - 5} s' FROM ticketing.stripe_requests r JOIN ticketing.orders o USING (order_id)
    WHERE r.kind = 'create_payment_intent' AND r.state = 'done' AND o.state = 'awaiting_payment'`);
  await sql('SELECT ticketing.end_due_orders(1000000)');
  is('orders that have ended by then', await sql(`SELECT count(*) FROM ticketing.orders WHERE state IN ('expiring', 'expired')`), '0');
  await moveClockTo(`SELECT max(expires_at) + interval '1 s' FROM ticketing.orders WHERE state = 'awaiting_payment'`);
  await until(async () => (await sql(`SELECT count(*) FROM ticketing.orders WHERE state NOT IN ('paid', 'expired', 'canceled')`)) === '0', 'all orders have ended', SETTLED_WITHIN);
  await settle();
  none(
    'no order ended before its time',
    await rows(`SELECT o.order_id, e.at, r.completed_at FROM ticketing.orders o JOIN ticketing.order_events e ON e.order_id = o.order_id AND e.to_state = 'expiring'
      JOIN ticketing.stripe_requests r ON r.order_id = o.order_id AND r.kind = 'create_payment_intent' AND r.state = 'done' WHERE e.at < r.completed_at + interval '${TIME_TO_PAY} s'`),
  );
  none('what was not paid is canceled at Stripe', [...stripe.app.store.payment_intents].filter(({ status }) => status !== 'succeeded' && status !== 'canceled').map(({ id, status }) => `${id} ${status}`));
  is('seats held', await sql(`SELECT coalesce(sum(quantity), 0) FROM ticketing.ticket_holds WHERE status = 'active'`), '0');
  none('check_invariants finds nothing', await rows('SELECT * FROM ticketing.check_invariants()'));
}
