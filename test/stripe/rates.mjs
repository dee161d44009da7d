// How many calls a second there are, in all and per endpoint (method and path, ids as ':id'): counted always, limited on order.
// A second is any second, on the clock: the most calls in a window of its length, wherever it begins.
import { StripeError, invalid } from './errors.mjs';

const SECOND = 1000;

// The times within the last second, oldest first, in a ring that grows.
class Window {
  #times = new Float64Array(16);
  #first = 0;
  length = 0;

  // How many there are at `now`; none if the clock was put back.
  at(now) {
    const mask = this.#times.length - 1;
    if (this.length > 0 && this.#times[(this.#first + this.length - 1) & mask] > now) this.length = 0;
    while (this.length > 0 && this.#times[this.#first] <= now - SECOND) {
      this.#first = (this.#first + 1) & mask;
      this.length -= 1;
    }
    return this.length;
  }

  add(now) {
    if (this.length === this.#times.length) this.#grow();
    this.#times[(this.#first + this.length++) & (this.#times.length - 1)] = now;
  }

  #grow() {
    const grown = new Float64Array(this.#times.length * 2);
    grown.set(this.#times.subarray(this.#first));
    grown.set(this.#times.subarray(0, this.#first), this.#times.length - this.#first);
    this.#times = grown;
    this.#first = 0;
  }
}

class Count {
  calls = 0;
  refused = 0;
  most = 0;
  mostOnTheClock = 0;
  #second = null;
  #inSecond = 0;
  #all = new Window();
  accepted = new Window();

  add(now) {
    this.calls += 1;
    const length = this.#all.at(now) + 1;
    this.#all.add(now);
    if (length > this.most) this.most = length;
    const second = Math.floor(now / SECOND);
    if (second !== this.#second) {
      this.#second = second;
      this.#inSecond = 0;
    }
    this.#inSecond += 1;
    if (this.#inSecond > this.mostOnTheClock) this.mostOnTheClock = this.#inSecond;
  }

  describe() {
    return { calls: this.calls, refused: this.refused, most_in_any_second: this.most, most_in_a_calendar_second: this.mostOnTheClock };
  }
}

export class Rates {
  #total = new Count();
  #endpoints = new Map();
  #limits = { total: null, per_endpoint: null, endpoints: {} };

  constructor(clock) {
    this.clock = clock;
  }

  // Sets what is given of {total, per_endpoint, endpoints: {'POST /v1/refunds': n}}, calls a second; null is no limit.
  limit(change) {
    for (const name in change) if (!Object.hasOwn(this.#limits, name)) throw invalid(`Not a limit: ${name}.`);
    const { endpoints, ...rest } = change;
    for (const limit of [...Object.values(rest), ...Object.values(endpoints ?? {})]) {
      if (limit !== null && !(Number.isInteger(limit) && limit > 0)) throw invalid('A limit is a positive integer, or null.');
    }
    this.#limits = { ...this.#limits, ...change, endpoints: endpoints ?? this.#limits.endpoints };
    return this.#limits;
  }

  // Counts a call; returns the refusal of one that is too many.
  count(endpoint) {
    const now = this.clock.exact();
    let own = this.#endpoints.get(endpoint);
    if (own === undefined) this.#endpoints.set(endpoint, (own = new Count()));
    own.add(now);
    this.#total.add(now);
    const { total, per_endpoint: each, endpoints } = this.#limits;
    const limit = endpoints[endpoint] ?? each;
    if (total === null && limit === null) return null;
    let reason = null;
    if (total !== null && this.#total.accepted.at(now) >= total) reason = 'global-rate';
    else if (limit !== null && own.accepted.at(now) >= limit) reason = 'endpoint-rate';
    if (reason === null) {
      own.accepted.add(now);
      this.#total.accepted.add(now);
      return null;
    }
    own.refused += 1;
    this.#total.refused += 1;
    return new StripeError(
      429,
      {
        code: 'rate_limit',
        message: 'Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.',
      },
      { 'stripe-rate-limited-reason': reason },
    );
  }

  describe() {
    return {
      limits: this.#limits,
      total: this.#total.describe(),
      endpoints: Object.fromEntries(Array.from(this.#endpoints, ([name, count]) => [name, count.describe()])),
    };
  }

  // Counts anew, within the same limits.
  recount() {
    this.#total = new Count();
    this.#endpoints.clear();
  }

  reset() {
    this.recount();
    this.#limits = { total: null, per_endpoint: null, endpoints: {} };
  }
}
