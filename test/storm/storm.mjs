// Orders in a storm; see run.
import { parseArgs } from 'node:util';
import { rows, sql } from '../relay/support/database.mjs';
import { IMPATIENT } from '../relay/support/relay.mjs';
import { Buyers } from './buyers.mjs';
import { Killer } from './killing.mjs';
import { settled } from './quiet.mjs';
import { Scene } from './scene.mjs';
import { isRecognised, lookEverywhere } from './secrets.mjs';
import { openShop } from './shop.mjs';
import { done, is, none, ok, say } from './tap.mjs';

const { values: options } = parseArgs({ options: { orders: { type: 'string' }, kills: { type: 'string' } } });
const ORDERS = Number(options.orders ?? 500);
const KILLS = Number(options.kills ?? 10);
const AT_ONCE = 24;
const UNPAID = 5; // orders that stay so, for the hand-off to have something
const SLOT = 'storm';
const SETTLED_WITHIN = 120000;

const scene = await Scene.set({ connections: AT_ONCE, relay: IMPATIENT });
const { office, stripe } = scene;

try {
  await storm();
} finally {
  await scene.close();
}
done();

async function storm() {
  await sql(`SELECT pg_create_logical_replication_slot('${SLOT}', 'test_decoding')`);
  const shop = await openShop(ORDERS);
  await scene.open();
  const buyers = new Buyers({ pool: scene.clients, stripe, ...shop });
  const killer = new Killer(KILLS, () => scene.restartRelay());
  const { killed } = killer;
  const began = performance.now();
  await buyers.buy(ORDERS, AT_ONCE, () => killer.onProgress(buyers.placed, ORDERS));
  await killer.finished();
  const placedIn = performance.now() - began;
  const open = async () =>
    Number(await sql(`SELECT (SELECT count(*) FROM ticketing.orders WHERE state <> 'paid') + (SELECT count(*) FROM ticketing.stripe_requests WHERE state <> 'done' OR NOT applied)`));
  await settled(office, open, 'every order is paid', SETTLED_WITHIN).catch(() => {});
  const took = performance.now() - began;

  say(`${buyers.placed} orders placed and paid by ${shop.users.length} buyers in ${(placedIn / 1000).toFixed(1)} s, all settled after ${(took / 1000).toFixed(1)} s`);
  say(`killed: relay ${killed.relay} times, server ${killed.server} times; ${buyers.client.repeated} calls of buyers had no answer and were repeated, ${buyers.askedAgain} asked again for a lost secret`);
  say(`${buyers.onPage} paid on Stripe's page; cards declined first: ${buyers.declined}`);
  say(`webhooks: ${office.received} from Stripe, ${office.repeated} brought twice, ${office.failed} attempts without an answer; ${JSON.stringify(office.outcomes)}`);
  is('relay killed', killed.relay, KILLS);
  is('server killed', killed.server, KILLS);
  await checkOrders(buyers);
  await checkBooks(buyers);
  await checkSecrets(buyers);
}

async function checkOrders(buyers) {
  ok('webhooks were applied, and repeated', office.outcomes.applied > 0 && office.outcomes.duplicate > 0, JSON.stringify(office.outcomes));
  ok('all webhooks were brought', office.empty);
  is('orders here are those that buyers have heard of', Number(await sql('SELECT count(*) FROM ticketing.orders')), buyers.orders.size);
  none('every order is paid', await rows(`SELECT o.order_id, o.state, p.status FROM ticketing.orders o LEFT JOIN public.orders p ON p.id = o.order_id WHERE o.state <> 'paid' OR p.status IS DISTINCT FROM 'paid'`));
  none(
    'each has its tickets, once',
    await rows(`
      SELECT o.order_id, i.ordered, t.issued, t.genuine FROM ticketing.orders o
      CROSS JOIN LATERAL (SELECT sum(quantity) AS ordered FROM ticketing.order_items k WHERE k.order_id = o.order_id) i
      CROSS JOIN LATERAL (SELECT count(*) AS issued, count(*) FILTER (WHERE p.status = 'active' AND ticketing.is_genuine_ticket(p.qr_payload)) AS genuine
                          FROM ticketing.order_tickets k JOIN public.tickets p ON p.id = k.ticket_id WHERE k.order_id = o.order_id) t
      WHERE i.ordered <> t.issued OR i.ordered <> t.genuine`),
  );
  is('and there are no other tickets', await sql('SELECT count(*) - (SELECT count(*) FROM ticketing.order_tickets) FROM public.tickets'), '0');
  none('check_invariants finds nothing', await rows('SELECT * FROM ticketing.check_invariants()'));
  none('nothing was found', await rows('SELECT kind, entity, detail FROM ticketing.findings'));
  none('every request is done and applied', await rows(`SELECT id, kind, state, attempts, apply_error FROM ticketing.stripe_requests WHERE state <> 'done' OR NOT applied`));
  // Two events of one object at the same moment may not see each other: the sweep of each minute is there for them.
  const parked = async () => Number(await sql(`SELECT count(*) FROM ticketing.stripe_inbox WHERE state = 'parked'`));
  say(`parked when all had settled: ${await parked()}`);
  await sql('SELECT ticketing.sweep_stripe()');
  none('no event is parked', await rows(`SELECT stripe_event_id, type, reason FROM ticketing.stripe_inbox WHERE state = 'parked'`));
  const unheard = new Set(stripe.app.webhooks.list().map(({ event }) => event));
  for (const { stripe_event_id: id } of await rows('SELECT stripe_event_id FROM ticketing.stripe_inbox')) unheard.delete(id);
  none('every event of Stripe has come in', [...unheard]);
}

