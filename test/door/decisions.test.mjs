// Two events alike, and one sequence of scans and changes for both: at one of them check_in decides, at the other a door
// offline. If they differed, a guest would be treated by whether there is a network.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Door, verify } from '../../examples/door/door.mjs';
import { Random } from './support/random.mjs';
import { Server } from './support/server.mjs';
import { Device } from './support/storage.mjs';

const HOST = 'door-host';
const EACH = 8; // tickets of a tier
const STEPS = 1200;
const HOUR = 3600000;
const SUSPENDED_FIRST = 2;
const DELETED = 3; // no door hears what codes it had before: it has none

const RESULTS = ['admitted', 'already_admitted', 'exited', 'malformed', 'not_allowed', 'not_found', 'not_inside', 'refunded', 'superseded', 'suspended',
  'too_early', 'too_late', 'void', 'wrong_event', 'wrong_gate'];
const OVERRIDDEN = ['clock', 'too_early', 'too_late', 'wrong_gate'];
const RESULTS_OF_SUITE_2 = ['bad_signature', 'unknown_key'];

let server;
before(() => (server = new Server()));
after(() => server.close());

// Changes the nth byte of a code from its front, or from its end.
function flip(code, n) {
  const bytes = Buffer.from(code, 'base64url');
  bytes[n < 0 ? bytes.length + n : n] ^= 0x55;
  return bytes.toString('base64url');
}

// An event and its tickets, of which `codes` are all that they have ever had.
class Site {
  constructor(made, tickets) {
    Object.assign(this, made);
    this.tickets = tickets.map(({ id, payload, token }) => ({ id, codes: [{ payload, token }] }));
  }

  static async make(suite) {
    const made = await server.newEvent(HOST);
    await server.rpc('save_door_settings', { event_id: made.event, actor: HOST, settings: { suite } });
    return new Site(made, await server.newTickets(made, EACH));
  }

  indexOf(ticketId) {
    return ticketId === null ? null : this.tickets.findIndex(({ id }) => id === ticketId);
  }

  // A code as `what` describes it for both sites.
  code({ kind, ticket, which }) {
    const { codes } = this.tickets[ticket];
    const { payload, token } = codes.at(-1);
    const made = {
      payload, token,
      link: `dvnt://ticket/${payload}`,
      'old payload': codes[which % codes.length].payload,
      'old token': codes[which % codes.length].token,
      'unknown token': token.replace(/^.{8}/, 'deadbeef'),
      nonsense: `${payload}=`,
      forged: flip(payload, -1),
      'unknown key': flip(payload, 1),
    };
    return made[kind] ?? this.strange[kind];
  }

  // Gates and tiers by their numbers: {north: null, south: [0]}.
  gates(gates) {
    return Object.fromEntries(Object.entries(gates).map(([gate, tiers]) => [gate, tiers?.map((n) => this.tiers[n]) ?? null]));
  }

  settings(settings) {
    return server.rpc('save_door_settings', { event_id: this.event, actor: HOST, settings: { ...settings, ...(settings.gates && { gates: this.gates(settings.gates) }) } });
  }

  // What happens to a ticket.
  async change(name, ticket) {
    const { id, codes } = this.tickets[ticket];
    const args = { ticket_id: id, actor: HOST };
    if (name === 'refund') await server.sql(`UPDATE public.tickets SET status = 'refunded' WHERE id = '${id}'`);
    else if (name === 'delete') await server.sql(`DELETE FROM public.tickets WHERE id = '${id}'`);
    else await server.rpc(`${name}_ticket`, name === 'void' || name === 'suspend' ? { ...args, reason: 'test' } : args);
    if (name === 'reissue') codes.push(await server.json(`SELECT json_build_object('payload', qr_payload, 'token', qr_token) FROM public.tickets WHERE id = '${id}'`));
  }

  // Where every ticket is, as public.tickets has it.
  async state() {
    const rows = await server.json(`SELECT json_agg(json_build_object('id', id, 'status', status, 'at', checked_in_at)) FROM public.tickets WHERE event_id = ${this.event}`);
    return this.tickets.map(({ id }) => rows.find((row) => row.id === id)).map((row) => row && [row.status, row.at]);
  }
}

// Gives one after the other, and the first again after the last.
const inTurn = (n = 0) => (...list) => list[n++ % list.length];

// The same time, or none.
const same = (a, b) => (a === null || b === null ? a === b : Date.parse(a) === Date.parse(b));

