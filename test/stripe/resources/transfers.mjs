// /v1/transfers and their reversals: money from the platform to a connected account, and back.
// The other end of a transfer is a payment of that account (payments.mjs).
import { scopeOf } from '../connect.mjs';
import { invalid, noSuch } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { shareOf, written } from '../money.mjs';
import { boolean, clearable, currency, integer, mergeMetadata, metadata, paging, required, string, timeRange } from '../params.mjs';
import { checkDestination, knowAccount } from './accounts.mjs';
import { refundFee } from './application_fees.mjs';
import { addPayment, refundPayment } from './payments.mjs';

const SHOWN = 10;

// Moves money to an account. `charge` is what it comes from, if it does, and `fee` what is kept there for the platform.
export function addTransfer(app, { amount, charge = null, fee = null, currency: inCurrency, description = null, destination, group = null, metadata: given }, call) {
  knowAccount(app, destination);
  const id = newId.transfer();
  const payment = newId.payment();
  const availableOn = charge === null ? 0 : app.store.balance_transactions.get(charge.balance_transaction).available_on;
  const entry = app.ledger.post({ amount: -amount, availableOn, currency: inCurrency, description, source: id, type: 'transfer' });
  const transfer = app.store.transfers.add(
    {
      id,
      object: 'transfer',
      amount,
      amount_reversed: 0,
      balance_transaction: entry.id,
      created: app.clock.seconds(),
      currency: inCurrency,
      description,
      destination,
      destination_payment: payment,
      livemode: false,
      metadata: mergeMetadata({}, given),
      reversals: { object: 'list', data: [], has_more: false, total_count: 0, url: `/v1/transfers/${id}/reversals` },
      reversed: false,
      source_transaction: charge?.id ?? null,
      source_type: 'card',
      transfer_group: group,
    },
    call?.idempotencyKey,
  );
  addPayment(scopeOf(app, destination), { availableOn, fee, id: payment, transfer });
  app.events.emit('transfer.created', transfer, call);
  return transfer;
}

// Refuses a reversal that goes beyond the transfer or, where that is the rule, beyond what the account has.
export function checkReversal(app, transfer, amount, feeBack = 0) {
  const left = transfer.amount - transfer.amount_reversed;
  if (amount > left) {
    throw invalid(
      `Transfer reversal amount (${written(amount, transfer.currency)}) is greater than unreversed amount on transfer (${written(left, transfer.currency)})`,
      { param: 'amount' },
    );
  }
  const rule = app.money.reversalsOf(transfer.destination);
  if (rule === 'allowed') return;
  const { available, pending } = scopeOf(app, transfer.destination).ledger.balance(transfer.currency);
  if (rule === 'checked' && available + pending >= amount - feeBack) return;
  throw invalid(`Insufficient funds in the connected account (${transfer.destination}) to reverse transfer ${transfer.id}.`, {
    code: 'balance_insufficient',
  });
}

// Takes money back from an account, of which `feeBack` is a fee that the platform returns with it.
export function reverse(app, transfer, { amount, feeBack = 0, metadata: given, refund = null }, call) {
  const to = scopeOf(app, transfer.destination);
  const id = newId.transferReversal();
  const payment = to.store.charges.get(transfer.destination_payment);
  const { id: paymentRefund } = refundPayment(to, payment, { amount, feeBack, reversal: id });
  const entry = app.ledger.post({
    amount,
    availableOn: app.store.balance_transactions.get(transfer.balance_transaction).available_on,
    currency: transfer.currency,
    source: id,
    type: 'transfer_refund',
  });
  const made = app.store.transfer_reversals.add(
    {
      id,
      object: 'transfer_reversal',
      amount,
      balance_transaction: entry.id,
      created: app.clock.seconds(),
      currency: transfer.currency,
      destination_payment_refund: paymentRefund,
      metadata: mergeMetadata({}, given),
      source_refund: refund,
      transfer: transfer.id,
    },
    call?.idempotencyKey,
  );
  const reversed = transfer.amount_reversed + amount;
  const all = app.store.transfer_reversals.having('transfer', transfer.id);
  const after = app.store.transfers.put({
    ...transfer,
    amount_reversed: reversed,
    reversals: { ...transfer.reversals, data: all.slice(-SHOWN).reverse(), has_more: all.length > SHOWN, total_count: all.length },
    reversed: reversed === transfer.amount,
  });
  app.events.emit('transfer.reversed', after, call, { amount_reversed: transfer.amount_reversed, reversed: transfer.reversed });
  return made;
}

