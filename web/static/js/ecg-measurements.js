// The values that the page shows and the report takes: the program's, until a reader moves a mark.

import { fill } from "./clock.js";
import { QTC } from "./ecg-intervals.js";

const QT = ["qrs_on", "t_off"];
const FORMULAS = Object.keys(QTC);

/** Which marks each value rests on, and its unit. @type {Record<string, {marks: string[], unit: string, method: string}>} */
const FROM_MARKS = {
  p_duration_ms: { marks: ["p_on", "p_off"], unit: "ms", method: "marks" },
  pr_ms: { marks: ["p_on", "qrs_on"], unit: "ms", method: "marks" },
  qrs_duration_ms: { marks: ["qrs_on", "qrs_off"], unit: "ms", method: "marks" },
  qrs_axis_deg: { marks: ["qrs_on", "qrs_off"], unit: "deg", method: "marks" },
  qt_ms: { marks: QT, unit: "ms", method: "marks" },
  ...Object.fromEntries(FORMULAS.map((name) => [`qtc_${name}_ms`, { marks: QT, unit: "ms", method: name }])),
};

/** @typedef {{value: number, unit: string, by: "program" | "reader", method: string}} One */

export class Measurements {
  /** @param {HTMLElement} element `#measurements`: its data-json is what the report takes */
  constructor(element) {
    this.element = element;
    /** @type {Record<string, One>} */
    this.program = JSON.parse(element.dataset.json ?? "{}");
    this.current = { ...this.program };
  }

  /** @returns {number | null} */
  get rrMs() {
    return this.program.rr_mean_ms?.value ?? null;
  }

  /**
   * @param {import("./ecg-beat.js").BeatView} view
   * @param {string} formula of QTc
   */
  follow(view, formula) {
    const found = view.measured(this.rrMs);
    const { moved } = view;
    const next = { ...this.program };
    for (const [name, { marks, unit, method }] of Object.entries(FROM_MARKS)) {
      if (!marks.some((mark) => moved.includes(mark))) continue;
      delete next[name];
      if (found[name] !== undefined) next[name] = { value: found[name], unit, by: "reader", method };
    }
    delete next.qtc_ms;
    const corrected = next[`qtc_${formula}_ms`];
    if (corrected) next.qtc_ms = corrected;
    this.current = next;
    this.element.dataset.json = JSON.stringify(next);
    this.show();
    this.element.dispatchEvent(new CustomEvent("measurements-changed", { bubbles: true, detail: next }));
  }

  /** Every place of the page that shows one of the values. */
  show() {
    for (const place of document.querySelectorAll("[data-measure]")) {
      const shown = /** @type {HTMLElement} */ (place);
      const one = this.current[shown.dataset.measure ?? ""];
      const text = one ? `${Math.round(one.value)} ${shown.dataset.unit ?? ""}` : "–";
      const reader = one?.by === "reader";
      const words = reader ? `${text} · ${this.element.dataset.byReader ?? ""}` : text;
      if (shown.textContent !== words) shown.textContent = words;
      shown.classList.toggle("by-reader", reader);
    }
    for (const place of document.querySelectorAll("[data-formula]")) {
      const shown = /** @type {HTMLElement} */ (place);
      const method = this.current.qtc_ms?.method ?? "";
      shown.textContent = fill(shown.dataset.formula, { name: method.charAt(0).toUpperCase() + method.slice(1) });
    }
  }
}
