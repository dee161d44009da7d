// Time. Whatever stamps an object or waits for a date asks here and nowhere else,
// so that a movable clock has one place to be built in.

export class Clock {
  #timers = new Set();

  millis() {
    return Date.now();
  }

  // Unix time in seconds, which is what Stripe's objects carry.
  seconds() {
    return Math.floor(this.millis() / 1000);
  }

  // Runs `action` once the unix time `seconds` is reached; returns a function that calls it off.
  at(seconds, action) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, Math.max(0, seconds * 1000 - this.millis()));
    timer.unref();
    this.#timers.add(timer);
    return () => {
      clearTimeout(timer);
      this.#timers.delete(timer);
    };
  }

  // Calls everything off.
  clear() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
