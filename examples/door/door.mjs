// The reference door: decides scans by a manifest, without a network, and uploads them when there is one.
// One file for Node 18 or later and for browsers; all it needs is WebCrypto. How an app uses it: README.md.
// Results, reasons and fields have the names that the server gives them.

const DEEP_LINK = 'dvnt://ticket/';
const TOKEN = /^[0-9a-f]{64}$/;
const LONGEST_CODE = 4096; // bytes that the server takes
const LARGEST_BATCH = 10000; // scans that the server takes in a call
// How many rows increments may add to a saved manifest before it is saved anew.
const GROWTH = 1000;
// The version of a ticket that is not in the manifest.
const UNLISTED = -1;

const utf8 = new TextEncoder();

// ---- codes

const HMAC = 1;
const ED25519 = 2;
const SUITE_OF_LENGTH = { 62: HMAC, 126: ED25519 };
const SIGNED_BYTES = 30;

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const VALUES = new Map([...DIGITS].map((digit, value) => [digit, value]));

// base64url without padding; null unless canonical.
function fromBase64url(text) {
  const bytes = new Uint8Array(Math.floor((text.length * 6) / 8));
  let bits = 0;
  let count = 0;
  let filled = 0;
  for (const digit of text) {
    const value = VALUES.get(digit);
    if (value === undefined) return null;
    bits = (bits << 6) | value;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes[filled++] = bits >> count;
    bits &= (1 << count) - 1;
  }
  return bits === 0 && count < 6 ? bytes : null;
}

const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const toUuid = (bytes) => toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');

// What a payload says, strictly read; null when it is malformed. Says nothing about the signature.
export function decode(payload) {
  const suite = SUITE_OF_LENGTH[payload.length];
  const bytes = suite === undefined ? null : fromBase64url(payload);
  if (bytes === null || bytes[0] !== suite) return null;
  return {
    suite,
    key_id: bytes[1],
    ticket_id: toUuid(bytes.subarray(2, 18)),
    event_id: new DataView(bytes.buffer).getInt32(18),
    nonce: toHex(bytes.subarray(22, SIGNED_BYTES)),
    signed: bytes.subarray(0, SIGNED_BYTES),
    signature: bytes.subarray(SIGNED_BYTES),
  };
}

// WebCrypto; Node 18 does not have it among its globals.
async function webCrypto() {
  const crypto = globalThis.crypto ?? (globalThis.process?.versions?.node && (await import('node:crypto')).webcrypto);
  if (!crypto?.subtle) throw new Error('crypto.subtle is missing: browsers offer it on https:// and on localhost only');
  return crypto;
}

const imported = new Map();

// A public key of the server's answers as a CryptoKey, made once.
async function publicKey(subtle, text) {
  if (!imported.has(text)) {
    const bytes = fromBase64url(text);
    if (bytes?.length !== 32) throw new Error('a public key is 32 bytes, base64url without padding');
    imported.set(text, await subtle.importKey('raw', bytes, { name: 'Ed25519' }, false, ['verify']));
  }
  return imported.get(text);
}

// null when the signature is of one of the keys, else the reason why not. A runtime without Ed25519 cannot tell.
async function faultOf(ticket, keys) {
  if (ticket.suite !== ED25519) return 'unverifiable';
  const key = keys.find(({ key_id }) => key_id === ticket.key_id);
  if (key === undefined) return 'unknown_key';
  const { subtle } = await webCrypto();
  try {
    const genuine = await subtle.verify({ name: 'Ed25519' }, await publicKey(subtle, key.public_key), ticket.signature, ticket.signed);
    return genuine ? null : 'bad_signature';
  } catch (error) {
    if (error.name === 'NotSupportedError') return 'unverifiable';
    throw error;
  }
}

// Whether a payload was signed with one of an event's keys, as ticketing.verify_ticket says it. `keys` is what the
// manifest and door_key hold. Suite 1 is unverifiable outside of the server.
export async function verify(payload, keys) {
  const ticket = decode(payload);
  const reason = ticket === null ? 'malformed' : await faultOf(ticket, keys);
  if (reason !== null) return { valid: false, reason, ticket_id: null, event_id: null, key_id: null, suite: null };
  const { ticket_id, event_id, key_id, suite } = ticket;
  return { valid: true, reason: null, ticket_id, event_id, key_id, suite };
}

