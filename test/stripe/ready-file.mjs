// How a test's server says that it is ready: a JSON file that appears whole, and goes when the server does.
import { rename, rm, writeFile } from 'node:fs/promises';

// Writes `facts` to `path`; the file is there whole or not at all, and for its owner only.
export async function announce(path, facts) {
  const draft = `${path}.${process.pid}`;
  await writeFile(draft, JSON.stringify(facts, null, 2) + '\n', { mode: 0o600 });
  await rename(draft, path);
}

// On SIGTERM or SIGINT: takes the file away, runs `stop` and ends the process.
export function untilTerminated(path, stop) {
  let stopping = false;
  const end = async () => {
    if (stopping) return;
    stopping = true;
    await rm(path, { force: true });
    await stop();
    process.exit(0);
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}
