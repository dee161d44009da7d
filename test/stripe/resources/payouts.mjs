// /v1/payouts: from an account's balance to its bank. Automatic ones take all that is available, and come by control.mjs.
import { invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { written } from '../money.mjs';
import { currency, integer, mergeMetadata, metadata, oneOf, paging, required, string, timeRange } from '../params.mjs';

const ARRIVES_AFTER = 2 * 86400;
const STATUSES = ['canceled', 'failed', 'in_transit', 'paid', 'pending'];

// What a payout of each status can become; one that was paid may come back still.
const NEXT = { in_transit: ['paid', 'failed'], paid: ['failed'], pending: ['in_transit', 'paid', 'failed', 'canceled'] };

const FAILURES = {
  account_closed: 'The bank account has been closed.',
  account_frozen: 'The bank account has been frozen.',
  bank_account_restricted: 'The bank account has restrictions on either the type, or the number, of payouts allowed.',
  could_not_process: 'The bank could not process this payout.',
  debit_not_authorized: 'Debit transactions are not approved on the bank account.',
  insufficient_funds: 'Your Stripe account has insufficient funds to cover the payout.',
  invalid_account_number: 'The routing number seems correct, but the account number is invalid.',
  no_account: 'The bank account could not be located.',
};

function addPayout(app, { amount, automatic, currency: inCurrency, description = null, metadata: given, statement_descriptor: descriptor = null }, call) {
  if (app.account?.payouts_enabled === false) {
    throw invalid('Payouts are not enabled on this account.', { code: 'payouts_not_allowed' });
  }
  const { available } = app.ledger.balance(inCurrency);
  if (amount > available) {
    throw invalid(
      `You have insufficient available funds in your Stripe account: ${written(available, inCurrency)} is available, and the payout is ${written(amount, inCurrency)}.`,
      { code: 'balance_insufficient', param: 'amount' },
    );
  }
  const id = newId.payout();
  const entry = app.ledger.post({ amount: -amount, currency: inCurrency, description: 'STRIPE PAYOUT', source: id, type: 'payout' });
  if (automatic) app.ledger.payOut(inCurrency, id);
  const payout = app.store.payouts.add(
    {
      id,
      object: 'payout',
      amount,
      application_fee: null,
      application_fee_amount: null,
      arrival_date: app.clock.seconds() + ARRIVES_AFTER,
      automatic,
      balance_transaction: entry.id,
      created: app.clock.seconds(),
      currency: inCurrency,
      description: automatic ? 'STRIPE PAYOUT' : description,
      destination: app.ledger.bankAccount,
      failure_balance_transaction: null,
      failure_code: null,
      failure_message: null,
      livemode: false,
      metadata: mergeMetadata({}, given),
      method: 'standard',
      original_payout: null,
      payout_method: null,
      reconciliation_status: automatic ? 'completed' : 'not_applicable',
      reversed_by: null,
      source_type: 'card',
      statement_descriptor: descriptor,
      status: 'pending',
      trace_id: { status: 'pending', value: null },
      type: 'bank_account',
    },
    call?.idempotencyKey,
  );
  app.events.emit('payout.created', payout, call);
  return payout;
}

// Pays out by control.mjs: all that is available, automatically, or this amount, as by hand.
export function payOut(app, { amount, currency: inCurrency = 'usd' }) {
  if (amount !== undefined) {
    if (!Number.isInteger(amount) || amount < 1) throw invalid('A payout needs a positive amount.', { param: 'amount' });
    return addPayout(app, { amount, automatic: false, currency: inCurrency }, null);
  }
  const { available } = app.ledger.balance(inCurrency);
  if (available < 1) throw invalid(`There is nothing to pay out: ${written(available, inCurrency)} is available.`, { code: 'balance_insufficient' });
  return addPayout(app, { amount: available, automatic: true, currency: inCurrency }, null);
}

// Moves a payout on, as the bank does.
export function movePayout(app, payout, { become, failure_code: code = 'could_not_process' }, call = null) {
  const { amount, currency: inCurrency, id, status } = payout;
  if (!NEXT[status]?.includes(become)) {
    throw invalid(`A payout that is ${status} becomes ${NEXT[status]?.join(', ') ?? 'nothing else'}; not ${become}.`, { param: 'become' });
  }
  let after = { ...payout, status: become };
  if (become === 'in_transit' || become === 'paid') after.trace_id = { status: 'supported', value: `trace_${id.slice(-12)}` };
  if (become === 'failed' || become === 'canceled') {
    if (become === 'failed' && !Object.hasOwn(FAILURES, code)) throw invalid(`There is no such failure: ${code}`, { param: 'failure_code' });
    const type = become === 'failed' ? 'payout_failure' : 'payout_cancel';
    const entry = app.ledger.post({ amount, currency: inCurrency, description: 'STRIPE PAYOUT RETURN', source: id, type });
    after.failure_balance_transaction = entry.id;
    if (become === 'failed') after = { ...after, failure_code: code, failure_message: FAILURES[code] };
  }
  app.store.payouts.put(after);
  app.events.emit('payout.updated', after, call, { status });
  if (become !== 'in_transit') app.events.emit(`payout.${become}`, after, call);
  return after;
}

function update(app, call) {
  const before = app.store.payouts.need(call.id);
  const after = app.store.payouts.put({ ...before, metadata: mergeMetadata(before.metadata, call.params.metadata) });
  app.events.emit('payout.updated', after, call, { metadata: before.metadata });
  return after;
}

function cancel(app, call) {
  const payout = app.store.payouts.need(call.id);
  if (payout.automatic || payout.status !== 'pending') throw invalid('Payouts can only be canceled while they are pending and not automatic.');
  return movePayout(app, payout, { become: 'canceled' }, call);
}

function list(app, { params }) {
  const { arrival_date: arrival, created, destination, status } = params;
  return app.store.payouts.page(params, { status, destination, arrival_date: arrival, created });
}

const createParams = {
  amount: required(integer({ min: 1 })),
  currency: required(currency),
  description: string({ max: 1000 }),
  metadata,
  method: oneOf('standard'),
  statement_descriptor: string({ max: 22 }),
};
const listParams = { ...paging, arrival_date: timeRange, created: timeRange, destination: string(), status: oneOf(...STATUSES) };

export const endpoints = [
  { method: 'POST', path: '/v1/payouts', params: createParams, run: (app, call) => addPayout(app, { ...call.params, automatic: false }, call) },
  { method: 'GET', path: '/v1/payouts', params: listParams, run: list },
  { method: 'GET', path: '/v1/payouts/:id', run: (app, call) => app.store.payouts.need(call.id) },
  { method: 'POST', path: '/v1/payouts/:id', params: { metadata }, run: update },
  { method: 'POST', path: '/v1/payouts/:id/cancel', run: cancel },
];
