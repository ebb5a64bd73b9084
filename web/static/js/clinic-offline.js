// The page opens without a line as well, where the browser lets it: in a secure context with a trusted certificate.

import { ask, Broken, heard } from "./clinic-line.js";

const LOOK_EVERY_MS = 5000;

/** Have the page's shell kept. Nothing depends on it: elsewhere a page without a line stays open and is not reloaded. */
export async function keepPage() {
  if (!navigator.serviceWorker) return;
  if (document.readyState !== "complete") await new Promise((resolve) => addEventListener("load", resolve, { once: true }));
  await navigator.serviceWorker.register("/clinic-worker.js", { scope: "/upload" }).catch(() => {});
}

/** This page is the kept shell: say that the line is broken, and see when it is back. */
export async function openedWithoutLine() {
  heard(false);
  for (;;) {
    try {
      const answer = await ask("GET", "/healthz");
      if (answer.status === 200) return;
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
