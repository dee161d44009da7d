// The kinds of calls, as the matrix tries them:
//   name      the request's kind in ticketing.stripe_requests
//   prepare   what must be there before the call, made while nothing goes wrong
//   start     SQL that enqueues it, and gives the order as JSON or nothing
//   objects   what Stripe must have for this user in the end, by type
//   here      what must be true here: [what, whether] for each; `lost` says that the server's crash may have taken the secrets
const placeOrder = (options) => (shop, cell) => shop.order(cell, options);

// A secret that a crash has taken is fetched again when the buyer asks again.
async function handedOut(shop, cell, lost, name) {
  let answer = await shop.awaited(cell, cell.lastRequest ?? cell.order.stripe_request_id);
  if (lost && answer[name] === null) {
    const again = await shop.json(shop.askAgain(cell));
    await shop.settled([cell]);
    answer = await shop.awaited(cell, again.stripe_request_id);
  }
  return answer;
}

async function intentIsOurs(shop, cell, lost) {
  const intent = shop.intentOf(cell);
  const answer = await handedOut(shop, cell, lost, 'client_secret');
  const kept = await shop.sql(`SELECT o.payment_intent_id || ' ' || p.stripe_payment_intent_id FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE order_id = '${cell.order.order_id}'`);
  return [
    [`the order's PaymentIntent is ${intent?.id}, not ${kept}`, kept === `${intent?.id} ${intent?.id}`],
    ['the buyer gets its client secret', answer.status === 'done' && answer.client_secret === intent?.client_secret],
  ];
}

export const calls = [
  {
    name: 'create_customer',
    start: placeOrder(),
    objects: { customers: 1, payment_intents: 1 },
    async here(shop, cell, lost) {
      const kept = await shop.sql(`SELECT stripe_customer_id FROM public.stripe_customers WHERE user_id = '${cell.user}'`);
      const customer = [...shop.stripe.app.store.customers].find(({ metadata }) => metadata?.user_id === cell.user);
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
    start: placeOrder(", mobile_api_version => '2026-10-28.endive'"),
    objects: { customers: 1, ephemeral_keys: 1, payment_intents: 1 },
    async here(shop, cell, lost) {
      const key = [...shop.stripe.app.store.ephemeral_keys].findLast(({ associated_objects: [{ id }] }) => id === shop.intentOf(cell)?.customer);
      const { ephemeral_key: secret } = await shop.awaited(cell);
      return [...(await intentIsOurs(shop, cell, lost)), ['the buyer gets the ephemeral key', secret === key?.secret || (lost && secret === null)]];
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
      await shop.sql(`DELETE FROM ticketing.stripe_handoff WHERE user_id = '${cell.user}'`);
    },
    start: (shop, cell) => shop.askAgain(cell),
    objects: { customers: 1, payment_intents: 1 },
    here: intentIsOurs,
  },
];
