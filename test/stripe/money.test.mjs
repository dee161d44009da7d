// Money: that each account's balance transactions say what became of a destination charge, to the cent.
import assert from 'node:assert/strict';
import test from 'node:test';
import { shareOf } from './money.mjs';
import { INTENT, assertError, eventTypes, newStripe } from './support.mjs';

const HOST = 'acct_1host';
const DAY = 86400;
const as = (account) => ({ headers: { 'stripe-account': account } });

// A paid destination charge: its PaymentIntent, with the charge expanded.
async function sold(client, changes) {
  const form = { ...INTENT, amount: 10000, application_fee_amount: 1250, transfer_data: { destination: HOST }, ...changes };
  for (const name in form) if (form[name] === undefined) delete form[name];
  const { body: made } = await client.post('/v1/payment_intents', form);
  await client.control('POST', 'pay', { payment_intent: made.id });
  return (await client.get(`/v1/payment_intents/${made.id}?expand[]=latest_charge`)).body;
}

// [type, amount, fee, net] of each balance transaction, oldest first.
async function booked(client, account, query = '') {
  const { body } = await client.get(`/v1/balance_transactions?limit=100${query}`, account && as(account));
  return body.data.reverse().map(({ type, amount, fee, net }) => [type, amount, fee, net]);
}

// The sums of both accounts; fails unless they are what the balance is said to be.
async function sums(client) {
  const { platform, accounts } = await client.control('GET', 'sums');
  for (const account in accounts) {
    for (const currency in accounts[account]) {
      const { transactions, balance, available, pending, ...parts } = accounts[account][currency];
      assert.equal(Object.values(parts).reduce((sum, part) => sum + part, 0), balance, account);
      assert.equal(available + pending, balance, account);
      const { body } = await client.get('/v1/balance', as(account));
      const said = (kind) => body[kind].find((entry) => entry.currency === currency).amount;
      assert.deepEqual([said('available'), said('pending')], [available, pending], account);
    }
  }
  return [accounts[platform].usd, accounts[HOST]?.usd];
}

test('a destination charge goes to the account as a whole, and its fee comes back', async (t) => {
  const { client, app } = await newStripe(t);
  const { latest_charge: charge, id } = await sold(client);
  assert.deepEqual(await booked(client), [
    ['charge', 10000, 320, 9680],
    ['transfer', -10000, 0, -10000],
    ['application_fee', 1250, 0, 1250],
  ]);
  assert.deepEqual(await booked(client, HOST), [['payment', 10000, 1250, 8750]]);
  const [platform, host] = await sums(client);
  assert.deepEqual([platform.balance, host.balance], [930, 8750]);
  assert.deepEqual([host.payments, host.application_fees, platform.application_fees, platform.stripe_fees], [10000, -1250, 1250, -320]);

  assert.deepEqual([charge.application_fee_amount, charge.transfer_data.destination, charge.transfer_group], [1250, HOST, `group_${id}`]);
  const { body: transfer } = await client.get(`/v1/transfers/${charge.transfer}?expand[]=destination_payment.balance_transaction&expand[]=source_transaction`);
  assert.deepEqual([transfer.amount, transfer.destination, transfer.source_transaction.id], [10000, HOST, charge.id]);
  const { destination_payment: payment } = transfer;
  assert.match(payment.id, /^py_/);
  assert.deepEqual([payment.amount, payment.source_transfer, payment.application_fee], [10000, transfer.id, charge.application_fee]);
  assert.deepEqual(payment.balance_transaction.fee_details, [
    { amount: 1250, application: 'ca_local', currency: 'usd', description: 'Local Stripe application fee', type: 'application_fee' },
  ]);
  assert.equal((await client.get(`/v1/charges/${payment.id}`, as(HOST))).body.id, payment.id);
  assertError(await client.get(`/v1/charges/${payment.id}`), 404, { code: 'resource_missing' });
  const { body: fee } = await client.get(`/v1/application_fees/${charge.application_fee}`);
  assert.deepEqual([fee.account, fee.amount, fee.charge, fee.originating_transaction], [HOST, 1250, payment.id, charge.id]);
  assert.deepEqual((await client.get(`/v1/application_fees?charge=${payment.id}`)).body.data, [fee]);
  assert.deepEqual(eventTypes(app).slice(-4), ['transfer.created', 'application_fee.created', 'charge.succeeded', 'payment_intent.succeeded']);
});

