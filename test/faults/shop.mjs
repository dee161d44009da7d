// What the cells of the matrix sell, and what a buyer does: each cell is a user of its own with an order of its own.
import { Session, quote } from '../relay/support/database.mjs';
import { webhookSecret } from '../relay/support/server.mjs';
import { until } from '../relay/support/until.mjs';
import { addPaymentMethod } from '../stripe/resources/payment_methods.mjs';
import { signature } from '../stripe/webhooks.mjs';

const PATIENCE = 25000;
const SUCCESS_URL = "success_url => 'https://shop.example/paid'";

// The requests of a user: his own, and those about his orders.
const requestsOf = (user) => `(user_id = ${user} OR order_id IN (SELECT order_id FROM ticketing.orders WHERE user_id = ${user}))`;

export class Shop {
  #session = null;

  constructor(stripe) {
    this.stripe = stripe;
  }

  // SQL in the one session of the shop; what it prints.
  sql(text) {
    this.#session ??= new Session();
    return this.#session.query(text);
  }

  // The session is gone, as after a crash of the server.
  async forgetSession() {
    await this.#session?.close();
    this.#session = null;
  }

  async json(text) {
    return JSON.parse((await this.sql(text)) || 'null');
  }

  async open() {
    await this.sql(`SELECT cron.alter_job(jobid, active := false) FROM cron.job`);
    this.cart = await this.sql(`
      INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted)
      VALUES ('matrix-host', 'acct_matrixhost', true, true, true);
      WITH event AS (INSERT INTO public.events (host_id, title, start_date, max_attendees) VALUES ('matrix-host', 'Matrix', now() + interval '30 days', 5000) RETURNING id)
      INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total, max_per_user) SELECT id, 'Matrix', 1000, 5000, 10 FROM event
      RETURNING event_id || $$, '[{"ticket_type_id": "$$ || id || $$", "quantity": 2}]'$$`);
    this.event = Number.parseInt(this.cart, 10);
  }

  close() {
    return this.forgetSession();
  }

  // A tier of its own for a cell, with just the seats of one order.
  async ownTier(cell) {
    cell.tier = await this.sql(`INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total) VALUES (${this.event}, 'Own', 1000, 2) RETURNING id`);
    cell.cart = `${this.event}, '[{"ticket_type_id": "${cell.tier}", "quantity": 2}]'`;
  }

  // SQL that places a cell's order.
  order = (cell, options = '') => `SELECT ticketing.create_payment_intent(${quote(cell.user)}, ${cell.cart ?? this.cart}${options})`;
  sessionOrder = (cell) => `SELECT ticketing.create_checkout_session(${quote(cell.user)}, ${this.cart}, ${SUCCESS_URL})`;

  // SQL that asks again for what the cell's order can be paid by.
  askAgain = (cell, options = '') => `SELECT ticketing.create_payment_intent(${quote(cell.user)}, ${this.event}, NULL, ${quote(cell.order.reservation_id)}${options})`;
  askAgainForSession = (cell) => `SELECT ticketing.create_checkout_session(${quote(cell.user)}, ${this.event}, NULL, ${quote(cell.order.reservation_id)}, ${SUCCESS_URL})`;

  cancelOrder = (cell) => `SELECT ticketing.cancel_order(${quote(cell.order.order_id)}, ${quote(cell.user)})`;

  // A user whom Stripe and we know already.
  async knowCustomer(cell) {
    const { id } = this.stripe.app.store.customers.add({ id: `cus_${cell.user.replaceAll(/\W/g, '')}`, object: 'customer', invoice_settings: { default_payment_method: null }, metadata: { user_id: cell.user } });
    await this.sql(`INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES (${quote(cell.user)}, ${quote(id)})`);
  }

  // Places the cell's order before the fault, and waits until Stripe has answered.
  async placed(cell, order = this.order(cell)) {
    await this.knowCustomer(cell);
    cell.order = await this.json(order);
    await this.settled([cell]);
  }

