// Amounts: the limits Stripe sets, its fee, and how it writes a sum.
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

// What Stripe keeps of a card payment: 2.9 % + 30.
export const stripeFee = (amount) => Math.round(amount * 0.029) + 30;
