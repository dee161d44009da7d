// Whatever happens to many sales, in whatever order: no cent comes from nowhere. And ten thousand of them are no slower than ten.
import assert from 'node:assert/strict';
import test from 'node:test';
import { onAccount } from './connect.mjs';
import { callDirectly } from './direct.mjs';
import { invalid } from './errors.mjs';
import { knowAccount } from './resources/accounts.mjs';
import { pay } from './resources/payment_states.mjs';
import { moveDispute, openDispute } from './resources/disputes.mjs';
import { movePayout, payOut } from './resources/payouts.mjs';
import { refund, settleRefund } from './resources/refunds.mjs';
import { addPaymentIntent } from './resources/payment_intents.mjs';
import { createApp } from './stripe.mjs';
import { describeSums } from './sums.mjs';
import { encodeForm } from './support.mjs';

const HOSTS = ['acct_1a', 'acct_1b', 'acct_1c'];

// A call with a form as an object.
const call = (app, method, path, form, headers) => callDirectly(app, method, path, form && encodeForm(form), headers);

function sell(app, destination, amount, fee) {
  const fields = { amount, application_fee_amount: fee, currency: 'usd', transfer_data: { destination } };
  const intent = addPaymentIntent(app, fields, null);
  return app.store.charges.get(pay(app, intent).latest_charge);
}

// Numbers that follow from the seed.
function randomOf(seed) {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}

for (const seed of [1, 2, 3]) {
  test(`no cent is lost or made in whatever order (seed ${seed})`, () => {
    const app = createApp();
    const random = randomOf(seed);
    const any = (list) => {
      if (list.length === 0) throw invalid('There is none yet.');
      return list[random(list.length)];
    };
    for (const id of HOSTS) knowAccount(app, id);
    const charges = [];
    const steps = [
      () => charges.push(sell(app, any(HOSTS), 50 + random(20000), random(50)).id),
      () => charges.push(sell(app, any(HOSTS), 50 + random(20000), random(50)).id),
      () => {
        const charge = app.store.charges.get(any(charges));
        const left = charge.amount - charge.amount_refunded;
        const params = { amount: 1 + random(left), reverse_transfer: random(3) > 0, refund_application_fee: random(3) > 0 && charge.application_fee !== null };
        refund(app, charge, params);
      },
      () => settleRefund(app, any([...app.store.refunds]), { outcome: 'failed' }),
      () => openDispute(app, { charge: any(charges) }),
      () => moveDispute(app, any([...app.store.disputes]), any(['under_review', 'won', 'lost'])),
      () => payOut(onAccount(app, any(HOSTS)), {}),
      () => payOut(app, { amount: 1 + random(500) }),
      () => {
        const on = onAccount(app, any(HOSTS));
        movePayout(on, any([...on.store.payouts]), { become: any(['in_transit', 'paid', 'failed']) });
      },
      () => call(app, 'POST', `/v1/transfers/${any([...app.store.transfers]).id}/reversals`, { amount: 1 + random(300) }),
      () => call(app, 'POST', '/v1/transfers', { amount: 1 + random(300), currency: 'usd', destination: any(HOSTS) }),
      () => call(app, 'POST', `/v1/application_fees/${any([...app.store.application_fees]).id}/refunds`, { amount: 1 + random(9) }),
      () => app.clock.set({ advance: random(86400) }),
    ];
    for (let i = 0; i < 3000; i++) {
      try {
        any(steps)();
      } catch (error) {
        // What Stripe refuses; anything else is an error here.
        if (error.status !== 400) throw error;
      }
    }
    assert.ok(app.store.refunds.size > 50 && app.store.disputes.size > 50 && app.store.transfer_reversals.size > 50);
    const { platform, accounts } = describeSums(app);
    const total = (name) => Object.values(accounts).reduce((sum, account) => sum + (account.usd?.[name] ?? 0), 0);
    // Between the accounts it comes to nothing …
    assert.equal(total('transfers') + total('payments'), 0);
    assert.equal(total('application_fees'), 0);
    assert.equal(total('application_fee_refunds'), 0);
    const { reversals } = accounts[platform].usd;
    const taken = HOSTS.reduce((sum, id) => sum + (accounts[id]?.usd.refunds ?? 0), 0);
    assert.equal(reversals + taken, 0);
    // … and the objects say what the balance transactions do.
    const sumOf = (collection, member, fits = () => true) => [...app.store[collection]].filter(fits).reduce((sum, item) => sum + item[member], 0);
    assert.equal(reversals, sumOf('transfers', 'amount_reversed'));
    assert.equal(accounts[platform].usd.application_fee_refunds, -sumOf('application_fees', 'amount_refunded'));
    assert.equal(accounts[platform].usd.refunds + accounts[platform].usd.refund_failures, -sumOf('charges', 'amount_refunded'));
    assert.equal(accounts[platform].usd.charges, sumOf('charges', 'amount'));
    for (const transfer of app.store.transfers) assert.ok(transfer.amount_reversed <= transfer.amount);
    for (const fee of app.store.application_fees) assert.ok(fee.amount_refunded <= fee.amount);
    for (const id of [platform, ...HOSTS]) {
      const on = onAccount(app, id);
      const { available, pending } = on.ledger.balance('usd');
      assert.deepEqual([available, pending], [accounts[id].usd.available, accounts[id].usd.pending]);
      // What an automatic payout contains comes to nothing.
      for (const payout of on.store.payouts) {
        if (!payout.automatic) continue;
        const { body } = call(app, 'GET', `/v1/balance_transactions?payout=${payout.id}&limit=100`, undefined, { 'stripe-account': id });
        if (!body.has_more) assert.equal(body.data.reduce((sum, { net }) => sum + net, 0), 0);
      }
    }
    app.clock.clear();
  });
}

