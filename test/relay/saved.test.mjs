// Saved payment methods and hosts' accounts, from the call of an edge function to Stripe and back.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { test } from 'node:test';
import { changeAccount } from '../stripe/resources/accounts.mjs';
import { setUp } from '../stripe/resources/setup_intents.mjs';
import { json, quote, sql } from './support/database.mjs';
import { ownStripe } from './support/own_stripe.mjs';
import { calls, startRelay } from './support/relay.mjs';
import { until } from './support/until.mjs';

// Everything that Stripe has handed to a client in this file.
const handed = [];
const stripe = await ownStripe();
let users = 0;
const newUser = () => `saved-${process.pid}-${++users}`;

const literal = (value) => (value === undefined ? 'NULL' : quote(value));
const call = (name, ...args) => json(`SELECT ticketing.${name}(${args.map(literal).join(', ')})`);
const outcome = (request, user) => json(`SELECT ticketing.await_stripe(${quote(request)}, ${quote(user)})`);

// The outcome of a request, when there is one.
const settled = (request, user) =>
  until(async () => {
    const answer = await outcome(request, user);
    for (const name of ['client_secret', 'ephemeral_key', 'url']) if (answer[name]) handed.push(answer[name]);
    return answer.status !== 'queued' && answer;
  }, 'settled');

// Calls a function and awaits what Stripe answers to its request.
async function asked(name, user, ...args) {
  return settled((await call(name, user, ...args)).stripe_request_id, user);
}

// A user who has saved so many cards: {user, customer, cards}.
async function saver(cards) {
  const user = newUser();
  const saved = [];
  let customer;
  for (let i = 0; i < cards; i++) {
    const { setup_intent_id: id, customer_id: its } = await asked('setup_payment_method', user);
    saved.push(setUp(stripe.app, { setup_intent: id }).payment_method);
    customer = its;
  }
  return { user, customer, cards: saved };
}
const shown = (answer) => answer.payment_methods.map(({ id, is_default: isDefault }) => [id, isDefault]);

test('a payment method is set up with a mobile SDK', async (t) => {
  await startRelay(t, stripe);
  const user = newUser();
  const { stripe_request_id: request } = await call('setup_payment_method', user, '2025-04-30.basil', 'once');
  assert.equal((await call('setup_payment_method', user, '2025-04-30.basil', 'once')).stripe_request_id, request);
  const answer = await settled(request, user);
  const [intent] = stripe.app.store.setup_intents;
  const [key] = stripe.app.store.ephemeral_keys;
  assert.deepEqual(answer, {
    status: 'done',
    setup_intent_id: intent.id,
    customer_id: intent.customer,
    client_secret: intent.client_secret,
    ephemeral_key: key.secret,
    error: null,
  });
  assert.deepEqual([intent.usage, intent.automatic_payment_methods.enabled, intent.metadata], ['off_session', true, { user_id: user }]);
  assert.equal(stripe.app.store.customers.get(intent.customer).metadata.user_id, user);
  assert.deepEqual(
    calls(stripe).map(({ path, stripe_version: version }) => [path, version]),
    [['/v1/customers', '2026-10-28.endive'], ['/v1/ephemeral_keys', '2025-04-30.basil'], ['/v1/setup_intents', '2026-10-28.endive']],
  );
  await assert.rejects(outcome(request, 'somebody else'), /does not exist/);
});

test('payment methods are listed, one is made the default, one is removed', async (t) => {
  await startRelay(t, stripe);
  assert.deepEqual(await call('payment_methods', newUser()), { stripe_request_id: null, payment_methods: [] });
  const { user, customer, cards } = await saver(2);
  const [first, second] = cards;
  const listed = await asked('payment_methods', user);
  assert.deepEqual(listed, {
    status: 'done',
    payment_methods: [second, first].map((id) => ({
      id, type: 'card', brand: 'visa', last4: '4242', exp_month: 12, exp_year: 2034, is_default: false,
    })),
    customer_id: customer,
    client_secret: null,
    ephemeral_key: null,
    error: null,
  });
  assert.equal((await asked('set_default_payment_method', user, first)).status, 'done');
  assert.deepEqual(shown(await asked('payment_methods', user)), [[second, false], [first, true]]);
  assert.equal((await asked('remove_payment_method', user, first)).status, 'done');
  assert.deepEqual(shown(await asked('payment_methods', user)), [[second, false]]);
  assert.equal(stripe.app.store.payment_methods.get(first).customer, null);
});

for (const name of ['set_default_payment_method', 'remove_payment_method']) {
  test(`${name} touches nobody else's, nor what is not there`, async (t) => {
    await startRelay(t, stripe);
    const [ann, bob] = [await saver(1), await saver(1)];
    stripe.app.journal.clear();
    for (const id of [bob.cards[0], 'pm_none', ann.customer]) {
      const answer = await asked(name, ann.user, id);
      assert.deepEqual([answer.status, answer.error.http_status, answer.error.code], ['failed', 404, 'resource_missing']);
    }
    assert.deepEqual(calls(stripe).map(({ method }) => method), ['GET', 'GET', 'GET']);
    assert.equal(stripe.app.store.payment_methods.get(bob.cards[0]).customer, bob.customer);
  });
}

