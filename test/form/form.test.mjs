// stripe_form writes, byte for byte, what Stripe's own library for Node would send. Broken if it does not: Stripe reads
// other parameters than we meant. Repeat a run with SEED=n.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { sql } from '../relay/support/database.mjs';
import { libraryBody, VERSION } from './library.mjs';
import { parameters, random } from './parameters.mjs';

const COUNT = 5000;
const BATCH = 500;

// Each object as the database has it, whose jsonb orders members in its own way, with its body: [params, body].
async function encoded(objects) {
  const lines = await sql(`CREATE TEMP TABLE given (n integer GENERATED ALWAYS AS IDENTITY, params jsonb);
COPY given (params) FROM STDIN (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01');
${objects.map((object) => JSON.stringify(object)).join('\n')}
\\.
SELECT json_build_array(params, ticketing.stripe_form(params)) FROM given ORDER BY n`);
  return lines.split('\n').map((line) => JSON.parse(line));
}

async function sameAsLibrary(objects) {
  const results = await encoded(objects);
  assert.equal(results.length, objects.length);
  for (let i = 0; i < objects.length; i++) {
    const [params, body] = results[i];
    assert.deepEqual(params, JSON.parse(JSON.stringify(objects[i])));
    assert.equal(body, await libraryBody(params), JSON.stringify(params));
  }
}

before(() => assert.match(VERSION, /^22\./));

test('what is empty or null', async () => {
  const objects = [
    {}, { a: {} }, { a: [] }, { a: [[]] }, { a: [{}] }, { a: [null] }, { a: null }, { a: '' }, { '': 'x' }, { '': '' }, { a: { '': { '': 1 } } },
    { a: {}, b: 1 }, { a: 1, b: [] }, { a: [[], 1, {}] }, { a: [null, '', {}, 'x'] }, { a: { b: { c: {} } }, d: { e: [] } },
  ];
  assert.deepEqual((await encoded([{ a: {} }, { a: [] }, { a: null }, { a: [null, 'x'] }])).map(([, body]) => body), ['', '', 'a=', 'a[0]=&a[1]=x']);
  await sameAsLibrary(objects);
});

test('all of ASCII, as a name and as a value', async () => {
  const characters = Array.from({ length: 127 }, (_, i) => String.fromCharCode(i + 1));
  await sameAsLibrary([...characters.map((c) => ({ [`x${c}`]: c, a: { [`x${c}`]: [c] } })), { a: characters.join('') }]);
});

test('lists of more than ten elements, and the deepest nesting', async () => {
  let deep = 'end';
  for (let i = 0; i < 15; i++) deep = i % 2 ? { [`level${i}`]: deep } : [deep];
  await sameAsLibrary([{ items: Array.from({ length: 123 }, (_, i) => ({ price: `price_${i}`, quantity: i })) }, { a: deep }]);
});

test(`${COUNT} random objects`, async (t) => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`SEED=${seed}, stripe ${VERSION}`);
  const made = parameters(random(seed));
  let pairs = 0;
  for (let done = 0; done < COUNT; done += BATCH) {
    const objects = Array.from({ length: BATCH }, () => made.next().value);
    await sameAsLibrary(objects);
    pairs += objects.filter((object) => Object.keys(object).length > 0).length;
  }
  assert.ok(pairs > COUNT / 2, `only ${pairs} objects had a member`);
});
