// Intervals and axes from the marks of the usual beat, by the same formulas as the server's. Pure.

const AUGMENTED = 2 / Math.sqrt(3); // an augmented lead shows a vector along it by this much smaller
const LEAST_NET_MV = 0.01; // a smaller mean deflection has no direction to speak of

/** @typedef {Record<string, number | null>} Marks samples of the beat; null: there is no such wave */

/** @type {Record<string, (qt: number, rr: number) => number>} */
export const QTC = {
  bazett: (qt, rr) => qt / Math.sqrt(rr / 1000),
  fridericia: (qt, rr) => qt / Math.cbrt(rr / 1000),
  framingham: (qt, rr) => qt + 154 * (1 - rr / 1000),
  hodges: (qt, rr) => qt + 1.75 * (60000 / rr - 60),
};

/**
 * What follows from marks, in ms and degrees; what cannot be measured is absent.
 * @param {import("./ecg-beat.js").Beat} beat
 * @param {Marks} marks
 * @param {number | null} rrMs
 * @returns {Record<string, number>}
 */
export function measure(beat, marks, rrMs) {
  /** @type {Record<string, number>} */
  const found = {};
  const between = (/** @type {string} */ name, /** @type {string} */ from, /** @type {string} */ to) => {
    const [a, b] = [marks[from], marks[to]];
    if (a != null && b != null && b > a) found[name] = tenth(((b - a) * 1000) / beat.fs_hz);
  };
  between("p_duration_ms", "p_on", "p_off");
  between("pr_ms", "p_on", "qrs_on");
  between("qrs_duration_ms", "qrs_on", "qrs_off");
  between("qt_ms", "qrs_on", "t_off");
  if (found.qt_ms !== undefined && rrMs) {
    for (const [name, correct] of Object.entries(QTC)) found[`qtc_${name}_ms`] = tenth(correct(found.qt_ms, rrMs));
  }
  const axis = qrsAxis(beat, marks);
  if (axis !== null) found.qrs_axis_deg = tenth(axis);
  return found;
}

/**
 * The frontal axis of QRS from its net areas in I and aVF against the level just before it.
 * @param {import("./ecg-beat.js").Beat} beat
 * @param {Marks} marks
 * @returns {number | null} degrees, null where there is none
 */
export function qrsAxis(beat, marks) {
  const [on, off] = [marks.qrs_on, marks.qrs_off];
  const row = (/** @type {string} */ lead) => beat.samples_uv[beat.leads.indexOf(lead)] ?? null;
  const [one, two] = [row("I"), row("II")];
  if (on == null || off == null || off - on < 3 || !one) return null;
  const foot = row("aVF") ?? (two && two.map((uv, n) => uv - 0.5 * one[n]));
  if (!foot) return null;
  const x = net(one, beat.fs_hz, on, off);
  const y = AUGMENTED * net(foot, beat.fs_hz, on, off);
  if (Math.hypot(x, y) < LEAST_NET_MV) return null;
  const degrees = (Math.atan2(y, x) * 180) / Math.PI;
  return degrees <= -180 ? 180 : degrees;
}

/**
 * @param {number[]} row µV
 * @param {number} fs
 * @param {number} on
 * @param {number} off
 * @returns {number} mV
 */
function net(row, fs, on, off) {
  const stop = Math.max(1, on - Math.round(0.002 * fs));
  const start = Math.max(0, stop - Math.round(0.016 * fs));
  return (mean(row, off + 1, on) - mean(row, stop, start)) / 1000;
}

/**
 * @param {number[]} row
 * @param {number} stop
 * @param {number} start
 */
function mean(row, stop, start) {
  let sum = 0;
  for (let n = start; n < stop; n++) sum += row[n];
  return sum / (stop - start);
}

/** @param {number} value */
function tenth(value) {
  return Math.round(value * 10) / 10;
}
