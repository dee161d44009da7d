// The database server, killed as the kernel would kill it and started again, and what it was started with; the cluster is
// that of DVNT_CLUSTER.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const cluster = fileURLToPath(new URL('../../../scripts/cluster', import.meta.url));

// The first of the secrets by which it knows webhooks.
export const webhookSecret = () => process.env.STRIPE_WEBHOOK_SECRET.split(' ')[0];

// Kills the postmaster; its children find it gone and end, and nothing is written down first.
export function killServer() {
  const [pid] = readFileSync(join(process.env.PGDATA, 'postmaster.pid'), 'utf8').split('\n');
  process.kill(Number(pid), 'SIGKILL');
}

// Ends the server, or what is left of it, and starts it; its recovery is over when this returns.
export const restartServer = () => promisify(execFile)(cluster, ['restart']);
