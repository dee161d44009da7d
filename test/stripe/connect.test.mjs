// Connect: accounts, their onboarding, and what is theirs alone.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import test from 'node:test';
import { INTENT, assertError, newEndpoint, newStripe, until } from './support.mjs';

const EXPRESS = {
  type: 'express',
  country: 'US',
  email: 'host@example.com',
  capabilities: { card_payments: { requested: true }, transfers: { requested: true } },
  metadata: { user_id: 'u1' },
};
const newAccount = async (client, changes) => (await client.post('/v1/accounts', { ...EXPRESS, ...changes })).body;
const as = (account) => ({ headers: { 'stripe-account': account } });

test('an account is made, changed and listed, and cannot be paid yet', async (t) => {
  const { client, app } = await newStripe(t);
  const made = await newAccount(client);
  assert.match(made.id, /^acct_1\w{15}$/);
  assert.deepEqual([made.type, made.country, made.email, made.metadata], ['express', 'US', 'host@example.com', { user_id: 'u1' }]);
  assert.deepEqual([made.charges_enabled, made.payouts_enabled, made.details_submitted], [false, false, false]);
  assert.deepEqual(made.capabilities, { card_payments: 'inactive', transfers: 'inactive' });
  assert.ok(made.requirements.currently_due.includes('external_account'));
  assert.equal(made.requirements.disabled_reason, 'requirements.past_due');
  const { body: changed } = await client.post(`/v1/accounts/${made.id}`, { metadata: { x: '1' }, business_profile: { name: 'Host' } });
  assert.deepEqual([changed.metadata, changed.business_profile.name], [{ user_id: 'u1', x: '1' }, 'Host']);
  assert.deepEqual((await client.get(`/v1/accounts/${made.id}`)).body, changed);
  assert.deepEqual((await client.get('/v1/accounts')).body.data, [changed]);
  assert.equal((await client.get(`/v1/accounts/${app.account.id}`)).body.id, app.account.id);
  assertError(await client.get('/v1/accounts/acct_none'), 403, { code: 'account_invalid' });
  assertError(await client.post('/v1/accounts', { ...EXPRESS, country: 'USA' }), 400);
  assertError(await client.post('/v1/accounts', { ...EXPRESS, controller: { losses: { payments: 'application' } } }), 400, { param: 'type' });
  const { type, ...rest } = EXPRESS;
  const controller = { stripe_dashboard: { type: 'express' }, fees: { payer: 'application' } };
  const { body: controlled } = await client.post('/v1/accounts', { ...rest, controller });
  assert.deepEqual([controlled.type, controlled.controller.stripe_dashboard.type, controlled.controller.fees.payer], ['express', 'express', 'application']);
});

test('onboarding goes by a link that does not last', async (t) => {
  const { client } = await newStripe(t);
  const { id } = await newAccount(client);
  const link = { account: id, type: 'account_onboarding', refresh_url: 'https://example.com/again', return_url: 'https://example.com/done' };
  const { body: made } = await client.post('/v1/account_links', link);
  assert.deepEqual([made.object, made.expires_at - made.created], ['account_link', 300]);
  assert.ok(made.url.includes(id));
  assert.notEqual((await client.post('/v1/account_links', link)).body.url, made.url);
  assertError(await client.post('/v1/account_links', { ...link, type: 'account_update' }), 400, { param: 'type' });
  assertError(await client.post('/v1/account_links', { ...link, account: 'acct_none' }), 403, { code: 'account_invalid' });
  assertError(await client.post('/v1/account_links', { account: id, type: 'account_onboarding' }), 400, { code: 'parameter_missing' });
  assertError(await client.post(`/v1/accounts/${id}/login_links`), 400);
  await client.control('POST', 'account', { account: id, become: 'enabled' });
  assert.equal((await client.post(`/v1/accounts/${id}/login_links`)).body.object, 'login_link');
});

