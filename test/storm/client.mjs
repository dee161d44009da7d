// A client of the database: where he gets no answer, he asks again.
import { pause } from '../relay/support/until.mjs';

// What a client's request is refused for would be refused again.
const isRefusal = ({ sqlstate }) => /^PT/.test(sqlstate ?? '');

export class Client {
  repeated = 0;

  // `pool` runs his statements. `isFinal` says of an error that asking again does not help, `after` how long he waits (ms).
  constructor(pool, { isFinal = isRefusal, after = () => 100 } = {}) {
    Object.assign(this, { pool, isFinal, after });
  }

  // The JSON that a statement answers; it is sent again until it does.
  async ask(statement) {
    for (;;) {
      try {
        return JSON.parse(await this.pool.query(statement));
      } catch (error) {
        if (this.isFinal(error)) throw error;
        this.repeated += 1;
        await pause(this.after());
      }
    }
  }
}
