// /v1/ephemeral_keys: short-lived keys with which a mobile SDK reads one customer.
import { invalid } from '../errors.mjs';
import { newId } from '../ids.mjs';
import { required, string } from '../params.mjs';

const LIFETIME = 3600;

function create(app, call) {
  // The key speaks the version of the SDK that will use it, so the account's default will not do.
  if (!call.versionGiven) {
    throw invalid('You must send a Stripe-Version header to create an ephemeral key: the API version of the client that will use it.');
  }
  const customer = app.store.customers.need(call.params.customer, 'customer');
  const created = app.clock.seconds();
  return app.store.ephemeral_keys.add(
    {
      id: newId.ephemeralKey(),
      object: 'ephemeral_key',
      associated_objects: [{ id: customer.id, type: 'customer' }],
      created,
      expires: created + LIFETIME,
      livemode: false,
      secret: newId.ephemeralKeySecret(),
    },
    call.idempotencyKey,
  );
}

export const endpoints = [
  { method: 'POST', path: '/v1/ephemeral_keys', params: { customer: required(string()) }, run: create },
];
