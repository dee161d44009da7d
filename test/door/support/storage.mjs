// A storage whose device can lose its power.
export class Device {
  disk = new Map(); // JSON
  operations = 0;
  #off = Infinity;
  #late = false;

  // The power goes at the nth operation from now, storage or network: before it has had an effect, or after.
  powerOffAt(n, late) {
    this.#off = this.operations + n;
    this.#late = late;
  }

  powerOn() {
    this.#off = Infinity;
  }

  // Runs an operation, unless there is no power; nobody hears of one at which it went.
  async run(action) {
    const n = ++this.operations;
    await new Promise((resolve) => setImmediate(resolve));
    if (n > this.#off || (n === this.#off && !this.#late)) throw new Error('no power');
    const result = await action();
    if (n === this.#off) throw new Error('no power');
    return result;
  }

  storage = {
    get: (key) => this.run(() => (this.disk.has(key) ? JSON.parse(this.disk.get(key)) : undefined)),
    set: (key, value) => this.run(() => void this.disk.set(key, JSON.stringify(value))),
    delete: (key) => this.run(() => void this.disk.delete(key)),
  };

  // All that is on it, as one text.
  get text() {
    return [...this.disk].flat().join('\n');
  }
}