test('what a list holds is expanded, also what another account has', async (t) => {
  const { client } = await newStripe(t);
  const { latest_charge: charge } = await sold(client);
  await client.post('/v1/refunds', { charge: charge.id, reverse_transfer: true });
  const { body: list } = await client.get('/v1/balance_transactions?expand[]=data.source&limit=5');
  assert.deepEqual(
    list.data.map(({ source }) => source.object),
    ['refund', 'transfer_reversal', 'application_fee', 'transfer', 'charge'],
  );
  const { body: own } = await client.get('/v1/balance_transactions?expand[]=data.source.source_transfer', as(HOST));
  assert.equal(own.data[1].source.source_transfer.id, charge.transfer);
  const paths = ['latest_charge.transfer.reversals.data.destination_payment_refund', 'latest_charge.application_fee.balance_transaction', 'latest_charge.refunds'];
  const { body: intent } = await client.get(`/v1/payment_intents/${charge.payment_intent}?${paths.map((path) => `expand[]=${path}`).join('&')}`);
  const { transfer, application_fee: fee, refunds } = intent.latest_charge;
  assert.match(transfer.reversals.data[0].destination_payment_refund.id, /^pyr_/);
  assert.equal(fee.balance_transaction.net, 1250);
  assert.equal(refunds.data[0].charge, charge.id);
});

test('a part of the amount may be sent instead, and nothing at all', async (t) => {
  const { client } = await newStripe(t);
  await sold(client, { application_fee_amount: undefined, transfer_data: { amount: 8000, destination: HOST } });
  assert.deepEqual((await booked(client)).slice(1), [['transfer', -8000, 0, -8000]]);
  assert.deepEqual(await booked(client, HOST), [['payment', 8000, 0, 8000]]);
  const { body: plain } = await client.post('/v1/payment_intents', INTENT);
  await client.control('POST', 'pay', { payment_intent: plain.id });
  const { latest_charge: charge } = (await client.get(`/v1/payment_intents/${plain.id}?expand[]=latest_charge`)).body;
  assert.deepEqual([charge.transfer, charge.application_fee, charge.transfer_group], [undefined, null, null]);
  const [platform] = await sums(client);
  assert.equal(platform.balance, 10000 - 320 - 8000 + 2500 - 103);
});

test("Stripe's fee is what it is set to be", async (t) => {
  const { client } = await newStripe(t);
  await client.control('POST', 'money', { fee_percent: 1.5, fee_fixed: 25 });
  await sold(client);
  assert.deepEqual((await booked(client))[0], ['charge', 10000, 175, 9825]);
  await client.control('POST', 'money', { fee_percent: 0, fee_fixed: 0 });
  await sold(client);
  assert.deepEqual((await client.get('/v1/balance_transactions?type=charge&limit=1')).body.data[0].fee_details, []);
  for (const wrong of [{ fee_percent: -1 }, { fee: 1 }, { reversals: 'maybe' }, { fee_fixed: 0.5 }, { account: HOST, fee_fixed: 1 }]) {
    assertError(await client.call('POST', '/_control/money', { raw: JSON.stringify(wrong) }), 400);
  }
  await client.control('POST', 'reset');
  assert.equal((await client.control('GET', 'money')).fee_percent, 2.9);
});

test('an account that charges for itself pays the application fee itself', async (t) => {
  const { client } = await newStripe(t);
  await client.control('POST', 'account', { account: HOST, become: 'enabled' });
  const options = as(HOST);
  const { body: made } = await client.post('/v1/payment_intents', { ...INTENT, amount: 10000, confirm: true, payment_method: 'pm_card_visa', on_behalf_of: HOST, application_fee_amount: 500 }, options);
  assert.deepEqual(await booked(client, HOST), [['charge', 10000, 820, 9180]]);
  assert.deepEqual(await booked(client), [['application_fee', 500, 0, 500]]);
  await client.post('/v1/refunds', { payment_intent: made.id, amount: 5000, refund_application_fee: true }, options);
  assert.deepEqual((await booked(client, HOST))[1], ['refund', -5000, -250, -4750]);
  assert.deepEqual((await booked(client))[1], ['application_fee_refund', -250, 0, -250]);
  await sums(client);
});

