// What is on its way from this page: urgent first, three at most at once, gone on with until it has been received.

import { Broken, heard, line, Refused } from "./clinic-line.js";
import { Owing } from "./clinic-owing.js";
import { sha256 } from "./clinic-sha256.js";
import { send } from "./clinic-tus.js";

/**
 * @typedef {import("./clinic-kept.js").Item} Item
 * @typedef {import("./clinic-kept.js").Kept} Kept
 * @typedef {"waiting" | "overtaken" | "sending" | "judging" | "offline" | "elsewhere" | "paused" | "refused" | "sent"} State
 *
 * @typedef {object} Ride One item on its way.
 * @property {Item} item
 * @property {Blob[] | null} blobs null: they lie in the browser's store
 * @property {boolean} kept whether this computer has a copy that outlives the page
 * @property {State} state
 * @property {number[]} sent bytes of each file that have left
 * @property {number[]} there bytes of each file that have arrived
 * @property {AbortController | null} running
 * @property {number} tries that were in vain, one after the other
 * @property {number} notBefore milliseconds
 * @property {Refused | null} refusal
 * @property {boolean} fileGone
 * @property {Refused | null} notRaised why the reading centre does not raise it; asked no more until the page is opened anew
 */

const AT_ONCE = 3;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;
const SIGN_IN_PAUSE_MS = 4000;
const PASSING = new Set([401, 408, 409, 423, 429, 460]);

export class Queue {
  /**
   * @param {Kept | null} kept
   * @param {string} site
   * @param {(ride: Ride) => void} onChange
   */
  constructor(kept, site, onChange) {
    this.kept = kept;
    this.site = site;
    this.onChange = onChange;
    /** @type {Map<string, Ride>} */
    this.rides = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.owing = new Owing(this);
    line.addEventListener("back", () => this.again());
  }

  /** Go on with what was left here before; what was received lately is shown again. */
  async load() {
    for (const item of (await this.kept?.items(this.site)) ?? []) {
      if (!this.rides.has(item.id)) this.rides.set(item.id, ride(item, null));
    }
    for (const one of this.rides.values()) this.onChange(one);
    this.owing.again();
    this.pump();
  }

  /**
   * @param {File[]} files of one recording
   * @param {boolean} urgent
   * @param {string} batch
   * @returns {Ride}
   */
  add(files, urgent, batch) {
    const now = Date.now();
    /** @type {Item} */
    const item = {
      id: name(),
      site: this.site,
      at: now,
      urgent,
      urgentAt: urgent ? now : 0,
      paused: false,
      group: files.length > 1 ? name() : "",
      batch,
      files: files.map((file) => ({ name: file.name, size: file.size, sha256: "", location: "", urgent: false })),
      receipts: [],
    };
    const one = ride(item, files);
    one.kept = false;
    this.rides.set(item.id, one);
    this.onChange(one);
    // kept and sent side by side: neither waits for the other
    const keeping = this.kept ? this.kept.add(structuredClone(item), files) : Promise.reject(new Error("nothing keeps"));
    keeping.then(
      () => {
        one.kept = true;
        // what became known of it meanwhile
        const { files, urgent, urgentAt, paused, receipts, group, owed } = item;
        this.change(one, (kept) => Object.assign(kept, { files, urgent, urgentAt, paused, group }));
        if (receipts.length) this.kept?.received(item.id, receipts, !owed).catch(() => {});
        this.onChange(one);
      },
      () => this.onChange(one),
    );
    this.pump();
    return one;
  }

  /** @param {Ride} one */
  makeUrgent(one) {
    const { item } = one;
    if (item.urgent) return;
    const now = Date.now();
    this.change(one, (kept) => {
      kept.urgent = true;
      kept.urgentAt = now;
      kept.owed = kept.receipts.length > 0;
    });
    if (item.receipts.length) {
      this.owing.owe(one);
      return;
    }
    one.running?.abort(); // and begun again at once, as urgent
    one.notBefore = 0;
    this.onChange(one);
    this.pump();
  }

  /** @param {Ride} one @param {boolean} on */
  pause(one, on) {
    this.change(one, (item) => {
      item.paused = on;
    });
    if (on) one.running?.abort();
    Object.assign(one, { refusal: null, fileGone: false, notBefore: 0, tries: 0, state: on ? "paused" : "waiting" });
    this.onChange(one);
    this.pump();
  }

