// The next case's samples, fetched while the present one is read, and handed out once when it is opened. In memory
// alone: nothing of a case is written to this machine's disk. Samples without a name; names never come this way.

const KEPT_MS = 5 * 60000;
const OURS = /^\/api\/recordings\/([0-9a-f]{32})\/(display|wave)$/;

/** @type {Map<string, {at: number, response: Response}>} by the address that the case's page asks for */
const kept = new Map();
const worker = /** @type {any} */ (self);

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  if (event.request.method !== "GET") return;
  const path = new URL(event.request.url).pathname;
  const found = OURS.test(path) ? kept.get(path) : undefined;
  if (!found) return;
  kept.delete(path);
  if (Date.now() - found.at < KEPT_MS) event.respondWith(found.response);
});

worker.addEventListener("message", (/** @type {any} */ event) => event.waitUntil(prepare(String(event.data.arrival ?? ""))));

/** @param {string} arrival of the case that is likely next; empty: none */
async function prepare(arrival) {
  const wanted = arrival ? ["display", "wave"].map((part) => `/api/recordings/${arrival}/${part}`) : [];
  for (const path of [...kept.keys()]) if (!wanted.includes(path)) kept.delete(path);
  for (const path of wanted) {
    if (kept.has(path) || !OURS.test(path)) continue;
    const response = await fetch(path.replace("/api/recordings/", "/api/ahead/"), { credentials: "same-origin" });
    if (response.ok) kept.set(path, { at: Date.now(), response });
  }
}
