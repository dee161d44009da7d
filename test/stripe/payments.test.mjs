// Payments that take their time: bank debits, 3-D Secure, and Checkout Sessions that follow their PaymentIntent.
import assert from 'node:assert/strict';
import test from 'node:test';
import { INTENT, SESSION, assertError, eventTypes, newStripe } from './support.mjs';

const newIntent = async (client, changes) => (await client.post('/v1/payment_intents', { ...INTENT, ...changes })).body;
const refused = (client, path, json) => client.call('POST', `/_control/${path}`, { raw: JSON.stringify(json) });

test('a bank debit is processing until it arrives', async (t) => {
  const { client, app } = await newStripe(t);
  const { id } = await newIntent(client, { transfer_data: { destination: 'acct_1host' }, application_fee_amount: 250 });
  const processing = await client.control('POST', 'pay', { payment_intent: id, method: 'us_bank_account' });
  assert.deepEqual([processing.status, processing.amount_received], ['processing', 0]);
  const { body: pending } = await client.get(`/v1/charges/${processing.latest_charge}`);
  assert.deepEqual([pending.status, pending.paid, pending.balance_transaction], ['pending', false, null]);
  assert.equal(pending.payment_method_details.type, 'us_bank_account');
  assertError(await refused(client, 'pay', { payment_intent: id }), 400, { code: 'payment_intent_unexpected_state' });
  assertError(await client.post('/v1/refunds', { payment_intent: id }), 400);
  const paid = await client.control('POST', 'settle', { payment_intent: id });
  assert.deepEqual([paid.status, paid.amount_received, paid.latest_charge], ['succeeded', 2500, pending.id]);
  const { body: charge } = await client.get(`/v1/charges/${pending.id}`);
  assert.deepEqual([charge.status, charge.paid, charge.amount_captured], ['succeeded', true, 2500]);
  assert.match(charge.transfer, /^tr_/);
  assert.match(charge.application_fee, /^fee_/);
  assert.deepEqual(eventTypes(app), [
    'payment_intent.created', 'charge.pending', 'payment_intent.processing',
    'transfer.created', 'application_fee.created', 'charge.succeeded', 'payment_intent.succeeded',
  ]);
  assertError(await refused(client, 'settle', { payment_intent: id }), 400, { code: 'payment_intent_unexpected_state' });
});

test('a bank debit may fail, and be tried again', async (t) => {
  const { client, app } = await newStripe(t);
  const { id } = await newIntent(client);
  await client.control('POST', 'pay', { payment_intent: id, method: 'sepa_debit' });
  assertError(await refused(client, 'settle', { payment_intent: id, outcome: 'failed', code: 'lost' }), 400, { param: 'code' });
  const failed = await client.control('POST', 'settle', { payment_intent: id, outcome: 'failed', code: 'account_closed' });
  assert.deepEqual([failed.status, failed.last_payment_error.code, failed.payment_method], ['requires_payment_method', 'account_closed', null]);
  assert.equal((await client.get(`/v1/charges/${failed.latest_charge}`)).body.status, 'failed');
  assert.deepEqual(eventTypes(app).slice(-2), ['charge.failed', 'payment_intent.payment_failed']);
  const paid = await client.control('POST', 'pay', { payment_intent: id });
  assert.deepEqual([paid.status, paid.last_payment_error], ['succeeded', null]);
  assert.notEqual(paid.latest_charge, failed.latest_charge);
});

test('a bank debit can be called off while it is processing', async (t) => {
  const { client, app } = await newStripe(t);
  const { id } = await newIntent(client);
  await client.control('POST', 'pay', { payment_intent: id, method: 'us_bank_account' });
  assert.equal((await client.post(`/v1/payment_intents/${id}/cancel`)).body.status, 'canceled');
  assert.deepEqual(eventTypes(app).slice(-2), ['charge.failed', 'payment_intent.canceled']);
  assertError(await refused(client, 'settle', { payment_intent: id }), 400, { code: 'payment_intent_unexpected_state' });
});

test('3-D Secure is passed, failed, or left', async (t) => {
  const { client, app } = await newStripe(t);
  const { id } = await newIntent(client);
  const asked = await client.control('POST', 'challenge', { payment_intent: id });
  assert.deepEqual([asked.status, asked.next_action.type], ['requires_action', 'redirect_to_url']);
  const failed = await client.control('POST', 'settle', { payment_intent: id, outcome: 'failed' });
  assert.deepEqual(
    [failed.status, failed.next_action, failed.last_payment_error.code, failed.latest_charge],
    ['requires_payment_method', null, 'payment_intent_authentication_failure', null],
  );
  const { body: again } = await client.post(`/v1/payment_intents/${id}/confirm`, { payment_method: 'pm_card_authenticationRequired' });
  assert.equal(again.status, 'requires_action');
  const paid = await client.control('POST', 'settle', { payment_intent: id });
  assert.deepEqual([paid.status, paid.next_action, paid.payment_method], ['succeeded', null, again.payment_method]);
  assert.deepEqual(eventTypes(app), [
    'payment_intent.created',
    'payment_intent.requires_action',
    'payment_intent.payment_failed',
    'payment_intent.requires_action',
    'charge.succeeded',
    'payment_intent.succeeded',
  ]);
  const { id: left } = await newIntent(client);
  await client.control('POST', 'challenge', { payment_intent: left });
  const { body: canceled } = await client.post(`/v1/payment_intents/${left}/cancel`);
  assert.deepEqual([canceled.status, canceled.next_action], ['canceled', null]);
});

