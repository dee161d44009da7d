// Manifests: what a door makes of increments that repeat themselves or come late, of a new epoch, of a restart, of keys and
// clocks. If one of these failed, a door would decide by something that is no longer so.
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { decode } from '../../examples/door/door.mjs';
import { until } from '../relay/support/until.mjs';
import { EVENT, FakeServer, hashOf, heldUp, id, newDoor, readyDoor, resultOf, token } from './support/fake.mjs';
import { Device } from './support/storage.mjs';

const asked = (server) => server.calls.filter(({ name }) => name === 'door_manifest').map(({ args }) => args.since);

// ---- increments

test('asks for what has changed since the last manifest, and takes it in', async () => {
  const server = new FakeServer(3);
  const door = await readyDoor(server);
  server.change(id(1), { state: 'refunded' });
  const { full, tickets } = await door.refresh();
  assert.deepEqual([full, tickets], [false, 1]);
  assert.deepEqual(asked(server), [null, 'e1:3']);
  assert.equal(await resultOf(door, token(1)), 'refunded');
  assert.equal(await resultOf(door, token(2)), 'admitted');
});

test('increments may repeat themselves, and what is older never replaces what is newer', async () => {
  const server = new FakeServer(2);
  let rewrite = (answer) => answer;
  const rpc = async (name, args) => rewrite(await server.rpc(name, args));
  const door = await readyDoor(server, { rpc });
  const before = server.rows.get(id(1));
  server.change(id(1), { state: 'void' });
  await door.refresh();
  const after = server.rows.get(id(1));
  for (const tickets of [[after], [after, after], [before], [before, after], [after, before], [before]]) {
    rewrite = (answer) => ({ ...answer, tickets });
    await door.refresh();
    assert.equal(await resultOf(door, token(1)), 'void');
  }
});

test('answers that overtake one another leave the newest', async () => {
  const server = new FakeServer(2);
  const { rpc, held } = heldUp(server);
  const device = new Device();
  await readyDoor(server, { storage: device.storage });
  const door = newDoor(server, { rpc, storage: device.storage });
  server.change(id(1), { state: 'void' });
  const first = door.refresh();
  await until(() => held.length === 1, 'the first refresh is under way');
  server.change(id(1), { state: 'active' });
  server.change(id(2), { state: 'refunded' });
  server.doors = { ...server.doors, gates: [{ gate: 'south', ticket_type_ids: null }] };
  const second = door.refresh();
  await until(() => held.length === 2, 'the second refresh is under way');
  held[1]();
  await second;
  held[0]();
  await first;
  for (const one of [door, newDoor(server, { storage: device.storage })]) {
    assert.equal(await resultOf(one, token(2), { gate: 'south' }), 'refunded');
    assert.equal(await resultOf(one, token(1), { gate: 'north' }), 'wrong_gate');
  }
  await newDoor(server, { storage: device.storage }).refresh();
  assert.equal(asked(server).at(-1), 'e1:5');
  assert.equal(await resultOf(door, token(1), { gate: 'south' }), 'admitted');
});

test('a row replaces the one before it entirely: codes, superseded codes, state', async () => {
  const server = new FakeServer(1);
  const door = await readyDoor(server);
  server.change(id(1), { codes: [hashOf(token(100))], superseded: [hashOf(token(1))] });
  await door.refresh();
  assert.deepEqual([await resultOf(door, token(1)), await resultOf(door, token(100))], ['superseded', 'admitted']);
  server.change(id(1), { codes: [hashOf(token(101))], superseded: [hashOf(token(100))], state: 'scanned', admitted_at: '2040-06-01T18:00:00Z' });
  await door.refresh();
  assert.deepEqual(await Promise.all([1, 100, 101].map((n) => resultOf(door, token(n)))), ['not_found', 'superseded', 'already_admitted']);
  server.change(id(1), { codes: [], superseded: undefined, state: 'removed', ticket_type_id: null });
  await door.refresh();
  assert.deepEqual(await Promise.all([1, 100, 101].map((n) => resultOf(door, token(n)))), ['not_found', 'not_found', 'not_found']);
});

