// Random lives of orders, each lived twice: once in the natural order, where every event is delivered and every call answered
// at once; once with events late, shuffled and twice, and answers late. Both must end in the same state. See run.
import { parseArgs } from 'node:util';
import { quote } from '../relay/support/database.mjs';
import { is, none, ok, say, done } from '../storm/tap.mjs';
import { callDirectly } from '../stripe/direct.mjs';
import { moveDispute, openDispute } from '../stripe/resources/disputes.mjs';
import { decline, pay } from '../stripe/resources/payment_states.mjs';
import { letRefunds, refund, settleRefund } from '../stripe/resources/refunds.mjs';
import { createApp } from '../stripe/stripe.mjs';
import { describeSums } from '../stripe/sums.mjs';
import { Courier } from './courier.mjs';
import { planOf, randomOf, shuffled } from './plans.mjs';

const { values: options } = parseArgs({ options: { sequences: { type: 'string' }, seed: { type: 'string' } } });
const SEQUENCES = Number(options.sequences ?? 1000);
const SEED = Number(options.seed ?? Date.now() % 1e6);
const AT_ONCE = 50; // lives that take a step at the same time
const HOST = 'property-host';
const ACCOUNT = 'acct_property';

const app = createApp({ key: 'sk_test_local' });
const courier = new Courier(app);
const counts = {};

say(`seed ${SEED}: ${SEQUENCES} sequences (--seed ${SEED} repeats them)`);
const plans = Array.from({ length: SEQUENCES }, (_, i) => planOf(randomOf(SEED * 100003 + i)));
const event = await openShop();
const natural = await live('natural', false);
const disordered = await live('disordered', true);
say(Object.entries(counts).sort().map(([name, count]) => `${name} ${count}`).join(', '));
await compare(natural, disordered);
await checkMoney();
await courier.session.close();
app.clock.clear();
done();

async function openShop() {
  await courier.session.query('SELECT cron.alter_job(jobid, active := false) FROM cron.job');
  await courier.session.query(`
    SET dvnt_ticketing.stripe_rate = 0;
    SET dvnt_ticketing.stripe_endpoint_rate = 0;
    INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted) VALUES ('${HOST}', '${ACCOUNT}', true, true, true);
    CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
      EXECUTE statement;
      RETURN 'ok';
    EXCEPTION WHEN OTHERS THEN
      RETURN SQLSTATE || ' ' || SQLERRM;
    END $$`);
  letRefunds(app, { become: 'pending' });
  await courier.start();
  return Number(await courier.session.query(`INSERT INTO public.events (host_id, title, start_date) VALUES ('${HOST}', 'Property', now() + interval '30 days') RETURNING id`));
}

// All plans, a few steps at a time; what is on its way between them is in `pool`.
async function live(name, disorder) {
  const random = randomOf(SEED + (disorder ? 1 : 0));
  const lives = plans.map((plan, i) => ({ plan, user: `${name}-${i}`, step: 0, refunds: [], outcomes: [] }));
  const pool = { events: [], old: [] };
  for (let i = 0; i < lives.length; i += AT_ONCE) await place(lives.slice(i, i + AT_ONCE));
  await courier.settle();
  await know(lives);
  const byIntent = new Map(lives.map((life) => [life.intent, life]));

  for (let alive = [...lives]; alive.length > 0; alive = alive.filter(({ plan, step }) => step < plan.steps.length)) {
    const some = disorder ? shuffled(alive, random).slice(0, AT_ONCE) : alive.slice(0, AT_ONCE);
    const steps = some.map((life) => [life, life.plan.steps[life.step++]]);
    if (disorder) await catchUp(steps, pool, byIntent, random);
    await takeSteps(steps, pool, random);
    for (const [, [kind, , outcome]] of steps) {
      const name = outcome === 'failed' ? 'fail' : kind;
      counts[name] = (counts[name] ?? 0) + 1;
    }
    if (disorder) await stir(pool, random);
    else await keepUp(pool);
    await noteRefunds(some);
  }
  await finish(pool, random, disorder);
  return lives;
}

