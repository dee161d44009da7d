// The queue: what was answered at the door reaches the server once, whatever happens in between.
// If one of these failed, a guest would be let in twice, or an admission would never be heard of.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UploadError } from '../../examples/door/door.mjs';
import { until } from '../relay/support/until.mjs';
import { EVENT, FakeServer, heldUp, id, newDoor, readyDoor, resultOf, token } from './support/fake.mjs';
import { Device } from './support/storage.mjs';

const uploads = (server) => server.calls.filter(({ name }) => name === 'sync_checkins').map(({ args }) => args.scans);

// An evening at a door: three guests, one of them twice, and uploads and refreshes in between. Notes what was answered.
async function evening(door, answered) {
  const scan = async (n) => answered.push({ n, ...(await door.scan(token(n))) });
  await door.refresh();
  await scan(1);
  await scan(2);
  await scan(1);
  await door.upload();
  await scan(3);
  await door.refresh();
  await door.upload();
  await scan(2);
}

// An evening whose power goes at its nth operation, storage or network, before or after that has had its effect; and the
// end of it with power again: by the same door, or by one made anew of what the disk has. False when n was too large.
async function eveningWithOutage(n, { late, anew, uploadFirst }) {
  const where = `the power went ${late ? 'after' : 'before'} operation ${n}`;
  const server = new FakeServer(3);
  const device = new Device();
  const options = { rpc: (...call) => device.run(() => server.rpc(...call)), storage: device.storage, maxBatch: 2 };
  const answered = [];
  let door = newDoor(server, options);
  device.powerOffAt(n, late);
  if (await evening(door, answered).then(() => true, () => false)) return false;
  device.powerOn();

  if (anew) door = newDoor(server, options);
  if ((await door.status()).manifest_id === null) await door.refresh();
  if (uploadFirst) {
    await door.upload();
    assert.doesNotMatch(device.text, /0{60}/, `${where}: no code is left on the device`);
  }
  for (const time of ['', ', and an upload', ', and a refresh']) {
    for (const guest of answered) assert.equal(await resultOf(door, token(guest.n)), 'already_admitted', `${where}${time}`);
    await (time === '' ? door.upload() : door.refresh());
  }
  assert.equal((await door.upload()).left, 0);
  for (const guest of answered) {
    const { payload, result } = server.scans.get(guest.scan_id) ?? {};
    assert.deepEqual([payload, result], [token(guest.n), guest.result], where);
  }
  assert.equal((await newDoor(server, options).status()).queued, 0);
  assert.doesNotMatch(device.text, /0{60}/, `${where}: no code is left on the device`);
  return true;
}

for (const late of [false, true]) {
  for (const anew of [false, true]) {
    test(`when the power goes ${late ? 'after' : 'before'} any operation, ${anew ? 'a new' : 'the same'} door uploads every answered scan once and lets nobody in again`, async () => {
      for (const uploadFirst of [false, true]) {
        let n = 1;
        while (await eveningWithOutage(n, { late, anew, uploadFirst })) n++;
        assert.ok(n > 40, `${n} operations`);
      }
    });
  }
}

test('a lost answer of an upload loses and doubles nothing', async () => {
  const server = new FakeServer(5);
  let lose = true;
  const rpc = async (name, args) => {
    const answer = await server.rpc(name, args);
    if (name === 'sync_checkins' && lose) throw new Error('connection reset');
    return answer;
  };
  const door = await readyDoor(server, { rpc, maxBatch: 2 });
  for (let n = 1; n <= 5; n++) await door.scan(token(n));
  await assert.rejects(door.upload(), (error) => {
    assert.ok(error instanceof UploadError);
    assert.match(error.message, /5 scans are not uploaded: connection reset/);
    assert.deepEqual(error.report, { uploaded: 0, left: 5, conflicts: [], errors: [] });
    return true;
  });
  assert.equal(server.scans.size, 2);
  lose = false;
  assert.deepEqual(await door.upload(), { uploaded: 5, left: 0, conflicts: [], errors: [] });
  assert.equal(server.scans.size, 5);
  assert.deepEqual(uploads(server)[1], uploads(server)[0]);
});

test('a batch that fails keeps what went through before it: its conflicts are told', async () => {
  const server = new FakeServer(2);
  let calls = 0;
  const rpc = async (name, args) => {
    if (name === 'sync_checkins' && ++calls === 2) throw new Error('no network');
    return server.rpc(name, args);
  };
  const door = await readyDoor(server, { rpc, maxBatch: 1 });
  await door.scan(token(1));
  await door.scan(token(2));
  server.change(id(1), { state: 'refunded' });
  await assert.rejects(door.upload(), ({ report }) => {
    assert.deepEqual([report.uploaded, report.left, report.conflicts[0].result, report.conflicts[0].decided], [1, 1, 'refunded', 'admitted']);
    return true;
  });
  assert.deepEqual(await door.upload(), { uploaded: 1, left: 0, conflicts: [], errors: [] });
});