test('another epoch replaces everything but our own scans', async () => {
  const server = new FakeServer(3);
  const device = new Device();
  const door = await readyDoor(server, { storage: device.storage });
  for (let i = 0; i < 8; i++) server.change(id(1), { state: 'void' });
  await door.refresh();
  assert.equal(await resultOf(door, token(2)), 'admitted');

  server.beginEpoch('e2');
  server.rows.delete(id(3));
  server.change(id(1), { state: 'active' });
  const { full } = await door.refresh();
  assert.equal(full, true);
  for (const one of [door, newDoor(server, { storage: device.storage })]) {
    assert.deepEqual(await Promise.all([2, 3].map((n) => resultOf(one, token(n)))), ['already_admitted', 'not_found']);
  }
  // Version 2 of this epoch is newer than version 9 of the one before.
  assert.equal(await resultOf(door, token(1)), 'admitted');
  assert.equal((await door.upload()).left, 0);
  assert.deepEqual([...server.scans.values()].filter(({ result }) => result === 'admitted').map(({ payload }) => payload), [token(2), token(1)]);
});

test('a late increment of an epoch that is over is of no use', async () => {
  const server = new FakeServer(1);
  const { rpc, held } = heldUp(server);
  let current = server.rpc;
  const door = await readyDoor(server, { rpc: (...call) => current(...call) });
  server.change(id(1), { state: 'void' });
  current = rpc;
  const late = door.refresh();
  await until(() => held.length === 1, 'the increment is under way');
  current = server.rpc;
  server.beginEpoch('e2');
  server.rows.set(id(1), { ...server.rows.get(id(1)), state: 'active' });
  await door.refresh();
  held[0]();
  await late;
  assert.equal(await resultOf(door, token(1)), 'admitted');
});

test('an increment to nothing and a manifest of another door are refused', async () => {
  const server = new FakeServer(1);
  const answer = await server.rpc('door_manifest', { event_id: EVENT, device_id: 'north-1', since: null });
  const refreshed = (changes) => newDoor(server, { rpc: async () => ({ ...answer, ...changes }) }).refresh();
  await assert.rejects(refreshed({ full: false }), /nothing that it could be added to/);
  await assert.rejects(refreshed({ event_id: 8 }), /another door/);
  await assert.rejects(refreshed({ device_id: 'south-1' }), /another door/);
  await assert.rejects(refreshed({ tickets: null }), /no manifest/);
  await assert.rejects(refreshed({ issued_at: null }), /no manifest/);
  await assert.rejects(newDoor(server).scan(token(1)), /no manifest yet/);
});

// ---- what is kept

test('a restarted door knows what it knew, and goes on from there', async () => {
  const server = new FakeServer(20);
  const device = new Device();
  const door = await readyDoor(server, { storage: device.storage });
  for (let n = 1; n <= 10; n++) {
    server.change(id(n), { state: n % 2 ? 'void' : 'refunded' });
    await door.refresh();
  }
  const restarted = newDoor(server, { rpc: () => Promise.reject(new Error('no network')), storage: device.storage });
  for (let n = 1; n <= 20; n++) assert.equal(await resultOf(restarted, token(n)), n > 10 ? 'admitted' : n % 2 ? 'void' : 'refunded');
  await assert.rejects(restarted.refresh(), /no network/);
  await newDoor(server, { storage: device.storage }).refresh();
  assert.equal(asked(server).at(-1), 'e1:30');
});

test('increments do not pile up on the device', async () => {
  const server = new FakeServer(2);
  const device = new Device();
  const door = await readyDoor(server, { storage: device.storage });
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 300; i++) server.change(id(3 + i), { state: round % 2 ? 'void' : 'active', codes: [hashOf(token(3 + i))] });
    await door.refresh();
  }
  const parts = [...device.disk.keys()].filter((key) => key.includes('/tickets/'));
  assert.ok(parts.length <= 6, parts.join(' '));
  const restarted = newDoor(server, { storage: device.storage });
  assert.deepEqual([(await restarted.status()).tickets, await resultOf(restarted, token(3)), await resultOf(restarted, token(1))], [302, 'void', 'admitted']);
});

test('a manifest of which the device has lost a part is fetched anew, and the queue is still there', async () => {
  const server = new FakeServer(2);
  const device = new Device();
  const door = await readyDoor(server, { storage: device.storage });
  await door.scan(token(1));
  for (const key of device.disk.keys()) if (key.includes('/tickets/')) device.disk.delete(key);
  const restarted = newDoor(server, { storage: device.storage });
  await assert.rejects(restarted.scan(token(1)), /no manifest yet/);
  assert.equal((await restarted.refresh()).full, true);
  assert.equal(await resultOf(restarted, token(1)), 'already_admitted');
  assert.equal((await restarted.upload()).uploaded, 2);
});

