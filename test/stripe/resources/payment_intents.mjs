// /v1/payment_intents; what then becomes of them is in payment_states.mjs.
import { StripeError, invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { checkAmount } from '../money.mjs';
import { boolean, clearable, currency, email, integer, mergeMetadata, metadata, object } from '../params.mjs';
import { oneOf, paging, required, string, timeRange, url } from '../params.mjs';
import { searchEndpoint } from '../search.mjs';
import { checkDestination } from './accounts.mjs';
import { behaviourOf, needPaymentMethod, typeNames } from './payment_methods.mjs';
import { PAYABLE, cancel, challenge, decline, follower, needStatus, pay } from './payment_states.mjs';

const CANCELLATION_REASONS = ['abandoned', 'duplicate', 'fraudulent', 'requested_by_customer'];

// What an intent takes from whoever makes it: a call of its own, or a session's payment_intent_data.
export const settableFields = {
  application_fee_amount: integer({ min: 0 }),
  description: string({ max: 1000 }),
  metadata,
  on_behalf_of: string(),
  receipt_email: clearable(email),
  setup_future_usage: oneOf('off_session', 'on_session'),
  statement_descriptor: string({ max: 22 }),
  statement_descriptor_suffix: string({ max: 22 }),
  transfer_data: object({ amount: integer({ min: 0 }), destination: required(string()) }),
  transfer_group: string(),
};

const createParams = {
  ...settableFields,
  amount: required(integer({ min: 1 })),
  automatic_payment_methods: object({ allow_redirects: oneOf('always', 'never'), enabled: required(boolean) }),
  capture_method: oneOf('automatic', 'automatic_async'),
  confirm: boolean,
  currency: required(currency),
  customer: string(),
  payment_method: string(),
  return_url: url,
};

const updateParams = {
  ...settableFields,
  amount: integer({ min: 1 }),
  currency,
  customer: string(),
  payment_method: string(),
  transfer_data: object({ amount: integer({ min: 0 }) }),
};

// Refuses a platform fee that no other account would pay.
export function checkConnect(app, { amount, application_fee_amount: fee, transfer_data: transfer, on_behalf_of: behalf }, prefix = '') {
  const named = (name) => (prefix === '' ? name : `${prefix}[${name}]`);
  if (transfer && !/^acct_\w+$/.test(transfer.destination)) {
    throw invalid(`No such destination: '${transfer.destination}'`, { code: 'resource_missing', param: named('transfer_data[destination]') });
  }
  if (transfer) checkDestination(app, transfer.destination, named('transfer_data[destination]'));
  if (fee != null && !transfer && !behalf) {
    throw invalid(
      'Can only apply an application_fee_amount when the PaymentIntent is attempting a direct payment (using an OAuth key or ' +
        'Stripe-Account header) or destination payment (using `transfer_data[destination]`).',
      { param: named('application_fee_amount') },
    );
  }
  if (fee != null && fee > amount) {
    throw invalid('The application fee must be less than or equal to the amount of the payment.', { param: named('application_fee_amount') });
  }
}

// Puts a new intent into the store and tells of it. `fields` has amount, currency and what else is set.
export function addPaymentIntent(app, fields, call) {
  const id = newId.paymentIntent();
  const intent = {
    id,
    object: 'payment_intent',
    amount: fields.amount,
    amount_capturable: 0,
    amount_details: { tip: {} },
    amount_received: 0,
    application: null,
    application_fee_amount: fields.application_fee_amount ?? null,
    automatic_payment_methods: fields.automatic_payment_methods ?? null,
    canceled_at: null,
    cancellation_reason: null,
    capture_method: fields.capture_method ?? 'automatic_async',
    client_secret: newId.paymentIntentSecret(id),
    confirmation_method: 'automatic',
    created: app.clock.seconds(),
    currency: fields.currency,
    customer: fields.customer ?? null,
    customer_account: null,
    description: fields.description ?? null,
    excluded_payment_method_types: null,
    last_payment_error: null,
    latest_charge: null,
    livemode: false,
    metadata: mergeMetadata({}, fields.metadata),
    next_action: null,
    on_behalf_of: fields.on_behalf_of ?? null,
    payment_method: fields.payment_method ?? null,
    payment_method_configuration_details: null,
    payment_method_options: { card: { installments: null, mandate_options: null, network: null, request_three_d_secure: 'automatic' } },
    payment_method_types: typeNames,
    processing: null,
    receipt_email: fields.receipt_email ?? null,
    review: null,
    setup_future_usage: fields.setup_future_usage ?? null,
    shipping: null,
    source: null,
    statement_descriptor: fields.statement_descriptor ?? null,
    statement_descriptor_suffix: fields.statement_descriptor_suffix ?? null,
    status: fields.payment_method ? 'requires_confirmation' : 'requires_payment_method',
    transfer_data: fields.transfer_data ?? null,
    transfer_group: fields.transfer_group ?? null,
    [follower]: fields[follower],
  };
  app.store.payment_intents.add(intent, call?.idempotencyKey);
  app.events.emit('payment_intent.created', intent, call);
  return intent;
}

function confirm(app, intent, { payment_method: id = intent.payment_method }, call) {
  needStatus(
    intent,
    PAYABLE,
    () =>
      `This PaymentIntent's payment_method could not be updated because it has a status of ${intent.status}. You may only ` +
      `update the payment_method of a PaymentIntent with one of the following statuses: ${PAYABLE.join(', ')}.`,
  );
  if (id === null) {
    throw invalid("You cannot confirm this PaymentIntent because it's missing a payment method.", {
      code: 'payment_intent_unexpected_state',
      payment_intent: intent,
    });
  }
  const method = needPaymentMethod(app, id, call);
  const { challenge: challenged, decline: code } = behaviourOf(method);
  if (challenged) return challenge(app, intent, { method }, call);
  if (code === undefined) return pay(app, intent, { method }, call);
  const declined = decline(app, intent, { code, method }, call);
  throw new StripeError(402, { ...declined.last_payment_error, payment_intent: declined });
}

function create(app, call) {
  const { confirm: confirmed = false, return_url: returnUrl, ...fields } = call.params;
  checkAmount(fields.amount, fields.currency);
  checkConnect(app, fields);
  if (fields.customer !== undefined) app.store.customers.need(fields.customer, 'customer');
  if (fields.payment_method !== undefined) fields.payment_method = needPaymentMethod(app, fields.payment_method, call).id;
  fields.automatic_payment_methods = { allow_redirects: 'always', enabled: true, ...fields.automatic_payment_methods };
  const intent = addPaymentIntent(app, fields, call);
  return confirmed ? confirm(app, intent, {}, call) : intent;
}

function update(app, call) {
  const intent = app.store.payment_intents.need(call.id);
  const { metadata: given, expand, transfer_data: transfer, ...changes } = call.params;
  for (const name of ['amount', 'currency', 'customer', 'payment_method', 'application_fee_amount']) {
    if (changes[name] === undefined) continue;
    needStatus(
      intent,
      PAYABLE,
      () =>
        `This PaymentIntent's ${name} could not be updated because it has a status of ${intent.status}. You may only update ` +
        `the ${name} of a PaymentIntent with one of the following statuses: ${PAYABLE.join(', ')}.`,
      name,
    );
  }
  const after = { ...intent, ...changes, metadata: mergeMetadata(intent.metadata, given) };
  if (transfer && intent.transfer_data) after.transfer_data = { ...intent.transfer_data, ...transfer };
  checkAmount(after.amount, after.currency);
  checkConnect(app, after);
  if (changes.customer !== undefined) app.store.customers.need(changes.customer, 'customer');
  if (changes.payment_method !== undefined) {
    after.payment_method = needPaymentMethod(app, changes.payment_method, call).id;
    after.status = 'requires_confirmation';
  }
  return app.store.payment_intents.put(after);
}

function cancelNamed(app, call) {
  const intent = found(app, call);
  const session = openSessionOf(app, intent);
  if (session !== null) throw invalid('You cannot perform this action on PaymentIntents created by Checkout.');
  return cancel(app, intent, call.params.cancellation_reason, call);
}

// The Checkout Session whose page the intent is still payable on; that page is ended by expiring the session.
function openSessionOf(app, intent) {
  if (intent[follower] === undefined) return null;
  return app.store.checkout_sessions.having('payment_intent', intent.id).find(({ status }) => status === 'open') ?? null;
}

const list = (app, { params }) => app.store.payment_intents.page(params, { customer: params.customer, created: params.created });

const found = (app, call) => app.store.payment_intents.need(call.id);

export const endpoints = [
  { method: 'POST', path: '/v1/payment_intents', params: createParams, run: create },
  { method: 'GET', path: '/v1/payment_intents', params: { ...paging, created: timeRange, customer: string() }, run: list },
  searchEndpoint('payment_intents', '/v1/payment_intents/search', {
    amount: 'number',
    created: 'number',
    currency: 'token',
    customer: 'token',
    metadata: 'metadata',
    status: 'token',
  }),
  { method: 'GET', path: '/v1/payment_intents/:id', params: { client_secret: string() }, run: found },
  { method: 'POST', path: '/v1/payment_intents/:id', params: updateParams, run: update },
  {
    method: 'POST',
    path: '/v1/payment_intents/:id/confirm',
    params: { payment_method: string(), return_url: url },
    run: (app, call) => confirm(app, found(app, call), call.params, call),
  },
  {
    method: 'POST',
    path: '/v1/payment_intents/:id/cancel',
    params: { cancellation_reason: oneOf(...CANCELLATION_REASONS) },
    run: cancelNamed,
  },
];
