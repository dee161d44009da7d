// `expand[]`: puts an object where its id stands, along a path such as `data.latest_charge.balance_transaction`.
import { invalid } from './errors.mjs';

// The members that hold an id, and the collection it is in.
const COLLECTIONS = {
  balance_transaction: 'balance_transactions',
  charge: 'charges',
  customer: 'customers',
  default_payment_method: 'payment_methods',
  latest_charge: 'charges',
  payment_intent: 'payment_intents',
  payment_method: 'payment_methods',
};

export function expand(store, object, paths) {
  for (const path of paths) object = along(store, object, path.split('.'), 0, path);
  return object;
}

// A copy of `object` with the rest of the path expanded.
function along(store, object, parts, depth, path) {
  if (depth === parts.length) return object;
  const name = parts[depth];
  if (object.object === 'list') {
    if (depth > 0 || name !== 'data' || parts.length === 1) throw notExpandable(path);
    return { ...object, data: object.data.map((item) => along(store, item, parts, 1, path)) };
  }
  if (!Object.hasOwn(object, name)) throw notExpandable(path);
  const value = object[name];
  // A part of the object itself, such as a customer's invoice_settings.
  if (value !== null && typeof value === 'object' && value.object === undefined && depth + 1 < parts.length) {
    return { ...object, [name]: along(store, value, parts, depth + 1, path) };
  }
  if (!Object.hasOwn(COLLECTIONS, name)) throw notExpandable(path);
  if (value === null) return object;
  const found = typeof value === 'string' ? store[COLLECTIONS[name]].get(value) : value;
  if (found === undefined) return object;
  return { ...object, [name]: along(store, found, parts, depth + 1, path) };
}

const notExpandable = (path) => invalid(`This property cannot be expanded (${path}).`, { param: 'expand' });
