// Refunds: in parts and never beyond, on their way, waiting for a balance, and coming back.
import assert from 'node:assert/strict';
import test from 'node:test';
import { INTENT, assertError, eventTypes, newStripe } from './support.mjs';

// A paid PaymentIntent: {id, latest_charge}.
async function paid(client, changes) {
  const { body: made } = await client.post('/v1/payment_intents', { ...INTENT, ...changes });
  return client.control('POST', 'pay', { payment_intent: made.id });
}
const refunded = async (client, charge) => {
  const { body } = await client.get(`/v1/charges/${charge}`);
  return [body.amount_refunded, body.refunded];
};

test('a charge is refunded in parts and never beyond', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: made } = await client.post('/v1/payment_intents', { ...INTENT, application_fee_amount: 250, transfer_data: { destination: 'acct_1host' } });
  assertError(await client.post('/v1/refunds', { payment_intent: made.id }), 400, {
    message: `This PaymentIntent (${made.id}) does not have a successful charge to refund.`,
  });
  const { latest_charge: chargeId } = await client.control('POST', 'pay', { payment_intent: made.id });
  const { body: first } = await client.post('/v1/refunds', {
    payment_intent: made.id,
    amount: 1000,
    reason: 'requested_by_customer',
    metadata: { refund_id: 'r1' },
    reverse_transfer: true,
    refund_application_fee: true,
  });
  assert.match(first.id, /^re_3\w{23}$/);
  assert.deepEqual([first.status, first.amount, first.charge, first.payment_intent], ['succeeded', 1000, chargeId, made.id]);
  assert.match(first.transfer_reversal, /^trr_/);
  assert.deepEqual(eventTypes(app).slice(-3), ['refund.created', 'charge.refunded', 'refund.updated']);
  const [event] = (await client.get('/v1/events?type=charge.refunded')).body.data;
  assert.deepEqual([event.data.object.amount_refunded, event.data.object.refunded], [1000, false]);
  assert.deepEqual(event.data.previous_attributes, { amount_refunded: 0, refunded: false });

  assertError(await client.post('/v1/refunds', { charge: chargeId, amount: 1501 }), 400, {
    param: 'amount',
    message: 'Refund amount ($15.01) is greater than unrefunded amount on charge ($15.00)',
  });
  const rest = await client.control('POST', 'refund', { charge: chargeId });
  assert.equal(rest.amount, 1500);
  const { body: charge } = await client.get(`/v1/charges/${chargeId}`);
  assert.deepEqual([charge.amount_refunded, charge.refunded, charge.status], [2500, true, 'succeeded']);
  assertError(await client.post('/v1/refunds', { payment_intent: made.id }), 400, { code: 'charge_already_refunded' });
  assertError(await client.post('/v1/refunds', {}), 400, { code: 'parameter_missing' });
  assertError(await client.get('/v1/refunds/re_none'), 404, { code: 'resource_missing' });

  const { body: list } = await client.get(`/v1/refunds?payment_intent=${made.id}`);
  assert.deepEqual(list.data.map((refund) => refund.id), [rest.id, first.id]);
  assert.deepEqual((await client.get('/v1/refunds?payment_intent=pi_other')).body.data, []);
});

test('a refund takes back only what went to another account', async (t) => {
  const { client } = await newStripe(t);
  const { body: made } = await client.post('/v1/payment_intents', INTENT);
  await client.control('POST', 'pay', { payment_intent: made.id });
  assertError(await client.post('/v1/refunds', { payment_intent: made.id, reverse_transfer: true }), 400, { param: 'reverse_transfer' });
  assertError(await client.post('/v1/refunds', { payment_intent: made.id, refund_application_fee: true }), 400, { param: 'refund_application_fee' });
});