test('a refund takes back from the account, and gives back of the fee, in proportion', async (t) => {
  const { client, app } = await newStripe(t);
  const { latest_charge: charge } = await sold(client, { amount: 9999, application_fee_amount: 1000 });
  const back = { charge: charge.id, reverse_transfer: true, refund_application_fee: true };
  const { body: first } = await client.post('/v1/refunds', { ...back, amount: 3333 });
  assert.deepEqual((await booked(client)).slice(3), [
    ['transfer_refund', 3333, 0, 3333],
    ['application_fee_refund', -333, 0, -333],
    ['refund', -3333, 0, -3333],
  ]);
  assert.deepEqual((await booked(client, HOST)).slice(1), [['payment_refund', -3333, -333, -3000]]);
  assert.deepEqual(eventTypes(app).slice(-5), ['transfer.reversed', 'application_fee.refunded', 'refund.created', 'charge.refunded', 'refund.updated']);
  const { body: reversal } = await client.get(`/v1/transfers/${charge.transfer}/reversals/${first.transfer_reversal}?expand[]=destination_payment_refund`);
  assert.deepEqual([reversal.amount, reversal.source_refund, reversal.transfer], [3333, first.id, charge.transfer]);
  assert.deepEqual(
    [reversal.destination_payment_refund.amount, reversal.destination_payment_refund.source_transfer_reversal],
    [3333, reversal.id],
  );
  for (let rest = 2; rest > 0; rest--) await client.post('/v1/refunds', { ...back, amount: 3333 });
  const { body: fee } = await client.get(`/v1/application_fees/${charge.application_fee}`);
  assert.deepEqual([fee.amount_refunded, fee.refunded, fee.refunds.data.map(({ amount }) => amount)], [1000, true, [333, 334, 333]]);
  assert.match(fee.refunds.data[0].id, /^fr_/);
  assert.deepEqual((await client.get(`/v1/application_fees/${fee.id}/refunds?limit=1`)).body.data, fee.refunds.data.slice(0, 1));
  assert.deepEqual((await client.get(`/v1/application_fees/${fee.id}/refunds/${fee.refunds.data[2].id}`)).body, fee.refunds.data[2]);
  const { body: transfer } = await client.get(`/v1/transfers/${charge.transfer}`);
  assert.deepEqual([transfer.amount_reversed, transfer.reversed, transfer.reversals.total_count], [9999, true, 3]);
  const [platform, host] = await sums(client);
  assert.deepEqual([platform.balance, host.balance], [-320, 0]);
});

test('each of the two can be left out', async (t) => {
  const { client } = await newStripe(t);
  const { latest_charge: plain } = await sold(client);
  const { body: kept } = await client.post('/v1/refunds', { charge: plain.id, amount: 4000 });
  assert.equal(kept.transfer_reversal, null);
  assert.deepEqual((await booked(client)).slice(3), [['refund', -4000, 0, -4000]]);
  const { latest_charge: onlyTransfer } = await sold(client);
  await client.post('/v1/refunds', { charge: onlyTransfer.id, amount: 4000, reverse_transfer: true });
  assert.deepEqual((await booked(client, HOST)).at(-1), ['payment_refund', -4000, 0, -4000]);
  const { latest_charge: onlyFee } = await sold(client);
  await client.post('/v1/refunds', { charge: onlyFee.id, amount: 4000, refund_application_fee: true });
  assert.deepEqual((await booked(client)).slice(-2), [['application_fee_refund', -500, 0, -500], ['refund', -4000, 0, -4000]]);
  assert.deepEqual((await booked(client, HOST)).at(-1), ['adjustment', 500, 0, 500]);
  const [, host] = await sums(client);
  assert.deepEqual([host.refunds, host.application_fee_refunds], [-4000, 500]);
});

