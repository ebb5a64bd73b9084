// One recording on the sender's page: how far it is, and once it has been received, all that its receipt shows.

import { fill, serverNow } from "./clock.js";
import { AnswersForm } from "./clinic-form.js";
import { Live } from "./receipt.js";

/**
 * @typedef {import("./clinic-queue.js").Ride} Ride
 * @typedef {import("./clinic-queue.js").Queue} Queue
 */

const CALL_AFTER_MS = 60_000;
const cards = /** @type {HTMLElement} */ (document.getElementById("cards"));
const template = /** @type {HTMLTemplateElement} */ (document.getElementById("card"));

export const percent = (/** @type {Ride} */ ride) => {
  const all = ride.item.files.reduce((sum, file) => sum + file.size, 0);
  return all ? Math.floor((100 * ride.sent.reduce((sum, bytes) => sum + bytes, 0)) / all) : 0;
};

/** What is said of a recording: what happened, whether anything is lost, what to do. @param {Ride} ride */
export function said(ride) {
  const { state, kept, refusal } = ride;
  const waits = state === "waiting" || state === "overtaken";
  const why = refusal?.status === 401 ? "session" : refusal ? "busy" : "offline";
  const key = state === "offline" ? (kept ? why : "unkept") : waits && !kept ? "waitingUnkept" : state;
  return fill(cards.dataset[key], { n: percent(ride) });
}

