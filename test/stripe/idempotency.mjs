// Idempotency keys: the first answer to a key is kept and given again, for a day.
// An answer is kept once its endpoint has begun to run, whatever it was; refusals before that are not.
import { StripeError, invalid } from './errors.mjs';

const KEPT_FOR = 24 * 3600;
const LONGEST_KEY = 255;

export class IdempotencyKeys {
  #entries = new Map();

  constructor(clock) {
    this.clock = clock;
  }

  // The kept answer to a key, {status, body, requestId}, or null if it is new.
  // Refuses a key that was used for something else, or whose first use still runs.
  look(key, path, body) {
    if (key.length > LONGEST_KEY) {
      throw invalid(`Idempotency keys can only be up to ${LONGEST_KEY} characters long.`, { type: 'idempotency_error' });
    }
    this.#forgetOld();
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    if (entry.path !== path) {
      throw mismatch(`for the same endpoint they were first used for ('${path}' vs '${entry.path}')`, key);
    }
    if (entry.body !== body) throw mismatch('with the same parameters they were first used with', key);
    if (entry.answer === null) throw inUse(key);
    return entry.answer;
  }

  // Marks a new key as in use.
  claim(key, path, body) {
    const entry = { path, body, answer: null, until: this.clock.seconds() + KEPT_FOR };
    this.#entries.set(key, entry);
    return entry;
  }

  // Keeps the answer to a claimed key; an answer that Stripe does not keep frees the key.
  settle(key, entry, answer) {
    if (this.#entries.get(key) !== entry) return;
    if (answer === null || [401, 409, 429].includes(answer.status)) this.#entries.delete(key);
    else entry.answer = answer;
  }

  clear() {
    this.#entries.clear();
  }

  // Keys are in the order of their first use, so the old ones come first.
  #forgetOld() {
    const now = this.clock.seconds();
    for (const [key, entry] of this.#entries) {
      if (entry.until > now) return;
      this.#entries.delete(key);
    }
  }
}

const mismatch = (how, key) =>
  invalid(
    `Keys for idempotent requests can only be used ${how}. ` +
      `Try using a key other than '${key}' if you meant to execute a different request.`,
    { type: 'idempotency_error' },
  );

const inUse = (key) =>
  new StripeError(
    409,
    {
      code: 'idempotency_key_in_use',
      message:
        'There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, ' +
        `and the other request is still going through): ${key}. Please try again later.`,
    },
    { 'stripe-should-retry': 'true' },
  );
