// psql as a child process; the cluster is that of the PG variables.
import { spawn } from 'node:child_process';

const OPTIONS = ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1'];

// A psql that stays: one session, whose transactions and locks last.
export class Session {
  #child = spawn('psql', OPTIONS, { stdio: ['pipe', 'pipe', 'pipe'] });
  #output = '';
  #errors = '';
  #waiting = null;
  #count = 0;

  constructor() {
    this.#child.stdout.setEncoding('utf8').on('data', (chunk) => {
      this.#output += chunk;
      this.#look();
    });
    this.#child.stderr.on('data', (chunk) => (this.#errors += chunk));
    this.#child.stdin.on('error', () => {});
    this.#child.on('close', () => {
      this.#waiting?.reject(new Error(`psql ended: ${this.#errors}`));
      this.#waiting = null;
    });
  }

  // Runs SQL and returns what it prints; an error ends the session.
  query(text) {
    const mark = `-- done ${++this.#count}`;
    return new Promise((resolve, reject) => {
      this.#waiting = { mark: `${mark}\n`, resolve, reject };
      this.#child.stdin.write(`${text};\n\\echo '${mark}'\n`);
    });
  }

  #look() {
    if (this.#waiting === null || !this.#output.endsWith(this.#waiting.mark)) return;
    const { mark, resolve } = this.#waiting;
    const answer = this.#output.slice(0, -mark.length).trimEnd();
    this.#waiting = null;
    this.#output = '';
    resolve(answer);
  }

  close() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return Promise.resolve();
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    return closed;
  }
}

// Runs SQL in a session of its own and returns what it prints.
export async function sql(text) {
  const session = new Session();
  try {
    return await session.query(text);
  } finally {
    await session.close();
  }
}

// Runs a query of one JSON value and returns it.
export const json = async (text) => JSON.parse(await sql(text));

// Runs a query and returns its rows.
export const rows = (text) => json(`SELECT coalesce(json_agg(to_json(r)), '[]') FROM (${text}) r`);

// A value as an SQL literal.
export const quote = (value) => (value === null ? 'NULL' : `'${String(value).replaceAll("'", "''")}'`);
