// On every page of a reader: asks the server every few seconds, and makes an unclaimed urgent case seen and heard.
// The answer is passed on to the page as the event "worklist:changes".

import { fill, serverNow, waitText } from "./clock.js";

const EVERY_MS = 5000;
const LOST_AFTER_MS = 20000;
const REPEAT_SOUND_MS = 10000;
const QUIET_MS = 60000;

/** @typedef {{case_id: string, receipt: string, site: string, since: number}} Unclaimed */
/** @typedef {{now: number, counts: Record<string, number>, new: string[], gone: string[], unclaimed_urgent: Unclaimed[]}} Changes */

const banner = /** @type {HTMLElement} */ (document.getElementById("alarm"));
const text = /** @type {HTMLElement} */ (document.getElementById("alarm-text"));
const said = /** @type {HTMLElement} */ (document.getElementById("alarm-said"));
const open = /** @type {HTMLAnchorElement} */ (document.getElementById("alarm-open"));
const quiet = /** @type {HTMLButtonElement} */ (document.getElementById("alarm-quiet"));
const soundButton = /** @type {HTMLButtonElement} */ (document.getElementById("sound"));
const list = document.getElementById("worklist");
const openCase = document.getElementById("case")?.dataset.case;
const loadedAt = document.body.dataset.now ?? "0";

/** @type {Unclaimed[]} */
let unclaimed = [];
let quietUntil = 0;
let soundedAt = 0;
let answeredAt = Date.now();
/** @type {AudioContext | undefined} */
let audio;

async function ask() {
  const query = new URLSearchParams({ since: loadedAt });
  if (list) {
    query.set("modality", list.dataset.modality ?? "");
    query.set("site", list.dataset.site ?? "");
    query.set("shown", [...list.querySelectorAll("tr[data-case]")].map((row) => row.getAttribute("data-case")).join(","));
  }
  try {
    const response = await fetch(`/api/worklist/changes?${query}`, { credentials: "same-origin" });
    if (response.status === 401 && list) location.reload(); // the session has ended: to the sign-in page
    if (response.ok) {
      const changes = /** @type {Changes} */ (await response.json());
      answeredAt = Date.now();
      unclaimed = changes.unclaimed_urgent;
      document.dispatchEvent(new CustomEvent("worklist:changes", { detail: changes }));
    }
  } catch {
    // the line is broken: show() says so when it lasts
  }
  show();
}

function show() {
  const lost = Date.now() - answeredAt > LOST_AFTER_MS;
  const others = unclaimed.filter((one) => one.case_id !== openCase);
  const first = others[0];
  banner.hidden = !first && !lost;
  open.hidden = quiet.hidden = !first;
  if (first) {
    const wait = waitText((serverNow() - first.since) / 1000);
    const form = others.length === 1 ? banner.dataset.one : banner.dataset.many;
    text.textContent = fill(form, { n: others.length, wait, receipt: first.receipt, site: first.site });
    say(`${first.case_id} ${others.length}`, text.textContent);
    open.href = `/cases/${encodeURIComponent(first.case_id)}`;
    sound();
  } else if (lost) {
    text.textContent = banner.dataset.lost ?? "";
    say("lost", text.textContent);
  } else {
    say("", "");
  }
}

/**
 * Read aloud by a screen reader when the matter changes, not with each tick of the clock.
 * @param {string} matter
 * @param {string} words
 */
function say(matter, words) {
  if (said.dataset.matter === matter) return;
  said.dataset.matter = matter;
  said.textContent = words;
}

function sound() {
  const now = Date.now();
  if (now < quietUntil || now - soundedAt < REPEAT_SOUND_MS) return;
  if (!audio) audio = new AudioContext();
  // a browser lets a page sound only after its user has touched it; until then the banner and this button speak
  soundButton.hidden = audio.state === "running";
  soundButton.textContent = soundButton.dataset.off ?? "";
  if (audio.state !== "running") return;
  soundedAt = now;
  beep(audio);
}

/** @param {AudioContext} context */
function beep(context) {
  [880, 660, 880].forEach((hertz, n) => {
    const start = context.currentTime + n * 0.22;
    const tone = context.createOscillator();
    const loudness = context.createGain();
    tone.frequency.value = hertz;
    loudness.gain.setValueAtTime(0.0001, start);
    loudness.gain.exponentialRampToValueAtTime(0.3, start + 0.02);
    loudness.gain.exponentialRampToValueAtTime(0.0001, start + 0.18);
    tone.connect(loudness).connect(context.destination);
    tone.start(start);
    tone.stop(start + 0.2);
  });
}

async function allowSound() {
  if (!audio || audio.state === "running") return;
  await audio.resume();
  soundButton.hidden = true;
  show();
}

quiet.addEventListener("click", () => {
  quietUntil = Date.now() + QUIET_MS;
});
soundButton.addEventListener("click", allowSound);
document.addEventListener("pointerdown", allowSound);
document.addEventListener("keydown", allowSound);

let askedAt = 0;
const ticker = new Worker("/static/js/ticker.js");
ticker.addEventListener("message", () => {
  show();
  if (Date.now() - askedAt >= EVERY_MS) {
    askedAt = Date.now();
    ask();
  }
});
ask();