test('when a manifest could not be saved, changes since then are not added to the one before', async () => {
  const server = new FakeServer(2);
  const device = new Device();
  const { rpc, held } = heldUp(server);
  let [current, fail, full] = [server.rpc, null, false];
  const failing = new Promise((_, reject) => (fail = reject));
  const set = (key, value) => (full && key.includes('/tickets/') ? failing : device.storage.set(key, value));
  const door = await readyDoor(server, { rpc: (...call) => current(...call), storage: { ...device.storage, set } });
  const { manifest_id } = await door.status();
  server.change(id(1), { state: 'void' });
  full = true;
  const first = door.refresh();
  await until(async () => (await door.status()).manifest_id !== manifest_id, 'the door knows of the change');
  current = rpc;
  server.change(id(2), { state: 'refunded' });
  const second = door.refresh();
  await until(() => held.length === 1, 'the second refresh is under way');
  fail(new Error('disk full'));
  await assert.rejects(first, /disk full/);
  full = false;
  assert.equal((await door.status()).manifest_id, manifest_id);
  held[0]();
  await assert.rejects(second, /storage has failed/);
  current = server.rpc;
  await door.refresh();
  assert.deepEqual(await Promise.all([1, 2].map((n) => resultOf(door, token(n)))), ['void', 'refunded']);
});

test('events on one device are kept apart', async () => {
  const [server, other] = [new FakeServer(1), new FakeServer(2)];
  const device = new Device();
  const door = await readyDoor(server, { storage: device.storage });
  const second = newDoor(other, { eventId: 8, storage: device.storage });
  assert.equal((await second.refresh()).full, true);
  await second.scan(token(2));
  const restarted = newDoor(server, { storage: device.storage });
  assert.deepEqual([await resultOf(door, token(1)), await resultOf(restarted, token(2))], ['admitted', 'not_found']);
});

// ---- time

test('hours and expiry are the server\'s, whatever the device\'s clock says', async () => {
  const server = new FakeServer(9);
  const at = (time) => (server.now = Date.parse(`2040-06-01T${time}Z`));
  server.doors = { ...server.doors, open: '2040-06-01T18:00:00+00:00', close: '2040-06-01T19:30:00.5+00:00' };
  let n = 0;
  for (const hours of [0, 2, -2]) {
    at('17:00:00');
    const door = await readyDoor(server, { now: () => new Date(server.now + hours * 3600000) });
    at('17:59:59.999');
    assert.deepEqual([await resultOf(door, token(++n)), await resultOf(door, token(n), { direction: 'out' })], ['too_early', 'not_inside']);
    at('18:00:00');
    const { result, flags, admitted_at } = await door.scan(token(n));
    assert.deepEqual([result, flags, admitted_at], ['admitted', ['manifest_expired'], '2040-06-01T18:00:00.000Z']);
    await door.refresh();
    assert.deepEqual((await door.scan(token(++n))).flags, []);
    at('19:30:00.499');
    assert.equal(await resultOf(door, token(++n)), 'admitted');
    at('19:30:00.5');
    assert.equal(await resultOf(door, token(n)), 'too_late');
    assert.equal(await resultOf(door, token(n), { force: true }), 'already_admitted');
    assert.equal((await door.status()).clock_offset + hours * 3600000, 0);
  }
});

// ---- keys

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const PUBLIC_KEYS = [{ key_id: 1, public_key: publicKey.export({ format: 'jwk' }).x }];

// A code of suite 2, or of suite 1 with zeros for a signature.
function codeOf(ticketId, { suite = 2, keyId = 1, event = EVENT, nonce = 1 } = {}) {
  const signed = Buffer.alloc(30);
  signed.writeUInt8(suite, 0);
  signed.writeUInt8(keyId, 1);
  signed.write(ticketId.replaceAll('-', ''), 2, 'hex');
  signed.writeInt32BE(event, 18);
  signed.writeBigUInt64BE(BigInt(nonce), 22);
  return Buffer.concat([signed, suite === 2 ? sign(null, signed, privateKey) : Buffer.alloc(16)]).toString('base64url');
}