  // What the client would be handed is lost.
  loseHandoff = (cell) => this.sql(`DELETE FROM ticketing.stripe_handoff WHERE user_id = ${quote(cell.user)}`);

  customerOf(cell) {
    return [...this.stripe.app.store.customers].find(({ metadata }) => metadata?.user_id === cell.user);
  }

  accountOf(cell) {
    return [...this.stripe.app.store.accounts].find(({ metadata }) => metadata?.host_id === cell.user);
  }

  // A user of Stripe's with a saved card.
  async saveMethod(cell) {
    await this.knowCustomer(cell);
    cell.method = addPaymentMethod(this.stripe.app, { customer: this.customerOf(cell).id });
  }

  onboarding = (cell) => `SELECT ticketing.connect_onboarding(${quote(cell.user)}, 'https://shop.example/return', 'https://shop.example/refresh')`;
  setDefault = (cell) => `SELECT ticketing.set_default_payment_method(${quote(cell.user)}, '${cell.method.id}')`;
  removeMethod = (cell) => `SELECT ticketing.remove_payment_method(${quote(cell.user)}, '${cell.method.id}')`;

  sessionOf(cell) {
    return [...this.stripe.app.store.checkout_sessions].find(({ metadata }) => metadata.order_id === cell.order?.order_id);
  }

  intentOf(cell) {
    return [...this.stripe.app.store.payment_intents].find(({ metadata }) => metadata.order_id === cell.order?.order_id);
  }

  // Those of the cells that have requests under way, with their states. What a later clock has asked for is not due.
  unsettled(cells) {
    return this.json(`
      SELECT coalesce(json_object_agg(buyer, states), '{}') FROM (
        SELECT coalesce(o.user_id, r.user_id) AS buyer, string_agg(format('%s %s after %s attempts', kind, r.state, attempts), ', ' ORDER BY seq) AS states
        FROM ticketing.stripe_requests r LEFT JOIN ticketing.orders o USING (order_id)
        WHERE (r.state IN ('ready', 'leased') AND r.created_at <= ticketing.clock() OR r.state IN ('done', 'failed') AND NOT applied)
          AND coalesce(o.user_id, r.user_id) IN (${cells.map(({ user }) => quote(user)).join(', ')})
        GROUP BY 1) u`);
  }

  // Waits until no request of the cells is under way; gives those that are stuck, with their states.
  async settled(cells) {
    let left;
    try {
      await until(async () => Object.keys((left = await this.unsettled(cells))).length === 0, 'settled', PATIENCE);
    } catch (error) {
      if (left === undefined) throw error;
    }
    return left;
  }

  stateOf = (cell) => this.sql(`SELECT state FROM ticketing.orders WHERE order_id = ${quote(cell.order.order_id)}`);
  handsOutNothing = async (cell) => (await this.sql(`SELECT count(*) FROM ticketing.stripe_handoff WHERE user_id = ${quote(cell.user)}`)) === '0';

  // The cell's time to pay is over, and then Stripe's grace, by a clock that nobody else follows.
  endWithoutStripe(cell) {
    const end = (minutes) => `SET LOCAL dvnt_ticketing.test_clock_offset = ${minutes * 60000}; SELECT FROM ticketing.end_due_orders(100000)`;
    const others = `UPDATE ticketing.orders SET due_at = due_at + interval '1 day' * $sign WHERE order_id <> ${quote(cell.order.order_id)} AND due_at IS NOT NULL`;
    // The cancel is of that time, too: the relay, whose clock is not ahead, leaves it alone.
    const cancel = `UPDATE ticketing.stripe_requests SET runnable = false WHERE order_id = ${quote(cell.order.order_id)} AND state = 'ready'`;
    return this.sql(`BEGIN; ${others.replace('$sign', '1')}; ${end(12)}; ${end(40)}; ${others.replace('$sign', '-1')}; ${cancel}; COMMIT`);
  }

