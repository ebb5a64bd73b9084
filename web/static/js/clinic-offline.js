// The page opens without a line as well, where the browser lets it: in a secure context with a trusted certificate.

import { ask, Broken, heard } from "./clinic-line.js";

const LOOK_EVERY_MS = 5000;
const QUIET_MS = 2000;

/**
 * Have the page's shell kept. Nothing depends on it: elsewhere a page without a line stays open and is not reloaded.
 * @param {() => boolean} isBusy whether something is on its way: a slow line is for that first
 */
export async function keepPage(isBusy) {
  if (!navigator.serviceWorker) return;
  do await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
  while (isBusy());
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
