// Errors as Stripe words them: a status, and a body {"error": {type, code, param, message, …}}.

export class StripeError extends Error {
  // `fields` are the members of "error"; `headers` are added to the answer.
  constructor(status, fields, headers = null) {
    super(fields.message);
    this.status = status;
    this.fields = fields;
    this.headers = headers;
  }

  // Members in alphabetical order, as Stripe sends them.
  body() {
    const { type = 'invalid_request_error', ...rest } = this.fields;
    const all = { ...rest, type };
    if (all.code !== undefined) all.doc_url = `https://stripe.com/docs/error-codes/${all.code.replaceAll('_', '-')}`;
    const error = {};
    for (const name of Object.keys(all).sort()) if (all[name] !== undefined) error[name] = all[name];
    return { error };
  }
}

export const invalid = (message, fields = {}) => new StripeError(400, { message, ...fields });

export const missing = (param) => invalid(`Missing required param: ${param}.`, { code: 'parameter_missing', param });

// An object named in the path is 404; one named by a parameter is 400.
export const noSuch = (what, id, param) =>
  new StripeError(param === 'id' ? 404 : 400, {
    code: 'resource_missing',
    message: `No such ${what}: '${id}'`,
    param,
  });

export const unknownUrl = (method, path) =>
  new StripeError(404, {
    message:
      `Unrecognized request URL (${method}: ${path}). ` +
      'Please see https://stripe.com/docs or we can help at https://support.stripe.com/.',
  });

// What the given status says when a fault asks for it and brings no body of its own.
export function errorForStatus(status) {
  if (status === 401) return new StripeError(401, { message: 'Invalid API Key provided.' });
  if (status === 403) {
    return new StripeError(403, {
      code: 'more_permissions_required',
      message: 'The provided key does not have the required permissions.',
    });
  }
  if (status === 409) {
    return new StripeError(409, {
      code: 'lock_timeout',
      message: 'This object cannot be accessed right now because another API request or Stripe process is currently accessing it.',
    });
  }
  if (status === 429) {
    return new StripeError(429, {
      code: 'rate_limit',
      message: 'Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.',
    });
  }
  if (status < 500) return new StripeError(status, { message: 'The request was unacceptable.' });
  return new StripeError(status, {
    type: 'api_error',
    message: 'An unknown error occurred. If you have any questions, we can help at https://support.stripe.com/.',
  });
}
