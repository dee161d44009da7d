// The money of one account: its balance transactions, what of them is available, and what a payout took along.
// The sum of all `net` is the balance. What comes in by a charge is pending at first, and so is what is taken from it meanwhile.
import { newId } from './ids.mjs';
import { paidBy } from './store.mjs';

// The reporting category of types that have not their own name for it.
const CATEGORIES = {
  application_fee: 'platform_earning',
  application_fee_refund: 'platform_earning_refund',
  payment: 'charge',
  payment_refund: 'refund',
  payout_cancel: 'payout_reversal',
  payout_failure: 'payout_reversal',
  transfer_refund: 'transfer_reversal',
};

export const stripeFee = (amount, currency, description = 'Stripe processing fees') => ({
  amount,
  application: null,
  currency,
  description,
  type: 'stripe_fee',
});

export const applicationFee = (amount, currency) => ({
  amount,
  application: 'ca_local',
  currency,
  description: 'Local Stripe application fee',
  type: 'application_fee',
});

export class Ledger {
  // Of each currency {available, pending}.
  #balances = new Map();
  // Of each currency, the ids of what is available and no automatic payout has taken, oldest first.
  #unpaid = new Map();
  // What becomes available at each second to come.
  #maturing = new Map();

  constructor(clock, transactions) {
    this.clock = clock;
    this.transactions = transactions;
    this.bankAccount = newId.bankAccount();
  }

  // Books a balance transaction and returns it. `fees` are its fee_details; it is pending until `availableOn`.
  post({ amount, availableOn = 0, category, currency, description = null, fees = [], source, type }) {
    const created = this.clock.seconds();
    const pending = availableOn > created;
    const details = fees.filter((fee) => fee.amount !== 0);
    const fee = details.reduce((sum, detail) => sum + detail.amount, 0);
    const entry = this.transactions.add({
      id: newId.balanceTransaction(),
      object: 'balance_transaction',
      amount,
      available_on: pending ? availableOn : created,
      balance_type: 'payments',
      created,
      currency,
      description,
      exchange_rate: null,
      fee,
      fee_details: details,
      net: amount - fee,
      reporting_category: category ?? CATEGORIES[type] ?? type,
      source,
      status: pending ? 'pending' : 'available',
      type,
    });
    const balance = this.#balanceOf(currency);
    if (pending) {
      balance.pending += entry.net;
      this.#matureAt(availableOn, entry.id);
    } else {
      balance.available += entry.net;
      this.#unpaid.get(currency).add(entry.id);
    }
    return entry;
  }

  // [currency, {available, pending}] of each currency there was a transaction in.
  balances() {
    return [...this.#balances];
  }

  // {available, pending} of one currency.
  balance(currency) {
    return this.#balances.get(currency) ?? { available: 0, pending: 0 };
  }

  // Puts all that is available into a payout, and with it the payout's own transaction, so that they come to nothing.
  payOut(currency, payout) {
    const unpaid = this.#unpaid.get(currency);
    for (const id of unpaid) this.transactions.put({ ...this.transactions.get(id), [paidBy]: payout });
    unpaid.clear();
  }

  clear() {
    this.#balances.clear();
    this.#unpaid.clear();
    this.#maturing.clear();
  }

  #balanceOf(currency) {
    let balance = this.#balances.get(currency);
    if (balance === undefined) {
      this.#balances.set(currency, (balance = { available: 0, pending: 0 }));
      this.#unpaid.set(currency, new Set());
    }
    return balance;
  }

  #matureAt(seconds, id) {
    const ids = this.#maturing.get(seconds);
    if (ids !== undefined) {
      ids.push(id);
      return;
    }
    this.#maturing.set(seconds, [id]);
    this.clock.at(seconds, () => this.#mature(seconds));
  }

  #mature(seconds) {
    for (const id of this.#maturing.get(seconds) ?? []) {
      const entry = this.transactions.put({ ...this.transactions.get(id), status: 'available' });
      const balance = this.#balanceOf(entry.currency);
      balance.pending -= entry.net;
      balance.available += entry.net;
      this.#unpaid.get(entry.currency).add(id);
    }
    this.#maturing.delete(seconds);
  }
}
