// What a storm sells, and to whom.
import { randomInt } from 'node:crypto';
import { rows, sql } from '../relay/support/database.mjs';

export const HOST = 'storm-host';

// A limited tier and an unlimited one, of a limited event, with room for so many orders: {carts, users}.
export async function openShop(orders) {
  await sql('SELECT cron.alter_job(jobid, active := false) FROM cron.job');
  await sql(`
    INSERT INTO public.organizer_accounts (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted) VALUES ('${HOST}', 'acct_stormhost', true, true, true);
    INSERT INTO public.events (host_id, title, start_date, max_attendees) VALUES ('${HOST}', 'Storm', now() + interval '30 days', ${orders * 4});
    INSERT INTO public.ticket_types (event_id, name, price_cents, quantity_total, max_per_user)
    SELECT e.id, t.name, t.price, t.seats, NULL FROM public.events e, (VALUES ('seat', 2599, ${orders * 3}), ('floor', 1001, NULL)) t (name, price, seats)`);
  const tiers = await rows('SELECT event_id AS event, id FROM public.ticket_types');
  return {
    carts: tiers.map(({ event, id }) => ({ event, items: () => JSON.stringify([{ ticket_type_id: id, quantity: randomInt(1, 4) }]) })),
    users: Array.from({ length: Math.ceil(orders / 3) }, (_, i) => `storm-buyer-${i}`),
  };
}
