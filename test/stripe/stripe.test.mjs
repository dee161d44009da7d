// The API: keys, errors, every object's life, lists, idempotency keys. Over HTTP/2 unless a test says otherwise.
import assert from 'node:assert/strict';
import test from 'node:test';
import { INTENT, ITEM, SESSION, assertError, eventTypes, newClient, newStripe } from './support.mjs';

for (const protocol of ['1.1', '2']) {
  test(`a call is answered in Stripe's form over HTTP/${protocol}`, async (t) => {
    const { stripe } = await newStripe(t);
    const client = await newClient(t, stripe, protocol);
    const answer = await client.post('/v1/customers', { email: 'ä@example.com' }, { headers: { 'stripe-version': '2026-08-26.dahlia' } });
    assert.equal(answer.status, 200);
    assert.match(answer.headers['content-type'], /^application\/json/);
    assert.match(answer.headers['request-id'], /^req_\w{14}$/);
    assert.equal(answer.headers['stripe-version'], '2026-08-26.dahlia');
    assert.equal(Number(answer.headers['content-length']), Buffer.byteLength(answer.text));
    assert.ok(answer.text.startsWith('{\n  "id": "cus_'), answer.text);
    assert.equal(answer.body.email, 'ä@example.com');
    assert.equal(answer.headers['idempotency-key'], undefined);
    assert.equal((await client.get('/v1/account')).headers['stripe-version'], '2026-10-28.endive');
    const { body: calls } = await client.get('/_control/requests');
    assert.deepEqual(calls.map((call) => [call.http, call.method, call.path, call.status]), [
      [protocol, 'POST', '/v1/customers', 200],
      [protocol, 'GET', '/v1/account', 200],
    ]);
    assert.equal(calls[0].body, 'email=%C3%A4%40example.com');
    assert.equal(calls[0].stripe_version, '2026-08-26.dahlia');
  });
}

test('only the key opens the API', async (t) => {
  const { client, app } = await newStripe(t);
  const none = await client.get('/v1/account', { key: null });
  assertError(none, 401, { type: 'invalid_request_error' });
  assert.equal(none.headers['www-authenticate'], 'Basic realm="Stripe"');
  assertError(await client.get('/v1/account', { key: 'sk_test_someone_else' }), 401, {
    message: 'Invalid API Key provided: sk_test_********else',
  });
  const basic = (text) => ({ key: null, headers: { authorization: `Basic ${Buffer.from(text).toString('base64')}` } });
  assert.equal((await client.get('/v1/account', basic('sk_test_local:'))).status, 200);
  assertError(await client.get('/v1/account', basic('sk_test_other:')), 401);
  assertError(await client.get('/v1/account', { headers: { 'stripe-account': 'acct_other' } }), 403, { code: 'account_invalid' });
  assert.equal((await client.get('/v1/account')).body.id, app.account.id);
  assert.match(app.account.id, /^acct_1\w{15}$/);
});

test('a key belongs to one account, whatever Stripe it meets', async (t) => {
  const [one, two, other] = [await newStripe(t), await newStripe(t), await newStripe(t, { key: 'sk_test_other' })];
  assert.equal(one.app.account.id, two.app.account.id);
  assert.notEqual(one.app.account.id, other.app.account.id);
});

test('what is not a call is refused', async (t) => {
  const { client, app } = await newStripe(t);
  assertError(await client.get('/v1/nothing'), 404, { type: 'invalid_request_error' });
  assertError(await client.call('DELETE', '/v1/customers'), 404);
  assertError(await client.get('/v1/customers/a/b'), 404);
  const json = await client.call('POST', '/v1/customers', { raw: '{"email":"a@b.c"}', type: 'application/json' });
  assert.match(assertError(json, 400).message, /check that your POST content type is application\/x-www-form-urlencoded/);
  assertError(await client.call('POST', '/v1/customers', { raw: 'metadata[a=1' }), 400);
  assertError(await client.post('/v1/customers', { email: 'a@b.c' }, { headers: { 'stripe-version': 'new' } }), 400);
  assertError(await client.post('/v1/customers', { emial: 'a@b.c' }), 400, { code: 'parameter_unknown', param: 'emial' });
  assertError(await client.get('/v1/customers?emial=a'), 400, { code: 'parameter_unknown', param: 'emial' });
  assert.equal((await client.call('POST', '/v1/customers', { raw: `description=${'x'.repeat(1 << 20)}` })).status, 413);
  assert.equal(app.store.customers.size, 0);
});

