// /v1/charges and /v1/balance_transactions: what a payment leaves behind. Both are made by paying, never by a call.
import { newId } from '../ids.mjs';
import { stripeFee } from '../money.mjs';
import { paging, string } from '../params.mjs';

const CARD = { brand: 'visa', country: 'US', exp_month: 12, exp_year: 2034, fingerprint: 'Xt5EWLLDS7FJjR1c', funding: 'credit', last4: '4242' };

function newCharge(app, intent, amount, paymentMethod, outcome) {
  const paid = outcome.status === 'succeeded';
  const id = newId.charge();
  return {
    id,
    object: 'charge',
    amount,
    amount_captured: paid ? amount : 0,
    amount_refunded: 0,
    application: null,
    application_fee: paid && intent.application_fee_amount ? newId.applicationFee() : null,
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
    captured: paid,
    created: app.clock.seconds(),
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: outcome.failure?.code ?? null,
    failure_message: outcome.failure?.message ?? null,
    fraud_details: {},
    livemode: false,
    metadata: intent.metadata,
    on_behalf_of: intent.on_behalf_of,
    outcome: {
      advice_code: null,
      network_advice_code: null,
      network_decline_code: null,
      network_status: paid ? 'approved_by_network' : 'declined_by_network',
      reason: outcome.failure?.decline_code ?? null,
      risk_level: 'normal',
      risk_score: 12,
      seller_message: paid ? 'Payment complete.' : 'The bank returned the decline code `generic_decline`.',
      type: paid ? 'authorized' : 'issuer_declined',
    },
    paid,
    payment_intent: intent.id,
    payment_method: paymentMethod,
    payment_method_details: { card: { ...CARD, amount_authorized: paid ? amount : null, network: 'visa' }, type: 'card' },
    radar_options: {},
    receipt_email: intent.receipt_email,
    receipt_number: null,
    receipt_url: paid ? `https://pay.stripe.com/receipts/payment/${id}` : null,
    refunded: false,
    review: null,
    shipping: null,
    source: null,
    source_transfer: null,
    statement_descriptor: intent.statement_descriptor,
    statement_descriptor_suffix: intent.statement_descriptor_suffix,
    status: outcome.status,
    ...(paid && intent.transfer_data && { transfer: newId.transfer() }),
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

export function addSucceededCharge(app, intent, amount, paymentMethod) {
  const charge = newCharge(app, intent, amount, paymentMethod, { status: 'succeeded' });
  const balance = addBalanceTransaction(app, {
    amount,
    currency: intent.currency,
    description: intent.description,
    fee: stripeFee(amount),
    source: charge.id,
    type: 'charge',
  });
  return app.store.charges.add({ ...charge, balance_transaction: balance.id });
}

// `failure` is {code, decline_code, message}.
export const addFailedCharge = (app, intent, paymentMethod, failure) =>
  app.store.charges.add(newCharge(app, intent, intent.amount, paymentMethod, { status: 'failed', failure }));

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