test('a detach whose answer is lost is one detach', async (t) => {
  const relay = await startRelay(t, stripe);
  const { user, cards } = await saver(1);
  stripe.app.faults.add({ match: { path: `/v1/payment_methods/${cards[0]}/detach` }, kind: 'drop_after' });
  assert.equal((await asked('remove_payment_method', user, cards[0])).status, 'done');
  assert.deepEqual(relay.of('answer').filter(({ endpoint }) => endpoint.endsWith('/detach')).map(({ outcome: said }) => said), ['retry', 'done']);
  assert.equal(stripe.app.store.events.page({ limit: 100 }, ({ type }) => type === 'payment_method.detached').data.length, 1);
});

test('a host is onboarded', async (t) => {
  await startRelay(t, stripe);
  const host = newUser();
  const link = ['https://app.example/done', 'https://app.example/again', `${host}@example.com`];
  await assert.rejects(call('organizer_status', host), /has no Stripe account/);
  const { stripe_request_id: request, stripe_account_id: none } = await call('connect_onboarding', host, ...link);
  assert.equal(none, null);
  const answer = await settled(request, host);
  const [account] = stripe.app.store.accounts;
  assert.equal(answer.status, 'done');
  assert.match(answer.url, new RegExp(`^https://.*${account.id}`));
  assert.ok(Math.abs(Date.parse(answer.expires_at) - Date.now() - 300_000) < 10_000, answer.expires_at);
  assert.deepEqual([account.type, account.email, account.metadata], ['express', link[2], { host_id: host }]);
  assert.deepEqual(account.capabilities, { card_payments: 'inactive', transfers: 'inactive' });
  await assert.rejects(outcome(request, 'somebody else'), /does not exist/);

  const status = { host_id: host, stripe_account_id: account.id };
  assert.deepEqual(await call('organizer_status', host), { ...status, charges_enabled: false, payouts_enabled: false, details_submitted: false });
  changeAccount(stripe.app, { account: account.id, become: 'payouts_paused' });
  assert.equal((await asked('refresh_organizer_status', host)).status, 'done');
  assert.deepEqual(await call('organizer_status', host), { ...status, charges_enabled: true, payouts_enabled: false, details_submitted: true });
  assert.equal(
    await sql(`SELECT concat_ws(' ', stripe_account_id, charges_enabled, payouts_enabled, details_submitted) FROM public.organizer_accounts WHERE host_id = ${quote(host)}`),
    `${account.id} t f t`,
  );

  const again = await call('connect_onboarding', host, ...link);
  assert.equal(again.stripe_account_id, account.id);
  assert.notEqual((await settled(again.stripe_request_id, host)).url, answer.url);
  assert.equal(stripe.app.store.accounts.page({ limit: 100 }, () => true).data.length, 1);
});

test("an account that is not the platform's gets no link, and stops no call", async (t) => {
  const relay = await startRelay(t, stripe);
  const host = newUser();
  await sql(`INSERT INTO public.organizer_accounts (host_id, stripe_account_id) VALUES (${quote(host)}, ${quote(`acct_${process.pid}`)})`);
  const answer = await asked('connect_onboarding', host, 'https://app.example/done', 'https://app.example/again');
  assert.deepEqual([answer.status, answer.error.code, answer.url], ['failed', 'account_invalid', undefined]);
  assert.equal((await asked('setup_payment_method', newUser())).status, 'done');
  assert.equal(relay.of('answer').filter(({ outcome: said }) => said === 'stop').length, 0);
});

// Runs last: all that was handed out above is looked for.
test('what clients were handed is in no log, no dump but its own table, and no WAL', async () => {
  assert.ok(handed.length > 10, `${handed.length} were handed out`);
  const options = { maxBuffer: 256 * 1024 * 1024, encoding: 'latin1' };
  const dumped = async (...args) => (await promisify(execFile)('pg_dump', args, options)).stdout;
  const places = {
    'its own table': await dumped('--table=ticketing.stripe_handoff'),
    'the other tables': await dumped('--exclude-table-data=ticketing.stripe_handoff'),
    'the log': await readFile(join(process.env.PGDATA, 'server.log'), 'latin1'),
  };
  const wal = join(process.env.PGDATA, 'pg_wal');
  for (const entry of await readdir(wal, { withFileTypes: true })) {
    if (entry.isFile()) places[`WAL ${entry.name}`] = await readFile(join(wal, entry.name), 'latin1');
  }
  assert.ok(Object.keys(places).length > 3, 'there is WAL');
  assert.ok(handed.some((secret) => places['its own table'].includes(secret)), 'they are found where they are');
  delete places['its own table'];
  for (const [place, text] of Object.entries(places)) {
    for (const secret of handed) assert.ok(!text.includes(secret), place);
  }
});
