// Takes Stripe's webhooks and brings them to ticketing.stripe_webhook in any order, one in five twice, the second time
// late; what is not taken is brought again, as Stripe would. The edge function in the middle is a pool of psql.
import { createServer } from 'node:http';
import { signature } from '../stripe/webhooks.mjs';

const SHUFFLED_OVER = 500; // ms
const REPEATED = 0.2;
const REPEATED_AFTER = 1000;
const REPEATED_WITHIN = 4000;
const AGAIN_AFTER = 300;

export class PostOffice {
  outcomes = {};
  received = 0;
  repeated = 0;
  failed = 0;
  #underWay = 0;

  // `now` is Stripe's, in unix seconds.
  constructor(pool, secret, now = () => Math.floor(Date.now() / 1000)) {
    this.pool = pool;
    this.secret = secret;
    this.now = now;
    this.server = createServer((request, response) => {
      const chunks = [];
      request.on('data', (chunk) => chunks.push(chunk));
      request.on('end', () => {
        response.end();
        this.#take(Buffer.concat(chunks));
      });
    });
  }

  async open() {
    await new Promise((listening) => this.server.listen(0, '127.0.0.1', listening));
    this.url = `http://127.0.0.1:${this.server.address().port}/webhook`;
  }

  close() {
    this.server.closeAllConnections();
    return new Promise((closed) => this.server.close(closed));
  }

  // Whether all that came has been brought.
  get empty() {
    return this.#underWay === 0;
  }

  #take(body) {
    this.received += 1;
    this.#bring(body, Math.random() * SHUFFLED_OVER);
    if (Math.random() >= REPEATED) return;
    this.repeated += 1;
    this.#bring(body, REPEATED_AFTER + Math.random() * REPEATED_WITHIN);
  }

  #bring(body, wait) {
    this.#underWay += 1;
    const attempt = async () => {
      const header = signature(this.secret, this.now(), body);
      try {
        const answer = await this.pool.query(`SELECT ticketing.stripe_webhook('\\x${body.toString('hex')}', '${header}') ->> 'outcome'`);
        this.outcomes[answer] = (this.outcomes[answer] ?? 0) + 1;
        this.#underWay -= 1;
      } catch {
        this.failed += 1;
        setTimeout(attempt, AGAIN_AFTER);
      }
    };
    setTimeout(attempt, wait);
  }
}
