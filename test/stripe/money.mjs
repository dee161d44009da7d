// Amounts: the limits Stripe sets, what it keeps, what it lets go below zero, and how it writes a sum.
import { invalid } from './errors.mjs';

const LEAST = 50;
const MOST = 99999999;

// '$10.00', '€10.00': only errors say it.
export const written = (amount, currency) =>
  new Intl.NumberFormat('en-US', { style: 'currency', currency }).format(amount / 100);

// Refuses an amount that cannot be charged.
export function checkAmount(amount, currency, param = 'amount') {
  if (amount < LEAST) {
    throw invalid(`Amount must be at least ${written(LEAST, currency)} ${currency}`, { code: 'amount_too_small', param });
  }
  if (amount > MOST) {
    throw invalid(`Amount must be no more than ${written(MOST, currency)}`, { code: 'amount_too_large', param });
  }
}

// What `part` of a whole comes to for the next `amount` of it, after `before` of it: in proportion, rounded so that the parts add up.
export const shareOf = (part, before, amount, whole) =>
  Math.round((part * Math.min(before + amount, whole)) / whole) - Math.round((part * Math.min(before, whole)) / whole);

const BECOME = ['allowed', 'checked', 'refused'];

const usual = () => ({ available_after: 2 * 86400, dispute_fee: 1500, fee_fixed: 30, fee_percent: 2.9, reversals: 'allowed', transfers: 'allowed' });

// What a test may set by control.mjs: Stripe's fee on a payment and on a dispute, the seconds until money is available, and
// whether transfers (from the platform) and their reversals (from a connected account) need a balance that covers them.
export class MoneyRules {
  #rules = usual();
  // Of accounts that have a rule of their own for reversals.
  #reversals = new Map();

  // Sets what is given; with `account`, `reversals` is for that one.
  set({ account, ...change }) {
    for (const name in change) {
      if (!Object.hasOwn(this.#rules, name)) throw invalid(`Not a rule about money: ${name}.`);
      const value = change[name];
      const fits = name === 'reversals' || name === 'transfers' ? BECOME.includes(value) : value >= 0;
      if (!fits || (name !== 'fee_percent' && typeof value === 'number' && !Number.isInteger(value))) {
        throw invalid(`Not a rule about money: ${name} of ${value}.`, { param: name });
      }
    }
    if (account !== undefined) {
      const { reversals, ...rest } = change;
      if (reversals === undefined || Object.keys(rest).length > 0) throw invalid('An account has a rule of its own for reversals only.', { param: 'account' });
      this.#reversals.set(account, reversals);
    } else {
      this.#rules = { ...this.#rules, ...change };
    }
    return this.describe();
  }

  describe() {
    return { ...this.#rules, accounts: Object.fromEntries(this.#reversals) };
  }

  get availableAfter() {
    return this.#rules.available_after;
  }

  get disputeFee() {
    return this.#rules.dispute_fee;
  }

  get transfers() {
    return this.#rules.transfers;
  }

  reversalsOf(account) {
    return this.#reversals.get(account) ?? this.#rules.reversals;
  }

  // What Stripe keeps of a payment.
  stripeFee(amount) {
    return Math.round((amount * this.#rules.fee_percent) / 100) + this.#rules.fee_fixed;
  }

  reset() {
    this.#rules = usual();
    this.#reversals.clear();
  }
}
