// The stand-in for the edge function, before a PostgreSQL of its own with a stand-in for ticketing.stripe_webhook.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chown, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { newStripe, temporaryDirectory, until } from './support.mjs';

const run = promisify(execFile);
const RECEIVER = fileURLToPath(new URL('webhook-receiver.mjs', import.meta.url));

// Says what it was given; a signature that begins with 'PT' or is five digits is raised.
const STAND_IN = `
CREATE SCHEMA ticketing;
CREATE TABLE ticketing.seen (payload bytea, signature text);
CREATE FUNCTION ticketing.stripe_webhook(payload bytea, signature text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  IF signature ~ '^(PT[0-9]{3}|[0-9A-Z]{5})$' THEN
    RAISE EXCEPTION E'it''s "refused"\\nfor a \\\\reason' USING ERRCODE = signature;
  END IF;
  RAISE NOTICE 'noted';
  INSERT INTO ticketing.seen VALUES (payload, signature);
  RETURN jsonb_build_object('outcome', 'applied', 'length', length(payload), 'sha256', encode(sha256(payload), 'hex'), 'signature', signature);
END $$;`;

const bindir = (() => {
  try {
    return execFileSync('pg_config', ['--bindir'], { encoding: 'utf8' }).trim();
  } catch {
    return null;
  }
})();

// A PostgreSQL in a directory of its own, on a socket: {env, psql(sql), stop(), start()}.
async function newPostgres(t) {
  let stop = async () => {};
  const dir = await temporaryDirectory(t, () => stop().catch(() => {}));
  const data = join(dir, 'data');
  const user = {};
  if (process.getuid() === 0) {
    // The server does not run as root.
    for (const [name, flag] of [['uid', '-u'], ['gid', '-g']]) {
      user[name] = Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
    }
    await chown(dir, user.uid, user.gid);
  }
  const options = `-c listen_addresses= -c unix_socket_directories=${dir} -c fsync=off -c standard_conforming_strings=off`;
  const ctl = (...args) => run(join(bindir, 'pg_ctl'), ['-D', data, '-w', '-l', join(dir, 'log'), '-o', options, ...args], { ...user, cwd: dir });
  await run(join(bindir, 'initdb'), ['-D', data, '-U', 'tester', '-A', 'trust', '-E', 'UTF8', '--no-locale', '-N'], { ...user, cwd: dir });
  await ctl('start');
  stop = () => ctl('-m', 'immediate', 'stop');
  const env = { ...process.env, PGHOST: dir, PGPORT: '5432', PGUSER: 'tester', PGDATABASE: 'postgres' };
  const psql = async (sql) => (await run('psql', ['-XAtqc', sql], { env })).stdout.trim();
  await psql(STAND_IN);
  return { env, psql, stop, start: () => ctl('start') };
}

async function newReceiver(t, { env }) {
  const dir = await temporaryDirectory(t);
  const child = spawn(process.execPath, [RECEIVER, '--dir', dir, '--connections', '3'], { env, stdio: ['ignore', 'ignore', 'ignore'] });
  t.after(() => child.kill('SIGKILL'));
  const facts = await until(() => readFile(join(dir, 'receiver.json'), 'utf8').then(JSON.parse).catch(() => null));
  const post = async (body, signature) => {
    const headers = signature === undefined ? {} : { 'stripe-signature': signature };
    const response = await fetch(facts.url, { method: 'POST', body, headers });
    return { status: response.status, body: await response.json() };
  };
  return { child, facts, post };
}

test('webhooks reach the database', { skip: bindir === null && 'no PostgreSQL here' }, async (t) => {
  const postgres = await newPostgres(t);
  const { child, facts, post } = await newReceiver(t, postgres);
  assert.equal(facts.pid, child.pid);

  await t.test('the bytes and the signature arrive as they were sent', async () => {
    for (const [body, signature] of [
      [Buffer.from('{"id": "evt_1"}'), 't=1,v1=ab'],
      [Buffer.from([0, 255, 39, 92, 10, 13, 128]), `x'; DROP TABLE ticketing.seen; -- \\' :ERROR "\\\\ $$`],
      [Buffer.alloc(0), ''],
      [Buffer.alloc(1024 * 1024, 'ab\n'), 't=1,v1=cd'],
    ]) {
      const answer = await post(body, signature);
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.body, {
        outcome: 'applied',
        length: body.length,
        sha256: createHash('sha256').update(body).digest('hex'),
        signature,
      });
    }
    assert.equal((await post('{}')).body.signature, null);
  });

  await t.test('a refusal becomes the status that it names; anything else is 500', async () => {
    for (const [signature, status] of [['PT400', 400], ['PT503', 503], ['40001', 500], ['PT999', 500]]) {
      const answer = await post('{}', signature);
      assert.equal(answer.status, status);
      assert.deepEqual(answer.body, { code: signature, message: 'it\'s "refused"\nfor a \\reason' });
    }
    assert.equal((await post('{}', 'fine')).status, 200);
    assert.equal((await fetch(facts.url.replace('webhook', 'other'))).status, 404);
  });

  await t.test('many at once are all answered, each with its own', async () => {
    const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => post(`{"n": ${i}}`, i % 3 === 0 ? 'PT409' : `s${i}`)));
    answers.forEach(({ status, body }, i) => {
      if (i % 3 === 0) assert.deepEqual([status, body.code], [409, 'PT409']);
      else assert.deepEqual([status, body.signature], [200, `s${i}`]);
    });
  });

  await t.test('it outlives the server', async () => {
    await postgres.stop();
    assert.equal((await post('{}', 'x')).status, 500);
    await postgres.start();
    await until(async () => (await post('{}', 'x')).status === 200);
    await postgres.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'psql' AND pid <> pg_backend_pid()");
    await until(async () => (await post('{}', 'x')).status === 200);
  });

  await t.test('what Stripe sends arrives there', async (t) => {
    const { client } = await newStripe(t, { webhookUrl: facts.url });
    const { body: intent } = await client.post('/v1/payment_intents', { amount: 2500, currency: 'usd' });
    await client.control('POST', 'pay', { payment_intent: intent.id });
    await until(async () => (await client.control('GET', 'deliveries'))[0]?.status === 'delivered');
    const seen = `SELECT count(*) FROM ticketing.seen WHERE position('"${intent.id}"' IN encode(payload, 'escape')) > 0`;
    assert.equal(await postgres.psql(seen), '1');
  });

  await t.test('it leaves nothing behind', async () => {
    const ended = new Promise((resolve) => child.on('exit', (code) => resolve(code)));
    child.kill('SIGTERM');
    assert.equal(await ended, 0);
    const others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    await until(async () => (await postgres.psql(others)) === '0');
  });
});