// Buyers ask for their PaymentIntents.
async function place(lives) {
  const asked = lives.map(({ user, plan }) => `('${user}', ${plan.price}, ${plan.seats})`).join(', ');
  await courier.session.query(`INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total, max_per_user) SELECT ${event}, who, price, seats, NULL FROM (VALUES ${asked}) a (who, price, seats)`);
  const answers = await courier.rows(`SELECT name AS who, id AS tier FROM public.ticket_types WHERE event_id = ${event} AND name IN (${lives.map(({ user }) => `'${user}'`).join(', ')})`);
  for (const { who, tier } of answers) lives.find(({ user }) => user === who).tier = tier;
  await courier.all(lives.map(({ user, tier, plan }) => `SELECT ticketing.create_payment_intent('${user}', ${event}, '[{"ticket_type_id": "${tier}", "quantity": ${plan.quantity}}]')`));
}

async function know(lives) {
  const known = new Map((await courier.rows('SELECT user_id, order_id, payment_intent_id, total_cents FROM ticketing.orders')).map((order) => [order.user_id, order]));
  for (const life of lives) {
    const { order_id: order, payment_intent_id: intent, total_cents: total } = known.get(life.user);
    Object.assign(life, { order, intent, total });
  }
}

// The k-th refund that a life has asked for is the k-th of its order with tickets.
async function noteRefunds(lives) {
  const asking = lives.filter(({ plan, step, refunds }) => plan.steps.slice(0, step).filter(([kind]) => kind === 'refund').length > refunds.length);
  if (asking.length === 0) return;
  const list = asking.map(({ order }) => `'${order}'`).join(', ');
  const found = await courier.rows(`SELECT order_id, refund_id FROM ticketing.refunds r WHERE order_id IN (${list}) AND EXISTS (SELECT FROM ticketing.refund_tickets t WHERE t.refund_id = r.refund_id) ORDER BY created_at`);
  for (const life of asking) life.refunds = found.filter(({ order_id: order }) => order === life.order).map(({ refund_id: id }) => id);
}

function refundOf({ intent, refunds }, number) {
  return [...app.store.refunds.having('payment_intent', intent)].find(({ metadata }) => metadata?.refund_id === refunds[number]);
}

function chargeOf({ intent }) {
  return app.store.charges.get(app.store.payment_intents.get(intent).latest_charge);
}

// What somebody does through the engine, he does because of what he sees there: what has happened to his order is known by then.
async function catchUp(steps, pool, byIntent, random) {
  const seeing = new Set(steps.filter(([, [kind]]) => kind === 'refund' || kind === 'late').map(([life]) => life));
  const settling = steps.some(([, [kind]]) => kind === 'settle');
  pool.events.push(...courier.newEvents());
  if (seeing.size === 0 && !settling) return;
  const due = pool.events.filter((item) => seeing.has(byIntent.get(item.data.object.payment_intent ?? item.data.object.id)));
  pool.events = pool.events.filter((item) => !due.includes(item));
  pool.old.push(...due);
  await courier.deliver(shuffled([...due, ...due.filter(() => random(5) === 0)], random));
  await courier.settle();
}

