// What becomes of a picture on its way to the scanner: reads pictures, treats them, and writes them for zbarimg.
//   node bitmaps.mjs <JOBS       a job is a line "INPUT OUTPUT.pgm STEP..."
// INPUT is a PNG of rsvg-convert, or a text of half blocks. For each job it prints "OUTPUT.pgm WIDTHxHEIGHT SHADES UNIT":
// how many grays there are, and the largest length that all runs of black are multiples of, along rows and columns.
//
// Steps, in the order given:
//   dark, light    a terminal that shows the text: light blocks on black, dark blocks on white, with some of its background
//   zoom=N         every dot becomes N times N
//   threshold      black and white, as the head of a thermal printer knows them
//   paper=N        N white dots around
//   blur           ink that runs: a dot keeps a quarter of itself and gives the rest to its eight neighbours
//   flip=N         N dots, picked once for all runs, change their shade
//   hole=N         a white square in the middle whose side is N per cent of the picture's
import { readFileSync, writeFileSync } from 'node:fs';
import { inflateSync } from 'node:zlib';

const BLACK = 0;
const WHITE = 255;

const steps = {
  dark: (terminal) => frame(map(terminal, (drawn) => (drawn ? WHITE : BLACK)), 4, BLACK),
  light: (terminal) => frame(map(terminal, (drawn) => (drawn ? BLACK : WHITE)), 4, WHITE),
  zoom: ({ width, height, at }, n) => bitmap(width * n, height * n, (x, y) => at(Math.floor(x / n), Math.floor(y / n))),
  threshold: (picture) => map(picture, (shade) => (shade < 128 ? BLACK : WHITE)),
  paper: (picture, n) => frame(picture, n, WHITE),
  blur: ({ width, height, at }) => bitmap(width, height, (x, y) => {
    let sum = 0;
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) sum += (2 - Math.abs(dx)) * (2 - Math.abs(dy)) * at(clamp(x + dx, width), clamp(y + dy, height));
    }
    return Math.round(sum / 16);
  }),
  flip: (picture, n) => {
    const picked = pick(n, picture.width * picture.height);
    return bitmap(picture.width, picture.height, (x, y) => (picked.has(y * picture.width + x) ? WHITE - picture.at(x, y) : picture.at(x, y)));
  },
  hole: ({ width, height, at }, percent) => {
    const within = (i, length) => Math.abs(i + 0.5 - length / 2) * 200 < percent * length;
    return bitmap(width, height, (x, y) => (within(x, width) && within(y, height) ? WHITE : at(x, y)));
  },
};

// A picture: {width, height, dots, at(x, y)}, a byte for each dot.
function bitmap(width, height, shade) {
  const dots = new Uint8Array(width * height);
  const picture = { width, height, dots, at: (x, y) => dots[y * width + x] };
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) dots[y * width + x] = shade(x, y);
  return picture;
}

const map = ({ width, height, at }, change) => bitmap(width, height, (x, y) => change(at(x, y)));

const frame = ({ width, height, at }, n, shade) => bitmap(width + 2 * n, height + 2 * n, (x, y) =>
  (x >= n && y >= n && x < width + n && y < height + n ? at(x - n, y - n) : shade));

const clamp = (i, length) => Math.min(Math.max(i, 0), length - 1);

// So many different numbers below a limit, by a generator that always begins alike.
function pick(count, limit) {
  const picked = new Set();
  for (let seed = 1; picked.size < count;) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    picked.add(Math.floor((seed / 2 ** 32) * limit));
  }
  return picked;
}

// Half blocks: what is drawn is 1, two rows a line.
function readText(text) {
  const lines = text.replace(/\n$/, '').split('\n').map((line) => [...line]);
  const halves = { ' ': [0, 0], '▀': [1, 0], '▄': [0, 1], '█': [1, 1] };
  return bitmap(lines[0].length, 2 * lines.length, (x, y) => halves[lines[y >> 1][x]][y & 1]);
}

// A PNG (ISO/IEC 15948) with 8 bits a channel, RGB or RGBA, not interlaced, as grays.
function readPng(file) {
  const width = file.readUInt32BE(16);
  const height = file.readUInt32BE(20);
  const channels = { '0802000000': 3, '0806000000': 4 }[file.toString('hex', 24, 29)];
  if (channels === undefined) throw new Error('not a PNG as rsvg-convert writes them');
  const parts = [];
  for (let at = 8; at < file.length; at += 12 + file.readUInt32BE(at)) {
    if (file.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(file.subarray(at + 8, at + 8 + file.readUInt32BE(at)));
  }
  const rows = unfilter(inflateSync(Buffer.concat(parts)), channels, channels * width, height);
  return bitmap(width, height, (x, y) => {
    const at = channels * (y * width + x);
    const [red, green, blue, alpha = 255] = rows.subarray(at, at + channels);
    return Math.round(WHITE + ((red + green + blue) / 3 - WHITE) * (alpha / 255));
  });
}

function unfilter(filtered, channels, length, height) {
  const rows = Buffer.alloc(length * height);
  for (let y = 0; y < height; y++) {
    const filter = filtered[y * (length + 1)];
    for (let i = 0; i < length; i++) {
      const left = i < channels ? 0 : rows[y * length + i - channels];
      const up = y === 0 ? 0 : rows[(y - 1) * length + i];
      const corner = i < channels || y === 0 ? 0 : rows[(y - 1) * length + i - channels];
      const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
      rows[y * length + i] = filtered[y * (length + 1) + 1 + i] + predicted;
    }
  }
  return rows;
}

function paeth(left, up, corner) {
  const guess = left + up - corner;
  const [a, b, c] = [left, up, corner].map((value) => Math.abs(guess - value));
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

const divisor = (a, b) => (b === 0 ? a : divisor(b, a % b));

function unit({ width, height, at }) {
  let common = 0;
  const scan = (length, shade) => {
    for (let i = 0, run = 0; i <= length; i++) {
      if (i < length && shade(i) === BLACK) run++;
      else [common, run] = [divisor(common, run), 0];
    }
  };
  for (let y = 0; y < height; y++) scan(width, (x) => at(x, y));
  for (let x = 0; x < width; x++) scan(height, (y) => at(x, y));
  return common;
}

for (const job of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  const [input, output, ...names] = job.trim().split(' ');
  const file = readFileSync(input);
  let picture = file[0] === 0x89 ? readPng(file) : readText(file.toString());
  for (const [name, argument] of names.map((step) => step.split('='))) picture = steps[name](picture, Number(argument));
  const { width, height, dots } = picture;
  writeFileSync(output, Buffer.concat([Buffer.from(`P5 ${width} ${height} 255\n`), dots]));
  console.log(output, `${width}x${height}`, new Set(dots).size, unit(picture));
}