for (const suite of [1, 2]) {
  test(`suite ${suite}: ${STEPS} scans and changes, the door decides as check_in does`, async (t) => {
    const random = new Random();
    t.diagnostic(`DOOR_TEST_SEED=${random.seed}`);
    let now = Date.parse('2040-06-01T12:00:00Z');
    await server.setClock(now);
    const [online, offline, elsewhere] = [await Site.make(suite), await Site.make(suite), await Site.make(suite)];
    const unsigned = { 'another event': elsewhere.tickets[0].codes[0].payload, text: 'https://example.com/' };
    for (const site of [online, offline]) {
      site.strange = { ...unsigned, 'no ticket': await server.sql(`SELECT ticketing.sign_ticket(gen_random_uuid(), ${site.event}, '\\x0102030405060708', 1)`) };
    }
    // The device's clock is wrong all the time.
    const device = new Device();
    const skew = (suite === 1 ? 2 : -2) * HOUR;
    const newDoor = () => new Door({ eventId: offline.event, deviceId: 'north-1', operator: HOST, rpc: server.rpc, storage: device.storage, now: () => new Date(now + skew), maxBatch: 7 });
    let door = newDoor();
    await door.refresh();

    const kinds = ['payload', 'payload', 'payload', 'token', 'token', 'link', 'old payload', 'old token', 'unknown token', 'nonsense', 'another event', 'text', 'no ticket',
      ...(suite === 2 ? ['forged', 'unknown key'] : [])];
    const seen = new Set();
    const moves = []; // of both: [{ticket, checkin_id, scan_id}]
    const forced = new Set();
    const suspended = new Set(); // tickets
    const ended = new Set();

    async function scan() {
      const what = { kind: random.one(kinds), ticket: random.below(2 * EACH), which: random.below(5) };
      const how = { gate: random.one(['north', 'south', 'west', null]), direction: random.one(['in', 'in', 'in', 'out']), force: random.below(12) === 0 };
      const told = await server.rpc('check_in', { payload: online.code(what), event_id: online.event, scanned_by: HOST, ...how });
      const decided = await door.scan(offline.code(what), how);
      const where = JSON.stringify({ what, how, told, decided });
      assert.equal(decided.result, told.result, where);
      assert.equal(offline.indexOf(decided.ticket_id), online.indexOf(told.ticket_id), where);
      assert.ok(same(decided.admitted_at, told.admitted_at), where);
      seen.add(decided.result);
      if (decided.result === 'admitted' || decided.result === 'exited') moves.push({ ticket: what.ticket, checkin_id: told.checkin_id, scan_id: decided.scan_id });
      if (how.force) forced.add(decided.scan_id);
    }

    async function upload() {
      const { conflicts, errors, left } = await door.upload();
      // The server is not told that hours and gates were overridden, and flags it.
      const unexpected = conflicts.filter(({ scan_id, flags }) => !forced.has(scan_id) || !flags.every((flag) => OVERRIDDEN.includes(flag)));
      assert.deepEqual([unexpected, errors, left], [[], [], 0]);
    }

    const [nextChange, nextHours, nextGates, nextReentry] = [inTurn(), inTurn(), inTurn(), inTurn()];

    // What changes the tickets or the doors, between an upload and a refresh.
    const changes = {
      ticket: async () => {
        const ticket = random.below(2 * EACH);
        if (ended.has(ticket)) return;
        const name = suspended.has(ticket) ? 'restore' : random.one(ticket === DELETED ? ['suspend'] : ['suspend', 'reissue']);
        if (name === 'suspend') suspended.add(ticket);
        else suspended.delete(ticket);
        for (const site of [online, offline]) await site.change(name, ticket);
      },
      hours: async () => {
        const settings = nextHours(
          {}, { doors_open: now - HOUR }, { doors_open: now + 30000 }, { doors_close: now + HOUR }, { doors_open: now - HOUR, doors_close: now + 30000 }, { doors_close: now - 1 },
        );
        const times = Object.fromEntries(['doors_open', 'doors_close'].map((key) => [key, settings[key] ? new Date(settings[key]).toISOString() : null]));
        for (const site of [online, offline]) await site.settings(times);
      },
      gates: async () => {
        const gates = nextGates({}, { north: null, south: null, west: null }, { north: null, south: [0] }, { north: [1], south: [0, 1] }, { east: null });
        for (const site of [online, offline]) await site.settings({ gates });
      },
      reentry: async () => {
        const reentry = nextReentry(true, false, true);
        for (const site of [online, offline]) await site.settings({ reentry });
      },
      undo: async () => {
        const at = random.below(moves.length);
        if (moves.length === 0 || suspended.has(moves[at].ticket)) return;
        const [{ checkin_id, scan_id }] = moves.splice(at, 1);
        const uploaded = await server.sql(`SELECT id FROM ticketing.checkins WHERE scan_id = '${scan_id}'`);
        for (const one of [checkin_id, uploaded]) await server.rpc('undo_check_in', { checkin_id: one, actor: HOST, reason: 'test' });
      },
    };

    // The second ticket that is voided is suspended until then.
    async function end({ name, ticket }) {
      ended.add(ticket);
      for (const site of [online, offline]) {
        if (ticket === SUSPENDED_FIRST && !suspended.has(ticket)) await site.change('suspend', ticket);
        else if (ticket !== SUSPENDED_FIRST && suspended.has(ticket)) await site.change('restore', ticket);
        await site.change(name, ticket);
      }
    }

    async function change(action) {
      await upload();
      await action();
      await door.refresh();
    }

    // These tickets end one after the other, the others live on.
    const ends = new Map(['refund', 'void', 'void', 'delete'].map((name, i) => [(1 + i) * 100, { name, ticket: i }]));

    for (let step = 0; step < STEPS; step++) {
      now += 1 + random.below(2000);
      await server.setClock(now);
      const dice = random.below(100);
      if (ends.has(step)) await change(() => end(ends.get(step)));
      else if (dice < 80) await scan();
      else if (dice < 83) await upload();
      else if (dice < 86) await door.refresh();
      else if (dice < 88) door = newDoor();
      else await change(nextChange(changes.ticket, changes.hours, changes.ticket, changes.gates, changes.ticket, changes.reentry, changes.undo));
    }
    await upload();
    assert.deepEqual(await offline.state(), await online.state());
    assert.deepEqual([...seen].sort(), [...RESULTS, ...(suite === 2 ? RESULTS_OF_SUITE_2 : [])].sort());
  });
}

