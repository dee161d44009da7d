// Connect: a connected account has objects, events, money and idempotency keys of its own, which the header Stripe-Account opens.
import { StripeError } from './errors.mjs';
import { IdempotencyKeys } from './idempotency.mjs';
import { Ledger } from './ledger.mjs';
import { createStore } from './store.mjs';

// The app as the account of this id has it; the platform's own is the app itself.
export function onAccount(app, id) {
  if (id === app.account.id) return app;
  if (app.store.accounts.get(id) === undefined) throw noAccess(app, id);
  return scopeOf(app, id);
}

// The same whether or not the platform has access to it (still): money goes there all the same.
export function scopeOf({ platform }, id) {
  if (id === platform.accountId) return platform;
  let scoped = platform.connected.get(id);
  if (scoped === undefined) {
    const store = createStore();
    scoped = Object.create(platform, {
      account: { get: () => platform.store.accounts.get(id) },
      accountId: { value: id },
      events: { value: platform.events.on(id, store) },
      idempotencyKeys: { value: new IdempotencyKeys(platform.clock) },
      ledger: { value: new Ledger(platform.clock, store.balance_transactions) },
      store: { value: store },
    });
    platform.connected.set(id, scoped);
  }
  return scoped;
}

// Where the events of an account are; undefined is the platform.
export const eventsOf = (app, account) => (account === undefined ? app : app.connected.get(account))?.store.events;

export const noAccess = (app, id) =>
  new StripeError(403, {
    code: 'account_invalid',
    message:
      `The provided key '${masked(app.key)}' does not have access to account '${id}' (or that account does not exist). ` +
      'Application access may have been revoked.',
  });

// A key as Stripe's errors show it: its kind and its last four characters.
export const masked = (key) => key.slice(0, 8) + '*'.repeat(Math.max(0, key.length - 12)) + key.slice(8).slice(-4);
