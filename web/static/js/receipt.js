// Keeps the state of a receipt up to date.

const EVERY_MS = 3000;
const status = /** @type {HTMLElement} */ (document.getElementById("status"));

/** @param {ParentNode & Node} node */
const words = (node) => (node.textContent ?? "").replace(/\s+/g, " ").trim();

async function refresh() {
  try {
    const response = await fetch(`/receipts/${encodeURIComponent(status.dataset.receipt ?? "")}/status`, {
      redirect: "manual",
    });
    if (!response.ok) return;
    const fresh = document.createElement("template");
    fresh.innerHTML = await response.text();
    // only what changed is announced, so an unchanged answer is not written again
    if (words(fresh.content) !== words(status)) status.replaceChildren(fresh.content);
  } catch {
    // the line is broken; the next round asks again
  }
}

setInterval(refresh, EVERY_MS);
refresh();
