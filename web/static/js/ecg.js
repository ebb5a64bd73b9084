// The ECG page: loads the samples once, redraws when a setting changes.

import { fill } from "./clock.js";
import { baselines, shifted } from "./ecg-baseline.js";
import { arrange, inView, PAGE_S, possible } from "./ecg-layout.js";
import { draw } from "./ecg-paper.js";

const PX_PER_MM = 96 / 25.4;

const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("trace"));
const paper = /** @type {HTMLElement} */ (document.getElementById("paper"));
const tools = /** @type {HTMLFormElement} */ (document.getElementById("tools"));
const ruler = /** @type {HTMLInputElement} */ (document.getElementById("ruler"));
const scale = /** @type {HTMLElement} */ (document.getElementById("scale"));
const shift = /** @type {HTMLElement} */ (document.getElementById("shift"));
const pages = /** @type {HTMLElement} */ (document.getElementById("pages"));
const spanText = /** @type {HTMLElement} */ (document.getElementById("span"));
const failed = /** @type {HTMLElement} */ (document.getElementById("trace-error"));

/** @type {import("./ecg-paper.js").Recording | undefined} */
let recording;
let start = 0;
let caption = () => {};

/** @returns {Promise<import("./ecg-paper.js").Recording>} */
async function load() {
  const address = `/api/recordings/${encodeURIComponent(canvas.dataset.arrival ?? "")}`;
  const [head, wave] = await Promise.all([fetch(`${address}/display`), fetch(`${address}/wave`)]);
  if (!head.ok || !wave.ok) throw new Error("no recording");
  const display = await head.json();
  const samples = new Int16Array(await wave.arrayBuffer()); // little-endian, as every machine that runs this browser
  if (samples.length !== display.leads.length * display.n_samples) throw new Error("recording cut short");
  return {
    leads: display.leads,
    fs: display.fs_hz,
    n: display.n_samples,
    mvPerStep: display.uv_per_step / 1000,
    offsetsMv: (display.offset_uv ?? display.leads.map(() => 0)).map((/** @type {number} */ uv) => uv / 1000),
    missing: display.missing,
    rPeaks: display.r_peaks,
    samples,
  };
}

/** @param {string} name */
const chosen = (name) => /** @type {RadioNodeList} */ (tools.elements.namedItem(name)).value;

/**
 * @param {string} name
 * @param {string} value
 */
function choose(name, value) {
  /** @type {RadioNodeList} */ (tools.elements.namedItem(name)).value = value;
}

function redraw() {
  if (!recording) return;
  const duration = recording.n / recording.fs;
  const span = Math.min(PAGE_S, duration);
  const speed = Number(chosen("speed"));
  const gain = Number(chosen("gain"));
  const layout = arrange(chosen("layout"), recording.leads, start, span, speed, gain);
  const pxPerMm = Number(ruler.value) || PX_PER_MM;
  const baselinesMv = baselines(recording, start, start + span);
  const offScale = draw(canvas, recording, layout, {
    baselinesMv,
    offScale: canvas.dataset.offScale ?? "",
    speed,
    gain,
    pxPerMm,
    noSignal: canvas.dataset.missing ?? "",
    pulse: canvas.dataset.pulse ?? "",
  });
  const moved = shifted(recording, baselinesMv);
  shift.hidden = moved.length === 0;
  shift.textContent = fill(shift.dataset.words, { leads: moved.join(", ") });
  canvas.dataset.offLeads = offScale.join(" ");
  const shown = `${start.toFixed(0)}–${(start + span).toFixed(0)} s`;
  caption = () => {
    const { from, to } = inView(paper.scrollLeft / pxPerMm, paper.clientWidth / pxPerMm, span, speed);
    const part = { from: (start + from).toFixed(1), to: (start + to).toFixed(1), all: shown };
    const words = to - from < span ? fill(scale.dataset.view, part) : shown;
    scale.textContent = `${speed} mm/s · ${gain} mm/mV · ${words}`;
  };
  caption();
  pages.hidden = duration <= PAGE_S;
  spanText.textContent = `${shown} / ${duration.toFixed(0)} s`;
  canvas.dataset.drawn = "1";
}

/** @param {number} step */
function turn(step) {
  if (!recording) return;
  const latest = Math.max(0, recording.n / recording.fs - PAGE_S);
  start = Math.min(latest, Math.max(0, start + step * PAGE_S));
  redraw();
}

function prepare() {
  if (!recording) return;
  const layouts = possible(recording.leads);
  for (const input of tools.querySelectorAll("input[name=layout]")) {
    const radio = /** @type {HTMLInputElement} */ (input);
    radio.disabled = !layouts.includes(radio.value);
  }
  choose("layout", layouts[0]);
  choose("speed", "25");
  choose("gain", "10");
  ruler.value = localStorage.getItem("px-per-mm") ?? PX_PER_MM.toFixed(2);
}

tools.addEventListener("submit", (event) => event.preventDefault());
tools.addEventListener("change", (event) => {
  if (event.target === ruler) {
    if (ruler.validity.valid && ruler.value) localStorage.setItem("px-per-mm", ruler.value);
    else ruler.value = PX_PER_MM.toFixed(2);
  }
  redraw();
});
document.getElementById("earlier")?.addEventListener("click", () => turn(-1));
document.getElementById("later")?.addEventListener("click", () => turn(1));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("resize", redraw);
paper.addEventListener("scroll", () => caption(), { passive: true });
addEventListener("pagehide", () => {
  recording = undefined;
  canvas.width = canvas.height = 0;
});

try {
  recording = await load();
  prepare();
  redraw();
} catch {
  failed.hidden = false;
  failed.textContent = canvas.dataset.failed ?? "";
}
