// Disputes: what a bank takes back, what it gives back, and who hears of it.
import assert from 'node:assert/strict';
import test from 'node:test';
import { INTENT, assertError, eventTypes, newEndpoint, newStripe, until } from './support.mjs';

async function paid(client) {
  const { body: made } = await client.post('/v1/payment_intents', { ...INTENT, application_fee_amount: 250, transfer_data: { destination: 'acct_1host' } });
  return client.control('POST', 'pay', { payment_intent: made.id });
}
const refused = (client, json) => client.call('POST', '/_control/dispute', { raw: JSON.stringify(json) });
const adjustments = async (client) => {
  const { body } = await client.get('/v1/balance_transactions?type=adjustment');
  return body.data.reverse().map(({ amount, fee, net, reporting_category: category }) => [amount, fee, net, category]);
};

test('a dispute takes its amount and a fee from the platform at once', async (t) => {
  const endpoint = await newEndpoint(t);
  const { client, app } = await newStripe(t, { webhookUrl: endpoint.url });
  const { id, latest_charge: charge } = await paid(client);
  const dispute = await client.control('POST', 'dispute', { payment_intent: id, reason: 'product_not_received' });
  assert.match(dispute.id, /^dp_1\w{23}$/);
  assert.deepEqual([dispute.status, dispute.amount, dispute.charge, dispute.payment_intent], ['needs_response', 2500, charge, id]);
  assert.deepEqual([dispute.reason, dispute.is_charge_refundable, dispute.evidence_details.has_evidence], ['product_not_received', false, false]);
  const [withdrawn] = dispute.balance_transactions;
  assert.deepEqual([withdrawn.amount, withdrawn.fee, withdrawn.net, withdrawn.source], [-2500, 1500, -4000, dispute.id]);
  assert.equal(withdrawn.description, `Chargeback withdrawal for ${charge}`);
  assert.deepEqual(await adjustments(client), [[-2500, 1500, -4000, 'dispute']]);
  assert.equal((await client.get(`/v1/charges/${charge}`)).body.disputed, true);
  assert.deepEqual(eventTypes(app).slice(-2), ['charge.dispute.created', 'charge.dispute.funds_withdrawn']);
  await until(() => endpoint.taken.filter(({ event }) => event.type.startsWith('charge.dispute')).length === 2);
  // The bank has it already.
  assertError(await client.post('/v1/refunds', { payment_intent: id }), 400, { code: 'charge_disputed' });
  assertError(await refused(client, { charge }), 400);
  assert.deepEqual((await client.get(`/v1/disputes/${dispute.id}`)).body, dispute);
  for (const query of [`payment_intent=${id}`, `charge=${charge}`, `created[gte]=${dispute.created}`]) {
    assert.deepEqual((await client.get(`/v1/disputes?${query}`)).body.data, [dispute], query);
  }
  assert.deepEqual((await client.get(`/v1/disputes?created[gt]=${dispute.created}`)).body.data, []);
});

test('a dispute that is won brings both back, and one that is lost does not', async (t) => {
  const { client, app } = await newStripe(t);
  const one = await paid(client);
  const won = await client.control('POST', 'dispute', { payment_intent: one.id, amount: 1000 });
  await client.control('POST', 'dispute', { dispute: won.id, become: 'under_review' });
  assert.deepEqual(eventTypes(app).slice(-1), ['charge.dispute.updated']);
  const end = await client.control('POST', 'dispute', { dispute: won.id, become: 'won' });
  assert.deepEqual(eventTypes(app).slice(-2), ['charge.dispute.funds_reinstated', 'charge.dispute.closed']);
  assert.deepEqual(end.balance_transactions.map(({ net }) => net), [-2500, 2500]);
  assert.deepEqual(await adjustments(client), [[-1000, 1500, -2500, 'dispute'], [1000, -1500, 2500, 'dispute_reversal']]);
  assertError(await refused(client, { dispute: won.id, become: 'lost' }), 400, { param: 'become' });
  assert.equal((await client.post('/v1/refunds', { payment_intent: one.id })).status, 200);
  const two = await paid(client);
  const lost = await client.control('POST', 'dispute', { charge: two.latest_charge });
  await client.control('POST', 'dispute', { dispute: lost.id, become: 'lost' });
  assert.deepEqual(eventTypes(app).slice(-1), ['charge.dispute.closed']);
  const { platform, accounts } = await client.control('GET', 'sums');
  const { disputes, dispute_reversals: reversals, dispute_fees: fees } = accounts[platform].usd;
  assert.deepEqual([disputes, reversals, fees], [-3500, 1000, -1500]);
  assertError(await client.post('/v1/refunds', { payment_intent: two.id }), 400, { code: 'charge_disputed' });
});

