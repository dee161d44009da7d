// The kinds of calls, as the matrix tries them:
//   name      the request's kind in ticketing.stripe_requests
//   prepare   what must be there before the call, made while nothing goes wrong
//   start     SQL that enqueues it, and gives the order as JSON or nothing
//   waits     whether it waits for another, which start enqueues, too
//   later     kinds of requests that are not due yet in the end
//   objects   what Stripe must have for this user in the end, by type
//   here      what must be true here: [what, whether] for each; `lost` says that the server's crash may have taken the secrets
import { quote } from '../relay/support/database.mjs';
import { atStripe } from '../stripe/at_stripe.mjs';

const placeOrder = (options) => (shop, cell) => shop.order(cell, options);

const MOBILE = ", mobile_api_version => '2026-10-28.endive'";

// A secret that a crash has taken is fetched again when the buyer asks again.
async function handedOut(shop, cell, lost, name, askAgain) {
  let answer = await shop.awaited(cell, cell.lastRequest ?? cell.order.stripe_request_id);
  if (lost && answer[name] === null) {
    const again = await shop.json(askAgain(cell));
    await shop.settled([cell]);
    answer = await shop.awaited(cell, again.stripe_request_id);
  }
  return answer;
}

async function intentIsOurs(shop, cell, lost) {
  const intent = shop.intentOf(cell);
  const answer = await handedOut(shop, cell, lost, 'client_secret', shop.askAgain);
  const kept = await shop.sql(`SELECT o.payment_intent_id || ' ' || p.stripe_payment_intent_id FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE order_id = '${cell.order.order_id}'`);
  return [
    [`the order's PaymentIntent is ${intent?.id}, not ${kept}`, kept === `${intent?.id} ${intent?.id}`],
    ['the buyer gets its client secret', answer.status === 'done' && answer.client_secret === intent?.client_secret],
  ];
}

async function sessionIsOurs(shop, cell, lost) {
  const session = shop.sessionOf(cell);
  const answer = await handedOut(shop, cell, lost, 'url', shop.askAgainForSession);
  const kept = await shop.sql(`SELECT o.checkout_session_id || ' ' || p.stripe_checkout_session_id FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE order_id = '${cell.order.order_id}'`);
  return [
    [`the order's session is ${session?.id}, not ${kept}`, kept === `${session?.id} ${session?.id}`],
    ['the buyer gets its URL', answer.status === 'done' && answer.url === session?.url],
  ];
}

// A payment that comes when the order has ended without Stripe's word, and its seats are gone. The cancel that was asked
// for meanwhile is due by that later hour's clock.
async function paidTooLate(shop, cell) {
  await shop.ownTier(cell);
  await shop.placed(cell);
  await shop.endWithoutStripe(cell);
  await shop.sql(`UPDATE public.ticket_types SET quantity_total = 0 WHERE id = '${cell.tier}'`);
  atStripe(shop.stripe, 'pay', { payment_intent: shop.intentOf(cell).id });
}

async function isRefunded(shop, cell) {
  const intent = shop.intentOf(cell);
  const refund = [...shop.stripe.app.store.refunds].find(({ payment_intent: id }) => id === intent.id);
  return [
    ['the order is refunded', (await shop.stateOf(cell)) === 'refunded'],
    ['in full', refund?.amount === intent.amount],
  ];
}

const setUp = (shop, cell) => `SELECT ticketing.setup_payment_method(${quote(cell.user)})`;
const listMethods = (shop, cell) => `SELECT ticketing.payment_methods(${quote(cell.user)})`;

async function isDefault(shop, cell) {
  return [['the card is the default', shop.customerOf(cell).invoice_settings?.default_payment_method === cell.method.id]];
}

async function hasAccount(shop, cell) {
  await shop.sql(shop.onboarding(cell));
  await shop.settled([cell]);
}

