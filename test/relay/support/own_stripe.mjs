import { after, beforeEach } from 'node:test';
import { emptyOutbox, leaveOutbox, takeOutbox } from './queue.mjs';
import { localStripe } from './relay.mjs';

// For a whole test file: the outbox to itself and a local Stripe, both empty before each test.
export async function ownStripe() {
  await takeOutbox();
  const stripe = await localStripe();
  beforeEach(async () => {
    await emptyOutbox();
    stripe.reset();
  });
  after(async () => {
    await stripe.stop();
    await leaveOutbox();
  });
  return stripe;
}
