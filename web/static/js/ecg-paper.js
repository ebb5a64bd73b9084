// Draws ECG paper, traces and marks on a canvas.

import { PULSE_MM } from "./ecg-layout.js";

const LARGEST_STEP = 32700; // a value that stands here was farther off than the steps reach
const FOOT_MM = 3; // height of the printed line
const PULSE_S = 0.2;

/** @typedef {import("./ecg-source.js").Recording} Recording */
/** @typedef {{speed: number, gain: number, pxPerMm: number, dpr: number, room: number, noSignal: string, offScale: string, baselinesMv: number[], doubtful: Map<string, string>, foot: string[]}} Drawing */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Recording} recording
 * @param {import("./ecg-layout.js").Layout} layout
 * @param {Drawing} drawing `room` is the width in mm that the paper fills at least
 * @returns {string[]} the leads whose curve leaves the paper
 */
export function draw(canvas, recording, layout, drawing) {
  const { dpr } = drawing;
  const mm = drawing.pxPerMm * dpr; // device pixels
  const context = sheet(canvas, Math.max(layout.width, drawing.room), layout.height, drawing.pxPerMm, dpr);
  const style = getComputedStyle(canvas);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  context.strokeStyle = context.fillStyle = colour("--trace");
  for (const baseline of layout.rows) pulse(context, mm, baseline, drawing);
  context.font = `600 ${13 * dpr}px ${style.fontFamily}`;
  context.textBaseline = "alphabetic";
  const off = layout.cells.filter((cell) => {
    const doubt = drawing.doubtful.get(cell.lead) ?? "";
    context.strokeStyle = context.fillStyle = colour(doubt ? "--doubtful" : "--trace");
    return trace(context, mm, cell, recording, drawing, doubt);
  });
  context.strokeStyle = context.fillStyle = colour("--mark");
  for (const line of layout.marks) marks(context, mm, line, recording, drawing.speed);
  context.fillStyle = colour("--trace");
  foot(context, mm, layout.height, drawing, style.fontFamily);
  return [...new Set(off.map((cell) => cell.lead))];
}

/**
 * An empty sheet of millimetre paper of the canvas's own size.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width mm
 * @param {number} height mm
 * @param {number} pxPerMm CSS pixels
 * @param {number} dpr
 * @returns {CanvasRenderingContext2D}
 */
