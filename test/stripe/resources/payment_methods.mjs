// /v1/payment_methods: retrieve, attach, detach, list; the test ones by the names Stripe gives them, what each does,
// and what a declined one says.
import { invalid, noSuch } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { mergeMetadata, metadata, oneOf, paging, required, string } from '../params.mjs';

const DECLINES = {
  generic_decline: 'Your card was declined.',
  do_not_honor: 'Your card was declined.',
  fraudulent: 'Your card was declined.',
  insufficient_funds: 'Your card has insufficient funds.',
  lost_card: 'Your card was declined.',
  stolen_card: 'Your card was declined.',
};

// Failures that are codes of their own and not a reason for `card_declined`.
const FAILURES = {
  expired_card: 'Your card has expired.',
  incorrect_cvc: "Your card's security code is incorrect.",
  processing_error: 'An error occurred while processing your card. Try again in a little bit.',
};

// What a bank may say days later.
const DEBIT_FAILURES = {
  account_closed: "The customer's bank account has been closed.",
  debit_not_authorized: 'The customer has notified their bank that this payment was unauthorized.',
  insufficient_funds: "The customer's account has insufficient funds to cover this payment.",
};

// What a payment method of each type shows. The delayed ones settle days after they were confirmed.
const TYPES = {
  card: {
    brand: 'visa',
    checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
    country: 'US',
    display_brand: 'visa',
    exp_month: 12,
    exp_year: 2034,
    fingerprint: 'Xt5EWLLDS7FJjR1c',
    funding: 'credit',
    last4: '4242',
  },
  sepa_debit: { bank_code: '37040044', branch_code: '', country: 'DE', fingerprint: 'vifs0Ho7vwRn1Miu', last4: '3000' },
  us_bank_account: {
    account_holder_type: 'individual',
    account_type: 'checking',
    bank_name: 'STRIPE TEST BANK',
    fingerprint: 'LstWJFsCK7P349Bg',
    last4: '6789',
    routing_number: '110000000',
    status_details: {},
  },
};

export const typeNames = Object.keys(TYPES);
export const isDelayed = (type) => type !== 'card';

// The behaviour of a payment method, which it does not show: {decline?, challenge?}.
const behaviour = Symbol('behaviour');

const TEST_METHODS = {
  pm_card_visa: {},
  pm_card_mastercard: { brand: 'mastercard', last4: '4444' },
  pm_card_amex: { brand: 'amex', last4: '8431' },
  pm_card_chargeDeclined: { decline: 'generic_decline', last4: '0002' },
  pm_card_visa_chargeDeclined: { decline: 'generic_decline', last4: '0002' },
  pm_card_chargeDeclinedInsufficientFunds: { decline: 'insufficient_funds', last4: '9995' },
  pm_card_visa_chargeDeclinedInsufficientFunds: { decline: 'insufficient_funds', last4: '9995' },
  pm_card_chargeDeclinedLostCard: { decline: 'lost_card', last4: '9987' },
  pm_card_chargeDeclinedStolenCard: { decline: 'stolen_card', last4: '9979' },
  pm_card_chargeDeclinedExpiredCard: { decline: 'expired_card', last4: '0069' },
  pm_card_chargeDeclinedIncorrectCvc: { decline: 'incorrect_cvc', last4: '0127' },
  pm_card_chargeDeclinedProcessingError: { decline: 'processing_error', last4: '0119' },
  pm_card_authenticationRequired: { challenge: true, last4: '3184' },
  pm_card_threeDSecure2Required: { challenge: true, last4: '3220' },
  pm_sepaDebit: { type: 'sepa_debit' },
  pm_usBankAccount: { type: 'us_bank_account' },
};

export const behaviourOf = (method) => method[behaviour];

// The {code, decline_code, message} of a decline; null if there is no such decline.
export function declineOf(code) {
  if (Object.hasOwn(FAILURES, code)) return { code, message: FAILURES[code] };
  if (code === 'card_declined') code = 'generic_decline';
  if (Object.hasOwn(DECLINES, code)) return { code: 'card_declined', decline_code: code, message: DECLINES[code] };
  return null;
}

export function debitFailureOf(code) {
  return Object.hasOwn(DEBIT_FAILURES, code) ? { code, message: DEBIT_FAILURES[code] } : null;
}