test('ten thousand sales are no slower than a few', () => {
  const app = createApp();
  // The least of a few goes, in milliseconds per call.
  const paceOf = (count, action) => {
    let best = Infinity;
    for (let go = 0; go < 5; go++) {
      const begun = performance.now();
      for (let i = 0; i < count; i++) action(i);
      best = Math.min(best, (performance.now() - begun) / count);
    }
    return best;
  };
  const sample = () => {
    const charges = [...app.store.charges].filter((_, i, all) => i % Math.ceil(all.length / 40) === 0);
    const { created } = charges[0];
    const lists = [
      ...charges.map(({ id }) => `/v1/refunds?charge=${id}`),
      ...charges.map(({ payment_intent: id }) => `/v1/charges?payment_intent=${id}`),
      ...charges.map(({ payment_intent: id }) => `/v1/disputes?payment_intent=${id}`),
      ...charges.map(({ id }) => `/v1/balance_transactions?source=${id}&expand[]=data.source`),
      ...charges.map(({ transfer }) => `/v1/transfers/${transfer}/reversals`),
      `/v1/balance_transactions?type=refund&limit=10`,
      `/v1/balance_transactions?created[lt]=${created}&limit=10`,
      '/v1/events?type=account.updated',
      '/v1/events?types[]=charge.refunded&types[]=refund.created',
      '/v1/balance',
    ];
    return paceOf(lists.length, (i) => assert.equal(call(app, 'GET', lists[i]).status, 200));
  };
  let refunded = 0;
  const refunds = () => {
    const charges = [...app.store.charges];
    return paceOf(20, () => refund(app, charges[refunded++], { refund_application_fee: true, reverse_transfer: true }));
  };
  // Of each sale, when all their money becomes available at once.
  const arrival = (sales) => {
    const begun = performance.now();
    app.clock.set({ advance: 3 * 86400 });
    assert.equal(app.ledger.balance('usd').pending, 0);
    return (performance.now() - begun) / sales;
  };
  for (let i = 0; i < 100; i++) sell(app, HOSTS[i % 3], 1000 + i, 100);
  const few = { list: sample(), refund: refunds(), arrival: arrival(100) };
  for (let i = 0; i < 9900; i++) sell(app, HOSTS[i % 3], 1000 + i, 100);
  const many = { list: sample(), refund: refunds(), arrival: arrival(9900) };
  for (const what in few) assert.ok(many[what] < few[what] * 5 + 0.2, `${what}: ${few[what]} ms of 100, ${many[what]} ms of 10,000`);
  app.clock.clear();
});
