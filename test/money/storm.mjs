// Orders in a storm that goes on after the sale; see run. Webhooks are lost, come twice and in any order; relay and server are
// killed; then Stripe is asked once for what was missed, and everything is right.
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { rows, sql } from '../relay/support/database.mjs';
import { IMPATIENT } from '../relay/support/relay.mjs';
import { Buyers } from '../storm/buyers.mjs';
import { Killer } from '../storm/killing.mjs';
import { quiet } from '../storm/quiet.mjs';
import { Scene } from '../storm/scene.mjs';
import { HOST, openShop } from '../storm/shop.mjs';
import { done, is, none, ok, say } from '../storm/tap.mjs';
import { describeSums } from '../stripe/sums.mjs';
import { AfterSale } from './after_sale.mjs';

const { values: options } = parseArgs({ options: { orders: { type: 'string' }, kills: { type: 'string' } } });
const ORDERS = Number(options.orders ?? 400);
const KILLS = Number(options.kills ?? 10);
const AT_ONCE = 24;
const LOST = 0.05;
const AFTER_SALE = 0.1;
const NIGHT_AFTER = 30 * 3600 * 1000;
const SETTLED_WITHIN = 120000;
// What a storm like this leaves for people to decide.
const FOR_PEOPLE = ['dashboard_refund', 'refund_failed', 'dispute_of_a_part', 'settlement_booked'];

const scene = await Scene.set({ connections: AT_ONCE, relay: IMPATIENT });
const { office, stripe } = scene;
const calm = (what) => quiet(office, what, SETTLED_WITHIN);

try {
  await storm();
} finally {
  await scene.close();
}
done();

