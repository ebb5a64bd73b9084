// Who signs out takes along what this browser keeps of the page. What is not sent yet stays: it is in its own store.

for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form[action='/sign-out']"))) {
  form.addEventListener("submit", async (event) => {
    if (!globalThis.caches) return; // nothing was kept: no secure context
    event.preventDefault();
    try {
      await forget();
    } finally {
      form.submit();
    }
  });
}

async function forget() {
  for (const one of (await navigator.serviceWorker?.getRegistrations()) ?? []) await one.unregister();
  for (const key of await caches.keys()) if (key.startsWith("teleread-")) await caches.delete(key);
}
