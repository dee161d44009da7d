// What happens at Stripe of itself: the local Stripe's controls, without a network.
import { answerControl } from './control.mjs';

// Does `POST /_control/ACTION`; throws what Stripe refuses.
export function atStripe({ app }, action, body) {
  let result;
  answerControl(app, {
    method: 'POST',
    path: `/_control/${action}`,
    body: JSON.stringify(body),
    respondJson(status, answer) {
      if (status !== 200) throw new Error(`${action}: ${JSON.stringify(answer)}`);
      result = answer;
    },
  });
  return result;
}
