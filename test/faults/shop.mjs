// What the cells of the matrix sell, and what a buyer does: each cell is a user of its own with an order of its own.
import { Session, quote } from '../relay/support/database.mjs';
import { until } from '../relay/support/until.mjs';

const PATIENCE = 40000;

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

  // SQL that places a cell's order.
  order = (cell, options = '') => `SELECT ticketing.create_payment_intent(${quote(cell.user)}, ${this.cart}${options})`;

  // SQL that asks again for the PaymentIntent of the cell's order.
  askAgain = (cell) => `SELECT ticketing.create_payment_intent(${quote(cell.user)}, ${this.event}, NULL, ${quote(cell.order.reservation_id)})`;

  // A user whom Stripe and we know already.
  async knowCustomer(cell) {
    const { id } = this.stripe.app.store.customers.add({ id: `cus_${cell.user.replaceAll(/\W/g, '')}`, object: 'customer', metadata: { user_id: cell.user } });
    await this.sql(`INSERT INTO public.stripe_customers (user_id, stripe_customer_id) VALUES (${quote(cell.user)}, ${quote(id)})`);
  }

  // Places the cell's order before the fault, and waits until Stripe has answered.
  async placed(cell, options) {
    await this.knowCustomer(cell);
    cell.order = await this.json(this.order(cell, options));
    await this.settled([cell]);
  }

  intentOf(cell) {
    return [...this.stripe.app.store.payment_intents].find(({ metadata }) => metadata.order_id === cell.order?.order_id);
  }

  // Those of the cells that have requests under way, with their states.
  async unsettled(cells) {
    return await this.json(`
      SELECT coalesce(json_object_agg(user_id, states), '{}') FROM (
        SELECT user_id, string_agg(format('%s %s after %s attempts', kind, state, attempts), ', ' ORDER BY seq) AS states FROM ticketing.stripe_requests
        WHERE (state IN ('ready', 'leased') OR state IN ('done', 'failed') AND NOT applied) AND user_id IN (${cells.map(({ user }) => quote(user)).join(', ')})
        GROUP BY user_id) u`);
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

  // What await_stripe says now of the cell's order.
  awaited = (cell, request = cell.order.stripe_request_id) => this.json(`SELECT ticketing.await_stripe(${quote(request)}, ${quote(cell.user)}, '0')`);

  // What the cell has come to here, in a form that can be compared with another cell's.
  effects(cell) {
    const user = quote(cell.user);
    return this.json(`SELECT json_build_object(
      'orders', (SELECT json_agg(o.state || ' ' || p.status ORDER BY o.created_at) FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE o.user_id = ${user}),
      'log', (SELECT json_agg(e.event || ' ' || e.to_state ORDER BY e.id) FROM ticketing.order_events e JOIN ticketing.orders o USING (order_id) WHERE o.user_id = ${user}),
      'seats held', (SELECT coalesce(sum(quantity), 0) FROM ticketing.ticket_holds WHERE user_id = ${user} AND status = 'active'),
      'tickets', (SELECT count(*) FROM public.tickets WHERE user_id = ${user} AND status = 'active'),
      'customers', (SELECT count(*) FROM public.stripe_customers WHERE user_id = ${user}),
      'findings', (SELECT count(*) FROM ticketing.findings f JOIN ticketing.orders o ON f.entity = 'orders/' || o.order_id WHERE o.user_id = ${user}),
      'requests', (SELECT json_object_agg(kind, what ORDER BY kind) FROM (
         SELECT kind, string_agg(state || CASE WHEN apply_error IS NOT NULL THEN ': ' || apply_error WHEN error IS NOT NULL AND state <> 'done' THEN ': ' || error::text ELSE '' END, ', ' ORDER BY seq) AS what
         FROM ticketing.stripe_requests WHERE user_id = ${user} GROUP BY kind) r))`);
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
