// Identifiers and secrets that look like Stripe's: a prefix and random base62.
import { createHash, randomFillSync } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
// The largest multiple of 62 in a byte; bytes from there on would favour some characters.
const FAIR = 248;

const pool = Buffer.alloc(16384);
let used = pool.length;

export function base62(length) {
  let text = '';
  while (text.length < length) {
    if (used === pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    const byte = pool[used++];
    if (byte < FAIR) text += ALPHABET[byte % 62];
  }
  return text;
}

export const newId = {
  account: () => `acct_1${base62(15)}`,
  bankAccount: () => `ba_1${base62(23)}`,
  balanceTransaction: () => `txn_3${base62(23)}`,
  applicationFee: () => `fee_1${base62(23)}`,
  charge: () => `ch_3${base62(23)}`,
  checkoutSession: () => `cs_test_a1${base62(56)}`,
  customer: () => `cus_${base62(14)}`,
  dispute: () => `dp_1${base62(23)}`,
  ephemeralKey: () => `ephkey_1${base62(23)}`,
  ephemeralKeySecret: () => `ek_test_${base62(64)}`,
  event: () => `evt_1${base62(23)}`,
  feeRefund: () => `fr_1${base62(23)}`,
  linkSecret: () => base62(32),
  payment: () => `py_1${base62(23)}`,
  paymentIntent: () => `pi_3${base62(23)}`,
  paymentIntentSecret: (id) => `${id}_secret_${base62(25)}`,
  paymentMethod: () => `pm_1${base62(23)}`,
  paymentRefund: () => `pyr_1${base62(23)}`,
  payout: () => `po_1${base62(23)}`,
  refund: () => `re_3${base62(23)}`,
  request: () => `req_${base62(14)}`,
  setupIntent: () => `seti_1${base62(23)}`,
  setupIntentSecret: (id) => `${id}_secret_${base62(30)}`,
  transfer: () => `tr_3${base62(23)}`,
  transferReversal: () => `trr_1${base62(23)}`,
  webhookSecret: () => `whsec_${base62(32)}`,
};

// The account a secret key belongs to: the same key always opens the same account, also after a restart.
export function accountOf(key) {
  let id = 'acct_1';
  for (const byte of createHash('sha256').update(key).digest().subarray(0, 15)) id += ALPHABET[byte % 62];
  return id;
}