// A link that a crash has taken is asked for again; it is another one.
async function accountIsOurs(shop, cell, lost) {
  const { url } = await handedOut(shop, cell, lost, 'url', shop.onboarding);
  const kept = await shop.sql(`SELECT p.stripe_account_id || ' ' || o.stripe_account_id FROM ticketing.payees p JOIN public.organizer_accounts o USING (host_id) WHERE host_id = ${quote(cell.user)}`);
  const account = shop.accountOf(cell);
  return [
    [`the host's account is ${account?.id}, not ${kept}`, kept === `${account?.id} ${account?.id}`],
    ['the host gets the URL of its onboarding', url?.includes(account?.id) === true],
  ];
}

async function isGivenUp(shop, cell) {
  return [
    ['the order is canceled', (await shop.stateOf(cell)) === 'canceled'],
    ['nothing is left to hand out', await shop.handsOutNothing(cell)],
  ];
}

export const calls = [
  {
    name: 'create_customer',
    start: placeOrder(),
    objects: { customers: 1, payment_intents: 1 },
    async here(shop, cell, lost) {
      const kept = await shop.sql(`SELECT stripe_customer_id FROM public.stripe_customers WHERE user_id = '${cell.user}'`);
      const customer = shop.customerOf(cell);
      return [
        [`the user's customer is ${customer?.id}, not ${kept}`, kept === customer?.id],
        ['the PaymentIntent is of that customer', shop.intentOf(cell)?.customer === customer?.id],
        ...(await intentIsOurs(shop, cell, lost)),
      ];
    },
  },
  {
    name: 'create_ephemeral_key',
    prepare: (shop, cell) => shop.knowCustomer(cell),
    start: placeOrder(MOBILE),
    objects: { customers: 1, ephemeral_keys: 1, payment_intents: 1 },
    async here(shop, cell, lost) {
      const { ephemeral_key: secret } = await handedOut(shop, cell, lost, 'ephemeral_key', (of) => shop.askAgain(of, MOBILE));
      const key = [...shop.stripe.app.store.ephemeral_keys].findLast(({ associated_objects: [{ id }] }) => id === shop.intentOf(cell)?.customer);
      return [['the buyer gets the ephemeral key', key !== undefined && secret === key.secret], ...(await intentIsOurs(shop, cell, lost))];
    },
  },
  {
    name: 'create_payment_intent',
    prepare: (shop, cell) => shop.knowCustomer(cell),
    start: placeOrder(),
    objects: { customers: 1, payment_intents: 1 },
    here: intentIsOurs,
  },
  {
    name: 'get_payment_intent',
    async prepare(shop, cell) {
      await shop.placed(cell);
      await shop.loseHandoff(cell);
    },
    start: (shop, cell) => shop.askAgain(cell),
    objects: { customers: 1, payment_intents: 1 },
    here: intentIsOurs,
  },
  {
    name: 'cancel_payment_intent',
    prepare: (shop, cell) => shop.placed(cell),
    start: (shop, cell) => shop.cancelOrder(cell),
    objects: { customers: 1, payment_intents: 1 },
    here: async (shop, cell) => [
      ['Stripe has canceled the PaymentIntent', shop.intentOf(cell).status === 'canceled'],
      ...(await isGivenUp(shop, cell)),
    ],
  },
  {
    name: 'create_checkout_session',
    prepare: (shop, cell) => shop.knowCustomer(cell),
    start: (shop, cell) => shop.sessionOrder(cell),
    objects: { customers: 1, checkout_sessions: 1 },
    here: sessionIsOurs,
  },
  {
    name: 'get_checkout_session',
    async prepare(shop, cell) {
      await shop.placed(cell, shop.sessionOrder(cell));
      await shop.loseHandoff(cell);
    },
    start: (shop, cell) => shop.askAgainForSession(cell),
    objects: { customers: 1, checkout_sessions: 1 },
    here: sessionIsOurs,
  },
  {
    name: 'expire_checkout_session',
    prepare: (shop, cell) => shop.placed(cell, shop.sessionOrder(cell)),
    start: (shop, cell) => shop.cancelOrder(cell),
    objects: { customers: 1, checkout_sessions: 1 },
    here: async (shop, cell) => [
      ['Stripe has expired the session', shop.sessionOf(cell).status === 'expired'],
      ...(await isGivenUp(shop, cell)),
    ],
  },
  {
    name: 'create_refund',
    later: ['cancel_payment_intent'],
    prepare: paidTooLate,
    start: (shop, cell) => shop.webhook(cell, 'payment_intent.succeeded'),
    objects: { customers: 1, payment_intents: 1, refunds: 1 },
    here: isRefunded,
  },
  {
    name: 'get_refund',
    later: ['cancel_payment_intent'],
    async prepare(shop, cell) {
      await paidTooLate(shop, cell);
      await shop.sql(shop.webhook(cell, 'payment_intent.succeeded'));
      await shop.settled([cell]);
    },
    start: (shop, cell) => shop.webhook(cell, 'refund.created'),
    objects: { customers: 1, payment_intents: 1, refunds: 1 },
    here: isRefunded,
  },
  {
    name: 'create_setup_intent',
    prepare: (shop, cell) => shop.knowCustomer(cell),
    start: setUp,
    objects: { customers: 1, setup_intents: 1 },
    async here(shop, cell, lost) {
      // What a crash has taken is asked for anew: that is another SetupIntent.
      const { client_secret: secret } = await handedOut(shop, cell, lost, 'client_secret', (of) => setUp(shop, of));
      const intent = [...shop.stripe.app.store.setup_intents].findLast(({ customer }) => customer === shop.customerOf(cell).id);
      return [['the user gets its client secret', intent !== undefined && secret === intent.client_secret]];
    },
  },
  {
    name: 'list_payment_methods',
    prepare: (shop, cell) => shop.saveMethod(cell),
    start: listMethods,
    objects: { customers: 1, payment_methods: 1 },
    async here(shop, cell, lost) {
      const { payment_methods: methods } = await handedOut(shop, cell, lost, 'payment_methods', (of) => listMethods(shop, of));
      return [['the user sees his card', methods?.length === 1 && methods[0].id === cell.method.id]];
    },
  },
  {
    name: 'check_payment_method',
    prepare: (shop, cell) => shop.saveMethod(cell),
    start: (shop, cell) => shop.setDefault(cell),
    objects: { customers: 1, payment_methods: 1 },
    here: isDefault,
  },
  {
    name: 'set_default_payment_method',
    waits: true,
    prepare: (shop, cell) => shop.saveMethod(cell),
    start: (shop, cell) => shop.setDefault(cell),
    objects: { customers: 1, payment_methods: 1 },
    here: isDefault,
  },
  {
    name: 'detach_payment_method',
    waits: true,
    prepare: (shop, cell) => shop.saveMethod(cell),
    start: (shop, cell) => shop.removeMethod(cell),
    objects: { customers: 1 },
    here: async (shop, cell) => [['the card is nobody\'s', shop.stripe.app.store.payment_methods.get(cell.method.id).customer === null]],
  },
  {
    name: 'create_account',
    start: (shop, cell) => shop.onboarding(cell),
    objects: { accounts: 1 },
    here: accountIsOurs,
  },
  {
    name: 'create_account_link',
    prepare: hasAccount,
    start: (shop, cell) => shop.onboarding(cell),
    objects: { accounts: 1 },
    here: accountIsOurs,
  },
  {
    name: 'get_account',
    async prepare(shop, cell) {
      await hasAccount(shop, cell);
      atStripe(shop.stripe, 'account', { account: shop.accountOf(cell).id, become: 'enabled' });
    },
    start: (shop, cell) => `SELECT ticketing.refresh_organizer_status(${quote(cell.user)})`,
    objects: { accounts: 1 },
    async here(shop, cell) {
      const { charges_enabled: atStripeNow } = shop.accountOf(cell);
      const status = await shop.json(`SELECT ticketing.organizer_status(${quote(cell.user)})`);
      return [['he can be paid, as Stripe says', atStripeNow === true && status.charges_enabled === true]];
    },
  },
];
