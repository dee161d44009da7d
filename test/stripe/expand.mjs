// `expand[]`: puts an object where its id stands, along a path such as `data.latest_charge.balance_transaction`.
import { invalid } from './errors.mjs';

// The members that hold an id of something that can stand there …
const MEMBERS = new Set([
  'account', 'application_fee', 'balance_transaction', 'charge', 'customer', 'default_payment_method', 'destination',
  'destination_payment', 'destination_payment_refund', 'failure_balance_transaction', 'fee', 'latest_charge', 'original_payout',
  'originating_transaction', 'payment_intent', 'payment_method', 'source', 'source_refund', 'source_transaction', 'source_transfer',
  'source_transfer_reversal', 'transfer', 'transfer_reversal',
]);

// … and, by what an id begins with, the collection it is in.
const COLLECTIONS = {
  acct: 'accounts',
  ch: 'charges',
  cus: 'customers',
  dp: 'disputes',
  fee: 'application_fees',
  fr: 'fee_refunds',
  pi: 'payment_intents',
  pm: 'payment_methods',
  po: 'payouts',
  py: 'charges',
  pyr: 'refunds',
  re: 'refunds',
  tr: 'transfers',
  trr: 'transfer_reversals',
  txn: 'balance_transactions',
};

// What is not shown unless it is asked for.
const HIDDEN = {
  charge: {
    refunds(app, { id }) {
      return { ...app.store.refunds.page({}, { charge: id }), url: `/v1/charges/${id}/refunds` };
    },
  },
};

export function expand(app, object, paths) {
  for (const path of paths) object = along(app, object, path.split('.'), 0, path);
  return object;
}

// A copy of `object`, which `app` has, with the rest of the path expanded.
function along(app, object, parts, depth, path) {
  if (depth === parts.length) return object;
  const name = parts[depth];
  if (object.object === 'list') {
    if (name !== 'data' || parts.length === depth + 1) throw notExpandable(path);
    return { ...object, data: object.data.map((item) => along(app, item, parts, depth + 1, path)) };
  }
  const hidden = HIDDEN[object.object]?.[name];
  if (hidden !== undefined) return { ...object, [name]: along(app, object[name] ?? hidden(app, object), parts, depth + 1, path) };
  if (!Object.hasOwn(object, name)) {
    // The sources of balance transactions are of many kinds.
    if (parts[depth - 1] === 'source') return object;
    throw notExpandable(path);
  }
  const value = object[name];
  // A part of the object itself, such as a customer's invoice_settings or a transfer's list of reversals.
  if (value !== null && typeof value === 'object' && (value.object === undefined || value.object === 'list') && depth + 1 < parts.length) {
    return { ...object, [name]: along(app, value, parts, depth + 1, path) };
  }
  if (!MEMBERS.has(name)) throw notExpandable(path);
  if (value === null) return object;
  if (typeof value !== 'string') return { ...object, [name]: along(app, value, parts, depth + 1, path) };
  const on = whose(app, value);
  const found = on === null ? undefined : on.store[collectionOf(value)].get(value);
  if (found === undefined) return object;
  return { ...object, [name]: along(on, found, parts, depth + 1, path) };
}

const collectionOf = (id) => COLLECTIONS[id.slice(0, id.indexOf('_'))];

// The app of the account that has the object: this one, one that it paid, or the platform that paid it.
function whose(app, id) {
  const name = collectionOf(id);
  if (name === undefined) return null;
  if (app.store[name].get(id) !== undefined) return app;
  return app.elsewhere.get(id) ?? app.platform;
}

const notExpandable = (path) => invalid(`This property cannot be expanded (${path}).`, { param: 'expand' });