test('customers are made, found, changed and listed by email', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: made } = await client.post('/v1/customers', { email: 'a@example.com', name: 'A', metadata: { user: '7', x: '1' } });
  assert.match(made.id, /^cus_\w{14}$/);
  assert.equal(made.livemode, false);
  assert.deepEqual((await client.get(`/v1/customers/${made.id}`)).body, made);
  await client.post('/v1/customers', { email: 'b@example.com' });
  const { body: changed } = await client.post(`/v1/customers/${made.id}`, { name: '', metadata: { x: '' } });
  assert.deepEqual([changed.name, changed.metadata, changed.email], [null, { user: '7' }, 'a@example.com']);
  const { body: found } = await client.get('/v1/customers?email=a%40example.com');
  assert.deepEqual([found.object, found.url, found.has_more, found.data], ['list', '/v1/customers', false, [changed]]);
  assertError(await client.get('/v1/customers/cus_none'), 404, { code: 'resource_missing', param: 'id', message: "No such customer: 'cus_none'" });
  assertError(await client.post('/v1/customers', { email: 'nobody' }), 400, { code: 'email_invalid' });
  assert.deepEqual(eventTypes(app), ['customer.created', 'customer.created', 'customer.updated']);
  assert.deepEqual([...app.store.events][2].data.previous_attributes, { name: 'A', metadata: { user: '7', x: '1' } });
});

test('an ephemeral key needs the version of the SDK that will use it', async (t) => {
  const { client } = await newStripe(t);
  const { body: customer } = await client.post('/v1/customers', {});
  assertError(await client.post('/v1/ephemeral_keys', { customer: customer.id }), 400);
  const headers = { 'stripe-version': '2025-09-30.clover' };
  const { body: key } = await client.post('/v1/ephemeral_keys', { customer: customer.id }, { headers });
  assert.match(key.id, /^ephkey_1\w{23}$/);
  assert.match(key.secret, /^ek_test_\w{64}$/);
  assert.deepEqual(key.associated_objects, [{ id: customer.id, type: 'customer' }]);
  assert.equal(key.expires - key.created, 3600);
  assertError(await client.post('/v1/ephemeral_keys', {}, { headers }), 400, { code: 'parameter_missing', param: 'customer' });
  assertError(await client.post('/v1/ephemeral_keys', { customer: 'cus_none' }, { headers }), 400, { param: 'customer' });
});

test('a PaymentIntent is made, declined, paid', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: customer } = await client.post('/v1/customers', {});
  const { body: made } = await client.post('/v1/payment_intents', {
    ...INTENT,
    customer: customer.id,
    application_fee_amount: 250,
    transfer_data: { destination: 'acct_1host' },
    metadata: { order_id: 'o1' },
  });
  assert.match(made.id, /^pi_3\w{23}$/);
  assert.match(made.client_secret, new RegExp(`^${made.id}_secret_\\w{25}$`));
  assert.equal(made.status, 'requires_payment_method');
  assert.deepEqual(made.automatic_payment_methods, { allow_redirects: 'always', enabled: true });
  assert.deepEqual([made.amount, made.amount_received, made.currency, made.customer], [2500, 0, 'usd', customer.id]);
  assert.deepEqual([made.application_fee_amount, made.transfer_data], [250, { destination: 'acct_1host' }]);
  assert.deepEqual([made.metadata, made.livemode, made.latest_charge], [{ order_id: 'o1' }, false, null]);

  await client.control('POST', 'decline', { payment_intent: made.id, code: 'insufficient_funds' });
  const { body: declined } = await client.get(`/v1/payment_intents/${made.id}`);
  assert.equal(declined.status, 'requires_payment_method');
  assert.deepEqual(
    ['type', 'code', 'decline_code', 'charge'].map((name) => declined.last_payment_error[name]),
    ['card_error', 'card_declined', 'insufficient_funds', declined.latest_charge],
  );

  await client.control('POST', 'pay', { payment_intent: made.id });
  const { body: paid } = await client.get(`/v1/payment_intents/${made.id}?expand[]=latest_charge.balance_transaction`);
  assert.deepEqual([paid.status, paid.amount_received, paid.last_payment_error], ['succeeded', 2500, null]);
  const charge = paid.latest_charge;
  assert.match(charge.id, /^ch_3\w{23}$/);
  assert.deepEqual([charge.amount, charge.paid, charge.payment_intent, charge.metadata], [2500, true, made.id, { order_id: 'o1' }]);
  assert.deepEqual([charge.balance_transaction.fee, charge.balance_transaction.net], [103, 2397]);
  assert.equal((await client.get(`/v1/charges/${charge.id}`)).body.balance_transaction, charge.balance_transaction.id);
  assert.equal((await client.get(`/v1/balance_transactions/${charge.balance_transaction.id}`)).body.source, charge.id);
  assert.deepEqual(eventTypes(app), [
    'customer.created',
    'payment_intent.created',
    'charge.failed',
    'payment_intent.payment_failed',
    'transfer.created',
    'application_fee.created',
    'charge.succeeded',
    'payment_intent.succeeded',
  ]);

  const again = await client.call('POST', '/_control/pay', { raw: JSON.stringify({ payment_intent: made.id }) });
  assertError(again, 400, { code: 'payment_intent_unexpected_state' });
  const error = assertError(await client.post(`/v1/payment_intents/${made.id}/cancel`), 400, { code: 'payment_intent_unexpected_state' });
  assert.match(error.message, /^You cannot cancel this PaymentIntent because it has a status of succeeded\./);
  assert.equal(error.payment_intent.status, 'succeeded');
  assertError(await client.post(`/v1/payment_intents/${made.id}`, { amount: 100 }), 400, { code: 'payment_intent_unexpected_state' });
});

