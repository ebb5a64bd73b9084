// On a case's page: keeps the reader's claim alive while she reads, says at once when it is lost, and gives it back.
//
// A claim lives by heartbeats, and these go on only while there are signs of a reader: a key, the mouse, a scroll, or
// her coming back to this window. A page behind another one may be in use beside it, so it is not given up at once; but
// nobody touches it there, so its heartbeats end by themselves, as those of a sleeping machine do.

import { fill, serverNow } from "./clock.js";
import { heard } from "./keys.js";

const BEAT_MS = 20000;
const IDLE_MS = { urgent: 4 * 60000, other: 10 * 60000 };
const ASKED_BEFORE_MS = 60000;

const claim = document.getElementById("claim");
const lost = document.getElementById("claim-lost");
const idle = document.getElementById("claim-idle");
const idleUntil = document.getElementById("claim-idle-until");
const until = document.getElementById("claim-until");
const dialog = /** @type {HTMLDialogElement | null} */ (document.getElementById("release"));
const take = /** @type {HTMLFormElement | null} */ (document.getElementById("take"));
const paused = /** @type {HTMLElement | null} */ (document.getElementById("paused"));

let touchedAt = Date.now();
let beatAt = Date.now();
let ends = Number(claim?.dataset.until ?? 0);
let gone = !claim;

const idleMs = claim?.dataset.urgent ? IDLE_MS.urgent : IDLE_MS.other;

/** @param {number} at milliseconds since 1970 */
function clockText(at) {
  const there = new Date(at + Number(claim?.dataset.zone ?? 0) * 60000);
  return there.toISOString().slice(11, 19);
}

function show() {
  if (until && claim && !gone) until.textContent = fill(claim.dataset.words, { time: clockText(ends) });
}

/** The case is another's, or waits again: nothing typed here can be signed. */
function lose() {
  if (gone) return;
  gone = true;
  dialog?.close();
  claim?.classList.add("is-lost");
  if (lost) lost.hidden = false;
  if (idle) idle.hidden = true;
  document.dispatchEvent(new Event("claim:lost")); // the report's form keeps what was typed
}

async function beat() {
  if (gone || !claim || document.body.dataset.signing) return;
  beatAt = Date.now();
  const body = JSON.stringify({ fence: Number(claim.dataset.fence) });
  const headers = { "content-type": "application/json" };
  const address = `/api/claims/${encodeURIComponent(claim.dataset.item ?? "")}/heartbeat`;
  try {
    const response = await fetch(address, { method: "POST", headers, body });
    if (response.status === 409 || response.status === 404) lose();
    if (response.ok) {
      ends = (await response.json()).until;
      show();
    }
  } catch {
    // no line: the claim ends by itself when this lasts, and this page says so
  }
}

function look() {
  if (gone || !claim) return;
  if (serverNow() > ends) {
    beat(); // refused, if it is so: this machine may have slept
    if (serverNow() > ends + BEAT_MS) lose();
    return;
  }
  const quiet = Date.now() - touchedAt;
  if (idle && idleUntil) {
    idle.hidden = quiet < idleMs - ASKED_BEFORE_MS;
    idleUntil.textContent = clockText(quiet < idleMs ? ends + idleMs - quiet : ends);
  }
  if (quiet < idleMs && Date.now() - beatAt >= BEAT_MS) beat();
}

function touched() {
  const slept = Date.now() - touchedAt > idleMs;
  touchedAt = Date.now();
  if (idle) idle.hidden = true;
  if (slept) beat();
}

function leave() {
  if (dialog && !gone) {
    dialog.showModal();
    document.getElementById("release-now")?.focus();
  } else {
    location.assign("/worklist");
  }
}

async function rest() {
  const on = Boolean(paused?.hidden);
  const headers = { "content-type": "application/json" };
  const response = await fetch("/api/claims/pause", { method: "POST", headers, body: JSON.stringify({ on }) });
  if (response.ok && paused) paused.hidden = !on;
}

document.addEventListener("keydown", (event) => {
  touched();
  if (!heard(event)) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (dialog?.open) {
    const reasons = /** @type {NodeListOf<HTMLInputElement>} */ (dialog.querySelectorAll("input[name=reason]"));
    const chosen = reasons[Number(event.key) - 1];
    if (chosen) chosen.checked = true;
    return;
  }
  if (target.closest("textarea, select, input:not([type=radio]):not([type=checkbox]), dialog")) {
    if (event.key === "Escape") target.blur(); // the next one leads away
    return;
  }
  const act = { Escape: leave, c: take ? () => take.requestSubmit() : undefined, p: rest }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});
for (const name of ["pointerdown", "pointermove", "wheel", "scroll"]) {
  addEventListener(name, touched, { passive: true });
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  touched();
  beat(); // how does it stand, after the time away
});
document.addEventListener("worklist:changes", (event) => {
  const changes = /** @type {CustomEvent<import("./alarm.js").Changes>} */ (event).detail;
  if (claim && !changes.mine.some((one) => one.item_id === claim.dataset.item)) beat(); // its answer says whether it is lost
});
document.getElementById("leave")?.addEventListener("click", leave);
document.getElementById("release-not")?.addEventListener("click", () => dialog?.close());
document.getElementById("go-on")?.addEventListener("click", rest);

if (claim) {
  // in a worker: a browser slows down the clock of a page behind another one
  const ticker = new Worker("/static/js/ticker.js");
  ticker.addEventListener("message", look);
  show();
  if (!document.hidden && ends - serverNow() < 3 * BEAT_MS) beat(); // opened again shortly before its end
}
