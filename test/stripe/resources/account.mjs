// /v1/account: the platform's own account, which follows from the key.

export function newAccount(id, created) {
  return {
    id,
    object: 'account',
    business_profile: { mcc: null, name: 'Local Stripe', support_email: null, support_phone: null, support_url: null, url: null },
    business_type: 'company',
    capabilities: { card_payments: 'active', transfers: 'active' },
    charges_enabled: true,
    country: 'US',
    created,
    default_currency: 'usd',
    details_submitted: true,
    email: 'owner@example.com',
    metadata: {},
    payouts_enabled: true,
    settings: { dashboard: { display_name: 'Local Stripe', timezone: 'Etc/UTC' } },
    type: 'standard',
  };
}

export const endpoints = [{ method: 'GET', path: '/v1/account', run: (app) => app.account }];
