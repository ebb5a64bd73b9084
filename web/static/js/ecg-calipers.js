// Calipers on the paper: two times and two heights, placed by a click or by keys, and the same distance marched out.

import { fill } from "./clock.js";
import { Handle } from "./ecg-handle.js";
import { PULSE_MM } from "./ecg-layout.js";

const STEP_MV = 0.01;
const FAR = 10;

/** @typedef {{start: number, span: number, fs: number, total: number, rPeaks: number[], rows: number[], height: number, speed: number, gain: number, pxPerMm: number, dpr: number}} View */

export class Calipers {
  /**
   * @param {HTMLElement} sheet positioned; holds the paper's canvas
   * @param {HTMLCanvasElement} overlay lies over it
   * @param {HTMLElement} output where the values are said; its data holds the words
   */
  constructor(sheet, overlay, output) {
    this.sheet = sheet;
    this.overlay = overlay;
    this.output = output;
    this.march = false;
    this.row = 0;
    this.times = [0, 0]; // samples of the recording
    this.heights = [0, 0]; // steps of STEP_MV above the row's baseline
    /** @type {Handle[]} */
    this.handles = [];
    this.turn = 0;
    /** @type {View | undefined} */
    this.view = undefined;
    sheet.addEventListener("click", (event) => this.click(event));
  }

  get on() {
    return this.handles.length > 0;
  }

  /** Show or hide. */
  toggle() {
    if (this.on) this.close();
    else this.open();
  }

  open() {
    const view = this.view;
    if (!view) return;
    const [from, to] = [Math.ceil(view.start * view.fs), Math.floor((view.start + view.span) * view.fs) - 1];
    const beats = view.rPeaks.filter((peak) => peak > from && peak < to);
    const middle = Math.floor(beats.length / 2);
    this.row = view.rows.length - 1;
    this.times = beats.length > 1 ? [beats[middle - 1], beats[middle]] : [from + Math.round(view.fs), from + 2 * Math.round(view.fs)];
    this.times = this.times.map((sample) => Math.min(sample, to));
    this.heights = [0, Math.round(1 / STEP_MV)];
    const names = this.output.dataset;
    const time = (/** @type {number} */ n, /** @type {string} */ label) =>
      new Handle(this.sheet, {
        label,
        along: "x",
        far: FAR,
        range: () => ({ ...this.within(), now: this.times[n] }),
        move: (sample) => this.set(() => (this.times[n] = sample ?? 0)),
        say: (step) => fill(names.at, { s: (step / this.current.fs).toFixed(3) }),
        pxPerStep: () => (this.current.speed * this.current.pxPerMm) / this.current.fs,
      });
    const height = (/** @type {number} */ n, /** @type {string} */ label) =>
      new Handle(this.sheet, {
        label,
        along: "y",
        far: FAR,
        range: () => ({ min: this.lowest, max: this.highest, now: this.heights[n] }),
        move: (step) => this.set(() => (this.heights[n] = step ?? 0)),
        say: (step) => `${(step * STEP_MV).toFixed(2)} mV`,
        pxPerStep: () => STEP_MV * this.current.gain * this.current.pxPerMm,
      });
    const [a, b, c, d] = (names.handles ?? "A,B,C,D").split(",");
    this.handles = [time(0, a), time(1, b), height(0, c), height(1, d)];
    this.turn = 0;
    this.output.hidden = false;
    this.redraw();
    this.handles[0].element.focus({ preventScroll: true });
  }

  close() {
    for (const handle of this.handles) handle.remove();
    this.handles = [];
    this.march = false;
    this.output.textContent = "";
    this.output.hidden = true;
    this.redraw();
  }

  /** The distance again and again, to both sides. */
  marchOut() {
    this.march = !this.march;
    if (!this.on) this.open();
    this.redraw();
  }

  /** @returns {View} */
  get current() {
    if (!this.view) throw new Error("nothing is drawn");
    return this.view;
  }

  /**
   * The paper was drawn anew.
   * @param {View} view
   */
  follow(view) {
    const other = this.view && this.view.start !== view.start;
    this.view = view;
    this.row = Math.min(this.row, view.rows.length - 1);
    if (other && this.on) this.close(); // another page has other beats
    this.redraw();
  }

