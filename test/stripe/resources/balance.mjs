// /v1/balance and /v1/balance_transactions: what an account has, and how it came to have it.
import { currency, paging, string, timeRange } from '../params.mjs';
import { paidBy } from '../store.mjs';

function balance(app) {
  const sums = app.ledger.balances();
  const list = (kind) => {
    const entries = sums.map(([inCurrency, sum]) => ({ amount: sum[kind], currency: inCurrency, source_types: { card: sum[kind] } }));
    return entries.length > 0 ? entries : [{ amount: 0, currency: 'usd', source_types: { card: 0 } }];
  };
  return { object: 'balance', available: list('available'), livemode: false, pending: list('pending') };
}

function list(app, { params }) {
  const { created, currency: inCurrency, payout, source, type } = params;
  if (payout !== undefined) app.store.payouts.need(payout, 'payout');
  return app.store.balance_transactions.page(params, { source, [paidBy]: payout, type, currency: inCurrency, created });
}

const listParams = { ...paging, created: timeRange, currency, payout: string(), source: string(), type: string() };

export const endpoints = [
  { method: 'GET', path: '/v1/balance', run: balance },
  { method: 'GET', path: '/v1/balance_transactions', params: listParams, run: list },
  { method: 'GET', path: '/v1/balance_transactions/:id', run: (app, call) => app.store.balance_transactions.need(call.id) },
];
