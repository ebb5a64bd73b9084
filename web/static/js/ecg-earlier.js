// The same patient's earlier ECG: what changed, in words, and its samples for whoever draws them.

import { fill } from "./clock.js";
import { Source } from "./ecg-source.js";

/** @typedef {{arrival: string, acquired: string, site: string, leads: string[], fs_hz: number, n_samples: number, compared: boolean, lines: {text: string, significant: boolean}[]}} Comparison */

export class Earlier {
  /**
   * @param {HTMLElement} panel `#earlier-panel`
   * @param {string} caseId
   */
  constructor(panel, caseId) {
    this.panel = panel;
    this.caseId = caseId;
    this.chooser = /** @type {HTMLSelectElement} */ (panel.querySelector("select"));
    /** @type {Comparison | undefined} */
    this.comparison = undefined;
    /** @type {Source | undefined} */
    this.source = undefined;
  }

  /** Ask for the chosen one and say what changed. @returns {Promise<boolean>} whether it is there */
  async load() {
    const of = this.chooser.value;
    try {
      const answer = await fetch(`/api/cases/${encodeURIComponent(this.caseId)}/earlier?of=${encodeURIComponent(of)}`);
      if (!answer.ok) throw new Error("no earlier recording");
      const found = /** @type {Comparison} */ (await answer.json());
      if (of !== this.chooser.value) return false; // another one was chosen meanwhile
      this.comparison = found;
      this.source = new Source({ arrival: found.arrival, leads: found.leads, fs: found.fs_hz, total: found.n_samples });
      this.say(found);
      return true;
    } catch {
      this.forget();
      this.list([{ text: this.panel.dataset.failed ?? "", significant: false }]);
      return false;
    }
  }

  /** @param {Comparison} found */
  say(found) {
    const words = this.panel.dataset;
    if (!found.compared) this.list([{ text: words.uncompared ?? "", significant: false }]);
    else if (found.lines.length === 0) this.list([{ text: words.same ?? "", significant: false }]);
    else this.list(found.lines);
  }

  /** @param {{text: string, significant: boolean}[]} lines */
  list(lines) {
    const [first, rest] = ["ul.changed", "ul.unchanged"].map((name) => /** @type {HTMLElement} */ (this.panel.querySelector(name)));
    const beyond = lines.filter((one) => one.significant);
    const main = beyond.length ? beyond : lines.length === 1 ? lines : [{ text: this.panel.dataset.same ?? "", significant: false }];
    first.replaceChildren(...main.map(item));
    const others = lines.filter((one) => !main.includes(one));
    rest.replaceChildren(...others.map(item));
    /** @type {HTMLElement} */ (this.panel.querySelector("details")).hidden = others.length === 0;
  }

  get caption() {
    const { acquired, site } = this.comparison ?? { acquired: "", site: "" };
    return fill(this.panel.dataset.caption, { time: acquired, site });
  }

  forget() {
    this.source?.clear();
    this.source = this.comparison = undefined;
  }
}

/** @param {{text: string, significant: boolean}} line */
function item(line) {
  const element = document.createElement("li");
  element.textContent = line.text;
  if (line.significant) element.className = "is-significant";
  return element;
}
