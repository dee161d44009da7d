// Objects kept in memory, in the order they were made.
// An object is never changed: a change puts a new version in its place, so that
// an event can hold the version it tells of without copying it.
import { invalid, noSuch } from './errors.mjs';

export class Collection {
  #items = [];
  #positions = new Map();
  // The idempotency key that made each object, for whoever looks for duplicates.
  #origins = [];

  // `what` is the name in "No such …", `url` that of its list.
  constructor(what, url) {
    this.what = what;
    this.url = url;
  }

  get size() {
    return this.#items.length;
  }

  [Symbol.iterator]() {
    return this.#items[Symbol.iterator]();
  }

  add(object, origin = null) {
    this.#positions.set(object.id, this.#items.length);
    this.#items.push(object);
    this.#origins.push(origin);
    return object;
  }

  // Puts the newer version of an object in its place.
  put(object) {
    this.#items[this.#positions.get(object.id)] = object;
    return object;
  }

  get(id) {
    return this.#items[this.#positions.get(id)];
  }

  origin(id) {
    return this.#origins[this.#positions.get(id)] ?? null;
  }

  // The object, or Stripe's refusal; `param` says where its id stood ('id' is the path).
  need(id, param = 'id') {
    const object = this.get(id);
    if (object === undefined) throw noSuch(this.what, id, param);
    return object;
  }

  // Takes an object out, which few ever are.
  remove(id) {
    const at = this.#positions.get(id);
    this.#items.splice(at, 1);
    this.#origins.splice(at, 1);
    this.#positions.clear();
    this.#items.forEach((item, i) => this.#positions.set(item.id, i));
  }

  clear() {
    this.#items = [];
    this.#positions.clear();
    this.#origins = [];
  }

  // A page, newest first, of the objects that `matches` accepts.
  page({ limit = 10, starting_after: after, ending_before: before }, matches = () => true) {
    if (after !== undefined && before !== undefined) {
      throw invalid('You cannot parameterize both `starting_after` and `ending_before`.');
    }
    const step = before === undefined ? -1 : 1;
    let at = this.#items.length - 1;
    if (before !== undefined) at = this.#cursor(before, 'ending_before') + 1;
    else if (after !== undefined) at = this.#cursor(after, 'starting_after') - 1;
    const data = [];
    let more = false;
    for (; at >= 0 && at < this.#items.length; at += step) {
      const item = this.#items[at];
      if (!matches(item)) continue;
      if (data.length === limit) {
        more = true;
        break;
      }
      data.push(item);
    }
    if (step === 1) data.reverse();
    return { object: 'list', data, has_more: more, url: this.url };
  }

  #cursor(id, param) {
    this.need(id, param);
    return this.#positions.get(id);
  }
}

export function createStore() {
  return {
    accounts: new Collection('account', '/v1/accounts'),
    balance_transactions: new Collection('balance transaction', '/v1/balance_transactions'),
    charges: new Collection('charge', '/v1/charges'),
    checkout_sessions: new Collection('checkout session', '/v1/checkout/sessions'),
    customers: new Collection('customer', '/v1/customers'),
    ephemeral_keys: new Collection('ephemeral key', '/v1/ephemeral_keys'),
    events: new Collection('event', '/v1/events'),
    payment_intents: new Collection('payment_intent', '/v1/payment_intents'),
    payment_methods: new Collection('PaymentMethod', '/v1/payment_methods'),
    refunds: new Collection('refund', '/v1/refunds'),
    setup_intents: new Collection('setupintent', '/v1/setup_intents'),
  };
}
