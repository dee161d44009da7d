// The log of API calls, for tests to look at: the last ones, oldest first.

export class Journal {
  #calls = [];
  #next = 0;

  constructor(kept = 10000) {
    this.kept = kept;
  }

  // Notes a call; its `status` is set when it ends ('cut' or 'hung' if it gets no answer).
  add(call) {
    if (this.#calls.length < this.kept) {
      this.#calls.push(call);
    } else {
      this.#calls[this.#next] = call;
      this.#next = (this.#next + 1) % this.kept;
    }
    return call;
  }

  list() {
    return [...this.#calls.slice(this.#next), ...this.#calls.slice(0, this.#next)];
  }

  clear() {
    this.#calls = [];
    this.#next = 0;
  }
}
