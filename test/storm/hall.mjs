// What is sold where it is not the orders that are looked at, but the calls; and how calls are counted.
import { sql } from '../relay/support/database.mjs';
import { atStripe } from '../stripe/at_stripe.mjs';

// What Stripe is sent a second at most: in all, and to each endpoint.
export const IN_ALL = Number(await sql('SHOW dvnt_ticketing.stripe_rate'));
export const EACH = Number(await sql('SHOW dvnt_ticketing.stripe_endpoint_rate'));

// An event with so many seats. `order` is SQL that places an order of one seat for a user.
export async function openHall(seats) {
  const cart = await sql(`
    SELECT FROM cron.job, LATERAL cron.alter_job(jobid, active := false);
    INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted) VALUES ('hall-host', 'acct_hallhost', true, true, true);
    WITH event AS (INSERT INTO public.events (host_id, title, start_date) VALUES ('hall-host', 'Hall', now() + interval '30 days') RETURNING id)
    INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total, max_per_user) SELECT id, 'Seat', 2000, ${seats}, NULL FROM event
    RETURNING event_id || $$, '[{"ticket_type_id": "$$ || id || $$", "quantity": 1}]'$$`);
  return {
    event: Number.parseInt(cart, 10),
    order: (user, options = '') => `SELECT ticketing.create_payment_intent(${user}, ${cart}${options})`,
  };
}

// Method and path of a call, ids apart.
export const endpointOf = ({ method, path }) => `${method} ${path.replaceAll(/\/[a-z]+_[A-Za-z0-9_]{8,}/g, '/:id')}`;

// From here on Stripe refuses what is more, and every call is in its journal.
export function countCalls({ app }) {
  app.journal.kept = Infinity;
  app.journal.clear();
  atStripe({ app }, 'rates', { total: IN_ALL, per_endpoint: EACH });
}

// The times (ms) of calls, by endpoint.
export function timesOf(calls) {
  const times = new Map();
  for (const call of calls) {
    const endpoint = endpointOf(call);
    if (!times.has(endpoint)) times.set(endpoint, []);
    times.get(endpoint).push(call.time);
  }
  return times;
}

// The most of these times (ms) that lie within any one second.
export function most(times, window = 1000) {
  const sorted = times.slice().sort((a, b) => a - b);
  let peak = 0;
  for (let first = 0, last = 0; last < sorted.length; last++) {
    while (sorted[last] - sorted[first] >= window) first++;
    peak = Math.max(peak, last - first + 1);
  }
  return peak;
}
