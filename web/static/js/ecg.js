// The ECG page: what is drawn, and the keys. Every part is a module of its own.

import { fill } from "./clock.js";
import { baselines, shifted } from "./ecg-baseline.js";
import { BeatView } from "./ecg-beat.js";
import { Calipers } from "./ecg-calipers.js";
import { Earlier } from "./ecg-earlier.js";
import { because, rejectNext } from "./ecg-flags.js";
import { arrange, inView, isTwelve, PAGE_S, possible } from "./ecg-layout.js";
import { Measurements } from "./ecg-measurements.js";
import { draw } from "./ecg-paper.js";
import { printing } from "./ecg-print.js";
import { calibrated, calibration, pxPerMm } from "./ecg-screen.js";
import { Source } from "./ecg-source.js";
import { heard } from "./keys.js";

const PREFERENCES = "teleread.ecg"; // how this browser's reader likes to see any tracing; nothing of a case
const KEPT = ["layout", "order", "rhythm", "formula"];

/** @template {HTMLElement} T @param {string} id @returns {T} */
const by = (id) => /** @type {T} */ (document.getElementById(id));

const canvas = /** @type {HTMLCanvasElement} */ (by("trace"));
const paper = by("paper");
const tools = /** @type {HTMLFormElement} */ (by("tools"));
const shift = by("shift");
const help = /** @type {HTMLDialogElement} */ (by("help"));
const words = canvas.dataset;

const source = new Source({
  arrival: words.arrival ?? "",
  leads: JSON.parse(words.leads ?? "[]"),
  fs: Number(words.fs),
  total: Number(words.total),
});
const doubtful = new Map(Object.entries(/** @type {Record<string, string>} */ (JSON.parse(words.doubtful ?? "{}"))));
const calipers = new Calipers(by("sheet"), /** @type {HTMLCanvasElement} */ (by("overlay")), by("caliper-values"));
const measurements = new Measurements(by("measurements"));
const beats = new BeatView(by("beat-holder"), /** @type {HTMLCanvasElement} */ (by("beat")), () =>
  measurements.follow(beats, chosen("formula")),
);
const earlierPanel = document.getElementById("earlier-panel");
const earlier = earlierPanel ? new Earlier(earlierPanel, by("case").dataset.case ?? "") : undefined;

/** @type {import("./ecg-source.js").Recording | undefined} */
let recording;
/** @type {import("./ecg-source.js").Recording | undefined} */
let earlierRecording;
let start = 0;
let asked = 0;
let filtered = "diagnostic"; // the view that the raw one is changed for
let beside = ""; // the earlier recording: "", "beside" or "over"
let caption = () => {};

/** @param {string} name @returns {RadioNodeList | HTMLSelectElement | HTMLInputElement} */
const control = (name) => /** @type {any} */ (tools.elements.namedItem(name));

/** @param {string} name @returns {string} */
function chosen(name) {
  const found = control(name);
  return found instanceof HTMLInputElement && found.type === "checkbox" ? (found.checked ? found.value : "") : found.value;
}

/**
 * @param {string} name
 * @param {string} value
 */
function choose(name, value) {
  const found = control(name);
  if (found instanceof HTMLInputElement && found.type === "checkbox") found.checked = value === found.value;
  else found.value = value;
}

/** @returns {import("./ecg-layout.js").Setting} */
function setting() {
  return {
    name: chosen("layout"),
    order: chosen("order") || "standard",
    rhythm: chosen("rhythm"),
    speed: Number(chosen("speed")),
    gain: Number(chosen("gain")),
  };
}

const span = () => Math.min(PAGE_S, source.duration);

/** Fetch what the page and the view need, then draw it. */
async function refresh() {
  const turn = ++asked;
  const view = chosen("view");
  const failed = by("trace-error");
  try {
    const found = await source.window(start, span(), view).catch((error) => {
      if (view === "raw") throw error;
      return source.window(start, span(), "raw"); // better unfiltered than nothing; the paper says which
    });
    const before = beside && earlier?.source ? await earlier.source.window(0, PAGE_S, view).catch(() => undefined) : undefined;
    if (turn !== asked) return;
    recording = found;
    earlierRecording = before;
    failed.hidden = true;
    redraw();
  } catch {
    if (turn !== asked) return;
    failed.hidden = false;
    failed.textContent = words.failed ?? "";
  }
}