test('an event keeps the object as it was then', async (t) => {
  const { client } = await newStripe(t);
  const { body: made } = await client.post('/v1/payment_intents', INTENT);
  await client.post(`/v1/payment_intents/${made.id}`, { metadata: { later: '1' }, amount: 3000 });
  await client.control('POST', 'pay', { payment_intent: made.id });
  const { data } = (await client.get('/v1/events?type=payment_intent.*')).body;
  assert.deepEqual(data.map((event) => event.type), ['payment_intent.succeeded', 'payment_intent.created']);
  assert.deepEqual(data[1].data.object, made);
  assert.deepEqual([data[0].data.object.amount, data[0].data.object.metadata], [3000, { later: '1' }]);
});

test('amounts can be made to differ, for the checks that must see it', async (t) => {
  const { client } = await newStripe(t);
  const { body: made } = await client.post('/v1/payment_intents', INTENT);
  const paid = await client.control('POST', 'pay', { payment_intent: made.id, amount_received: 100 });
  assert.deepEqual([paid.amount, paid.amount_received], [2500, 100]);
  assert.equal((await client.get(`/v1/charges/${paid.latest_charge}`)).body.amount, 100);
});

test('a PaymentIntent that cannot be is refused', async (t) => {
  const { client, app } = await newStripe(t);
  const refused = async (changes, fields) => assertError(await client.post('/v1/payment_intents', { ...INTENT, ...changes }), 400, fields);
  await refused({ amount: 49 }, { code: 'amount_too_small', param: 'amount', message: 'Amount must be at least $0.50 usd' });
  await refused({ amount: 100000000 }, { code: 'amount_too_large' });
  await refused({ amount: '12.50' }, { code: 'parameter_invalid_integer', param: 'amount', message: 'Invalid integer: 12.50' });
  await refused({ currency: 'xyz' }, { param: 'currency' });
  await refused({ customer: 'cus_none' }, { code: 'resource_missing', param: 'customer' });
  await refused({ transfer_data: { destination: 'nobody' } }, { param: 'transfer_data[destination]' });
  await refused({ transfer_data: { amount: 3 } }, { code: 'parameter_missing', param: 'transfer_data[destination]' });
  await refused({ application_fee_amount: 10 }, { param: 'application_fee_amount' });
  await refused({ application_fee_amount: 2501, transfer_data: { destination: 'acct_1' } }, { param: 'application_fee_amount' });
  assertError(await client.post('/v1/payment_intents', { currency: 'usd' }), 400, { code: 'parameter_missing', param: 'amount' });
  assert.equal(app.store.payment_intents.size, 0);
  assert.equal((await client.post('/v1/payment_intents', { amount: 50, currency: 'USD' })).body.currency, 'usd');
});

test('a PaymentIntent is canceled once', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: made } = await client.post('/v1/payment_intents', INTENT);
  const { body: canceled } = await client.post(`/v1/payment_intents/${made.id}/cancel`, { cancellation_reason: 'abandoned' });
  assert.deepEqual([canceled.status, canceled.cancellation_reason, typeof canceled.canceled_at], ['canceled', 'abandoned', 'number']);
  assertError(await client.post(`/v1/payment_intents/${made.id}/cancel`), 400, { code: 'payment_intent_unexpected_state' });
  const pay = await client.call('POST', '/_control/pay', { raw: JSON.stringify({ payment_intent: made.id }) });
  assertError(pay, 400);
  assert.deepEqual(eventTypes(app), ['payment_intent.created', 'payment_intent.canceled']);
});

