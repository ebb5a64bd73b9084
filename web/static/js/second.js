// Asking a colleague on a case's page (Q), and the comparison of two readings: digits choose, Ctrl+Enter sends.

import { heard } from "./keys.js";

const dialog = /** @type {HTMLDialogElement | null} */ (document.getElementById("ask"));
const opener = document.getElementById("ask-open");
const priority = document.getElementById("ask-priority");
const grading = /** @type {HTMLFormElement | null} */ (document.getElementById("grading"));
const seen = /** @type {HTMLFormElement | null} */ (document.getElementById("seen"));

/** @param {EventTarget | null} target */
const types = (target) =>
  target instanceof HTMLElement && Boolean(target.closest("textarea, select, input:not([type=radio]):not([type=checkbox])"));

/** @param {ParentNode} form @param {string} name */
function chosen(form, name) {
  return /** @type {HTMLInputElement | null} */ (form.querySelector(`input[name=${name}]:checked`));
}

/** The priority is asked for where it counts: an opinion has that of its case. */
function showPriority() {
  if (dialog && priority) priority.hidden = chosen(dialog, "how")?.value !== "consultation";
}

function ask() {
  if (!dialog || dialog.open) return;
  dialog.showModal();
  showPriority();
  chosen(dialog, "how")?.focus();
}

/**
 * A digit chooses; returns whether there is such a choice.
 * @param {ParentNode} form
 * @param {string} key
 */
function choose(form, key) {
  for (const label of form.querySelectorAll("label.check")) {
    const input = /** @type {HTMLInputElement | null} */ (label.querySelector("input[type=radio]"));
    if (!input || label.querySelector("kbd")?.textContent !== key) continue;
    input.checked = true;
    input.focus();
    showPriority();
    return true;
  }
  return false;
}

/**
 * Before the page's own keys: Ctrl+Enter in the dialog asks, and signs nothing.
 * @param {KeyboardEvent} event
 */
function first(event) {
  const form = dialog?.open ? dialog.querySelector("form") : grading;
  if (!form) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    event.stopImmediatePropagation();
    form.requestSubmit();
  } else if (heard(event) && !types(event.target) && choose(form, event.key)) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}

addEventListener("keydown", first, true);
document.addEventListener("keydown", (event) => {
  if (!heard(event) || event.repeat) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (types(target) || target.closest("dialog")) return;
  if (opener && event.key.toLowerCase() === "q") {
    event.preventDefault();
    ask();
  } else if (seen && event.key === "Enter" && !target.closest("a, button")) {
    event.preventDefault();
    seen.requestSubmit();
  }
});
opener?.addEventListener("click", ask);
dialog?.addEventListener("change", showPriority);
document.getElementById("ask-not")?.addEventListener("click", () => dialog?.close());
