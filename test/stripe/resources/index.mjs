// Every endpoint of the API: {method, path, params?, run(app, call)}.
import * as account from './account.mjs';
import * as accounts from './accounts.mjs';
import * as applicationFees from './application_fees.mjs';
import * as balance from './balance.mjs';
import * as charges from './charges.mjs';
import * as checkoutSessions from './checkout_sessions.mjs';
import * as customers from './customers.mjs';
import * as disputes from './disputes.mjs';
import * as ephemeralKeys from './ephemeral_keys.mjs';
import * as events from './events.mjs';
import * as paymentIntents from './payment_intents.mjs';
import * as paymentMethods from './payment_methods.mjs';
import * as payouts from './payouts.mjs';
import * as refunds from './refunds.mjs';
import * as setupIntents from './setup_intents.mjs';
import * as transfers from './transfers.mjs';

export const endpoints = [
  account,
  accounts,
  applicationFees,
  balance,
  charges,
  checkoutSessions,
  customers,
  disputes,
  ephemeralKeys,
  events,
  paymentIntents,
  paymentMethods,
  payouts,
  refunds,
  setupIntents,
  transfers,
].flatMap((resource) => resource.endpoints);
