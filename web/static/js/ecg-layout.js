// Where each lead stands on the paper. Pure; all lengths in millimetres, times in seconds.

export const TWELVE = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
/** The frontal plane in its order, aVR turned round. */
export const CABRERA = ["aVL", "I", "-aVR", "II", "aVF", "III", "V1", "V2", "V3", "V4", "V5", "V6"];
export const PAGE_S = 10;
export const PULSE_MM = 10; // room for the calibration pulse at the left of each row
export const FOOT_MM = 6; // room for what is printed below the traces
const TOP_MM = 5;

/** @typedef {{lead: string, sign: number, label: string, from: number, to: number, x: number, baseline: number}} Cell */
/** @typedef {{cells: Cell[], rows: number[], marks: {x: number, y: number, from: number, to: number}[], width: number, height: number}} Layout */
/** @typedef {{name: string, order: string, rhythm: string, speed: number, gain: number}} Setting */

/**
 * The layouts that a set of leads allows; the first is the usual one.
 * @param {string[]} leads
 * @returns {string[]}
 */
export function possible(leads) {
  return isTwelve(leads) ? ["3x4", "6x2", "12x1"] : ["12x1"];
}

/** @param {string[]} leads */
export function isTwelve(leads) {
  return TWELVE.every((lead) => leads.includes(lead));
}

/**
 * Leads in the order in which they are drawn, each with its sign.
 * @param {string} order "standard" or "cabrera"
 * @param {string[]} leads in the order of the record
 * @param {boolean} all whether leads beyond the twelve are drawn as well
 * @returns {{lead: string, sign: number, label: string}[]}
 */
export function ordered(order, leads, all) {
  const names = !isTwelve(leads) ? leads : order === "cabrera" ? CABRERA : TWELVE;
  const extra = all ? leads.filter((lead) => !names.includes(lead) && !names.includes(`-${lead}`)) : [];
  return [...names, ...extra].map((name) =>
    name.startsWith("-") && !leads.includes(name)
      ? { lead: name.slice(1), sign: -1, label: `−${name.slice(1)}` }
      : { lead: name, sign: 1, label: name },
  );
}

/**
 * @param {Setting} setting its name is one of possible()
 * @param {string[]} leads in the order of the record
 * @param {number} start of the page
 * @param {number} span of the page, at most PAGE_S
 * @param {number} [highest] mm that the paper may be high
 * @returns {Layout}
 */
export function arrange({ name, order, rhythm, speed, gain }, leads, start, span, highest) {
  const columns = name === "3x4" ? 4 : name === "6x2" ? 2 : 1;
  const shown = ordered(order, leads, columns === 1);
  const perColumn = Math.ceil(shown.length / columns);
  const strip = name === "3x4" ? 1 : 0;
  const count = perColumn + strip;
  const row = Math.min(rowHeight(columns, gain), ((highest ?? Infinity) - TOP_MM - 3 - FOOT_MM) / count);
  /** @type {Cell[]} */
  const cells = [];
  const step = span / columns;
  const baselineOf = (/** @type {number} */ n) => TOP_MM + (n + 0.55) * row;
  shown.forEach((one, n) => {
    const column = Math.floor(n / perColumn);
    const from = start + column * step;
    const x = PULSE_MM + column * step * speed;
    cells.push({ ...one, from, to: from + step, x, baseline: baselineOf(n % perColumn) });
  });
  if (strip) {
    const lead = leads.includes(rhythm) ? rhythm : "II";
    cells.push({ lead, sign: 1, label: lead, from: start, to: start + span, x: PULSE_MM, baseline: baselineOf(perColumn) });
  }
  const rows = Array.from({ length: count }, (_, n) => baselineOf(n));
  // R-peak ticks: above the rhythm strip where there is one, else above the uppermost lead of each column
  const marked = strip ? cells.slice(-1) : cells.filter((cell) => cell.baseline === rows[0]);
  const marks = marked.map(({ x, from, to, baseline }) => ({ x, from, to, y: Math.max(3.5, baseline - row * 0.5) }));
  const height = Math.ceil((TOP_MM + count * row + 3 + FOOT_MM) / 5) * 5;
  return { cells, rows, marks, width: PULSE_MM + span * speed, height: highest ? Math.min(height, highest) : height };
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
