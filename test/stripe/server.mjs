// The local Stripe as a program; see README.md.
//   node server.mjs --dir DIR [--port 0] [--key sk_test_local] [--webhook-url URL] [--webhook-secret whsec_…]
//                   [--webhook-events type,type,…]
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { announce, untilTerminated } from './ready-file.mjs';
import { startStripe } from './stripe.mjs';

const text = { type: 'string' };
const { values: options } = parseArgs({
  options: { dir: text, port: text, key: text, 'webhook-url': text, 'webhook-secret': text, 'webhook-events': text },
});
if (options.dir === undefined) {
  console.error('usage: node server.mjs --dir DIR [--port PORT] [--key KEY] [--webhook-url URL] [--webhook-secret SECRET] [--webhook-events TYPES]');
  process.exit(2);
}

const dir = resolve(options.dir);
await mkdir(dir, { recursive: true });
const stripe = await startStripe({
  dir,
  port: Number(options.port ?? 0),
  key: options.key,
  webhookUrl: options['webhook-url'],
  webhookSecret: options['webhook-secret'],
  webhookTypes: options['webhook-events']?.split(','),
});
const readyFile = join(dir, 'stripe.json');
untilTerminated(readyFile, () => stripe.close());
await announce(readyFile, {
  base: stripe.base,
  ca: stripe.ca,
  key: stripe.app.key,
  webhook_secret: stripe.app.webhooks.secret,
  pid: process.pid,
});
console.log(`local Stripe at ${stripe.base}, CA in ${stripe.ca}`);
