// Every case page: nothing of one case survives into the next. The way back to the list is claim.js's.

const shown = /** @type {HTMLElement} */ (document.getElementById("case"));

sessionStorage.setItem("last-case", shown.dataset.case ?? "");

// a page out of the browser's memory is never shown again as it was
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
