// A line that can be moved: by arrow keys, and by dragging for those who like to. For a screen reader it is a slider.

/**
 * @typedef {object} Options
 * @property {string} label what it is
 * @property {"x" | "y"} along the direction in which it moves
 * @property {number} far how many steps it moves with Shift
 * @property {() => {min: number, max: number, now: number | null}} range in steps; null: it is nowhere
 * @property {(step: number | null) => void} move to a step; null takes it away
 * @property {(step: number) => string} say a step in words
 * @property {() => number} pxPerStep CSS pixels
 * @property {number} [start] where it appears when it was nowhere
 * @property {string} [absent] words for nowhere; without them it cannot be taken away
 */

export class Handle {
  /**
   * @param {HTMLElement} parent positioned; what the handle lies over
   * @param {Options} options
   */
  constructor(parent, options) {
    this.options = options;
    this.element = document.createElement("div");
    this.element.className = `handle is-${options.along}`;
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "slider");
    this.element.setAttribute("aria-label", options.label);
    this.element.setAttribute("aria-orientation", options.along === "x" ? "horizontal" : "vertical");
    const name = document.createElement("span");
    name.textContent = options.label;
    name.setAttribute("aria-hidden", "true");
    this.element.append(name);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("pointerdown", (event) => this.drag(event));
    parent.append(this.element);
  }

  /**
   * @param {number} px where it stands on its parent, CSS pixels
   * @param {number} [across] where its knob stands in the other direction
   */
  place(px, across) {
    const { min, max, now } = this.options.range();
    const words = now === null ? (this.options.absent ?? "") : this.options.say(now);
    this.element.classList.toggle("is-absent", now === null);
    this.element.setAttribute("aria-valuemin", String(min));
    this.element.setAttribute("aria-valuemax", String(max));
    this.element.setAttribute("aria-valuenow", String(now ?? min));
    this.element.setAttribute("aria-valuetext", words);
    const x = this.options.along === "x";
    this.element.style.left = x ? `${px}px` : "";
    this.element.style.top = x ? (across === undefined ? "" : `${across}px`) : `${px}px`;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { min, max, now } = this.options.range();
    const back = this.options.along === "x" ? ["ArrowLeft", "ArrowDown"] : ["ArrowDown", "ArrowLeft"];
    const forth = this.options.along === "x" ? ["ArrowRight", "ArrowUp"] : ["ArrowUp", "ArrowRight"];
    const by = event.shiftKey ? this.options.far : 1;
    /** @type {number | null | undefined} */
    let to;
    if (back.includes(event.key)) to = now === null ? this.options.start : now - by;
    else if (forth.includes(event.key)) to = now === null ? this.options.start : now + by;
    else if (event.key === "PageDown") to = (now ?? 0) - this.options.far;
    else if (event.key === "PageUp") to = (now ?? 0) + this.options.far;
    else if (event.key === "Home") to = min;
    else if (event.key === "End") to = max;
    else if (event.key === "Delete" && this.options.absent !== undefined) to = null;
    else return;
    event.preventDefault();
    this.options.move(to == null ? null : Math.min(max, Math.max(min, to)));
  }

  /** @param {PointerEvent} event */
  drag(event) {
    if (event.button !== 0) return;
    const { min, max, now } = this.options.range();
    event.preventDefault();
    this.element.focus();
    if (now === null) {
      this.options.move(this.options.start ?? min);
      return;
    }
    const x = this.options.along === "x";
    const from = x ? event.clientX : event.clientY;
    const sign = x ? 1 : -1;
    this.element.setPointerCapture(event.pointerId);
    const moved = (/** @type {PointerEvent} */ at) => {
      const steps = Math.round((sign * ((x ? at.clientX : at.clientY) - from)) / this.options.pxPerStep());
      this.options.move(Math.min(max, Math.max(min, now + steps)));
    };
    this.element.addEventListener("pointermove", moved);
    const done = () => this.element.removeEventListener("pointermove", moved);
    this.element.addEventListener("pointerup", done, { once: true });
    this.element.addEventListener("pointercancel", done, { once: true });
  }

  remove() {
    this.element.remove();
  }
}
