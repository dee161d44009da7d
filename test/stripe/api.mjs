// The path of an API call: key, version, URL, form, idempotency key, parameters, endpoint, answer.
// All of it is synchronous, so a call is executed as a whole or not at all; only faults take their time.
import { masked, onAccount } from './connect.mjs';
import { StripeError, errorForStatus, invalid, unknownUrl } from './errors.mjs';
import { expand } from './expand.mjs';
import { decodeForm } from './form.mjs';
import { newId } from './ids.mjs';
import { checkParams, common } from './params.mjs';
import { endpoints } from './resources/index.mjs';
import { Router } from './router.mjs';

const VERSION = /^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$/;
const FORM_TYPE = /^application\/x-www-form-urlencoded\b/i;

const router = new Router(
  endpoints.map((endpoint) => ({ ...endpoint, name: `${endpoint.method} ${endpoint.path}`, params: { ...common, ...endpoint.params } })),
);

// Answers an exchange (see transport.mjs) under /v1.
export function answerApi(app, exchange) {
  app.clock.doWhatIsDue();
  const call = new Call(app, exchange);
  const refusal = app.rates.count(call.endpointName);
  if (refusal !== null) {
    call.send({ status: refusal.status, body: render(refusal.body()), headers: refusal.headers });
    return;
  }
  const fault = app.faults.take(exchange.method, exchange.path, call.idempotencyKey);
  if (fault === null) call.send(call.begin() ?? call.execute());
  else goWrong(app, call, fault);
}

function goWrong(app, call, fault) {
  call.note.fault = fault.kind;
  switch (fault.kind) {
    case 'delay': {
      const early = call.begin();
      setTimeout(() => call.send(early ?? call.execute()), fault.ms);
      return;
    }
    case 'hang':
      call.note.status = 'hung';
      return;
    case 'drop_before':
      call.cut(fault);
      return;
    case 'drop_after':
      call.begin() ?? call.execute();
      call.cut(fault);
      return;
    case 'truncate':
      call.truncate(call.begin() ?? call.execute(), fault);
      return;
    case 'status': {
      const { status, headers, body = errorForStatus(status).body(), execute = false, store = execute } = fault;
      const answer = { status, body: typeof body === 'string' ? body : render(body), headers };
      if (!execute && !store) {
        call.send(answer);
        return;
      }
      const early = call.begin();
      if (early === null) call.execute({ effect: execute, instead: store ? answer : null });
      call.send(early ?? answer);
    }
  }
}

const render = (object) => JSON.stringify(object, null, 2) + '\n';

// What was rendered before: an object is never changed, so its bytes last as long as it does.
const rendered = new WeakMap();

function renderOnce(object) {
  let body = rendered.get(object);
  if (body === undefined) rendered.set(object, (body = Buffer.from(render(object))));
  return body;
}

class Call {
  // The arguments of the endpoint: the first `:id` of the path, all of them, and the parameters.
  id = null;
  ids = [];
  params = null;
  #route;
  #entry = null;

  constructor(app, exchange) {
    const { headers } = exchange;
    this.app = app;
    this.exchange = exchange;
    this.#route = router.find(exchange.method, exchange.path);
    this.requestId = newId.request();
    this.idempotencyKey = (exchange.method === 'POST' && headers['idempotency-key']) || null;
    this.versionGiven = headers['stripe-version'] ?? null;
    this.note = app.journal.add({
      time: app.clock.millis(),
      method: exchange.method,
      path: exchange.path,
      query: exchange.query,
      body: exchange.body,
      idempotency_key: this.idempotencyKey,
      stripe_account: headers['stripe-account'] ?? null,
      stripe_version: this.versionGiven,
      http: exchange.http,
      request_id: this.requestId,
      status: null,
      fault: null,
    });
  }

  // What calls are counted by.
  get endpointName() {
    return this.#route?.endpoint.name ?? 'unknown';
  }

