// The relay as a child process, and the local Stripe it talks to.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startStripe } from '../../stripe/stripe.mjs';
import { CUSTOMER } from './queue.mjs';
import { until } from './until.mjs';

const PROGRAM = process.env.DVNT_RELAY ?? fileURLToPath(new URL('../../../src/relay/dvnt_stripe_relay', import.meta.url));

// An environment in which a hung call costs two seconds, a lost lease four.
export const IMPATIENT = { DVNT_RELAY_TIMEOUT: '2', DVNT_RELAY_LEASE: '4' };

// A local Stripe that knows the buyer: {app, base, ca, port, reset(), stop()}.
export async function localStripe(options = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'dvnt_relay_test.'));
  const stripe = await startStripe({ dir, key: 'sk_test_local', ...options });
  const stop = async () => {
    await stripe.close();
    await rm(dir, { recursive: true, force: true });
  };
  const reset = () => {
    stripe.app.reset();
    stripe.app.store.customers.add({ id: CUSTOMER, object: 'customer' });
  };
  reset();
  return { ...stripe, reset, stop };
}

// The calls that Stripe has seen, without those that arm a relay.
export const calls = (stripe) => stripe.app.journal.list().filter(({ path }) => path !== '/v1/account');

export const intents = (stripe) => [...stripe.app.store.payment_intents];

export class Relay {
  lines = [];
  #rest = '';

  // An environment value of null takes the variable away.
  constructor(stripe, environment = {}, options = []) {
    const env = {
      ...process.env,
      PGUSER: 'dvnt_ticketing_relay',
      STRIPE_API_BASE: stripe.base,
      STRIPE_CA_FILE: stripe.ca,
      STRIPE_SECRET_KEY: 'sk_test_local',
      DVNT_RELAY_DEBUG: '1',
      ...environment,
    };
    for (const name in env) if (env[name] === null) delete env[name];
    this.child = spawn(PROGRAM, options, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stderr.setEncoding('utf8').on('data', (chunk) => this.#read(chunk));
    this.ended = new Promise((resolve) => this.child.once('close', (status, signal) => resolve(status ?? signal)));
  }

  #read(chunk) {
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) this.lines.push(parse(line));
  }

  // The log so far, as one text.
  get text() {
    return this.lines.map(({ line }) => line).join('\n');
  }

  // The lines of an event.
  of(event) {
    return this.lines.filter((line) => line.event === event);
  }

  // Waits for the nth line of an event, or of its end if it ends before that.
  async until(event, nth = 1) {
    let ended = false;
    this.ended.then(() => (ended = true));
    await until(() => this.of(event).length >= nth || ended, `event=${event} number ${nth}\n${this.text}`);
    if (this.of(event).length < nth) throw new Error(`the relay ended without event=${event}\n${this.text}`);
    return this.of(event)[nth - 1];
  }

  // Whether it sleeps, by its last word.
  get sleeps() {
    return this.lines.findLast(({ event }) => event === 'asleep' || event === 'awake')?.event === 'asleep';
  }

  untilAsleep() {
    return until(() => this.sleeps, 'the relay sleeps');
  }

  kill(signal = 'SIGTERM') {
    this.child.kill(signal);
    return this.ended;
  }
}

// Starts a relay that is killed at the end of the test, and waits until it may send.
export async function startRelay(t, stripe, environment, options) {
  const relay = new Relay(stripe, environment, options);
  t.after(() => relay.kill('SIGKILL'));
  await relay.until('ready');
  return relay;
}

// Runs a relay to its end: {status, relay}.
export async function runRelay(t, stripe, environment, options) {
  const relay = new Relay(stripe, environment, options);
  t.after(() => relay.kill('SIGKILL'));
  let status;
  relay.ended.then((value) => (status = value));
  await until(() => status !== undefined, 'the relay ends');
  return { status, relay };
}

// A log line as an object.
function parse(line) {
  const pairs = {};
  for (const [, key, quoted, plain] of line.matchAll(/(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))/g)) {
    pairs[key] = quoted === undefined ? plain : quoted.replace(/\\(["\\])/g, '$1');
  }
  return { ...pairs, line };
}