async function storm() {
  const shop = await openShop(ORDERS);
  stripe.app.webhooks.disorder({ lost: LOST, seed: randomInt(1e6) });
  await scene.open();
  const buyers = new Buyers({ pool: scene.clients, stripe, ...shop });
  const afterSale = new AfterSale({ pool: scene.clients, stripe, host: HOST, share: AFTER_SALE });
  const killer = new Killer(KILLS, () => scene.restartRelay());
  const { killed } = killer;
  const began = performance.now();
  const seconds = () => ((performance.now() - began) / 1000).toFixed(1);
  await buyers.buy(ORDERS, AT_ONCE, () => killer.onProgress(buyers.placed, ORDERS), (order) => afterSale.onPaid(order));
  await killer.finished();
  await afterSale.finished();
  await calm('the storm is over');
  const lost = Number(await sql("SELECT count(*) FROM ticketing.orders WHERE state NOT IN ('paid', 'partially_refunded', 'refunding', 'refunded', 'refund_failed')"));
  say(`${buyers.placed} orders placed and paid, killed: relay ${killed.relay} times, server ${killed.server} times, calm after ${seconds()} s`);
  say(`after the sale: ${Object.entries(afterSale.counts).map(([name, count]) => `${name} ${count}`).join(', ')}`);
  const { platform: counts } = stripe.app.webhooks.counts();
  say(`webhooks: ${counts.events}, ${counts.lost} lost (${((100 * counts.lost) / counts.events).toFixed(1)} %), ${office.repeated} brought twice; ${JSON.stringify(office.outcomes)}`);
  say(`${lost} orders are paid at Stripe and not here, before reconciliation`);
  is('relay killed', killed.relay, KILLS);
  is('server killed', killed.server, KILLS);
  ok('webhooks were lost, some of payments', counts.lost > 0 && lost > 0, JSON.stringify({ ...counts, lost }));

  const reconciling = performance.now();
  await sql('SELECT ticketing.enqueue_reconciliation()');
  await calm('Stripe has been asked');
  const found = await rows('SELECT kind, entity, repaired FROM ticketing.reconcile_orders(pace => 1)');
  await calm('it is repaired');
  say(`reconciled in ${((performance.now() - reconciling) / 1000).toFixed(1)} s; reconcile_orders says: ${JSON.stringify(found.slice(0, 5))}`);
  // The night after, when nothing is on its way any more.
  await scene.relay.kill('SIGTERM');
  await sql(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET dvnt_ticketing.test_clock_offset = ${NIGHT_AFTER}', current_database()); END $$`);
  scene.startRelay();
  await scene.relay.until('ready');
  await sql('SELECT ticketing.enqueue_settlement()');
  await calm('it is settled');
  await checkOrders(buyers);
  await checkMoney();
}

async function checkOrders(buyers) {
  is('orders here are those that buyers have heard of', Number(await sql('SELECT count(*) FROM ticketing.orders')), buyers.orders.size);
  none('every one is paid, or has been', await rows("SELECT order_id, state FROM ticketing.orders WHERE state NOT IN ('paid', 'partially_refunded', 'refunding', 'refunded', 'refund_failed')"));
  none('each has its tickets, once', await rows(`
    SELECT o.order_id, i.ordered, t.issued FROM ticketing.orders o
    CROSS JOIN LATERAL (SELECT sum(quantity) AS ordered FROM ticketing.order_items k WHERE k.order_id = o.order_id) i
    CROSS JOIN LATERAL (SELECT count(*) AS issued FROM ticketing.order_tickets k JOIN public.tickets p ON p.id = k.ticket_id WHERE k.order_id = o.order_id) t
    WHERE i.ordered <> t.issued`));
  none('check_invariants finds nothing', await rows('SELECT * FROM ticketing.check_invariants()'));
  none('nothing was found but what people decide', await rows(`SELECT kind, entity, detail FROM ticketing.findings WHERE resolved_at IS NULL AND kind NOT IN (${FOR_PEOPLE.map((kind) => `'${kind}'`).join(', ')})`));
  none('every request is done and applied', await rows("SELECT id, kind, state, error, apply_error FROM ticketing.stripe_requests WHERE state NOT IN ('done', 'failed') OR NOT applied"));
  none('no event is parked', await rows("SELECT stripe_event_id, type, reason FROM ticketing.stripe_inbox WHERE state = 'parked'"));

  // What Stripe has in the end.
  const { store } = stripe.app;
  const here = new Map((await rows(`
    SELECT o.order_id, o.state, o.dispute, o.total_cents,
      (SELECT coalesce(sum(CASE 'buyer' WHEN from_account THEN amount_cents WHEN to_account THEN -amount_cents ELSE 0 END), 0) FROM ticketing.ledger l WHERE l.order_id = o.order_id) AS kept,
      (SELECT count(*) FROM ticketing.order_tickets k JOIN public.tickets p ON p.id = k.ticket_id WHERE k.order_id = o.order_id AND p.status = 'active') AS valid
    FROM ticketing.orders o`)).map((order) => [order.order_id, order]));
  const wrong = [];
  for (const { amount, amount_refunded: back, id, metadata, paid, payment_intent: intent } of store.charges) {
    if (!paid) continue;
    const disputes = store.disputes.having('charge', id).filter(({ status }) => !status.startsWith('warning'));
    const taken = disputes.reduce((sum, { amount: cents, status }) => sum + (status === 'won' ? 0 : cents), 0);
    const open = disputes.some(({ status }) => ['needs_response', 'under_review'].includes(status));
    const lost = disputes.some(({ status }) => status === 'lost');
    const { order_id: order } = store.payment_intents.get(intent).metadata;
    const ours = here.get(order);
    if (ours === undefined || Number(ours.kept) !== amount - back - taken) wrong.push({ order, ours, stripe: amount - back - taken });
    else if ((open || lost) !== ['open', 'lost'].includes(ours.dispute)) wrong.push({ order, ours, open, lost });
    else if ((back === amount || open || lost) && Number(ours.valid) > 0) wrong.push({ order, ours, back, open, lost });
    else if ((ours.state === 'refunded') !== (back === amount)) wrong.push({ order, ours, back, amount });
  }
  none('what each buyer has paid, and which tickets he has, is what Stripe says', wrong);
  const unheard = new Set([...store.events].filter(({ type }) => stripe.app.webhooks.wants(type)).map(({ id }) => id));
  for (const { stripe_event_id: id } of await rows('SELECT stripe_event_id FROM ticketing.stripe_inbox')) unheard.delete(id);
  none('every event of Stripe has come in', [...unheard].map((id) => store.events.get(id).type));
}

async function checkMoney() {
  const report = await rows('SELECT * FROM ticketing.settlement_report()');
  for (const { account, currency, ledger_cents: ledger, stripe_cents: theirs, difference_cents: difference } of report) say(`${account}: ledger ${(ledger / 100).toFixed(2)} ${currency}, Stripe ${(theirs / 100).toFixed(2)}, difference ${difference}`);
  none('the ledger is Stripe, to the cent', report.filter((row) => row.difference_cents !== 0 || row.only_at_stripe !== 0 || row.only_in_ledger !== 0));
  const { platform, accounts } = describeSums(stripe.app);
  const byReport = Object.fromEntries(report.map((row) => [row.account === 'platform' ? platform : row.account, row.stripe_cents]));
  none('and what we were told is all that Stripe has', Object.entries(accounts).filter(([id, { usd }]) => usd !== undefined && usd.balance !== byReport[id]).map(([id, { usd }]) => ({ id, stripe: usd.balance, told: byReport[id] })));
  is('two accounts', report.length, 2);
}