/**
 * What was done to the samples, as the PDF says it.
 * @param {import("./ecg-source.js").Recording} shown
 */
function filterWords(shown) {
  const { high_pass_hz: low, low_pass_hz: high, notch_hz: notch, baseline_removed: level } = shown.applied;
  const parts = [];
  if (high !== null || (low !== null && !level)) parts.push(`${low ?? ""}–${high ?? ""} Hz`);
  if (level) parts.push(words.wander ?? "");
  if (notch !== null) parts.push(fill(words.mains, { hz: notch }));
  return fill(words.filter, { what: parts.join(", ") || (words.none ?? "") });
}

/**
 * @param {HTMLCanvasElement} onto
 * @param {import("./ecg-source.js").Recording} shown
 * @param {{from: number, foot: string[], px: number, dpr: number, room: number, highest?: number}} how
 */
function paint(onto, shown, { from, foot, px, dpr, room, highest }) {
  const set = setting();
  const long = Math.min(span(), shown.total / shown.fs);
  const layouts = possible(shown.leads);
  const layout = arrange({ ...set, name: layouts.includes(set.name) ? set.name : layouts[0] }, shown.leads, from, long, highest);
  const baselinesMv = baselines(shown, from, from + long);
  const offScale = draw(onto, shown, layout, {
    speed: set.speed,
    gain: set.gain,
    pxPerMm: px,
    dpr,
    room,
    baselinesMv,
    doubtful: shown === recording ? doubtful : new Map(),
    noSignal: words.missing ?? "",
    offScale: words.offScale ?? "",
    foot: [`${set.speed} mm/s · ${set.gain} mm/mV`, filterWords(shown), ...foot],
  });
  return { layout, offScale, baselinesMv, long };
}

/** What stands below the tracing itself. @returns {string[]} */
function ownFoot() {
  if (!recording) return [];
  return [words.device ?? "", recording.st && !words.narrow ? "" : (words.st ?? "")];
}

function redraw() {
  if (!recording) return;
  const dpr = devicePixelRatio || 1;
  const px = pxPerMm();
  const room = (paper.clientWidth - 1) / px;
  const { layout, offScale, baselinesMv, long } = paint(canvas, recording, { from: start, foot: ownFoot(), px, dpr, room });
  const moved = shifted(recording, baselinesMv);
  shift.hidden = moved.length === 0;
  shift.textContent = fill(shift.dataset.words, { leads: moved.join(", ") });
  Object.assign(words, { offLeads: offScale.join(" "), view: recording.view, pxPerMm: String(px) });
  const { speed, gain } = setting();
  const { rows, height } = layout;
  const { fs, total, rPeaks } = recording;
  calipers.follow({ start, span: long, fs, total, rPeaks, rows, height, speed, gain, pxPerMm: px, dpr });
  say(px, long, speed, gain);
  by("filter-words").textContent = filterWords(recording);
  by("st-words").hidden = recording.st;
  by("screen-words").hidden = calibrated() !== null;
  beats.redraw({ pxPerMm: px, dpr, order: chosen("order") || "standard", doubtful });
  besides(px, dpr);
  links();
  words.drawn = "1";
}

/**
 * Scale and seconds in view, in words.
 * @param {number} px
 * @param {number} long
 * @param {number} speed
 * @param {number} gain
 */
function say(px, long, speed, gain) {
  const scale = by("scale");
  const shown = `${start.toFixed(0)}–${(start + long).toFixed(0)} s`;
  caption = () => {
    const { from, to } = inView(paper.scrollLeft / px, paper.clientWidth / px, long, speed);
    const part = { from: (start + from).toFixed(1), to: (start + to).toFixed(1), all: shown };
    const text = !paper.hidden && to - from < long ? fill(scale.dataset.view, part) : shown;
    scale.textContent = `${speed} mm/s · ${gain} mm/mV · ${text}`;
  };
  caption();
  by("pages").hidden = source.duration <= PAGE_S;
  by("span").textContent = `${shown} / ${source.duration.toFixed(0)} s`;
  by("twin-view").textContent = `${scale.textContent} · ${recording ? filterWords(recording) : ""}`;
}

