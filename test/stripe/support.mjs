// What the tests share: a Stripe of their own, a client for HTTP/1.1 and HTTP/2, and waiting.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startStripe } from './stripe.mjs';

export const KEY = 'sk_test_local';
export const INTENT = { amount: 2500, currency: 'usd', automatic_payment_methods: { enabled: true } };
export const ITEM = { price_data: { currency: 'usd', unit_amount: 1500, product_data: { name: 'Ticket' } }, quantity: 2 };
export const SESSION = { mode: 'payment', success_url: 'https://example.com/ok', line_items: [ITEM] };

// An answer that is Stripe's refusal with these members; returns its `error`.
export function assertError(answer, status, fields) {
  assert.equal(answer.status, status, answer.text);
  const { error } = answer.body;
  assert.equal(typeof error.message, 'string');
  for (const name in fields) assert.deepEqual(error[name], fields[name], name);
  return error;
}

export const eventTypes = (app) => Array.from(app.store.events, (event) => event.type);

// A directory that goes when the test does, after `last()` was run.
export async function temporaryDirectory(t, last = () => {}) {
  const dir = await mkdtemp(join(tmpdir(), 'local-stripe-'));
  t.after(async () => {
    await last();
    await rm(dir, { recursive: true, force: true });
  });
  return dir;
}

// Starts a Stripe for a test and gives it a client: {stripe, client, app, dir}.
export async function newStripe(t, options = {}) {
  const dir = await temporaryDirectory(t);
  const stripe = await startStripe({ dir, ...options });
  t.after(() => stripe.close());
  const client = await newClient(t, stripe);
  return { stripe, client, app: stripe.app, dir };
}

export async function newClient(t, { base, ca }, protocol = '2') {
  const client = new Client(base, await readFile(ca), protocol);
  t.after(() => client.close());
  return client;
}

// {a: {b: ['x']}} to 'a[b][0]=x'
export function encodeForm(value, name = '') {
  if (typeof value !== 'object' || value === null) return `${encodeURIComponent(name)}=${encodeURIComponent(value ?? '')}`;
  return Object.entries(value)
    .map(([part, inner]) => encodeForm(inner, name === '' ? part : `${name}[${part}]`))
    .join('&');
}

// Calls resolve to {status, headers, text, body}; a connection that is cut rejects, with what came so far in `received`.
class Client {
  constructor(base, ca, protocol) {
    this.base = base;
    this.protocol = protocol;
    this.ca = ca;
    this.agent = new https.Agent({ ca, keepAlive: true });
  }

  get = (path, options) => this.call('GET', path, options);
  post = (path, form, options) => this.call('POST', path, { form, ...options });

  // A control call, whose answer must be 200.
  async control(method, path, json) {
    const answer = await this.call(method, `/_control/${path}`, { raw: json && JSON.stringify(json), type: 'application/json' });
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.text}`);
    return answer.body;
  }

  call(method, path, { form, raw, type = 'application/x-www-form-urlencoded', key = KEY, idempotencyKey, headers = {}, signal } = {}) {
    const content = raw ?? (form && encodeForm(form));
    const all = {
      ...(key !== null && { authorization: `Bearer ${key}` }),
      ...(idempotencyKey && { 'idempotency-key': idempotencyKey }),
      ...(content !== undefined && { 'content-type': type }),
      ...headers,
    };
    return this.protocol === '2' ? this.#call2(method, path, all, content, signal) : this.#call1(method, path, all, content, signal);
  }

  #call1(method, path, headers, content, signal) {
    return new Promise((resolve, reject) => {
      const request = https.request(this.base + path, { method, headers, agent: this.agent, signal }, (response) => {
        response.status = response.statusCode;
        gather(response).then(resolve, reject);
      });
      request.on('error', reject);
      request.end(content);
    });
  }

  #call2(method, path, headers, content, signal) {
    if (!this.session || this.session.closed || this.session.destroyed) {
      this.session = http2.connect(this.base, { ca: this.ca });
      this.session.on('error', () => {});
    }
    return new Promise((resolve, reject) => {
      const stream = this.session.request({ ':method': method, ':path': path, ...headers }, { signal });
      stream.on('response', (answered) => {
        stream.status = answered[':status'];
        stream.headers = answered;
      });
      gather(stream).then(resolve, reject);
      stream.end(content);
    });
  }

  close() {
    this.agent.destroy();
    this.session?.destroy();
  }
}

function gather(stream) {
  return new Promise((resolve, reject) => {
    let text = '';
    let failure = null;
    stream.setEncoding('utf8');
    stream.on('data', (chunk) => (text += chunk));
    stream.on('error', (error) => (failure = error));
    stream.on('end', () => (stream.ended = true));
    stream.on('close', () => {
      const complete = stream.complete ?? (stream.rstCode === 0 && stream.ended);
      if (failure === null && complete && stream.status !== undefined) {
        let body;
        try {
          body = JSON.parse(text);
        } catch {
          body = undefined;
        }
        resolve({ status: stream.status, headers: stream.headers, text, body });
      } else {
        reject(Object.assign(failure ?? new Error('the answer broke off'), { received: text, status: stream.status, headers: stream.headers }));
      }
    });
  });
}

// A webhook endpoint: {url, taken}, where `taken` collects {headers, text, event, at}.
// `respond(n)` gives the status for the n-th request (from 1), or null to cut it off.
export async function newEndpoint(t, respond = () => 200) {
  const taken = [];
  const server = http.createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8');
    request.on('data', (chunk) => (text += chunk));
    request.on('end', () => {
      taken.push({ headers: request.headers, text, event: JSON.parse(text), at: Date.now() });
      const status = respond(taken.length);
      if (status === null) request.socket.destroy();
      else response.writeHead(status).end();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}/webhook`, taken };
}

// Waits until `condition()` is truthy and returns it; fails after `within` milliseconds.
export async function until(condition, within = 5000) {
  const end = Date.now() + within;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${within} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
