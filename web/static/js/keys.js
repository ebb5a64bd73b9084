// Keys of one character: letters, digits and signs. Whoever speaks to her computer, or whose hand trembles, may switch
// them off on her account's page (WCAG 2.1.4), so that none of them takes, rejects or tells anything by accident.

const off = document.body.dataset.letterKeys === "off";

/**
 * Whether what was pressed may be one of a page's keys: nothing is held with it, nobody has used it yet, and its kind
 * is not switched off.
 * @param {KeyboardEvent} event
 */
export function heard(event) {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return false;
  return !(off && event.key.length === 1);
}

if (off) {
  // no button names a key that does nothing
  for (const one of document.querySelectorAll("button kbd, label kbd")) {
    /** @type {HTMLElement} */ (one).hidden = one.textContent?.trim().length === 1;
  }
}
