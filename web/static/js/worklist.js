// The worklist by keyboard, and its "n new" badge. No row ever moves by itself.

import { fill } from "./clock.js";

const list = /** @type {HTMLElement} */ (document.getElementById("worklist"));
const badge = /** @type {HTMLAnchorElement} */ (document.getElementById("new"));
const filters = /** @type {HTMLFormElement} */ (document.getElementById("filters"));
const find = /** @type {HTMLInputElement} */ (document.getElementById("find"));
const help = /** @type {HTMLDialogElement} */ (document.getElementById("help"));
const noneFound = document.getElementById("none-found");

const rows = /** @type {HTMLTableRowElement[]} */ ([...list.querySelectorAll("tr[data-case]")]);
const known = new Set(rows.map((row) => row.dataset.case));
let firstAnswer = true;

/** @param {HTMLTableRowElement} row */
const linkOf = (row) => /** @type {HTMLAnchorElement} */ (row.querySelector("a.open"));

/** @param {number} step */
function move(step) {
  const visible = rows.filter((row) => !row.hidden);
  const at = visible.findIndex((row) => row.contains(document.activeElement));
  const next = visible[at < 0 ? (step > 0 ? 0 : visible.length - 1) : at + step];
  if (next) {
    linkOf(next).focus();
    next.scrollIntoView({ block: "nearest" });
  }
}

function narrow() {
  const wanted = find.value.trim().toLocaleLowerCase();
  for (const row of rows) row.hidden = !(row.textContent ?? "").toLocaleLowerCase().includes(wanted);
  if (noneFound) noneFound.hidden = rows.some((row) => !row.hidden);
}

/** @param {import("./alarm.js").Changes} changes */
function apply(changes) {
  for (const [priority, n] of Object.entries(changes.counts)) {
    const shown = document.getElementById(`count-${priority}`);
    if (shown) shown.textContent = String(n);
  }
  if (firstAnswer && !list.dataset.first) changes.new.forEach((id) => known.add(id)); // on the pages before this one
  firstAnswer = false;
  const fresh = changes.new.filter((id) => !known.has(id)).length;
  badge.hidden = fresh === 0;
  const text = fill(badge.dataset.text, { n: fresh });
  if (badge.textContent !== text) badge.textContent = text;
  for (const id of changes.gone) {
    const row = rows.find((one) => one.dataset.case === id);
    if (row && !row.classList.contains("is-gone")) {
      row.classList.add("is-gone");
      const quality = row.querySelector(".quality");
      if (quality) quality.textContent = list.dataset.read ?? "";
    }
  }
}

document.addEventListener("worklist:changes", (event) => {
  apply(/** @type {CustomEvent<import("./alarm.js").Changes>} */ (event).detail);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || help.open) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target === find) {
    if (event.key === "Escape") {
      find.value = "";
      narrow();
      move(1);
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      move(1);
    } else {
      return;
    }
    event.preventDefault();
    return;
  }
  if (target.closest("select, input, textarea")) return;
  const act = {
    j: () => move(1),
    ArrowDown: () => move(1),
    k: () => move(-1),
    ArrowUp: () => move(-1),
    "/": () => find.focus(),
    "?": () => help.showModal(),
    r: () => badge.click(),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

find.addEventListener("input", narrow);
document.getElementById("help-open")?.addEventListener("click", () => help.showModal());
document.getElementById("apply")?.setAttribute("hidden", "");
for (const select of filters.querySelectorAll("select")) select.addEventListener("change", () => filters.requestSubmit());

// back from a case: its row again, unless something more urgent stands at the top
const last = rows.find((row) => row.dataset.case === sessionStorage.getItem("last-case"));
sessionStorage.removeItem("last-case");
const urgent = (/** @type {HTMLTableRowElement | undefined} */ row) => row?.classList.contains("is-urgent");
const start = last && (urgent(last) || !urgent(rows[0])) ? last : rows[0];
if (start && document.activeElement === document.body) linkOf(start).focus({ preventScroll: start === rows[0] });