async function takeSteps(steps, pool, random) {
  const late = steps.filter(([, [kind]]) => kind === 'late').map(([life]) => life);
  const statements = [];
  // given up, and paid in that moment; by the time that Stripe says so, the order is over and perhaps its seats are another's
  await courier.all(late.map(({ order, user }) => `SELECT ticketing.cancel_order('${order}', '${user}')`));
  for (const life of late) pay(app, app.store.payment_intents.get(life.intent));
  await courier.all(late.map(({ order }) => `UPDATE ticketing.orders SET due_at = ticketing.clock() WHERE order_id = '${order}'`));
  if (late.length > 0) await courier.session.query('SELECT ticketing.end_due_orders()');
  for (const [life, [kind, argument, outcome]] of steps) {
    const intent = app.store.payment_intents.get(life.intent);
    if (kind === 'decline') decline(app, intent);
    else if (kind === 'pay') pay(app, intent);
    else if (kind === 'dashboard') refund(app, chargeOf(life), { amount: argument });
    else if (kind === 'settle') settleRefund(app, refundOf(life, argument), { outcome });
    else if (kind === 'dispute') openDispute(app, { payment_intent: life.intent });
    else if (kind === 'decide') moveDispute(app, app.store.disputes.having('charge', intent.latest_charge).at(-1), argument);
    else if (kind === 'duplicate') payAgain(intent);
    else if (kind === 'late' && argument) statements.push(`SELECT attempt('SELECT ticketing.hold_tickets(''thief'', ${event}, ''[{"ticket_type_id": "${life.tier}", "quantity": ${life.plan.quantity}}]'')')`);
    else if (kind === 'refund') {
      const tickets = `(SELECT array_agg(ticket_id) FROM ticketing.order_tickets WHERE order_id = ''${life.order}'' AND ordinal IN (${argument.join(', ')}))`;
      statements.push(`SELECT '${life.user} ' || attempt('SELECT ticketing.refund_order(''${life.order}'', ''${HOST}'', ${tickets})')`);
    } else if (kind === 'again' && pool.old.length > 0) pool.events.push(pool.old[random(pool.old.length)]);
  }
  const byUser = new Map(steps.map(([life]) => [life.user, life]));
  for (const line of statements.length > 0 ? (await courier.session.query(statements.join(';\n'))).split('\n') : []) {
    const [user, ...said] = line.split(' ');
    byUser.get(user)?.outcomes.push(said.join(' '));
  }
}

// Another PaymentIntent of the same order, paid.
function payAgain({ amount, application_fee_amount: fee, currency, metadata, transfer_data: { destination } }) {
  const form = new URLSearchParams({ amount, currency, application_fee_amount: fee, 'transfer_data[destination]': destination, 'automatic_payment_methods[enabled]': true });
  for (const name in metadata) form.set(`metadata[${name}]`, metadata[name]);
  const { body } = callDirectly(app, 'POST', '/v1/payment_intents', form.toString());
  pay(app, app.store.payment_intents.get(body.id));
}

// Objects that we have not made are asked about a minute after they were heard of.
function askAboutStrangers() {
  return courier.session.query("UPDATE ticketing.stripe_inbox SET received_at = received_at - interval '2 minutes' WHERE state = 'parked'; SELECT ticketing.sweep_stripe()");
}

async function keepUp(pool) {
  // what was asked for goes out though no event tells of it
  await courier.settle();
  for (let events; (events = [...pool.events.splice(0), ...courier.newEvents()]).length > 0; ) {
    pool.old.push(...events);
    await courier.deliver(events);
    await courier.settle();
    await askAboutStrangers();
    await courier.settle();
  }
}

// Some of what is on its way arrives, in any order, some of it twice; some calls are made, some answers arrive.
async function stir(pool, random) {
  pool.events = shuffled([...pool.events, ...courier.newEvents()], random);
  const arriving = pool.events.splice(0, random(pool.events.length + 1));
  pool.old.push(...arriving);
  await courier.deliver([...arriving, ...arriving.filter(() => random(5) === 0)]);
  if (random(3) > 0) await courier.call();
  await courier.bring(shuffled(courier.answers, random).slice(0, random(courier.answers.length + 1)));
}

// Everything arrives, and what is still on its way to a buyer's bank gets there.
async function finish(pool, random, disorder) {
  for (let round = 0; round < 10; round++) {
    const events = [...pool.events.splice(0), ...courier.newEvents()];
    await courier.deliver(disorder ? shuffled([...events, ...events.filter(() => random(5) === 0)], random) : events);
    await courier.settle();
    await askAboutStrangers();
    await courier.settle();
    const onTheirWay = [...app.store.refunds].filter(({ status }) => status === 'pending');
    for (const item of onTheirWay) settleRefund(app, item, { outcome: 'succeeded' });
    if (onTheirWay.length === 0 && events.length === 0) return;
  }
}

