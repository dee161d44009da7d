// A server in memory with one event, for what a door does with its answers, and doors of it; what the real one decides is
// decisions.test.mjs's.
// Everything goes through JSON, as over a network.
import { createHash, randomUUID } from 'node:crypto';
import { Door } from '../../../examples/door/door.mjs';

export const EVENT = 7;
export const hashOf = (code) => createHash('sha256').update(code).digest('hex');
// Readable tokens and ids: token(10) is 00…0a, id(10) is 00000000-…-00000000000a.
export const token = (n) => n.toString(16).padStart(64, '0');
export const id = (n) => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

const copy = (value) => JSON.parse(JSON.stringify(value));

export class FakeServer {
  now = Date.parse('2040-06-01T18:00:00Z');
  epoch = 'e1';
  doors = { open: null, close: null, reentry: false, gates: [] };
  keys = [];
  rows = new Map();
  calls = []; // {name, args}, as they came
  scans = new Map(); // what was recorded, by scan id
  refuse = () => null; // the error of a scan, or null
  #changes = []; // ids, in the order of the changes
  #byCode = new Map(); // ids by hash

  // Adds tickets first to last, with their tokens as codes.
  constructor(last = 0) {
    for (let n = 1; n <= last; n++) this.change(id(n), { codes: [hashOf(token(n))] });
  }

  // Changes a ticket, or makes it.
  change(ticketId, changes) {
    const row = this.rows.get(ticketId) ?? { ticket_id: ticketId, version: 0, ticket_type_id: id(0), codes: [], state: 'active', admitted_at: null };
    const changed = { ...row, ...changes, version: row.version + 1 };
    this.rows.set(ticketId, changed);
    this.#changes.push(ticketId);
    for (const hash of row.codes) this.#byCode.delete(hash);
    for (const hash of changed.codes) this.#byCode.set(hash, ticketId);
  }

  // As after a restore: everybody gets everything, and versions begin anew.
  beginEpoch(epoch) {
    this.epoch = epoch;
    for (const row of this.rows.values()) row.version = 1;
  }

  rpc = async (name, args) => {
    this.calls.push({ name, args: copy(args) });
    return copy(this[name](copy(args)));
  };

  door_manifest({ event_id, device_id, since }) {
    const [epoch, seen] = since?.split(':') ?? [];
    const full = epoch !== this.epoch;
    const ids = full ? this.rows.keys() : new Set(this.#changes.slice(Number(seen)));
    return {
      event_id,
      device_id,
      manifest_id: randomUUID(),
      issued_at: new Date(this.now).toISOString(),
      expires_at: new Date(this.now + 3600000).toISOString(),
      cursor: `${this.epoch}:${this.#changes.length}`,
      full,
      doors: this.doors,
      keys: this.keys,
      tickets: Array.from(ids, (one) => this.rows.get(one)),
    };
  }

  // What was let in first is admitted; what a device refused moves nobody.
  sync_checkins({ scans }) {
    if (scans.length > 10000) throw new Error('too many scans');
    return { results: scans.map((scan) => this.#record(scan)) };
  }

  #record(scan) {
    const error = this.refuse(scan);
    if (error !== null) return { scan_id: scan.scan_id, error };
    if (!this.scans.has(scan.scan_id)) this.scans.set(scan.scan_id, { ...scan, ...this.#move(scan) });
    const { result, ticket_id, admitted_at } = this.scans.get(scan.scan_id);
    return { scan_id: scan.scan_id, result, checkin_id: scan.scan_id, ticket_id, admitted_at, flags: [] };
  }

  #move(scan) {
    const row = this.rows.get(this.#byCode.get(hashOf(scan.payload)));
    if (row === undefined) return { result: scan.result === 'admitted' ? 'not_found' : scan.result, ticket_id: null, admitted_at: null };
    if (scan.result !== 'admitted') return { result: scan.result, ticket_id: row.ticket_id, admitted_at: row.admitted_at };
    if (row.state !== 'active') return { result: row.state === 'scanned' ? 'already_admitted' : row.state, ticket_id: row.ticket_id, admitted_at: row.admitted_at };
    this.change(row.ticket_id, { state: 'scanned', admitted_at: scan.scanned_at });
    return { result: 'admitted', ticket_id: row.ticket_id, admitted_at: scan.scanned_at };
  }
}

// Calls to a server whose answers wait: each arrives when the test calls its function in `held`.
export function heldUp(server) {
  const held = [];
  const rpc = async (name, args) => {
    const answer = await server.rpc(name, args);
    await new Promise((resolve) => held.push(resolve));
    return answer;
  };
  return { rpc, held };
}

export const newDoor = (server, options = {}) =>
  new Door({ eventId: EVENT, deviceId: 'north-1', operator: 'ann', rpc: server.rpc, now: () => new Date(server.now), ...options });

export async function readyDoor(server, options) {
  const door = newDoor(server, options);
  await door.refresh();
  return door;
}

export const resultOf = async (door, code, options) => (await door.scan(code, options)).result;
