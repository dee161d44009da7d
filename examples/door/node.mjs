// A door on the command line: reads codes from standard input, one a line, as scanners that type what they read send
// them, and prints one line of JSON for each. A line `out CODE` is a scan on the way out.
//   DOOR_URL=http://localhost:3000 DOOR_TOKEN=… node node.mjs EVENT DEVICE OPERATOR FOLDER [GATE]
// FOLDER keeps the manifest and what is not uploaded. Scans go on without a network.
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Door } from './door.mjs';

const SYNC_EVERY = 10000; // ms
const CALL_AT_MOST = 30000;

// A file for each key, which is on the disk when `set` resolves. One process at a time.
function fileStorage(folder) {
  const file = (key) => join(folder, encodeURIComponent(key));
  const sync = async (path, flags) => {
    const handle = await open(path, flags);
    await handle.sync();
    await handle.close();
  };
  return {
    get: async (key) => {
      try {
        return JSON.parse(await readFile(file(key), 'utf8'));
      } catch (error) {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      }
    },
    set: async (key, value) => {
      const made = `${file(key)}.new`;
      await writeFile(made, JSON.stringify(value), { mode: 0o600 });
      await sync(made, 'r+');
      await rename(made, file(key));
      await sync(folder, 'r');
    },
    delete: (key) => rm(file(key), { force: true }),
  };
}

// PostgREST's way to call a function of the schema ticketing. An edge function in front of it would look the same.
function postgrest(url, token) {
  return async (name, args) => {
    const response = await fetch(`${url}/rpc/${name}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-profile': 'ticketing', ...(token && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify(args),
      signal: AbortSignal.timeout(CALL_AT_MOST),
    });
    if (!response.ok) throw new Error(`${name}: HTTP ${response.status} ${await response.text()}`);
    return response.json();
  };
}

const [event, deviceId, operator, folder, gate = null] = process.argv.slice(2);
if (folder === undefined || !process.env.DOOR_URL) {
  console.error('usage: DOOR_URL=… DOOR_TOKEN=… node node.mjs EVENT DEVICE OPERATOR FOLDER [GATE]');
  process.exit(2);
}
await mkdir(folder, { recursive: true, mode: 0o700 });
const door = new Door({
  eventId: Number(event),
  deviceId,
  operator,
  rpc: postgrest(process.env.DOOR_URL, process.env.DOOR_TOKEN),
  storage: fileStorage(folder),
});

// First what we know, then what we are to know. Without a network neither, and the door goes on.
async function sync() {
  try {
    const { conflicts, errors } = await door.upload();
    for (const conflict of [...conflicts, ...errors]) console.error(JSON.stringify(conflict));
    await door.refresh();
  } catch (error) {
    console.error(error.message);
  }
}

const { manifest_id } = await door.status();
if (manifest_id === null) await sync();
const timer = setInterval(sync, SYNC_EVERY);
if (manifest_id !== null) sync(); // nobody waits for a network that is not there
for await (const line of createInterface({ input: process.stdin })) {
  const [, out, code] = /^(out )?(.*)$/.exec(line);
  if (code === '') continue;
  try {
    console.log(JSON.stringify(await door.scan(code, { gate, direction: out ? 'out' : 'in' })));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
clearInterval(timer);
await sync();
