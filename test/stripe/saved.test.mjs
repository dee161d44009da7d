// Saved payment methods, setup intents, and search.
import assert from 'node:assert/strict';
import test from 'node:test';
import { compile } from './search.mjs';
import { INTENT, assertError, eventTypes, newStripe } from './support.mjs';

const newCustomer = async (client, fields = {}) => (await client.post('/v1/customers', fields)).body;
const attach = async (client, customer, name = 'pm_card_visa') => (await client.post(`/v1/payment_methods/${name}/attach`, { customer })).body;

test('a payment method is attached, listed, made the default, and detached', async (t) => {
  const { client, app } = await newStripe(t);
  const [{ id }, { id: other }] = [await newCustomer(client), await newCustomer(client)];
  const card = await attach(client, id);
  assert.match(card.id, /^pm_1\w{23}$/);
  assert.deepEqual([card.customer, card.type, card.card.last4], [id, 'card', '4242']);
  const debit = await attach(client, id, 'pm_usBankAccount');
  await attach(client, other);
  assertError(await client.post(`/v1/payment_methods/${card.id}/attach`, { customer: other }), 400, { code: 'payment_method_unexpected_state' });
  assertError(await client.post('/v1/payment_methods/pm_none/attach', { customer: id }), 404, { code: 'resource_missing' });
  assert.deepEqual((await client.get(`/v1/customers/${id}/payment_methods`)).body.data, [debit, card]);
  assert.deepEqual((await client.get(`/v1/customers/${id}/payment_methods?type=card`)).body.data, [card]);
  assert.deepEqual((await client.get(`/v1/payment_methods?customer=${id}&limit=1`)).body.has_more, true);
  assert.deepEqual((await client.get(`/v1/customers/${id}/payment_methods/${card.id}`)).body, card);
  for (const path of [`${other}/payment_methods/${card.id}`, `${id}/payment_methods/pm_none`, `cus_none/payment_methods/${card.id}`]) {
    assertError(await client.get(`/v1/customers/${path}`), 404, { code: 'resource_missing' });
  }
  assertError(await client.get('/v1/payment_methods'), 400, { code: 'parameter_missing', param: 'customer' });

  const param = 'invoice_settings[default_payment_method]';
  assertError(await client.post(`/v1/customers/${other}`, { invoice_settings: { default_payment_method: card.id } }), 400, { param });
  const { body: customer } = await client.post(`/v1/customers/${id}`, { invoice_settings: { default_payment_method: card.id } });
  assert.equal(customer.invoice_settings.default_payment_method, card.id);
  const { body: expanded } = await client.get(`/v1/customers/${id}?expand[]=invoice_settings.default_payment_method`);
  assert.deepEqual(expanded.invoice_settings.default_payment_method, card);

  const { body: detached } = await client.post(`/v1/payment_methods/${card.id}/detach`);
  assert.equal(detached.customer, null);
  assertError(await client.post(`/v1/payment_methods/${card.id}/detach`), 400, { code: 'payment_method_unexpected_state' });
  assert.equal((await client.get(`/v1/customers/${id}`)).body.invoice_settings.default_payment_method, null);
  assert.deepEqual((await client.get(`/v1/customers/${id}/payment_methods`)).body.data, [debit]);
  assert.deepEqual(eventTypes(app).slice(-3), ['customer.updated', 'customer.updated', 'payment_method.detached']);
});

