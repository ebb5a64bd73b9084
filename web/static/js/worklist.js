// The worklist by keyboard. What happens in the queue is shown by worklist-live.js; no row ever moves by itself.

import { heard } from "./keys.js";
import { linkOf, listed, renew, rowAt, rows, say, stand, watch } from "./worklist-live.js";

const filters = /** @type {HTMLFormElement} */ (document.getElementById("filters"));
const find = /** @type {HTMLInputElement} */ (document.getElementById("find"));
const help = /** @type {HTMLDialogElement} */ (document.getElementById("help"));
const claimForm = /** @type {HTMLFormElement} */ (document.getElementById("claim-form"));
const nextForm = /** @type {HTMLFormElement} */ (document.getElementById("next"));
const paused = /** @type {HTMLElement} */ (document.getElementById("paused"));
const words = /** @type {HTMLElement} */ (document.getElementById("words")).dataset;

/** @param {HTMLTableRowElement | undefined} row */
function go(row) {
  if (!row) return;
  for (const one of rows()) linkOf(one).tabIndex = -1;
  linkOf(row).tabIndex = 0;
  linkOf(row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

/** @param {number} step */
function move(step) {
  const visible = rows().filter((row) => !row.hidden);
  const at = visible.findIndex((row) => row.contains(document.activeElement));
  go(visible[at < 0 ? (step > 0 ? 0 : visible.length - 1) : at + step]);
}

function narrow() {
  const wanted = find.value.trim().toLocaleLowerCase();
  for (const row of rows()) row.hidden = !(row.textContent ?? "").toLocaleLowerCase().includes(wanted);
  const none = document.getElementById("none-found");
  if (none) none.hidden = rows().some((row) => !row.hidden);
}

/**
 * Take a case and open it; one that somebody else has is only looked at.
 * @param {HTMLTableRowElement} row
 */
function open(row) {
  const address = linkOf(row).getAttribute("href") ?? "";
  if (row.classList.contains("is-mine") || row.classList.contains("is-read")) {
    location.assign(address);
    return;
  }
  claimForm.action = `${address}/claim`;
  claimForm.submit();
}

/** Take the case under the cursor and stay here. */
async function claim() {
  const row = rowAt();
  if (!row || row.classList.contains("is-mine")) return;
  const id = row.dataset.case ?? "";
  try {
    const response = await fetch(`/api/cases/${encodeURIComponent(id)}/claim`, { method: "POST" });
    if (response.ok) {
      stand(row, { state: "IN PROGRESS", by: words.mine ?? "", mine: true });
      say(words.claimed ?? "");
    } else {
      const problem = (await response.json()).error;
      stand(row, { state: "IN PROGRESS", by: "", mine: false });
      say(problem.what);
      move(1);
    }
  } catch {
    say(words.failed ?? "");
  }
  document.dispatchEvent(new Event("worklist:ask"));
}

async function rest() {
  const on = paused.hidden;
  const body = JSON.stringify({ on });
  const headers = { "content-type": "application/json" };
  const response = await fetch("/api/claims/pause", { method: "POST", headers, body });
  if (response.ok) paused.hidden = !on;
}

/** @param {KeyboardEvent} event */
function inFind(event) {
  const one = rows().some((row) => !row.hidden);
  if (event.key === "Escape") {
    find.value = "";
    narrow();
    move(1);
  } else if (event.key === "ArrowDown" || (event.key === "Enter" && one && rows().length)) {
    move(1);
  } else if (event.key === "Enter") {
    filters.requestSubmit(); // in the whole list
  } else {
    return;
  }
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  if (!heard(event) || help.open) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target === find) {
    inFind(event);
    return;
  }
  if (target.closest("select, input, textarea")) return;
  const act = {
    j: () => move(1),
    ArrowDown: () => move(1),
    k: () => move(-1),
    ArrowUp: () => move(-1),
    n: () => nextForm.requestSubmit(),
    c: claim,
    "/": () => find.focus(),
    "?": () => help.showModal(),
    ".": renew,
    r: renew,
    p: rest,
    Escape: () => /** @type {HTMLElement | null} */ (document.activeElement)?.blur(),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act) {
    event.preventDefault();
    if (!event.repeat || act.length === 0) act();
  }
});

listed.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a look in another window takes nothing
  const link = /** @type {HTMLElement} */ (event.target).closest("a.open");
  const row = /** @type {HTMLTableRowElement | null} */ (link?.closest("tr[data-case]"));
  if (!row) return;
  event.preventDefault();
  open(row);
});

find.addEventListener("input", narrow);
document.getElementById("help-open")?.addEventListener("click", () => help.showModal());
document.getElementById("go-on")?.addEventListener("click", rest);
document.getElementById("apply")?.setAttribute("hidden", "");
for (const select of filters.querySelectorAll("select")) select.addEventListener("change", () => filters.requestSubmit());

// back from a case: its row again, unless something more urgent stands at the top
const last = rows().find((row) => row.dataset.case === sessionStorage.getItem("last-case"));
sessionStorage.removeItem("last-case");
const urgent = (/** @type {HTMLTableRowElement | undefined} */ row) => row?.classList.contains("is-urgent");
const start = last && (urgent(last) || !urgent(rows()[0])) ? last : rows()[0];
if (start) {
  linkOf(start).tabIndex = 0;
  if (document.activeElement === document.body) linkOf(start).focus({ preventScroll: start === rows()[0] });
}
watch();
