// Payouts: what leaves an account's balance, what an automatic one contains, and what comes back.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import test from 'node:test';
import { INTENT, assertError, newEndpoint, newStripe, until } from './support.mjs';

const HOST = 'acct_1host';
const as = { headers: { 'stripe-account': HOST } };
const refused = (client, json) => client.call('POST', '/_control/payout', { raw: JSON.stringify(json) });

// So many paid destination charges, each with 2250 for the host.
async function sell(client, count) {
  for (let i = 0; i < count; i++) {
    const { body } = await client.post('/v1/payment_intents', { ...INTENT, application_fee_amount: 250, transfer_data: { destination: HOST } });
    await client.control('POST', 'pay', { payment_intent: body.id });
  }
}
const available = async (client) => (await client.get('/v1/balance', as)).body.available[0].amount;
const contents = async (client, id) => {
  const { body } = await client.get(`/v1/balance_transactions?payout=${id}&limit=100`, as);
  return body.data.reverse().map(({ type, net }) => [type, net]);
};
const types = async (client) => (await client.get('/v1/events?type=payout.*', as)).body.data.reverse().map(({ type }) => type);

test('an automatic payout takes all that is available, and says what that was', async (t) => {
  const { client, app } = await newStripe(t);
  await sell(client, 2);
  assertError(await refused(client, { account: HOST }), 400, { code: 'balance_insufficient' });
  app.clock.set({ advance: 2 * 86400 });
  await sell(client, 1);
  const payout = await client.control('POST', 'payout', { account: HOST });
  assert.match(payout.id, /^po_1\w{23}$/);
  assert.deepEqual([payout.amount, payout.automatic, payout.status, payout.reconciliation_status], [4500, true, 'pending', 'completed']);
  assert.match(payout.destination, /^ba_/);
  assert.deepEqual(await contents(client, payout.id), [['payment', 2250], ['payment', 2250], ['payout', -4500]]);
  const { body: balance } = await client.get('/v1/balance', as);
  assert.deepEqual([balance.available[0].amount, balance.pending[0].amount], [0, 2250]);
  assert.deepEqual((await client.get(`/v1/payouts/${payout.id}`, as)).body, payout);
  assertError(await client.get(`/v1/payouts/${payout.id}`), 404);
  assertError(await client.get('/v1/balance_transactions?payout=po_none', as), 400, { code: 'resource_missing', param: 'payout' });

  await client.control('POST', 'payout', { payout: payout.id, become: 'in_transit' });
  const paid = await client.control('POST', 'payout', { payout: payout.id, become: 'paid' });
  assert.deepEqual([paid.status, paid.failure_code], ['paid', null]);
  assert.deepEqual(await types(client), ['payout.created', 'payout.updated', 'payout.updated', 'payout.paid']);
  app.clock.set({ advance: 2 * 86400 });
  const next = await client.control('POST', 'payout', { account: HOST });
  assert.deepEqual(await contents(client, next.id), [['payment', 2250], ['payout', -2250]]);
  assert.deepEqual((await client.get('/v1/payouts?status=paid', as)).body.data, [paid]);
  assert.deepEqual((await client.get(`/v1/payouts?created[gt]=${paid.created}&arrival_date[gt]=${paid.arrival_date}`, as)).body.data, [next]);
  assert.deepEqual((await client.get('/v1/payouts')).body.data, []);
});

test('a payout that fails comes back, and is in the next one', async (t) => {
  const { client, app } = await newStripe(t);
  await sell(client, 1);
  app.clock.set({ advance: 2 * 86400 });
  const { id } = await client.control('POST', 'payout', { account: HOST });
  await client.control('POST', 'payout', { payout: id, become: 'paid' });
  const failed = await client.control('POST', 'payout', { payout: id, become: 'failed', failure_code: 'account_closed' });
  assert.deepEqual([failed.status, failed.failure_code, failed.failure_message], ['failed', 'account_closed', 'The bank account has been closed.']);
  const { body: back } = await client.get(`/v1/balance_transactions/${failed.failure_balance_transaction}`, as);
  assert.deepEqual([back.type, back.amount, back.source], ['payout_failure', 2250, id]);
  assert.deepEqual((await types(client)).slice(-2), ['payout.updated', 'payout.failed']);
  const next = await client.control('POST', 'payout', { account: HOST });
  assert.deepEqual(await contents(client, next.id), [['payout_failure', 2250], ['payout', -2250]]);
  assertError(await refused(client, { payout: id, become: 'paid' }), 400, { param: 'become' });
  assertError(await refused(client, { payout: next.id, become: 'failed', failure_code: 'mood' }), 400, { param: 'failure_code' });
  const { accounts } = await client.control('GET', 'sums');
  assert.deepEqual([accounts[HOST].usd.payouts, accounts[HOST].usd.payout_failures, accounts[HOST].usd.balance], [-4500, 2250, 0]);
});

test('an account pays out by hand what it has, and can call it off', async (t) => {
  const { client, app } = await newStripe(t);
  await sell(client, 1);
  const wanted = { amount: 1000, currency: 'usd', metadata: { week: '1' } };
  assertError(await client.post('/v1/payouts', wanted, as), 400, { code: 'balance_insufficient' });
  app.clock.set({ advance: 2 * 86400 });
  const { body: made } = await client.post('/v1/payouts', wanted, { ...as, idempotencyKey: 'k1' });
  assert.deepEqual([made.amount, made.automatic, made.metadata], [1000, false, { week: '1' }]);
  assert.equal(await available(client), 1250);
  const { body: called } = await client.post(`/v1/payouts/${made.id}/cancel`, {}, as);
  assert.equal(called.status, 'canceled');
  assert.deepEqual((await types(client)).slice(-2), ['payout.updated', 'payout.canceled']);
  assert.equal(await available(client), 2250);
  assertError(await client.post(`/v1/payouts/${made.id}/cancel`, {}, as), 400);
  assert.equal((await client.control('POST', 'payout', { account: HOST, amount: 250 })).automatic, false);
  await client.control('POST', 'account', { account: HOST, become: 'payouts_paused' });
  assertError(await client.post('/v1/payouts', wanted, as), 400, { code: 'payouts_not_allowed' });
  assertError(await client.post('/v1/payouts', { ...wanted, source_type: 'card' }, as), 400, { code: 'parameter_unknown' });
});

test("a connected account's payouts are told with its name, under the second secret", async (t) => {
  const endpoint = await newEndpoint(t);
  const { client, app } = await newStripe(t, { webhookUrl: endpoint.url });
  await client.control('POST', 'webhook', { connect_secret: 'whsec_connect', events: ['payout.created', 'payout.updated', 'payout.paid'] });
  await sell(client, 1);
  app.clock.set({ advance: 2 * 86400 });
  const { id } = await client.control('POST', 'payout', { account: HOST });
  await client.control('POST', 'payout', { payout: id, become: 'paid' });
  await until(() => endpoint.taken.length === 3);
  for (const { event, text, headers } of endpoint.taken) {
    assert.deepEqual([event.account, event.data.object.id], [HOST, id]);
    const [, at, digest] = /^t=(\d+),v1=(\w+)$/.exec(headers['stripe-signature']);
    assert.equal(digest, createHmac('sha256', 'whsec_connect').update(`${at}.${text}`).digest('hex'));
  }
  assert.deepEqual((await client.control('GET', 'deliveries/counts')).connected.events, 3);
});
