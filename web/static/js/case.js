// Every case page: back to the list by Escape; nothing of one case survives into the next.

const shown = /** @type {HTMLElement} */ (document.getElementById("case"));

sessionStorage.setItem("last-case", shown.dataset.case ?? "");

document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.key === "Escape" && !target.closest("textarea, input, select")) location.assign("/worklist");
});

// a page out of the browser's memory is never shown again as it was
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
