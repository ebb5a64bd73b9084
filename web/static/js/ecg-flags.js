// Flags: one key rejects what the program says, and takes that back; a further one may say why.

const panel = document.querySelector("section.flags");
const shown = /** @type {HTMLElement} */ (document.getElementById("case"));
const said = document.getElementById("flag-said");
const why = document.getElementById("flag-why");

/** @type {HTMLElement | undefined} */
let rejected; // the flag that was rejected last: a reason is of this one
let sending = Promise.resolve(); // what is pressed in quick succession is said in that order

/** @returns {HTMLElement[]} */
const items = () => (panel ? [...panel.querySelectorAll("li[data-flag]")].map((one) => /** @type {HTMLElement} */ (one)) : []);

/** @param {string | undefined} text */
function say(text) {
  if (said) said.textContent = text ?? "";
}

/**
 * @param {HTMLElement} item
 * @param {string} verdict
 * @param {string} reason a code, or nothing
 */
async function tell(item, verdict, reason = "") {
  const { item: itemId, fence } = shown.dataset;
  if (!itemId || !fence) {
    say(said?.dataset.unclaimed);
    return;
  }
  const body = new URLSearchParams({ verdict, item_id: itemId, fence, reason });
  const address = `/api/cases/${encodeURIComponent(shown.dataset.case ?? "")}/flags/${encodeURIComponent(item.dataset.flag ?? "")}`;
  try {
    const answer = await fetch(address, { method: "POST", body });
    const found = await answer.json();
    if (!answer.ok) {
      say([found.error?.what, found.error?.todo].filter(Boolean).join(" "));
      return;
    }
    mark(item, verdict, reason);
    // with its reason said the flag is done with, and the key is of the next one
    say(verdict !== "rejected" ? said?.dataset.open : reason ? said?.dataset.mark : said?.dataset.rejected);
    document.dispatchEvent(new CustomEvent("flags-changed", { detail: { open: found.open } }));
  } catch {
    say(said?.dataset.failed);
  }
}

/**
 * @param {HTMLElement} item
 * @param {string} verdict
 * @param {string} reason
 */
function mark(item, verdict, reason) {
  const isRejected = verdict === "rejected";
  item.classList.toggle("is-rejected", isRejected);
  const button = /** @type {HTMLElement} */ (item.querySelector("button.reject"));
  button.setAttribute("aria-pressed", String(isRejected));
  const words = item.querySelector(".verdict");
  const because = /** @type {HTMLElement | null | undefined} */ (why?.querySelector(`[data-reason="${reason}"]`))?.dataset.words;
  if (words) words.textContent = isRejected ? [said?.dataset.mark, because].filter(Boolean).join(" · ") : "";
  if (!why) return;
  why.hidden = !isRejected || reason !== "";
  if (why.hidden) return;
  item.append(why);
  why.scrollIntoView({ block: "nearest" }); // the report's panel covers the end of the column
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
  rejected = item;
  sending = sending.then(() => tell(item, item.classList.contains("is-rejected") ? "open" : "rejected"));
}

/**
 * Why the flag was rejected that was rejected last; nothing where none was.
 * @param {number} n the reason's place in the list
 */
export function because(n) {
  const item = rejected;
  const reason = /** @type {HTMLElement | undefined} */ (why?.querySelectorAll("button")[n - 1])?.dataset.reason;
  if (!item || !reason) return;
  sending = sending.then(() => (item.classList.contains("is-rejected") ? tell(item, "rejected", reason) : undefined));
  // this one is done with: the next press of the key is of the next flag, and takes nothing back
  const held = /** @type {HTMLElement | null} */ (document.activeElement);
  if (held && item.contains(held)) held.blur();
}

why?.querySelectorAll("button").forEach((button, n) => button.addEventListener("click", () => because(n + 1)));

for (const item of items()) {
  item.querySelector("button.reject")?.addEventListener("click", () => turn(item));
}
