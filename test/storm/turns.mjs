// So many at once, first come, first served, however long the queue.
export class Turns {
  #waiting = [];
  #running = 0;

  constructor(atOnce) {
    this.atOnce = atOnce;
  }

  async run(action) {
    if (this.#running === this.atOnce) await new Promise((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    try {
      return await action();
    } finally {
      if (this.#waiting.length > 0) this.#waiting.shift()();
      else this.#running -= 1;
    }
  }
}
