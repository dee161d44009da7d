// The program: its ready file, its certificates, its end.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { access, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { newClient, newEndpoint, temporaryDirectory, until } from './support.mjs';

const run = promisify(execFile);
const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url));

// Runs the program until the test's end: {child, facts, output()}.
async function start(t, dir, ...options) {
  const child = spawn(process.execPath, [SERVER, '--dir', dir, ...options], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  await until(() => output.includes('\n'));
  return { child, facts: JSON.parse(await readFile(join(dir, 'stripe.json'), 'utf8')), output: () => output };
}

async function stop(child) {
  const ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve({ code, signal })));
  child.kill('SIGTERM');
  return ended;
}

test('it says where it is, serves what it was told, and leaves cleanly', async (t) => {
  const dir = await temporaryDirectory(t);
  const endpoint = await newEndpoint(t);
  const { child, facts, output } = await start(
    t, dir, '--key', 'sk_test_mine', '--webhook-url', endpoint.url, '--webhook-secret', 'whsec_mine', '--webhook-events', 'customer.created',
  );
  assert.deepEqual(Object.keys(facts), ['base', 'ca', 'key', 'webhook_secret', 'pid']);
  assert.deepEqual([facts.key, facts.webhook_secret, facts.pid, facts.ca], ['sk_test_mine', 'whsec_mine', child.pid, join(dir, 'ca.pem')]);
  assert.equal(output().trim().split('\n').length, 1);
  assert.equal((await stat(join(dir, 'stripe.json'))).mode & 0o777, 0o600);
  assert.equal((await stat(join(dir, 'server.key'))).mode & 0o777, 0o600);

  const client = await newClient(t, facts);
  assert.equal((await client.post('/v1/customers', {}, { key: 'sk_test_mine' })).status, 200);
  await until(() => endpoint.taken.length === 1);

  // A call that hangs does not keep it from leaving.
  await client.control('POST', 'faults', { kind: 'hang' });
  const hung = assert.rejects(client.get('/v1/account', { key: 'sk_test_mine' }));
  await until(async () => (await client.control('GET', 'requests')).length === 2);
  assert.deepEqual(await stop(child), { code: 0, signal: null });
  await hung;
  await assert.rejects(access(join(dir, 'stripe.json')));
});

test('its certificates are good for localhost, and only with its own authority', async (t) => {
  const dir = await temporaryDirectory(t);
  const { child, facts } = await start(t, dir);
  const port = Number(new URL(facts.base).port);
  const ca = await readFile(facts.ca);
  const connect = (options) =>
    new Promise((resolve, reject) => {
      const socket = tls.connect({ host: '127.0.0.1', port, ALPNProtocols: ['h2', 'http/1.1'], ...options }, () => {
        resolve(socket.alpnProtocol);
        socket.destroy();
      });
      socket.on('error', reject);
    });
  for (const servername of ['localhost', undefined]) assert.equal(await connect({ ca, servername }), 'h2');
  assert.equal(await connect({ ca, ALPNProtocols: ['http/1.1'] }), 'http/1.1');
  assert.equal(await connect({ ca, ALPNProtocols: undefined }), false);
  await assert.rejects(connect({}), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  await assert.rejects(connect({ ca, servername: 'api.stripe.com' }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });

  const cert = new X509Certificate(await readFile(join(dir, 'server.pem')));
  assert.equal(cert.subjectAltName, 'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1');
  assert.equal(cert.publicKey.asymmetricKeyDetails.namedCurve, 'prime256v1');
  await run('openssl', ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', facts.ca, join(dir, 'server.pem')]);

  // A start in the same directory keeps them: whoever has read the authority may go on.
  await stop(child);
  await start(t, dir);
  assert.deepEqual(await readFile(facts.ca), ca);
});

test('it says what it needs', async () => {
  await assert.rejects(run(process.execPath, [SERVER]), { code: 2 });
});
