// Reconciliation with Stripe, from cron's call through the relay and back: not one webhook is delivered in this file.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changeAccount } from '../stripe/resources/accounts.mjs';
import { decline, pay } from '../stripe/resources/payment_states.mjs';
import { json, quote, sql } from './support/database.mjs';
import { ownStripe } from './support/own_stripe.mjs';
import { enqueueMany, underWay } from './support/queue.mjs';
import { calls, intents, startRelay } from './support/relay.mjs';
import { until } from './support/until.mjs';

const stripe = await ownStripe();
const reconcile = () => json('SELECT ticketing.enqueue_reconciliation()');
// Nothing is on its way any more.
const quiet = () => until(async () => (await underWay()) === 0, 'the outbox is empty');
const states = () => sql("SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT o.state, count(*) AS n FROM ticketing.orders o JOIN ticketing.stripe_requests r USING (order_id) WHERE r.kind = 'create_payment_intent' GROUP BY 1) s");
const lists = () => calls(stripe).filter(({ path }) => path.startsWith('/v1/events'));

// So many orders that can be paid.
async function orders(count) {
  await sql("TRUNCATE ticketing.event_cursors, ticketing.stripe_checks");
  // Connected accounts in their turn.
  await sql("INSERT INTO ticketing.event_cursors (account, seen_until, next_at, updated_at) SELECT stripe_account_id, now(), 'infinity', now() FROM ticketing.payees WHERE stripe_account_id IS NOT NULL");
  await sql(enqueueMany(count));
  await quiet();
  return intents(stripe);
}

test('orders whose webhooks were lost are paid by the events of several pages', async (t) => {
  await startRelay(t, stripe);
  const made = await orders(45);
  for (const intent of made) {
    let now = decline(stripe.app, intent);
    now = decline(stripe.app, now);
    pay(stripe.app, now);
  }
  assert.equal(await states(), 'awaiting_payment 45');
  assert.equal((await reconcile()).event_pages, 1);
  await until(async () => (await sql("SELECT request_id IS NULL AND seen_until > ticketing.clock() - interval '1 minute' FROM ticketing.event_cursors WHERE account = ''")) === 't', 'the window is read');
  await quiet();
  assert.equal(await states(), 'paid 45');
  // 45 × 3 events that mean something: two pages.
  assert.equal(lists().length, 2);
  // Of an order on two pages the success is heard first, and the declines before it are of no consequence.
  assert.equal(await sql("SELECT count(*) FROM ticketing.stripe_inbox WHERE state <> 'applied' AND reason <> 'no_transition' AND object_id LIKE 'pi_%' AND received_at > now() - interval '1 minute'"), '0');
  assert.equal(await sql('SELECT count(*) FROM ticketing.check_invariants()'), '0');

  // The next window begins a little before the end of this one, and what is known counts once.
  await sql("UPDATE ticketing.event_cursors SET next_at = ticketing.clock() WHERE account = ''");
  const before = await sql('SELECT count(*) FROM ticketing.order_events');
  assert.equal((await reconcile()).event_pages, 1);
  await quiet();
  await until(async () => (await sql("SELECT request_id IS NULL FROM ticketing.event_cursors WHERE account = ''")) === 't', 'the window is read');
  assert.equal(await sql('SELECT count(*) FROM ticketing.order_events'), before);
});

test('a payment that nobody told us of is asked for', async (t) => {
  await startRelay(t, stripe);
  const [intent] = await orders(1);
  await sql("INSERT INTO ticketing.event_cursors (account, seen_until, next_at, updated_at) VALUES ('', now(), 'infinity', now())");
  pay(stripe.app, intent);
  assert.equal((await reconcile()).payments, 0);
  await sql("UPDATE ticketing.orders SET created_at = created_at - interval '61 seconds' WHERE payment_intent_id = " + quote(intent.id));
  assert.equal((await reconcile()).payments, 1);
  await quiet();
  assert.equal(await states(), 'paid 1');
});

test('an account that has left the platform stops nobody', async (t) => {
  await startRelay(t, stripe);
  await orders(1);
  changeAccount(stripe.app, { account: 'acct_relayhost', become: 'enabled' });
  for (const become of ['enabled', 'deauthorized']) changeAccount(stripe.app, { account: 'acct_gone', become });
  await sql("INSERT INTO ticketing.event_cursors (account, seen_until, next_at, updated_at) SELECT a, now() - interval '1 day', now(), now() FROM unnest(ARRAY['acct_gone', 'acct_relayhost']) a ON CONFLICT (account) DO UPDATE SET next_at = excluded.next_at, seen_until = excluded.seen_until");
  assert.equal((await reconcile()).event_pages, 3);
  await until(async () => (await sql("SELECT count(*) FROM ticketing.event_cursors WHERE request_id IS NULL AND account IN ('', 'acct_gone', 'acct_relayhost')")) === '3', 'all windows are closed');
  assert.match(await sql("SELECT failure FROM ticketing.event_cursors WHERE account = 'acct_gone'"), /./);
  assert.equal(await sql("SELECT count(*) FROM ticketing.event_cursors WHERE failure IS NULL AND seen_until > now() - interval '1 minute' AND account IN ('', 'acct_relayhost')"), '2');
});
