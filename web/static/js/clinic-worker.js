// The clinic's page without a line: its static files and its shell, and nothing else. See web/pages/offline.py, which puts
// the version and the list of files before this.

/* global VERSION, FILES */

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const CACHE = `teleread-${VERSION}`;
const PAGE = "/upload";
const SHELL = "/upload/shell";
const PATIENCE_MS = 8000; // a line that is dead without a word
const BROKEN = new Set([502, 503, 504]); // a proxy's answer where the line behind it is broken
let isStale = false; // the reading centre has other files than these: they are asked for until the next worker is here

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));

async function install() {
  const cache = await caches.open(CACHE);
  await cache.addAll(FILES);
  await keepShell().catch(() => {});
  await worker.skipWaiting();
}

async function activate() {
  for (const key of await caches.keys()) {
    if (key.startsWith("teleread-") && key !== CACHE) await caches.delete(key);
  }
  await worker.clients.claim();
}

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname, search } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (request.mode === "navigate") {
    if (pathname === PAGE) event.respondWith(opened(event));
  } else if (FILES.includes(pathname) && !search) {
    event.respondWith(file(request));
  }
});

/** The page from the reading centre; its shell where that does not answer. @param {FetchEvent} event */
async function opened(event) {
  const asked = fetch(event.request);
  const answer = await Promise.race([asked.catch(() => null), after(PATIENCE_MS)]);
  if (answer && !BROKEN.has(answer.status)) {
    event.waitUntil(seen(answer).catch(() => {}));
    return answer;
  }
  return (await keptShell()) ?? answer ?? asked.catch(() => Response.error());
}

/** What is kept is made anew where it is no longer what would be given. @param {Response} answer */
async function seen(answer) {
  const mark = answer.headers.get("Teleread-Shell");
  if (!mark) return; // a sign-in page
  isStale = answer.headers.get("Teleread-Static") !== VERSION;
  const kept = await keptShell();
  if (!isStale && kept?.headers.get("Teleread-Shell") !== mark) await keepShell();
}

async function keptShell() {
  return (await caches.open(CACHE)).match(SHELL, { ignoreVary: true });
}

async function keepShell() {
  const answer = await fetch(SHELL, { credentials: "same-origin" });
  if (answer.status !== 200 || answer.redirected || answer.headers.get("Teleread-Static") !== VERSION) return;
  const headers = new Headers(answer.headers);
  for (const name of ["Content-Encoding", "Content-Length"]) headers.delete(name); // of the bytes on the line
  // made anew: one that was fetched under another address would show that address
  await (await caches.open(CACHE)).put(SHELL, new Response(await answer.blob(), { headers }));
}

/** @param {Request} request */
async function file(request) {
  const kept = await (await caches.open(CACHE)).match(request, { ignoreVary: true });
  if (kept && !isStale) return kept;
  return fetch(request).catch(() => kept ?? Response.error());
}

/** @param {number} ms @returns {Promise<null>} */
const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms, null));
