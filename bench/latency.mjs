// How long a commit takes to become a request on the wire while the relay sleeps, and what a relay costs that has nothing
// to do. Prints "name<TAB>value" lines, times in microseconds.
//   node bench/latency.mjs CALLS SECONDS
// The other end is a listener of plain HTTP in this process, which notes when a request has come; the time begins when
// COMMIT is sent, through psql, so the commit itself is part of it.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { Session, sql } from '../test/relay/support/database.mjs';
import { enqueue, leaveOutbox, takeOutbox } from '../test/relay/support/queue.mjs';
import { Relay } from '../test/relay/support/relay.mjs';
import { until } from '../test/relay/support/until.mjs';

const [calls, seconds] = process.argv.slice(2).map(Number);
const tell = (name, value) => console.log(`${name}\t${value}`);

let heard = null;
let made = 0;
const server = createServer((request, response) => {
  if (request.url !== '/v1/account') heard?.(performance.now());
  request.resume().on('end', () => {
    const object = request.url === '/v1/account' ? { id: 'acct_bench', object: 'account' } : { id: `pi_${++made}`, object: 'payment_intent', status: 'requires_payment_method' };
    response.end(JSON.stringify(object));
  });
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

await takeOutbox();
const relay = new Relay({ base: `http://127.0.0.1:${server.address().port}`, ca: '' });
process.on('exit', () => relay.child.kill('SIGKILL'));
await relay.until('ready');
const session = new Session();

const times = [];
const committed = [];
for (let i = 0; i < calls; i++) {
  const stored = relay.of('answer').length;
  await relay.untilAsleep();
  await session.query(`BEGIN; ${enqueue()}`);
  const arrival = new Promise((resolve) => (heard = resolve));
  const start = performance.now();
  session.query('COMMIT').then(() => committed.push((performance.now() - start) * 1000));
  times.push((await arrival - start) * 1000);
  await until(() => relay.of('answer').length > stored, 'stored');
}
await session.close();
const sorted = times.sort((a, b) => a - b);
const part = (of, share) => Math.round(of[Math.floor((of.length - 1) * share)]);
tell('p50_us', part(sorted, 0.5));
tell('p95_us', part(sorted, 0.95));
tell('max_us', part(sorted, 1));
tell('commit_p50_us', part(committed.sort((a, b) => a - b), 0.5));

// Nanoseconds that the process has had a processor for.
const busy = async (pid) => Number((await readFile(`/proc/${pid}/schedstat`, 'utf8')).split(' ')[0]);
const backend = await sql(`SELECT pid FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay' AND datname = current_database()`);
// Seen from another database and without autovacuum, so that only the relay's transactions are counted.
const database = process.env.PGDATABASE;
process.env.PGDATABASE = 'postgres';
const watcher = new Session();
const used = async () => ({
  at: performance.now(),
  relay: await busy(relay.child.pid),
  backend: await busy(backend),
  transactions: Number(await watcher.query(`SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '${database}'`)),
});
await watcher.query('ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf()');
await until(async () => (await watcher.query(`SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'`)) === '0', 'autovacuum rests', 60000);
// What the calls before have left to be counted is counted.
await new Promise((resolve) => setTimeout(resolve, 3000));
const before = await used();
await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const after = await used();
await watcher.query('ALTER SYSTEM RESET autovacuum; SELECT pg_reload_conf()');
await watcher.close();
const idle = (after.at - before.at) / 1000;
tell('transactions', ((after.transactions - before.transactions) / idle).toFixed(3));
tell('relay_cpu', ((after.relay - before.relay) / 1e9 / idle * 100).toFixed(4));
tell('backend_cpu', ((after.backend - before.backend) / 1e9 / idle * 100).toFixed(4));

await relay.kill();
process.env.PGDATABASE = database;
await leaveOutbox();
server.close();