test('test cards can be confirmed from a server', async (t) => {
  const { client } = await newStripe(t);
  const { body: made } = await client.post('/v1/payment_intents', INTENT);
  assertError(await client.post(`/v1/payment_intents/${made.id}/confirm`), 400, { code: 'payment_intent_unexpected_state' });
  assertError(await client.post(`/v1/payment_intents/${made.id}/confirm`, { payment_method: 'pm_none' }), 400, { code: 'resource_missing' });
  const declined = await client.post(`/v1/payment_intents/${made.id}/confirm`, { payment_method: 'pm_card_chargeDeclinedExpiredCard' });
  const error = assertError(declined, 402, { type: 'card_error', code: 'expired_card' });
  assert.equal(error.payment_intent.status, 'requires_payment_method');
  const paid = await client.post(`/v1/payment_intents/${made.id}/confirm`, { payment_method: 'pm_card_visa' });
  assert.equal(paid.body.status, 'succeeded');
  const atOnce = await client.post('/v1/payment_intents', { ...INTENT, payment_method: 'pm_card_visa', confirm: true });
  assert.equal(atOnce.body.status, 'succeeded');
});

test('a Checkout Session is open until it is paid', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: made } = await client.post('/v1/checkout/sessions', {
    ...SESSION,
    customer_email: 'a@example.com',
    metadata: { order_id: 'o1' },
    payment_intent_data: { application_fee_amount: 300, transfer_data: { destination: 'acct_1host' }, metadata: { order_id: 'o1' } },
  });
  assert.match(made.id, /^cs_test_a1\w{56}$/);
  assert.deepEqual([made.status, made.payment_status, made.amount_total, made.currency], ['open', 'unpaid', 3000, 'usd']);
  assert.deepEqual([made.payment_intent, made.metadata, made.expires_at - made.created], [null, { order_id: 'o1' }, 86400]);
  assert.ok(made.url.includes(made.id));
  assert.deepEqual(eventTypes(app), []);

  const paid = await client.control('POST', 'pay', { checkout_session: made.id });
  assert.deepEqual([paid.status, paid.payment_status, paid.url], ['complete', 'paid', null]);
  const { body: intent } = await client.get(`/v1/payment_intents/${paid.payment_intent}`);
  assert.deepEqual([intent.status, intent.amount_received, intent.application_fee_amount], ['succeeded', 3000, 300]);
  assert.deepEqual([intent.metadata, intent.transfer_data], [{ order_id: 'o1' }, { destination: 'acct_1host' }]);
  assert.deepEqual(eventTypes(app), [
    'payment_intent.created', 'transfer.created', 'application_fee.created', 'charge.succeeded', 'payment_intent.succeeded', 'checkout.session.completed',
  ]);
  const error = assertError(await client.post(`/v1/checkout/sessions/${made.id}/expire`), 400);
  assert.match(error.message, /has a status of `complete`/);
  assert.deepEqual((await client.get('/v1/checkout/sessions?status=complete')).body.data, [paid]);
  assert.deepEqual((await client.get(`/v1/checkout/sessions?payment_intent=${intent.id}`)).body.data, [paid]);
});

test('a Checkout Session expires when told to', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: made } = await client.post('/v1/checkout/sessions', SESSION);
  const { body: expired } = await client.post(`/v1/checkout/sessions/${made.id}/expire`);
  assert.deepEqual([expired.status, expired.payment_status, expired.url], ['expired', 'unpaid', null]);
  assertError(await client.post(`/v1/checkout/sessions/${made.id}/expire`), 400);
  assertError(await client.call('POST', '/_control/pay', { raw: JSON.stringify({ checkout_session: made.id }) }), 400);
  assert.deepEqual(eventTypes(app), ['checkout.session.expired']);
});