test('25,000 scans go up in batches of at most 10,000, in their order, with one answer lost, by a door that was restarted', async () => {
  const server = new FakeServer(25000);
  const device = new Device();
  const first = await readyDoor(server, { storage: device.storage });
  for (let n = 1; n <= 25000; n++) assert.equal(await resultOf(first, token(n)), 'admitted');

  let calls = 0;
  const rpc = async (name, args) => {
    const answer = await server.rpc(name, args);
    if (name === 'sync_checkins' && ++calls === 2) throw new Error('connection reset');
    return answer;
  };
  const door = newDoor(server, { rpc, storage: device.storage, maxBatch: 50000 });
  assert.equal((await door.status()).queued, 25000);
  await assert.rejects(door.upload(), ({ report }) => report.uploaded === 10000 && report.left === 15000);
  assert.deepEqual(await door.upload(), { uploaded: 15000, left: 0, conflicts: [], errors: [] });
  const batches = uploads(server);
  assert.deepEqual(batches.map(({ length }) => length), [10000, 10000, 10000, 5000]);
  assert.deepEqual(batches[2], batches[1]);
  assert.deepEqual([batches[0], batches[1], batches[3]].flat().map(({ payload }) => Number.parseInt(payload, 16)), Array.from({ length: 25000 }, (_, i) => i + 1));
  assert.equal([...server.scans.values()].filter(({ result }) => result === 'admitted').length, 25000);
  assert.equal([...device.disk.keys()].filter((key) => key.includes('/scan/')).length, 0);
});

test('what is uploaded has what the server asks for', async () => {
  const server = new FakeServer(1);
  const door = await readyDoor(server);
  const { manifest_id } = await door.status();
  const { scan_id } = await door.scan(`dvnt://ticket/${token(1)}`, { gate: 'north', direction: 'in' });
  door.operator = 'bob';
  await door.scan('nonsense');
  await door.upload();
  const { args } = server.calls.at(-1);
  const scanned_at = '2040-06-01T18:00:00.000Z';
  assert.deepEqual({ ...args, scans: args.scans.length }, { event_id: EVENT, uploaded_by: 'bob', device_id: 'north-1', device_now: scanned_at, scans: 2 });
  assert.deepEqual(args.scans[0], {
    scan_id, payload: `dvnt://ticket/${token(1)}`, scanned_at, scanned_by: 'ann', gate: 'north', direction: 'in', manifest_id, result: 'admitted',
  });
  assert.deepEqual([args.scans[1].scanned_by, args.scans[1].gate, args.scans[1].result], ['bob', null, 'malformed']);
});

test('a scan that the server does not take is kept aside without its code, is not tried again, and its guest stays in', async () => {
  const server = new FakeServer(2);
  const device = new Device();
  const door = await readyDoor(server, { storage: device.storage });
  const { scan_id } = await door.scan(token(1));
  await door.scan(token(2));
  const error = { reason: 'bad_request' };
  server.refuse = (scan) => (scan.payload === token(1) ? error : null);
  const { uploaded, left, errors } = await door.upload();
  assert.deepEqual([uploaded, left, errors.length], [1, 0, 1]);
  assert.deepEqual([errors[0].scan_id, errors[0].ticket_id, errors[0].result, errors[0].error], [scan_id, id(1), 'admitted', error]);
  assert.equal(errors[0].payload, undefined);

  await door.upload();
  assert.equal(uploads(server).length, 1);
  const restarted = newDoor(server, { storage: device.storage });
  await restarted.refresh(); // says that the ticket is active
  assert.equal(await resultOf(restarted, token(1)), 'already_admitted');
  assert.deepEqual((await restarted.status()).aside, errors);
  // Once somebody has changed the ticket, the server's word counts again.
  server.change(id(1), {});
  await restarted.refresh();
  assert.equal(await resultOf(restarted, token(1)), 'admitted');

  await restarted.dismiss([scan_id]);
  assert.deepEqual((await restarted.status()).aside, []);
  assert.deepEqual((await newDoor(server, { storage: device.storage }).status()).aside, []);
});

test('two doors let one ticket in offline: the second to upload is told', async () => {
  const server = new FakeServer(1);
  const [north, south] = [await readyDoor(server), await readyDoor(server, { deviceId: 'south-1' })];
  assert.equal(await resultOf(north, token(1)), 'admitted');
  const { scan_id, result } = await south.scan(token(1));
  assert.equal(result, 'admitted');
  assert.deepEqual((await north.upload()).conflicts, []);
  const { conflicts } = await south.upload();
  assert.deepEqual(conflicts.map((one) => [one.scan_id, one.decided, one.result, one.ticket_id]), [[scan_id, 'admitted', 'already_admitted', id(1)]]);
});

