// Random numbers that a seed repeats: DOOR_TEST_SEED, or one that the test prints.
export class Random {
  constructor(seed = Number(process.env.DOOR_TEST_SEED ?? Math.floor(Math.random() * 2 ** 32))) {
    this.seed = seed;
    this.state = seed;
  }

  // From 0 up to 1 (mulberry32).
  next() {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  // From 0 to n - 1.
  below(n) {
    return Math.floor(this.next() * n);
  }

  one(list) {
    return list[this.below(list.length)];
  }

  bytes(n) {
    return Buffer.from(Array.from({ length: n }, () => this.below(256)));
  }
}