  // All that comes before the endpoint runs. Returns the answer if the call ends here, or null.
  begin() {
    const { method, path, body } = this.exchange;
    try {
      this.#authenticate();
      if (this.versionGiven !== null && !VERSION.test(this.versionGiven)) {
        throw invalid(`Invalid Stripe API version: ${this.versionGiven}`);
      }
      if (this.#route === null) throw unknownUrl(method, path);
      this.ids = this.#route.ids;
      this.id = this.ids[0] ?? null;
      const form = this.#form();
      if (this.idempotencyKey !== null) {
        const kept = this.app.idempotencyKeys.look(this.idempotencyKey, path, body);
        if (kept !== null) return { ...kept, replayed: true };
      }
      this.params = checkParams(this.#route.endpoint.params, form);
      if (this.idempotencyKey !== null) this.#entry = this.app.idempotencyKeys.claim(this.idempotencyKey, path, body);
      return null;
    } catch (error) {
      return this.#refusal(error);
    }
  }

  // Runs the endpoint (unless `effect` is false) and keeps its answer (or the one `instead`) for its idempotency key.
  execute({ effect = true, instead = null } = {}) {
    let answer = effect ? this.#run() : null;
    if (instead !== null) answer = { ...instead };
    if (this.#entry !== null) {
      answer.originalRequest = this.requestId;
      this.app.idempotencyKeys.settle(this.idempotencyKey, this.#entry, answer);
    }
    return answer;
  }

  #run() {
    const { app } = this;
    try {
      const result = this.#route.endpoint.run(app, this);
      const paths = this.params.expand;
      if (paths !== undefined) return { status: 200, body: render(expand(app, result, paths)) };
      const stored = this.exchange.method === 'GET' && result.data === undefined;
      return { status: 200, body: stored ? renderOnce(result) : render(result) };
    } catch (error) {
      return this.#refusal(error);
    }
  }

  #authenticate() {
    const { app } = this;
    const { authorization, 'stripe-account': account } = this.exchange.headers;
    if (authorization !== app.bearer) {
      const key = givenKey(authorization);
      if (key === '') throw new StripeError(401, { message: NO_KEY }, { 'www-authenticate': 'Basic realm="Stripe"' });
      if (key !== app.key) throw new StripeError(401, { message: `Invalid API Key provided: ${masked(key)}` });
    }
    if (account !== undefined) this.app = onAccount(app, account);
  }

  // The decoded parameters of the query and the body.
  #form() {
    const { headers, method, query, body } = this.exchange;
    if (method !== 'POST' || body === '') return decodeForm(query);
    if (!FORM_TYPE.test(headers['content-type'])) {
      throw invalid(
        'Invalid request (check that your POST content type is application/x-www-form-urlencoded). ' +
          'If you have any questions, we can help at https://support.stripe.com/.',
      );
    }
    return decodeForm(query === '' ? body : `${query}&${body}`);
  }

  #refusal(error) {
    if (!(error instanceof StripeError)) {
      console.error(error);
      error = errorForStatus(500);
    }
    return { status: error.status, body: render(error.body()), headers: error.headers };
  }

  send(answer) {
    this.note.status = answer.status;
    this.exchange.respond(answer.status, this.#headers(answer), answer.body);
  }

  // Cuts the connection without an answer.
  cut(fault) {
    this.note.status = 'cut';
    this.exchange.cut(fault.cut);
  }

  // Sends headers that promise the whole body, and half of it.
  truncate(answer, fault) {
    this.note.status = 'cut';
    this.exchange.truncate(answer.status, this.#headers(answer), answer.body, fault.cut);
  }

  #headers(answer) {
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(answer.body),
      'cache-control': 'no-cache, no-store',
      'request-id': this.requestId,
      'stripe-version': this.versionGiven ?? this.app.apiVersion,
    };
    if (this.idempotencyKey !== null) {
      headers['idempotency-key'] = this.idempotencyKey;
      if (answer.originalRequest !== undefined) {
        headers['original-request'] = answer.originalRequest;
        // Stripe gives no advice on a 500.
        if (answer.status < 500) headers['stripe-should-retry'] = 'false';
      }
      if (answer.replayed) headers['idempotent-replayed'] = 'true';
    }
    return answer.headers ? Object.assign(headers, answer.headers) : headers;
  }
}

const NO_KEY =
  'You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth ' +
  "(e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or we can " +
  'help at https://support.stripe.com/.';

// The key of `Bearer key` or of `Basic base64(key:)`; '' if there is none.
function givenKey(authorization = '') {
  const [scheme, value = ''] = authorization.split(/\s+/);
  if (/^bearer$/i.test(scheme)) return value;
  if (/^basic$/i.test(scheme)) return Buffer.from(value, 'base64').toString('utf8').split(':')[0];
  return '';
}