test('an answer that is not one to the scans takes nothing out of the queue', async () => {
  const server = new FakeServer(2);
  let spoil;
  const rpc = async (name, args) => spoil?.(await server.rpc(name, args)) ?? server.rpc(name, args);
  const door = await readyDoor(server, { rpc });
  await door.scan(token(1));
  await door.scan(token(2));
  for (spoil of [() => ({}), ({ results }) => ({ results: results.slice(1) }), ({ results }) => ({ results: results.reverse() })]) {
    await assert.rejects(door.upload(), /2 scans are not uploaded: the answer is not one to these scans/);
  }
  spoil = undefined;
  assert.deepEqual(await door.upload(), { uploaded: 2, left: 0, conflicts: [], errors: [] });
});

test('scans go on during an upload, and none of them is lost', async () => {
  const server = new FakeServer(2);
  const { rpc, held } = heldUp(server);
  const device = new Device();
  await (await readyDoor(server, { storage: device.storage })).scan(token(1));
  const door = newDoor(server, { rpc, storage: device.storage });
  const upload = door.upload();
  assert.equal(door.upload(), upload, 'one upload at a time');
  await until(() => held.length === 1, 'the upload is under way');
  assert.equal(await resultOf(door, token(1)), 'already_admitted');
  assert.equal(await resultOf(door, token(2)), 'admitted');
  held[0]();
  assert.deepEqual(await upload, { uploaded: 1, left: 2, conflicts: [], errors: [] });
  const second = door.upload();
  await until(() => held.length === 2, 'the second upload is under way');
  held[1]();
  assert.deepEqual(await second, { uploaded: 2, left: 0, conflicts: [], errors: [] });
  assert.equal(server.scans.size, 3);
});

test('one code three times at once is admitted once', async () => {
  const server = new FakeServer(1);
  const door = await readyDoor(server, { storage: new Device().storage });
  const results = await Promise.all([1, 2, 3].map(() => resultOf(door, token(1))));
  assert.deepEqual(results, ['admitted', 'already_admitted', 'already_admitted']);
});

test('our own scans count until a manifest tells of them that was asked for after their upload', async () => {
  const server = new FakeServer(2);
  const { rpc, held } = heldUp(server);
  const device = new Device();
  let current = server.rpc;
  const door = await readyDoor(server, { rpc: (...call) => current(...call), storage: device.storage });
  await door.scan(token(1));
  // Asked for before the upload, and here after it: it says that the ticket is active.
  server.change(id(2), {});
  server.change(id(1), {});
  current = rpc;
  const old = door.refresh();
  await until(() => held.length === 1, 'the refresh is under way');
  current = server.rpc;
  await door.upload();
  held[0]();
  await old;
  assert.equal(await resultOf(door, token(1)), 'already_admitted');
  assert.equal(await resultOf(newDoor(server, { storage: device.storage }), token(1)), 'already_admitted', 'after a restart, too');
  // The host undoes the admission: a refresh tells, and the door obeys.
  server.change(id(1), { state: 'active', admitted_at: null });
  await door.refresh();
  assert.equal(await resultOf(door, token(1)), 'admitted');
});

test('a scan that cannot be kept is not answered, and admits nobody', async () => {
  const server = new FakeServer(1);
  const device = new Device();
  const door = await readyDoor(server, { storage: device.storage });
  device.powerOffAt(1, false);
  await assert.rejects(door.scan(token(1)), /no power/);
  device.powerOn();
  assert.equal(await resultOf(door, token(1)), 'admitted');
  assert.equal((await door.status()).queued, 1);
});

test('codes that PostgreSQL cannot store go up as texts that it can', async () => {
  const server = new FakeServer(1);
  const door = await readyDoor(server);
  const codes = ['a\0b', 'a\uD800b', '\uDC00', 'é'.repeat(5000), '\u{1F3AB}'.repeat(5000), `${'x'.repeat(4095)}é`, '\0'.repeat(62)];
  for (const code of codes) assert.equal(await resultOf(door, code), 'malformed');
  await door.upload();
  const payloads = uploads(server)[0].map(({ payload }) => payload);
  assert.deepEqual(payloads.slice(0, 3), ['a\uFFFDb', 'a\uFFFDb', '\uFFFD']);
  for (const payload of payloads) {
    assert.doesNotMatch(payload, /[\0\uD800-\uDFFF]/u);
    assert.ok(Buffer.byteLength(payload) <= 4096);
    assert.ok(payload.length > 0);
  }
  for (const wrong of [undefined, null, 7, '']) await assert.rejects(door.scan(wrong), TypeError);
  await assert.rejects(door.scan(token(1), { direction: 'sideways' }), RangeError);
});