test('what becomes of an account is told as an event of its own', async (t) => {
  const endpoint = await newEndpoint(t);
  const { client } = await newStripe(t, { webhookUrl: endpoint.url, webhookSecret: 'whsec_platform' });
  await client.control('POST', 'webhook', { connect_secret: 'whsec_connect' });
  const { id } = await newAccount(client);
  const enabled = await client.control('POST', 'account', { account: id, become: 'enabled' });
  assert.deepEqual(
    [enabled.charges_enabled, enabled.payouts_enabled, enabled.details_submitted, enabled.capabilities.transfers, enabled.requirements.disabled_reason],
    [true, true, true, 'active', null],
  );
  const [{ event, text, headers }] = await until(() => endpoint.taken.length > 0 && endpoint.taken);
  assert.deepEqual([event.type, event.account, event.data.object.id, event.data.previous_attributes.charges_enabled], ['account.updated', id, id, false]);
  const [, at, digest] = /^t=(\d+),v1=(\w+)$/.exec(headers['stripe-signature']);
  assert.equal(digest, createHmac('sha256', 'whsec_connect').update(`${at}.${text}`).digest('hex'));
  for (const [become, charges, payouts, reason] of [
    ['restricted', false, false, 'requirements.past_due'],
    ['payouts_paused', true, false, 'requirements.past_due'],
    ['rejected', false, false, 'rejected.fraud'],
    ['submitted', false, false, 'requirements.pending_verification'],
  ]) {
    const now = await client.control('POST', 'account', { account: id, become });
    assert.deepEqual([now.charges_enabled, now.payouts_enabled, now.requirements.disabled_reason], [charges, payouts, reason], become);
  }
  await until(() => endpoint.taken.length === 5);
  await until(async () => (await client.get(`/v1/events/${event.id}`, as(id))).body.pending_webhooks === 0);

  // Events are listed per account; the platform's list has none of them.
  const { body: own } = await client.get('/v1/events?type=account.updated', as(id));
  assert.deepEqual(own.data.map(({ account }) => account), Array(5).fill(id));
  assert.deepEqual((await client.get('/v1/events')).body.data, []);
  assertError(await client.get(`/v1/events/${event.id}`), 404, { code: 'resource_missing' });
  endpoint.taken.length = 0;
  await client.control('POST', 'resend', { event: event.id, account: id });
  await until(() => endpoint.taken.length === 1);
  assert.equal(endpoint.taken[0].event.id, event.id);
});

test('an account has objects and idempotency keys of its own', async (t) => {
  const { client, app } = await newStripe(t);
  const { id } = await newAccount(client);
  assert.equal((await client.get('/v1/account', as(id))).body.id, id);
  const options = { idempotencyKey: 'k1' };
  const { body: here } = await client.post('/v1/customers', {}, options);
  const { body: there } = await client.post('/v1/customers', {}, { ...options, ...as(id) });
  assert.notEqual(here.id, there.id);
  assertError(await client.get(`/v1/customers/${there.id}`), 404);
  assertError(await client.get(`/v1/customers/${here.id}`, as(id)), 404);
  assert.equal((await client.post('/v1/customers', {}, { ...options, ...as(id) })).body.id, there.id);
  const [event] = (await client.get('/v1/events', as(id))).body.data;
  assert.deepEqual([event.type, event.account, event.data.object.id], ['customer.created', id, there.id]);
  assert.equal((await client.get('/v1/account', as(app.account.id))).body.id, app.account.id);
  const calls = await client.control('GET', 'requests');
  assert.deepEqual(calls.slice(2, 4).map((call) => call.stripe_account), [null, id]);
});

test("a connected account's own payment is told as its own", async (t) => {
  const endpoint = await newEndpoint(t);
  const { client } = await newStripe(t, { webhookUrl: endpoint.url });
  const { id } = await newAccount(client);
  const card = { payment_method: 'pm_card_visa', confirm: true };
  const { body: paid } = await client.post('/v1/payment_intents', { ...INTENT, ...card, metadata: { order_id: 'o1' } }, as(id));
  assert.equal(paid.status, 'succeeded');
  const [{ event }] = await until(() => endpoint.taken.length > 0 && endpoint.taken);
  assert.deepEqual([event.type, event.account, event.data.object.metadata], ['payment_intent.succeeded', id, { order_id: 'o1' }]);
  assertError(await client.get(`/v1/payment_intents/${paid.id}`), 404, { code: 'resource_missing' });
  assertError(await client.post('/v1/refunds', { payment_intent: paid.id }), 400, { code: 'resource_missing' });
  assert.equal((await client.post('/v1/refunds', { payment_intent: paid.id }, as(id))).body.status, 'succeeded');
});

test('an account that leaves opens no more', async (t) => {
  const { client } = await newStripe(t);
  const { id } = await newAccount(client);
  const { id: other } = await newAccount(client);
  await client.control('POST', 'account', { account: id, become: 'deauthorized' });
  assertError(await client.get('/v1/account', as(id)), 403, { code: 'account_invalid' });
  assertError(await client.get(`/v1/accounts/${id}`), 403, { code: 'account_invalid' });
  assert.equal((await client.get(`/v1/accounts/${other}`)).body.id, other);
});

test('destinations are checked when a test asks for it', async (t) => {
  const { client } = await newStripe(t);
  const charge = (destination) => client.post('/v1/payment_intents', { ...INTENT, transfer_data: { destination } });
  assert.equal((await charge('acct_made_up')).status, 200);
  await client.control('POST', 'connect', { check_destinations: true });
  assertError(await charge('acct_made_up'), 400, { code: 'resource_missing', param: 'transfer_data[destination]' });
  const { id } = await newAccount(client);
  assertError(await charge(id), 400, { code: 'insufficient_capabilities_for_transfer' });
  await client.control('POST', 'account', { account: id, become: 'enabled' });
  assert.equal((await charge(id)).status, 200);
  // An account that stands in a fixture is made by its name.
  await client.control('POST', 'account', { account: 'acct_made_up', become: 'enabled' });
  assert.equal((await charge('acct_made_up')).status, 200);
  await client.control('POST', 'account', { account: id, become: 'restricted' });
  assertError(await charge(id), 400, { code: 'insufficient_capabilities_for_transfer' });
});
