// What the relay demands before it sends anything: its environment, Stripe's certificate, the database's consent.
// If one of these failed, a key could leak, or a restored copy could call out.
import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { certificates } from '../stripe/tls.mjs';
import { createTransport } from '../stripe/transport.mjs';
import { sql } from './support/database.mjs';
import { ownStripe } from './support/own_stripe.mjs';
import { add, row } from './support/queue.mjs';
import { calls, runRelay, startRelay } from './support/relay.mjs';

const stripe = await ownStripe();

const refusals = [
  ['no key', { STRIPE_SECRET_KEY: null }, 'STRIPE_SECRET_KEY', /not set/],
  ['an empty key', { STRIPE_SECRET_KEY: '' }, 'STRIPE_SECRET_KEY', /not set/],
  ['a key of an unknown kind', { STRIPE_SECRET_KEY: 'pk_test_verysecret' }, 'STRIPE_SECRET_KEY', /must start with/],
  ['a key with a line break', { STRIPE_SECRET_KEY: 'sk_test_verysecret\r\nX-Evil: 1' }, 'STRIPE_SECRET_KEY', /no Stripe key/],
  ['two keys', { STRIPE_SECRET_KEY_FILE: '/nowhere' }, 'STRIPE_SECRET_KEY', /choose one/],
  ['no key file', { STRIPE_SECRET_KEY: null, STRIPE_SECRET_KEY_FILE: '/nowhere' }, 'STRIPE_SECRET_KEY_FILE', /No such file/],
  ['plain http to a name', { STRIPE_API_BASE: 'http://stripe.example' }, 'STRIPE_API_BASE', /this machine only/],
  ['plain http to a look-alike', { STRIPE_API_BASE: 'http://127.0.0.1.example' }, 'STRIPE_API_BASE', /this machine only/],
  ['plain http to another address', { STRIPE_API_BASE: 'http://128.0.0.1' }, 'STRIPE_API_BASE', /this machine only/],
  ['plain http behind a user', { STRIPE_API_BASE: 'http://localhost@stripe.example' }, 'STRIPE_API_BASE', /no more/],
  ['another protocol', { STRIPE_API_BASE: 'ftp://localhost' }, 'STRIPE_API_BASE', /https/],
  ['a base with a path', { STRIPE_API_BASE: 'https://localhost/v1' }, 'STRIPE_API_BASE', /no more/],
  ['no URL', { STRIPE_API_BASE: 'https://' }, 'STRIPE_API_BASE', /not a URL/],
  ['a missing CA file', { STRIPE_CA_FILE: '/nowhere' }, 'STRIPE_CA_FILE', /No such file/],
  ['no room', { DVNT_RELAY_CONCURRENCY: '0' }, 'DVNT_RELAY_CONCURRENCY', /from 1 to/],
  ['a number with a unit', { DVNT_RELAY_TIMEOUT: '30s' }, 'DVNT_RELAY_TIMEOUT', /whole number/],
  ['a negative number', { DVNT_RELAY_TIMEOUT: '-1' }, 'DVNT_RELAY_TIMEOUT', /whole number/],
  ['a lease that ends before a call does', { DVNT_RELAY_TIMEOUT: '20', DVNT_RELAY_LEASE: '20' }, 'DVNT_RELAY_LEASE', /longer/],
  ['a poll without a pause', { DVNT_RELAY_POLL: '0' }, 'DVNT_RELAY_POLL', /from 1 to/],
];

for (const [name, environment, variable, error] of refusals) {
  test(`refuses ${name}`, async (t) => {
    const { status, relay } = await runRelay(t, stripe, environment);
    assert.equal(status, 2);
    const [line] = relay.of('config');
    assert.equal(line.name, variable);
    assert.match(line.error, error);
    assert.doesNotMatch(relay.text, /verysecret/);
    assert.deepEqual(stripe.app.journal.list(), []);
  });
}

test('--help and --version need no environment', async (t) => {
  for (const option of ['--help', '--version']) {
    const { status } = await runRelay(t, stripe, { STRIPE_SECRET_KEY: null }, [option]);
    assert.equal(status, 0);
  }
  const { status } = await runRelay(t, stripe, {}, ['--key', 'sk_test_local']);
  assert.equal(status, 2);
});

test('takes the key from a file, and keeps it out of its environment and its log', async (t) => {
  const file = join(tmpdir(), `dvnt_relay_key.${process.pid}`);
  await writeFile(file, 'sk_test_local\n', { mode: 0o600 });
  t.after(() => rm(file));
  await startRelay(t, stripe, { STRIPE_SECRET_KEY: null, STRIPE_SECRET_KEY_FILE: file });

  const relay = await startRelay(t, stripe);
  assert.doesNotMatch(await readFile(`/proc/${relay.child.pid}/environ`, 'latin1'), /sk_test_local/);
  assert.doesNotMatch(await readFile(`/proc/${relay.child.pid}/cmdline`, 'latin1'), /sk_test/);
  assert.doesNotMatch(relay.text, /sk_test/);
});

test("Stripe's certificate is verified: without its CA nothing is sent", async (t) => {
  await add();
  const { status, relay } = await runRelay(t, stripe, { STRIPE_CA_FILE: null });
  assert.equal(status, 4);
  assert.match(relay.of('account_unknown')[0].error, /certificate/);
  assert.deepEqual(stripe.app.journal.list(), []);
});

test("the certificate must be the host's", async (t) => {
  const { ca, ...pair } = await certificates(dirname(stripe.ca));
  const server = createTransport(pair, () => assert.fail('a call got through'));
  await new Promise((resolve) => server.listen(0, '127.0.0.2', resolve));
  t.after(() => server.stop());
  const { status, relay } = await runRelay(t, { ca, base: `https://127.0.0.2:${server.address().port}` });
  assert.equal(status, 4);
  assert.match(relay.of('account_unknown')[0].error, /127\.0\.0\.2/);
});

test('a key that Stripe does not know ends it', async (t) => {
  const { status, relay } = await runRelay(t, stripe, { STRIPE_SECRET_KEY: 'sk_test_other' });
  assert.equal(status, 4);
  assert.equal(relay.of('account_unknown')[0].status, '401');
  assert.doesNotMatch(relay.text, /other/);
});

test('a Stripe in trouble is asked again for the account', async (t) => {
  stripe.app.faults.add({ match: { path: '/v1/account' }, kind: 'status', status: 500, times: 2 });
  stripe.app.faults.add({ match: { path: '/v1/account' }, kind: 'drop_before' });
  const relay = await startRelay(t, stripe);
  assert.deepEqual(relay.of('account_unknown').map(({ status }) => status), ['500', '500', '0']);
  assert.equal(relay.of('ready')[0].account, stripe.app.account.id);
});

test('another installation is not armed: nothing is sent but the GET of the account', async (t) => {
  const first = await startRelay(t, stripe, { DVNT_INSTALLATION: 'production' });
  await first.kill();
  const id = await add();
  for (const environment of [
    { DVNT_INSTALLATION: 'restored copy' },
    { DVNT_INSTALLATION: null },
  ]) {
    const { status, relay } = await runRelay(t, stripe, environment);
    assert.equal(status, 3);
    assert.ok(relay.of('not_armed')[0].reason);
  }
  assert.deepEqual(calls(stripe), []);
  assert.equal((await row(id)).state, 'ready');
});

test('its session can be told by its name', async (t) => {
  await startRelay(t, stripe);
  assert.equal(await sql(`SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay'`), '1');
});
