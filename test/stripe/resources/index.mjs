// Every endpoint of the API: {method, path, params?, run(app, call)}.
import * as account from './account.mjs';
import * as accounts from './accounts.mjs';
import * as charges from './charges.mjs';
import * as checkoutSessions from './checkout_sessions.mjs';
import * as customers from './customers.mjs';
import * as ephemeralKeys from './ephemeral_keys.mjs';
import * as events from './events.mjs';
import * as paymentIntents from './payment_intents.mjs';
import * as paymentMethods from './payment_methods.mjs';
import * as refunds from './refunds.mjs';
import * as setupIntents from './setup_intents.mjs';

export const endpoints = [
  account,
  accounts,
  charges,
  checkoutSessions,
  customers,
  ephemeralKeys,
  events,
  paymentIntents,
  paymentMethods,
  refunds,
  setupIntents,
].flatMap((resource) => resource.endpoints);
