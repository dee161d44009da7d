// The faults, as the matrix tries them:
//   name   its column
//   atStripe(request)  the local Stripe's fault for that one call
//   happen(stage, cells)  what else goes wrong; the cells have not been started
//   crash  the server crashes: what is unlogged is lost
// stage is {shop, stripe, relay, restartRelay(), start(cell)}.
import { Session, quote } from '../relay/support/database.mjs';
import { killServer, restartServer } from '../relay/support/server.mjs';
import { until } from '../relay/support/until.mjs';

const startAll = async (stage, cells) => {
  for (const cell of cells) await stage.start(cell);
};

const spec = (kind, rest) => () => ({ kind, ...rest });

const named = (cells) => cells.map(({ request }) => quote(request.id)).join(', ');

// Whether the requests of all cells are in a state.
const allAre = (stage, cells, state) =>
  until(
    async () => (await stage.shop.sql(`SELECT count(*) FROM ticketing.stripe_requests WHERE id IN (${named(cells)}) AND state = '${state}'`)) === String(cells.length),
    `all are ${state}`,
  );

const onTheWire = (stage, cells) => until(() => cells.every((cell) => stage.callsOf(cell).length > 0), 'all calls are on the wire');

// Whether a statement of the relay waits for a lock.
const relayWaits = (stage) =>
  until(() => stage.shop.sql(`SELECT pid FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay' AND wait_event_type = 'Lock'`), 'the relay waits for a lock');

// Stops the relay when an answer is stored, before it hears that it was.
async function stopAfterStore(stage, request) {
  const locker = new Session();
  await locker.query(`BEGIN; SELECT FROM ticketing.stripe_requests WHERE id = ${quote(request.id)} FOR UPDATE`);
  await relayWaits(stage);
  stage.relay.child.kill('SIGSTOP');
  await locker.query('COMMIT');
  await locker.close();
  await allAre(stage, [{ request }], 'done');
  await stage.relay.kill('SIGKILL');
}

// The rows are leased and the relay has not heard of it: it is stopped while its claim waits for a lock.
async function killBeforeSend(stage, cells) {
  const [first, waiting] = [[], []];
  for (const cell of cells) (cell.call.waits ? waiting : first).push(cell);
  for (const group of [first, ...waiting.map((cell) => [cell])]) {
    await stage.relay.kill('SIGKILL');
    await startAll(stage, group);
    await killClaiming(stage, group);
  }
}

async function killClaiming(stage, cells) {
  // What the one that waits waits for is done first.
  if (cells[0]?.call.waits) {
    const request = await stage.requestBefore(cells[0]);
    stage.stripe.app.faults.add({ kind: 'delay', ms: 1000, match: stage.matching(request) });
    await stage.restartRelay();
    await onTheWire(stage, [{ request }]);
    await stopAfterStore(stage, request);
  }
  const locker = new Session();
  await locker.query('BEGIN; LOCK TABLE ticketing.stripe_requests IN ACCESS EXCLUSIVE MODE');
  await stage.restartRelay();
  await relayWaits(stage);
  stage.relay.child.kill('SIGSTOP');
  await locker.query('COMMIT');
  await locker.close();
  await allAre(stage, cells, 'leased');
  for (const cell of cells) if (stage.callsOf(cell).length > 0) throw new Error(`${cell.call.name} was sent`);
  await stage.relay.kill('SIGKILL');
  await stage.restartRelay();
}

// Stripe executes the calls, and nobody is there to hear its answers.
async function killAfterSend(stage, cells) {
  await startAll(stage, cells);
  await onTheWire(stage, cells);
  await stage.relay.kill('SIGKILL');
  await allAre(stage, cells, 'leased');
  await stage.restartRelay();
}

// The answer is stored, and the relay has not heard that it was.
async function killAfterStore(stage, cells) {
  for (const cell of cells) {
    await stage.start(cell);
    await onTheWire(stage, [cell]);
    await stopAfterStore(stage, cell.request);
    await stage.restartRelay();
  }
}

async function crashServer(stage) {
  killServer();
  await stage.shop.forgetSession();
  await restartServer();
}

async function crashInFlight(stage, cells) {
  await startAll(stage, cells);
  await onTheWire(stage, cells);
  await crashServer(stage);
}

async function crashAfterStore(stage, cells) {
  await startAll(stage, cells);
  await allAre(stage, cells, 'done');
  await crashServer(stage);
}

// Those of the first group happen side by side, each of the others by itself.
export const faults = [
  { name: 'none' },
  { name: 'drop before', atStripe: spec('drop_before') },
  { name: 'drop after', atStripe: spec('drop_after') },
  { name: 'hang', atStripe: spec('hang') },
  { name: '500', atStripe: spec('status', { status: 500 }) },
  { name: '500 after', atStripe: spec('status', { status: 500, execute: true, store: false }) },
  { name: '500 replayed', atStripe: spec('status', { status: 500, store: true }) },
  { name: '409', atStripe: spec('status', { status: 409 }) },
  { name: '429', atStripe: spec('status', { status: 429 }) },
  { name: 'truncated', atStripe: spec('truncate') },
  { name: 'relay killed before send', happen: killBeforeSend },
  { name: 'relay killed after send', atStripe: spec('delay', { ms: 1500 }), happen: killAfterSend },
  { name: 'relay killed after store', atStripe: spec('delay', { ms: 1000 }), happen: killAfterStore },
  { name: 'database killed', atStripe: spec('delay', { ms: 1000 }), happen: crashInFlight, crash: true },
  { name: 'database killed after store', happen: crashAfterStore, crash: true },
];

export { startAll };
