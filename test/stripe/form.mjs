// Form decoding: `a[b][0]=x` becomes {a: {b: {0: 'x'}}}, values are strings.
// Whether numbered members make a list is for the reader to say (params.mjs): `metadata[0]` is not one.
import { invalid } from './errors.mjs';

const MAX_DEPTH = 8;

const malformed = (text) => invalid(`Invalid request: malformed form data near '${text.slice(0, 80)}'.`);

function unescape(text, pair) {
  if (text.includes('+')) text = text.replaceAll('+', ' ');
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    throw malformed(pair);
  }
}

// 'a[b][]' to ['a', 'b', '']
function keyParts(key, pair) {
  const bracket = key.indexOf('[');
  if (bracket === -1 && key !== '' && !key.includes(']')) return [key];
  if (bracket < 1 || !key.endsWith(']')) throw malformed(pair);
  const parts = [key.slice(0, bracket), ...key.slice(bracket + 1, -1).split('][')];
  if (parts.length > MAX_DEPTH || parts.some((part) => /[[\]]/.test(part))) throw malformed(pair);
  return parts;
}

// The name a member gets. `[]` appends; `a[][b]=…&a[][c]=…` fills one element until a member repeats.
function memberName(node, part, next) {
  if (part !== '') return part;
  const length = Object.keys(node).length;
  const last = node[length - 1];
  return String(typeof last === 'object' && next && !(next in last) ? length - 1 : length);
}

export function decodeForm(text) {
  // No prototype: a client may name a parameter `constructor`.
  const form = Object.create(null);
  if (text === '') return form;
  for (const pair of text.split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const key = unescape(equals === -1 ? pair : pair.slice(0, equals), pair);
    const value = equals === -1 ? '' : unescape(pair.slice(equals + 1), pair);
    const parts = keyParts(key, pair);
    let node = form;
    for (let i = 0; i < parts.length - 1; i++) {
      const name = memberName(node, parts[i], parts[i + 1]);
      node = node[name] ??= Object.create(null);
      if (typeof node === 'string') throw malformed(pair);
    }
    const name = memberName(node, parts[parts.length - 1]);
    if (typeof node[name] === 'object') throw malformed(pair);
    node[name] = value;
  }
  return form;
}