// All that is to be said of an order, without its names.
async function states(lives) {
  const list = lives.map(({ order }) => `'${order}'`).join(', ');
  const found = await courier.rows(`
    SELECT o.user_id, jsonb_build_object(
      'state', o.state, 'dispute', o.dispute, 'shown', p.status,
      'tickets', (SELECT jsonb_agg(CASE WHEN s.ticket_id IS NOT NULL THEN 'suspended' ELSE t.status END ORDER BY k.item, k.ordinal) FROM ticketing.order_tickets k JOIN public.tickets t ON t.id = k.ticket_id LEFT JOIN ticketing.suspended_tickets s ON s.ticket_id = t.id WHERE k.order_id = o.order_id),
      'payments', (SELECT jsonb_agg(y.state ORDER BY y.state) FROM ticketing.order_payments y WHERE y.order_id = o.order_id),
      'refunds', (SELECT jsonb_agg(concat_ws(' ', r.reason, r.state, r.amount_cents, r.reverses) ORDER BY r.reason, r.state, r.amount_cents, r.reverses) FROM ticketing.refunds r WHERE r.order_id = o.order_id),
      'disputes', (SELECT jsonb_agg(concat_ws(' ', d.phase, d.amount_cents, d.reversed_cents) ORDER BY d.phase) FROM ticketing.disputes d WHERE d.order_id = o.order_id),
      'ledger', (SELECT jsonb_object_agg(kind, cents) FROM (SELECT kind, sum(amount_cents) AS cents FROM ticketing.ledger l WHERE l.order_id = o.order_id GROUP BY kind) l),
      'findings', (SELECT jsonb_agg(DISTINCT f.kind) FROM ticketing.findings f WHERE f.entity = 'orders/' || o.order_id OR f.entity IN (SELECT 'refunds/' || r.refund_id FROM ticketing.refunds r WHERE r.order_id = o.order_id))) AS is
    FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE o.order_id IN (${list})`);
  return new Map(found.map(({ user_id: user, is: state }) => [user, state]));
}

async function compare(first, second) {
  const one = await states(first);
  const other = await states(second);
  const differing = [];
  first.forEach((life, i) => {
    const [a, b] = [{ ...one.get(life.user), outcomes: life.outcomes }, { ...other.get(second[i].user), outcomes: second[i].outcomes }];
    if (JSON.stringify(a) !== JSON.stringify(b)) differing.push({ plan: life.plan.steps, order: second[i].order, natural: a, disordered: b });
  });
  none('every order ends in the same state, in whatever order the news come', differing);
  const refused = first.flatMap(({ outcomes, plan }) => outcomes.filter((said) => said !== 'ok').map((said) => ({ said, steps: plan.steps })));
  none('no refund that makes sense was refused', refused);
  const tally = {};
  for (const { state, dispute } of one.values()) tally[`${state}${dispute ? ` (dispute ${dispute})` : ''}`] = (tally[`${state}${dispute ? ` (dispute ${dispute})` : ''}`] ?? 0) + 1;
  say(Object.entries(tally).sort().map(([name, count]) => `${name} ${count}`).join(', '));
}