test('shares of a whole add up to it', () => {
  for (const [part, whole] of [[1000, 9999], [1, 4], [333, 10000], [7, 7], [0, 50]]) {
    let given = 0;
    for (let before = 0; before < whole; before += 3) given += shareOf(part, before, 3, whole);
    assert.equal(given, part);
    assert.equal(shareOf(part, 0, whole, whole), part);
  }
});

test('a refund that fails gives its amount back to the platform, and the account keeps what it has', async (t) => {
  const { client } = await newStripe(t);
  const { latest_charge: charge } = await sold(client);
  const back = { charge: charge.id, reverse_transfer: true, refund_application_fee: true };
  const { body: made } = await client.post('/v1/refunds', { ...back, amount: 4000 });
  const failed = await client.control('POST', 'settle', { refund: made.id, outcome: 'failed', reason: 'declined' });
  assert.deepEqual((await booked(client)).at(-1), ['refund_failure', 4000, 0, 4000]);
  assert.equal(failed.transfer_reversal, made.transfer_reversal);
  const { body: after } = await client.get(`/v1/refunds/${made.id}?expand[]=failure_balance_transaction&expand[]=balance_transaction`);
  assert.deepEqual([after.balance_transaction.amount, after.failure_balance_transaction.amount], [-4000, 4000]);
  assert.equal((await client.get(`/v1/charges/${charge.id}`)).body.amount_refunded, 0);
  const [platform, host] = await sums(client);
  assert.deepEqual([platform.balance, host.balance], [930 + 4000 - 500, 8750 - 3500]);
  // Of the transfer, 6000 can be reversed still.
  assertError(await client.post('/v1/refunds', back), 400, { param: 'amount' });
  assert.equal((await client.post('/v1/refunds', { ...back, amount: 6000 })).status, 200);
  assert.equal((await client.post('/v1/refunds', { charge: charge.id })).body.amount, 4000);
  const [, emptied] = await sums(client);
  assert.equal(emptied.balance, 0);
});

test('a reversal may need a balance that covers it, and then nothing happens without', async (t) => {
  const { client, app } = await newStripe(t);
  const { latest_charge: charge } = await sold(client);
  await client.control('POST', 'money', { account: HOST, reversals: 'checked' });
  app.clock.set({ advance: 2 * DAY });
  await client.control('POST', 'payout', { account: HOST });
  const events = app.store.events.size;
  const before = await sums(client);
  const back = { charge: charge.id, amount: 4000, reverse_transfer: true, refund_application_fee: true };
  const error = assertError(await client.post('/v1/refunds', back), 400, { code: 'balance_insufficient', type: 'invalid_request_error' });
  assert.match(error.message, /^Insufficient funds in the connected account/);
  assertError(await client.post(`/v1/transfers/${charge.transfer}/reversals`), 400, { code: 'balance_insufficient' });
  assert.deepEqual(await sums(client), before);
  assert.deepEqual([app.store.events.size, app.store.refunds.size], [events, 0]);
  assert.equal((await client.get(`/v1/charges/${charge.id}`)).body.amount_refunded, 0);
  // Without it, the platform pays.
  assert.equal((await client.post('/v1/refunds', { charge: charge.id, amount: 1000 })).status, 200);
  await sold(client);
  assert.equal((await client.post('/v1/refunds', back)).status, 200);
  await client.control('POST', 'money', { account: HOST, reversals: 'refused' });
  assertError(await client.post('/v1/refunds', { ...back, amount: 1 }), 400, { code: 'balance_insufficient' });
  await client.control('POST', 'money', { account: HOST, reversals: 'allowed' });
  assert.equal((await client.post('/v1/refunds', { ...back, amount: 1 })).status, 200);
  await client.control('POST', 'money', { reversals: 'refused' });
  assert.equal((await client.post('/v1/refunds', { ...back, amount: 1 })).status, 200);
});

test('the dashboard refunds as a call does', async (t) => {
  const { client } = await newStripe(t);
  const { id, latest_charge: charge } = await sold(client);
  const made = await client.control('POST', 'refund', { payment_intent: id, amount: 2000, reverse_transfer: true, refund_application_fee: true });
  assert.deepEqual([made.metadata, made.reason], [{}, null]);
  assert.match(made.transfer_reversal, /^trr_/);
  assert.equal((await client.get(`/v1/application_fees/${charge.application_fee}`)).body.amount_refunded, 250);
  assert.equal((await client.control('POST', 'refund', { charge: charge.id })).transfer_reversal, null);
  await sums(client);
});

