// Stripe's limits with three relays at once; see run. Buyers that Stripe has never seen, with a phone each: a
// customer, an ephemeral key and a PaymentIntent, whose client secret they lose and ask for again, and then a cancel.
import { parseArgs } from 'node:util';
import { sql } from '../relay/support/database.mjs';
import { unanswered } from '../relay/support/queue.mjs';
import { Relay, localStripe } from '../relay/support/relay.mjs';
import { until } from '../relay/support/until.mjs';
import { EACH, IN_ALL, countCalls, most, openHall, timesOf } from './hall.mjs';
import { done, is, none, ok, say } from './tap.mjs';

const { values: options } = parseArgs({ options: { buyers: { type: 'string' } } });
const BUYERS = Number(options.buyers ?? 300);
const RELAYS = 3;
const WITHIN = 180000;

const stripe = await localStripe();
const relays = Array.from({ length: RELAYS }, () => new Relay(stripe, { DVNT_RELAY_DEBUG: '0' }));
try {
  await rates();
} finally {
  await Promise.all(relays.map((relay) => relay.kill('SIGKILL')));
  await stripe.stop();
}
done();

async function rates() {
  const { order } = await openHall(BUYERS * 2);
  await Promise.all(relays.map((relay) => relay.until('ready')));
  countCalls(stripe);
  const began = performance.now();
  await sql(`DO $do$ BEGIN FOR i IN 1..${BUYERS} LOOP PERFORM (${order("'rates-buyer-' || i", ", mobile_api_version => '2026-10-28.endive'")}); COMMIT; END LOOP; END $do$`);
  // All five endpoints are busy together: who has an intent loses its secret and asks again, and every other one gives up.
  await sql(`CREATE TABLE asked (order_id uuid PRIMARY KEY)`);
  const askAgain = `DO $do$ DECLARE o record; BEGIN
    FOR o IN SELECT * FROM ticketing.orders x WHERE payment_intent_id IS NOT NULL AND NOT EXISTS (SELECT FROM asked a WHERE a.order_id = x.order_id) LOOP
      INSERT INTO asked VALUES (o.order_id);
      DELETE FROM ticketing.stripe_handoff WHERE order_id = o.order_id AND client_secret IS NOT NULL;
      PERFORM ticketing.create_payment_intent(o.user_id, o.event_id, NULL, o.reservation_id);
      IF hashtext(o.order_id::text) % 2 = 0 THEN PERFORM ticketing.cancel_order(o.order_id, o.user_id); END IF;
      COMMIT;
    END LOOP; END $do$`;
  await until(
    async () => {
      await sql(askAgain);
      return (await sql('SELECT count(*) FROM asked')) === String(BUYERS) && (await unanswered()) === 0;
    },
    'every request is done',
    WITHIN,
  ).catch(() => {});
  const seconds = (performance.now() - began) / 1000;

  const calls = stripe.app.journal.list();
  is('nothing waits any more', await unanswered(), 0);
  none('nothing was refused for coming too often', calls.filter(({ status }) => status === 429).map(({ method, path }) => `${method} ${path}`));
  for (const [endpoint, times] of timesOf(calls)) {
    const peak = most(times);
    say(`${endpoint}: ${times.length} calls, ${peak} in the busiest second, ${(times.length / ((Math.max(...times) - Math.min(...times)) / 1000)).toFixed(1)} a second`);
    ok(`${endpoint}: never more than ${EACH} in any one second`, peak <= EACH, `${peak}`);
  }
  const all = most(calls.map(({ time }) => time));
  say(`all: ${calls.length} calls in ${seconds.toFixed(0)} s by ${RELAYS} relays (${relays.map((relay) => relay.of('answer').length).join(', ')}), ${all} in the busiest second`);
  ok(`in all never more than ${IN_ALL}`, all <= IN_ALL, `${all}`);
  ok('and what is allowed is used', BUYERS / EACH > 0.7 * seconds - 3 || all > 0.9 * IN_ALL, `${seconds.toFixed(1)} s for ${BUYERS} of each`);
  ok('each relay had its share', relays.every((relay) => relay.of('answer').length > 0));
  none('check_invariants finds nothing', (await sql('SELECT * FROM ticketing.check_invariants()')).split('\n').filter(Boolean));
}
