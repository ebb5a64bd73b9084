// The usual beat of all leads with its marks, which can be moved; intervals follow. An earlier one may lie over it.

import { Handle } from "./ecg-handle.js";
import { measure } from "./ecg-intervals.js";
import { ordered } from "./ecg-layout.js";
import { ink, label, sheet } from "./ecg-paper.js";

const LARGE = { speed: 100, gain: 20 }; // of all leads upon each other
const SMALL = { speed: 25, gain: 10 }; // of each lead by itself
const LARGE_MM = { width: 118, height: 105, base: 65 };
const TOP_MM = 4;
const KNOBS = [2, 28, 54, 2, 28]; // heights of the marks' names in CSS pixels: neighbours must not touch
const AROUND_S = { before: 0.35, behind: 0.6, margin: 0.06 }; // of R, and of the outermost marks
const NAMES = ["p_on", "p_off", "qrs_on", "qrs_off", "t_off"];
const AT_MS = { p_on: -200, p_off: -90, qrs_on: -45, qrs_off: 50, t_off: 360 }; // where a mark appears that was not there
const FAR = 10;

/** @typedef {{fs_hz: number, leads: string[], r_index: number, beats: number, n: number, samples_uv: (number[] | null)[], marks: import("./ecg-intervals.js").Marks, from_s: number, to_s: number}} Beat */
/** @typedef {{pxPerMm: number, dpr: number, order: string, doubtful: Map<string, string>}} Look */

export class BeatView {
  /**
   * @param {HTMLElement} holder positioned; holds the canvas; its data holds the names of the marks
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} changed what to do when a mark has been moved
   */
  constructor(holder, canvas, changed) {
    this.holder = holder;
    this.canvas = canvas;
    this.changed = changed;
    /** @type {Beat | null} */
    this.beat = null;
    /** @type {Beat | null} */
    this.earlier = null;
    /** @type {import("./ecg-intervals.js").Marks} */
    this.marks = {};
    /** @type {Handle[]} */
    this.handles = [];
    /** @type {Look | undefined} */
    this.look = undefined;
  }

  /** @param {Beat | null} beat */
  show(beat) {
    this.beat = beat;
    this.marks = { ...beat?.marks };
    for (const handle of this.handles) handle.remove();
    this.handles = beat ? NAMES.map((name) => this.handle(name)) : [];
  }

  /** The marks as the program set them. */
  reset() {
    if (this.beat) this.marks = { ...this.beat.marks };
    this.redraw();
    this.changed();
  }

  /** @returns {string[]} names of the marks that a reader has moved */
  get moved() {
    return NAMES.filter((name) => this.beat && this.marks[name] !== this.beat.marks[name]);
  }

  /** @param {number | null} rrMs */
  measured(rrMs) {
    return this.beat ? measure(this.beat, this.marks, rrMs) : {};
  }

  /** @param {string} name */
  handle(name) {
    const beat = /** @type {Beat} */ (this.beat);
    const words = this.holder.dataset;
    const ms = (/** @type {number} */ sample) => ((sample - beat.r_index) * 1000) / beat.fs_hz;
    return new Handle(this.holder, {
      label: words[name.replace(/_(\w)/, (_, letter) => letter.toUpperCase())] ?? name,
      along: "x",
      far: FAR,
      range: () => ({ ...this.room(name), now: this.marks[name] ?? null }),
      move: (sample) => {
        this.marks[name] = sample;
        this.redraw();
        this.changed();
      },
      say: (sample) => `${ms(sample).toFixed(0)} ms`,
      pxPerStep: () => (this.speed / beat.fs_hz) * (this.look?.pxPerMm ?? 1),
      start: this.appears(name),
      absent: words.absent ?? "",
    });
  }

  /**
   * Where a mark may stand: between its neighbours, so that no wave ends before it begins.
   * @param {string} name
   */
  room(name) {
    const n = NAMES.indexOf(name);
    const known = (/** @type {string} */ one) => this.marks[one] != null;
    const before = NAMES.slice(0, n).filter(known).pop();
    const behind = NAMES.slice(n + 1).find(known);
    return {
      min: before ? /** @type {number} */ (this.marks[before]) + 1 : 0,
      max: behind ? /** @type {number} */ (this.marks[behind]) - 1 : (this.beat?.n ?? 1) - 1,
    };
  }

  /** @param {string} name */
  appears(name) {
    const beat = /** @type {Beat} */ (this.beat);
    return Math.round(beat.r_index + (/** @type {Record<string, number>} */ (AT_MS)[name] * beat.fs_hz) / 1000);
  }

