// /v1/setup_intents: saving a payment method for later. What the buyer does in a browser comes from control.mjs.
import { StripeError, invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { boolean, list as listOf, mergeMetadata, metadata, object, oneOf, paging, required, string, timeRange, url } from '../params.mjs';
import { addPaymentMethod, attach, behaviourOf, declineOf, needPaymentMethod, typeNames } from './payment_methods.mjs';

const CONFIRMABLE = ['requires_payment_method', 'requires_confirmation', 'requires_action'];

const createParams = {
  automatic_payment_methods: object({ allow_redirects: oneOf('always', 'never'), enabled: required(boolean) }),
  confirm: boolean,
  customer: string(),
  description: string({ max: 1000 }),
  metadata,
  payment_method: string(),
  payment_method_types: listOf(oneOf(...typeNames)),
  return_url: url,
  usage: oneOf('off_session', 'on_session'),
};

function create(app, call) {
  const { params } = call;
  if (params.automatic_payment_methods?.enabled && params.payment_method_types !== undefined) {
    throw invalid('You may only specify one of these parameters: automatic_payment_methods, payment_method_types.', { param: 'payment_method_types' });
  }
  if (params.customer !== undefined) app.store.customers.need(params.customer, 'customer');
  const method = params.payment_method === undefined ? null : needPaymentMethod(app, params.payment_method, call);
  const id = newId.setupIntent();
  const intent = {
    id,
    object: 'setup_intent',
    application: null,
    automatic_payment_methods:
      params.payment_method_types === undefined ? { allow_redirects: 'always', enabled: true, ...params.automatic_payment_methods } : null,
    cancellation_reason: null,
    client_secret: newId.setupIntentSecret(id),
    created: app.clock.seconds(),
    customer: params.customer ?? null,
    description: params.description ?? null,
    flow_directions: null,
    last_setup_error: null,
    latest_attempt: null,
    livemode: false,
    mandate: null,
    metadata: mergeMetadata({}, params.metadata),
    next_action: null,
    on_behalf_of: null,
    payment_method: method?.id ?? null,
    payment_method_options: { card: { mandate_options: null, network: null, request_three_d_secure: 'automatic' } },
    payment_method_types: params.payment_method_types ?? typeNames,
    single_use_mandate: null,
    status: method === null ? 'requires_payment_method' : 'requires_confirmation',
    usage: params.usage ?? 'off_session',
  };
  app.store.setup_intents.add(intent, call.idempotencyKey);
  app.events.emit('setup_intent.created', intent, call);
  return params.confirm ? confirm(app, intent, method, call) : intent;
}

function needStatus(intent, verb) {
  if (CONFIRMABLE.includes(intent.status)) return;
  throw invalid(`You cannot ${verb} this SetupIntent because it has a status of ${intent.status}.`, {
    code: 'setup_intent_unexpected_state',
    setup_intent: intent,
  });
}

function move(app, intent, type, call) {
  app.store.setup_intents.put(intent);
  app.events.emit(`setup_intent.${type}`, intent, call);
  return intent;
}

function succeed(app, intent, method, call) {
  if (intent.customer !== null) attach(app, method, intent.customer, call);
  const done = { ...intent, last_setup_error: null, next_action: null, payment_method: method.id, status: 'succeeded' };
  return move(app, done, 'succeeded', call);
}

function fail(app, intent, method, error, call) {
  const last = {
    ...error,
    doc_url: `https://stripe.com/docs/error-codes/${error.code.replaceAll('_', '-')}`,
    payment_method: method,
  };
  const failed = { ...intent, last_setup_error: last, next_action: null, payment_method: null, status: 'requires_payment_method' };
  return move(app, failed, 'setup_failed', call);
}

function confirm(app, intent, method, call) {
  needStatus(intent, 'confirm');
  if (method === null) {
    throw invalid("You cannot confirm this SetupIntent because it's missing a payment method.", {
      code: 'setup_intent_unexpected_state',
      setup_intent: intent,
    });
  }
  const { challenge, decline } = behaviourOf(method);
  if (challenge) {
    const url = `https://hooks.stripe.com/3d_secure_2/hosted?setup_intent=${intent.id}`;
    const asked = {
      ...intent,
      next_action: { redirect_to_url: { return_url: null, url }, type: 'redirect_to_url' },
      payment_method: method.id,
      status: 'requires_action',
    };
    return move(app, asked, 'requires_action', call);
  }
  if (decline === undefined) return succeed(app, intent, method, call);
  const failed = fail(app, intent, method, { ...declineOf(decline), type: 'card_error' }, call);
  throw new StripeError(402, { ...failed.last_setup_error, setup_intent: failed });
}

// The buyer saves a payment method on the client's form, or fails to: {method?: type, outcome?, code?}.
export function setUp(app, { setup_intent: id, method: type, outcome = 'succeeded', code = 'generic_decline' }) {
  const intent = app.store.setup_intents.need(id);
  needStatus(intent, 'set up');
  const method = app.store.payment_methods.get(intent.payment_method) ?? addPaymentMethod(app, { type });
  if (outcome === 'succeeded') return succeed(app, intent, method, null);
  if (outcome !== 'failed') throw invalid('outcome must be succeeded or failed', { param: 'outcome' });
  const failure = declineOf(code);
  if (failure === null) throw invalid(`There is no such decline: ${code}`, { param: 'code' });
  return fail(app, intent, method, { ...failure, type: 'card_error' }, null);
}

function cancel(app, call) {
  const intent = found(app, call);
  needStatus(intent, 'cancel');
  const reason = call.params.cancellation_reason ?? null;
  return move(app, { ...intent, cancellation_reason: reason, next_action: null, status: 'canceled' }, 'canceled', call);
}

function confirmNamed(app, call) {
  const intent = found(app, call);
  const id = call.params.payment_method ?? intent.payment_method;
  return confirm(app, intent, id === null ? null : needPaymentMethod(app, id, call), call);
}

function list(app, { params }) {
  const { created, customer, payment_method: method } = params;
  return app.store.setup_intents.page(params, { customer, payment_method: method, created });
}

const found = (app, call) => app.store.setup_intents.need(call.id);

export const endpoints = [
  { method: 'POST', path: '/v1/setup_intents', params: createParams, run: create },
  { method: 'GET', path: '/v1/setup_intents', params: { ...paging, created: timeRange, customer: string(), payment_method: string() }, run: list },
  { method: 'GET', path: '/v1/setup_intents/:id', params: { client_secret: string() }, run: found },
  { method: 'POST', path: '/v1/setup_intents/:id/confirm', params: { payment_method: string(), return_url: url }, run: confirmNamed },
  {
    method: 'POST',
    path: '/v1/setup_intents/:id/cancel',
    params: { cancellation_reason: oneOf('abandoned', 'duplicate', 'requested_by_customer') },
    run: cancel,
  },
];
