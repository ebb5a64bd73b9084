// Where each lead stands on the paper. Pure; all lengths in millimetres, times in seconds.

export const TWELVE = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
export const PAGE_S = 10;
export const PULSE_MM = 10; // room for the calibration pulse at the left of each row
const TOP_MM = 5;

/** @typedef {{lead: string, from: number, to: number, x: number, baseline: number}} Cell */
/** @typedef {{cells: Cell[], rows: number[], marks: {x: number, y: number, from: number, to: number}[], width: number, height: number}} Layout */

/**
 * The layouts that a set of leads allows; the first is the usual one.
 * @param {string[]} leads
 * @returns {string[]}
 */
export function possible(leads) {
  return TWELVE.every((lead) => leads.includes(lead)) ? ["3x4", "6x2", "12x1"] : ["12x1"];
}

/**
 * @param {string} name one of possible()
 * @param {string[]} leads in the order of the record
 * @param {number} start of the page
 * @param {number} span of the page, at most PAGE_S
 * @param {number} speed mm per second
 * @param {number} gain mm per millivolt
 * @returns {Layout}
 */
export function arrange(name, leads, start, span, speed, gain) {
  const columns = name === "3x4" ? 4 : name === "6x2" ? 2 : 1;
  const ordered = columns === 1 ? leads : TWELVE;
  const perColumn = ordered.length / columns;
  const rhythm = name === "3x4" ? 1 : 0;
  const row = rowHeight(columns, gain);
  /** @type {Cell[]} */
  const cells = [];
  const width = span * speed;
  const step = span / columns;
  const baselineOf = (/** @type {number} */ n) => TOP_MM + (n + 0.55) * row;
  ordered.forEach((lead, n) => {
    const column = Math.floor(n / perColumn);
    const from = start + column * step;
    cells.push({ lead, from, to: from + step, x: PULSE_MM + column * step * speed, baseline: baselineOf(n % perColumn) });
  });
  if (rhythm) cells.push({ lead: "II", from: start, to: start + span, x: PULSE_MM, baseline: baselineOf(perColumn) });
  const rows = Array.from({ length: perColumn + rhythm }, (_, n) => baselineOf(n));
  // R-peak ticks: above the rhythm strip where there is one, else above the uppermost lead of each column
  const marked = rhythm ? cells.slice(-1) : cells.filter((cell) => cell.baseline === rows[0]);
  const marks = marked.map(({ x, from, to, baseline }) => ({ x, from, to, y: Math.max(3.5, baseline - row * 0.5) }));
  return { cells, rows, marks, width: PULSE_MM + width, height: Math.ceil((TOP_MM + rows.length * row + 3) / 5) * 5 };
}

/**
 * The part of a page that stands in a window on the paper. A column begins where the one before it ends, so a place
 * on the paper is one time in every layout.
 * @param {number} left mm of paper before the window
 * @param {number} width mm
 * @param {number} span of the page in seconds
 * @param {number} speed mm per second
 * @returns {{from: number, to: number}} seconds from the page's begin
 */
export function inView(left, width, span, speed) {
  const at = (/** @type {number} */ mm) => Math.min(span, Math.max(0, (mm - PULSE_MM) / speed));
  return { from: at(left), to: at(left + width) };
}

/**
 * @param {number} columns
 * @param {number} gain
 */
function rowHeight(columns, gain) {
  const usual = columns === 4 ? 25 : columns === 2 ? 22 : 18;
  return gain > 10 ? usual * 1.6 : gain < 10 ? usual * 0.8 : usual;
}
