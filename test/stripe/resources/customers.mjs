// /v1/customers: create, retrieve, update, list by email, search.
import { invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { clearable, email, mergeMetadata, metadata, object, paging, string, timeRange } from '../params.mjs';
import { searchEndpoint } from '../search.mjs';
import { needPaymentMethod } from './payment_methods.mjs';

const fields = {
  description: clearable(string()),
  email: clearable(email),
  invoice_settings: object({ default_payment_method: clearable(string()) }),
  metadata,
  name: clearable(string({ max: 256 })),
  phone: clearable(string({ max: 20 })),
};

// What a customer's invoice_settings become; the default is one of their own payment methods.
function settings(app, customer, given) {
  const id = given.default_payment_method;
  if (id === undefined) return customer.invoice_settings;
  if (id !== null && needPaymentMethod(app, id).customer !== customer.id) {
    throw invalid(
      `The customer does not have a payment method with the ID ${id}. The payment method must be attached to the customer.`,
      { code: 'resource_missing', param: 'invoice_settings[default_payment_method]' },
    );
  }
  return { ...customer.invoice_settings, default_payment_method: id };
}

function create(app, call) {
  const { params } = call;
  const customer = {
    id: newId.customer(),
    object: 'customer',
    address: null,
    balance: 0,
    created: app.clock.seconds(),
    currency: null,
    customer_account: null,
    default_source: null,
    delinquent: false,
    description: params.description ?? null,
    discount: null,
    email: params.email ?? null,
    invoice_prefix: null,
    invoice_settings: { custom_fields: null, default_payment_method: null, footer: null, rendering_options: null },
    livemode: false,
    metadata: mergeMetadata({}, params.metadata),
    name: params.name ?? null,
    next_invoice_sequence: 1,
    phone: params.phone ?? null,
    preferred_locales: [],
    shipping: null,
    tax_exempt: 'none',
    test_clock: null,
  };
  if (params.invoice_settings !== undefined) customer.invoice_settings = settings(app, customer, params.invoice_settings);
  app.store.customers.add(customer, call.idempotencyKey);
  app.events.emit('customer.created', customer, call);
  return customer;
}

function update(app, call) {
  const before = app.store.customers.need(call.id);
  const { metadata: given, expand, invoice_settings: givenSettings, ...changes } = call.params;
  const after = { ...before, ...changes, metadata: mergeMetadata(before.metadata, given) };
  if (givenSettings !== undefined) after.invoice_settings = settings(app, before, givenSettings);
  app.store.customers.put(after);
  const previous = {};
  for (const name of Object.keys(call.params)) {
    if (name !== 'expand' && before[name] !== after[name]) previous[name] = before[name];
  }
  if (Object.keys(previous).length > 0) app.events.emit('customer.updated', after, call, previous);
  return after;
}

const list = (app, { params }) => app.store.customers.page(params, { email: params.email, created: params.created });

export const endpoints = [
  { method: 'POST', path: '/v1/customers', params: fields, run: create },
  { method: 'GET', path: '/v1/customers', params: { ...paging, created: timeRange, email: string({ max: 512 }) }, run: list },
  searchEndpoint('customers', '/v1/customers/search', { created: 'number', email: 'string', metadata: 'metadata', name: 'string', phone: 'string' }),
  { method: 'GET', path: '/v1/customers/:id', run: (app, call) => app.store.customers.need(call.id) },
  { method: 'POST', path: '/v1/customers/:id', params: fields, run: update },
];
