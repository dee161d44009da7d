// A call to a local Stripe without a network: answered at once, as {status, headers, text, body}.
import { answerApi } from './api.mjs';

const FORM = 'application/x-www-form-urlencoded';

// `form` is an encoded body; headers are those of the exchange, the key apart.
export function callDirectly(app, method, path, form = '', headers = {}) {
  const [name, query = ''] = path.split('?');
  let answer;
  answerApi(app, {
    method,
    path: name,
    query,
    body: form,
    headers: { authorization: app.bearer, ...(form !== '' && { 'content-type': FORM }), ...headers },
    http: '2',
    respond(status, answered, text) {
      answer = { status, headers: answered, text: String(text), body: JSON.parse(text) };
    },
  });
  return answer;
}