function create(app, call) {
  const { amount, currency: inCurrency, description, destination, metadata: given, source_transaction: source, transfer_group: group } = call.params;
  if (!/^acct_\w+$/.test(destination)) throw invalid(`No such destination: '${destination}'`, { code: 'resource_missing', param: 'destination' });
  if (destination === app.accountId) throw invalid('Cannot create transfers to your own account.', { param: 'destination' });
  checkDestination(app, destination, 'destination');
  const charge = source === undefined ? null : app.store.charges.need(source, 'source_transaction');
  if (charge !== null && !charge.paid) throw invalid(`Charge ${charge.id} has not succeeded.`, { param: 'source_transaction' });
  if (charge !== null && charge.transfer_group !== null && group !== undefined && group !== charge.transfer_group) {
    throw invalid('You may not set the transfer_group of a transfer that differs from that of its source_transaction.', { param: 'transfer_group' });
  }
  const rule = app.money.transfers;
  const short = rule === 'refused' || (rule === 'checked' && charge === null && app.ledger.balance(inCurrency).available < amount);
  if (short) throw invalid('You have insufficient available funds in your Stripe account.', { code: 'balance_insufficient' });
  const wanted = { amount, charge, currency: inCurrency, description, destination, group: group ?? charge?.transfer_group, metadata: given };
  return addTransfer(app, wanted, call);
}

function update(app, call) {
  const before = app.store.transfers.need(call.id);
  const { description = before.description, metadata: given } = call.params;
  const after = app.store.transfers.put({ ...before, description, metadata: mergeMetadata(before.metadata, given) });
  app.events.emit('transfer.updated', after, call, { description: before.description, metadata: before.metadata });
  return after;
}

function createReversal(app, call) {
  const transfer = app.store.transfers.need(call.id);
  const left = transfer.amount - transfer.amount_reversed;
  const { amount = left, metadata: given, refund_application_fee: withFee = false } = call.params;
  if (left === 0) throw invalid(`Transfer ${transfer.id} has already been fully reversed.`);
  const fee = app.store.application_fees.having('charge', transfer.destination_payment)[0];
  if (withFee && fee === undefined) throw invalid(`Transfer ${transfer.id} has no application fee to refund.`, { param: 'refund_application_fee' });
  let feeBack = 0;
  if (withFee) feeBack = Math.min(shareOf(fee.amount, transfer.amount_reversed, amount, transfer.amount), fee.amount - fee.amount_refunded);
  checkReversal(app, transfer, amount, feeBack);
  const made = reverse(app, transfer, { amount, feeBack, metadata: given }, call);
  if (feeBack > 0) refundFee(app, fee, { amount: feeBack, carried: true }, call);
  return made;
}

function list(app, { params }) {
  const { created, destination, transfer_group: group } = params;
  return app.store.transfers.page(params, { transfer_group: group, destination, created });
}

function listReversals(app, call) {
  const { id } = app.store.transfers.need(call.id);
  return { ...app.store.transfer_reversals.page(call.params, { transfer: id }), url: `/v1/transfers/${id}/reversals` };
}

function reversalOf(app, { ids: [transfer, id] }) {
  const made = app.store.transfer_reversals.need(id);
  if (made.transfer !== transfer) throw noSuch('transfer_reversal', id, 'id');
  return made;
}

const createParams = {
  amount: required(integer({ min: 1 })),
  currency: required(currency),
  description: string({ max: 1000 }),
  destination: required(string()),
  metadata,
  source_transaction: string(),
  transfer_group: string(),
};
const reversalParams = { amount: integer({ min: 1 }), metadata, refund_application_fee: boolean };

export const endpoints = [
  { method: 'POST', path: '/v1/transfers', params: createParams, run: create },
  {
    method: 'GET',
    path: '/v1/transfers',
    params: { ...paging, created: timeRange, destination: string(), transfer_group: string() },
    run: list,
  },
  { method: 'GET', path: '/v1/transfers/:id', run: (app, call) => app.store.transfers.need(call.id) },
  { method: 'POST', path: '/v1/transfers/:id', params: { description: clearable(string({ max: 1000 })), metadata }, run: update },
  { method: 'POST', path: '/v1/transfers/:id/reversals', params: reversalParams, run: createReversal },
  { method: 'GET', path: '/v1/transfers/:id/reversals', params: paging, run: listReversals },
  { method: 'GET', path: '/v1/transfers/:id/reversals/:id', run: reversalOf },
];
