// What Stripe's own library for Node sends for given parameters, by its public interface and without a network.
import { createRequire } from 'node:module';

const Stripe = createRequire(new URL('../../.build/form/', import.meta.url))('stripe');

class Answer extends Stripe.HttpClientResponse {
  constructor() {
    super(200, {});
  }
  getRawResponse() {
    return {};
  }
  async toJSON() {
    return {};
  }
}

// Keeps the body of the last request.
class Recorder extends Stripe.HttpClient {
  body = null;
  getClientName() {
    return 'recorder';
  }
  async makeRequest(host, port, path, method, headers, body) {
    this.body = body;
    return new Answer();
  }
}

const recorder = new Recorder();
const stripe = new Stripe('sk_test_form', { httpClient: recorder, maxNetworkRetries: 0, telemetry: false });

export const VERSION = Stripe.PACKAGE_VERSION;

export async function libraryBody(params) {
  recorder.body = null;
  await stripe.rawRequest('POST', '/v1/form', params);
  return recorder.body;
}
