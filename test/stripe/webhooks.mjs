// Webhooks: signs events and posts them to the endpoint until it answers 2xx.
// Deliveries are independent of each other, so events may arrive in any order, and more than once, as Stripe's do.
import { createHmac } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { invalid } from './errors.mjs';

// The types the engine acts on; the endpoint is sent these unless it asks for others.
export const DEFAULT_TYPES = [
  'account.updated',
  'charge.dispute.closed',
  'charge.dispute.created',
  'charge.dispute.funds_reinstated',
  'charge.dispute.funds_withdrawn',
  'charge.dispute.updated',
  'charge.refunded',
  'checkout.session.async_payment_failed',
  'checkout.session.async_payment_succeeded',
  'checkout.session.completed',
  'checkout.session.expired',
  'payment_intent.canceled',
  'payment_intent.payment_failed',
  'payment_intent.processing',
  'payment_intent.requires_action',
  'payment_intent.succeeded',
  'payout.canceled',
  'payout.created',
  'payout.failed',
  'payout.paid',
  'refund.created',
  'refund.failed',
  'refund.updated',
];

// Milliseconds to wait after each failed attempt; the last one repeats.
const BACKOFF = [200, 500, 1000, 2000, 5000, 10000, 20000, 40000, 60000];
const ANSWER_WITHIN = 20000;
const CONNECTIONS = 32;

// The header's value for a body sent at unix time `seconds`.
export function signature(secret, seconds, body) {
  const digest = createHmac('sha256', secret).update(`${seconds}.`).update(body).digest('hex');
  return `t=${seconds},v1=${digest}`;
}

export class Webhooks {
  #endpoint = null;
  #types = new Set(DEFAULT_TYPES);
  #deliveries = new Map();
  #agents = {
    'http:': new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS }),
    'https:': new https.Agent({ keepAlive: true, maxSockets: CONNECTIONS }),
  };

  // `onDelivered(event)` is called once for each event that the endpoint has taken.
  constructor({ clock, secret, onDelivered }) {
    this.clock = clock;
    this.secret = secret;
    this.connectSecret = null;
    this.onDelivered = onDelivered;
  }

  // Sets what is given of {url, secret, connectSecret, types}: the second secret is for events of connected accounts; a url of null ends deliveries, `types` ['*'] asks for all.
  // What the endpoint has not taken yet is sent anew.
  configure({ url, secret, connectSecret, types }) {
    if (url !== undefined) this.#endpoint = url === null ? null : parseUrl(url);
    if (secret !== undefined) this.secret = secret;
    if (connectSecret !== undefined) this.connectSecret = connectSecret;
    if (types !== undefined) this.#types = new Set(types);
    for (const { event, status } of this.#deliveries.values()) if (status !== 'delivered') this.deliver(event);
  }

  describe() {
    return { url: this.#endpoint?.href ?? null, secret: this.secret, events: [...this.#types] };
  }

  wants(type) {
    return this.#endpoint !== null && (this.#types.has(type) || this.#types.has('*'));
  }

  // Sends an event, now or again; until it is delivered, it is tried again and again.
  deliver(event) {
    const known = this.#deliveries.get(event.id);
    if (known !== undefined) clearTimeout(known.timer);
    const delivery = { event, status: 'pending', attempts: known?.attempts ?? 0, failures: 0, answer: null, error: null, timer: null };
    this.#deliveries.set(event.id, delivery);
    // After the answer to the call that made the event is on its way.
    setImmediate(() => this.#attempt(delivery));
  }

  // Every delivery, oldest first.
  list() {
    return Array.from(this.#deliveries.values(), ({ event, status, attempts, answer, error }) => ({
      event: event.id,
      type: event.type,
      status,
      attempts,
      http_status: answer,
      error,
    }));
  }

  // Forgets all deliveries and stops trying.
  clear() {
    for (const delivery of this.#deliveries.values()) clearTimeout(delivery.timer);
    this.#deliveries.clear();
  }

  close() {
    this.clear();
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #attempt(delivery) {
    if (this.#endpoint === null || this.#deliveries.get(delivery.event.id) !== delivery) return;
    const body = Buffer.from(JSON.stringify(delivery.event, null, 2));
    const url = this.#endpoint;
    const secret = delivery.event.account === undefined ? this.secret : this.connectSecret ?? this.secret;
    const request = (url.protocol === 'https:' ? https : http).request(url, {
      method: 'POST',
      agent: this.#agents[url.protocol],
      timeout: ANSWER_WITHIN,
      headers: {
        'content-type': 'application/json; charset=utf-8',
        'content-length': body.length,
        'user-agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks)',
        'stripe-signature': signature(secret, this.clock.seconds(), body),
      },
    });
    delivery.attempts += 1;
    request.on('response', (response) => {
      response.on('error', () => {});
      response.resume();
      delivery.answer = response.statusCode;
      this.#settle(delivery, response.statusCode >= 200 && response.statusCode < 300, null);
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', (error) => this.#settle(delivery, false, error.code ?? error.message));
    request.end(body);
  }

  #settle(delivery, delivered, error) {
    if (delivery.status === 'delivered') return;
    delivery.error = error;
    if (delivered) {
      delivery.status = 'delivered';
      this.onDelivered(delivery.event);
      return;
    }
    if (this.#deliveries.get(delivery.event.id) !== delivery) return;
    delivery.status = 'retrying';
    const wait = BACKOFF[Math.min(delivery.failures++, BACKOFF.length - 1)];
    clearTimeout(delivery.timer);
    delivery.timer = setTimeout(() => this.#attempt(delivery), wait);
    delivery.timer.unref();
  }
}

function parseUrl(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw invalid(`Not a webhook URL: ${text}`, { param: 'url' });
  }
  if (!['http:', 'https:'].includes(url.protocol)) throw invalid(`Not a webhook URL: ${text}`, { param: 'url' });
  return url;
}