// Makes a payment method as a client's SDK would.
export function addPaymentMethod(app, { type = 'card', brand, last4, customer = null, ...does } = {}, call = null) {
  if (!Object.hasOwn(TYPES, type)) throw invalid(`There is no such payment method type: ${type}`, { param: 'method' });
  return app.store.payment_methods.add(
    {
      id: newId.paymentMethod(),
      object: 'payment_method',
      allow_redisplay: 'unspecified',
      billing_details: {
        address: { city: null, country: null, line1: null, line2: null, postal_code: null, state: null },
        email: null,
        name: null,
        phone: null,
        tax_id: null,
      },
      [type]: { ...TYPES[type], ...(brand && { brand, display_brand: brand }), ...(last4 && { last4 }) },
      created: app.clock.seconds(),
      customer,
      livemode: false,
      metadata: {},
      type,
      [behaviour]: does,
    },
    call?.idempotencyKey,
  );
}

// The payment method that a parameter names; a test one is made anew each time.
export function needPaymentMethod(app, id, call) {
  if (Object.hasOwn(TEST_METHODS, id)) return addPaymentMethod(app, TEST_METHODS[id], call);
  const method = app.store.payment_methods.get(id);
  if (method === undefined) throw invalid(`No such PaymentMethod: '${id}'`, { code: 'resource_missing', param: 'payment_method' });
  return method;
}

export function attach(app, method, customer, call) {
  if (method.customer === customer) return method;
  if (method.customer !== null) {
    throw invalid('The payment method you provided has already been attached to a customer.', { code: 'payment_method_unexpected_state' });
  }
  const attached = app.store.payment_methods.put({ ...method, customer });
  app.events.emit('payment_method.attached', attached, call);
  return attached;
}

function attachNamed(app, call) {
  const customer = app.store.customers.need(call.params.customer, 'customer');
  const test = TEST_METHODS[call.id];
  if (test === undefined) app.store.payment_methods.need(call.id);
  return attach(app, needPaymentMethod(app, call.id, call), customer.id, call);
}

function detach(app, call) {
  const method = app.store.payment_methods.need(call.id);
  if (method.customer === null) {
    throw invalid('The payment method you provided is not attached to a customer so detachment is impossible.', {
      code: 'payment_method_unexpected_state',
    });
  }
  const customer = app.store.customers.get(method.customer);
  if (customer?.invoice_settings.default_payment_method === method.id) {
    const { invoice_settings: settings } = customer;
    const after = app.store.customers.put({ ...customer, invoice_settings: { ...settings, default_payment_method: null } });
    app.events.emit('customer.updated', after, call, { invoice_settings: { default_payment_method: method.id } });
  }
  const detached = app.store.payment_methods.put({ ...method, customer: null });
  app.events.emit('payment_method.detached', detached, call, { customer: method.customer });
  return detached;
}

function update(app, call) {
  const before = app.store.payment_methods.need(call.id);
  const after = { ...before, metadata: mergeMetadata(before.metadata, call.params.metadata) };
  app.store.payment_methods.put(after);
  app.events.emit('payment_method.updated', after, call, { metadata: before.metadata });
  return after;
}

const pageOf = (app, params, customer) => app.store.payment_methods.page(params, { customer, type: params.type });

function listAll(app, { params }) {
  app.store.customers.need(params.customer, 'customer');
  return pageOf(app, params, params.customer);
}

function listOf(app, call) {
  const customer = app.store.customers.need(call.id);
  return { ...pageOf(app, call.params, customer.id), url: `/v1/customers/${customer.id}/payment_methods` };
}

// A payment method as one of a customer's: another customer's is not found.
function retrieveOf(app, { ids: [customerId, id] }) {
  const customer = app.store.customers.need(customerId);
  const method = app.store.payment_methods.get(id);
  if (method?.customer !== customer.id) throw noSuch('PaymentMethod', id, 'id');
  return method;
}

const listParams = { ...paging, type: oneOf(...typeNames) };

export const endpoints = [
  { method: 'GET', path: '/v1/payment_methods', params: { ...listParams, customer: required(string()) }, run: listAll },
  { method: 'GET', path: '/v1/payment_methods/:id', run: (app, call) => app.store.payment_methods.need(call.id) },
  { method: 'POST', path: '/v1/payment_methods/:id', params: { metadata }, run: update },
  { method: 'POST', path: '/v1/payment_methods/:id/attach', params: { customer: required(string()) }, run: attachNamed },
  { method: 'POST', path: '/v1/payment_methods/:id/detach', run: detach },
  { method: 'GET', path: '/v1/customers/:id/payment_methods', params: listParams, run: listOf },
  { method: 'GET', path: '/v1/customers/:id/payment_methods/:id', run: retrieveOf },
];
