// Looks for client secrets and ephemeral keys in all that the server keeps: tables, dump, files, WAL, logs.
// The hand-off's own rows and files are the one place where they may be.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOM = { maxBuffer: 1024 * 1024 * 64 };

// As text, and as hex digits, which is how psql and dumps show bytes.
const PATTERNS = [/(pi|seti|cs)_[A-Za-z0-9_]+_secret_[A-Za-z0-9]{10}/, /ek_(test|live)_[A-Za-z0-9]{20}/];
const hex = (text) => Buffer.from(text).toString('hex');
const EXTENDED = `${PATTERNS.map((pattern) => pattern.source).join('|')}|${hex('_secret_')}|${hex('ek_test_')}`;

export const isRecognised = (secret) => PATTERNS.some((pattern) => pattern.test(secret));

// The matches of a pattern in what a shell command prints, the first few.
const within = async (command, pattern) =>
  (await run('bash', ['-c', `${command} | { grep -aoE -m 5 -- "$1" || [ $? -eq 1 ]; }`, 'bash', pattern], ROOM)).stdout.split('\n').filter(Boolean);

// The files below a folder that match, without those named.
async function filesWith(folder, pattern, except = []) {
  const excluded = except.map((path) => `! -path '${folder}/${path}' ! -path '${folder}/${path}[._]*'`).join(' ');
  const command = `find ${folder} -type f ${excluded} -print0 | { LC_ALL=C xargs -0 grep -alE -- "$1" || [ $? -eq 123 ]; }`;
  return (await run('bash', ['-c', command, 'bash', pattern], ROOM)).stdout.split('\n').filter(Boolean);
}

const DUMP = `pg_dump --no-password | awk '/^COPY ticketing.stripe_handoff /{skip=1} !skip{print} /^\\\\\\.$/{skip=0}'`;

// Each place with the secrets in it; and, so that an empty answer means something, with what is known to be there.
// `known` matches what the engine keeps of every order in tables, dump and WAL.
export async function lookEverywhere({ sql, slot, relayLog, known }) {
  await sql('CHECKPOINT');
  const handoffFiles = (
    await sql(`
      SELECT pg_relation_filepath(c.oid) FROM pg_class t, pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
      WHERE t.oid = 'ticketing.stripe_handoff'::regclass AND t.reltoastrelid IN (c.oid, i.indrelid) OR t.oid = 'ticketing.stripe_handoff'::regclass AND t.oid IN (c.oid, i.indrelid)`)
  ).split('\n');
  const data = process.env.PGDATA;
  const decoded = `psql -XqAt -c "SELECT data FROM pg_logical_slot_peek_changes('${slot}', NULL, NULL)"`;
  const key = `sk_test_local|${process.env.STRIPE_WEBHOOK_SECRET}`;
  return {
    inHandoff: (await within('pg_dump --no-password --table=ticketing.stripe_handoff', EXTENDED)).length,
    found: {
      'the dump of every table but the hand-off': await within(DUMP, EXTENDED),
      'the decoded rows of the WAL': await within(decoded, EXTENDED),
      "files of the server, its WAL and log among them, but the hand-off's own": await filesWith(data, `${EXTENDED}|${key}`, handoffFiles),
      "the relay's log": relayLog.filter((line) => new RegExp(`${EXTENDED}|${key}`).test(line)),
    },
    known: {
      dump: (await within(DUMP, known)).length,
      decoded: (await within(decoded, known)).length,
      wal: (await filesWith(`${data}/pg_wal`, known)).length,
      tables: (await filesWith(`${data}/base`, known)).length,
    },
  };
}