test('a genuine code of suite 2 that is not listed is admitted once and flagged, also after a restart, an upload and a refresh', async () => {
  const server = new FakeServer(1);
  server.keys = PUBLIC_KEYS;
  server.doors = { ...server.doors, reentry: true };
  const device = new Device();
  let door = await readyDoor(server, { storage: device.storage });
  const code = codeOf(id(50));
  const { result, flags, ticket_id, admitted_at } = await door.scan(code);
  assert.deepEqual([result, flags, ticket_id, admitted_at], ['admitted', ['not_listed'], id(50), '2040-06-01T18:00:00.000Z']);
  assert.equal(await resultOf(door, codeOf(id(50), { nonce: 2 })), 'already_admitted');
  assert.equal(await resultOf(door, codeOf(id(51)), { direction: 'out' }), 'not_inside');
  assert.deepEqual([await resultOf(door, code, { direction: 'out' }), await resultOf(door, code)], ['exited', 'admitted']);

  door = newDoor(server, { storage: device.storage });
  assert.equal(await resultOf(door, code), 'already_admitted');
  await door.upload();
  await door.refresh();
  door = newDoor(server, { storage: device.storage });
  assert.equal(await resultOf(door, code), 'already_admitted');
  // Listed at last: now the manifest counts.
  server.change(id(50), { codes: [hashOf(code)] });
  await door.refresh();
  assert.equal(await resultOf(door, code), 'admitted');
});

test('codes that are not listed: forged, of an unknown key, of another event, replaced, of a ticket that is gone', async () => {
  const server = new FakeServer(1);
  server.keys = PUBLIC_KEYS;
  server.change(id(2), { state: 'removed', ticket_type_id: null });
  const door = await readyDoor(server);
  const forged = codeOf(id(50)).replace(/.{3}$/, (end) => (end === 'AAA' ? 'BAA' : 'AAA'));
  const said = async (code) => {
    const { result, ticket_id, flags } = await door.scan(code);
    return [result, ticket_id, flags.join()];
  };
  assert.notEqual(decode(forged), null);
  assert.deepEqual(await said(forged), ['bad_signature', null, '']);
  assert.deepEqual(await said(codeOf(id(50), { keyId: 2 })), ['unknown_key', null, '']);
  assert.deepEqual(await said(codeOf(id(50), { event: 8 })), ['wrong_event', null, '']);
  assert.deepEqual(await said(codeOf(id(1))), ['superseded', id(1), '']);
  assert.deepEqual(await said(codeOf(id(2))), ['not_found', null, '']);
  assert.deepEqual(await said(codeOf(id(50), { suite: 1 })), ['not_found', null, 'unverified']);
  assert.deepEqual(await said(codeOf(id(1), { suite: 1 })), ['superseded', id(1), 'unverified']);
  assert.deepEqual(await said(codeOf(id(50), { suite: 1, event: 8 })), ['wrong_event', null, '']);
  assert.deepEqual(await said(token(50)), ['not_found', null, '']);
  assert.deepEqual(await said(token(50).replace('0', 'A')), ['malformed', null, '']);
  assert.deepEqual(await said(`dvnt://ticket/dvnt://ticket/${token(1)}`), ['malformed', null, '']);
});

test('of several keys, the one that a code names counts', async () => {
  const server = new FakeServer();
  const other = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x;
  server.keys = [{ key_id: 2, public_key: other }, ...PUBLIC_KEYS, { key_id: 255, public_key: PUBLIC_KEYS[0].public_key }];
  const door = await readyDoor(server);
  const results = await Promise.all([1, 2, 255, 0].map((keyId) => resultOf(door, codeOf(id(keyId), { keyId }))));
  assert.deepEqual(results, ['admitted', 'bad_signature', 'admitted', 'unknown_key']);
});

// Another WebCrypto for the time of a test.
function withCrypto(t, crypto) {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'crypto');
  Object.defineProperty(globalThis, 'crypto', { value: crypto, configurable: true });
  t.after(() => (before ? Object.defineProperty(globalThis, 'crypto', before) : delete globalThis.crypto));
}

test('without crypto.subtle the door says why', async (t) => {
  withCrypto(t, {});
  await assert.rejects(newDoor(new FakeServer(1)).refresh(), /crypto\.subtle is missing: browsers offer it on https/);
});

test('a runtime without Ed25519 admits what is listed, and says of the rest that it cannot tell', async (t) => {
  const { webcrypto } = await import('node:crypto');
  const unsupported = async () => {
    throw new DOMException('Unrecognized algorithm name', 'NotSupportedError');
  };
  withCrypto(t, { randomUUID: () => webcrypto.randomUUID(), subtle: { digest: (...args) => webcrypto.subtle.digest(...args), importKey: unsupported } });
  const other = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x;
  const server = new FakeServer();
  server.keys = [{ key_id: 1, public_key: other }];
  server.change(id(1), { codes: [hashOf(codeOf(id(1)))] });
  const door = await readyDoor(server);
  assert.equal(await resultOf(door, codeOf(id(1))), 'admitted');
  const { result, flags } = await door.scan(codeOf(id(50)));
  assert.deepEqual([result, flags], ['not_found', ['unverified']]);
});
