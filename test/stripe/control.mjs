// The control endpoint, /_control: what tests do that no API call can. JSON in and out, no key; see README.md.
import { StripeError, invalid } from './errors.mjs';
import { eventsOf, onAccount } from './connect.mjs';
import { changeAccount } from './resources/accounts.mjs';
import { intentOf } from './resources/checkout_sessions.mjs';
import { moveDispute, openDispute } from './resources/disputes.mjs';
import { challenge, decline, pay, settle } from './resources/payment_states.mjs';
import { movePayout, payOut } from './resources/payouts.mjs';
import { letRefunds, refund, refundableCharge, settleRefund } from './resources/refunds.mjs';
import { setUp } from './resources/setup_intents.mjs';
import { describeSums } from './sums.mjs';

const actions = {
  'POST /_control/pay': (app, { amount_received: received, method: type, ...what }) => moved(app, what, pay, { received, type }),
  'POST /_control/decline': (app, { code, ...what }) => moved(app, what, decline, { code }),
  'POST /_control/challenge': (app, what) => moved(app, what, challenge),
  'POST /_control/settle'(app, { amount_received: received, code, outcome, reason, refund: id, ...what }) {
    if (id !== undefined) return settleRefund(app, app.store.refunds.need(id), { outcome, reason });
    const { checkout_session: session } = what;
    if (session !== undefined) what = { payment_intent: app.store.checkout_sessions.need(session).payment_intent };
    const settled = moved(app, what, settle, { code, outcome, received });
    return session === undefined ? settled : app.store.checkout_sessions.get(session);
  },

  'POST /_control/refund'(app, { amount, charge, payment_intent: intent, reason, refund_application_fee: withFee, reverse_transfer: reversed }) {
    const found = refundableCharge(app, { charge, payment_intent: intent });
    return refund(app, found, { amount, reason, refund_application_fee: withFee, reverse_transfer: reversed });
  },

  'POST /_control/refunds': letRefunds,

  'POST /_control/dispute'(app, { become, dispute: id, ...what }) {
    return id === undefined ? openDispute(app, what) : moveDispute(app, app.store.disputes.need(id), become);
  },

  'POST /_control/payout'(app, { account, payout: id, ...what }) {
    if (id === undefined) return payOut(account === undefined ? app : onAccount(app, account), what);
    const on = [app, ...app.connected.values()].find(({ store }) => store.payouts.get(id) !== undefined) ?? app;
    return movePayout(on, on.store.payouts.need(id), what);
  },

  'GET /_control/money': (app) => app.money.describe(),
  'POST /_control/money': (app, change) => app.money.set(change),
  'GET /_control/sums': describeSums,

  'POST /_control/setup': setUp,
  'POST /_control/search'(app, { delay }) {
    if (!(delay >= 0)) throw invalid('A search needs a delay in seconds.', { param: 'delay' });
    app.searchDelay = delay;
    return { delay };
  },

  'POST /_control/account': changeAccount,
  'POST /_control/connect'(app, { check_destinations: checks }) {
    app.checksDestinations = checks === true;
    return { check_destinations: app.checksDestinations };
  },

  'GET /_control/faults': (app) => app.faults.list(),
  'POST /_control/faults': (app, spec) => app.faults.add(spec),
  'DELETE /_control/faults'(app) {
    app.faults.clear();
    return {};
  },

  'GET /_control/clock': (app) => app.clock.describe(),
  'POST /_control/clock': (app, change) => app.clock.set(change),

  'GET /_control/state'(app) {
    const { store } = app;
    const counts = {};
    for (const name in store) counts[name] = store[name].size;
    return {
      counts,
      payment_intents: pick(store.payment_intents, ['id', 'status', 'amount', 'amount_received', 'currency', 'metadata', 'latest_charge']),
      checkout_sessions: pick(store.checkout_sessions, ['id', 'status', 'payment_status', 'amount_total', 'currency', 'metadata', 'payment_intent']),
      refunds: pick(store.refunds, ['id', 'status', 'amount', 'currency', 'metadata', 'payment_intent', 'charge']),
      customers: pick(store.customers, ['id', 'email', 'metadata', 'invoice_settings']),
      payment_methods: pick(store.payment_methods, ['id', 'type', 'customer']),
      disputes: pick(store.disputes, ['id', 'status', 'amount', 'currency', 'reason', 'payment_intent', 'charge']),
      transfers: pick(store.transfers, ['id', 'amount', 'amount_reversed', 'currency', 'destination', 'metadata', 'source_transaction', 'transfer_group']),
      setup_intents: pick(store.setup_intents, ['id', 'status', 'customer', 'metadata', 'payment_method']),
      accounts: pick(store.accounts, ['id', 'type', 'charges_enabled', 'payouts_enabled', 'details_submitted', 'metadata']),
    };
  },

  'GET /_control/rates': (app) => app.rates.describe(),
  'POST /_control/rates': (app, limits) => app.rates.limit(limits),
  'DELETE /_control/rates'(app) {
    app.rates.recount();
    return {};
  },

  'GET /_control/requests': (app) => app.journal.list(),
  'GET /_control/deliveries': (app) => app.webhooks.list(),
  'GET /_control/deliveries/counts': (app) => app.webhooks.counts(),

  'POST /_control/resend'(app, { event: id, account }) {
    const event = (eventsOf(app, account) ?? app.store.events).need(id);
    app.webhooks.deliver({ ...event, pending_webhooks: 1 });
    return event;
  },

  'GET /_control/webhook': describeWebhook,
  'POST /_control/webhook'(app, { api_version: version, connect_secret: connectSecret, disorder, events: types, secret, url }) {
    if (version !== undefined) app.events.apiVersion = version;
    if (disorder !== undefined) app.webhooks.disorder(disorder);
    app.webhooks.configure({ url, secret, connectSecret, types });
    return describeWebhook(app);
  },

  'POST /_control/reset'(app) {
    app.reset();
    return {};
  },
};

// Moves the PaymentIntent that is named, or that of the Checkout Session that is; returns what was named.
function moved(app, { checkout_session: session, payment_intent: intent }, move, options) {
  if (session === undefined) return move(app, app.store.payment_intents.need(intent), options);
  move(app, intentOf(app, app.store.checkout_sessions.need(session)), options);
  return app.store.checkout_sessions.get(session);
}

function describeWebhook(app) {
  return { ...app.webhooks.describe(), api_version: app.events.apiVersion };
}

// The named members of each object, with the idempotency key that made it.
const pick = (collection, members) =>
  Array.from(collection, (object) => ({
    ...Object.fromEntries(members.map((member) => [member, object[member]])),
    idempotency_key: collection.origin(object.id),
  }));

// Answers an exchange (see transport.mjs) under /_control.
export function answerControl(app, exchange) {
  try {
    const action = actions[`${exchange.method} ${exchange.path}`];
    if (action === undefined) throw new StripeError(404, { message: `No such control: ${exchange.method} ${exchange.path}` });
    exchange.respondJson(200, action(app, parse(exchange.body)));
  } catch (error) {
    if (!(error instanceof StripeError)) console.error(error);
    exchange.respondJson(error.status ?? 500, error instanceof StripeError ? error.body() : { error: { message: error.message } });
  }
}

function parse(body) {
  let value;
  try {
    value = JSON.parse(body || '{}');
  } catch (error) {
    throw invalid(`The body is not JSON: ${error.message}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw invalid('The body is not a JSON object.');
  return value;
}
