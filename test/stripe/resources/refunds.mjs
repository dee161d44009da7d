// /v1/refunds, refunding as from the dashboard, and what becomes of a refund: a card's succeeds at once, unless told otherwise.
import { invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { boolean, integer, mergeMetadata, metadata, oneOf, paging, string, timeRange } from '../params.mjs';
import { written } from '../money.mjs';
import { addBalanceTransaction } from './charges.mjs';

const createParams = {
  amount: integer({ min: 1 }),
  charge: string(),
  metadata,
  payment_intent: string(),
  reason: oneOf('duplicate', 'fraudulent', 'requested_by_customer'),
  refund_application_fee: boolean,
  reverse_transfer: boolean,
};

// What new refunds may be told to become, by control.mjs: paid at once, on their way, waiting for the account's balance, or refused for it.
const PENDING = { insufficient_funds: 'insufficient_funds', pending: 'processing' };
const BECOME = ['succeeded', 'pending', 'insufficient_funds', 'refused'];
const FAILURE_REASONS = [
  'charge_for_pending_refund_disputed',
  'declined',
  'expired_or_canceled_card',
  'insufficient_funds',
  'lost_or_stolen_card',
  'merchant_request',
  'unknown',
];

export function letRefunds(app, { become }) {
  if (!BECOME.includes(become)) throw invalid(`become must be one of ${BECOME.join(', ')}`, { param: 'become' });
  app.refundsBecome = become;
  return { become };
}

// The charge that {charge} or {payment_intent} names, if there is something to give back.
export function refundableCharge(app, params) {
  if (params.charge === undefined && params.payment_intent === undefined) {
    throw invalid('One of the following params should be provided for this request: payment_intent or charge.', {
      code: 'parameter_missing',
    });
  }
  let id = params.charge;
  if (params.payment_intent !== undefined) {
    const intent = app.store.payment_intents.need(params.payment_intent, 'payment_intent');
    if (intent.status !== 'succeeded') {
      throw invalid(`This PaymentIntent (${intent.id}) does not have a successful charge to refund.`, { param: 'payment_intent' });
    }
    if (id !== undefined && id !== intent.latest_charge) {
      throw invalid(`Charge ${id} does not belong to PaymentIntent ${intent.id}.`, { param: 'charge' });
    }
    id = intent.latest_charge;
  }
  const charge = app.store.charges.need(id, 'charge');
  if (!charge.paid) throw invalid(`Charge ${charge.id} has failed and cannot be refunded.`, { param: 'charge' });
  return charge;
}

export function refund(app, charge, params, call = null) {
  const left = charge.amount - charge.amount_refunded;
  const amount = params.amount ?? left;
  if (left === 0) throw invalid(`Charge ${charge.id} has already been refunded.`, { code: 'charge_already_refunded' });
  if (amount > left) {
    throw invalid(
      `Refund amount (${written(amount, charge.currency)}) is greater than unrefunded amount on charge (${written(left, charge.currency)})`,
      { param: 'amount' },
    );
  }
  if (params.reverse_transfer && charge.transfer === undefined) {
    throw invalid(`Cannot reverse transfer for charge ${charge.id} because it does not have an associated transfer.`, {
      param: 'reverse_transfer',
    });
  }
  if (params.refund_application_fee && charge.application_fee === null) {
    throw invalid(`Charge ${charge.id} has no application fee to refund.`, { param: 'refund_application_fee' });
  }

  if (app.refundsBecome === 'refused') {
    throw invalid('Insufficient funds in your Stripe balance to refund this amount.', { code: 'balance_insufficient' });
  }

  const id = newId.refund();
  const pendingReason = PENDING[app.refundsBecome];
  const made = {
    id,
    object: 'refund',
    amount,
    balance_transaction: null,
    charge: charge.id,
    created: app.clock.seconds(),
    currency: charge.currency,
    customer: charge.customer,
    customer_account: null,
    destination_details: cardReference('pending'),
    metadata: mergeMetadata({}, params.metadata),
    payment_intent: charge.payment_intent,
    payment_method: charge.payment_method,
    ...(pendingReason && { pending_reason: pendingReason }),
    reason: params.reason ?? null,
    receipt_number: null,
    source_transfer_reversal: null,
    status: pendingReason ? 'pending' : 'succeeded',
    transfer_reversal: params.reverse_transfer ? newId.transferReversal() : null,
  };
  // What waits for the balance has not been taken from it.
  if (pendingReason !== 'insufficient_funds') made.balance_transaction = taken(app, made);
  app.store.refunds.add(made, call?.idempotencyKey);
  const refunded = charge.amount_refunded + amount;
  const after = app.store.charges.put({ ...charge, amount_refunded: refunded, refunded: refunded === charge.amount });
  app.events.emit('refund.created', made, call);
  app.events.emit('charge.refunded', after, call, { amount_refunded: charge.amount_refunded, refunded: charge.refunded });
  if (!pendingReason) addReference(app, made);
  return made;
}

const taken = (app, { amount, currency, id }) =>
  addBalanceTransaction(app, { amount: -amount, currency, fee: 0, source: id, type: 'refund' }).id;

// How a refund ends: one on its way succeeds or fails, and one that has succeeded may still come back.
export function settleRefund(app, refund, { outcome = 'succeeded', reason = 'unknown' } = {}) {
  const { pending_reason: waited, ...before } = refund;
  if (outcome === 'succeeded') {
    if (before.status !== 'pending') throw invalid(`This refund has a status of ${before.status}.`);
    const after = { ...before, balance_transaction: before.balance_transaction ?? taken(app, before), status: 'succeeded' };
    app.store.refunds.put(after);
    app.events.emit('refund.updated', after, null, { status: 'pending' });
    addReference(app, after);
    return app.store.refunds.get(refund.id);
  }
  if (outcome !== 'failed') throw invalid('outcome must be succeeded or failed', { param: 'outcome' });
  if (!['pending', 'succeeded'].includes(before.status)) throw invalid(`This refund has a status of ${before.status}.`);
  if (!FAILURE_REASONS.includes(reason)) throw invalid(`reason must be one of ${FAILURE_REASONS.join(', ')}`, { param: 'reason' });
  const { amount, currency } = before;
  const returned =
    before.balance_transaction === null
      ? null
      : addBalanceTransaction(app, { amount, currency, fee: 0, source: before.id, type: 'refund_failure' }).id;
  const failed = { ...before, failure_balance_transaction: returned, failure_reason: reason, status: 'failed' };
  app.store.refunds.put(failed);
  const charge = app.store.charges.get(before.charge);
  const less = app.store.charges.put({ ...charge, amount_refunded: charge.amount_refunded - amount, refunded: false });
  app.events.emit('refund.updated', failed, null, { status: before.status });
  app.events.emit('refund.failed', failed, null);
  app.events.emit('charge.updated', less, null, { amount_refunded: charge.amount_refunded, refunded: charge.refunded });
  return failed;
}

const cardReference = (status, reference) => ({
  card: { ...(reference && { reference }), reference_status: status, reference_type: 'acquirer_reference_number', type: 'refund' },
  type: 'card',
});

// The bank's reference comes later and of itself, which is a refund's usual `refund.updated`.
function addReference(app, before) {
  const reference = String(app.store.refunds.size).padStart(23, '7');
  const after = app.store.refunds.put({ ...before, destination_details: cardReference('available', reference) });
  app.events.emit('refund.updated', after, null, { destination_details: before.destination_details });
}

function update(app, call) {
  const before = app.store.refunds.need(call.id);
  const after = app.store.refunds.put({ ...before, metadata: mergeMetadata(before.metadata, call.params.metadata) });
  if (after.metadata !== before.metadata) app.events.emit('refund.updated', after, call, { metadata: before.metadata });
  return after;
}

function list(app, { params }) {
  return app.store.refunds.page(
    params,
    (made) =>
      (params.payment_intent === undefined || made.payment_intent === params.payment_intent) &&
      (params.charge === undefined || made.charge === params.charge) &&
      (params.created === undefined || params.created(made.created)),
  );
}

export const endpoints = [
  {
    method: 'POST',
    path: '/v1/refunds',
    params: createParams,
    run: (app, call) => refund(app, refundableCharge(app, call.params), call.params, call),
  },
  { method: 'GET', path: '/v1/refunds', params: { ...paging, charge: string(), created: timeRange, payment_intent: string() }, run: list },
  { method: 'GET', path: '/v1/refunds/:id', run: (app, call) => app.store.refunds.need(call.id) },
  { method: 'POST', path: '/v1/refunds/:id', params: { metadata }, run: update },
];