test('a ticket sold after the last refresh is admitted by its signature, once, and the server agrees', async () => {
  const now = Date.parse('2040-06-01T12:00:00Z');
  await server.setClock(now);
  const site = await Site.make(2);
  const door = new Door({ eventId: site.event, deviceId: 'north-1', operator: HOST, rpc: server.rpc, now: () => new Date(now) });
  await door.refresh();
  const sold = (await server.newTickets(site, 1)).find(({ id }) => site.indexOf(id) === -1);
  const { keys } = await server.rpc('door_key', { event_id: site.event, actor: HOST });
  assert.equal((await verify(sold.payload, keys)).ticket_id, sold.id);

  assert.deepEqual([(await door.scan(sold.token)).result, (await door.scan(flip(sold.payload, 40))).result], ['not_found', 'bad_signature']);
  const { result, ticket_id, flags } = await door.scan(sold.payload);
  assert.deepEqual([result, ticket_id, flags], ['admitted', sold.id, ['not_listed']]);
  assert.equal((await door.scan(sold.payload)).result, 'already_admitted');
  assert.deepEqual(await door.upload(), { uploaded: 4, left: 0, conflicts: [], errors: [] });
  assert.equal(await server.sql(`SELECT status FROM public.tickets WHERE id = '${sold.id}'`), 'scanned');
  await door.refresh();
  assert.deepEqual([(await door.scan(sold.payload)).flags, (await door.scan(sold.token)).result], [[], 'already_admitted']);
});

test('a revoked device gets no more manifests; it goes on, and the server hears of it', async () => {
  const now = Date.parse('2040-06-01T12:00:00Z');
  await server.setClock(now);
  const site = await Site.make(1);
  const door = new Door({ eventId: site.event, deviceId: 'lost-1', operator: HOST, rpc: server.rpc, now: () => new Date(now) });
  await door.refresh();
  await server.rpc('revoke_door_device', { event_id: site.event, actor: HOST, device_id: 'lost-1' });
  await assert.rejects(door.refresh(), { sqlstate: 'PT403' });
  const { result, scan_id } = await door.scan(site.tickets[0].codes[0].payload);
  assert.equal(result, 'admitted');
  const { conflicts } = await door.upload();
  assert.deepEqual(conflicts.map((one) => [one.scan_id, one.decided, one.result, one.flags]), [[scan_id, 'admitted', 'admitted', ['device_revoked']]]);
  assert.equal(await server.sql(`SELECT conflicts FROM ticketing.door_conflicts(${site.event}, '${HOST}')`), '{device_revoked}');
});
