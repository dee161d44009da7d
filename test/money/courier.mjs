// Between the database and a local Stripe in the same process: carries the outbox's calls, and brings Stripe's events, in an
// order of one's own. The cluster is that of the PG variables.
import { Session, quote } from '../relay/support/database.mjs';
import { webhookSecret } from '../relay/support/server.mjs';
import { callDirectly } from '../stripe/direct.mjs';
import { signature } from '../stripe/webhooks.mjs';

const CLAIM = 200;
const AT_ONCE = 50; // statements in one message

export class Courier {
  #app;
  #seen = 0; // of Stripe's events
  session = new Session();
  answers = []; // what Stripe has said and nobody has brought yet

  constructor(app) {
    this.#app = app;
  }

  async start() {
    await this.session.query(`SELECT ticketing.relay_start('${this.#app.accountId}', false, '')`);
  }

  // Runs SQL and returns the rows of its one JSON column.
  async rows(text) {
    return JSON.parse((await this.session.query(`SELECT coalesce(json_agg(r), '[]') FROM (${text}) r`)) || '[]');
  }

  async all(statements) {
    for (let i = 0; i < statements.length; i += AT_ONCE) await this.session.query(statements.slice(i, i + AT_ONCE).join(';\n'));
  }

  // Stripe executes what is in the outbox; its answers wait in `answers`. How many there were.
  async call() {
    const calls = await this.rows(`SELECT c.id, c.lease_token, c.method, c.path, c.body, c.stripe_account, c.idempotency_key, r.order_id FROM ticketing.relay_claim(${CLAIM}, '10 minutes') c JOIN ticketing.stripe_requests r USING (id)`);
    for (const { id, lease_token: token, method, path, body, stripe_account: account, idempotency_key: key, order_id: order } of calls) {
      const headers = { 'idempotency-key': key, ...(account && { 'stripe-account': account }) };
      const query = method === 'GET' && body ? `?${body}` : '';
      const { status, text } = callDirectly(this.#app, method, path + query, method === 'GET' ? '' : body, headers);
      this.answers.push({ id, token, status, text, order });
    }
    return calls.length;
  }

  // Brings answers to the database.
  bring(answers) {
    const gone = new Set(answers);
    this.answers = this.answers.filter((answer) => !gone.has(answer));
    return this.all(
      answers.map(({ id, token, status, text }) => `SELECT ticketing.relay_complete('${id}', '${token}', ${status}, '{}', convert_to(${quote(text)}, 'UTF8'))`),
    );
  }

  // Until there is nothing to call and nothing to bring.
  async settle() {
    do {
      while ((await this.call()) > 0);
      await this.bring([...this.answers]);
    } while ((await this.call()) > 0 || this.answers.length > 0);
  }

  // Stripe's events since the last time.
  newEvents() {
    const events = [...this.#app.store.events].slice(this.#seen);
    this.#seen += events.length;
    return events;
  }

  deliver(events) {
    const time = Math.floor(Date.now() / 1000);
    return this.all(
      events.map((event) => {
        const payload = JSON.stringify(event);
        return `SELECT ticketing.stripe_webhook(convert_to(${quote(payload)}, 'UTF8'), '${signature(webhookSecret(), time, payload)}')`;
      }),
    );
  }
}
