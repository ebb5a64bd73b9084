// A draft is saved as it is typed, a second after the last key, by the reader who has the case.

import { serverNow } from "./clock.js";

const AFTER_MS = 1000;
const AGAIN_MS = 5000;

export class Draft {
  /** @param {HTMLFormElement} form @param {() => object} body @param {HTMLElement} place where its state is said */
  constructor(form, body, place) {
    this.form = form;
    this.body = body;
    this.place = place;
    this.revision = Number(form.dataset.revision || 0);
    this.dirty = false;
    this.stopped = false;
    this.timer = 0;
    this.saving = /** @type {Promise<void> | null} */ (null);
  }

  /** Something was typed. */
  touch() {
    this.dirty = true;
    if (this.stopped) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), AFTER_MS);
  }

  /** Save now, also where the page is being left. */
  flush() {
    clearTimeout(this.timer);
    if (this.dirty && !this.stopped) this.save(true);
  }

  /** Nothing more is saved: the report is being signed. */
  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  resume() {
    this.stopped = false;
    if (this.dirty) this.touch();
  }

  /** @param {boolean} leaving */
  async save(leaving = false) {
    if (this.saving) await this.saving;
    if (!this.dirty || this.stopped) return;
    this.saving = this.put(leaving);
    await this.saving;
    this.saving = null;
  }

  /** @param {boolean} leaving */
  async put(leaving) {
    const said = this.form.dataset;
    this.dirty = false;
    this.place.textContent = said.saving ?? "";
    const body = { item_id: said.item, fence: Number(said.fence), revision: this.revision, body: this.body() };
    try {
      const answer = await fetch(`/api/cases/${said.case}/draft`, {
        method: "PUT",
        body: JSON.stringify(body),
        keepalive: leaving,
      });
      const found = await answer.json();
      if (answer.ok) {
        this.revision = found.revision;
        // by the alliance's clock, as every other time of the page
        const time = new Date(serverNow() + Number(said.zone ?? 0) * 60000).toISOString().slice(11, 19);
        this.place.textContent = (said.saved ?? "").replace("{time}", time);
        return;
      }
      this.dirty = true;
      this.failed(`${found.error?.what ?? answer.status} ${found.error?.todo ?? ""}`);
      // somebody else's draft, or a claim that has ended: trying again would not help
      if (answer.status === 409) this.stopped = true;
    } catch {
      this.dirty = true;
      this.failed(said.line ?? "");
      this.timer = setTimeout(() => this.save(), AGAIN_MS);
    }
  }

  /** @param {string} why */
  failed(why) {
    this.place.textContent = (this.form.dataset.unsaved ?? "").replace("{why}", why);
  }
}
