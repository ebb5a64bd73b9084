// The clinic's answers: saved when changed; without a line kept here and sent later.

import { fill } from "./clock.js";
import { ask, Broken, line, refusal } from "./clinic-line.js";

/**
 * @typedef {import("./clinic-kept.js").Kept} Kept
 * @typedef {import("./clinic-kept.js").Answers} Kept_Answers
 */

const PAUSE_MS = 400;
const AGAIN_MS = 5000;

export class AnswersForm {
  /**
   * @param {HTMLFormElement} form
   * @param {string} id under which its answers are kept
   * @param {string} site
   * @param {Kept | null} kept
   * @param {() => void} onSaved
   */
  constructor(form, id, site, kept, onSaved) {
    this.form = form;
    this.id = id;
    this.site = site;
    this.kept = kept;
    this.onSaved = onSaved;
    this.receipt = "";
    /** @type {Kept_Answers | null} */
    this.unsent = null;
    this.sending = false;
    this.said = /** @type {HTMLElement} */ (form.querySelector(".kept"));
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {HTMLElement} */ (form.querySelector(".save")).hidden = true;
    form.addEventListener("change", (event) => this.changed(/** @type {HTMLElement} */ (event.target)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.changed(null);
    });
    line.addEventListener("back", () => this.send());
    this.restore();
  }

  async restore() {
    const known = await this.kept?.answers(this.id).catch(() => undefined);
    if (!known || this.unsent) return;
    this.fill(new Map(known.fields));
    if (known.sent) return;
    this.unsent = known;
    this.send();
  }

  /** @param {Map<string, string>} values */
  fill(values) {
    for (const field of this.fields()) {
      if (field.type === "radio" || field.type === "checkbox") field.checked = values.get(field.name) === field.value;
      else field.value = values.get(field.name) ?? "";
    }
  }

  /** What the reading centre has: shown again, so that a later answer does not wipe it. @param {string} [fields] */
  answered(fields) {
    if (this.unsent || this.sending || !fields) return;
    const values = new Map(Object.entries(JSON.parse(fields)));
    if (values.size) this.fill(values);
  }

  /** The recording has been received: the answers follow it. @param {string} receipt */
  received(receipt) {
    if (this.receipt) return;
    this.receipt = receipt;
    this.send();
  }

  fields() {
    return /** @type {HTMLInputElement[]} */ ([...this.form.elements].filter((one) => one instanceof HTMLInputElement));
  }

  /** @param {HTMLElement | null} field */
  changed(field) {
    // a range that was pressed takes the place of a number that was typed, and the other way round
    const named = /** @type {HTMLInputElement | null} */ (field)?.name ?? "";
    for (const one of this.fields()) {
      if (named === "pressure" && one.name.endsWith("stolic")) one.value = "";
      if (named === "systolic" && one.name === "pressure") one.checked = false;
      if (named === "drug_none" && one.name.startsWith("drug_") && one.name !== named) one.checked = false;
      if (named.startsWith("drug_") && named !== "drug_none" && one.name === "drug_none") one.checked = false;
    }
    const fields = /** @type {[string, string][]} */ ([...new FormData(this.form)].filter(([, value]) => value !== ""));
    this.unsent = { id: this.id, site: this.site, fields, at: Date.now() };
    const keeping = this.kept ? this.kept.keepAnswers(this.unsent) : Promise.reject(new Error("nothing keeps"));
    keeping.then(
      () => this.say("kept"),
      () => this.say("page"),
    );
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), PAUSE_MS);
  }

  async send() {
    const answers = this.unsent;
    if (!this.receipt || !answers || this.sending) return;
    clearTimeout(this.timer);
    this.sending = true;
    try {
      const body = new URLSearchParams(answers.fields);
      const answer = await ask("POST", `/api/receipts/${encodeURIComponent(this.receipt)}/form`, { body });
      if (answer.status !== 200) throw refusal(answer);
      if (this.unsent === answers) this.unsent = null;
      await this.kept?.answersReceived(answers, this.id !== this.receipt).catch(() => {});
      this.say("saved");
      this.onSaved();
    } catch (error) {
      if (!(error instanceof Broken)) this.refused(error);
      else this.timer = setTimeout(() => this.send(), AGAIN_MS);
    } finally {
      this.sending = false;
    }
    if (this.unsent && this.unsent !== answers) this.send();
  }

  /** @param {unknown} error */
  refused(error) {
    const { words, status } = /** @type {import("./clinic-line.js").Refused} */ (error);
    this.said.textContent = fill("{what} {todo}", { what: words?.what ?? String(status), todo: words?.todo ?? "" });
    this.said.classList.add("wrong");
    if (status === 401 || status >= 500) this.timer = setTimeout(() => this.send(), AGAIN_MS);
  }

  /** @param {"saved" | "kept" | "page"} what */
  say(what) {
    if (what !== "saved" && !this.unsent) return; // sent meanwhile
    this.said.textContent = this.said.dataset[what] ?? "";
    this.said.classList.remove("wrong");
  }
}
