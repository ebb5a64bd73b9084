// One frame at a time, the neighbours fetched ahead.

import { fill } from "./clock.js";

const KEEP = 48;
const AHEAD = 3;

const stage = /** @type {HTMLElement} */ (document.getElementById("stage"));
const slide = /** @type {HTMLInputElement} */ (document.getElementById("slide"));
const place = /** @type {HTMLElement} */ (document.getElementById("place"));
const preset = /** @type {HTMLSelectElement} */ (document.getElementById("window"));

/** @type {{arrival: string, frame: number}[]} */
const frames = [];
for (const item of document.querySelectorAll("#instances li")) {
  const { arrival, frames: count } = /** @type {HTMLElement} */ (item).dataset;
  for (let frame = 0; frame < Number(count); frame++) frames.push({ arrival: arrival ?? "", frame });
}

/** @type {Map<string, HTMLImageElement>} */
const cache = new Map();
let at = 0;

/** @param {number} n */
function image(n) {
  const { arrival, frame } = frames[n];
  const address = `/api/instances/${arrival}/frames/${frame}.png?window=${encodeURIComponent(preset.value)}`;
  let found = cache.get(address);
  if (!found) {
    found = new Image();
    found.src = address;
  }
  cache.delete(address);
  cache.set(address, found); // the latest used stand last
  for (const oldest of cache.keys()) {
    if (cache.size <= KEEP) break;
    cache.delete(oldest);
  }
  return found;
}

/** @param {number} n */
async function show(n) {
  at = Math.min(frames.length - 1, Math.max(0, n));
  const wanted = at;
  slide.value = String(at + 1);
  const words = { n: at + 1, all: frames.length };
  place.textContent = fill(place.dataset.text, words);
  const next = image(at);
  next.alt = fill(stage.dataset.alt, words);
  try {
    await next.decode();
    if (wanted === at) stage.replaceChildren(next);
  } catch {
    if (wanted === at) stage.replaceChildren(message());
  }
  if (wanted === at) {
    for (let step = 1; step <= AHEAD; step++) {
      if (at + step < frames.length) image(at + step);
      if (step === 1 && at > 0) image(at - 1);
    }
  }
}

function message() {
  const text = document.createElement("p");
  text.setAttribute("role", "alert");
  text.textContent = stage.dataset.failed ?? "";
  return text;
}

document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.altKey || event.metaKey || target.closest("select, input")) return;
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 }[
    event.key
  ];
  if (step === undefined) return;
  event.preventDefault();
  show(at + step);
});
stage.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    show(at + Math.sign(event.deltaY));
  },
  { passive: false },
);
slide.addEventListener("input", () => show(Number(slide.value) - 1));
preset.addEventListener("change", () => show(at));
document.getElementById("tools")?.addEventListener("submit", (event) => event.preventDefault());
addEventListener("pagehide", () => {
  cache.clear();
  stage.replaceChildren();
});
show(0);
