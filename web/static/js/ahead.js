// While a case is read: which one is likely next, and its samples fetched ahead (ahead-worker.js). Nothing is claimed.

const AFTER_MS = 3000;
const AGAIN_MS = 30000;

async function ahead() {
  const ready = await navigator.serviceWorker.ready;
  const response = await fetch("/api/claims/ahead", { credentials: "same-origin" });
  if (response.ok) ready.active?.postMessage({ arrival: (await response.json()).arrival_id });
}

// only where the browser lets a page have such a worker: on TLS, and on this machine itself
if (document.getElementById("claim") && navigator.serviceWorker) {
  navigator.serviceWorker.register("/static/js/ahead-worker.js", { scope: "/cases/" }).then(
    () => {
      const again = () => ahead().catch(() => {}); // a case that is not fetched ahead is fetched when it is opened
      setTimeout(again, AFTER_MS);
      setInterval(again, AGAIN_MS);
    },
    () => {},
  );
}
