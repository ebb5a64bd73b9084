// The coordinator's board: renewed when something happens, but never under the hand of somebody who fills in a form.

const LEAST_MS = 3000;

const board = () => /** @type {HTMLElement} */ (document.getElementById("board"));
const fresh = /** @type {HTMLElement} */ (document.getElementById("fresh"));
let event = Number(board().dataset.event);
let loadedAt = Date.now();
let loading = false;

/** Whether a form of the board is being filled in: a control has the focus, or a case is ticked. */
const busy = () =>
  Boolean(document.activeElement?.closest("#board select, #board input")) || Boolean(board().querySelector("input:checked"));

async function renew() {
  if (loading || Date.now() - loadedAt < LEAST_MS) return;
  if (busy()) {
    fresh.textContent = fresh.dataset.held ?? "";
    return;
  }
  loading = true;
  try {
    const query = new URLSearchParams({ pool: board().dataset.pool ?? "" });
    const response = await fetch(`/coordinator/board?${query}`, { credentials: "same-origin" });
    if (response.status === 401) location.reload();
    const loaded = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("board");
    if (loaded && !busy()) {
      board().replaceWith(document.adoptNode(loaded));
      event = Number(board().dataset.event);
      fresh.textContent = "";
    }
  } catch {
    // the line is broken: alarm.js says so when it lasts
  }
  loadedAt = Date.now();
  loading = false;
}

let newest = event;
document.addEventListener("worklist:changes", (changed) => {
  newest = /** @type {CustomEvent<import("./alarm.js").Changes>} */ (changed).detail.event;
});
setInterval(() => {
  // times go by also where nothing happens: late is told, at the latest, half a minute after
  if (newest !== event || Date.now() - loadedAt > 30000) renew();
}, 1000);

const stream = new EventSource("/api/worklist/live");
stream.addEventListener("changed", () => document.dispatchEvent(new Event("worklist:ask")));
addEventListener("pagehide", () => stream.close());

document.addEventListener("keydown", (pressed) => {
  if (pressed.key === "Escape") /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
});