export class Card {
  /**
   * @param {Queue} queue
   * @param {Ride} ride
   */
  constructor(queue, ride) {
    this.queue = queue;
    this.ride = ride;
    this.root = /** @type {HTMLElement} */ (
      /** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild
    );
    /** @type {Live | null} */
    this.live = null;
    /** @type {unknown} */
    this.raised = false;
    this.owed = false;
    this.isReceived = false;
    /** @type {Record<string, HTMLElement>} */
    this.parts = {};
    for (const one of this.root.querySelectorAll("[class*=card-], [class*=refused-], [class*=unraised-]")) {
      for (const name of one.classList) this.parts[name] = /** @type {HTMLElement} */ (one);
    }
    this.parts.bar = /** @type {HTMLElement} */ (this.root.querySelector("progress"));
    this.parts.bar.setAttribute("aria-label", ride.item.files.map((file) => file.name).join(", "));
    const form = /** @type {HTMLFormElement} */ (this.root.querySelector("form.questions"));
    this.answers = new AnswersForm(form, ride.item.id, ride.item.site, queue.kept, () => this.live?.soon(0));
    this.press("card-urgent", () => queue.makeUrgent(ride));
    this.press("card-pause", () => queue.pause(ride, true));
    this.press("card-resume", () => queue.pause(ride, false));
    this.press("card-remove", () => this.remove());
    this.press("card-done", () => this.remove());
    this.show();
  }

  /** @param {string} part @param {() => void} act */
  press(part, act) {
    this.parts[part].addEventListener("click", act);
  }

  remove() {
    this.live?.end();
    this.queue.remove(this.ride);
    this.root.remove();
  }

  show() {
    const { ride, parts } = this;
    const { item, state } = ride;
    const receipts = item.receipts;
    const sent = receipts.length > 0;
    const facts = this.live?.facts ?? {};
    const urgent = item.urgent || facts.priority === "urgent";
    text(parts["card-title"], sent ? (cards.dataset.receipt ?? "") : item.files.map((file) => file.name).join(" + "));
    text(parts["card-said"], sent ? (receipts.length === 1 ? receipts[0] : "") : said(ride));
    parts["card-said"].classList.toggle("receipt-no", sent);
    parts["card-said"].classList.toggle("warned", state === "offline" || state === "refused");
    parts.bar.hidden = sent;
    /** @type {HTMLProgressElement} */ (parts.bar).value = percent(ride);
    parts["card-urgent"].hidden = urgent || Boolean(facts.settled);
    parts["card-priority"].hidden = !urgent;
    this.root.classList.toggle("is-urgent", urgent);
    const halted = item.paused || state === "refused";
    parts["card-pause"].hidden = sent || halted;
    parts["card-resume"].hidden = sent || !halted;
    parts["card-remove"].hidden = sent;
    const owed = sent && Boolean(item.owed);
    if (this.owed && !owed) this.live?.soon(0); // it is raised now: shown so
    this.owed = owed;
    parts["card-done"].hidden = !sent || (owed && !ride.notRaised);
    parts["card-owed"].hidden = !owed || ride.notRaised !== null;
    parts["card-unraised"].hidden = !owed || ride.notRaised === null;
    text(parts["unraised-what"], ride.notRaised?.words.what ?? "");
    text(parts["unraised-code"], ride.notRaised?.words.code ?? `http_${ride.notRaised?.status}`);
    this.showRefusal();
    this.showCall(facts);
    if (sent && !this.isReceived) this.received();
  }

  showRefusal() {
    const { refusal, fileGone, item } = this.ride;
    const { parts } = this;
    const shown = !item.receipts.length && this.ride.state === "refused" && (refusal !== null || fileGone);
    parts["card-refused"].hidden = !shown;
    if (!shown) return;
    const empty = fileGone && item.files.some((file) => file.size === 0);
    const own = {
      what: empty ? cards.dataset.empty : cards.dataset.fileGone,
      lost: empty ? cards.dataset.emptyLost : cards.dataset.fileGoneLost,
      todo: empty ? cards.dataset.emptyTodo : cards.dataset.fileGoneTodo,
    };
    const words = refusal ? { ...refusal.words, lost: cards.dataset.refused } : own;
    text(parts["refused-what"], words.what ?? cards.dataset.offline ?? "");
    text(parts["refused-lost"], words.lost ?? "");
    text(parts["refused-todo"], words.todo ?? "");
    text(parts["refused-code"], refusal?.words.code ?? (refusal ? `http_${refusal.status}` : "file_gone"));
  }

  /** @param {DOMStringMap} facts */
  showCall(facts) {
    const { item } = this.ride;
    const call = this.parts["card-call"];
    this.parts["card-call-safe"].hidden = item.receipts.length > 0; // what has a receipt is not to be sent any more
    // until somebody has opened it; once received, the receipt's own notice takes over when it is due
    const covered = this.root.querySelector(".card-state .fallback:not([hidden])");
    if (!item.urgent || facts.opened || covered) {
      delete call.dataset.after;
      call.hidden = true;
    } else if (!call.dataset.after) {
      call.dataset.after = String(serverNow() - Date.now() + item.urgentAt + CALL_AFTER_MS);
    }
  }

  /** It has been received. */
  received() {
    this.isReceived = true;
    const { receipts } = this.ride.item;
    const [receipt] = receipts;
    const place = this.parts["card-state"];
    if (receipts.length > 1) {
      this.list(receipts);
      this.parts["card-asks"].hidden = true;
      return;
    }
    const open = /** @type {HTMLAnchorElement} */ (this.parts["card-open"]);
    open.href = `/receipts/${encodeURIComponent(receipt)}`;
    open.hidden = false;
    this.live = new Live(place, receipt, (facts) => this.told(facts));
    place.addEventListener("shown", () => {
      this.answers.answered(/** @type {HTMLElement | null} */ (place.querySelector(".answered"))?.dataset.fields);
    });
    this.live.fetch();
    this.answers.received(receipt);
  }

  /** @param {DOMStringMap} facts */
  told(facts) {
    const missed = this.ride.item.urgent && facts.priority && facts.priority !== "urgent" && !facts.settled;
    if (missed && !this.raised) this.queue.owing.owe(this.ride);
    this.raised = missed; // asked once until it is seen to be so
    this.show();
  }

  /** @param {string[]} receipts */
  list(receipts) {
    const list = this.parts["card-receipts"];
    const lines = receipts.map((receipt) => {
      const link = Object.assign(document.createElement("a"), { href: `/receipts/${receipt}`, textContent: receipt });
      link.className = "mono";
      const one = document.createElement("li");
      one.append(link);
      return one;
    });
    text(this.parts["card-said"], fill(cards.dataset.several, { n: receipts.length }));
    this.parts["card-said"].classList.remove("receipt-no");
    list.replaceChildren(...lines);
    list.hidden = false;
  }
}

/** @param {HTMLElement} element @param {string} words */
function text(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
