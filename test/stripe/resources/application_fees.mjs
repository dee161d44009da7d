// /v1/application_fees: what the platform keeps of a payment to a connected account, and what of that it gives back.
import { scopeOf } from '../connect.mjs';
import { invalid, noSuch } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { written } from '../money.mjs';
import { integer, mergeMetadata, metadata, paging, string, timeRange } from '../params.mjs';

const SHOWN = 10;

// Books a fee on the platform. `charge` is the account's own, `originating` the platform's.
export function addFee(app, { account, amount, availableOn, charge, currency, id, originating }, call) {
  const entry = app.ledger.post({ amount, availableOn, currency, source: id, type: 'application_fee' });
  const fee = app.store.application_fees.add({
    id,
    object: 'application_fee',
    account,
    amount,
    amount_refunded: 0,
    application: 'ca_local',
    balance_transaction: entry.id,
    charge,
    created: app.clock.seconds(),
    currency,
    fee_source: { charge, type: 'charge' },
    livemode: false,
    originating_transaction: originating,
    refunded: false,
    refunds: { object: 'list', data: [], has_more: false, total_count: 0, url: `/v1/application_fees/${id}/refunds` },
  });
  app.events.emit('application_fee.created', fee, call);
  return fee;
}

// Gives `amount` of a fee back. Unless a refund of the account's own payment carries it, it comes to the account by itself.
export function refundFee(app, fee, { amount, carried = false, metadata: given }, call) {
  const { currency } = fee;
  const id = newId.feeRefund();
  const availableOn = app.store.balance_transactions.get(fee.balance_transaction).available_on;
  const entry = app.ledger.post({ amount: -amount, availableOn, currency, source: id, type: 'application_fee_refund' });
  if (!carried) {
    const description = `Application fee refund for ${fee.charge}`;
    scopeOf(app, fee.account).ledger.post({ amount, availableOn, category: 'fee', currency, description, source: id, type: 'adjustment' });
  }
  const made = app.store.fee_refunds.add(
    {
      id,
      object: 'fee_refund',
      amount,
      balance_transaction: entry.id,
      created: app.clock.seconds(),
      currency,
      fee: fee.id,
      metadata: mergeMetadata({}, given),
    },
    call?.idempotencyKey,
  );
  const refunded = fee.amount_refunded + amount;
  const all = app.store.fee_refunds.having('fee', fee.id);
  const after = app.store.application_fees.put({
    ...fee,
    amount_refunded: refunded,
    refunded: refunded === fee.amount,
    refunds: { ...fee.refunds, data: all.slice(-SHOWN).reverse(), has_more: all.length > SHOWN, total_count: all.length },
  });
  app.events.emit('application_fee.refunded', after, call, { amount_refunded: fee.amount_refunded, refunded: fee.refunded });
  return made;
}

function createRefund(app, call) {
  const fee = app.store.application_fees.need(call.id);
  const left = fee.amount - fee.amount_refunded;
  if (left === 0) throw invalid(`Application fee ${fee.id} has already been refunded.`);
  const { amount = left, metadata: given } = call.params;
  if (amount > left) {
    throw invalid(`Refund amount (${written(amount, fee.currency)}) is greater than unrefunded amount on fee (${written(left, fee.currency)})`, {
      param: 'amount',
    });
  }
  return refundFee(app, fee, { amount, metadata: given }, call);
}

const list = (app, { params }) => app.store.application_fees.page(params, { charge: params.charge, created: params.created });

function listRefunds(app, call) {
  const { id } = app.store.application_fees.need(call.id);
  return { ...app.store.fee_refunds.page(call.params, { fee: id }), url: `/v1/application_fees/${id}/refunds` };
}

function refundOf(app, { ids: [feeId, id] }) {
  const made = app.store.fee_refunds.need(id);
  if (made.fee !== feeId) throw noSuch('fee_refund', id, 'id');
  return made;
}

const refundParams = { amount: integer({ min: 1 }), metadata };

export const endpoints = [
  { method: 'GET', path: '/v1/application_fees', params: { ...paging, charge: string(), created: timeRange }, run: list },
  { method: 'GET', path: '/v1/application_fees/:id', run: (app, call) => app.store.application_fees.need(call.id) },
  { method: 'POST', path: '/v1/application_fees/:id/refunds', params: refundParams, run: createRefund },
  { method: 'GET', path: '/v1/application_fees/:id/refunds', params: paging, run: listRefunds },
  { method: 'GET', path: '/v1/application_fees/:id/refunds/:id', run: refundOf },
];
