// The proof of the ledger, from end to end: after sales, refunds of tickets, refunds that fail, refunds made at Stripe and
// payouts, what the ledger says of each account is what Stripe says, to the cent.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PostOffice } from '../storm/post_office.mjs';
import { PsqlPool } from '../stripe/psql-pool.mjs';
import { scopeOf } from '../stripe/connect.mjs';
import { pay } from '../stripe/resources/payment_states.mjs';
import { payOut } from '../stripe/resources/payouts.mjs';
import { letRefunds, refund, refundableCharge, settleRefund } from '../stripe/resources/refunds.mjs';
import { describeSums } from '../stripe/sums.mjs';
import { json, rows, sql } from './support/database.mjs';
import { ownStripe } from './support/own_stripe.mjs';
import { underWay } from './support/queue.mjs';
import { Relay } from './support/relay.mjs';
import { webhookSecret } from './support/server.mjs';
import { until } from './support/until.mjs';

const HOSTS = ['settlementone', 'settlementtwo'];
const account = (host) => `acct_${host}`;

const stripe = await ownStripe();
const pool = new PsqlPool(4);
const office = new PostOffice(pool, webhookSecret());
let relay;
before(() => office.open());
after(async () => {
  await relay?.kill('SIGKILL');
  // What it has not brought it would bring again and again.
  await until(() => office.empty, 'all events are brought');
  await office.close();
  await pool.close();
  await setClock(0);
});

// The engine's clock for whoever connects from now on.
async function setClock(milliseconds) {
  await sql(milliseconds === 0 ? 'ALTER ROLE dvnt_ticketing_relay RESET dvnt_ticketing.test_clock_offset' : `ALTER ROLE dvnt_ticketing_relay SET dvnt_ticketing.test_clock_offset = ${milliseconds}`);
  process.env.PGOPTIONS = `-c dvnt_ticketing.test_clock_offset=${milliseconds}`;
}

async function startRelay() {
  await relay?.kill();
  // The clock is a superuser's to set: the relay has it by its role.
  relay = new Relay(stripe, { PGOPTIONS: null });
  await relay.until('ready');
}

const quiet = () =>
  until(
    async () => stripe.app.webhooks.list().every(({ status }) => status === 'delivered') && office.empty && (await underWay()) === 0,
    'all calls are answered and all events brought',
    30000,
  );

// Stripe is asked, and what it lists is compared.
async function settle() {
  await sql('SELECT ticketing.enqueue_settlement()');
  await quiet();
  return Object.fromEntries((await rows('SELECT * FROM ticketing.settlement_report()')).map((row) => [row.account, row]));
}

// By account, what Stripe's book says.
function stripeSums() {
  const { platform, accounts } = describeSums(stripe.app);
  return Object.fromEntries(Object.entries(accounts).map(([id, sums]) => [id === platform ? 'platform' : id, sums.usd]));
}

async function agrees(what) {
  const report = await settle();
  const sums = stripeSums();
  for (const id of ['platform', ...HOSTS.map(account)]) {
    const { ledger_cents: ledger, stripe_cents: theirs, difference_cents: difference, only_at_stripe: atStripe, only_in_ledger: inLedger } = report[id];
    assert.deepEqual({ ledger, theirs, difference, atStripe, inLedger }, { ledger: sums[id].balance, theirs: sums[id].balance, difference: 0, atStripe: 0, inLedger: 0 }, `${what}: ${id}`);
  }
  return { report, sums };
}

// The open findings of the settlement, of which there are `booked` about what Stripe alone has told.
async function findings(booked) {
  const found = await rows("SELECT kind, entity, detail FROM ticketing.findings WHERE kind LIKE 'settlement%' AND resolved_at IS NULL");
  assert.deepEqual(found.filter(({ kind }) => kind !== 'settlement_booked'), []);
  assert.equal(found.length, booked, JSON.stringify(found));
}

async function openShop() {
  // What other tests have booked was at another Stripe.
  await sql('TRUNCATE ticketing.ledger, ticketing.order_payments, ticketing.refunds, ticketing.refund_tickets, ticketing.balance_transactions, ticketing.settlement_cursors');
  await sql("DELETE FROM ticketing.findings WHERE kind LIKE 'settlement%'");
  return json(`
    WITH host AS (INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted)
                  SELECT h, 'acct_' || h, true, true, true FROM unnest('{${HOSTS}}'::text[]) h RETURNING host_id),
         event AS (INSERT INTO public.events (host_id, title, start_date) SELECT host_id, 'Settlement', now() + interval '30 days' FROM host RETURNING id, host_id),
         tier AS (INSERT INTO public.ticket_types (event_id, name, price_cents, max_per_user) SELECT id, 'Test', price, NULL FROM event, unnest(ARRAY[2599, 1001]) price RETURNING id, event_id)
    SELECT json_agg(to_json(s) ORDER BY host) FROM (SELECT host_id AS host, e.id AS event, array_agg(t.id) AS tiers FROM event e JOIN tier t ON t.event_id = e.id GROUP BY 1, 2) s`);
}

// An order of both tiers, paid: its payment and its tickets.
async function sell({ event, tiers }, buyer, quantity) {
  const items = JSON.stringify(tiers.map((tier, i) => ({ ticket_type_id: tier, quantity: quantity + i })));
  const order = await sql(`SELECT ticketing.create_payment_intent('${buyer}', ${event}, '${items}') ->> 'order_id'`);
  const intent = await until(() => [...stripe.app.store.payment_intents].find(({ metadata }) => metadata.order_id === order), 'the PaymentIntent is made');
  pay(stripe.app, intent);
  await until(async () => (await sql(`SELECT state FROM ticketing.orders WHERE order_id = '${order}'`)) === 'paid', 'the order is paid');
  return { order, payment: intent.id, tickets: await json(`SELECT json_agg(ticket_id ORDER BY item, ordinal) FROM ticketing.order_tickets WHERE order_id = '${order}'`) };
}

