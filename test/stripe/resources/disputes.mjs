// /v1/disputes: a buyer's bank takes a payment back. Opened and decided by control.mjs; evidence comes by the API.
// What is disputed, and Stripe's fee for it, leave the platform's balance at once, unless the bank only asks (warning_…).
import { StripeError, invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { stripeFee } from '../ledger.mjs';
import { boolean, mergeMetadata, metadata, object, paging, string, timeRange } from '../params.mjs';

const DUE_AFTER = 9 * 86400;
const EVIDENCE = [
  'access_activity_log', 'billing_address', 'cancellation_policy', 'cancellation_policy_disclosure', 'cancellation_rebuttal',
  'customer_communication', 'customer_email_address', 'customer_name', 'customer_purchase_ip', 'customer_signature',
  'duplicate_charge_documentation', 'duplicate_charge_explanation', 'duplicate_charge_id', 'product_description', 'receipt',
  'refund_policy', 'refund_policy_disclosure', 'refund_refusal_explanation', 'service_date', 'service_documentation',
  'shipping_address', 'shipping_carrier', 'shipping_date', 'shipping_documentation', 'shipping_tracking_number',
  'uncategorized_file', 'uncategorized_text',
];
const REASONS = [
  'bank_cannot_process', 'check_returned', 'credit_not_processed', 'customer_initiated', 'debit_not_authorized', 'duplicate', 'fraudulent',
  'general', 'incorrect_account_details', 'insufficient_funds', 'noncompliant', 'product_not_received', 'product_unacceptable',
  'subscription_canceled', 'unrecognized',
];

// What a dispute of each status can become.
const NEXT = {
  needs_response: ['under_review', 'won', 'lost'],
  under_review: ['won', 'lost'],
  warning_needs_response: ['warning_under_review', 'warning_closed', 'needs_response'],
  warning_under_review: ['warning_closed', 'needs_response'],
};
const isWarning = (status) => status.startsWith('warning');
const isOpen = ({ status }) => Object.hasOwn(NEXT, status);

// Whether a charge cannot be refunded because the bank has taken it back.
export const refusesRefunds = (app, { id }) =>
  app.store.disputes.having('charge', id).some(({ status }) => status !== 'won' && !isWarning(status));

// Opens a dispute: {payment_intent or charge, amount?, reason?, status?}.
export function openDispute(app, { amount, charge: chargeId, payment_intent: intentId, reason = 'fraudulent', status = 'needs_response', ...rest }) {
  if (Object.keys(rest).length > 0) throw invalid(`Not a dispute: unknown member: ${Object.keys(rest)[0]}.`);
  if (!REASONS.includes(reason)) throw invalid(`reason must be one of ${REASONS.join(', ')}`, { param: 'reason' });
  if (!['needs_response', 'warning_needs_response'].includes(status)) {
    throw invalid('status must be needs_response or warning_needs_response', { param: 'status' });
  }
  const id = chargeId ?? app.store.payment_intents.need(intentId, 'payment_intent').latest_charge;
  const charge = app.store.charges.need(id, 'charge');
  if (!charge.paid) throw invalid(`Charge ${id} was not paid.`, { param: 'charge' });
  const disputed = amount ?? charge.amount - charge.amount_refunded;
  if (!Number.isInteger(disputed) || disputed < 1 || disputed > charge.amount) throw invalid(`Cannot dispute ${disputed} of ${charge.amount}.`, { param: 'amount' });
  if (app.store.disputes.having('charge', id).some(isOpen)) throw invalid(`Charge ${id} has an open dispute.`, { param: 'charge' });
  const dispute = {
    id: newId.dispute(),
    object: 'dispute',
    amount: disputed,
    balance_transactions: [],
    charge: id,
    created: app.clock.seconds(),
    currency: charge.currency,
    enhanced_eligibility_types: [],
    evidence: { ...Object.fromEntries(EVIDENCE.map((name) => [name, null])), enhanced_evidence: {} },
    evidence_details: {
      due_by: app.clock.seconds() + DUE_AFTER,
      enhanced_eligibility: {},
      has_evidence: false,
      past_due: false,
      submission_count: 0,
    },
    is_charge_refundable: isWarning(status),
    livemode: false,
    metadata: {},
    payment_intent: charge.payment_intent,
    ...(charge.payment_method_details.type === 'card' && {
      payment_method_details: {
        card: {
          brand: charge.payment_method_details.card.brand,
          case_type: isWarning(status) ? 'inquiry' : 'chargeback',
          network: charge.payment_method_details.card.brand,
          network_reason_code: '10.4',
        },
        type: 'card',
      },
    }),
    reason,
    status,
  };
  const opened = isWarning(status) ? dispute : withdraw(app, dispute);
  app.store.disputes.add(opened);
  app.store.charges.put({ ...charge, disputed: true });
  app.events.emit('charge.dispute.created', opened, null);
  if (!isWarning(status)) app.events.emit('charge.dispute.funds_withdrawn', opened, null);
  return opened;
}

// The dispute after what is disputed, and the fee, were taken from the balance or came back (sign 1).
function book(app, dispute, sign, description, category) {
  const { amount, balance_transactions: before, currency, id } = dispute;
  const fee = sign === 1 ? -before[0].fee : app.money.disputeFee;
  const entry = app.ledger.post({
    amount: sign * amount,
    category,
    currency,
    description: `${description} for ${dispute.charge}`,
    fees: [stripeFee(fee, currency, 'Dispute fee')],
    source: id,
    type: 'adjustment',
  });
  return { ...dispute, balance_transactions: [...before, entry] };
}

const withdraw = (app, dispute) => book(app, dispute, -1, 'Chargeback withdrawal', 'dispute');

// Moves a dispute on, as the bank decides.
export function moveDispute(app, dispute, become, call = null) {
  const { status } = dispute;
  if (!NEXT[status]?.includes(become)) {
    throw invalid(`A dispute that is ${status} becomes ${NEXT[status]?.join(', ') ?? 'nothing else'}; not ${become}.`, { param: 'become' });
  }
  let after = { ...dispute, is_charge_refundable: isWarning(become) || become === 'won', status: become };
  if (become === 'won') after = book(app, after, 1, 'Chargeback reversal', 'dispute_reversal');
  if (become === 'needs_response') {
    const { payment_method_details: details } = dispute;
    if (details !== undefined) after.payment_method_details = { ...details, card: { ...details.card, case_type: 'chargeback' } };
    after = withdraw(app, after);
  }
  app.store.disputes.put(after);
  if (isOpen(after)) app.events.emit('charge.dispute.updated', after, call, { status });
  if (become === 'needs_response') app.events.emit('charge.dispute.funds_withdrawn', after, call);
  if (become === 'won') app.events.emit('charge.dispute.funds_reinstated', after, call);
  if (!isOpen(after)) app.events.emit('charge.dispute.closed', after, call, { status });
  return after;
}

function needOpen(dispute) {
  if (!isOpen(dispute)) throw new StripeError(400, { message: `This dispute is already closed (${dispute.status}).` });
}

// Takes evidence and, unless `submit` is false, hands it to the bank; as in test mode, certain words decide the dispute.
function update(app, call) {
  const before = app.store.disputes.need(call.id);
  const { evidence, metadata: given, submit = true } = call.params;
  let after = { ...before, metadata: mergeMetadata(before.metadata, given) };
  if (evidence !== undefined) {
    needOpen(before);
    const { submission_count: count } = before.evidence_details;
    after.evidence = { ...before.evidence, ...evidence };
    after.evidence_details = { ...before.evidence_details, has_evidence: true, submission_count: submit ? count + 1 : count };
  }
  app.store.disputes.put(after);
  if (evidence === undefined || !submit) {
    app.events.emit('charge.dispute.updated', after, call, { evidence: before.evidence, metadata: before.metadata });
    return after;
  }
  const { uncategorized_text: text } = after.evidence;
  if (text === 'winning_evidence' && !isWarning(before.status)) return moveDispute(app, after, 'won', call);
  if (text === 'losing_evidence' && !isWarning(before.status)) return moveDispute(app, after, 'lost', call);
  const review = isWarning(before.status) ? 'warning_under_review' : 'under_review';
  if (before.status !== review) return moveDispute(app, after, review, call);
  app.events.emit('charge.dispute.updated', after, call, { evidence: before.evidence });
  return after;
}

// Closing is giving up.
function close(app, call) {
  const dispute = app.store.disputes.need(call.id);
  needOpen(dispute);
  return moveDispute(app, dispute, isWarning(dispute.status) ? 'warning_closed' : 'lost', call);
}

function list(app, { params }) {
  const { charge, created, payment_intent: intent } = params;
  return app.store.disputes.page(params, { payment_intent: intent, charge, created });
}

const updateParams = {
  evidence: object(Object.fromEntries(EVIDENCE.map((name) => [name, string({ max: 20000 })]))),
  metadata,
  submit: boolean,
};

export const endpoints = [
  { method: 'GET', path: '/v1/disputes', params: { ...paging, charge: string(), created: timeRange, payment_intent: string() }, run: list },
  { method: 'GET', path: '/v1/disputes/:id', run: (app, call) => app.store.disputes.need(call.id) },
  { method: 'POST', path: '/v1/disputes/:id', params: updateParams, run: update },
  { method: 'POST', path: '/v1/disputes/:id/close', run: close },
];
