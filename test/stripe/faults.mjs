// Faults on order: which of the next API calls go wrong, and how.
//   delay        the answer waits `ms` (the idempotency key is in use meanwhile)
//   hang         nothing is executed and nothing is answered
//   drop_before  the connection is cut before anything is executed
//   drop_after   executed, then the connection is cut without an answer
//   status       answered with `status`; nothing is executed unless `execute`
//   truncate     executed; the answer breaks off halfway
import { invalid } from './errors.mjs';

const KINDS = ['delay', 'hang', 'drop_before', 'drop_after', 'status', 'truncate'];
const MEMBERS = ['match', 'kind', 'ms', 'status', 'body', 'headers', 'execute', 'store', 'cut', 'times'];

export class Faults {
  #list = [];

  // Orders a fault; see README.md for its members.
  add(spec) {
    const fault = { times: 1, ...spec };
    for (const name in spec) if (!MEMBERS.includes(name)) throw wrong(`unknown member: ${name}`);
    if (!KINDS.includes(fault.kind)) throw wrong(`kind must be one of ${KINDS.join(', ')}`);
    if (!Number.isInteger(fault.times) || fault.times < 1) throw wrong('times must be a positive integer');
    if (fault.kind === 'delay' && !(fault.ms >= 0)) throw wrong('a delay needs ms');
    if (fault.kind === 'status' && !(fault.status >= 200 && fault.status <= 599)) throw wrong('status must be 200 to 599');
    if (!['stream', 'connection', undefined].includes(fault.cut)) throw wrong('cut must be stream or connection');
    fault.fits = matcher(fault.match ?? {});
    this.#list.push(fault);
    return describe(fault);
  }

  // The fault for a call, if one is due; it is used up by this.
  take(method, path, key = null) {
    if (this.#list.length === 0) return null;
    const at = this.#list.findIndex((fault) => fault.fits(method, path, key));
    if (at === -1) return null;
    const fault = this.#list[at];
    fault.times -= 1;
    if (fault.times === 0) this.#list.splice(at, 1);
    return fault;
  }

  list() {
    return this.#list.map(describe);
  }

  clear() {
    this.#list = [];
  }
}

const describe = ({ fits, ...spec }) => spec;

// {method?, path?, idempotency_key?}: the path is a prefix, or a regular expression if it begins with '^'.
function matcher({ method, path = '/', idempotency_key: key, ...rest }) {
  if (Object.keys(rest).length > 0) throw wrong(`unknown member of match: ${Object.keys(rest)[0]}`);
  if (typeof path !== 'string') throw wrong('match.path must be a string');
  let fitsPath = (text) => text.startsWith(path);
  if (path.startsWith('^')) {
    let pattern;
    try {
      pattern = new RegExp(path);
    } catch (error) {
      throw wrong(error.message);
    }
    fitsPath = (text) => pattern.test(text);
  }
  const wanted = method?.toUpperCase();
  return (actual, text, givenKey) => (wanted === undefined || wanted === actual) && (key === undefined || key === givenKey) && fitsPath(text);
}

const wrong = (why) => invalid(`Not a fault: ${why}.`);
