// Where the samples come from: page by page, through the server's filters. Nothing is kept beyond this page.

const AT_ONCE_S = 60; // the server's longest window
const KEPT = 24;

/**
 * Samples in 16-bit steps, lead after lead. `start` is the recording's sample that the first one is.
 * @typedef {{leads: string[], fs: number, total: number, start: number, n: number, mvPerStep: number, offsetsMv: number[], missing: number, rPeaks: number[], samples: Int16Array, view: string, applied: Applied, st: boolean}} Recording
 */
/** @typedef {{high_pass_hz: number | null, low_pass_hz: number | null, notch_hz: number | null, baseline_removed: boolean}} Applied */
/** @typedef {{arrival: string, leads: string[], fs: number, total: number}} Known */

export class Source {
  /** @param {Known} known what the page says of the recording */
  constructor(known) {
    this.known = known;
    /** @type {Map<string, Promise<Recording>>} */
    this.kept = new Map();
  }

  /** @returns {number} seconds */
  get duration() {
    return this.known.total / this.known.fs;
  }

  /**
   * The samples in which a page lies.
   * @param {number} start seconds
   * @param {number} span seconds
   * @param {string} view
   * @returns {Promise<Recording>}
   */
  window(start, span, view) {
    const { fs, total } = this.known;
    const whole = total <= AT_ONCE_S * fs;
    const first = whole ? 0 : Math.max(0, Math.floor(start * fs));
    const n = whole ? total : Math.min(total - first, Math.ceil(span * fs) + 1);
    const key = `${view} ${first} ${n}`;
    const found = this.kept.get(key) ?? this.fetch(first, n, view);
    this.kept.delete(key);
    this.kept.set(key, found); // the one used last stands last
    found.catch(() => this.kept.delete(key));
    while (this.kept.size > KEPT) this.kept.delete(/** @type {string} */ (this.kept.keys().next().value));
    return found;
  }

  /**
   * @param {number} first
   * @param {number} n
   * @param {string} view
   * @returns {Promise<Recording>}
   */
  async fetch(first, n, view) {
    const answer = await fetch(`${this.address}/window?start=${first}&n=${n}&view=${view}`);
    if (!answer.ok) throw new Error("no recording");
    const data = await answer.arrayBuffer();
    const length = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const samples = new Int16Array(data, 4 + length); // little-endian, as every machine that runs this browser
    if (samples.length !== this.known.leads.length * head.n || head.n === 0) throw new Error("recording cut short");
    return {
      leads: this.known.leads,
      fs: this.known.fs,
      total: this.known.total,
      start: head.start,
      n: head.n,
      mvPerStep: head.uv_per_step / 1000,
      offsetsMv: head.offset_uv.map((/** @type {number} */ uv) => uv / 1000),
      missing: head.missing,
      rPeaks: head.r_peaks,
      samples,
      view: head.view,
      applied: head.applied,
      st: head.st,
    };
  }

  /**
   * The usual beat of the part in which a second lies, null where there is none.
   * @param {number} at seconds
   * @returns {Promise<import("./ecg-beat.js").Beat | null>}
   */
  async beat(at) {
    const answer = await fetch(`${this.address}/beat?at=${Math.floor(at * this.known.fs)}`);
    if (!answer.ok) throw new Error("no beat");
    return answer.json();
  }

  get address() {
    return `/api/recordings/${encodeURIComponent(this.known.arrival)}`;
  }

  clear() {
    this.kept.clear();
  }
}
