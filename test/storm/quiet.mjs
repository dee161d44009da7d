// When nothing is on its way between the database and Stripe.
import { underWay } from '../relay/support/queue.mjs';
import { pause, until } from '../relay/support/until.mjs';

const CALM = 3; // looks in a row that find nothing: what has just ended may have begun something else
const LOOK_AFTER = 300;

// Until all webhooks are brought and a count is 0.
export const settled = (office, left, what, within) => until(async () => office.empty && (await left()) === 0, what, within);

// Until all webhooks are brought and all calls have come to their effect, and it stays so.
export async function quiet(office, what, within) {
  for (let calm = 0; calm < CALM; ) {
    await settled(office, underWay, what, within);
    await pause(LOOK_AFTER);
    calm = office.empty && (await underWay()) === 0 ? calm + 1 : 0;
  }
}
