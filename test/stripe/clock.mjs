// Time. Whatever stamps an object or waits for a date asks here and nowhere else, so that moving this clock moves them all.
//   now = real time + (real time − anchor) · (rate − 1) + offset
// which is how the engine's dvnt_ticketing.test_clock_* move its own; there the anchor is the server's start.
import { performance } from 'node:perf_hooks';
import { invalid } from './errors.mjs';

// What setTimeout takes at most.
const LONGEST_WAIT = 2 ** 31 - 1;
const MEMBERS = ['advance', 'anchor', 'now', 'offset', 'rate'];

export class Clock {
  #rate = 1;
  #anchor = 0;
  #offset = 0;
  // A heap of {due, order, action}: the earliest first, of equal ones the older.
  #waiting = [];
  #order = 0;
  #timer = null;
  // The time at which an action is done: its own, however late its turn comes.
  #doing = null;

  #shift(real) {
    return this.#rate === 1 ? real + this.#offset : real + (real - this.#anchor) * (this.#rate - 1) + this.#offset;
  }

  millis() {
    if (this.#doing !== null) return this.#doing;
    return Math.floor(this.#shift(Date.now()));
  }

  // Milliseconds with their fractions, from a source that never goes back by itself: for counting, not for stamping.
  exact() {
    return this.#shift(performance.timeOrigin + performance.now());
  }

  // Unix time in seconds, which is what Stripe's objects carry.
  seconds() {
    return Math.floor(this.millis() / 1000);
  }

  // Moves the clock and does what is due by then. `offset` is in milliseconds, `anchor`, `now` and `advance` in seconds;
  // a rate without an anchor changes the pace from here on.
  set(change) {
    for (const name in change) {
      if (!MEMBERS.includes(name)) throw invalid(`Not a clock: unknown member: ${name}.`);
      if (!Number.isFinite(change[name])) throw invalid(`Not a clock: ${name} must be a number.`);
    }
    const { advance, anchor, now, offset, rate } = change;
    if (rate !== undefined && rate <= 0) throw invalid('Not a clock: rate must be above 0.');
    const real = Date.now();
    if (anchor !== undefined) {
      this.#anchor = anchor * 1000;
    } else if (rate !== undefined) {
      this.#offset = this.#shift(real) - real;
      this.#anchor = real;
    }
    this.#rate = rate ?? this.#rate;
    this.#offset = offset ?? this.#offset;
    if (now !== undefined) this.#offset += now * 1000 - this.#shift(real);
    if (advance !== undefined) this.#offset += advance * 1000;
    this.doWhatIsDue();
    this.#wind();
    return this.describe();
  }

  describe() {
    return { now: this.millis() / 1000, rate: this.#rate, anchor: this.#anchor / 1000, offset: this.#offset };
  }

  // Runs `action` once the unix time `seconds` is reached; returns a function that calls it off.
  at(seconds, action) {
    const entry = { due: seconds * 1000, order: this.#order++, action };
    const heap = this.#waiting;
    let at = heap.push(entry) - 1;
    for (let up; at > 0 && before(entry, heap[(up = (at - 1) >> 1)]); at = up) heap[at] = heap[up];
    heap[at] = entry;
    if (at === 0) this.#wind();
    return () => {
      entry.action = null;
    };
  }

  // Does whatever time has come for, in the order of its time.
  doWhatIsDue() {
    while (this.#waiting.length > 0 && this.#waiting[0].due <= this.millis()) {
      const { due, action } = this.#takeFirst();
      if (action === null) continue;
      const outer = this.#doing;
      this.#doing = due;
      try {
        action();
      } finally {
        this.#doing = outer;
      }
    }
  }

  // Calls everything off.
  clear() {
    clearTimeout(this.#timer);
    this.#waiting = [];
  }

  // Calls everything off and shows real time again.
  reset() {
    this.clear();
    this.#rate = 1;
    this.#anchor = 0;
    this.#offset = 0;
  }

  #takeFirst() {
    const heap = this.#waiting;
    const first = heap[0];
    const last = heap.pop();
    if (heap.length > 0) {
      let at = 0;
      for (;;) {
        let down = 2 * at + 1;
        if (down >= heap.length) break;
        if (down + 1 < heap.length && before(heap[down + 1], heap[down])) down += 1;
        if (!before(heap[down], last)) break;
        heap[at] = heap[down];
        at = down;
      }
      heap[at] = last;
    }
    return first;
  }

  // Sets the alarm for the first that waits.
  #wind() {
    clearTimeout(this.#timer);
    if (this.#waiting.length === 0) return;
    const wait = Math.ceil((this.#waiting[0].due - this.millis()) / this.#rate);
    this.#timer = setTimeout(() => {
      this.doWhatIsDue();
      this.#wind();
    }, Math.min(Math.max(wait, 0), LONGEST_WAIT));
    this.#timer.unref();
  }
}

const before = (a, b) => a.due < b.due || (a.due === b.due && a.order < b.order);
