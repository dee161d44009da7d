// Buyers: each places an order, waits for what he needs to pay it, a client secret or the URL of Stripe's page, and pays,
// some after a card that is declined. They meet a database that goes away, and ask again under the same request id.
import { randomUUID } from 'node:crypto';
import { quote } from '../relay/support/database.mjs';
import { pause } from '../relay/support/until.mjs';
import { atStripe } from '../stripe/at_stripe.mjs';
import { Client } from './client.mjs';

const DECLINED = 0.2;
const MOBILE = 0.1;
const ON_STRIPES_PAGE = 0.15;
const PAGE = "success_url => 'https://shop.example/paid', ";

export class Buyers {
  placed = 0;
  declined = 0;
  askedAgain = 0;
  onPage = 0;
  orders = new Map(); // by order id

  constructor({ pool, stripe, carts, users }) {
    Object.assign(this, { client: new Client(pool), stripe, carts, users });
  }

  // Places and pays so many orders, some at once.
  async buy(count, atOnce, onPlaced = () => {}, onPaid = () => {}) {
    let left = count;
    const buyer = async () => {
      while (left > 0) {
        left -= 1;
        const order = await this.place();
        onPlaced();
        await this.#pay(order);
        onPaid(order);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, buyer));
  }

  // Places an order and waits for what it can be paid with.
  async place(byPage = Math.random() < ON_STRIPES_PAGE) {
    const user = this.users[Math.floor(Math.random() * this.users.length)];
    const { event, items } = this.carts[Math.floor(Math.random() * this.carts.length)];
    const mobile = Math.random() < MOBILE;
    const call = byPage ? 'create_checkout_session' : 'create_payment_intent';
    const options = byPage ? PAGE : mobile ? "mobile_api_version => '2026-10-28.endive', " : '';
    const order = await this.client.ask(`SELECT ticketing.${call}(${quote(user)}, ${event}, ${quote(items())}, ${options}request_id => '${randomUUID()}')`);
    this.placed += 1;
    this.onPage += byPage;
    const known = { user, order_id: order.order_id, reservation_id: order.reservation_id, event, call, options: byPage ? PAGE : '' };
    this.orders.set(order.order_id, known);
    return Object.assign(known, await this.#handOut(known, order.stripe_request_id));
  }

  async #handOut(order, request) {
    for (;;) {
      const answer = await this.client.ask(`SELECT ticketing.await_stripe('${request}', ${quote(order.user)}, '3 s')`);
      const { client_secret: secret, url = null, checkout_session_id: session } = answer;
      if (secret !== null) return { secret, object: { payment_intent: secret.split('_secret_')[0] } };
      if (url !== null) return { secret: url, object: { checkout_session: session } };
      if (answer.status === 'failed') throw new Error(`the order of ${order.user} failed: ${JSON.stringify(answer)}`);
      // A crash has taken the secret between the answer and our asking.
      if (answer.status === 'done') {
        this.askedAgain += 1;
        ({ stripe_request_id: request } = await this.client.ask(
          `SELECT ticketing.${order.call}(${quote(order.user)}, ${order.event}, NULL, '${order.reservation_id}', ${order.options}request_id => '${randomUUID()}')`,
        ));
      }
    }
  }

  async #pay(order) {
    const { payment_intents: intents, checkout_sessions: sessions } = this.stripe.app.store;
    const { payment_intent: intent, checkout_session: session } = order.object;
    const { client_secret: secret, url } = intent ? intents.need(intent) : sessions.need(session);
    if (order.secret !== (intent ? secret : url)) throw new Error(`what ${order.order_id} was handed is not that of ${intent ?? session}`);
    if (Math.random() < DECLINED) {
      this.declined += 1;
      atStripe(this.stripe, 'decline', { ...order.object, code: 'generic_decline' });
      await pause(Math.random() * 100);
    }
    atStripe(this.stripe, 'pay', order.object);
  }
}