test('a Checkout Session that cannot be is refused', async (t) => {
  const { client } = await newStripe(t);
  const now = Math.floor(Date.now() / 1000);
  const refused = async (changes, fields) => assertError(await client.post('/v1/checkout/sessions', { ...SESSION, ...changes }), 400, fields);
  await refused({ expires_at: now + 1700 }, { message: 'The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.' });
  await refused({ expires_at: now + 90000 }, { param: 'expires_at' });
  await refused({ line_items: [{ ...ITEM, quantity: 0 }] }, { param: 'line_items[0][quantity]' });
  await refused({ line_items: [ITEM, { ...ITEM, price_data: { ...ITEM.price_data, currency: 'eur' } }] }, { param: 'line_items' });
  await refused({ line_items: [{ price_data: ITEM.price_data }] }, { code: 'parameter_missing', param: 'line_items[0][quantity]' });
  await refused({ line_items: [{ ...ITEM, price_data: { ...ITEM.price_data, unit_amount: 10 } }] }, { code: 'amount_too_small' });
  await refused({ payment_intent_data: { application_fee_amount: 1 } }, { param: 'payment_intent_data[application_fee_amount]' });
  await refused({ mode: 'setup' }, { param: 'mode' });
  await refused({ success_url: 'nowhere' }, { code: 'url_invalid' });
  assert.equal((await client.post('/v1/checkout/sessions', { ...SESSION, expires_at: now + 35 * 60 })).status, 200);
});

test('events are listed newest first, in pages both ways', async (t) => {
  const { client } = await newStripe(t);
  for (let i = 0; i < 7; i++) await client.post('/v1/customers', { name: String(i) });
  const names = (answer) => answer.body.data.map((event) => event.data.object.name).join('');
  const first = await client.get('/v1/events?limit=3');
  assert.deepEqual([names(first), first.body.has_more, first.body.url], ['654', true, '/v1/events']);
  const second = await client.get(`/v1/events?limit=3&starting_after=${first.body.data[2].id}`);
  assert.deepEqual([names(second), second.body.has_more], ['321', true]);
  const third = await client.get(`/v1/events?limit=3&starting_after=${second.body.data[2].id}`);
  assert.deepEqual([names(third), third.body.has_more], ['0', false]);
  const back = await client.get(`/v1/events?limit=2&ending_before=${third.body.data[0].id}`);
  assert.deepEqual([names(back), back.body.has_more], ['21', true]);
  const newer = await client.get(`/v1/events?ending_before=${first.body.data[0].id}`);
  assert.deepEqual([names(newer), newer.body.has_more], ['', false]);
  assert.equal(names(await client.get('/v1/events')), '6543210');

  const [event] = first.body.data;
  assert.deepEqual((await client.get(`/v1/events/${event.id}`)).body, event);
  assert.deepEqual([event.object, event.api_version, event.livemode, event.type], ['event', '2026-10-28.endive', false, 'customer.created']);
  assert.match(event.request.id, /^req_/);
  assert.equal(names(await client.get(`/v1/events?created[gte]=${event.created + 1}`)), '');
  assert.equal(names(await client.get(`/v1/events?created[gte]=${event.created - 5}&created[lt]=${event.created + 5}&types[]=customer.created`)), '6543210');
  assert.equal(names(await client.get('/v1/events?type=payment_intent.*')), '');
  assertError(await client.get('/v1/events?limit=101'), 400, { code: 'parameter_invalid_integer', param: 'limit' });
  assertError(await client.get('/v1/events?starting_after=evt_none'), 400, { code: 'resource_missing', param: 'starting_after' });
  assertError(await client.get('/v1/events?created[about]=1'), 400, { code: 'parameter_unknown', param: 'created[about]' });
});

test('only what refers to an object can be expanded', async (t) => {
  const { client } = await newStripe(t);
  const { body: customer } = await client.post('/v1/customers', { name: 'A' });
  await client.post('/v1/payment_intents', { ...INTENT, customer: customer.id });
  const { body: list } = await client.get('/v1/payment_intents?expand[]=data.customer&expand[]=data.latest_charge');
  assert.deepEqual([list.data[0].customer, list.data[0].latest_charge], [customer, null]);
  assertError(await client.get('/v1/payment_intents?expand[]=data.amount'), 400, { message: 'This property cannot be expanded (data.amount).' });
  assertError(await client.get('/v1/payment_intents?expand[]=customer'), 400);
});

