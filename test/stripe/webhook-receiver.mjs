// Stands in for the edge function that takes Stripe's webhooks: POST /webhook calls ticketing.stripe_webhook
// with the bytes and the signature as received, and answers what it answers. PG* variables say where the database is.
//   node webhook-receiver.mjs --dir DIR [--port 0] [--connections 4]
import { mkdir } from 'node:fs/promises';
import http from 'node:http';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { PsqlPool, SqlError } from './psql-pool.mjs';
import { announce, untilTerminated } from './ready-file.mjs';

const LARGEST_BODY = 4 * 1024 * 1024;

const text = { type: 'string' };
const { values: options } = parseArgs({ options: { dir: text, port: text, connections: text } });
if (options.dir === undefined) {
  console.error('usage: node webhook-receiver.mjs --dir DIR [--port PORT] [--connections N]');
  process.exit(2);
}

const literal = (value) => (value === undefined ? 'NULL' : `'${value.replaceAll("'", "''")}'`);

// The statement for one webhook; hex needs no quoting.
const statement = (body, signature) =>
  `SELECT ticketing.stripe_webhook(payload => '\\x${body.toString('hex')}'::bytea, signature => ${literal(signature)})`;

// SQLSTATE PTnnn is HTTP nnn, as PostgREST has it; what else goes wrong is 500, and Stripe sends again.
function statusOf(error) {
  const [, status] = /^PT([2-5]\d\d)$/.exec(error.sqlstate ?? '') ?? [];
  return status === undefined ? 500 : Number(status);
}

function answer(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

const refuse = (response, status, message, code) => answer(response, status, JSON.stringify({ code, message }));

const pool = new PsqlPool(Number(options.connections ?? 4));

const server = http.createServer((request, response) => {
  const chunks = [];
  let size = 0;
  request.on('error', () => {});
  request.on('data', (chunk) => {
    size += chunk.length;
    if (size <= LARGEST_BODY) chunks.push(chunk);
  });
  request.on('end', async () => {
    if (request.method !== 'POST' || request.url !== '/webhook') return refuse(response, 404, 'POST /webhook is all there is');
    if (size > LARGEST_BODY) return refuse(response, 413, 'the payload is too large');
    try {
      answer(response, 200, await pool.query(statement(Buffer.concat(chunks), request.headers['stripe-signature'])));
    } catch (error) {
      if (!(error instanceof SqlError)) console.error(`webhook: ${error.message}`);
      refuse(response, statusOf(error), error.message, error.sqlstate);
    }
  });
});

const dir = resolve(options.dir);
await mkdir(dir, { recursive: true });
await new Promise((listening, failed) => {
  server.once('error', failed);
  server.listen(Number(options.port ?? 0), '127.0.0.1', listening);
});
const readyFile = join(dir, 'receiver.json');
untilTerminated(readyFile, async () => {
  server.close();
  await pool.close();
});
const url = `http://127.0.0.1:${server.address().port}/webhook`;
await announce(readyFile, { url, pid: process.pid });
console.log(`webhook receiver at ${url}`);
