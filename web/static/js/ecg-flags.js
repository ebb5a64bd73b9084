// Flags: one key rejects what the program says, and takes that back.

const panel = document.querySelector("section.flags");
const shown = /** @type {HTMLElement} */ (document.getElementById("case"));
const said = document.getElementById("flag-said");

/** @returns {HTMLElement[]} */
const items = () => (panel ? [...panel.querySelectorAll("li[data-flag]")].map((one) => /** @type {HTMLElement} */ (one)) : []);

/** @param {string | undefined} text */
function say(text) {
  if (said) said.textContent = text ?? "";
}

/**
 * @param {HTMLElement} item
 * @param {string} verdict
 */
async function tell(item, verdict) {
  const { item: itemId, fence } = shown.dataset;
  if (!itemId || !fence) {
    say(said?.dataset.unclaimed);
    return;
  }
  const body = new URLSearchParams({ verdict, item_id: itemId, fence, reason: "" });
  const address = `/api/cases/${encodeURIComponent(shown.dataset.case ?? "")}/flags/${encodeURIComponent(item.dataset.flag ?? "")}`;
  try {
    const answer = await fetch(address, { method: "POST", body });
    const found = await answer.json();
    if (!answer.ok) {
      say([found.error?.what, found.error?.todo].filter(Boolean).join(" "));
      return;
    }
    mark(item, verdict);
    say(verdict === "rejected" ? said?.dataset.rejected : said?.dataset.open);
    document.dispatchEvent(new CustomEvent("flags-changed", { detail: { open: found.open } }));
  } catch {
    say(said?.dataset.failed);
  }
}

/**
 * @param {HTMLElement} item
 * @param {string} verdict
 */
function mark(item, verdict) {
  const rejected = verdict === "rejected";
  item.classList.toggle("is-rejected", rejected);
  const button = /** @type {HTMLElement} */ (item.querySelector("button.reject"));
  button.setAttribute("aria-pressed", String(rejected));
  const words = item.querySelector(".verdict");
  if (words) words.textContent = rejected ? (said?.dataset.mark ?? "") : "";
}

/** The flag that has the focus, else the first that nobody has rejected. */
export function rejectNext() {
  const all = items();
  const item = all.find((one) => one.contains(document.activeElement)) ?? all.find((one) => !one.classList.contains("is-rejected"));
  if (!item) return;
  /** @type {HTMLElement} */ (item.querySelector("button.reject")).focus();
  turn(item);
}

/** @param {HTMLElement} item */
function turn(item) {
  return tell(item, item.classList.contains("is-rejected") ? "open" : "rejected");
}

for (const item of items()) {
  item.querySelector("button.reject")?.addEventListener("click", () => turn(item));
}
