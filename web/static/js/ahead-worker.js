// The next case's samples, fetched while the present one is read, and handed out once when it is opened. In memory
// alone: nothing of a case is written to this machine's disk. Samples without a name; names never come this way.

const KEPT_MS = 5 * 60000;
const ARRIVAL = /^[0-9a-f]{32}$/;

/** @type {Map<string, {at: number, response: Response}>} by the address that the case's page asks for */
const kept = new Map();
const worker = /** @type {any} */ (self);

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  if (event.request.method !== "GET") return;
  const { pathname, search } = new URL(event.request.url);
  const found = kept.get(pathname + search);
  if (!found) return;
  kept.delete(pathname + search);
  if (Date.now() - found.at < KEPT_MS) event.respondWith(found.response);
});

worker.addEventListener("message", (/** @type {any} */ event) => event.waitUntil(prepare(String(event.data.arrival ?? ""))));

/** @param {string} arrival of the case that is likely next; empty: none */
async function prepare(arrival) {
  const ours = `/api/recordings/${arrival}/`;
  for (const place of [...kept.keys()]) if (!arrival || !place.startsWith(ours)) kept.delete(place);
  if (kept.size || !ARRIVAL.test(arrival)) return;
  const response = await fetch(`/api/ahead/${arrival}/window`, { credentials: "same-origin" });
  const place = response.headers.get("content-location"); // how the case's page will ask for it
  if (response.ok && place) kept.set(place, { at: Date.now(), response });
}
