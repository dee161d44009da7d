// /v1/refunds, refunding as from the dashboard, and what becomes of a refund: a card's succeeds at once, unless told otherwise.
// What went to a connected account comes back in proportion, if that is asked for, and stays back if the refund then fails.
import { invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { applicationFee } from '../ledger.mjs';
import { boolean, integer, mergeMetadata, metadata, oneOf, paging, string, timeRange } from '../params.mjs';
import { shareOf, written } from '../money.mjs';
import { refundFee } from './application_fees.mjs';
import { refusesRefunds } from './disputes.mjs';
import { checkReversal, reverse } from './transfers.mjs';

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
  if (refusesRefunds(app, charge)) {
    throw invalid(`Charge ${charge.id} has been charged back; cannot issue a refund.`, { code: 'charge_disputed' });
  }
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
    throw invalid(`Attempting to refund_application_fee on ${charge.id}, but it has no application fee`, { param: 'refund_application_fee' });
  }

  if (app.refundsBecome === 'refused') {
    throw invalid('Insufficient funds in your Stripe balance to refund this amount.', { code: 'balance_insufficient' });
  }

  const back = comesBack(app, charge, amount, params);
  if (back.transfer !== null) checkReversal(app, back.transfer, back.reversed, back.fee);

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
    transfer_reversal: null,
    [feeCarried]: app === app.platform ? 0 : back.fee,
  };
  if (back.transfer !== null) {
    made.transfer_reversal = reverse(app, back.transfer, { amount: back.reversed, feeBack: back.fee, refund: id }, call).id;
  }
  if (back.fee > 0) refundFee(app.platform, back.from, { amount: back.fee, carried: back.transfer !== null || app !== app.platform }, call);
  // What waits for the balance has not been taken from it.
  if (pendingReason !== 'insufficient_funds') made.balance_transaction = taken(app, made);
  app.store.refunds.add(made, call?.idempotencyKey);
  const refunded = charge.amount_refunded + amount;
  const after = app.store.charges.put({
    ...charge,
    amount_refunded: refunded,
    refunded: refunded === charge.amount,
    [returned]: back.returned,
  });
  app.events.emit('refund.created', made, call);
  app.events.emit('charge.refunded', after, call, { amount_refunded: charge.amount_refunded, refunded: charge.refunded });
  if (!pendingReason) addReference(app, made);
  return made;
}

// Of how much of a charge its refunds have reversed the transfer and returned the fee: {transfer, fee}; not shown.
const returned = Symbol('returned');

// What a refund of `amount` brings back: {transfer, reversed} from the account that was paid, and {from, fee} of the application fee.
function comesBack(app, charge, amount, { refund_application_fee: withFee, reverse_transfer: withTransfer }) {
  const { fee: feeBefore, transfer: before } = charge[returned] ?? { fee: 0, transfer: 0 };
  const transfer = withTransfer ? app.store.transfers.get(charge.transfer) : null;
  const from = withFee ? app.platform.store.application_fees.get(charge.application_fee) : null;
  const fee = from === null ? 0 : Math.min(shareOf(from.amount, feeBefore, amount, charge.amount), from.amount - from.amount_refunded);
  return {
    fee,
    from,
    returned: { fee: feeBefore + (from === null ? 0 : amount), transfer: before + (transfer === null ? 0 : amount) },
    // Beyond the whole of a charge, only after a refund that failed, the transfer has nothing left.
    reversed: transfer === null ? 0 : before + amount > charge.amount ? amount : shareOf(transfer.amount, before, amount, charge.amount),
    transfer,
  };
}

// What a refund of an account's own charge brings it of the application fee; not shown.
const feeCarried = Symbol('feeCarried');

// Takes a refund from the balance.
function taken(app, { amount, charge: chargeId, currency, id, [feeCarried]: feeBack }) {
  const charge = app.store.charges.get(chargeId);
  return app.ledger.post({
    amount: -amount,
    availableOn: app.store.balance_transactions.get(charge.balance_transaction).available_on,
    currency,
    fees: [applicationFee(-feeBack, currency)],
    source: id,
    type: charge.payment_method_details.type === 'card' ? 'refund' : 'payment_refund',
  }).id;
}

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
  const { amount, currency, id } = before;
  const restored = before.balance_transaction === null ? null : app.ledger.post({ amount, currency, source: id, type: 'refund_failure' }).id;
  const failed = { ...before, failure_balance_transaction: restored, failure_reason: reason, status: 'failed' };
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
  const { charge, created, payment_intent: intent } = params;
  return app.store.refunds.page(params, { payment_intent: intent, charge, created });
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
