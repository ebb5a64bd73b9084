// Keeps what is shown of a receipt up to date, and takes the presses on it. On its own page and on the sender's cards.

import { serverNow } from "./clock.js";
import { AnswersForm } from "./clinic-form.js";
import { ask, Broken, line } from "./clinic-line.js";
import { Kept } from "./clinic-kept.js";
import { OwedHere } from "./clinic-owing.js";

const URGENT_EVERY_MS = 3000;
const EVERY_MS = 15_000;
const SETTLED_EVERY_MS = 60_000;
const VERDICT_WAIT_S = 2;

/** Telephone numbers that are due, also while the line is broken. */
function call() {
  for (const one of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".fallback[data-after]"))) {
    // the reading centre may have said so before: its clock counts
    if (one.hidden && serverNow() >= Number(one.dataset.after)) one.hidden = false;
  }
}

setInterval(call, 500);

export class Live {
  /**
   * @param {HTMLElement} root holds ``.whose`` and ``.live``, or will once they are fetched
   * @param {string} receipt
   * @param {(facts: DOMStringMap) => void} [onFacts]
   */
  constructor(root, receipt, onFacts) {
    this.root = root;
    this.address = `/receipts/${encodeURIComponent(receipt)}`;
    this.onFacts = onFacts;
    this.busy = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.ended = false;
    /** @type {(() => void) | null} "urgent" was pressed; on a receipt's own page alone */
    this.onUrgent = null;
    root.addEventListener("submit", (event) => this.pressed(/** @type {SubmitEvent} */ (event)));
    line.addEventListener("back", () => this.soon(0));
  }

  /** The card, with the verdict as soon as it is there. */
  async fetch() {
    try {
      const answer = await ask("GET", `${this.address}/card?wait=${VERDICT_WAIT_S}`);
      if (answer.status === 200) this.root.innerHTML = answer.text;
      this.root.dispatchEvent(new CustomEvent("shown", { bubbles: true }));
      this.told();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
    }
    this.soon();
  }

  get facts() {
    return /** @type {HTMLElement | null} */ (this.root.querySelector(".facts-of"))?.dataset ?? {};
  }

  told() {
    call();
    this.onFacts?.(this.facts);
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
  }

  /** @param {number} [ms] */
  soon(ms) {
    clearTimeout(this.timer);
    if (this.ended) return;
    const { priority, settled, queued } = this.facts;
    const every = settled ? SETTLED_EVERY_MS : priority === "urgent" || !queued ? URGENT_EVERY_MS : EVERY_MS;
    this.timer = setTimeout(() => this.refresh(), ms ?? every);
  }

  async refresh() {
    const live = /** @type {HTMLElement | null} */ (this.root.querySelector(".live"));
    if (this.busy) return;
    this.busy = true;
    try {
      if (!live) {
        await this.fetch();
        return;
      }
      const before = this.facts.judged;
      const answer = await ask("GET", `${this.address}/status?seen=${live.dataset.state}`);
      // what is as it was is not written again, and so not announced again
      if (answer.status !== 200) return;
      const act = /** @type {HTMLElement | null} */ (document.activeElement)?.closest?.("form")?.dataset.act;
      live.innerHTML = answer.text;
      live.dataset.state = answer.header("Teleread-State");
      if (act) /** @type {HTMLElement | null} */ (live.querySelector(`form[data-act=${act}] button`))?.focus();
      this.told();
      if (this.facts.judged !== before) await this.whose();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
    } finally {
      this.busy = false;
      this.soon();
    }
  }

  /** Whose it is is known once it has been read in. */
  async whose() {
    const answer = await ask("GET", `${this.address}/card`);
    const fresh = document.createElement("template");
    fresh.innerHTML = answer.text;
    const [now, then] = [this.root.querySelector(".whose"), fresh.content.querySelector(".whose")];
    if (answer.status === 200 && now && then) now.replaceWith(then);
  }

  /** @param {SubmitEvent} event */
  async pressed(event) {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const act = form.dataset.act;
    if (!act || (act === "urgent" && !this.onUrgent)) return; // a plain form until this page is ready
    event.preventDefault();
    if (act === "urgent") {
      this.onUrgent?.();
      return;
    }
    const button = form.querySelector("button");
    if (button) button.disabled = true;
    try {
      const body = new URLSearchParams(/** @type {[string, string][]} */ ([...new FormData(form)]));
      const answer = await ask("POST", `/api${this.address}/${act}`, { body });
      if (answer.status === 200 && act === "patient") await this.whose();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
    } finally {
      if (button) button.disabled = false;
      this.soon(0);
    }
  }
}

const own = document.getElementById("receipt");
if (own) {
  const { receipt = "", site = "" } = own.dataset;
  const live = new Live(own, receipt);
  const correct = document.querySelector("#correct details");
  if (location.hash === "#correct" && correct) /** @type {HTMLDetailsElement} */ (correct).open = true;
  live.told();
  live.soon(0);
  const form = /** @type {HTMLFormElement} */ (own.querySelector("form.questions"));
  const notice = (/** @type {string} */ name) => /** @type {HTMLElement} */ (own.querySelector(`.card-${name}`));
  Kept.open().then((kept) => {
    new AnswersForm(form, receipt, site, kept, () => live.soon(0)).received(receipt);
    const owed = new OwedHere(kept, receipt, site, (state, code) => {
      notice("owed").hidden = state !== "owed";
      notice("unraised").hidden = state !== "refused";
      /** @type {HTMLElement} */ (own.querySelector(".unraised-code")).textContent = code;
      /** @type {HTMLElement | null} */ (own.querySelector("form[data-act=urgent]"))?.toggleAttribute("hidden", state !== "refused");
      live.soon(0);
    });
    live.onUrgent = () => owed.pressed();
    owed.resume();
  });
}
