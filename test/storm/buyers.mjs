// Buyers: each places an order, waits for its client secret, and pays with it, some after a card that is declined. They
// meet a database that goes away, and ask again under the same request id.
import { randomUUID } from 'node:crypto';
import { quote } from '../relay/support/database.mjs';
import { atStripe } from '../stripe/at_stripe.mjs';

const DECLINED = 0.2;
const MOBILE = 0.1;
const AGAIN_AFTER = 100;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Buyers {
  placed = 0;
  declined = 0;
  repeated = 0;
  askedAgain = 0;
  orders = new Map(); // by order id: {user, client_secret}

  constructor({ pool, stripe, carts, users }) {
    Object.assign(this, { pool, stripe, carts, users });
  }

  // Places and pays so many orders, some at once.
  async buy(count, atOnce, onPlaced = () => {}) {
    let left = count;
    const buyer = async () => {
      while (left > 0) {
        left -= 1;
        const order = await this.place();
        onPlaced();
        await this.#pay(order);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, buyer));
  }

  // Places an order and waits for its client secret.
  async place() {
    const user = this.users[Math.floor(Math.random() * this.users.length)];
    const { event, items } = this.carts[Math.floor(Math.random() * this.carts.length)];
    const mobile = Math.random() < MOBILE;
    const options = `${mobile ? "mobile_api_version => '2026-10-28.endive', " : ''}request_id => '${randomUUID()}'`;
    const order = await this.#ask(`SELECT ticketing.create_payment_intent(${quote(user)}, ${event}, ${quote(items())}, ${options})`);
    this.placed += 1;
    const known = { user, order_id: order.order_id, reservation_id: order.reservation_id, event, client_secret: null };
    this.orders.set(order.order_id, known);
    known.client_secret = await this.#secretOf(known, order.stripe_request_id);
    return known;
  }

  async #secretOf(order, request) {
    for (;;) {
      const answer = await this.#ask(`SELECT ticketing.await_stripe('${request}', ${quote(order.user)}, '3 s')`);
      if (answer.client_secret !== null) return answer.client_secret;
      if (answer.status === 'failed') throw new Error(`the order of ${order.user} failed: ${JSON.stringify(answer)}`);
      // A crash has taken the secret between the answer and our asking.
      if (answer.status === 'done') {
        this.askedAgain += 1;
        ({ stripe_request_id: request } = await this.#ask(
          `SELECT ticketing.create_payment_intent(${quote(order.user)}, ${order.event}, NULL, '${order.reservation_id}', request_id => '${randomUUID()}')`,
        ));
      }
    }
  }

  async #pay(order) {
    const [id] = order.client_secret.split('_secret_');
    const intent = this.stripe.app.store.payment_intents.need(id);
    if (intent.client_secret !== order.client_secret) throw new Error(`the client secret of ${order.order_id} is not that of ${id}`);
    if (Math.random() < DECLINED) {
      this.declined += 1;
      atStripe(this.stripe, 'decline', { payment_intent: id, code: 'generic_decline' });
      await pause(Math.random() * 100);
    }
    atStripe(this.stripe, 'pay', { payment_intent: id });
  }

  // The answer of a statement, which is sent again until it has one.
  async #ask(statement) {
    for (;;) {
      try {
        return JSON.parse(await this.pool.query(statement));
      } catch (error) {
        if (/^PT/.test(error.sqlstate ?? '')) throw error;
        this.repeated += 1;
        await pause(AGAIN_AFTER);
      }
    }
  }
}