const giveBack = (order, host, tickets) =>
  sql(`SELECT ticketing.refund_order('${order}', '${host}', ARRAY[${tickets.map((id) => `'${id}'`)}]::uuid[]) ->> 'refund_id'`);

test('ledger and Stripe agree to the cent', async () => {
  const shops = await openShop();
  stripe.app.webhooks.configure({ url: office.url, types: ['*'] });
  stripe.app.money.set({ available_after: 0 });
  await startRelay();

  const orders = [];
  for (let i = 0; i < 8; i++) orders.push({ ...(await sell(shops[i % 2], `settlement-buyer-${i}`, 1 + (i % 4))), host: shops[i % 2].host });
  await quiet();
  const { sums } = await agrees('after the sales');
  assert.ok(sums.platform.stripe_fees < 0 && sums.platform.application_fees > 0);
  await findings(0);

  // Tickets of seven orders are given back, in parts whose fees Stripe divides by its own rounding; of one all, in three parts.
  for (const [i, { order, host, tickets }] of orders.entries()) {
    if (i === 7) continue;
    await giveBack(order, host, tickets.slice(0, 1));
    if (i % 2 === 1 || i === 2) await giveBack(order, host, tickets.slice(1, 3));
    if (i === 2) await giveBack(order, host, tickets.slice(3));
  }
  await quiet();
  const { sums: given } = await agrees('after refunds of tickets');
  assert.ok(given.platform.refunds < 0 && given.platform.reversals > 0 && given.platform.application_fee_refunds < 0);
  assert.ok(Number(await sql("SELECT count(*) FROM ticketing.ledger WHERE kind LIKE 'rounding%'")) > 0, 'some fees are divided otherwise');
  await findings(0);
  const [whole] = await rows(`SELECT sum(CASE WHEN to_account = 'platform' THEN amount_cents ELSE -amount_cents END) FILTER (WHERE 'platform' IN (from_account, to_account) AND kind <> 'stripe_fee') AS platform,
    sum(CASE WHEN to_account = 'organizer' THEN amount_cents ELSE -amount_cents END) FILTER (WHERE 'organizer' IN (from_account, to_account)) AS organizer
    FROM ticketing.ledger WHERE order_id = '${orders[2].order}'`);
  assert.equal(whole.platform + whole.organizer, 0, 'of an order that is given back nobody keeps anything');

  // A refund that succeeds and comes back: the buyer has not got it, the organizer's part is back all the same.
  letRefunds(stripe.app, { become: 'pending' });
  await giveBack(orders[7].order, orders[7].host, orders[7].tickets.slice(0, 2));
  await quiet();
  letRefunds(stripe.app, { become: 'succeeded' });
  const pending = [...stripe.app.store.refunds].find(({ status }) => status === 'pending');
  const waiting = await settle();
  assert.notEqual(waiting.platform.only_at_stripe, 0, 'a refund on its way has left the balance');
  assert.equal(waiting.platform.ledger_cents + waiting.platform.only_at_stripe_cents - waiting.platform.only_in_ledger_cents, waiting.platform.stripe_cents, 'the report explains the difference');
  await findings(0);
  settleRefund(stripe.app, pending, { outcome: 'succeeded' });
  await quiet();
  await agrees('after it has succeeded');
  settleRefund(stripe.app, stripe.app.store.refunds.get(pending.id), { outcome: 'failed', reason: 'expired_or_canceled_card' });
  await quiet();
  await agrees('after it has failed');
  await findings(0);

  // Made at Stripe, with the organizer's part and without.
  refund(stripe.app, refundableCharge(stripe.app, { payment_intent: orders[0].payment }), { amount: 700, reverse_transfer: true, refund_application_fee: true });
  refund(stripe.app, refundableCharge(stripe.app, { payment_intent: orders[1].payment }), { amount: 300 });
  // What is available is paid out, the platform's too.
  for (const host of HOSTS) payOut(scopeOf(stripe.app, account(host)), {});
  payOut(stripe.app, {});
  await quiet();
  await settle();
  await setClock(2 * 3600 * 1000);
  await startRelay();
  const { sums: last, report } = await agrees('after refunds and payouts that Stripe has made by itself');
  for (const host of HOSTS) assert.ok(last[account(host)].payouts < 0, 'organizers were paid out');
  assert.ok(last.platform.payouts < 0 && report.platform.ledger_cents === last.platform.balance);
  assert.deepEqual(
    (await rows('SELECT * FROM ticketing.check_invariants()')).filter(({ check_name: name }) => /^(ledger|refund)/.test(name)),
    [],
  );

  // Rolled up, it is the same.
  await sql('SELECT ticketing.sync_event_financials(true)');
  const [earned] = await rows(`SELECT sum(net_cents) AS net, sum(dvnt_fee_cents - stripe_fee_cents) AS platform FROM public.event_financials WHERE event_id IN (${shops.map(({ event }) => event)})`);
  assert.equal(earned.net, HOSTS.reduce((sum, host) => sum + last[account(host)].balance - last[account(host)].payouts, 0) - (await owed()), 'what the events have earned is what organizers have, and were paid out, less what they owe');
});

// What organizers owe because their part could not be taken back.
const owed = async () => Number(await sql("SELECT coalesce(sum(amount_cents), 0) FROM ticketing.ledger WHERE kind = 'debt'"));
