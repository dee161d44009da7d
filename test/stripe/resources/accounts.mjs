// /v1/accounts and /v1/account_links: connected accounts, their onboarding, and what becomes of them.
import { noAccess, onAccount } from '../connect.mjs';
import { invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { boolean, clearable, currency, email, mergeMetadata, metadata, object } from '../params.mjs';
import { oneOf, paging, required, string, timeRange, url } from '../params.mjs';

const LINK_LIFETIME = 300;
const CAPABILITIES = ['card_payments', 'transfers', 'us_bank_account_ach_payments', 'sepa_debit_payments'];
const BEFORE_ONBOARDING = ['business_type', 'external_account', 'tos_acceptance.date', 'tos_acceptance.ip'];

const fields = {
  business_profile: object({
    mcc: string(),
    name: clearable(string()),
    product_description: string({ max: 40000 }),
    support_email: clearable(email),
    support_phone: clearable(string()),
    support_url: clearable(url),
    url: clearable(url),
  }),
  business_type: oneOf('company', 'government_entity', 'individual', 'non_profit'),
  capabilities: object(Object.fromEntries(CAPABILITIES.map((name) => [name, object({ requested: boolean })]))),
  default_currency: currency,
  email: clearable(email),
  metadata,
};

const createParams = {
  ...fields,
  controller: object({
    fees: object({ payer: oneOf('account', 'application') }),
    losses: object({ payments: oneOf('application', 'stripe') }),
    requirement_collection: oneOf('application', 'stripe'),
    stripe_dashboard: object({ type: oneOf('express', 'full', 'none') }),
  }),
  country: string({ max: 2 }),
  type: oneOf('custom', 'express', 'standard'),
};

const DASHBOARDS = { custom: 'none', express: 'express', standard: 'full' };
const TYPES = { express: 'express', full: 'standard', none: 'none' };

const requirements = (due = [], { past = [], pending = [], reason = null } = {}) => ({
  alternatives: [],
  current_deadline: null,
  currently_due: due,
  disabled_reason: reason,
  errors: [],
  eventually_due: due,
  past_due: past,
  pending_verification: pending,
});

// What a control can make of an account.
const STATES = {
  enabled: () => ({ charges_enabled: true, details_submitted: true, payouts_enabled: true, requirements: requirements() }),
  submitted: () => ({
    charges_enabled: false,
    details_submitted: true,
    payouts_enabled: false,
    requirements: requirements([], { pending: ['individual.verification.document'], reason: 'requirements.pending_verification' }),
  }),
  restricted: () => ({
    charges_enabled: false,
    details_submitted: true,
    payouts_enabled: false,
    requirements: requirements(['individual.verification.document'], {
      past: ['individual.verification.document'],
      reason: 'requirements.past_due',
    }),
  }),
  payouts_paused: () => ({
    charges_enabled: true,
    details_submitted: true,
    payouts_enabled: false,
    requirements: requirements(['external_account'], { past: ['external_account'], reason: 'requirements.past_due' }),
  }),
  rejected: () => ({
    charges_enabled: false,
    details_submitted: true,
    payouts_enabled: false,
    requirements: requirements([], { reason: 'rejected.fraud' }),
  }),
};

function addAccount(app, id, params, origin) {
  const dashboard = params.controller?.stripe_dashboard?.type ?? DASHBOARDS[params.type ?? 'standard'];
  const type = params.type ?? TYPES[dashboard];
  const ours = params.type === 'express' || params.type === 'custom';
  const capabilities = {};
  for (const name in params.capabilities) if (params.capabilities[name].requested) capabilities[name] = 'inactive';
  return app.store.accounts.add(
    {
      id,
      object: 'account',
      business_profile: {
        mcc: null, name: null, product_description: null, support_email: null, support_phone: null, support_url: null, url: null,
        ...params.business_profile,
      },
      business_type: params.business_type ?? null,
      capabilities,
      charges_enabled: false,
      controller: {
        fees: { payer: params.controller?.fees?.payer ?? (ours ? `application_${type}` : 'account') },
        is_controller: true,
        losses: { payments: params.controller?.losses?.payments ?? (ours ? 'application' : 'stripe') },
        requirement_collection: params.controller?.requirement_collection ?? (type === 'custom' ? 'application' : 'stripe'),
        stripe_dashboard: { type: dashboard },
        type: 'application',
      },
      country: params.country ?? 'US',
      created: app.clock.seconds(),
      default_currency: params.default_currency ?? 'usd',
      details_submitted: false,
      email: params.email ?? null,
      external_accounts: { object: 'list', data: [], has_more: false, total_count: 0, url: `/v1/accounts/${id}/external_accounts` },
      future_requirements: requirements(),
      metadata: mergeMetadata({}, params.metadata),
      payouts_enabled: false,
      requirements: requirements(BEFORE_ONBOARDING, { past: BEFORE_ONBOARDING, reason: 'requirements.past_due' }),
      settings: {
        dashboard: { display_name: params.business_profile?.name ?? null, timezone: 'Etc/UTC' },
        payouts: { debit_negative_balances: true, schedule: { delay_days: 2, interval: 'daily' }, statement_descriptor: null },
      },
      tos_acceptance: { date: null },
      type,
    },
    origin,
  );
}

function create(app, call) {
  const { params } = call;
  if (params.type !== undefined && params.controller !== undefined) {
    throw invalid('You may only specify one of these parameters: type, controller.', { param: 'type' });
  }
  if (params.country !== undefined && !/^[A-Z]{2}$/.test(params.country)) {
    throw invalid(`Country '${params.country}' is unknown. Try using a 2-character alphanumeric country code instead, such as 'US', 'EG', or 'GB'.`, {
      code: 'country_code_invalid',
      param: 'country',
    });
  }
  return addAccount(app, newId.account(), params, call.idempotencyKey);
}

// Stores a newer version of an account and tells of it, as an event of that account.
function put(app, before, after, call) {
  app.store.accounts.put(after);
  const previous = {};
  for (const name in after) if (JSON.stringify(after[name]) !== JSON.stringify(before[name])) previous[name] = before[name];
  if (Object.keys(previous).length > 0) onAccount(app, after.id).events.emit('account.updated', after, call, previous);
  return after;
}

function update(app, call) {
  const before = found(app, call);
  if (before === app.account) throw invalid('You cannot update the account that owns the key.');
  const { business_profile: profile, capabilities: wanted = {}, expand, metadata: given, ...changes } = call.params;
  const capabilities = { ...before.capabilities };
  for (const name in wanted) {
    if (!wanted[name].requested) delete capabilities[name];
    else capabilities[name] ??= before.charges_enabled ? 'active' : 'inactive';
  }
  const after = {
    ...before,
    ...changes,
    business_profile: { ...before.business_profile, ...profile },
    capabilities,
    metadata: mergeMetadata(before.metadata, given),
  };
  return put(app, before, after, call);
}

// An account that is paid and was not known is taken to have been there long; others make their accounts up.
export function knowAccount({ platform }, id) {
  if (id === platform.accountId || platform.store.accounts.get(id) !== undefined || platform.connected.has(id)) return;
  const requested = { card_payments: { requested: true }, transfers: { requested: true } };
  const made = addAccount(platform, id, { type: 'express', capabilities: requested }, null);
  platform.store.accounts.put({ ...made, ...STATES.enabled(), capabilities: { card_payments: 'active', transfers: 'active' } });
}

// Makes an account what `become` says; one that is not known is made for it, as if it had been there long.
export function changeAccount(app, { account: id, become }) {
  if (!/^acct_\w+$/.test(id)) throw invalid(`Not an account: ${id}`, { param: 'account' });
  if (become === 'deauthorized') {
    const scoped = onAccount(app, id);
    const gone = scoped.account;
    scoped.events.emit('account.application.deauthorized', { id: 'ca_local', object: 'application', name: 'Local Stripe' }, null);
    app.store.accounts.remove(id);
    return gone;
  }
  if (!Object.hasOwn(STATES, become)) throw invalid(`become must be one of ${[...Object.keys(STATES), 'deauthorized'].join(', ')}`, { param: 'become' });
  const before =
    app.store.accounts.get(id) ??
    addAccount(app, id, { type: 'express', capabilities: { card_payments: { requested: true }, transfers: { requested: true } } }, null);
  const state = STATES[become]();
  const capabilities = {};
  for (const name in before.capabilities) capabilities[name] = state.charges_enabled ? 'active' : 'inactive';
  return put(app, before, { ...before, ...state, capabilities }, null);
}

// Refuses a destination that could not be paid; asked for by tests only, as others make their accounts up.
export function checkDestination(app, id, param) {
  if (!app.checksDestinations || id === app.account.id) return;
  const account = app.store.accounts.get(id);
  if (account === undefined) throw invalid(`No such destination: '${id}'`, { code: 'resource_missing', param });
  if (account.capabilities.transfers !== 'active') {
    throw invalid(
      'Your destination account needs to have at least one of the following capabilities enabled: transfers, crypto_transfers, legacy_payments',
      { code: 'insufficient_capabilities_for_transfer', param },
    );
  }
}

function found(app, call) {
  if (call.id === app.account.id) return app.account;
  const account = app.store.accounts.get(call.id);
  if (account === undefined) throw noAccess(app, call.id);
  return account;
}

function createLink(app, { params }) {
  const account = app.store.accounts.get(params.account);
  if (account === undefined) throw noAccess(app, params.account);
  if (params.type === 'account_update' && account.controller.requirement_collection === 'stripe') {
    throw invalid('You cannot create `account_update` type Account Links for this account.', { param: 'type' });
  }
  const created = app.clock.seconds();
  return {
    object: 'account_link',
    created,
    expires_at: created + LINK_LIFETIME,
    url: `https://connect.stripe.com/setup/${account.type === 'express' ? 'e' : 's'}/${account.id}/${newId.linkSecret()}`,
  };
}

function createLoginLink(app, call) {
  const account = found(app, call);
  if (account.type !== 'express') throw invalid(`Cannot create a login link for an account that is not Express: ${account.id}.`);
  if (!account.details_submitted) throw invalid('Cannot create a login link for an account that has not completed onboarding.');
  return { object: 'login_link', created: app.clock.seconds(), url: `https://connect.stripe.com/express/${account.id}/${newId.linkSecret()}` };
}

const list = (app, { params }) => app.store.accounts.page(params, { created: params.created });

const linkParams = {
  account: required(string()),
  collection_options: object({ fields: oneOf('currently_due', 'eventually_due'), future_requirements: oneOf('include', 'omit') }),
  refresh_url: required(url),
  return_url: required(url),
  type: required(oneOf('account_onboarding', 'account_update')),
};

export const endpoints = [
  { method: 'POST', path: '/v1/accounts', params: createParams, run: create },
  { method: 'GET', path: '/v1/accounts', params: { ...paging, created: timeRange }, run: list },
  { method: 'GET', path: '/v1/accounts/:id', run: found },
  { method: 'POST', path: '/v1/accounts/:id', params: fields, run: update },
  { method: 'POST', path: '/v1/accounts/:id/login_links', run: createLoginLink },
  { method: 'POST', path: '/v1/account_links', params: linkParams, run: createLink },
];
