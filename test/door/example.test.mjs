// The example for Node, over HTTP and against the real server: an evening with the network gone and the door killed.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../relay/support/until.mjs';
import { Postgrest } from './support/postgrest.mjs';
import { Server } from './support/server.mjs';

const PROGRAM = fileURLToPath(new URL('../../examples/door/node.mjs', import.meta.url));
const HOST = 'example-host';

// The program as a child process.
class Program {
  #lines = [];
  errors = '';

  constructor(t, url, args) {
    this.child = spawn(process.execPath, [PROGRAM, ...args], { env: { ...process.env, DOOR_URL: url, DOOR_TOKEN: 'a-token' }, stdio: ['pipe', 'pipe', 'pipe'] });
    let rest = '';
    this.child.stdout.setEncoding('utf8').on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      this.#lines.push(...lines);
    });
    this.child.stderr.setEncoding('utf8').on('data', (chunk) => (this.errors += chunk));
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
    t.after(() => this.child.kill('SIGKILL'));
  }

  // Types a line and waits for the answer.
  async scan(line) {
    this.child.stdin.write(`${line}\n`);
    await until(() => this.#lines.length > 0, `an answer to ${line}\n${this.errors}`);
    return JSON.parse(this.#lines.shift());
  }
}

test('node.mjs scans on without a network, loses nothing when it is killed, and uploads when it can', async (t) => {
  const server = new Server();
  t.after(() => server.close());
  const folder = await mkdtemp(join(tmpdir(), 'dvnt_door_test.'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const site = await server.newEvent(HOST);
  const tickets = await server.newTickets(site, 2);
  await server.rpc('save_door_settings', { event_id: site.event, actor: HOST, settings: { reentry: true } });
  const web = new Postgrest(server);
  const url = await web.listen();
  t.after(() => web.close());
  const args = [String(site.event), 'left-door', HOST, folder, 'north'];

  const first = new Program(t, url, args);
  assert.equal((await first.scan(tickets[0].payload)).result, 'admitted');
  await web.close();
  const second = await first.scan(`dvnt://ticket/${tickets[1].token}`);
  assert.deepEqual([second.result, second.ticket_id], ['admitted', tickets[1].id]);
  assert.equal((await first.scan(`out ${tickets[0].payload}`)).result, 'exited');
  first.child.kill('SIGKILL');
  await first.ended;
  assert.equal(await server.sql(`SELECT count(*) FROM ticketing.checkins WHERE event_id = ${site.event}`), '0');

  const again = new Program(t, url, args);
  assert.equal((await again.scan(tickets[1].payload)).result, 'already_admitted');
  assert.equal((await again.scan('nonsense')).result, 'malformed');
  await until(() => again.errors.includes('are not uploaded'), 'it says that there is no network');
  await web.listen();
  again.child.stdin.end();
  assert.equal(await again.ended, 0);
  assert.deepEqual(
    await server.json(`SELECT json_agg(json_build_array(result, gate, scanned_by, device_id, manifest_id IS NOT NULL) ORDER BY happened_at, result) FROM ticketing.checkins WHERE event_id = ${site.event}`),
    [['admitted'], ['admitted'], ['exited'], ['already_admitted'], ['malformed']].map(([result]) => [result, 'north', HOST, 'left-door', true]),
  );
  const { headers } = web.calls[0];
  assert.deepEqual([headers['content-profile'], headers.authorization], ['ticketing', 'Bearer a-token']);
  const files = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')));
  for (const { payload, token } of tickets) assert.equal(files.join().includes(payload) || files.join().includes(token), false);
});
