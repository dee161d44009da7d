// What each account's balance consists of, added up from its balance transactions: GET /_control/sums.

// Where a transaction's amount is counted, by its type; adjustments go by their category.
const KINDS = {
  application_fee: 'application_fees',
  application_fee_refund: 'application_fee_refunds',
  charge: 'charges',
  payment_refund: 'refunds',
  payout: 'payouts',
  payout_cancel: 'payout_failures',
  payout_failure: 'payout_failures',
  refund: 'refunds',
  refund_failure: 'refund_failures',
  transfer: 'transfers',
  transfer_refund: 'reversals',
};
const ADJUSTMENTS = { dispute: 'disputes', dispute_reversal: 'dispute_reversals', fee: 'application_fee_refunds' };

const nothing = () => ({
  transactions: 0,
  charges: 0,
  stripe_fees: 0,
  payments: 0,
  refunds: 0,
  refund_failures: 0,
  transfers: 0,
  reversals: 0,
  application_fees: 0,
  application_fee_refunds: 0,
  disputes: 0,
  dispute_reversals: 0,
  dispute_fees: 0,
  payouts: 0,
  payout_failures: 0,
  balance: 0,
  available: 0,
  pending: 0,
});

// Each sum as it changes the balance, so that together they are the balance: what goes out is negative.
function sumsOf(app) {
  const sums = {};
  for (const entry of app.store.balance_transactions) {
    const { amount, currency, fee_details: fees, net, reporting_category: category, status, type } = entry;
    const sum = (sums[currency] ??= nothing());
    sum.transactions += 1;
    sum.balance += net;
    sum[status] += net;
    sum[kindOf(app, entry, type, category)] += amount;
    for (const fee of fees) sum[feeKind(fee, type)] -= fee.amount;
  }
  return sums;
}

// A `payment` is a buyer's by other means than a card, or what a transfer brought.
function kindOf(app, { source }, type, category) {
  if (type === 'payment') return app.store.charges.get(source).source_transfer === null ? 'charges' : 'payments';
  return type === 'adjustment' ? ADJUSTMENTS[category] : KINDS[type];
}

function feeKind(fee, type) {
  if (fee.type === 'application_fee') return fee.amount < 0 ? 'application_fee_refunds' : 'application_fees';
  return type === 'adjustment' ? 'dispute_fees' : 'stripe_fees';
}

// {account: {currency: sums}}, the platform's own first.
export function describeSums(app) {
  const all = { [app.accountId]: sumsOf(app) };
  for (const [id, scoped] of app.connected) all[id] = sumsOf(scoped);
  return { platform: app.accountId, accounts: all };
}