// ---- storage

// Forgets everything when the program ends.
export function memoryStorage(map = new Map()) {
  return {
    get: async (key) => map.get(key),
    set: async (key, value) => void map.set(key, value),
    delete: async (key) => void map.delete(key),
  };
}

// A browser's IndexedDB. `set` resolves when the value is on the disk.
export function indexedDbStorage(name) {
  const opened = new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore('door');
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const run = async (mode, ask) => {
    const database = await opened;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction('door', mode, { durability: 'strict' });
      const request = ask(transaction.objectStore('door'));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  };
  return {
    get: (key) => run('readonly', (store) => store.get(key)),
    set: (key, value) => run('readwrite', (store) => store.put(value, key)),
    delete: (key) => run('readwrite', (store) => store.delete(key)),
  };
}

// ---- the door

// A batch did not go through: nothing of it is lost, upload again. `report` says what went through before it.
export class UploadError extends Error {
  constructor(report, cause) {
    super(`${report.left} scans are not uploaded: ${cause?.message ?? cause}`, { cause });
    this.name = 'UploadError';
    this.report = report;
  }
}

// A text as PostgreSQL can store it, and not longer than the server takes it. What this changes is no ticket's code.
function storable(text) {
  const stored = text.replace(/[\0\uD800-\uDFFF]/gu, '\uFFFD');
  return utf8.encode(stored).length <= LONGEST_CODE ? stored : [...stored].slice(0, LONGEST_CODE / 4).join('');
}

const milliseconds = (time) => (time ? Date.parse(time) : null);
const isMove = ({ result }) => result === 'admitted' || result === 'exited';

// What stays of a scan that moved somebody when the scan itself is uploaded: until a manifest tells of it, or, where
// `kept`, until a manifest has something newer of its ticket. No manifest may ever tell of a ticket that is not listed.
const moveOf = ({ scan_id }, { ticket_id, result, version }, at) => ({ scan_id, ticket_id, result, at, version, kept: version === UNLISTED });

// Whether the server sees something wrong in a scan that let somebody through; how wrong the clock was is no matter.
const isConflict = ({ result }, answer) => answer.result !== result || answer.flags.some((flag) => flag !== 'clock');

const withoutCode = ({ payload, ...scan }) => scan;

// What is in storage, each key behind `door/EVENT/`:
//   manifest            what an answer says beside its tickets, and where those are
//   tickets/GENERATION/N  tickets of a full answer (0) and of the increments after it
//   queue               {first, trimmed, moved, aside}: see Door's fields of those names
//   scan/N              a scan that is not uploaded: N from first on, without a gap
export class Door {
  operator; // who scans; may change

  #eventId;
  #deviceId;
  #rpc;
  #storage;
  #now;
  #maxBatch;

  #ready = null; // the promise that all was read from storage
  #last = Promise.resolve(); // ends when nobody changes the fields below
  #saving = Promise.resolve(); // ends when no manifest is being saved
  #ticks = 0; // orders the beginnings of refreshes and the ends of uploads
  #uploading = null;

  #manifest = null; // the last answer without its tickets, and the clock's offset
  #applied = 0; // the tick at which the refresh began that brought it
  #saved = null; // {generation, parts, base, grown}: what storage has of the tickets
  #rows = new Map(); // by ticket id
  #codes = new Map(); // rows by the hashes of their codes
  #superseded = new Map(); // rows by the hashes of codes that they had before

  #first = 0; // the number of the queue's first scan
  #trimmed = 0; // scans before it are deleted from storage, too
  #queue = []; // scans that are not uploaded
  #moves = new Map(); // by ticket id: what our scans did that the manifest does not say yet
  #aside = []; // scans that the server did not take, without their codes

  constructor({ eventId, deviceId, operator, rpc, storage = memoryStorage(), now = () => new Date(), maxBatch = 1000 }) {
    this.operator = operator;
    this.#eventId = eventId;
    this.#deviceId = deviceId;
    this.#rpc = rpc;
    const call = (name) => async (key, value) => {
      try {
        return await storage[name](`door/${eventId}/${key}`, value);
      } catch (error) {
        this.#ready = null; // what it has done we do not know: it is read again
        throw error;
      }
    };
    this.#storage = { get: call('get'), set: call('set'), delete: call('delete') };
    this.#now = now;
    this.#maxBatch = Math.min(maxBatch, LARGEST_BATCH);
  }

