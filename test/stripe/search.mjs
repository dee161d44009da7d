// Stripe's search query language: `email:'a@b.c' AND -metadata['order_id']:null AND created>1700000000`.
// Clauses are joined by AND or by OR, never both; `:` is equal (case does not matter), `~` contains, `-` is not.
import { invalid } from './errors.mjs';
import { integer, required, string } from './params.mjs';

const CLAUSE = /\s*(-?)([a-z_]+)(?:\[(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\])?\s*(:|~|>=|<=|>|<)\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s"']+))/y;
const JOINT = /\s+(and|or)\s+(?=\S)/iy;
const MOST_CLAUSES = 10;

const plain = (quoted) => quoted?.replace(/\\(.)/g, '$1');
const broken = (why) => invalid(`We were unable to parse your search query: ${why}`, { param: 'query' });

// The test that `query` asks for; `fields` is {name: 'string' | 'token' | 'number' | 'metadata'}.
export function compile(query, fields) {
  const tests = [];
  let joint = null;
  let at = 0;
  for (;;) {
    CLAUSE.lastIndex = at;
    const found = CLAUSE.exec(query);
    if (found === null) throw broken(`near '${query.slice(at, at + 20)}'.`);
    tests.push(clause(found, fields));
    at = CLAUSE.lastIndex;
    if (query.slice(at).trim() === '') break;
    JOINT.lastIndex = at;
    const next = JOINT.exec(query);
    if (next === null) throw broken(`near '${query.slice(at, at + 20)}'.`);
    const word = next[1].toUpperCase();
    if (joint !== null && joint !== word) throw broken('AND and OR cannot be combined.');
    joint = word;
    at = JOINT.lastIndex;
  }
  if (tests.length > MOST_CLAUSES) throw broken(`at most ${MOST_CLAUSES} clauses.`);
  return joint === 'OR' ? (object) => tests.some((test) => test(object)) : (object) => tests.every((test) => test(object));
}

function clause([, not, name, key1, key2, operator, value1, value2, bare], fields) {
  const type = Object.hasOwn(fields, name) ? fields[name] : null;
  const key = plain(key1 ?? key2);
  if (type === null || (type === 'metadata') !== (key !== undefined)) throw invalid(`Field \`${name}\` is an unsupported search field.`, { param: 'query' });
  const read = key === undefined ? (object) => object[name] : (object) => object.metadata[key];
  const test = comparison(type, operator, plain(value1 ?? value2), bare, name);
  return not === '' ? (object) => test(read(object)) : (object) => !test(read(object));
}

function comparison(type, operator, quoted, bare, name) {
  if (type === 'number') {
    const number = Number(quoted ?? bare);
    if (!Number.isFinite(number)) throw broken(`\`${name}\` needs a number.`);
    const compare = { ':': (a) => a === number, '>': (a) => a > number, '<': (a) => a < number, '>=': (a) => a >= number, '<=': (a) => a <= number };
    if (!Object.hasOwn(compare, operator)) throw broken(`\`${name}\` cannot be searched by \`${operator}\`.`);
    return compare[operator];
  }
  if (bare?.toLowerCase() === 'null' && operator === ':') return (value) => value === undefined || value === null;
  if (quoted === undefined) throw broken(`the value of \`${name}\` must be quoted.`);
  const wanted = quoted.toLowerCase();
  if (operator === ':') return (value) => value?.toLowerCase() === wanted;
  if (operator !== '~' || type === 'token') throw broken(`\`${name}\` cannot be searched by \`${operator}\`.`);
  if (wanted.length < 3) throw broken('a substring has at least 3 characters.');
  return (value) => value?.toLowerCase().includes(wanted) ?? false;
}

// The endpoint that searches a collection. As at Stripe, what is new is not found at once (app.searchDelay, in seconds).
export function searchEndpoint(collection, path, fields) {
  return {
    method: 'GET',
    path,
    params: { limit: integer({ min: 1, max: 100 }), page: string(), query: required(string()) },
    run(app, { params }) {
      const fits = compile(params.query, fields);
      const until = app.clock.seconds() - app.searchDelay;
      const { data, has_more: more } = app.store[collection].page(
        { limit: params.limit, starting_after: cursor(app.store[collection], params.page) },
        (object) => object.created <= until && fits(object),
      );
      const next = more ? Buffer.from(data.at(-1).id).toString('base64url') : null;
      return { object: 'search_result', data, has_more: more, next_page: next, url: path };
    },
  };
}

function cursor(collection, page) {
  if (page === undefined) return undefined;
  const id = Buffer.from(page, 'base64url').toString();
  if (collection.get(id) === undefined) throw invalid('Invalid page token.', { param: 'page' });
  return id;
}
