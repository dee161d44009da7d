// Random nested parameters, the same for the same seed.

// Texts that an encoder may get wrong: reserved and unreserved characters, brackets, escapes, blanks, UTF-8 of two to four bytes.
const PIECES = [
  ..."!\"#$%&'()*+,-./0123456789:;<=>?@AZ[\\]^_`az{|}~ ",
  '\t', '\n', '\r', '\u0001', '\u007f', '\u0085', '\u00a0', 'é', 'ß', '€', '한', '\u2028', '\ufeff', '\uffff', '😀', '𝄞', 'e\u0301',
  '%20', '%5B', '%', '&a=b', '[]', '[0]', '__proto__', 'constructor', 'null', 'true',
];
const NAMES = ['amount', 'currency', 'metadata', 'line_items', 'price_data', 'expand', 'automatic_payment_methods', 'destination', 'a', 'Z'];
const MAX_DEPTH = 7;

// mulberry32: uniform numbers in [0, 1).
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function* parameters(next) {
  const below = (n) => Math.floor(next() * n);
  const one = (list) => list[below(list.length)];
  const many = (most, make) => Array.from({ length: below(most + 1) }, make);
  const text = () => many(12, () => one(PIECES)).join('');
  // As JavaScript and numeric write them alike: without an exponent.
  const number = () => one([() => 0, () => below(100000), () => -below(100000), () => below(2 ** 31) * 2 ** 21, () => (below(2000001) - 1000000) / 100, () => below(1000) / 100000])();
  const scalar = () => one([text, text, number, () => true, () => false, () => null, () => ''])();
  // Members named by numbers come first in JavaScript: an object has only such names, or none.
  const name = (numbered) => {
    if (numbered) return String(below(1200));
    const made = next() < 0.5 ? one(NAMES) : text();
    // The library copies the outermost object, which loses a member called __proto__.
    return /^\d+$|^__proto__$/.test(made) ? `n${made}` : made;
  };
  const object = (depth) => {
    const numbered = next() < 0.1;
    return Object.fromEntries(many(depth === 0 ? 8 : 4, () => [name(numbered), value(depth + 1)]));
  };
  const value = (depth) => {
    const kind = depth === MAX_DEPTH ? 0 : next();
    if (kind < 0.55) return scalar();
    return kind < 0.75 ? many(4, () => value(depth + 1)) : object(depth);
  };
  for (;;) yield object(0);
}