/** The earlier recording's own paper. @param {number} px @param {number} dpr */
function besides(px, dpr) {
  const other = document.getElementById("paper-earlier");
  if (!other || !earlier) return;
  const there = beside === "beside" && earlierRecording !== undefined;
  other.hidden = !there;
  if (!there || !earlierRecording) return;
  const onto = /** @type {HTMLCanvasElement} */ (by("trace-earlier"));
  paint(onto, earlierRecording, { from: 0, foot: [earlier.caption], px, dpr, room: (other.clientWidth - 1) / px });
  by("earlier-caption").textContent = earlier.caption;
}

/** The PDF shows what is shown here. */
function links() {
  const { name, order, rhythm, speed, gain } = setting();
  const first = Math.round(start * source.known.fs);
  const query = new URLSearchParams({ view: chosen("view"), layout: name, order, rhythm, speed: `${speed}`, gain: `${gain}`, start: `${first}` });
  const link = /** @type {HTMLAnchorElement} */ (by("pdf"));
  link.href = `${link.pathname}?${query}`;
}

/** @param {number} step pages of ten seconds */
function turn(step) {
  const latest = Math.max(0, source.duration - PAGE_S);
  go(Math.min(latest, Math.max(0, start + step * PAGE_S)));
}

/** @param {number} second */
function go(second) {
  start = second;
  const minute = beats.beat && (second < beats.beat.from_s || second >= beats.beat.to_s);
  if (minute && beatsShown() && beats.moved.length === 0) loadBeat();
  refresh();
}

/**
 * The next of several values, round and round.
 * @param {string} name
 * @param {string[]} values
 */
function next(name, values) {
  choose(name, values[(values.indexOf(chosen(name)) + 1) % values.length]);
  settingChanged(name);
}

/** @param {string} name of the control */
function settingChanged(name) {
  if (KEPT.includes(name)) keep();
  if (name === "formula") measurements.follow(beats, chosen("formula"));
  if (name === "view") {
    if (chosen("view") !== "raw") filtered = chosen("view");
    refresh();
  } else {
    redraw();
  }
}

function keep() {
  localStorage.setItem(PREFERENCES, JSON.stringify(Object.fromEntries(KEPT.map((name) => [name, chosen(name)]))));
}

const beatsShown = () => !by("beat-paper").hidden;

/** @param {boolean} shown */
async function showBeats(shown) {
  by("beat-paper").hidden = !shown;
  paper.hidden = shown;
  by("beat-open").setAttribute("aria-pressed", String(shown));
  if (shown && !beats.beat) await loadBeat();
  redraw();
  if (shown) beats.handles[0]?.element.focus({ preventScroll: true });
}

async function loadBeat() {
  const none = by("beat-none");
  try {
    const found = await source.beat(start);
    beats.show(found);
    none.hidden = found !== null;
    by("beat").hidden = found === null;
    by("beat-words").textContent = found
      ? fill(by("beat-words").dataset.words, { n: found.beats, from: found.from_s.toFixed(0), to: found.to_s.toFixed(0) })
      : "";
    measurements.follow(beats, chosen("formula"));
    beats.redraw({ pxPerMm: pxPerMm(), dpr: devicePixelRatio || 1, order: chosen("order") || "standard", doubtful });
  } catch {
    none.hidden = false;
  }
}

/** The earlier recording: away, beside, over. @param {string} how */
async function showEarlier(how) {
  if (!earlier?.source) return;
  beside = how;
  for (const button of document.querySelectorAll("button[data-beside]")) {
    const one = /** @type {HTMLElement} */ (button);
    one.setAttribute("aria-pressed", String(one.dataset.beside === how && how !== ""));
  }
  beats.earlier = how === "over" ? await earlier.source.beat(0).catch(() => null) : null;
  by("beat-earlier").hidden = beats.earlier === null;
  by("beat-earlier").textContent = beats.earlier ? earlier.caption : "";
  if (how === "over") await showBeats(true);
  else if (beatsShown()) await showBeats(false);
  await refresh();
}

