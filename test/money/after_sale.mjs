// What happens to orders after they were paid: hosts refund tickets, somebody refunds at Stripe's dashboard, refunds come back,
// banks are asked to take payments back and decide. Clients meet a database that goes away, and ask again.
import { randomUUID } from 'node:crypto';
import { quote } from '../relay/support/database.mjs';
import { pause } from '../relay/support/until.mjs';
import { Client } from '../storm/client.mjs';
import { atStripe } from '../stripe/at_stripe.mjs';

const AGAIN_AFTER = 200;
const UNTIL_PAID = 20; // times that a host looks whether the order is paid; its webhook may be lost

export class AfterSale {
  counts = {};
  #underWay = new Set();

  constructor({ pool, stripe, host, share }) {
    Object.assign(this, { client: new Client(pool, { after: () => AGAIN_AFTER }), stripe, host, share });
  }

  // For an order that was just paid.
  onPaid(order) {
    if (Math.random() >= this.share) return;
    const kind = [this.#refund, this.#refund, this.#dashboard, this.#comeBack, this.#dispute, this.#dispute][Math.floor(Math.random() * 6)];
    const task = pause(Math.random() * 3000)
      .then(() => kind.call(this, order))
      .finally(() => this.#underWay.delete(task));
    this.#underWay.add(task);
  }

  async finished() {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  #count(name) {
    this.counts[name] = (this.counts[name] ?? 0) + 1;
  }

  #intentOf({ object }) {
    const { payment_intents: intents, checkout_sessions: sessions } = this.stripe.app.store;
    return intents.get(object.payment_intent ?? sessions.get(object.checkout_session).payment_intent);
  }

  async #refund({ order_id: order, user }) {
    for (let i = 0; i < UNTIL_PAID; i++) {
      const { tickets } = await this.client.ask(`SELECT ticketing.order_status('${order}', ${quote(user)})`);
      const some = tickets.filter(() => Math.random() < 0.6).map(({ ticket_id: id }) => `'${id}'`);
      if (some.length > 0) {
        await this.client.ask(`SELECT ticketing.refund_order('${order}', ${quote(this.host)}, ARRAY[${some.join(', ')}]::uuid[], request_id => '${randomUUID()}')`);
        this.#count(some.length === tickets.length ? 'orders refunded' : 'some tickets refunded');
        return;
      }
      await pause(AGAIN_AFTER);
    }
    this.#count('refunds not asked for: the order did not seem paid');
  }

  async #dashboard(order) {
    const { id, amount } = this.#intentOf(order);
    const part = Math.random() < 0.3 ? amount : 1 + Math.floor(Math.random() * 500);
    atStripe(this.stripe, 'refund', { payment_intent: id, amount: part, reverse_transfer: true, refund_application_fee: true });
    this.#count(part === amount ? 'orders refunded at the dashboard' : 'parts refunded at the dashboard');
  }

  // A refund that arrives, and a while later has not.
  async #comeBack(order) {
    await this.#refund(order);
    await pause(1000);
    const found = [...this.stripe.app.store.refunds.having('payment_intent', this.#intentOf(order).id)].find(({ status }) => status === 'succeeded');
    if (found === undefined) return;
    atStripe(this.stripe, 'settle', { refund: found.id, outcome: 'failed' });
    this.#count('refunds that came back');
  }

  async #dispute(order) {
    const { id } = atStripe(this.stripe, 'dispute', { payment_intent: this.#intentOf(order).id });
    this.#count('disputes');
    await pause(Math.random() * 2000);
    const become = [null, 'won', 'lost'][Math.floor(Math.random() * 3)];
    if (become === null) return;
    atStripe(this.stripe, 'dispute', { dispute: id, become });
    this.#count(`disputes ${become}`);
  }
}