test('a bank may only ask, and still take it back later', async (t) => {
  const { client, app } = await newStripe(t);
  const { id } = await paid(client);
  const { id: asked, is_charge_refundable: refundable } = await client.control('POST', 'dispute', { payment_intent: id, status: 'warning_needs_response' });
  assert.equal(refundable, true);
  assert.deepEqual(await adjustments(client), []);
  assert.deepEqual(eventTypes(app).slice(-1), ['charge.dispute.created']);
  assert.equal((await client.post('/v1/refunds', { payment_intent: id, amount: 500 })).status, 200);
  const closed = await client.control('POST', 'dispute', { dispute: asked, become: 'warning_closed' });
  assert.deepEqual([closed.status, closed.balance_transactions], ['warning_closed', []]);
  const { id: second } = await client.control('POST', 'dispute', { payment_intent: id, status: 'warning_needs_response' });
  const grown = await client.control('POST', 'dispute', { dispute: second, become: 'needs_response' });
  assert.deepEqual([grown.amount, grown.balance_transactions[0].net], [2000, -3500]);
  assert.deepEqual(eventTypes(app).slice(-2), ['charge.dispute.updated', 'charge.dispute.funds_withdrawn']);
});

test('evidence is handed in, and giving up is closing', async (t) => {
  const { client, app } = await newStripe(t);
  const [one, two, three] = [await paid(client), await paid(client), await paid(client)];
  const { id } = await client.control('POST', 'dispute', { payment_intent: one.id });
  const { body: kept } = await client.post(`/v1/disputes/${id}`, { evidence: { customer_name: 'A' }, submit: false, metadata: { x: '1' } });
  assert.deepEqual([kept.status, kept.evidence.customer_name, kept.evidence_details.submission_count, kept.metadata], ['needs_response', 'A', 0, { x: '1' }]);
  const { body: sent } = await client.post(`/v1/disputes/${id}`, { evidence: { uncategorized_text: 'They came.' } });
  assert.deepEqual([sent.status, sent.evidence.customer_name, sent.evidence_details.submission_count], ['under_review', 'A', 1]);
  assertError(await client.post(`/v1/disputes/${id}`, { evidence: { mood: 'x' } }), 400, { code: 'parameter_unknown' });
  const { body: closed } = await client.post(`/v1/disputes/${id}/close`);
  assert.equal(closed.status, 'lost');
  assertError(await client.post(`/v1/disputes/${id}/close`), 400);
  assertError(await client.post(`/v1/disputes/${id}`, { evidence: { customer_name: 'B' } }), 400);
  const { id: second } = await client.control('POST', 'dispute', { payment_intent: two.id });
  assert.equal((await client.post(`/v1/disputes/${second}`, { evidence: { uncategorized_text: 'winning_evidence' } })).body.status, 'won');
  assert.deepEqual(eventTypes(app).slice(-1), ['charge.dispute.closed']);
  for (const wrong of [{ reason: 'x' }, { status: 'won' }, { amount: 2501 }, { amount: 0 }, { mood: 'x' }]) {
    assertError(await refused(client, { payment_intent: three.id, ...wrong }), 400);
  }
  assertError(await client.get('/v1/disputes/dp_none'), 404, { code: 'resource_missing' });
});
