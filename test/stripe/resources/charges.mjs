// /v1/charges and /v1/balance_transactions: what a payment leaves behind. Both are made by paying, never by a call.
import { newId } from '../ids.mjs';
import { stripeFee } from '../money.mjs';
import { paging, string } from '../params.mjs';

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

export function addBalanceTransaction(app, { amount, currency, description = null, fee, source, type }) {
  const created = app.clock.seconds();
  return app.store.balance_transactions.add({
    id: newId.balanceTransaction(),
    object: 'balance_transaction',
    amount,
    available_on: created + 2 * 86400,
    balance_type: 'payments',
    created,
    currency,
    description,
    exchange_rate: null,
    fee,
    fee_details: fee === 0 ? [] : [{ amount: fee, application: null, currency, description: 'Stripe processing fees', type: 'stripe_fee' }],
    net: amount - fee,
    reporting_category: type,
    source,
    status: 'pending',
    type,
  });
}

// A charge on its way, which one of the next two ends.
export const newPendingCharge = (app, intent, amount, method) => app.store.charges.add(newCharge(app, intent, amount, method));

export function succeedCharge(app, charge, intent) {
  const balance = addBalanceTransaction(app, {
    amount: charge.amount,
    currency: charge.currency,
    description: charge.description,
    fee: stripeFee(charge.amount),
    source: charge.id,
    type: 'charge',
  });
  return app.store.charges.put({
    ...charge,
    amount_captured: charge.amount,
    application_fee: intent.application_fee_amount ? newId.applicationFee() : null,
    balance_transaction: balance.id,
    captured: true,
    outcome: outcome('succeeded'),
    paid: true,
    receipt_url: `https://pay.stripe.com/receipts/payment/${charge.id}`,
    status: 'succeeded',
    ...(intent.transfer_data && { transfer: newId.transfer() }),
  });
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

const listCharges = (app, { params }) =>
  app.store.charges.page(
    params,
    (charge) =>
      (params.payment_intent === undefined || charge.payment_intent === params.payment_intent) &&
      (params.customer === undefined || charge.customer === params.customer),
  );

const listBalanceTransactions = (app, { params }) =>
  app.store.balance_transactions.page(params, (entry) => params.source === undefined || entry.source === params.source);

export const endpoints = [
  { method: 'GET', path: '/v1/charges', params: { ...paging, customer: string(), payment_intent: string() }, run: listCharges },
  { method: 'GET', path: '/v1/charges/:id', run: (app, call) => app.store.charges.need(call.id) },
  { method: 'GET', path: '/v1/balance_transactions', params: { ...paging, source: string() }, run: listBalanceTransactions },
  { method: 'GET', path: '/v1/balance_transactions/:id', run: (app, call) => app.store.balance_transactions.need(call.id) },
];
