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
  #disorder = null;
  #counts = noCounts();
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

  // Sets what is given of {url, secret, connectSecret, types}: the second secret is for events of connected accounts;
  // a url of null ends deliveries, `types` ['*'] asks for all. What the endpoint has not taken yet is sent anew.
  configure({ url, secret, connectSecret, types }) {
    if (url !== undefined) this.#endpoint = url === null ? null : parseUrl(url);
    if (secret !== undefined) this.secret = secret;
    if (connectSecret !== undefined) this.connectSecret = connectSecret;
    if (types !== undefined) this.#types = new Set(types);
    for (const { event, status } of this.#deliveries.values()) if (!['delivered', 'lost'].includes(status)) this.deliver(event);
  }

  describe() {
    return { url: this.#endpoint?.href ?? null, secret: this.secret, events: [...this.#types] };
  }

  wants(type) {
    return this.#endpoint !== null && (this.#types.has(type) || this.#types.has('*'));
  }

  // Lets events come late, each by up to `delay_ms`, and so out of order, this share of them twice and this share never; null ends it.
  // The same seed draws the same delays. What is sent again is not lost.
  disorder(spec) {
    if (spec === null) {
      this.#disorder = null;
      return;
    }
    const { delay_ms: delay = 0, duplicates = 0, lost = 0, seed = 1, ...rest } = spec;
    if (Object.keys(rest).length > 0) throw invalid(`Not a disorder: unknown member: ${Object.keys(rest)[0]}.`);
    if (!(delay >= 0) || !isShare(duplicates) || !isShare(lost) || !Number.isInteger(seed)) throw invalid('Not a disorder.', { param: 'disorder' });
    this.#disorder = { delay, duplicates, lost, random: randomOf(seed) };
  }

  // Sends an event, now or again; until it is delivered, it is tried again and again.
  deliver(event) {
    const known = this.#deliveries.get(event.id);
    if (known !== undefined) forget(known);
    const delivery = { event, status: 'pending', attempts: known?.attempts ?? 0, failures: 0, untaken: 1, counted: known?.counted ?? false, answer: null, error: null, timers: new Set() };
    this.#deliveries.set(event.id, delivery);
    const counts = this.#counts[endpointOf(event)];
    if (known === undefined) counts.events += 1;
    if (this.#disorder === null) {
      // After the answer to the call that made the event is on its way.
      setImmediate(() => this.#attempt(delivery));
      return;
    }
    const { delay, duplicates, lost, random } = this.#disorder;
    if (lost > 0 && random() < lost && known === undefined) {
      delivery.status = 'lost';
      counts.lost += 1;
      return;
    }
    if (random() < duplicates) {
      delivery.untaken = 2;
      counts.duplicated += 1;
    }
    for (let copy = 0; copy < delivery.untaken; copy++) this.#later(delivery, random() * delay);
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

  // Of each endpoint, the one for the platform's own events and the one for connected accounts': how many events there were for it,
  // how many it has taken, how many were lost and how many sent twice.
  counts() {
    return this.#counts;
  }

  // Forgets all deliveries and stops trying.
  clear() {
    this.#disorder = null;
    this.#counts = noCounts();
    for (const delivery of this.#deliveries.values()) forget(delivery);
    this.#deliveries.clear();
  }

  close() {
    this.clear();
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #later(delivery, ms) {
    const timer = setTimeout(() => {
      delivery.timers.delete(timer);
      this.#attempt(delivery);
    }, ms);
    timer.unref();
    delivery.timers.add(timer);
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
    let settled = false;
    const settle = (taken, error) => {
      if (!settled) this.#settle(delivery, taken, error);
      settled = true;
    };
    request.on('response', (response) => {
      response.on('error', () => {});
      response.resume();
      delivery.answer = response.statusCode;
      settle(response.statusCode >= 200 && response.statusCode < 300, null);
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', (error) => settle(false, error.code ?? error.message));
    request.end(body);
  }

  #settle(delivery, taken, error) {
    delivery.error = error;
    if (taken) {
      delivery.untaken -= 1;
      if (delivery.untaken > 0) return;
      delivery.status = 'delivered';
      const counts = this.#counts[endpointOf(delivery.event)];
      if (!delivery.counted) counts.delivered += 1;
      delivery.counted = true;
      this.onDelivered(delivery.event);
      return;
    }
    if (this.#deliveries.get(delivery.event.id) !== delivery) return;
    delivery.status = 'retrying';
    this.#later(delivery, BACKOFF[Math.min(delivery.failures++, BACKOFF.length - 1)]);
  }
}

const endpointOf = (event) => (event.account === undefined ? 'platform' : 'connected');
const noCount = () => ({ events: 0, delivered: 0, lost: 0, duplicated: 0 });
const noCounts = () => ({ platform: noCount(), connected: noCount() });
const isShare = (share) => share >= 0 && share <= 1;

function forget(delivery) {
  for (const timer of delivery.timers) clearTimeout(timer);
}

// Numbers from 0 to 1 that follow from the seed (mulberry32).
function randomOf(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
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
