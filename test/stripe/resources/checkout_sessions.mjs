// /v1/checkout/sessions: hosted payment pages, in mode `payment`.
// A session makes its PaymentIntent when the buyer first tries to pay, as Stripe's have done since 2022, and follows it.
import { invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { checkAmount } from '../money.mjs';
import { boolean, clearable, currency, email, integer, list as listOf, mergeMetadata, metadata } from '../params.mjs';
import { object, oneOf, paging, required, string, timeRange, url } from '../params.mjs';
import { addPaymentIntent, checkConnect, settableFields } from './payment_intents.mjs';
import { typeNames } from './payment_methods.mjs';
import { PAYABLE, cancel, follower } from './payment_states.mjs';

const SHORTEST = 30 * 60;
const LONGEST = 24 * 60 * 60;

const createParams = {
  allow_promotion_codes: boolean,
  billing_address_collection: oneOf('auto', 'required'),
  cancel_url: url,
  client_reference_id: string({ max: 200 }),
  customer: string(),
  customer_email: email,
  expires_at: integer({ min: 0 }),
  line_items: required(
    listOf(
      object({
        price_data: required(
          object({
            currency: required(currency),
            product_data: required(object({ description: clearable(string()), images: listOf(url, { max: 8 }), metadata, name: required(string()) })),
            unit_amount: required(integer({ min: 0 })),
          }),
        ),
        quantity: required(integer({ min: 1 })),
      }),
    ),
  ),
  locale: string(),
  metadata,
  mode: required(oneOf('payment')),
  payment_intent_data: object(settableFields),
  submit_type: oneOf('auto', 'book', 'donate', 'pay'),
  success_url: required(url),
};

// What a session keeps and does not show, as JSON has no place for a symbol: {intent: payment_intent_data, forgetExpiry()}.
const hidden = Symbol('hidden');

function create(app, call) {
  const { params } = call;
  const created = app.clock.seconds();
  const items = params.line_items;
  if (items.length === 0) throw invalid('`line_items` must hold at least one item.', { param: 'line_items' });
  const { currency: inCurrency } = items[0].price_data;
  if (items.some((item) => item.price_data.currency !== inCurrency)) {
    throw invalid('All line items must have the same currency.', { param: 'line_items' });
  }
  const total = items.reduce((sum, item) => sum + item.price_data.unit_amount * item.quantity, 0);
  checkAmount(total, inCurrency, 'line_items');
  if (params.customer !== undefined && params.customer_email !== undefined) {
    throw invalid('You may only specify one of these parameters: customer, customer_email.', { param: 'customer' });
  }
  const customer = params.customer === undefined ? null : app.store.customers.need(params.customer, 'customer');
  const intentData = params.payment_intent_data ?? {};
  checkConnect(app, { ...intentData, amount: total }, 'payment_intent_data');
  const expiresAt = params.expires_at ?? created + LONGEST;
  if (expiresAt < created + SHORTEST) {
    throw invalid('The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.', { param: 'expires_at' });
  }
  if (expiresAt > created + LONGEST) {
    throw invalid('The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.', { param: 'expires_at' });
  }

  const id = newId.checkoutSession();
  const address = customer?.email ?? params.customer_email ?? null;
  const session = {
    id,
    object: 'checkout.session',
    adaptive_pricing: null,
    after_expiration: null,
    allow_promotion_codes: params.allow_promotion_codes ?? null,
    amount_subtotal: total,
    amount_total: total,
    automatic_tax: { enabled: false, liability: null, provider: null, status: null },
    billing_address_collection: params.billing_address_collection ?? null,
    cancel_url: params.cancel_url ?? null,
    client_reference_id: params.client_reference_id ?? null,
    client_secret: null,
    collected_information: null,
    consent: null,
    consent_collection: null,
    created,
    currency: inCurrency,
    currency_conversion: null,
    custom_fields: [],
    custom_text: { after_submit: null, shipping_address: null, submit: null, terms_of_service_acceptance: null },
    customer: params.customer ?? null,
    customer_account: null,
    customer_creation: customer === null ? 'if_required' : null,
    customer_details: address === null ? null : customerDetails(address, customer?.name),
    customer_email: params.customer_email ?? null,
    discounts: [],
    expires_at: expiresAt,
    invoice: null,
    invoice_creation: null,
    livemode: false,
    locale: params.locale ?? null,
    metadata: mergeMetadata({}, params.metadata),
    mode: params.mode,
    origin_context: null,
    payment_intent: null,
    payment_link: null,
    payment_method_collection: 'if_required',
    payment_method_configuration_details: null,
    payment_method_options: { card: { request_three_d_secure: 'automatic' } },
    payment_method_types: typeNames,
    payment_status: 'unpaid',
    permissions: null,
    phone_number_collection: { enabled: false },
    recovered_from: null,
    saved_payment_method_options: null,
    setup_intent: null,
    shipping_address_collection: null,
    shipping_cost: null,
    shipping_options: [],
    status: 'open',
    submit_type: params.submit_type ?? null,
    subscription: null,
    success_url: params.success_url,
    total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
    ui_mode: 'hosted_page',
    url: `https://checkout.stripe.com/c/pay/${id}`,
    wallet_options: null,
    [hidden]: { intent: intentData, forgetExpiry: app.clock.at(expiresAt, () => end(app, app.store.checkout_sessions.get(id))) },
  };
  return app.store.checkout_sessions.add(session, call.idempotencyKey);
}

const customerDetails = (address, name = null) => ({ address: null, email: address, name, phone: null, tax_exempt: 'none', tax_ids: null });

// The PaymentIntent of a session that the buyer is about to pay, for payment_states.mjs to move on.
export function intentOf(app, session) {
  needOpen(session, 'paid');
  if (session.payment_intent !== null) return app.store.payment_intents.get(session.payment_intent);
  const { intent: data } = session[hidden];
  const intent = addPaymentIntent(
    app,
    {
      ...data,
      amount: session.amount_total,
      currency: session.currency,
      customer: session.customer,
      receipt_email: data.receipt_email ?? null,
      [follower]: (on, moved, call) => follow(on, on.store.checkout_sessions.get(session.id), moved, call),
    },
    null,
  );
  app.store.checkout_sessions.put({ ...session, payment_intent: intent.id });
  return intent;
}

// What the state of its PaymentIntent makes of a session.
function follow(app, session, intent, call) {
  const paid = intent.status === 'succeeded';
  if (session.status === 'open' && (paid || intent.status === 'processing')) {
    session[hidden].forgetExpiry();
    const complete = app.store.checkout_sessions.put({
      ...session,
      customer_details: session.customer_details ?? customerDetails('buyer@example.com'),
      payment_status: paid ? 'paid' : 'unpaid',
      status: 'complete',
      url: null,
    });
    app.events.emit('checkout.session.completed', complete, call);
  } else if (session.status === 'complete' && session.payment_status === 'unpaid') {
    if (paid) {
      const late = app.store.checkout_sessions.put({ ...session, payment_status: 'paid' });
      app.events.emit('checkout.session.async_payment_succeeded', late, call);
    } else if (intent.status === 'requires_payment_method') {
      app.events.emit('checkout.session.async_payment_failed', session, call);
    }
  }
}

function end(app, session, call = null) {
  session[hidden].forgetExpiry();
  const expired = app.store.checkout_sessions.put({ ...session, status: 'expired', url: null });
  const intent = app.store.payment_intents.get(session.payment_intent);
  if (intent !== undefined && PAYABLE.includes(intent.status)) cancel(app, intent, 'automatic', call);
  app.events.emit('checkout.session.expired', expired, call);
  return expired;
}

function needOpen(session, done) {
  if (session.status === 'open') return;
  throw invalid(`Only Checkout Sessions with a status in ["open"] can be ${done}. This Checkout Session has a status of \`${session.status}\`.`);
}

function expireNow(app, call) {
  const session = found(app, call);
  needOpen(session, 'expired');
  return end(app, session, call);
}

function list(app, { params }) {
  const { created, customer, payment_intent: intent, status } = params;
  return app.store.checkout_sessions.page(params, { payment_intent: intent, customer, status, created });
}

const found = (app, call) => app.store.checkout_sessions.need(call.id);

export const endpoints = [
  { method: 'POST', path: '/v1/checkout/sessions', params: createParams, run: create },
  {
    method: 'GET',
    path: '/v1/checkout/sessions',
    params: { ...paging, created: timeRange, customer: string(), payment_intent: string(), status: oneOf('complete', 'expired', 'open') },
    run: list,
  },
  { method: 'GET', path: '/v1/checkout/sessions/:id', run: found },
  { method: 'POST', path: '/v1/checkout/sessions/:id/expire', run: expireNow },
];