  /** @param {Ride} one */
  remove(one) {
    one.running?.abort();
    this.rides.delete(one.item.id);
    this.kept?.remove(one.item.id).catch(() => {});
    if (!one.item.receipts.length) {
      for (const file of one.item.files) {
        // what has come there goes as well; where the line is broken it expires by itself
        if (file.location) fetch(file.location, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0" } }).catch(() => {});
      }
    }
    this.pump();
  }

  /** What has not been received yet. */
  open() {
    return [...this.rides.values()].filter((one) => !one.item.receipts.length);
  }

  /** Whether something here waits for the reading centre. */
  get isUnsettled() {
    return [...this.rides.values()].some((one) => !one.item.receipts.length || one.item.owed);
  }

  /** Another window has changed an item. @param {Item} item as it is kept now */
  changedElsewhere(item) {
    const one = this.rides.get(item.id);
    if (!one) return;
    if (one.running) {
      if (item.urgent) this.makeUrgent(one); // pressed there, sent from here
      return;
    }
    one.item = item;
    if (item.receipts.length) one.state = "sent";
    this.onChange(one);
    this.owing.again();
  }

  /** The line is back: nothing waits any longer. */
  again() {
    for (const one of this.rides.values()) one.notBefore = 0;
    this.owing.again();
    this.pump();
  }

  pump() {
    clearTimeout(this.timer);
    const now = Date.now();
    const wanting = this.open().filter((one) => !one.item.paused && one.state !== "refused");
    const ready = wanting.filter((one) => one.running || one.notBefore <= now);
    const urgent = ready.some((one) => one.item.urgent);
    ready.sort((a, b) => Number(b.item.urgent) - Number(a.item.urgent) || a.item.at - b.item.at);
    for (const one of ready) {
      if (urgent && !one.item.urgent) {
        // gives the line up at once; what has come of it stays there
        one.running?.abort();
        this.say(one, "overtaken");
      } else if (!one.running && this.running() < AT_ONCE) {
        this.run(one);
      } else if (!one.running) {
        this.say(one, "waiting");
      }
    }
    const later = wanting.filter((one) => !one.running && one.notBefore > now).map((one) => one.notBefore);
    if (later.length) this.timer = setTimeout(() => this.pump(), Math.max(50, Math.min(...later) - now));
  }

  running() {
    return [...this.rides.values()].filter((one) => one.running).length;
  }

  /** @param {Ride} one @param {State} state */
  say(one, state) {
    if (one.state === state) return;
    one.state = state;
    this.onChange(one);
  }

  /** @param {Ride} one @param {(item: Item) => void} change */
  change(one, change) {
    change(one.item);
    if (one.kept) this.kept?.change(one.item.id, change).catch(() => {});
  }

  /** @param {Ride} one */
  async run(one) {
    const running = new AbortController();
    one.running = running;
    this.say(one, "sending");
    try {
      // one window sends it; another one looks again later
      const locks = navigator.locks;
      const job = () => this.send(one, running.signal);
      const mine = await (locks
        ? locks.request(`teleread-${one.item.id}`, { ifAvailable: true }, (lock) => (lock ? job() : false))
        : job());
      if (mine === false) await this.lookAgain(one);
    } catch (error) {
      if (running.signal.aborted) this.say(one, one.item.paused ? "paused" : "overtaken");
      else this.failed(one, error);
    } finally {
      one.running = null;
    }
    this.onChange(one);
    this.pump();
  }

  /** @param {Ride} one */
  async lookAgain(one) {
    const now = await this.kept?.item(one.item.id);
    if (now) one.item = now;
    one.notBefore = Date.now() + 2000;
    this.say(one, now?.receipts.length ? "sent" : "elsewhere");
  }

  /** @param {Ride} one @param {AbortSignal} signal */
  async send(one, signal) {
    const { item } = one;
    const blobs = one.blobs ?? (await this.kept?.blobs(item)) ?? [];
    if (item.files.some((_file, n) => !blobs[n])) throw new DOMException("", "NotFoundError");
    for (const [n, file] of item.files.entries()) {
      if (!file.sha256) file.sha256 = await sha256(blobs[n]);
    }
    // the same files meet in the same group, whoever sends them
    if (item.files.length > 1) item.group = (await sha256(new Blob(item.files.map((file) => file.sha256)))).slice(0, 32);
    const keep = () => {
      const { files, group } = item;
      this.change(one, (kept) => Object.assign(kept, { files, group }));
    };
    keep();
    /** @type {string[]} */
    let receipts = [];
    for (const [n, file] of item.files.entries()) {
      receipts = await send(file, blobs[n], {
        urgent: item.urgent,
        group: item.group,
        groupSize: item.files.length,
        signal,
        onPlace: keep,
        onSent: (sent, there) => {
          one.sent[n] = sent;
          if (there) one.there[n] = sent;
          const whole = one.sent.every((bytes, k) => bytes >= item.files[k].size);
          one.state = whole ? "judging" : "sending";
          this.onChange(one);
        },
      });
      if (receipts.length) break;
    }
    if (!receipts.length) throw new Broken("not_yet");
    item.receipts = receipts;
    one.blobs = null;
    one.tries = 0;
    one.state = "sent";
    // pressed while the last bytes were on their way
    const known = item.files.every((file) => file.urgent);
    item.owed = item.urgent && !known;
    for (const file of item.files) file.name = "";
    if (one.kept && (await this.kept?.received(item.id, receipts, known).catch(() => false))) {
      Object.assign(item, { urgent: true, urgentAt: item.urgentAt || Date.now(), owed: true });
    }
    if (item.owed) this.owing.owe(one);
    return true;
  }

  /** @param {Ride} one @param {unknown} error */
  failed(one, error) {
    one.sent = [...one.there]; // what left last may be lost
    const refused = error instanceof Refused ? error : null;
    const passing = refused ? refused.status >= 500 || PASSING.has(refused.status) : error instanceof Broken;
    const damaged = refused?.words.code === "upload_hash_mismatch" && one.tries < 3;
    one.refusal = refused && !damaged ? refused : null;
    if (!passing && !damaged) {
      one.fileGone = !refused;
      this.say(one, "refused");
      return;
    }
    const signIn = refused?.status === 401;
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** one.tries);
    one.tries += 1;
    one.notBefore = Date.now() + (signIn ? SIGN_IN_PAUSE_MS : longest * (0.5 + Math.random() / 2));
    if (!refused && error instanceof Broken && error.message === "line_broken") heard(false);
    this.say(one, "offline");
  }
}

/** @param {Item} item @param {Blob[] | null} blobs @returns {Ride} */
function ride(item, blobs) {
  return {
    item,
    blobs,
    kept: true,
    state: item.receipts.length ? "sent" : item.paused ? "paused" : "waiting",
    sent: item.files.map(() => 0),
    there: item.files.map(() => 0),
    running: null,
    tries: 0,
    notBefore: 0,
    refusal: null,
    fileGone: false,
    notRaised: null,
  };
}

/** A new name: 32 hexadecimal digits (``randomUUID`` is for secure contexts only). */
const name = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
