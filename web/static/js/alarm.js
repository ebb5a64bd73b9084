// On every page of a reader: asks the server every few seconds, and makes an unclaimed urgent case seen and heard.
// The answer is passed on to the page as the event "worklist:changes"; "worklist:ask" makes it ask at once.

import { fill, serverNow, waitText } from "./clock.js";

const EVERY_MS = 5000;
const LOST_AFTER_MS = 20000;
const REPEAT_SOUND_MS = 10000;
const QUIET_MS = 60000;
const AT_MOST_EVERY_MS = 500;
const NOTHING_NEW = String(2 ** 52); // a page without a list asks for no newcomers

/** @typedef {{case_id: string, receipt: string, site: string, since: number}} Unclaimed */
/** @typedef {{state: string, by: string, mine: boolean}} Standing */
/** @typedef {{item_id: string, case_id: string, until: number}} Mine */
/**
 * @typedef {object} Changes
 * @property {number} now
 * @property {number} event
 * @property {Record<string, string>} counts
 * @property {{mine: string, read: number}} shows
 * @property {{case_id: string, priority: string}[]} new
 * @property {Record<string, Standing>} shown
 * @property {Mine[]} mine
 * @property {Unclaimed[]} unclaimed_urgent
 */

const banner = /** @type {HTMLElement} */ (document.getElementById("alarm"));
const text = /** @type {HTMLElement} */ (document.getElementById("alarm-text"));
const said = /** @type {HTMLElement} */ (document.getElementById("alarm-said"));
const open = /** @type {HTMLFormElement | null} */ (document.getElementById("alarm-take"));
const quiet = /** @type {HTMLButtonElement} */ (document.getElementById("alarm-quiet"));
const soundButton = /** @type {HTMLButtonElement} */ (document.getElementById("sound"));
const openCase = document.getElementById("case")?.dataset.case;

/** @type {Unclaimed[]} */
let unclaimed = [];
let quietUntil = 0;
let soundedAt = 0;
let answeredAt = Date.now();
/** @type {AudioContext | undefined} */
let audio;

let asking = false;
let again = false;

async function ask() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  // the list may have been renewed since
  const list = document.getElementById("list");
  const query = new URLSearchParams(list?.dataset.query ?? "");
  query.set("since", list?.dataset.event ?? NOTHING_NEW);
  if (list) {
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
  asking = false;
  show();
  if (again) {
    again = false;
    setTimeout(ask, AT_MOST_EVERY_MS);
  }
}

function show() {
  const lost = Date.now() - answeredAt > LOST_AFTER_MS;
  const others = unclaimed.filter((one) => one.case_id !== openCase);
  const first = others[0];
  banner.hidden = !first && !lost;
  quiet.hidden = !first;
  if (open) open.hidden = !first;
  if (first) {
    const wait = waitText((serverNow() - first.since) / 1000);
    const form = others.length === 1 ? banner.dataset.one : banner.dataset.many;
    text.textContent = fill(form, { n: others.length, wait, receipt: first.receipt, site: first.site });
    say(`${first.case_id} ${others.length}`, text.textContent);
    if (open) open.action = `/cases/${encodeURIComponent(first.case_id)}/claim`;
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
document.addEventListener("worklist:ask", ask);
ask();