  // What await_stripe says now of the cell's order.
  awaited = (cell, request = cell.order.stripe_request_id) => this.json(`SELECT ticketing.await_stripe(${quote(request)}, ${quote(cell.user)}, '0')`);

  // What the cell has come to here, in a form that can be compared with another cell's. That somebody looked whether a call had
  // happened (list_created) is the way there, not the end.
  effects(cell) {
    const user = quote(cell.user);
    return this.json(`SELECT json_build_object(
      'orders', (SELECT json_agg(o.state || ' ' || p.status ORDER BY o.created_at) FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE o.user_id = ${user}),
      'log', (SELECT json_agg(e.event || ' ' || e.to_state ORDER BY e.id) FROM ticketing.order_events e JOIN ticketing.orders o USING (order_id) WHERE o.user_id = ${user}),
      'seats held', (SELECT coalesce(sum(quantity), 0) FROM ticketing.ticket_holds WHERE user_id = ${user} AND status = 'active'),
      'tickets', (SELECT count(*) FROM public.tickets WHERE user_id = ${user} AND status = 'active'),
      'refunds', (SELECT json_agg(r.state || ' ' || r.reason) FROM ticketing.refunds r JOIN ticketing.orders o USING (order_id) WHERE o.user_id = ${user}),
      'paid by', (SELECT json_agg(p.state ORDER BY p.created_at) FROM ticketing.order_payments p JOIN ticketing.orders o USING (order_id) WHERE o.user_id = ${user}),
      'customers', (SELECT count(*) FROM public.stripe_customers WHERE user_id = ${user}),
      'findings', (SELECT count(*) FROM ticketing.findings f JOIN ticketing.orders o ON f.entity = 'orders/' || o.order_id WHERE o.user_id = ${user}),
      'requests', (SELECT json_object_agg(kind, what ORDER BY kind) FROM (
         SELECT kind, string_agg(state || CASE WHEN apply_error IS NOT NULL THEN ': ' || apply_error WHEN error IS NOT NULL AND state <> 'done' THEN ': ' || error::text ELSE '' END, ', ' ORDER BY seq) AS what
         FROM ticketing.stripe_requests WHERE ${requestsOf(user)} AND NOT (kind = 'list_created' AND state = 'done') GROUP BY kind) r))`);
  }

  // SQL that brings the event of a type that Stripe has for the cell's PaymentIntent, or a refund of it.
  webhook(cell, type) {
    const intent = this.intentOf(cell);
    const event = [...this.stripe.app.store.events].find(({ type: told, data: { object } }) => told === type && (object.id === intent.id || object.payment_intent === intent.id));
    const body = Buffer.from(JSON.stringify(event));
    return `SELECT ticketing.stripe_webhook('\\x${body.toString('hex')}', ${quote(signature(webhookSecret(), Math.floor(Date.now() / 1000), body))})`;
  }

  // How many objects of each type Stripe has for the cell.
  objects(cell) {
    const { store } = this.stripe.app;
    const customers = new Set(mine(store.customers, ({ metadata }) => metadata?.user_id === cell.user));
    const intents = new Set(mine(store.payment_intents, ({ metadata }) => metadata.order_id === cell.order?.order_id));
    const belongs = {
      customers: ({ id }) => customers.has(id),
      payment_intents: ({ id }) => intents.has(id),
      ephemeral_keys: ({ associated_objects: [{ id }] }) => customers.has(id),
      checkout_sessions: ({ metadata }) => metadata.order_id === cell.order?.order_id,
      refunds: ({ payment_intent: intent }) => intents.has(intent),
      setup_intents: ({ customer }) => customers.has(customer),
      payment_methods: ({ customer }) => customers.has(customer),
      accounts: ({ metadata }) => metadata?.host_id === cell.user,
    };
    const counts = {};
    for (const [name, test] of Object.entries(belongs)) {
      const count = mine(store[name] ?? [], test).length;
      if (count > 0) counts[name] = count;
    }
    return counts;
  }
}

const mine = (collection, test) => [...collection].filter(test).map(({ id }) => id);