  /** The part of the beat that is drawn large, in seconds from its begin. */
  get part() {
    const beat = /** @type {Beat} */ (this.beat);
    const r = beat.r_index / beat.fs_hz;
    const placed = NAMES.map((name) => this.marks[name] ?? beat.marks[name]).filter((sample) => sample != null);
    const seconds = placed.map((sample) => /** @type {number} */ (sample) / beat.fs_hz);
    const from = Math.max(0, Math.min(r - AROUND_S.before, ...seconds.map((one) => one - AROUND_S.margin)));
    const to = Math.min(beat.n / beat.fs_hz, Math.max(r + AROUND_S.behind, ...seconds.map((one) => one + AROUND_S.margin)));
    return { from, to };
  }

  /** Paper speed of the large beat: where it does not fit at 100 mm/s, at 50. */
  get speed() {
    const { from, to } = this.part;
    return (to - from) * LARGE.speed <= LARGE_MM.width - 4 ? LARGE.speed : LARGE.speed / 2;
  }

  /** @param {Look} [look] */
  redraw(look) {
    this.look = look ?? this.look;
    const { beat } = this;
    if (!beat || !this.look) return;
    const { pxPerMm, dpr } = this.look;
    const mm = pxPerMm * dpr;
    const wide = (beat.n / beat.fs_hz) * SMALL.speed + 4;
    const context = sheet(this.canvas, LARGE_MM.width + 4 * wide, LARGE_MM.height, pxPerMm, dpr);
    const style = getComputedStyle(this.canvas);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    context.font = `600 ${12 * dpr}px ${style.fontFamily}`;
    const leads = ordered(this.look.order, beat.leads, true);
    const places = leads.map((one, n) => ({ ...one, x: LARGE_MM.width + Math.floor(n / 3) * wide, y: 22 + (n % 3) * 30 }));
    const { part } = this;
    const curves = [
      { from: this.earlier, colour: "--earlier" },
      { from: beat, colour: "--trace" },
    ];
    for (const { from, colour: name } of curves) {
      if (!from) continue;
      for (const { lead, sign, x, y } of places) {
        const doubt = this.look.doubtful.has(lead) && from === beat;
        context.strokeStyle = colour(doubt ? "--doubtful" : name);
        const row = from.samples_uv[from.leads.indexOf(lead)];
        if (!row) continue;
        context.lineWidth = 1.2 * dpr;
        // both beats at one R
        const late = (beat.r_index / beat.fs_hz - from.r_index / from.fs_hz) * SMALL.speed;
        curve(context, mm, row, from.fs_hz, x + 2 + late, y, sign * SMALL.gain, SMALL.speed);
        const large = (beat.r_index / beat.fs_hz - from.r_index / from.fs_hz - part.from) * this.speed;
        context.save();
        context.beginPath();
        context.rect(0, 0, (2 + (part.to - part.from) * this.speed) * mm, this.canvas.height);
        context.clip();
        context.lineWidth = 1.2 * dpr;
        curve(context, mm, row, from.fs_hz, 2 + large, LARGE_MM.base, sign * LARGE.gain, this.speed);
        context.restore();
      }
    }
    context.fillStyle = colour("--trace");
    for (const { label: text, lead, x, y } of places) {
      const doubt = this.look.doubtful.get(lead);
      label(context, doubt ? `${text} – ${doubt}` : text, (x + 2) * mm, (y - 11) * mm);
    }
    const seconds = (/** @type {number} */ sample) => sample / beat.fs_hz;
    context.strokeStyle = colour("--mark");
    context.lineWidth = dpr;
    context.beginPath();
    NAMES.forEach((name, n) => {
      const sample = this.marks[name];
      const px = (2 + (seconds(sample ?? this.appears(name)) - part.from) * this.speed) * pxPerMm;
      this.handles[n].place(px, KNOBS[n]);
      if (sample == null) return;
      context.moveTo(px * dpr, TOP_MM * mm);
      context.lineTo(px * dpr, LARGE_MM.height * mm);
      for (const { x, y } of places) {
        const at = (x + 2 + seconds(sample) * SMALL.speed) * mm;
        context.moveTo(at, (y - 8) * mm);
        context.lineTo(at, (y + 8) * mm);
      }
    });
    context.stroke();
    this.canvas.dataset.beats = String(beat.beats);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} mm
 * @param {number[]} row µV
 * @param {number} fs
 * @param {number} left mm
 * @param {number} base mm
 * @param {number} gain mm per millivolt, negative for a lead that is turned round
 * @param {number} speed
 */
function curve(context, mm, row, fs, left, base, gain, speed) {
  const path = new Path2D();
  row.forEach((uv, n) => path.lineTo((left + (n / fs) * speed) * mm, (base - (uv / 1000) * gain) * mm));
  ink(context, path, context.lineWidth);
}
