// Where each lead's baseline lies: an offset of the device must not carry a trace off the paper. Pure.

const SHIFT_MV = 0.2; // less is drawn as it was recorded

/** @typedef {import("./ecg-source.js").Recording} Recording */

/** @type {WeakMap<Recording, Map<string, number[]>>} */
const known = new WeakMap();

/**
 * The value that is drawn on each lead's line: its median in what is shown, where that is far from zero, else zero.
 * @param {Recording} recording
 * @param {number} from seconds
 * @param {number} to seconds
 * @returns {number[]} mV, one for each lead
 */
export function baselines(recording, from, to) {
  const pages = known.get(recording) ?? new Map();
  known.set(recording, pages);
  const key = `${from} ${to}`;
  const found = pages.get(key) ?? medians(recording, from, to);
  pages.set(key, found);
  return found;
}

/**
 * @param {Recording} recording
 * @param {number} from
 * @param {number} to
 */
function medians(recording, from, to) {
  const first = Math.max(0, Math.round(from * recording.fs) - recording.start);
  const last = Math.min(recording.n, Math.round(to * recording.fs) - recording.start);
  return recording.leads.map((_, lead) => {
    const page = recording.samples.subarray(lead * recording.n + first, lead * recording.n + last);
    const present = page.filter((value) => value !== recording.missing).sort();
    if (present.length === 0) return 0;
    const median = present[present.length >> 1] * recording.mvPerStep + recording.offsetsMv[lead];
    return Math.abs(median) > SHIFT_MV ? median : 0;
  });
}

/**
 * The leads whose line does not stand for zero.
 * @param {Recording} recording
 * @param {number[]} baselinesMv
 */
export function shifted(recording, baselinesMv) {
  return recording.leads.filter((_, lead) => baselinesMv[lead] !== 0);
}
