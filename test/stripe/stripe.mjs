// A local Stripe: puts the rooms together.
import { answerApi } from './api.mjs';
import { Clock } from './clock.mjs';
import { eventsOf } from './connect.mjs';
import { answerControl } from './control.mjs';
import { DEFAULT_API_VERSION, Events } from './events.mjs';
import { Faults } from './faults.mjs';
import { IdempotencyKeys } from './idempotency.mjs';
import { accountOf, newId } from './ids.mjs';
import { Journal } from './journal.mjs';
import { Ledger } from './ledger.mjs';
import { MoneyRules } from './money.mjs';
import { Rates } from './rates.mjs';
import { newAccount } from './resources/account.mjs';
import { createStore } from './store.mjs';
import { certificates } from './tls.mjs';
import { createTransport } from './transport.mjs';
import { Webhooks } from './webhooks.mjs';

// All state of one Stripe, without a network.
export function createApp({ key = 'sk_test_local', webhookUrl = null, webhookSecret = newId.webhookSecret(), webhookTypes } = {}) {
  const clock = new Clock();
  const store = createStore();
  const webhooks = new Webhooks({
    clock,
    secret: webhookSecret,
    onDelivered(event) {
      const events = eventsOf(app, event.account);
      if (events?.get(event.id) !== undefined) events.put({ ...event, pending_webhooks: 0 });
    },
  });
  webhooks.configure({ url: webhookUrl, types: webhookTypes });
  const accountId = accountOf(key);
  const app = {
    account: newAccount(accountId, clock.seconds()),
    accountId,
    apiVersion: DEFAULT_API_VERSION,
    bearer: `Bearer ${key}`,
    checksDestinations: false,
    clock,
    // The same for each connected account that has done something, by its id (connect.mjs).
    connected: new Map(),
    // Whose a payment or its refund is, by its id: a platform's objects name those of its connected accounts.
    elsewhere: new Map(),
    events: new Events({ clock, store, webhooks }),
    faults: new Faults(),
    idempotencyKeys: new IdempotencyKeys(clock),
    journal: new Journal(),
    key,
    ledger: new Ledger(clock, store.balance_transactions),
    money: new MoneyRules(),
    rates: new Rates(clock),
    refundsBecome: 'succeeded',
    searchDelay: 0,
    store,
    webhooks,

    // Forgets everything but the webhook endpoint.
    reset() {
      this.clock.reset();
      this.webhooks.clear();
      this.faults.clear();
      this.idempotencyKeys.clear();
      this.journal.clear();
      this.rates.reset();
      this.connected.clear();
      this.elsewhere.clear();
      this.ledger.clear();
      this.money.reset();
      this.checksDestinations = false;
      this.refundsBecome = 'succeeded';
      this.searchDelay = 0;
      for (const name in this.store) this.store[name].clear();
    },
  };
  // Also seen from a connected account.
  app.platform = app;
  return app;
}

// Serves a Stripe on the loopback with certificates in `dir`; port 0 takes any.
// Returns {app, base, ca, port, close()}.
export async function startStripe({ dir, port = 0, ...options }) {
  const { ca, ...pair } = await certificates(dir);
  const app = createApp(options);
  const server = createTransport(pair, (exchange) => {
    if (exchange.body === null) exchange.respondJson(413, { error: { message: 'The request is too large.', type: 'invalid_request_error' } });
    else if (exchange.path.startsWith('/_control/')) answerControl(app, exchange);
    else answerApi(app, exchange);
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const { port: taken } = server.address();
  return {
    app,
    base: `https://127.0.0.1:${taken}`,
    ca,
    port: taken,
    async close() {
      app.webhooks.close();
      app.clock.clear();
      await server.stop();
    },
  };
}