  // Fetches the manifest, or what has changed since the last one.
  async refresh() {
    await this.#open();
    const ready = this.#ready;
    const begun = ++this.#ticks;
    const asked = this.#now().getTime();
    const since = this.#manifest?.cursor ?? null;
    const answer = await this.#rpc('door_manifest', { event_id: this.#eventId, actor: this.operator, device_id: this.#deviceId, since });
    if (answer?.event_id !== this.#eventId || answer.device_id !== this.#deviceId) throw new Error('the manifest is of another door');
    if (!answer.full && since === null) throw new Error('an increment came, but there is nothing that it could be added to');
    const { tickets, full, ...manifest } = answer;
    manifest.offset = Math.round(Date.parse(answer.issued_at) - (asked + this.#now().getTime()) / 2);
    if (!Array.isArray(tickets) || Number.isNaN(manifest.offset)) throw new Error('the answer is no manifest');
    let saved;
    await this.#alone(() => {
      // The answer to one that began later is here already, and says more: increments start from that now.
      if (begun < this.#applied) return;
      // What storage had may be older than what we asked for changes of.
      if (ready !== this.#ready) throw new Error('the storage has failed meanwhile');
      this.#applied = begun;
      if (full) this.#clear();
      for (const row of tickets) this.#take(row);
      this.#manifest = manifest;
      saved = this.#save(tickets, full);
    });
    await saved;
    // Not before the manifest is in storage: if we crash between the two, we know too much and not too little.
    await this.#alone(() => this.#cover(begun));
    return { full, tickets: tickets.length, manifest_id: manifest.manifest_id, expires_at: manifest.expires_at };
  }

  // Decides a scan by the manifest and by what was scanned here; answers once it is in the queue.
  async scan(code, { gate = null, direction = 'in', force = false } = {}) {
    if (typeof code !== 'string' || code === '') throw new TypeError('a code is a text');
    if (direction !== 'in' && direction !== 'out') throw new RangeError("direction is 'in' or 'out'");
    await this.#open();
    return this.#alone(async () => {
      if (this.#manifest === null) throw new Error('this door has no manifest yet');
      const now = this.#now();
      const { manifest_id, offset, expires_at } = this.#manifest;
      const at = now.getTime() + offset;
      const decision = { flags: [], ...(await this.#decide(code, { gate, direction, force, at })) };
      if (at >= milliseconds(expires_at)) decision.flags.push('manifest_expired');
      const scan = {
        scan_id: (await webCrypto()).randomUUID(),
        payload: storable(code),
        scanned_at: now.toISOString(),
        scanned_by: this.operator,
        gate: gate === null ? null : storable(gate),
        direction,
        manifest_id,
        result: decision.result,
      };
      const { result, ticket_id = null, admitted_at = null, flags } = decision;
      const queued = { scan, ticket_id, move: isMove(decision) ? moveOf(scan, decision, at) : null };
      await this.#storage.set(`scan/${this.#first + this.#queue.length}`, queued);
      this.#enqueue(queued);
      return { result, scan_id: scan.scan_id, ticket_id, admitted_at: admitted_at === null ? null : new Date(admitted_at).toISOString(), flags };
    });
  }

  // Uploads the queue in batches. Resolves to {uploaded, left, conflicts, errors}: conflicts are scans that let somebody
  // through and that the server has recorded with another result, or flagged; errors are scans that it did not take, which
  // are kept aside. Rejects with an UploadError.
  upload() {
    this.#uploading ??= this.#upload().finally(() => (this.#uploading = null));
    return this.#uploading;
  }

  // What there is: the manifest, how many scans wait, which ones are kept aside.
  async status() {
    await this.#open();
    const { manifest_id = null, issued_at = null, expires_at = null, offset = 0 } = this.#manifest ?? {};
    const expired = expires_at === null || this.#now().getTime() + offset >= Date.parse(expires_at);
    return { manifest_id, issued_at, expires_at, expired, clock_offset: offset, tickets: this.#rows.size, queued: this.#queue.length, aside: [...this.#aside] };
  }

  // Forgets scans that are kept aside, once somebody has seen to them.
  async dismiss(scanIds) {
    await this.#open();
    return this.#alone(async () => {
      this.#aside = this.#aside.filter(({ scan_id }) => !scanIds.includes(scan_id));
      await this.#saveQueue();
    });
  }

  // ---- one thing after another

  // Runs an action when the one before has ended, well or badly.
  #alone(action) {
    const ended = this.#last.then(action);
    this.#last = ended.catch(() => {});
    return ended;
  }

  // Reads the storage, unless that was done and it has not failed since.
  #open() {
    this.#ready ??= this.#alone(() => this.#load()).catch((error) => {
      this.#ready = null;
      throw error;
    });
    return this.#ready;
  }

  async #load() {
    await webCrypto();
    await this.#saving;
    this.#clear();
    this.#moves.clear();
    await this.#loadManifest();
    const { first, trimmed, moved, aside } = (await this.#storage.get('queue')) ?? { first: 0, trimmed: 0, moved: [], aside: [] };
    this.#first = first;
    this.#trimmed = trimmed;
    this.#aside = aside;
    const tick = ++this.#ticks;
    for (const move of moved) this.#remember({ ...move, uploaded: tick });
    this.#queue = [];
    for (;;) {
      const numbers = Array.from({ length: 100 }, (_, i) => first + this.#queue.length + i);
      const found = await Promise.all(numbers.map((n) => this.#storage.get(`scan/${n}`)));
      const end = found.findIndex((queued) => !queued);
      for (const queued of end === -1 ? found : found.slice(0, end)) this.#enqueue(queued);
      if (end !== -1) break;
    }
  }

  // ---- the manifest

  #clear() {
    this.#rows.clear();
    this.#codes.clear();
    this.#superseded.clear();
  }

  // Puts a ticket's row in place of the one that we have, unless ours is newer.
  #take(row) {
    const old = this.#rows.get(row.ticket_id);
    if (old !== undefined) {
      if (old.version > row.version) return;
      for (const hash of old.codes ?? []) if (this.#codes.get(hash) === old) this.#codes.delete(hash);
      for (const hash of old.superseded ?? []) if (this.#superseded.get(hash) === old) this.#superseded.delete(hash);
    }
    this.#rows.set(row.ticket_id, row);
    for (const hash of row.codes ?? []) this.#codes.set(hash, row);
    for (const hash of row.superseded ?? []) this.#superseded.set(hash, row);
  }

  // Saves an answer: a full one by itself, an increment behind the others, until all of them are worth being saved anew.
  // Takes what there is now, at once.
  #save(tickets, full) {
    const manifest = this.#manifest;
    const old = this.#saved;
    const anew = full || old === null || old.grown + tickets.length > old.base + GROWTH;
    const rows = anew ? [...this.#rows.values()] : tickets;
    const saved = anew
      ? { generation: (old?.generation ?? 0) + 1, parts: 1, base: rows.length, grown: 0 }
      : { ...old, parts: old.parts + (rows.length > 0 ? 1 : 0), grown: old.grown + rows.length };
    this.#saved = saved;
    const ended = this.#saving.then(async () => {
      if (rows.length > 0 || anew) await this.#storage.set(`tickets/${saved.generation}/${saved.parts - 1}`, rows);
      await this.#storage.set('manifest', { manifest, saved, old: anew ? old : null });
      if (anew) await this.#forget(old);
    });
    this.#saving = ended.catch(() => {});
    return ended;
  }

  async #forget(old) {
    for (let part = 0; part < (old?.parts ?? 0); part++) await this.#storage.delete(`tickets/${old.generation}/${part}`);
  }

  async #loadManifest() {
    const { manifest = null, saved = null, old = null } = (await this.#storage.get('manifest')) ?? {};
    this.#manifest = null;
    this.#saved = saved;
    await this.#forget(old);
    for (let part = 0; part < (saved?.parts ?? 0); part++) {
      const rows = await this.#storage.get(`tickets/${saved.generation}/${part}`);
      if (!rows) return this.#clear(); // a browser may have tidied up: then the next refresh is a full one
      for (const row of rows) this.#take(row);
    }
    this.#manifest = manifest;
  }

  // ---- decisions

  // The result of a scan at a time of the server's; the order is check_in's.
  async #decide(text, scan) {
    const code = text.startsWith(DEEP_LINK) ? text.slice(DEEP_LINK.length) : text;
    const hash = toHex(new Uint8Array(await (await webCrypto()).subtle.digest('SHA-256', utf8.encode(code))));
    const row = this.#codes.get(hash);
    if (row !== undefined) return this.#closed(scan) ?? this.#judge(row, scan);
    const replaced = this.#superseded.get(hash);
    if (replaced !== undefined) return this.#closed(scan) ?? { result: 'superseded', ticket_id: replaced.ticket_id };
    if (TOKEN.test(code)) return this.#closed(scan) ?? { result: 'not_found' };
    const ticket = decode(code);
    if (ticket === null) return { result: 'malformed' };
    if (ticket.event_id !== this.#eventId) return this.#closed(scan) ?? { result: 'wrong_event' };
    const fault = await faultOf(ticket, this.#manifest.keys);
    if (fault === 'unknown_key' || fault === 'bad_signature') return { result: fault };
    return this.#closed(scan) ?? this.#judgeUnlisted(ticket, fault, scan);
  }

  // The doors' hours.
  #closed({ direction, force, at }) {
    const { open, close } = this.#manifest.doors;
    if (direction === 'out' || force) return null;
    if (open !== null && at < milliseconds(open)) return { result: 'too_early' };
    if (close !== null && at >= milliseconds(close)) return { result: 'too_late' };
    return null;
  }

  // A code of our event that is not in the manifest, genuine unless `fault` says that nobody can tell here.
  #judgeUnlisted(ticket, fault, scan) {
    const { ticket_id } = ticket;
    const flags = fault === null ? [] : ['unverified'];
    const row = this.#rows.get(ticket_id);
    if (row?.state === 'removed') return { result: 'not_found', flags };
    if (row !== undefined) return { result: 'superseded', ticket_id, flags };
    if (fault !== null) return { result: 'not_found', flags };
    return { ...this.#judge({ ticket_id, version: UNLISTED, ticket_type_id: null, state: 'active', admitted_at: null }, scan), flags: ['not_listed'] };
  }

  // A ticket whose code is right.
  #judge(row, scan) {
    const { ticket_id } = row;
    if (row.state === 'removed') return { result: 'not_found' };
    if (row.state !== 'active' && row.state !== 'scanned') return { result: row.state, ticket_id };
    if (!this.#mayPass(row, scan)) return { result: 'wrong_gate', ticket_id };
    const { scanned, outside, admitted_at } = this.#whereabouts(row);
    const version = row.version;
    const { reentry } = this.#manifest.doors;
    if (scan.direction === 'out') {
      if (!scanned) return { result: 'not_inside', ticket_id };
      if (!reentry) return { result: 'not_allowed', ticket_id, admitted_at };
      return { result: outside ? 'not_inside' : 'exited', ticket_id, admitted_at, version };
    }
    if (scanned && !(outside && reentry)) return { result: 'already_admitted', ticket_id, admitted_at };
    return { result: 'admitted', ticket_id, admitted_at: scan.at, version };
  }

  // Whether a ticket may come in at a gate. One of an unknown tier may come in at any that there is.
  #mayPass({ ticket_type_id }, { gate, direction, force }) {
    const { gates } = this.#manifest.doors;
    if (direction === 'out' || force || gates.length === 0) return true;
    const entry = gates.find((one) => one.gate === gate);
    return entry !== undefined && (entry.ticket_type_ids === null || ticket_type_id === null || entry.ticket_type_ids.includes(ticket_type_id));
  }

  // Whether a ticket is in: what the manifest says, and then our own scans that it does not say yet.
  #whereabouts(row) {
    let scanned = row.state === 'scanned';
    let outside = row.outside === true;
    const told = milliseconds(row.admitted_at);
    let admitted_at = told;
    for (const { result, at } of this.#moves.get(row.ticket_id) ?? []) {
      if (scanned && told > at) continue; // another door let it in after that
      scanned = true;
      outside = result === 'exited';
      if (!outside) admitted_at = at;
    }
    return { scanned, outside, admitted_at };
  }

  // ---- our own scans

  #enqueue(queued) {
    this.#queue.push(queued);
    if (queued.move !== null) this.#remember({ ...queued.move, uploaded: null });
  }

  #remember(move) {
    const moves = this.#moves.get(move.ticket_id);
    if (moves === undefined) this.#moves.set(move.ticket_id, [move]);
    else moves.push(move);
  }

  // Forgets the moves that a manifest tells of, because they were uploaded before it was asked for.
  async #cover(begun) {
    let covered = false;
    for (const [ticketId, moves] of this.#moves) {
      const version = this.#rows.get(ticketId)?.version ?? UNLISTED;
      const left = moves.filter((move) => move.uploaded === null || move.uploaded > begun || (move.kept && version <= move.version));
      if (left.length === moves.length) continue;
      covered = true;
      if (left.length > 0) this.#moves.set(ticketId, left);
      else this.#moves.delete(ticketId);
    }
    if (covered) await this.#saveQueue();
  }

  #uploadedMoves() {
    return [...this.#moves.values()].flat().filter(({ uploaded }) => uploaded !== null);
  }

  #saveQueue({ first = this.#first, moved = this.#uploadedMoves(), aside = this.#aside } = {}) {
    return this.#storage.set('queue', { first, trimmed: this.#trimmed, moved: moved.map(({ uploaded, ...move }) => move), aside });
  }

  // Deletes from storage what has left the queue. Scans go on meanwhile: their numbers are others.
  async #trim() {
    const end = this.#first;
    if (this.#trimmed === end) return;
    for (let n = this.#trimmed; n < end; n += 100) {
      await Promise.all(Array.from({ length: Math.min(100, end - n) }, (_, i) => this.#storage.delete(`scan/${n + i}`)));
    }
    this.#trimmed = end;
    await this.#alone(() => this.#saveQueue());
  }

  async #upload() {
    await this.#open();
    const report = { uploaded: 0, conflicts: [], errors: [] };
    const end = this.#first + this.#queue.length;
    try {
      await this.#trim(); // if a crash has left something
      for (;;) {
        const batch = await this.#alone(() => this.#queue.slice(0, Math.max(0, Math.min(this.#maxBatch, end - this.#first))));
        if (batch.length === 0) break;
        const answer = await this.#rpc('sync_checkins', {
          event_id: this.#eventId,
          uploaded_by: this.operator,
          device_id: this.#deviceId,
          device_now: this.#now().toISOString(),
          scans: batch.map(({ scan }) => scan),
        });
        const results = answer?.results ?? [];
        if (results.length !== batch.length || batch.some(({ scan }, i) => scan.scan_id !== results[i].scan_id)) {
          throw new Error('the answer is not one to these scans');
        }
        await this.#alone(() => this.#settle(batch, results, report));
        await this.#trim();
      }
    } catch (error) {
      throw new UploadError({ ...report, left: this.#queue.length }, error);
    }
    return { ...report, left: this.#queue.length };
  }

  // Takes a batch out of the queue. One write says that it is uploaded, what is kept of its moves, and which scans go aside.
  async #settle(batch, results, report) {
    const tick = ++this.#ticks;
    const moved = new Map();
    const errors = [];
    const conflicts = [];
    batch.forEach(({ scan, move, ticket_id }, i) => {
      const { error, ...answer } = results[i];
      // What the server has not taken, no manifest will tell us.
      if (move !== null) moved.set(scan.scan_id, { ...move, uploaded: tick, kept: move.kept || error !== undefined });
      if (error !== undefined) errors.push({ ...withoutCode(scan), ticket_id, error });
      else if (move !== null && isConflict(scan, answer)) conflicts.push({ ...answer, decided: scan.result });
    });
    const first = this.#first + batch.length;
    const aside = [...this.#aside, ...errors];
    await this.#saveQueue({ first, moved: [...this.#uploadedMoves(), ...moved.values()], aside });
    this.#first = first;
    this.#aside = aside;
    this.#queue.splice(0, batch.length);
    for (const [ticketId, moves] of this.#moves) this.#moves.set(ticketId, moves.map((move) => moved.get(move.scan_id) ?? move));
    report.uploaded += batch.length - errors.length;
    report.conflicts.push(...conflicts);
    report.errors.push(...errors);
  }
}