test('transfers are made, found and reversed by themselves', async (t) => {
  const { client, app } = await newStripe(t);
  const { latest_charge: charge } = await sold(client);
  const wanted = { amount: 700, currency: 'usd', destination: HOST, transfer_group: 'order_7', metadata: { order_id: 'o7' } };
  const { body: made } = await client.post('/v1/transfers', wanted, { idempotencyKey: 'k1' });
  assert.deepEqual([made.amount, made.destination, made.source_transaction, made.metadata], [700, HOST, null, { order_id: 'o7' }]);
  assert.equal((await client.post('/v1/transfers', wanted, { idempotencyKey: 'k1' })).body.id, made.id);
  assert.deepEqual((await client.get('/v1/transfers?transfer_group=order_7')).body.data, [made]);
  assert.equal((await client.get(`/v1/transfers?destination=${HOST}`)).body.data.length, 2);
  assert.deepEqual((await client.get(`/v1/transfers?destination=${HOST}&created[lt]=${made.created}&limit=1`)).body.data.length, 0);
  const { body: again } = await client.post('/v1/transfers', { ...wanted, transfer_group: charge.transfer_group, source_transaction: charge.id });
  assert.equal(again.source_transaction, charge.id);
  assertError(await client.post('/v1/transfers', { ...wanted, destination: 'nobody' }), 400, { code: 'resource_missing' });
  assertError(await client.post('/v1/transfers', { ...wanted, destination: app.account.id }), 400, { param: 'destination' });
  assertError(await client.post('/v1/transfers', { ...wanted, source_type: 'card' }), 400, { code: 'parameter_unknown' });

  const { body: part } = await client.post(`/v1/transfers/${made.id}/reversals`, { amount: 200, metadata: { why: 'x' } });
  assert.deepEqual([part.object, part.amount, part.source_refund, part.metadata], ['transfer_reversal', 200, null, { why: 'x' }]);
  assertError(await client.post(`/v1/transfers/${made.id}/reversals`, { amount: 501 }), 400, { param: 'amount' });
  assert.equal((await client.post(`/v1/transfers/${made.id}/reversals`)).body.amount, 500);
  assertError(await client.post(`/v1/transfers/${made.id}/reversals`), 400);
  assert.deepEqual((await client.get(`/v1/transfers/${made.id}/reversals`)).body.data.map(({ amount }) => amount), [500, 200]);
  await client.post(`/v1/transfers/${charge.transfer}/reversals`, { amount: 5000, refund_application_fee: true });
  assert.equal((await client.get(`/v1/application_fees/${charge.application_fee}`)).body.amount_refunded, 625);
  const [, host] = await sums(client);
  assert.equal(host.balance, 8750 + 700 - (5000 - 625));
  await client.control('POST', 'money', { transfers: 'checked' });
  assertError(await client.post('/v1/transfers', wanted), 400, { code: 'balance_insufficient' });
});

test('a fee is given back by itself', async (t) => {
  const { client } = await newStripe(t);
  const { latest_charge: charge } = await sold(client);
  const path = `/v1/application_fees/${charge.application_fee}/refunds`;
  const { body: part } = await client.post(path, { amount: 250, metadata: { why: 'x' } });
  assert.deepEqual([part.object, part.amount, part.fee], ['fee_refund', 250, charge.application_fee]);
  assert.deepEqual((await booked(client)).at(-1), ['application_fee_refund', -250, 0, -250]);
  assert.deepEqual((await booked(client, HOST)).at(-1), ['adjustment', 250, 0, 250]);
  assertError(await client.post(path, { amount: 1001 }), 400, { param: 'amount' });
  assert.equal((await client.post(path)).body.amount, 1000);
  assertError(await client.post(path), 400);
  const [platform, host] = await sums(client);
  assert.deepEqual([platform.balance, host.balance], [-320, 10000]);
});