/** @type {Record<string, () => void>} */
const keys = {
  f: () => {
    choose("view", chosen("view") === "raw" ? filtered : "raw");
    settingChanged("view");
  },
  b: () => next("view", ["diagnostic", "monitor", "baseline"]),
  l: () => next("layout", possible(source.known.leads)),
  o: () => next("order", ["", "cabrera"]),
  t: () => next("rhythm", source.known.leads),
  s: () => next("speed", ["25", "50"]),
  g: () => next("gain", ["10", "20", "5"]),
  m: () => showBeats(!beatsShown()),
  k: () => calipers.toggle(),
  e: () => calipers.marchOut(),
  h: () => showEarlier({ "": "beside", beside: "over", over: "" }[beside] ?? ""),
  x: rejectNext,
  ...Object.fromEntries([1, 2, 3, 4, 5].map((n) => [n, () => because(n)])),
  ",": () => turn(-1),
  ".": () => turn(1),
  "?": () => help.showModal(),
};

// Escape closes what is open before it leads anywhere else
addEventListener(
  "keydown",
  (event) => {
    if (event.key !== "Escape") return;
    if (document.querySelector("dialog[open]")) {
      event.stopPropagation();
    } else if (calipers.on || beatsShown()) {
      event.stopPropagation();
      if (calipers.on) calipers.close();
      else showEarlier("").then(() => showBeats(false));
      paper.focus({ preventScroll: true });
    }
  },
  true,
);

document.addEventListener("keydown", (event) => {
  if (!heard(event)) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.closest("textarea, select, input:not([type=radio]):not([type=checkbox]), dialog, [contenteditable]")) return;
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

function prepare() {
  const layouts = possible(source.known.leads);
  for (const input of tools.querySelectorAll("input[name=layout]")) {
    const radio = /** @type {HTMLInputElement} */ (input);
    radio.disabled = !layouts.includes(radio.value);
  }
  /** @type {HTMLInputElement} */ (control("order")).disabled = !isTwelve(source.known.leads);
  /** @type {HTMLSelectElement} */ (control("rhythm")).disabled = layouts.length === 1;
  /** @type {Record<string, string>} */
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(PREFERENCES) ?? "{}") ?? {};
  } catch {
    localStorage.removeItem(PREFERENCES);
  }
  // scale and filter are the same on every tracing that is opened; only its arrangement is a matter of taste
  const first = { layout: layouts[0], speed: "25", gain: "10", view: "diagnostic", order: "", rhythm: "II", formula: "fridericia" };
  for (const [name, value] of Object.entries(first)) choose(name, value);
  for (const name of KEPT) {
    if (typeof kept[name] === "string") choose(name, kept[name]);
    if (name !== "order" && !chosen(name)) choose(name, /** @type {Record<string, string>} */ (first)[name]);
  }
  if (!layouts.includes(chosen("layout"))) choose("layout", layouts[0]);
}

tools.addEventListener("submit", (event) => event.preventDefault());
tools.addEventListener("change", (event) => settingChanged(/** @type {HTMLInputElement} */ (event.target).name));
by("formula").addEventListener("change", () => settingChanged("formula"));
by("earlier").addEventListener("click", () => turn(-1));
by("later").addEventListener("click", () => turn(1));
by("caliper-open").addEventListener("click", () => calipers.toggle());
by("beat-open").addEventListener("click", () => showBeats(!beatsShown()));
by("beat-reset").addEventListener("click", () => beats.reset());
by("print").addEventListener("click", () => print());
by("help-open").addEventListener("click", () => help.showModal());
for (const button of document.querySelectorAll("button[data-beside]")) {
  const how = /** @type {HTMLElement} */ (button).dataset.beside ?? "";
  button.addEventListener("click", () => showEarlier(beside === how ? "" : how));
}
earlier?.chooser.addEventListener("change", () => earlier.load().then(() => showEarlier(beside)));
calibration(redraw);
printing((onto, px, dpr, highest) => {
  if (recording) paint(onto, recording, { from: start, foot: ownFoot(), px, dpr, room: 0, highest });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("resize", redraw);
paper.addEventListener("scroll", () => caption(), { passive: true });
addEventListener("pagehide", () => {
  recording = earlierRecording = undefined;
  source.clear();
  earlier?.forget();
  for (const one of document.querySelectorAll("canvas")) one.width = one.height = 0;
});

prepare();
measurements.follow(beats, chosen("formula"));
await refresh();
loadBeat();
earlier?.load();
