// On every page of everybody on duty: asks every few seconds for critical results that nobody has acknowledged, sounds
// at the clinic, and takes the press that answers. One key raises one on a claimed case.

import { heard } from "./keys.js";

const EVERY_MS = 2500;
const WAIT_MS = 8000;
const LOST_AFTER_MS = 20_000;
const REPEAT_SOUND_MS = 10_000;

const bar = /** @type {HTMLElement} */ (document.getElementById("criticals"));
const lost = document.createElement("p");
lost.className = "lost";
lost.textContent = bar.dataset.lost ?? "";

let mark = "";
let askedAt = 0;
let busy = false;
let answeredAt = Date.now();
let soundedAt = 0;
/** @type {AudioContext | undefined} */
let audio;

async function ask() {
  if (busy) return;
  busy = true;
  askedAt = Date.now();
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), WAIT_MS);
  try {
    const answer = await fetch(`/api/criticals/live?seen=${mark}`, { credentials: "same-origin", signal: ending.signal });
    if (answer.status === 200) {
      show(await answer.text());
      mark = answer.headers.get("teleread-state") ?? "";
    }
    if (answer.ok) {
      answeredAt = Date.now();
      lost.remove();
    }
  } catch {
    // the line is broken: tick() says so when it lasts
  } finally {
    clearTimeout(timer);
    busy = false;
  }
}

/**
 * The banner as it is now; what has the focus keeps it.
 * @param {string} html
 */
function show(html) {
  const held = /** @type {HTMLElement | null} */ (document.activeElement)?.closest?.("[data-critical]");
  const before = held?.getAttribute("data-critical");
  bar.innerHTML = html;
  if (before) {
    /** @type {HTMLElement | null} */ (bar.querySelector(`[data-critical="${before}"] .critical-read`))?.focus();
  }
  sound();
}

function sound() {
  const forms = bar.querySelectorAll("form[data-critical-act]");
  if (!forms.length || Date.now() - soundedAt < REPEAT_SOUND_MS) return;
  audio ??= new AudioContext();
  // a browser lets a page sound only after its user has touched it; until then the banner speaks alone
  if (audio.state !== "running") return;
  soundedAt = Date.now();
  const context = audio;
  [1047, 784, 1047, 784].forEach((hertz, n) => {
    const start = context.currentTime + n * 0.25;
    const tone = context.createOscillator();
    const loudness = context.createGain();
    tone.frequency.value = hertz;
    loudness.gain.setValueAtTime(0.0001, start);
    loudness.gain.exponentialRampToValueAtTime(0.35, start + 0.02);
    loudness.gain.exponentialRampToValueAtTime(0.0001, start + 0.2);
    tone.connect(loudness).connect(context.destination);
    tone.start(start);
    tone.stop(start + 0.22);
  });
}

function allowSound() {
  if (audio && audio.state !== "running") audio.resume().then(sound, () => {});
}

/** @param {SubmitEvent} event */
async function pressed(event) {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const critical = form.dataset.criticalAct;
  if (!critical) return;
  event.preventDefault();
  const button = form.querySelector("button");
  if (button) button.disabled = true;
  try {
    const answer = await fetch(`/api/criticals/${encodeURIComponent(critical)}/acknowledge`, {
      method: "POST",
      credentials: "same-origin",
    });
    if (!answer.ok) form.submit(); // the page that follows says in words what is the matter
  } catch {
    if (!lost.isConnected) bar.append(lost);
  } finally {
    if (button) button.disabled = false;
    ask();
  }
}

/** @param {KeyboardEvent} event */
function key(event) {
  allowSound();
  const target = /** @type {HTMLElement} */ (event.target);
  const form = /** @type {HTMLFormElement | null} */ (document.getElementById("raise-critical"));
  if (event.key !== "!" || !heard(event) || event.repeat || !form) return;
  if (target.closest("textarea, input:not([type=checkbox], [type=radio]), select, dialog, [contenteditable]")) return;
  event.preventDefault();
  form.requestSubmit();
}

document.addEventListener("submit", pressed);
document.addEventListener("keydown", key);
document.addEventListener("pointerdown", allowSound);

const raise = document.getElementById("raise-critical");
raise?.addEventListener("submit", () => {
  // pressed twice is one all the same; the button says that it was taken
  const button = raise.querySelector("button");
  if (button) setTimeout(() => (button.disabled = true));
});

const ticker = new Worker("/static/js/ticker.js");
ticker.addEventListener("message", () => {
  if (Date.now() - answeredAt > LOST_AFTER_MS && !lost.isConnected) bar.append(lost);
  sound();
  if (Date.now() - askedAt >= EVERY_MS) ask();
});
ask();
