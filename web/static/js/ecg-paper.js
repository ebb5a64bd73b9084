// Draws ECG paper, traces and marks on a canvas.

import { PULSE_MM } from "./ecg-layout.js";

const LARGEST_STEP = 32700; // a value that stands here was farther off than the steps reach

/** @typedef {{leads: string[], fs: number, n: number, mvPerStep: number, offsetsMv: number[], missing: number, rPeaks: number[], samples: Int16Array}} Recording */
/** @typedef {{speed: number, gain: number, pxPerMm: number, noSignal: string, offScale: string, pulse: string, baselinesMv: number[]}} Drawing */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Recording} recording
 * @param {import("./ecg-layout.js").Layout} layout
 * @param {Drawing} drawing
 * @returns {string[]} the leads whose curve leaves the paper
 */
export function draw(canvas, recording, layout, drawing) {
  const dpr = window.devicePixelRatio || 1;
  const mm = drawing.pxPerMm * dpr; // device pixels
  // the paper fills the room there is
  const room = ((canvas.parentElement?.clientWidth ?? 0) - 1) / drawing.pxPerMm;
  canvas.width = Math.floor(Math.max(layout.width, room) * mm);
  canvas.height = Math.round(layout.height * mm);
  canvas.style.width = `${canvas.width / dpr}px`;
  canvas.style.height = `${canvas.height / dpr}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const style = getComputedStyle(canvas);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  context.fillStyle = colour("--paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  grid(context, mm, 1, colour("--grid-1"), dpr);
  grid(context, mm, 5, colour("--grid-5"), dpr);
  context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = colour("--trace");
  for (const baseline of layout.rows) pulse(context, mm, baseline, drawing, dpr);
  context.font = `600 ${13 * dpr}px ${style.fontFamily}`;
  context.textBaseline = "alphabetic";
  const off = layout.cells.filter((cell) => trace(context, mm, cell, recording, drawing, dpr));
  context.strokeStyle = context.fillStyle = colour("--mark");
  for (const line of layout.marks) marks(context, mm, line, recording, drawing.speed);
  return [...new Set(off.map((cell) => cell.lead))];
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} mm
 * @param {number} every
 * @param {string} colour
 * @param {number} dpr
 */
function grid(context, mm, every, colour, dpr) {
  const { width, height } = context.canvas;
  context.beginPath();
  context.lineWidth = Math.max(1, Math.round((every === 5 ? 1.2 : 0.8) * dpr));
  for (let x = 0; x * mm <= width; x += every) {
    const at = Math.round(x * mm) + 0.5;
    context.moveTo(at, 0);
    context.lineTo(at, height);
  }
  for (let y = 0; y * mm <= height; y += every) {
    const at = Math.round(y * mm) + 0.5;
    context.moveTo(0, at);
    context.lineTo(width, at);
  }
  context.strokeStyle = colour;
  context.stroke();
}

/**
 * The calibration pulse: one millivolt high, 200 ms long.
 * @param {CanvasRenderingContext2D} context
 * @param {number} mm
 * @param {number} baseline
 * @param {Drawing} drawing
 * @param {number} dpr
 */
function pulse(context, mm, baseline, drawing, dpr) {
  const width = Math.min(0.2 * drawing.speed, PULSE_MM - 3);
  const left = (PULSE_MM - width) / 2 - 0.5;
  const points = [
    [left - 1, 0],
    [left, 0],
    [left, -drawing.gain],
    [left + width, -drawing.gain],
    [left + width, 0],
    [left + width + 1, 0],
  ];
  context.beginPath();
  context.lineWidth = 1.2 * dpr;
  for (const [x, y] of points) context.lineTo(x * mm, (baseline + y) * mm);
  context.stroke();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} mm
 * @param {import("./ecg-layout.js").Cell} cell
 * @param {Recording} recording
 * @param {Drawing} drawing
 * @param {number} dpr
 * @returns {boolean} whether the curve leaves the paper
 */
function trace(context, mm, cell, recording, drawing, dpr) {
  const lead = recording.leads.indexOf(cell.lead);
  const first = Math.max(0, Math.round(cell.from * recording.fs));
  const last = Math.min(recording.n, Math.round(cell.to * recording.fs));
  const left = cell.x * mm;
  const base = cell.baseline * mm;
  const perSample = (drawing.speed / recording.fs) * mm;
  const perStep = recording.mvPerStep * drawing.gain * mm;
  const zero = base - (recording.offsetsMv[lead] - drawing.baselinesMv[lead]) * drawing.gain * mm;
  const offset = lead * recording.n;
  context.beginPath();
  context.lineWidth = 1.25 * dpr;
  let pen = false;
  let any = false;
  let off = false;
  for (let n = first; n < last; n++) {
    const value = recording.samples[offset + n];
    if (value === recording.missing) {
      pen = false;
      continue;
    }
    const x = left + (n - first) * perSample;
    const y = zero - value * perStep;
    off ||= y < 0 || y > context.canvas.height || Math.abs(value) >= LARGEST_STEP;
    if (pen) context.lineTo(x, y);
    else context.moveTo(x, y);
    pen = any = true;
  }
  context.stroke();
  if (cell.x > PULSE_MM) {
    // where one lead ends and the next begins
    context.beginPath();
    context.moveTo(left, base - 3 * mm);
    context.lineTo(left, base + 3 * mm);
    context.stroke();
  }
  const why = !any ? drawing.noSignal : off ? drawing.offScale : "";
  label(context, why ? `${cell.lead} – ${why}` : cell.lead, left + 1 * mm, base - 7.6 * mm);
  return off;
}

/**
 * A name on a little piece of blank paper, so that no trace hides it.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} x
 * @param {number} y
 */
function label(context, text, x, y) {
  context.save();
  context.lineWidth = 4;
  context.strokeStyle = getComputedStyle(context.canvas).getPropertyValue("--paper").trim();
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} mm
 * @param {{x: number, y: number, from: number, to: number}} line
 * @param {Recording} recording
 * @param {number} speed
 */
function marks(context, mm, line, recording, speed) {
  for (const peak of recording.rPeaks) {
    const seconds = peak / recording.fs;
    if (seconds < line.from || seconds >= line.to) continue;
    const x = (line.x + (seconds - line.from) * speed) * mm;
    const y = line.y * mm;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x - 1.1 * mm, y - 2 * mm);
    context.lineTo(x + 1.1 * mm, y - 2 * mm);
    context.fill();
  }
}
