// Every kind of call meets every fault; see run. For each cell a fresh user: in the end there must be at Stripe and here
// what there is where nothing went wrong.
//   node test/faults/matrix.mjs [--only CALL,...] [--tap]
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { quote } from '../relay/support/database.mjs';
import { IMPATIENT, Relay, localStripe } from '../relay/support/relay.mjs';
import { calls } from './calls.mjs';
import { faults, startAll } from './faults.mjs';
import { Shop } from './shop.mjs';

const { values: options } = parseArgs({ options: { only: { type: 'string' }, tap: { type: 'boolean' } } });
const only = options.only?.split(',');
const chosen = calls.filter(({ name }) => only === undefined || only.includes(name));

// What the faults act on.
class Stage {
  relay = null;

  constructor(stripe, shop) {
    this.stripe = stripe;
    this.shop = shop;
  }

  async restartRelay() {
    this.relay = new Relay(this.stripe, IMPATIENT);
    await this.relay.until('ready');
  }

  // Enqueues the cell's call; when it is committed, its fault is in place.
  async start(cell) {
    const { shop, stripe } = this;
    await shop.sql('BEGIN');
    const answer = await shop.json(await cell.call.start(shop, cell));
    cell.lastRequest = answer?.stripe_request_id;
    cell.order ??= answer;
    cell.request = await shop.json(`
      SELECT to_json(r) FROM ticketing.stripe_requests r
      WHERE kind = ${quote(cell.call.name)} AND state = 'ready' AND attempts = 0 AND created_at <= ticketing.clock()
        AND (user_id = ${quote(cell.user)} OR order_id = ${quote(cell.order?.order_id ?? null)}) ORDER BY seq DESC LIMIT 1`);
    if (cell.request === null) throw new Error(`no ${cell.call.name} was enqueued`);
    if (cell.fault.atStripe) stripe.app.faults.add({ ...cell.fault.atStripe(), match: this.matching(cell.request) });
    await shop.sql('COMMIT');
  }

  // Matches the one call: a POST by its key, others by their path, which no other cell has.
  matching({ method, path, idempotency_key: key }) {
    return method === 'POST' ? { method, idempotency_key: key } : { method, path: `^${path.replaceAll(/[^\w/]/g, '\\$&')}$` };
  }

  // The request that the cell's waits for.
  requestBefore = ({ request }) => this.shop.json(`SELECT to_json(r) FROM ticketing.stripe_requests r WHERE id = ${quote(request.waits_for)}`);

  // The calls that Stripe has seen of the cell's request.
  callsOf({ request }) {
    return this.stripe.app.journal.list().filter(
      ({ method, path, idempotency_key: key }) => method === request.method && path === request.path && (method !== 'POST' || key === request.idempotency_key),
    );
  }
}

const stripe = await localStripe();
const shop = new Shop(stripe);
const stage = new Stage(stripe, shop);
const began = performance.now();

const cells = chosen.flatMap((call) =>
  faults.map((fault) => ({ call, fault, user: `${call.name}, ${fault.name}`, order: null, request: null, wrong: [] })),
);
const of = (fault) => cells.filter((cell) => cell.fault === fault);

// Lets a group of cells happen, and looks at each when all have settled.
async function happen(group, act) {
  const failed = (error) => {
    for (const cell of group) cell.wrong.push(`could not be tried: ${error.message}`);
  };
  try {
    for (const cell of group) await cell.call.prepare?.(shop, cell);
    await act();
  } catch (error) {
    await shop.forgetSession();
    failed(error);
    // The next group begins in order.
    stripe.app.faults.clear();
    await stage.relay.kill('SIGKILL');
    await stage.restartRelay();
    return;
  }
  const stuck = await shop.settled(group);
  for (const cell of group) {
    if (stuck[cell.user]) cell.wrong.push(`stuck: ${stuck[cell.user]}`);
    await judge(cell);
  }
}