test('a canceled PaymentIntent is not canceled again, and says what it is', async (t) => {
  const { client } = await newStripe(t);
  const { id } = await newIntent(client);
  await client.post(`/v1/payment_intents/${id}/cancel`);
  const error = assertError(await client.post(`/v1/payment_intents/${id}/cancel`), 400, {
    code: 'payment_intent_unexpected_state',
    type: 'invalid_request_error',
    message:
      'You cannot cancel this PaymentIntent because it has a status of canceled. Only a PaymentIntent with one of the following statuses may be ' +
      'canceled: requires_payment_method, requires_capture, requires_confirmation, requires_action, processing.',
  });
  assert.deepEqual([error.payment_intent.id, error.payment_intent.status], [id, 'canceled']);
});

test('a Checkout Session paid by bank debit is complete, and paid when the debit arrives', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: made } = await client.post('/v1/checkout/sessions', SESSION);
  const complete = await client.control('POST', 'pay', { checkout_session: made.id, method: 'us_bank_account' });
  assert.deepEqual([complete.status, complete.payment_status, complete.url], ['complete', 'unpaid', null]);
  assertError(await client.post(`/v1/checkout/sessions/${made.id}/expire`), 400);
  const paid = await client.control('POST', 'settle', { checkout_session: made.id });
  assert.deepEqual([paid.status, paid.payment_status], ['complete', 'paid']);
  assert.deepEqual(eventTypes(app), [
    'payment_intent.created',
    'charge.pending',
    'payment_intent.processing',
    'checkout.session.completed',
    'charge.succeeded',
    'payment_intent.succeeded',
    'checkout.session.async_payment_succeeded',
  ]);
  const [event] = (await client.get('/v1/events?type=checkout.session.completed')).body.data;
  assert.equal(event.data.object.payment_status, 'unpaid');
  await client.control('POST', 'clock', { advance: 100000 });
  assert.equal((await client.get(`/v1/checkout/sessions/${made.id}`)).body.status, 'complete');
});

test('a Checkout Session whose bank debit fails stays unpaid', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: made } = await client.post('/v1/checkout/sessions', SESSION);
  await client.control('POST', 'pay', { checkout_session: made.id, method: 'us_bank_account' });
  const failed = await client.control('POST', 'settle', { checkout_session: made.id, outcome: 'failed' });
  assert.deepEqual([failed.status, failed.payment_status], ['complete', 'unpaid']);
  assert.deepEqual(eventTypes(app).slice(-3), ['charge.failed', 'payment_intent.payment_failed', 'checkout.session.async_payment_failed']);
  const { body: canceled } = await client.post(`/v1/payment_intents/${failed.payment_intent}/cancel`);
  assert.equal(canceled.status, 'canceled');
});

test('a Checkout Session stays open through a decline and a challenge, and takes its PaymentIntent along when it ends', async (t) => {
  const { client, app } = await newStripe(t);
  const { body: made } = await client.post('/v1/checkout/sessions', SESSION);
  const declined = await client.control('POST', 'decline', { checkout_session: made.id, code: 'insufficient_funds' });
  assert.deepEqual([declined.status, declined.payment_status], ['open', 'unpaid']);
  const challenged = await client.control('POST', 'challenge', { checkout_session: made.id });
  assert.deepEqual([challenged.status, challenged.payment_intent], ['open', declined.payment_intent]);
  assertError(await client.post(`/v1/payment_intents/${declined.payment_intent}/cancel`), 400, {
    message: 'You cannot perform this action on PaymentIntents created by Checkout.',
  });
  await client.control('POST', 'clock', { now: made.expires_at });
  assert.equal((await client.get(`/v1/checkout/sessions/${made.id}`)).body.status, 'expired');
  const { body: intent } = await client.get(`/v1/payment_intents/${declined.payment_intent}`);
  assert.deepEqual([intent.status, intent.cancellation_reason, intent.canceled_at], ['canceled', 'automatic', made.expires_at]);
  assert.deepEqual(eventTypes(app).slice(-3), ['payment_intent.requires_action', 'payment_intent.canceled', 'checkout.session.expired']);
  assertError(await refused(client, 'pay', { checkout_session: made.id }), 400, {
    message: 'Only Checkout Sessions with a status in ["open"] can be paid. This Checkout Session has a status of `expired`.',
  });
  assertError(await client.post(`/v1/checkout/sessions/${made.id}/expire`), 400, {
    message: 'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of `expired`.',
  });
});

test('a Checkout Session that was challenged is paid by passing', async (t) => {
  const { client } = await newStripe(t);
  const { body: made } = await client.post('/v1/checkout/sessions', { ...SESSION, client_reference_id: 'r1' });
  const challenged = await client.control('POST', 'challenge', { checkout_session: made.id });
  const paid = await client.control('POST', 'settle', { checkout_session: made.id });
  assert.deepEqual([paid.status, paid.payment_status, paid.client_reference_id], ['complete', 'paid', 'r1']);
  assert.deepEqual((await client.get(`/v1/checkout/sessions?payment_intent=${challenged.payment_intent}`)).body.data, [paid]);
});