test('the same key and parameters are answered once', async (t) => {
  const { client, app } = await newStripe(t);
  const create = (idempotencyKey, changes) => client.post('/v1/payment_intents', { ...INTENT, ...changes }, { idempotencyKey });
  const first = await create('k1');
  assert.equal(first.headers['idempotency-key'], 'k1');
  assert.equal(first.headers['original-request'], first.headers['request-id']);
  assert.equal(first.headers['stripe-should-retry'], 'false');
  assert.equal(first.headers['idempotent-replayed'], undefined);
  const again = await create('k1');
  assert.equal(again.text, first.text);
  assert.equal(again.headers['idempotent-replayed'], 'true');
  assert.equal(again.headers['original-request'], first.headers['request-id']);
  assert.notEqual(again.headers['request-id'], first.headers['request-id']);
  assert.equal(app.store.payment_intents.size, 1);
  assert.equal([...app.store.events][0].request.idempotency_key, 'k1');
  assert.notEqual((await create('k2')).body.id, first.body.id);
  const { payment_intents: known } = await client.control('GET', 'state');
  assert.deepEqual(known.map((intent) => intent.idempotency_key), ['k1', 'k2']);
});

test('a key that is used for something else is refused', async (t) => {
  const { client, app } = await newStripe(t);
  const options = { idempotencyKey: 'k1' };
  await client.post('/v1/customers', { name: 'A' }, options);
  const other = assertError(await client.post('/v1/customers', { name: 'B' }, options), 400, { type: 'idempotency_error' });
  assert.match(other.message, /with the same parameters they were first used with\. Try using a key other than 'k1'/);
  const elsewhere = assertError(await client.post('/v1/payment_intents', INTENT, options), 400, { type: 'idempotency_error' });
  assert.match(elsewhere.message, /\('\/v1\/payment_intents' vs '\/v1\/customers'\)/);
  assertError(await client.post('/v1/customers', { name: 'A' }, { idempotencyKey: 'k'.repeat(256) }), 400);
  assert.equal(app.store.customers.size, 1);
});

test('answers are kept once the endpoint has run, and not before', async (t) => {
  const { client, app } = await newStripe(t);
  const options = { idempotencyKey: 'k1' };
  // Refused before: the key stays free.
  assertError(await client.post('/v1/payment_intents', { ...INTENT, amout: 1 }, options), 400, { code: 'parameter_unknown' });
  assertError(await client.post('/v1/payment_intents', INTENT, { ...options, key: 'sk_test_wrong' }), 401);
  // Refused by the endpoint: kept, though it would go well now.
  const refused = await client.post('/v1/payment_intents', { ...INTENT, customer: 'cus_none' }, options);
  assertError(refused, 400, { code: 'resource_missing' });
  app.store.customers.add({ id: 'cus_none', object: 'customer' });
  const again = await client.post('/v1/payment_intents', { ...INTENT, customer: 'cus_none' }, options);
  assert.equal(again.text, refused.text);
  assert.equal(again.headers['idempotent-replayed'], 'true');
  assert.equal(app.store.payment_intents.size, 0);
});

test('a key in use is refused until its answer is there', async (t) => {
  const { client, app } = await newStripe(t);
  const create = () => client.post('/v1/customers', { name: 'A' }, { idempotencyKey: 'k1' });
  await client.control('POST', 'faults', { kind: 'delay', ms: 200 });
  const first = create();
  const meanwhile = await create();
  assertError(meanwhile, 409, { code: 'idempotency_key_in_use' });
  assert.equal(meanwhile.headers['stripe-should-retry'], 'true');
  const made = await first;
  assert.equal(made.status, 200);
  assert.equal((await create()).text, made.text);
  assert.equal(app.store.customers.size, 1);
});

test('keys are for POST, and are forgotten after a day', async (t) => {
  const { client, app } = await newStripe(t);
  const options = { idempotencyKey: 'k1' };
  assert.equal((await client.get('/v1/account', options)).headers['idempotency-key'], undefined);
  await client.post('/v1/customers', {}, options);
  app.clock.set({ advance: 86399 });
  await client.post('/v1/customers', {}, options);
  assert.equal(app.store.customers.size, 1);
  app.clock.set({ advance: 2 });
  await client.post('/v1/customers', {}, options);
  assert.equal(app.store.customers.size, 2);
});

test('a reset forgets everything', async (t) => {
  const { client } = await newStripe(t);
  await client.post('/v1/customers', { name: 'A' }, { idempotencyKey: 'k1' });
  await client.control('POST', 'faults', { kind: 'hang' });
  await client.control('POST', 'reset');
  const { counts, payment_intents: intents } = await client.control('GET', 'state');
  assert.ok(Object.values(counts).every((count) => count === 0));
  assert.deepEqual([intents, await client.control('GET', 'requests'), await client.control('GET', 'faults')], [[], [], []]);
  assert.equal((await client.post('/v1/customers', { name: 'B' }, { idempotencyKey: 'k1' })).status, 200);
});