export function sheet(canvas, width, height, pxPerMm, dpr) {
  const mm = pxPerMm * dpr;
  canvas.width = Math.floor(width * mm + 1e-6);
  canvas.height = Math.round(height * mm);
  canvas.style.width = `${canvas.width / dpr}px`;
  canvas.style.height = `${canvas.height / dpr}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const style = getComputedStyle(canvas);
  context.fillStyle = style.getPropertyValue("--paper").trim();
  context.fillRect(0, 0, canvas.width, canvas.height);
  grid(context, mm, 1, style.getPropertyValue("--grid-1").trim(), dpr);
  grid(context, mm, 5, style.getPropertyValue("--grid-5").trim(), dpr);
  context.lineJoin = "round";
  return context;
}

/**
 * Where a line of a whole number of pixels is sharp: its middle is never farther than half a pixel from its place.
 * @param {number} at device pixels
 * @param {number} width of the line in device pixels
 */
export function sharp(at, width) {
  return width % 2 ? Math.floor(at) + 0.5 : Math.round(at);
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
  const line = Math.max(1, Math.round((every === 5 ? 1.2 : 0.8) * dpr));
  context.fillStyle = colour;
  for (let x = 0; x * mm <= width; x += every) context.fillRect(sharp(x * mm, line) - line / 2, 0, line, height);
  for (let y = 0; y * mm <= height; y += every) context.fillRect(0, sharp(y * mm, line) - line / 2, width, line);
}

/**
 * The calibration pulse: one millivolt high, 200 ms long, at 50 mm/s half as long, so that it stays before the trace.
 * @param {CanvasRenderingContext2D} context
 * @param {number} mm
 * @param {number} baseline
 * @param {Drawing} drawing
 */
function pulse(context, mm, baseline, drawing) {
  const width = (drawing.speed > 25 ? PULSE_S / 2 : PULSE_S) * drawing.speed;
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
  context.lineWidth = 1.2 * drawing.dpr;
  for (const [x, y] of points) context.lineTo(x * mm, (baseline + y) * mm);
  context.stroke();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} mm
 * @param {import("./ecg-layout.js").Cell} cell
 * @param {Recording} recording
 * @param {Drawing} drawing
 * @param {string} doubt what is wrong with the lead
 * @returns {boolean} whether the curve leaves the paper
 */
function trace(context, mm, cell, recording, drawing, doubt) {
  const lead = recording.leads.indexOf(cell.lead);
  const first = Math.max(0, Math.round(cell.from * recording.fs) - recording.start);
  const last = Math.min(recording.n, Math.round(cell.to * recording.fs) - recording.start);
  const perSample = (drawing.speed / recording.fs) * mm;
  const perStep = cell.sign * recording.mvPerStep * drawing.gain * mm;
  const base = cell.baseline * mm;
  const left = cell.x * mm;
  // a cell need not begin at a sample
  const origin = left + (recording.start + first - cell.from * recording.fs) * perSample;
  const zero = base - cell.sign * (recording.offsetsMv[lead] - drawing.baselinesMv[lead]) * drawing.gain * mm;
  const { samples, missing } = recording;
  const offset = lead * recording.n;
  const bottom = context.canvas.height;
  const path = new Path2D();
  let pen = false;
  let any = false;
  let off = false;
  for (let n = first; n < last; n++) {
    const value = samples[offset + n];
    if (value === missing) {
      pen = false;
      continue;
    }
    const x = origin + (n - first) * perSample;
    const y = zero - value * perStep;
    off ||= y < 0 || y > bottom || Math.abs(value) >= LARGEST_STEP;
    if (pen) path.lineTo(x, y);
    else path.moveTo(x, y);
    pen = any = true;
  }
  ink(context, path, 1.25 * drawing.dpr);
  context.lineWidth = 1.25 * drawing.dpr;
  if (cell.x > PULSE_MM) {
    // where one lead ends and the next begins
    context.beginPath();
    context.moveTo(left, base - 3 * mm);
    context.lineTo(left, base + 3 * mm);
    context.stroke();
  }
  const why = [doubt, !any ? drawing.noSignal : off ? drawing.offScale : ""].filter(Boolean).join(", ");
  const room = (cell.to - cell.from) * drawing.speed * mm;
  name(context, cell.label, why, left + 1 * mm, base - 7.6 * mm, room - 2 * mm);
  return off;
}

/**
 * A line of some width, drawn as lines of one pixel beside each other: without a graphics card a wide line of
 * thousands of points takes a browser thirty times as long as one of a pixel.
 * @param {CanvasRenderingContext2D} context
 * @param {Path2D} path
 * @param {number} width device pixels
 */
export function ink(context, path, width) {
  const count = Math.max(2, Math.round(width)); // one alone is grey where it lies between two pixels
  context.lineWidth = 1;
  for (let n = 0; n < count; n++) {
    const aside = (width - 1) * (n / (count - 1) - 0.5);
    context.translate(aside, aside);
    context.stroke(path);
    context.translate(-aside, -aside);
  }
}

/**
 * A lead's name, and behind it what is wrong with it, no farther than the next lead; the table has all of it.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {string} why
 * @param {number} x
 * @param {number} y
 * @param {number} room
 */
function name(context, text, why, x, y, room) {
  label(context, text, x, y);
  if (!why) return;
  const behind = context.measureText(`${text} `).width;
  const usual = context.font;
  context.font = usual.replace(/^600 ([\d.]+)px/, (_, size) => `400 ${0.8 * Number(size)}px`);
  let shown = why;
  while (shown.length > 1 && behind + context.measureText(`${shown}…`).width > room) shown = shown.slice(0, -1);
  label(context, shown === why ? why : `${shown.trimEnd()}…`, x + behind, y);
  context.font = usual;
}

/**
 * A name on a little piece of blank paper, so that no trace hides it.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} x
 * @param {number} y
 */
export function label(context, text, x, y) {
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
  context.beginPath();
  for (const peak of recording.rPeaks) {
    const seconds = peak / recording.fs;
    if (seconds < line.from || seconds >= line.to) continue;
    const x = (line.x + (seconds - line.from) * speed) * mm;
    const y = line.y * mm;
    context.moveTo(x, y);
    context.lineTo(x - 1.1 * mm, y - 2 * mm);
    context.lineTo(x + 1.1 * mm, y - 2 * mm);
  }
  context.fill();
}

/**
 * What was done to the signal stands on the paper itself, small enough to fit.
 * @param {CanvasRenderingContext2D} context
 * @param {number} mm
 * @param {number} height of the paper in mm
 * @param {Drawing} drawing
 * @param {string} family
 */
function foot(context, mm, height, drawing, family) {
  const text = drawing.foot.filter(Boolean).join("   ");
  const font = (/** @type {number} */ size) => `600 ${size}px ${family}`;
  context.font = font(FOOT_MM * mm);
  const room = context.canvas.width - 2 * mm;
  context.font = font(FOOT_MM * mm * Math.min(1, room / context.measureText(text).width));
  label(context, text, mm, (height - 1.5) * mm);
}
