// How large a millimetre is on this screen: a bank card held to the glass says so. Kept for this browser alone.

const KEY = "teleread.screen";
const GUESS = 96 / 25.4; // CSS pixels
export const CARD_MM = { width: 85.6, height: 53.98 }; // ISO/IEC 7810, ID-1
const RANGE = { min: 2, max: 14 };

/** @typedef {{physical: number, screen: string}} Kept physical: device pixels in a millimetre */

/** Which screen this is, as far as a browser tells: another one has other pixels. */
const here = () => `${Math.round(screen.width * devicePixelRatio)}x${Math.round(screen.height * devicePixelRatio)}`;

/** @returns {number | null} CSS pixels in a millimetre; null where nobody has measured this screen */
export function calibrated() {
  try {
    /** @type {Kept} */
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "null");
    if (kept?.screen !== here() || !(kept.physical > 0)) return null;
    const px = kept.physical / devicePixelRatio; // zooming changes the pixels, not the glass
    return px > RANGE.min / 4 && px < RANGE.max * 4 ? px : null;
  } catch {
    return null;
  }
}

/** @returns {number} CSS pixels in a millimetre */
export function pxPerMm() {
  return calibrated() ?? GUESS;
}

/** @param {() => void} changed */
export function calibration(changed) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("screen"));
  const number = /** @type {HTMLInputElement} */ (document.getElementById("ruler"));
  const card = /** @type {HTMLElement} */ (document.getElementById("card"));
  const show = () => {
    const px = Number(number.value);
    if (!number.validity.valid || !px) return;
    card.style.width = `${CARD_MM.width * px}px`;
    card.style.height = `${CARD_MM.height * px}px`;
  };
  number.addEventListener("input", show);
  number.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 0.01, ArrowLeft: -0.01, PageUp: 0.1, PageDown: -0.1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    number.value = Math.min(RANGE.max, Math.max(RANGE.min, Number(number.value) + step)).toFixed(2);
    show();
  });
  document.getElementById("screen-open")?.addEventListener("click", () => {
    number.value = pxPerMm().toFixed(2);
    show();
    dialog.showModal();
    number.focus();
    number.select();
  });
  document.getElementById("screen-save")?.addEventListener("click", (event) => {
    if (!number.validity.valid || !number.value) {
      event.preventDefault();
      return;
    }
    /** @type {Kept} */
    const kept = { physical: Number(number.value) * devicePixelRatio, screen: here() };
    localStorage.setItem(KEY, JSON.stringify(kept));
    changed();
  });
  document.getElementById("screen-forget")?.addEventListener("click", () => {
    localStorage.removeItem(KEY);
    changed();
  });
}
