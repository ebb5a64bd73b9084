// The tracing on paper from the browser: drawn anew in true millimetres, cut where a line is longer than a sheet.

const PX_PER_MM = 96 / 25.4; // a browser prints 96 CSS pixels to the inch
const DPR = 4;
const SHEET_MM = { width: 260, height: 145 }; // of A4 across, below the lines that say whose it is

/**
 * @param {(canvas: HTMLCanvasElement, pxPerMm: number, dpr: number, height: number) => void} drawOn draws the whole
 *   paper as it is shown, no higher than `height` mm
 */
export function printing(drawOn) {
  const holder = /** @type {HTMLElement} */ (document.getElementById("print-pages"));
  addEventListener("beforeprint", () => {
    const whole = document.createElement("canvas");
    holder.replaceChildren(whole); // a canvas takes its colours from its place
    holder.hidden = false;
    drawOn(whole, PX_PER_MM, DPR, SHEET_MM.height);
    const mm = PX_PER_MM * DPR;
    const width = Math.round(SHEET_MM.width * mm);
    for (let left = 0; whole.width - left > 5 * mm; ) {
      // a strip begins with its pulse; what follows is the traces alone, ten times 25 mm of them
      const wide = Math.min(left ? Math.round((SHEET_MM.width - 10) * mm) : width, whole.width - left);
      const page = document.createElement("canvas");
      page.width = wide;
      page.height = whole.height;
      page.style.width = `${wide / DPR}px`;
      page.style.height = `${whole.height / DPR}px`;
      page.getContext("2d")?.drawImage(whole, -left, 0);
      holder.append(page);
      left += wide;
    }
    whole.remove();
  });
  addEventListener("afterprint", () => {
    holder.hidden = true;
    holder.replaceChildren();
  });
}