test('a setup intent saves a payment method for its customer', async (t) => {
  const { client, app } = await newStripe(t);
  const { id: customer } = await newCustomer(client);
  const create = async (changes) => (await client.post('/v1/setup_intents', { customer, usage: 'off_session', metadata: { user_id: 'u1' }, ...changes })).body;
  const made = await create();
  assert.match(made.id, /^seti_1\w{23}$/);
  assert.match(made.client_secret, new RegExp(`^${made.id}_secret_\\w+$`));
  assert.deepEqual([made.status, made.customer, made.usage, made.metadata], ['requires_payment_method', customer, 'off_session', { user_id: 'u1' }]);
  const failed = await client.control('POST', 'setup', { setup_intent: made.id, outcome: 'failed', code: 'incorrect_cvc' });
  assert.deepEqual([failed.status, failed.last_setup_error.code], ['requires_payment_method', 'incorrect_cvc']);
  const done = await client.control('POST', 'setup', { setup_intent: made.id });
  assert.deepEqual([done.status, done.last_setup_error], ['succeeded', null]);
  assert.deepEqual((await client.get(`/v1/customers/${customer}/payment_methods`)).body.data.map(({ id }) => id), [done.payment_method]);
  assert.deepEqual(eventTypes(app).slice(1), [
    'setup_intent.created', 'setup_intent.setup_failed', 'payment_method.attached', 'setup_intent.succeeded',
  ]);
  assert.deepEqual((await client.get(`/v1/setup_intents/${made.id}`)).body, done);
  assertError(await client.post(`/v1/setup_intents/${made.id}/cancel`), 400, { code: 'setup_intent_unexpected_state' });

  const asked = await create({ payment_method: 'pm_card_authenticationRequired', confirm: true });
  assert.equal(asked.status, 'requires_action');
  assert.equal((await client.control('POST', 'setup', { setup_intent: asked.id })).status, 'succeeded');
  const { id: declined } = await create({ payment_method_types: ['card'] });
  assertError(await client.post(`/v1/setup_intents/${declined}/confirm`), 400, { code: 'setup_intent_unexpected_state' });
  assertError(await client.post(`/v1/setup_intents/${declined}/confirm`, { payment_method: 'pm_card_chargeDeclined' }), 402, { code: 'card_declined' });
  assert.equal((await client.post(`/v1/setup_intents/${declined}/confirm`, { payment_method: 'pm_card_visa' })).body.status, 'succeeded');
  const { id: left } = await create();
  assert.equal((await client.post(`/v1/setup_intents/${left}/cancel`, { cancellation_reason: 'abandoned' })).body.status, 'canceled');
  assert.equal((await client.get(`/v1/setup_intents?customer=${customer}`)).body.data.length, 4);
  assert.deepEqual((await client.get('/v1/setup_intents?customer=cus_other')).body.data, []);
});

test('a saved payment method pays, and paying can save one', async (t) => {
  const { client } = await newStripe(t);
  const { id: customer } = await newCustomer(client);
  const card = await attach(client, customer);
  const { body: paid } = await client.post('/v1/payment_intents', { ...INTENT, customer, payment_method: card.id, confirm: true });
  assert.deepEqual([paid.status, paid.payment_method], ['succeeded', card.id]);
  const { body: made } = await client.post('/v1/payment_intents', { ...INTENT, customer, setup_future_usage: 'off_session' });
  const { payment_method: saved } = await client.control('POST', 'pay', { payment_intent: made.id });
  assert.deepEqual((await client.get(`/v1/customers/${customer}/payment_methods`)).body.data.map(({ id }) => id), [saved, card.id]);
});

test('PaymentIntents are listed by customer and time', async (t) => {
  const { client } = await newStripe(t);
  const { id: customer } = await newCustomer(client);
  const ids = [];
  for (let i = 0; i < 3; i++) {
    const { body } = await client.post('/v1/payment_intents', { ...INTENT, ...(i !== 1 && { customer }) });
    ids.push(body);
    await client.control('POST', 'clock', { advance: 100 });
  }
  const listed = async (query) => (await client.get(`/v1/payment_intents?${query}`)).body.data.map(({ id }) => id);
  assert.deepEqual(await listed(`customer=${customer}`), [ids[2].id, ids[0].id]);
  assert.deepEqual(await listed(`customer=${customer}&created[gte]=${ids[1].created}`), [ids[2].id]);
  assert.deepEqual(await listed(`created[gt]=${ids[0].created}&created[lte]=${ids[1].created}`), [ids[1].id]);
});