  within() {
    const { start, span, fs } = this.current;
    return { min: Math.ceil(start * fs), max: Math.floor((start + span) * fs) - 1 };
  }

  get highest() {
    return Math.floor(this.current.rows[this.row] / this.current.gain / STEP_MV);
  }

  get lowest() {
    return -Math.floor((this.current.height - this.current.rows[this.row]) / this.current.gain / STEP_MV);
  }

  /** @param {() => void} change */
  set(change) {
    change();
    this.redraw();
  }

  /** @param {MouseEvent} event */
  click(event) {
    if (!this.on || /** @type {HTMLElement} */ (event.target).closest(".handle")) return;
    const { start, fs, speed, gain, pxPerMm, rows } = this.current;
    const box = this.sheet.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / pxPerMm, (event.clientY - box.top) / pxPerMm];
    const { min, max } = this.within();
    const sample = Math.round((start + (x - PULSE_MM) / speed) * fs);
    if (this.turn === 0) this.row = rows.reduce((best, at, n) => (Math.abs(at - y) < Math.abs(rows[best] - y) ? n : best), 0);
    this.times[this.turn] = Math.min(max, Math.max(min, sample));
    this.heights[this.turn] = Math.round((rows[this.row] - y) / gain / STEP_MV);
    if (this.turn === 0) this.heights[1] = this.heights[0];
    this.handles[this.turn].element.focus({ preventScroll: true });
    this.turn = 1 - this.turn;
    this.redraw();
  }

  /** What stands between: ms, beats a minute, mV. */
  get values() {
    const ms = (Math.abs(this.times[1] - this.times[0]) * 1000) / this.current.fs;
    return { ms, bpm: ms > 0 ? 60000 / ms : null, mv: (this.heights[1] - this.heights[0]) * STEP_MV };
  }

  redraw() {
    const view = this.view;
    if (!view) return;
    const { pxPerMm, dpr } = view;
    const canvas = /** @type {HTMLCanvasElement} */ (this.sheet.querySelector("canvas"));
    this.overlay.width = this.on ? canvas.width : 0;
    this.overlay.height = this.on ? canvas.height : 0;
    this.overlay.style.width = canvas.style.width;
    this.overlay.style.height = canvas.style.height;
    this.overlay.hidden = !this.on;
    if (!this.on) return;
    const context = /** @type {CanvasRenderingContext2D} */ (this.overlay.getContext("2d"));
    const px = (/** @type {number} */ sample) => (PULSE_MM + (sample / view.fs - view.start) * view.speed) * pxPerMm;
    const py = (/** @type {number} */ step) => (view.rows[this.row] - step * STEP_MV * view.gain) * pxPerMm;
    context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--mark").trim();
    context.lineWidth = dpr;
    this.times.forEach((sample) => line(context, px(sample) * dpr, true));
    this.heights.forEach((step) => line(context, py(step) * dpr, false));
    const apart = Math.abs(this.times[1] - this.times[0]);
    if (this.march && apart * view.speed * pxPerMm > 2 * view.fs) {
      context.setLineDash([4 * dpr, 4 * dpr]);
      const { min, max } = this.within();
      for (let at = Math.min(...this.times) - apart; at >= min; at -= apart) line(context, px(at) * dpr, true);
      for (let at = Math.max(...this.times) + apart; at <= max; at += apart) line(context, px(at) * dpr, true);
      context.setLineDash([]);
    }
    this.handles[0].place(px(this.times[0]), 2);
    this.handles[1].place(px(this.times[1]), 28);
    this.handles[2].place(py(this.heights[0]));
    this.handles[3].place(py(this.heights[1]));
    const { ms, bpm, mv } = this.values;
    const words = { ms: ms.toFixed(0), bpm: bpm === null ? "–" : bpm.toFixed(0), mv: mv.toFixed(2) };
    const text = fill(this.march ? this.output.dataset.march : this.output.dataset.words, words);
    if (this.output.textContent !== text) this.output.textContent = text;
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} at
 * @param {boolean} upright
 */
function line(context, at, upright) {
  const { width, height } = context.canvas;
  context.beginPath();
  if (upright) {
    context.moveTo(at, 0);
    context.lineTo(at, height);
  } else {
    context.moveTo(0, at);
    context.lineTo(width, at);
  }
  context.stroke();
}