test('a refund may be on its way, and then arrive', async (t) => {
  const { client, app } = await newStripe(t);
  const { id, latest_charge: charge } = await paid(client);
  await client.control('POST', 'refunds', { become: 'pending' });
  const { body: made } = await client.post('/v1/refunds', { payment_intent: id });
  assert.deepEqual([made.status, made.pending_reason], ['pending', 'processing']);
  assert.deepEqual(eventTypes(app).slice(-2), ['refund.created', 'charge.refunded']);
  // What is on its way counts.
  assert.deepEqual(await refunded(client, charge), [2500, true]);
  assertError(await client.post('/v1/refunds', { payment_intent: id }), 400, { code: 'charge_already_refunded' });
  const done = await client.control('POST', 'settle', { refund: made.id });
  assert.deepEqual([done.status, done.pending_reason, done.balance_transaction], ['succeeded', undefined, made.balance_transaction]);
  assert.deepEqual(done, (await client.get(`/v1/refunds/${made.id}`)).body);
  const [, event] = (await client.get('/v1/events?type=refund.updated')).body.data;
  assert.deepEqual([event.data.object.status, event.data.previous_attributes], ['succeeded', { status: 'pending' }]);
});

test('a refund waits for the balance, or is refused for it', async (t) => {
  const { client } = await newStripe(t);
  const { id, latest_charge: charge } = await paid(client);
  await client.control('POST', 'refunds', { become: 'refused' });
  assertError(await client.post('/v1/refunds', { payment_intent: id }), 400, { code: 'balance_insufficient', type: 'invalid_request_error' });
  assert.deepEqual(await refunded(client, charge), [0, false]);
  await client.control('POST', 'refunds', { become: 'insufficient_funds' });
  const { body: made } = await client.post('/v1/refunds', { payment_intent: id });
  assert.deepEqual([made.status, made.pending_reason, made.balance_transaction], ['pending', 'insufficient_funds', null]);
  const done = await client.control('POST', 'settle', { refund: made.id });
  assert.equal((await client.get(`/v1/balance_transactions/${done.balance_transaction}`)).body.amount, -2500);
  await client.control('POST', 'reset');
  const next = await paid(client);
  assert.equal((await client.post('/v1/refunds', { charge: next.latest_charge })).body.status, 'succeeded');
});

for (const from of ['pending', 'succeeded']) {
  test(`a refund that was ${from} may fail, and its amount can be refunded anew`, async (t) => {
    const { client, app } = await newStripe(t);
    const { id, latest_charge: charge } = await paid(client);
    await client.control('POST', 'refunds', { become: from });
    const { body: first } = await client.post('/v1/refunds', { payment_intent: id, amount: 1000 });
    const { body: made } = await client.post('/v1/refunds', { payment_intent: id, amount: 1500 });
    assert.equal(made.status, from);
    assert.deepEqual(await refunded(client, charge), [2500, true]);
    const failed = await client.control('POST', 'settle', { refund: made.id, outcome: 'failed', reason: 'expired_or_canceled_card' });
    assert.deepEqual([failed.status, failed.failure_reason], ['failed', 'expired_or_canceled_card']);
    assert.equal((await client.get(`/v1/balance_transactions/${failed.failure_balance_transaction}`)).body.amount, 1500);
    assert.deepEqual(await refunded(client, charge), [1000, false]);
    assert.deepEqual(eventTypes(app).slice(-3), ['refund.updated', 'refund.failed', 'charge.updated']);
    const twice = await client.call('POST', '/_control/settle', { raw: JSON.stringify({ refund: made.id, outcome: 'failed' }) });
    assertError(twice, 400);
    assertError(await client.post('/v1/refunds', { payment_intent: id, amount: 1501 }), 400, { param: 'amount' });
    const { body: anew } = await client.post('/v1/refunds', { payment_intent: id });
    assert.equal(anew.amount, 1500);
    const { body: list } = await client.get(`/v1/refunds?payment_intent=${id}`);
    assert.deepEqual(list.data.map((refund) => refund.id), [anew.id, made.id, first.id]);
  });
}