test('search finds by metadata and fields, as its language says', async (t) => {
  const { client } = await newStripe(t);
  const a = await newCustomer(client, { email: 'Ann@example.com', name: 'Ann O\'Hara', metadata: { user_id: 'u1' } });
  const b = await newCustomer(client, { email: 'bob@example.com', metadata: { user_id: 'u2', kind: 'x y' } });
  const found = async (query, more = '') => (await client.get(`/v1/customers/search?query=${encodeURIComponent(query)}${more}`)).body;
  const ids = async (query) => (await found(query)).data.map(({ id }) => id);
  assert.deepEqual(await ids(`metadata["user_id"]:"u1"`), [a.id]);
  assert.deepEqual(await ids(`metadata['user_id']:'u2' AND metadata['kind']:'x y'`), [b.id]);
  assert.deepEqual(await ids(`email:"ann@EXAMPLE.com"`), [a.id]);
  assert.deepEqual(await ids(`name:'Ann O\\'Hara'`), [a.id]);
  assert.deepEqual(await ids(`email~"example" AND -email:"bob@example.com"`), [a.id]);
  assert.deepEqual(await ids(`metadata['user_id']:'u1' OR metadata['user_id']:'u2'`), [b.id, a.id]);
  assert.deepEqual(await ids(`metadata['kind']:null`), [a.id]);
  assert.deepEqual(await ids(`-metadata['kind']:null`), [b.id]);
  assert.deepEqual(await ids(`created>${a.created + 5}`), []);
  assert.deepEqual(await ids(`metadata['user_id']:'none'`), []);
  const first = await found(`email~"example"`, '&limit=1');
  assert.deepEqual([first.object, first.has_more, first.url, first.data[0].id], ['search_result', true, '/v1/customers/search', b.id]);
  const second = await found(`email~"example"`, `&limit=1&page=${first.next_page}`);
  assert.deepEqual([second.has_more, second.next_page, second.data[0].id], [false, null, a.id]);

  const { body: intent } = await client.post('/v1/payment_intents', { ...INTENT, customer: a.id, metadata: { order_id: 'o1' } });
  const intents = async (query) => (await client.get(`/v1/payment_intents/search?query=${encodeURIComponent(query)}`)).body.data.map(({ id }) => id);
  assert.deepEqual(await intents(`metadata["order_id"]:"o1" AND status:"requires_payment_method" AND amount>=2500`), [intent.id]);
  assert.deepEqual(await intents(`customer:"${a.id}" AND currency:"eur"`), []);
  // What is new is not found at once.
  await client.control('POST', 'search', { delay: 60 });
  assert.deepEqual(await intents('metadata["order_id"]:"o1"'), []);
  await client.control('POST', 'clock', { advance: 60 });
  assert.deepEqual(await intents('metadata["order_id"]:"o1"'), [intent.id]);
  assertError(await client.get('/v1/customers/search'), 400, { code: 'parameter_missing', param: 'query' });
  assertError(await client.get('/v1/customers/search?query=x&page=zz'), 400);
});

test('a query that is none is refused', () => {
  const fields = { amount: 'number', status: 'token', email: 'string', metadata: 'metadata' };
  for (const query of [
    '', 'email', 'email:', 'email:a@b.c', `email:'a`, `unknown:'a'`, `metadata:'a'`, `email['a']:'b'`, `amount:'x'`, `status~'suc'`, `email~'ab'`,
    `email>'a'`, `amount~1`, `email:'a' email:'b'`, `email:'a' AND`, `email:'a' AND email:'b' OR email:'c'`, Array(11).fill(`amount:1`).join(' AND '),
  ]) {
    assert.throws(() => compile(query, fields), { status: 400 }, query);
  }
});
