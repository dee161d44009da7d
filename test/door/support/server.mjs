// The real server: its functions, its clock, an event to scan at.
import { PsqlPool } from '../../stripe/psql-pool.mjs';
import { quote } from '../../relay/support/database.mjs';

const literal = (value) => quote(value !== null && typeof value === 'object' ? JSON.stringify(value) : value);

// One session, so that its settings last: the clock is a setting.
export class Server {
  #pool = new PsqlPool(1);

  sql(text) {
    return this.#pool.query(text);
  }

  // What a query of one JSON value says.
  async json(text) {
    return JSON.parse(await this.sql(text));
  }

  // Calls a function as an edge function would; a door's `rpc`.
  rpc = (name, args) =>
    this.json(`SELECT ticketing.${name}(${Object.entries(args).map(([key, value]) => `${key} => ${literal(value)}`)})`);

  // Stops the engine's clock at a time, in ms since 1970.
  setClock(at) {
    return this.sql(`SELECT set_config('dvnt_ticketing.test_clock_rate', '0', false),
      set_config('dvnt_ticketing.test_clock_offset', (m + sign(m) * 0.0004)::text, false)
      FROM (SELECT extract(epoch FROM to_timestamp(${at / 1000}::numeric) - pg_postmaster_start_time()) * 1000 AS m) t`);
  }

  // A new event with two free tiers: {event, tiers}.
  newEvent(host) {
    return this.json(`
      WITH event AS (INSERT INTO public.events (host_id, title) VALUES (${quote(host)}, 'Test') RETURNING id),
      tiers AS (INSERT INTO public.ticket_types (event_id, name, price_cents, max_per_user) SELECT id, n, 0, NULL FROM event, (VALUES ('A'), ('B')) v (n) RETURNING id, event_id, name)
      SELECT json_build_object('event', min(event_id), 'tiers', json_agg(id ORDER BY name)) FROM tiers`);
  }

  // Issues tickets of both tiers, so many of each: [{id, payload, token}], in the tiers' order.
  async newTickets({ event, tiers }, each) {
    const items = tiers.map((ticket_type_id) => ({ ticket_type_id, quantity: each }));
    await this.rpc('claim_free_tickets', { user_id: 'guest', event_id: event, items });
    return this.json(`
      SELECT json_agg(json_build_object('id', t.id, 'payload', t.qr_payload, 'token', t.qr_token) ORDER BY array_position(${quote(`{${tiers}}`)}::uuid[], t.ticket_type_id), t.id)
      FROM public.tickets t WHERE t.event_id = ${event}`);
  }

  close() {
    return this.#pool.close();
  }
}