async function checkBooks(buyers) {
  const { store } = stripe.app;
  const intents = [...store.payment_intents];
  const byOrder = new Map();
  for (const { id, metadata } of intents) byOrder.set(metadata.order_id, [...(byOrder.get(metadata.order_id) ?? []), id]);
  none('each order has one PaymentIntent at Stripe', [...buyers.orders.keys()].filter((order) => byOrder.get(order)?.length !== 1));
  is('and there are no others', intents.length, buyers.orders.size);
  const here = Object.fromEntries((await rows('SELECT order_id, payment_intent_id, total_cents FROM ticketing.orders')).map((order) => [order.order_id, order]));
  none('each order here names its PaymentIntent and asks for what it has received', intents.filter(({ id, amount_received: received, metadata: { order_id: order } }) => here[order]?.payment_intent_id !== id || here[order]?.total_cents !== received).map(({ id }) => id));
  const sum = intents.reduce((cents, { status, amount_received: received }) => cents + (status === 'succeeded' ? received : 0), 0);
  const ours = Number(await sql(`SELECT coalesce(sum(total_cents), 0) FROM ticketing.orders WHERE state = 'paid'`));
  say(`Stripe has received ${(sum / 100).toFixed(2)}, we have sold for ${(ours / 100).toFixed(2)}; ${await sql('SELECT count(*) FROM public.tickets')} tickets`);
  is("Stripe's sum is ours, to the cent", sum, ours);
  const customers = [...store.customers].filter(({ metadata }) => metadata?.user_id);
  is('each buyer is one customer of Stripe', customers.length, new Set(customers.map(({ metadata }) => metadata.user_id)).size);
  is('and known here', Number(await sql('SELECT count(*) FROM public.stripe_customers') - (await sql(`SELECT count(*) FROM public.stripe_customers WHERE user_id NOT LIKE 'storm-%'`))), customers.length);
}

async function checkSecrets(buyers) {
  is('of paid orders nothing is left to hand out', await sql('SELECT count(*) FROM ticketing.stripe_handoff'), '0');
  const waiting = [];
  for (let i = 0; i < UNPAID; i++) waiting.push(await buyers.place(false));
  const secrets = [...stripe.app.store.payment_intents].map(({ client_secret: secret }) => secret).concat([...stripe.app.store.ephemeral_keys].map(({ secret }) => secret));
  none('each secret would be recognised', secrets.filter((secret) => !isRecognised(secret)));
  const kept = await rows('SELECT client_secret, ephemeral_key FROM ticketing.stripe_handoff');
  none('secrets of orders that wait are handed out', waiting.filter(({ secret }) => !kept.some((row) => row.client_secret === secret)));
  const places = await lookEverywhere({ sql, slot: SLOT, known: 'pi_3[A-Za-z0-9]{23}', relayLog: scene.relays.flatMap(({ lines }) => lines.map(({ line }) => line)) });
  ok('secrets are seen where they may be', places.inHandoff > 0);
  for (const [place, count] of Object.entries(places.known)) ok(`what is there is seen: ${place}`, count > 0);
  for (const [place, found] of Object.entries(places.found)) none(`no secret in ${place}`, found);
  say(`${secrets.length} secrets looked for; ${scene.relays.length} relays have logged ${scene.relays.reduce((sum, { lines }) => sum + lines.length, 0)} lines`);

  // A quarter of an hour later.
  const later = "SET dvnt_ticketing.test_clock_offset = 900001";
  const [{ order_id: order, user }] = waiting;
  const request = await sql(`SELECT request_id FROM ticketing.stripe_handoff WHERE order_id = '${order}' AND client_secret IS NOT NULL`);
  is('after 15 minutes a secret is not handed out any more', await sql(`${later}; SELECT ticketing.await_stripe('${request}', '${user}', '0') ->> 'client_secret'`), '');
  is('and is deleted by the next chore', await sql(`${later}; SELECT ticketing.prune() * 0; SELECT count(*) FROM ticketing.stripe_handoff`), '0\n0');
}