// Stripe is asked what it has booked: at once what we know is what it has, and two hours later what we were not told of is booked, too.
async function checkSettlement() {
  const settled = async () => {
    await courier.session.query('SELECT ticketing.enqueue_settlement()');
    await courier.settle();
    return courier.rows('SELECT * FROM ticketing.settlement_report()');
  };
  const early = await settled();
  none('what ledger and Stripe do not share explains their difference', early.filter((row) => row.difference_cents !== row.only_in_ledger_cents - row.only_at_stripe_cents));
  none('nothing that we have booked is missing at Stripe', await courier.rows("SELECT * FROM ticketing.account_lines WHERE settled_at IS NULL"));
  await courier.session.query('SET dvnt_ticketing.test_clock_offset = 7200000');
  const late = await settled();
  await courier.session.query('RESET dvnt_ticketing.test_clock_offset');
  none('the ledger is Stripe, to the cent', late.filter((row) => row.difference_cents !== 0 || row.only_at_stripe !== 0 || row.only_in_ledger !== 0));
  const { platform, accounts } = describeSums(app);
  none('by its own sums', late.filter(({ account, ledger_cents: ledger }) => accounts[account === 'platform' ? platform : account].usd.balance !== ledger));
  none('without a finding but of what Stripe alone knew', await courier.rows("SELECT kind, entity, detail FROM ticketing.findings WHERE kind LIKE 'settlement%' AND kind <> 'settlement_booked' AND resolved_at IS NULL"));
  const booked = await courier.rows("SELECT detail ->> 'type' AS type, count(*) AS n FROM ticketing.findings WHERE kind = 'settlement_booked' GROUP BY 1 ORDER BY 1");
  say(`settled: ${(await courier.rows('SELECT count(*) AS n FROM ticketing.balance_transactions'))[0].n} balance transactions of ${late.length} accounts; booked from Stripe's figures: ${booked.map(({ type, n }) => `${type} ${n}`).join(', ') || 'nothing'}`);
  none('and check_invariants still finds nothing', await courier.rows('SELECT * FROM ticketing.check_invariants()'));
}

async function checkMoney() {
  none('every call is done', await courier.rows("SELECT id, kind, state, error, apply_error FROM ticketing.stripe_requests WHERE state NOT IN ('done', 'failed') OR NOT applied"));
  none('no event is left', await courier.rows("SELECT stripe_event_id, type, reason FROM ticketing.stripe_inbox WHERE state = 'parked'"));
  none('nobody got more than he paid', [...app.store.charges].filter(({ amount, amount_refunded: back }) => back > amount).map(({ id }) => id));
  none('nor does the ledger say so', await courier.rows(`
    SELECT order_id, sum(CASE 'buyer' WHEN from_account THEN amount_cents WHEN to_account THEN -amount_cents END) AS paid FROM ticketing.ledger WHERE 'buyer' IN (from_account, to_account) GROUP BY 1
    HAVING sum(CASE 'buyer' WHEN from_account THEN amount_cents WHEN to_account THEN -amount_cents END) < 0`));
  const atStripe = new Map();
  for (const { id, amount, amount_refunded: back, payment_intent: intent, paid } of app.store.charges) {
    if (!paid) continue;
    const lost = app.store.disputes.having('charge', id).reduce((sum, { status, amount: cents }) => sum + (status === 'won' ? 0 : cents), 0);
    const { order_id: order } = app.store.payment_intents.get(intent).metadata;
    atStripe.set(order, (atStripe.get(order) ?? 0) + amount - back - lost);
  }
  const here = await courier.rows(`SELECT order_id, sum(CASE 'buyer' WHEN from_account THEN amount_cents ELSE -amount_cents END) AS cents FROM ticketing.ledger WHERE 'buyer' IN (from_account, to_account) GROUP BY 1`);
  none('what buyers have paid is what Stripe has of them, order by order', here.filter(({ order_id: order, cents }) => Number(cents) !== atStripe.get(order)).map((row) => ({ ...row, stripe: atStripe.get(row.order_id) })));
  is('for every order that Stripe knows of', here.length, atStripe.size);
  none('no paid order is without its tickets', await courier.rows(`
    SELECT o.order_id, o.state FROM ticketing.orders o WHERE o.state IN ('paid', 'partially_refunded')
    AND (SELECT count(*) FROM ticketing.order_tickets k WHERE k.order_id = o.order_id) <> (SELECT sum(quantity) FROM ticketing.order_items i WHERE i.order_id = o.order_id)`));
  none('check_invariants finds nothing', await courier.rows('SELECT * FROM ticketing.check_invariants()'));
  await checkSettlement();
  ok('refunds, failures, disputes and duplicates were among them', ['refund', 'settle', 'fail', 'dashboard', 'dispute', 'decide', 'duplicate', 'late', 'decline'].every((kind) => counts[kind] > 0), JSON.stringify(counts));
}