test('money is pending for two days, and what is taken meanwhile is taken from it', async (t) => {
  const { client, app } = await newStripe(t);
  const { latest_charge: charge } = await sold(client);
  await client.post('/v1/refunds', { charge: charge.id, amount: 1000, reverse_transfer: true });
  const [before] = await sums(client);
  assert.deepEqual([before.available, before.pending], [0, 930]);
  app.clock.set({ advance: 2 * DAY - 10 });
  assert.equal((await sums(client))[1].available, 0);
  app.clock.set({ advance: 11 });
  const [platform, host] = await sums(client);
  assert.deepEqual([platform.available, platform.pending, host.available, host.pending], [930, 0, 7750, 0]);
  const { body } = await client.get(`/v1/balance_transactions/${charge.balance_transaction}`);
  assert.deepEqual([body.status, body.available_on - body.created], ['available', 2 * DAY]);
  await client.control('POST', 'money', { available_after: 0 });
  await sold(client);
  assert.equal((await sums(client))[1].available, 7750 + 8750);
});

test('lists are filtered, and turned page by page, also as the account', async (t) => {
  const { client, app } = await newStripe(t);
  const charges = [];
  for (let i = 0; i < 7; i++) {
    charges.push((await sold(client)).latest_charge);
    app.clock.set({ advance: 100 });
  }
  for (const { id } of charges) await client.post('/v1/refunds', { charge: id, amount: 100, reverse_transfer: true });
  const all = async (path, options) => {
    const seen = [];
    for (let after = ''; ; ) {
      const { body } = await client.get(`${path}limit=2${after}`, options);
      seen.push(...body.data);
      if (!body.has_more) return seen;
      after = `&starting_after=${body.data.at(-1).id}`;
    }
  };
  assert.equal((await all('/v1/balance_transactions?')).length, 35);
  assert.equal((await all('/v1/balance_transactions?type=transfer&')).length, 7);
  assert.equal((await all('/v1/balance_transactions?', as(HOST))).length, 14);
  assert.equal((await all('/v1/balance_transactions?type=payment_refund&', as(HOST))).length, 7);
  const { created } = charges[3];
  const times = (list) => list.map((item) => item.created);
  assert.deepEqual(times(await all(`/v1/charges?created[gt]=${created}&`)), times(charges.slice(4).reverse()));
  assert.deepEqual(times(await all(`/v1/charges?created[gte]=${created}&created[lt]=${charges[5].created}&`)), times(charges.slice(3, 5).reverse()));
  assert.equal((await all(`/v1/charges?created=${created}&`)).length, 1);
  assert.equal((await all(`/v1/balance_transactions?type=charge&created[lte]=${created}&`)).length, 4);
  assert.equal((await all('/v1/charges?', as(HOST))).length, 7);
  assert.equal((await all('/v1/refunds?', as(HOST))).length, 7);
  assert.deepEqual((await all(`/v1/refunds?charge=${charges[2].id}&`)).map(({ charge }) => charge), [charges[2].id]);
  assert.equal((await all(`/v1/balance_transactions?source=${charges[2].id}&`)).length, 1);
  assert.equal((await all('/v1/payment_intents?')).length, 7);
  const types = 'types[]=refund.created&types[]=transfer.reversed&';
  const events = await all(`/v1/events?${types}`);
  assert.equal(events.length, 14);
  assert.deepEqual(events, (await client.get(`/v1/events?${types}limit=100`)).body.data);
  const { body: back } = await client.get(`/v1/events?${types}ending_before=${events[9].id}&limit=3`);
  assert.deepEqual(back.data, events.slice(6, 9));
  assert.equal((await all('/v1/events?type=transfer.*&')).length, 14);
  assertError(await client.get('/v1/balance_transactions?limit=101'), 400, { code: 'parameter_invalid_integer' });
  assertError(await client.get(`/v1/charges?starting_after=${charges[0].id}`, as(HOST)), 400, { code: 'resource_missing' });
});

test('a clock that was put back leaves no list out of order', async (t) => {
  const { client, app } = await newStripe(t);
  const first = await sold(client);
  app.clock.set({ advance: -1000 });
  const second = await sold(client);
  const { body } = await client.get(`/v1/charges?created[lt]=${first.created}`);
  assert.deepEqual(body.data.map(({ id }) => id), [second.latest_charge.id]);
});
