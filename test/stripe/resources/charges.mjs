// /v1/charges: what a payment leaves behind, made by paying and never by a call, with the transfer and the fee that follow from it.
import { newId } from '../ids.mjs';
import { applicationFee, stripeFee } from '../ledger.mjs';
import { paging, string, timeRange } from '../params.mjs';
import { addFee } from './application_fees.mjs';
import { addTransfer } from './transfers.mjs';

function newCharge(app, intent, amount, method) {
  const id = newId.charge();
  return {
    id,
    object: 'charge',
    amount,
    amount_captured: 0,
    amount_refunded: 0,
    application: null,
    application_fee: null,
    application_fee_amount: intent.application_fee_amount,
    balance_transaction: null,
    billing_details: {
      address: { city: null, country: null, line1: null, line2: null, postal_code: null, state: null },
      email: intent.receipt_email,
      name: null,
      phone: null,
      tax_id: null,
    },
    calculated_statement_descriptor: 'LOCAL STRIPE',
    captured: false,
    created: app.clock.seconds(),
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: null,
    failure_message: null,
    fraud_details: {},
    livemode: false,
    metadata: intent.metadata,
    on_behalf_of: intent.on_behalf_of,
    outcome: outcome('pending'),
    paid: false,
    payment_intent: intent.id,
    payment_method: method.id,
    payment_method_details: { [method.type]: method[method.type], type: method.type },
    radar_options: {},
    receipt_email: intent.receipt_email,
    receipt_number: null,
    receipt_url: null,
    refunded: false,
    review: null,
    shipping: null,
    source: null,
    source_transfer: null,
    statement_descriptor: intent.statement_descriptor,
    statement_descriptor_suffix: intent.statement_descriptor_suffix,
    status: 'pending',
    transfer_data: intent.transfer_data && { amount: null, ...intent.transfer_data },
    transfer_group: intent.transfer_group,
  };
}

// A charge on its way, which one of the next two ends.
export const newPendingCharge = (app, intent, amount, method) => app.store.charges.add(newCharge(app, intent, amount, method));

// Books a payment: Stripe's fee is taken from it, and all of it goes to the account it is for, from where the application fee comes back.
export function succeedCharge(app, pending, intent, call) {
  const { amount, currency, id } = pending;
  const availableOn = app.clock.seconds() + app.money.availableAfter;
  const feeAmount = Math.min(intent.application_fee_amount ?? 0, amount);
  const fee = feeAmount > 0 ? { id: newId.applicationFee(), amount: feeAmount } : null;
  // A connected account's own charge pays the application fee itself.
  const direct = app !== app.platform && fee !== null;
  const entry = app.ledger.post({
    amount,
    availableOn,
    currency,
    description: pending.description,
    fees: [stripeFee(app.money.stripeFee(amount), currency), ...(direct ? [applicationFee(feeAmount, currency)] : [])],
    source: id,
    type: pending.payment_method_details.type === 'card' ? 'charge' : 'payment',
  });
  const charge = {
    ...pending,
    amount_captured: amount,
    application_fee: fee?.id ?? null,
    balance_transaction: entry.id,
    captured: true,
    outcome: outcome('succeeded'),
    paid: true,
    receipt_url: `https://pay.stripe.com/receipts/payment/${id}`,
    status: 'succeeded',
  };
  const sum = { amount: feeAmount, availableOn, currency, id: fee?.id };
  if (direct) {
    addFee(app.platform, { ...sum, account: app.accountId, charge: id, originating: null }, call);
  } else if (intent.transfer_data) {
    const { amount: part, destination } = intent.transfer_data;
    const group = pending.transfer_group ?? `group_${intent.id}`;
    const transfer = addTransfer(app, { amount: Math.min(part ?? amount, amount), charge, currency, destination, fee, group }, call);
    charge.transfer = transfer.id;
    charge.transfer_group = group;
    if (fee !== null) addFee(app, { ...sum, account: destination, charge: transfer.destination_payment, originating: id }, call);
  }
  return app.store.charges.put(charge);
}

// `failure` is {code, decline_code?, message}.
export const failCharge = (app, charge, failure) =>
  app.store.charges.put({
    ...charge,
    failure_code: failure.code,
    failure_message: failure.message,
    outcome: outcome('failed', failure.decline_code),
    status: 'failed',
  });

export const newFailedCharge = (app, intent, method, failure) =>
  failCharge(app, newPendingCharge(app, intent, intent.amount, method), failure);

function outcome(status, reason = null) {
  const failed = status === 'failed';
  return {
    advice_code: null,
    network_advice_code: null,
    network_decline_code: null,
    network_status: failed ? 'declined_by_network' : 'approved_by_network',
    reason,
    risk_level: 'normal',
    risk_score: 12,
    seller_message: failed ? 'The bank returned the decline code `generic_decline`.' : 'Payment complete.',
    type: failed ? 'issuer_declined' : 'authorized',
  };
}

function list(app, { params }) {
  const { created, customer, payment_intent: intent, transfer_group: group } = params;
  return app.store.charges.page(params, { payment_intent: intent, transfer_group: group, customer, created });
}

const listParams = { ...paging, created: timeRange, customer: string(), payment_intent: string(), transfer_group: string() };

export const endpoints = [
  { method: 'GET', path: '/v1/charges', params: listParams, run: list },
  { method: 'GET', path: '/v1/charges/:id', run: (app, call) => app.store.charges.need(call.id) },
];
