// The states a PaymentIntent goes through, whoever moves it: a call, a buyer in a browser (control.mjs), a bank days later.
import { invalid } from '../errors.mjs';
import { failCharge, newFailedCharge, newPendingCharge, succeedCharge } from './charges.mjs';
import { addPaymentMethod, attach, debitFailureOf, declineOf, isDelayed } from './payment_methods.mjs';

export const PAYABLE = ['requires_payment_method', 'requires_confirmation', 'requires_action'];
const CANCELABLE = ['requires_payment_method', 'requires_capture', 'requires_confirmation', 'requires_action', 'processing'];

// Who is to hear of an intent's changes, (app, intent, call): the Checkout Session that made it. Not shown.
export const follower = Symbol('follower');

// Stores a newer version of an intent, and tells of it after `charge` was told of.
function move(app, intent, type, call, charge) {
  app.store.payment_intents.put(intent);
  if (charge !== undefined) app.events.emit(`charge.${charge.status}`, charge, call);
  app.events.emit(`payment_intent.${type}`, intent, call);
  intent[follower]?.(app, intent, call);
  return intent;
}

export function needStatus(intent, allowed, message, param) {
  if (allowed.includes(intent.status)) return;
  throw invalid(message(), { code: 'payment_intent_unexpected_state', param, payment_intent: intent });
}

const needPayable = (intent, verb) =>
  needStatus(intent, PAYABLE, () => `You cannot ${verb} this PaymentIntent because it has a status of ${intent.status}.`);

// Pays an intent; `received` differs from its amount only where a test wants it to. A delayed method only begins to.
export function pay(app, intent, { received = intent.amount, method, type } = {}, call = null) {
  needPayable(intent, 'pay');
  method ??= addPaymentMethod(app, { type });
  if (intent.setup_future_usage !== null && intent.customer !== null) method = attach(app, method, intent.customer, call);
  const charge = newPendingCharge(app, intent, received, method);
  if (isDelayed(method.type)) {
    const processing = { ...intent, last_payment_error: null, latest_charge: charge.id, next_action: null, payment_method: method.id, status: 'processing' };
    return move(app, processing, 'processing', call, charge);
  }
  return succeed(app, { ...intent, payment_method: method.id }, charge, call);
}

function succeed(app, intent, pending, call) {
  const charge = succeedCharge(app, pending, intent, call);
  const paid = {
    ...intent,
    amount_received: charge.amount,
    last_payment_error: null,
    latest_charge: charge.id,
    next_action: null,
    status: 'succeeded',
  };
  return move(app, paid, 'succeeded', call, charge);
}

// The bank asks the buyer who they are (3-D Secure).
export function challenge(app, intent, { method } = {}, call = null) {
  needPayable(intent, 'challenge');
  method ??= addPaymentMethod(app);
  const asked = {
    ...intent,
    last_payment_error: null,
    next_action: {
      redirect_to_url: { return_url: null, url: `https://hooks.stripe.com/3d_secure_2/hosted?payment_intent=${intent.id}` },
      type: 'redirect_to_url',
    },
    payment_method: method.id,
    status: 'requires_action',
  };
  return move(app, asked, 'requires_action', call);
}

// What was left open comes to its end: a challenge is passed or not, a delayed payment arrives or not.
export function settle(app, intent, { outcome = 'succeeded', code, received } = {}) {
  if (!['succeeded', 'failed'].includes(outcome)) throw invalid('outcome must be succeeded or failed', { param: 'outcome' });
  needStatus(intent, ['processing', 'requires_action'], () => `You cannot settle this PaymentIntent because it has a status of ${intent.status}.`);
  const method = app.store.payment_methods.get(intent.payment_method);
  if (intent.status === 'requires_action') {
    if (outcome === 'succeeded') return pay(app, intent, { method, received });
    return fail(app, intent, method, UNAUTHENTICATED);
  }
  const charge = app.store.charges.get(intent.latest_charge);
  if (outcome === 'succeeded') return succeed(app, intent, received === undefined ? charge : { ...charge, amount: received }, null);
  const failure = debitFailureOf(code ?? 'insufficient_funds');
  if (failure === null) throw invalid(`There is no such failure: ${code}`, { param: 'code' });
  return fail(app, intent, method, { ...failure, type: 'card_error' }, failCharge(app, charge, failure), null);
}

const UNAUTHENTICATED = {
  code: 'payment_intent_authentication_failure',
  message:
    'The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod to ' +
    'attempt to fulfill this PaymentIntent again.',
  type: 'invalid_request_error',
};

// Lets a payment be declined; the intent stays payable.
export function decline(app, intent, { code = 'generic_decline', method } = {}, call = null) {
  needPayable(intent, 'decline');
  const failure = declineOf(code);
  if (failure === null) throw invalid(`There is no such decline: ${code}`, { param: 'code' });
  method ??= addPaymentMethod(app);
  return fail(app, intent, method, { ...failure, type: 'card_error' }, newFailedCharge(app, intent, method, failure), call);
}

function fail(app, intent, method, error, charge, call = null) {
  const failed = {
    ...intent,
    last_payment_error: {
      ...error,
      ...(charge && { charge: charge.id }),
      doc_url: `https://stripe.com/docs/error-codes/${error.code.replaceAll('_', '-')}`,
      payment_method: method,
    },
    latest_charge: charge?.id ?? intent.latest_charge,
    next_action: null,
    payment_method: null,
    status: 'requires_payment_method',
  };
  return move(app, failed, 'payment_failed', call, charge);
}

export function cancel(app, intent, reason = null, call = null) {
  needStatus(
    intent,
    CANCELABLE,
    () =>
      `You cannot cancel this PaymentIntent because it has a status of ${intent.status}. Only a PaymentIntent with one of ` +
      `the following statuses may be canceled: ${CANCELABLE.join(', ')}.`,
  );
  const charge = intent.status === 'processing' ? app.store.charges.get(intent.latest_charge) : undefined;
  const canceled = {
    ...intent,
    canceled_at: app.clock.seconds(),
    cancellation_reason: reason,
    next_action: null,
    status: 'canceled',
  };
  return move(app, canceled, 'canceled', call, charge && failCharge(app, charge, CALLED_OFF));
}

const CALLED_OFF = { code: 'payment_intent_canceled', message: 'The payment was canceled before it was processed.' };
