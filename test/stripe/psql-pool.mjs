// Long-lived psql processes that run one statement at a time and say how it ended.
// After each statement psql is asked to print a tag with its :ERROR and :SQLSTATE, so that one stream carries all.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';

const RESTART_AFTER = [100, 200, 500, 1000, 2000];
const QUEUED_AT_MOST = 10000;
const STOP_WITHIN = 3000;

// What a statement that the server refused throws.
export class SqlError extends Error {
  constructor(sqlstate, message) {
    super(message);
    this.sqlstate = sqlstate;
  }
}

export class PsqlPool {
  #workers = new Set();
  #queue = [];
  #closing = false;
  #failedStarts = 0;

  // `environment` is added to that of each psql; what psql complains of goes to `stderr`.
  constructor(size, command = 'psql', { environment = {}, stderr = 'inherit' } = {}) {
    this.command = command;
    this.options = { env: { ...process.env, ...environment }, stdio: ['pipe', 'pipe', stderr] };
    for (let i = 0; i < size; i++) this.#start();
  }

  // Runs one SQL statement and resolves to what it printed; rejects with a SqlError if the server refused it,
  // with another Error if no answer came.
  query(sql) {
    return new Promise((resolve, reject) => {
      const job = { sql, resolve, reject };
      job.timer = setTimeout(() => {
        const at = this.#queue.indexOf(job);
        if (at !== -1) this.#queue.splice(at, 1)[0].reject(new Error('no connection came free in time'));
      }, QUEUED_AT_MOST);
      this.#queue.push(job);
      this.#dispatch();
    });
  }

  // Lets running statements finish and ends every psql.
  async close() {
    this.#closing = true;
    for (const job of this.#queue.splice(0)) fail(job, 'the pool is closing');
    await Promise.all(Array.from(this.#workers, (worker) => worker.stop()));
  }

  #start() {
    const worker = new Worker(this.command, this.options, {
      onIdle: () => {
        this.#failedStarts = 0;
        this.#dispatch();
      },
      onExit: (wasReady) => {
        this.#workers.delete(worker);
        if (this.#closing) return;
        if (!wasReady && ![...this.#workers].some((other) => other.ready)) {
          for (const job of this.#queue.splice(0)) fail(job, 'no connection to the database');
        }
        const wait = RESTART_AFTER[Math.min(this.#failedStarts++, RESTART_AFTER.length - 1)];
        setTimeout(() => this.#closing || this.#start(), wait).unref();
      },
    });
    this.#workers.add(worker);
  }

  #dispatch() {
    for (const worker of this.#workers) {
      if (this.#queue.length === 0) return;
      if (worker.idle) worker.run(this.#queue.shift());
    }
  }
}

function fail(job, message) {
  clearTimeout(job.timer);
  job.reject(new Error(message));
}

class Worker {
  ready = false;
  #job = null;
  #output = '';
  #tag = randomBytes(12).toString('hex');

  constructor(command, options, { onIdle, onExit }) {
    this.onIdle = onIdle;
    this.child = spawn(command, ['-XAtq', '-v', 'VERBOSITY=terse', '-v', 'ON_ERROR_STOP=0'], options);
    this.child.stdin.on('error', () => {});
    this.child.stdout.setEncoding('utf8');
    this.child.stdout.on('data', (text) => this.#read(text));
    this.exited = new Promise((resolve) => {
      const exited = () => {
        if (this.child === null) return;
        this.child = null;
        if (this.#job !== null) fail(this.#job, 'the connection to the database was lost');
        this.#job = null;
        resolve();
        onExit(this.ready);
      };
      this.child.on('error', exited);
      this.child.on('close', exited);
    });
    // In which a backslash is a backslash, whatever the server's setting.
    this.#send('SET standard_conforming_strings = on;');
  }

  get idle() {
    return this.ready && this.#job === null && this.child !== null;
  }

  run(job) {
    clearTimeout(job.timer);
    this.#job = job;
    this.#send(`${job.sql};`);
  }

  async stop() {
    if (this.child === null) return;
    this.ready = false;
    this.child.stdin.end();
    const timer = setTimeout(() => this.child?.kill('SIGKILL'), STOP_WITHIN);
    await this.exited;
    clearTimeout(timer);
  }

  #send(sql) {
    const tag = this.#tag;
    this.child.stdin.write(
      `${sql}\n\\echo ${tag} :ERROR :SQLSTATE\n\\if :ERROR\n\\echo :LAST_ERROR_MESSAGE\n\\endif\n\\echo ${tag} end\n`,
    );
  }

  // Output is: what the statement printed, 'tag ERROR SQLSTATE', the error's message if any, 'tag end'.
  #read(text) {
    this.#output += text;
    const tail = `${this.#tag} end\n`;
    if (!this.#output.endsWith(tail)) return;
    const [printed, rest] = this.#output.slice(0, -tail.length).split(`${this.#tag} `);
    this.#output = '';
    const [verdict, ...message] = rest.split('\n');
    const [error, sqlstate] = verdict.split(' ');
    const job = this.#job;
    this.#job = null;
    if (job === null) this.ready = true;
    else if (error === 'true') job.reject(new SqlError(sqlstate, message.join('\n').trim()));
    else job.resolve(printed.replace(/\n$/, ''));
    this.onIdle();
  }
}
