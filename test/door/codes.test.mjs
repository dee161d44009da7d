// What the door reads out of a code is what the server reads out of it: tickets of both suites, and what becomes of them
// when somebody changes them. If this failed, a door would turn away a guest, or let a forger in.
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, hkdfSync } from 'node:crypto';
import { test } from 'node:test';
import { decode, verify } from '../../examples/door/door.mjs';
import { sql } from '../relay/support/database.mjs';
import { Random } from './support/random.mjs';

const EVENTS = [7, 1, 0, -5, 2147483647, -2147483648, 16909060];
const TICKETS = 10000;
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

// The public key of an event, derived from the server's secret as the design says; the server is not asked.
function publicKey(secret, event) {
  const info = Buffer.concat([Buffer.from('dvnt-ticket-v2'), Buffer.alloc(4)]);
  info.writeInt32BE(event, 14);
  const seed = Buffer.from(hkdfSync('sha256', secret, '', info, 32));
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  return createPublicKey(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' }).x;
}

const keys = new Map();
function keysOf(event) {
  if (!keys.has(event)) keys.set(event, [{ key_id: 1, public_key: publicKey(process.env.TICKET_HMAC_SECRET, event) }]);
  return keys.get(event);
}

// Tickets of all events and both suites: {payload, suite, event_id, ticket_id}.
async function makeTickets() {
  return JSON.parse(await sql(`
    SELECT json_agg(json_build_object('payload', ticketing.sign_ticket(ticket_id, event_id, nonce, suite), 'suite', suite, 'event_id', event_id, 'ticket_id', ticket_id, 'key_id', 1))
    FROM (SELECT gen_random_uuid() AS ticket_id, (ARRAY[${EVENTS}])[1 + n % ${EVENTS.length}] AS event_id, 1 + n / ${EVENTS.length} % 2 AS suite,
                 substr(decode(md5(random()::text), 'hex'), 1, 8) AS nonce
          FROM generate_series(1, ${TICKETS}) n) t`));
}

// What the server says of codes: [valid, reason, ticket_id, event_id, key_id, suite] of each.
async function serverVerdicts(codes) {
  const verdicts = [];
  for (let at = 0; at < codes.length; at += 2000) {
    const part = JSON.stringify(codes.slice(at, at + 2000)).replaceAll("'", "''");
    verdicts.push(...JSON.parse(await sql(`
      SELECT json_agg(json_build_array(v.valid, v.reason, v.ticket_id, v.event_id, v.key_id, v.suite) ORDER BY c.n)
      FROM json_array_elements_text('${part}') WITH ORDINALITY AS c (code, n), LATERAL ticketing.verify_ticket(c.code) v`)));
  }
  return verdicts;
}

// ---- what can happen to a code

const rewrite = (code, change) => {
  const bytes = Buffer.from(code, 'base64url');
  change(bytes);
  return bytes.toString('base64url');
};
const replaceAt = (code, at, text) => code.slice(0, at) + text + code.slice(at + 1);

// The order of Ed25519's group: a signature's second half plus this would do as well, were it not refused.
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
function addOrder(bytes) {
  let s = BigInt(`0x${Buffer.from(bytes.subarray(62, 94)).reverse().toString('hex')}`) + ORDER;
  for (let i = 62; i < 94; i++, s >>= 8n) bytes[i] = Number(s & 255n);
}

const MUTATIONS = {
  'a bit of a digit': (code, random) => {
    const at = random.below(code.length);
    return replaceAt(code, at, DIGITS[DIGITS.indexOf(code[at]) ^ (1 << random.below(6))]);
  },
  'a bit of a byte': (code, random) => rewrite(code, (bytes) => (bytes[random.below(bytes.length)] ^= 1 << random.below(8))),
  'a bit of the signature': (code, random) => rewrite(code, (bytes) => (bytes[30 + random.below(bytes.length - 30)] ^= 1 << random.below(8))),
  'bits after the last byte': (code, random) => replaceAt(code, code.length - 1, DIGITS[DIGITS.indexOf(code.at(-1)) + 1 + random.below(15)]),
  'cut short': (code, random) => code.slice(0, random.one([code.length - 1, code.length - 2, code.length - 4, random.below(code.length), 62, 0])),
  'made longer': (code, random) => code + random.one(['A', 'AA', 'AAAA', '=', '==', ' ', '\n', '\r\n', 'é', code]),
  'something in front': (code, random) => random.one([' ', 'A', '\uFEFF', 'dvnt://ticket/', '\t']) + code,
  'a character that is no digit': (code, random) => replaceAt(code, random.below(code.length), random.one(['+', '/', '=', '.', ' ', '\n', '\u007f', '\u0080', 'é', 'А', '－', '😀', '\uFFFD'])),
  'padded base64': (code) => Buffer.from(code, 'base64url').toString('base64'),
  'base64 without padding': (code) => Buffer.from(code, 'base64url').toString('base64').replaceAll('=', ''),
  'upper case': (code) => code.toUpperCase(),
  'lower case': (code) => code.toLowerCase(),
  'the case of a letter': (code, random) => {
    const at = random.below(code.length);
    return replaceAt(code, at, code[at] === code[at].toUpperCase() ? code[at].toLowerCase() : code[at].toUpperCase());
  },
  'two digits swapped': (code, random) => {
    const at = random.below(code.length - 1);
    return code.slice(0, at) + code[at + 1] + code[at] + code.slice(at + 2);
  },
  'another suite': (code, random) => rewrite(code, (bytes) => (bytes[0] = random.one([0, 1, 2, 3, 255]))),
  'another suite and its length': (code, random) => {
    const bytes = Buffer.from(code, 'base64url');
    const other = bytes[0] === 1 ? Buffer.concat([bytes, random.bytes(48)]) : bytes.subarray(0, 46);
    other[0] = 3 - bytes[0];
    return other.toString('base64url');
  },
  'another key': (code, random) => rewrite(code, (bytes) => (bytes[1] = random.one([0, 2, 7, 255]))),
  'another ticket': (code, random) => rewrite(code, (bytes) => random.bytes(16).copy(bytes, 2)),
  'another event': (code, random) => rewrite(code, (bytes) => bytes.writeInt32BE(random.one(EVENTS), 18)),
  'another nonce': (code, random) => rewrite(code, (bytes) => random.bytes(8).copy(bytes, 22)),
  'a signature of zeros': (code) => rewrite(code, (bytes) => bytes.fill(0, 30)),
  'a signature by chance': (code, random) => rewrite(code, (bytes) => random.bytes(bytes.length - 30).copy(bytes, 30)),
  'a signature plus the order': (code) => rewrite(code, (bytes) => bytes[0] === 2 && addOrder(bytes)),
  'noise of the same length': (code, random) => Array.from(code, () => random.one(DIGITS)).join(''),
};

// ---- the test

// As the server would say it, as far as a device can know: suite 2 all of it, suite 1 what the code says of itself.
async function deviceVerdict(code) {
  const ticket = decode(code);
  const { valid, reason, ticket_id, event_id, key_id, suite } = await verify(code, ticket === null ? [] : keysOf(ticket.event_id));
  return [valid, reason, ticket_id, event_id, key_id, suite];
}

test(`${TICKETS} tickets and three changes of each: door and server say the same`, async (t) => {
  const random = new Random();
  t.diagnostic(`DOOR_TEST_SEED=${random.seed}`);
  const tickets = await makeTickets();
  const names = Object.keys(MUTATIONS);
  const cases = tickets.flatMap((ticket, i) => [
    { name: 'as it was', ticket, code: ticket.payload },
    ...[0, 8, 16].map((k) => names[(i + k) % names.length]).map((name) => ({ name, ticket, code: MUTATIONS[name](ticket.payload, random) })),
  ]);
  const verdicts = await serverVerdicts(cases.map(({ code }) => code));
  assert.equal(verdicts.length, cases.length);

  const seen = new Set();
  for (const [i, { name, ticket, code }] of cases.entries()) {
    const where = `${name}, suite ${ticket.suite}: ${JSON.stringify(code)}`;
    const [valid, reason, ticketId, eventId, keyId, suite] = verdicts[i];
    const read = decode(code);
    assert.equal(read === null, reason === 'malformed', where);
    if (valid) assert.deepEqual([read.ticket_id, read.event_id, read.key_id, read.suite], [ticketId, eventId, keyId, suite], where);
    const said = await deviceVerdict(code);
    if (read?.suite === 1) assert.deepEqual(said, [false, 'unverifiable', null, null, null, null], where);
    else assert.deepEqual(said, verdicts[i], where);
    if (name === 'as it was') {
      assert.deepEqual([valid, ticketId, eventId, keyId, suite], [true, ticket.ticket_id, ticket.event_id, ticket.key_id, ticket.suite], where);
    }
    seen.add(`${read?.suite ?? 'no'} ${reason ?? 'valid'}`);
  }
  assert.deepEqual([...seen].sort(), ['1 bad_signature', '1 unknown_key', '1 valid', '2 bad_signature', '2 unknown_key', '2 valid', 'no malformed']);
});

test('a code says what is in it: the example of the design', () => {
  const { signed, signature, ...read } = decode('AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg');
  assert.deepEqual(read, { suite: 1, key_id: 1, ticket_id: '6f9619ff-8b86-4d01-b42d-00c04fc964ff', event_id: 7, nonce: '0102030405060708' });
  assert.deepEqual([signed.length, signature.length], [30, 16]);
});
