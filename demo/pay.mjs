// Pays a PaymentIntent at the local Stripe, which the buyer's browser would do; prints when, in ms since 1970.
//   node pay.mjs DIR/stripe.json pi_…
import { readFile } from 'node:fs/promises';
import https from 'node:https';

const [readyFile, paymentIntent] = process.argv.slice(2);
const { base, ca } = JSON.parse(await readFile(readyFile, 'utf8'));
const url = new URL('/_control/pay', base);
url.hostname = '127.0.0.1'; // the name localhost may be unknown here

const began = Date.now();
const request = https.request(url, { method: 'POST', ca: await readFile(ca) }, async (response) => {
  let text = '';
  for await (const chunk of response) text += chunk;
  if (response.statusCode !== 200) throw new Error(`HTTP ${response.statusCode}: ${text}`);
  if (JSON.parse(text).status !== 'succeeded') throw new Error('the payment did not succeed');
  console.log(began);
});
request.end(JSON.stringify({ payment_intent: paymentIntent }));
