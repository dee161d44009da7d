// Objects kept in memory, in the order they were made.
// An object is never changed: a change puts a new version in its place, so that
// an event can hold the version it tells of without copying it.
import { invalid, noSuch } from './errors.mjs';

export class Collection {
  #items = [];
  #positions = new Map();
  // The idempotency key that made each object, for whoever looks for duplicates.
  #origins = [];
  // For each indexed member, the positions of the objects that have a value there, ascending.
  #indexes = new Map();
  // Whether objects stand in the order of their `created`; a clock that was put back ends it.
  #inOrder = true;

  // `what` is the name in "No such …", `url` that of its list; `indexed` are the members that lists are often asked for by.
  constructor(what, url, indexed = []) {
    this.what = what;
    this.url = url;
    for (const member of indexed) this.#indexes.set(member, new Map());
  }

  get size() {
    return this.#items.length;
  }

  [Symbol.iterator]() {
    return this.#items[Symbol.iterator]();
  }

  add(object, origin = null) {
    const at = this.#items.length;
    if (at > 0 && object.created < this.#items[at - 1].created) this.#inOrder = false;
    this.#positions.set(object.id, at);
    this.#items.push(object);
    this.#origins.push(origin);
    for (const [member, index] of this.#indexes) insert(index, object[member], at);
    return object;
  }

  // Puts the newer version of an object in its place.
  put(object) {
    const at = this.#positions.get(object.id);
    const before = this.#items[at];
    this.#items[at] = object;
    for (const [member, index] of this.#indexes) {
      if (before[member] === object[member]) continue;
      takeOut(index, before[member], at);
      insert(index, object[member], at);
    }
    return object;
  }

  get(id) {
    return this.#items[this.#positions.get(id)];
  }

  // The objects with this value in an indexed member, oldest first.
  having(member, value) {
    return (this.#indexes.get(member).get(value) ?? []).map((at) => this.#items[at]);
  }

  // The values that an indexed member has, or once had.
  valuesOf(member) {
    return this.#indexes.get(member).keys();
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
    const gone = this.#positions.get(id);
    const rest = this.#items.map((item, at) => [item, this.#origins[at]]).filter((_, at) => at !== gone);
    this.clear();
    for (const [item, origin] of rest) this.add(item, origin);
  }

  clear() {
    this.#items = [];
    this.#positions.clear();
    this.#origins = [];
    for (const index of this.#indexes.values()) index.clear();
    this.#inOrder = true;
  }

  // A page, newest first, of the objects that fit `where` and that `matches` accepts. `where` is {member: value}, where a value is
  // an array of which one must be there, or a test such as a timeRange's; undefined asks for nothing.
  page({ limit = 10, starting_after: after, ending_before: before }, where = {}, matches = null) {
    if (after !== undefined && before !== undefined) {
      throw invalid('You cannot parameterize both `starting_after` and `ending_before`.');
    }
    if (typeof where === 'function') [where, matches] = [{}, where];
    const step = before === undefined ? -1 : 1;
    let [from, to] = [0, this.#items.length - 1];
    if (before !== undefined) from = this.#cursor(before, 'ending_before') + 1;
    else if (after !== undefined) to = this.#cursor(after, 'starting_after') - 1;
    const tests = matches === null ? [] : [matches];
    let lists = null;
    for (const member of Reflect.ownKeys(where)) {
      const wanted = where[member];
      if (wanted === undefined) continue;
      const index = this.#indexes.get(member);
      if (typeof wanted === 'function') {
        if (member === 'created' && this.#inOrder) {
          from = Math.max(from, this.#firstFrom(wanted.least));
          to = Math.min(to, this.#firstFrom(wanted.most + 1) - 1);
        } else {
          tests.push((item) => wanted(item[member]));
        }
      } else if (index !== undefined && lists === null) {
        lists = [];
        for (const value of new Set([wanted].flat())) if (index.has(value)) lists.push(index.get(value));
      } else {
        tests.push(Array.isArray(wanted) ? (item) => wanted.includes(item[member]) : (item) => item[member] === wanted);
      }
    }
    const data = [];
    let more = false;
    for (const at of lists === null ? range(from, to, step) : merged(lists, from, to, step)) {
      const item = this.#items[at];
      if (!tests.every((test) => test(item))) continue;
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

  // The position of the first object made at `seconds` or later.
  #firstFrom(seconds) {
    return firstThat(this.#items.length, (at) => this.#items[at].created >= seconds);
  }
}

// The least number below `length` for which `holds`, which holds for all after it, too; `length` if there is none.
function firstThat(length, holds) {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

const placeOf = (positions, at) => firstThat(positions.length, (place) => positions[place] >= at);

function insert(index, value, at) {
  if (value === undefined || value === null) return;
  const positions = index.get(value);
  if (positions === undefined) index.set(value, [at]);
  else if (positions.at(-1) < at) positions.push(at);
  else positions.splice(placeOf(positions, at), 0, at);
}

function takeOut(index, value, at) {
  const positions = index.get(value);
  positions?.splice(placeOf(positions, at), 1);
}

function* range(from, to, step) {
  for (let at = step === 1 ? from : to; at >= from && at <= to; at += step) yield at;
}

// The positions in any of the lists, in order.
function* merged(lists, from, to, step) {
  const heads = lists.map((positions) => (step === 1 ? placeOf(positions, from) : placeOf(positions, to + 1) - 1));
  for (;;) {
    let next = -1;
    for (let i = 0; i < lists.length; i++) {
      const at = lists[i][heads[i]];
      if (at !== undefined && (next === -1 || (at - lists[next][heads[next]]) * step < 0)) next = i;
    }
    if (next === -1) return;
    const at = lists[next][heads[next]];
    if (at < from || at > to) return;
    yield at;
    heads[next] += step;
  }
}

// The payout that a balance transaction went into; not shown.
export const paidBy = Symbol('paidBy');

export function createStore() {
  const collections = {
    accounts: ['account', '/v1/accounts'],
    application_fees: ['application fee', '/v1/application_fees', 'charge'],
    balance_transactions: ['balance transaction', '/v1/balance_transactions', 'source', 'type', paidBy],
    charges: ['charge', '/v1/charges', 'payment_intent', 'customer', 'transfer_group'],
    checkout_sessions: ['checkout session', '/v1/checkout/sessions', 'payment_intent', 'customer'],
    customers: ['customer', '/v1/customers', 'email'],
    disputes: ['dispute', '/v1/disputes', 'charge', 'payment_intent'],
    ephemeral_keys: ['ephemeral key', '/v1/ephemeral_keys'],
    events: ['event', '/v1/events', 'type'],
    fee_refunds: ['fee_refund', '/v1/application_fees', 'fee'],
    payment_intents: ['payment_intent', '/v1/payment_intents', 'customer'],
    payment_methods: ['PaymentMethod', '/v1/payment_methods', 'customer'],
    payouts: ['payout', '/v1/payouts'],
    refunds: ['refund', '/v1/refunds', 'charge', 'payment_intent'],
    setup_intents: ['setupintent', '/v1/setup_intents', 'customer'],
    transfer_reversals: ['transfer_reversal', '/v1/transfers', 'transfer'],
    transfers: ['transfer', '/v1/transfers', 'transfer_group', 'destination'],
  };
  for (const name in collections) {
    const [what, url, ...indexed] = collections[name];
    collections[name] = new Collection(what, url, indexed);
  }
  return collections;
}
