// Kills a relay and the server (-9), in turn, at even distances of what is being done.
import { killServer, restartServer } from '../relay/support/server.mjs';

export class Killer {
  killed = { relay: 0, server: 0 };
  #underWay = Promise.resolve();

  // Each is killed so many times; `restartRelay` kills the relay and starts another.
  constructor(kills, restartRelay) {
    this.kills = kills;
    this.restartRelay = restartRelay;
  }

  // So much of all is done: kills what is due by then, one after the other.
  onProgress(done, all) {
    const due = Math.min(Math.floor((done * 2 * this.kills) / all), 2 * this.kills);
    while (this.killed.relay + this.killed.server < due) this.#killNext();
  }

  // Until the last one that was killed runs again.
  finished() {
    return this.#underWay;
  }

  #killNext() {
    const isRelay = this.killed.relay <= this.killed.server;
    this.killed[isRelay ? 'relay' : 'server'] += 1;
    this.#underWay = this.#underWay.then(async () => {
      if (isRelay) {
        await this.restartRelay();
      } else {
        killServer();
        await restartServer();
      }
    });
  }
}