async function judge(cell) {
  const { call, fault, wrong } = cell;
  if (fault.atStripe && !stage.callsOf(cell).some(({ fault: met }) => met !== null)) wrong.push('the fault did not happen');
  const objects = shop.objects(cell);
  if (!isDeepStrictEqual(objects, call.objects)) wrong.push(`at Stripe there is ${JSON.stringify(objects)}, not ${JSON.stringify(call.objects)}`);
  cell.effects = await shop.effects(cell);
  const faultless = cells.find((other) => other.call === call && other.fault.name === 'none').effects;
  for (const name in cell.effects) {
    if (!isDeepStrictEqual(cell.effects[name], faultless[name])) wrong.push(`${name}: ${JSON.stringify(cell.effects[name])}, not ${JSON.stringify(faultless[name])}`);
  }
  for (const [kind, states] of Object.entries(cell.effects.requests ?? {})) {
    if (!/^done(, done)*$/.test(states) && !call.later?.includes(kind)) wrong.push(`${kind} is ${states}`);
  }
  try {
    for (const [what, is] of await call.here(shop, cell, fault.crash === true)) if (!is) wrong.push(`not so: ${what}`);
  } catch (error) {
    wrong.push(error.message);
    await shop.forgetSession();
  }
}

const findings = [];
try {
  await shop.open();
  await stage.restartRelay();
  // The faultless ones first: the others are compared with them.
  const [none, ...others] = faults;
  await happen(of(none), () => startAll(stage, of(none)));
  const beside = others.filter((fault) => fault.happen === undefined).flatMap(of);
  await happen(beside, () => startAll(stage, beside));
  for (const fault of others) if (fault.happen !== undefined) await happen(of(fault), () => fault.happen(stage, of(fault)));
  findings.push(...(await shop.json(`SELECT coalesce(json_agg(to_json(c)), '[]') FROM ticketing.check_invariants() c`)));
} finally {
  await stage.relay?.kill('SIGKILL');
  await shop.close();
  await stripe.stop();
}

report();

function report() {
  const wide = Math.max(...chosen.map(({ name }) => name.length));
  const mark = (cell) => (cell.wrong.length === 0 ? 'ok' : 'WRONG');
  const lines = [];
  // Names of columns of more than one word stand below each other.
  const heads = faults.map(({ name }) => name.split(' '));
  const widths = heads.map((words) => Math.max(5, ...words.map((word) => word.length)));
  for (let i = 0; i < Math.max(...heads.map((words) => words.length)); i++) {
    lines.push(' '.repeat(wide) + heads.map((words, n) => `  ${(words[i] ?? '').padEnd(widths[n])}`).join(''));
  }
  for (const call of chosen) {
    lines.push(call.name.padEnd(wide) + faults.map((fault, n) => `  ${mark(cells.find((cell) => cell.call === call && cell.fault === fault)).padEnd(widths[n])}`).join(''));
  }
  const wrong = cells.filter((cell) => cell.wrong.length > 0);
  const say = (line) => console.log(options.tap ? `# ${line}`.trimEnd() : line.trimEnd());
  lines.forEach(say);
  let number = 0;
  const test = (name, problems) => {
    if (options.tap) console.log(`${problems.length === 0 ? 'ok' : 'not ok'} ${++number} - ${name}`);
    else if (problems.length > 0) console.log(`${name}:`);
    for (const problem of problems) console.log(options.tap ? `#   ${problem}` : `  ${problem}`);
  };
  for (const cell of cells) test(cell.user, cell.wrong);
  test('check_invariants finds nothing', findings.map(({ check_name: check, entity, detail }) => `${check} ${entity}: ${detail}`));
  say(`${cells.length} cells, ${wrong.length} wrong, ${((performance.now() - began) / 1000).toFixed(0)} s`);
  if (options.tap) console.log(`1..${number}`);
  process.exitCode = wrong.length + findings.length > 0 ? 1 : 0;
}
