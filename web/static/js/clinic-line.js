// Requests over a line that breaks, and what the page says while it is broken.

import { serverNow } from "./clock.js";

/** The line broke, or nothing came for long: to be tried again. */
export class Broken extends Error {}

/** @typedef {{code?: string, what?: string, lost?: string, todo?: string}} Words */

/** The reading centre answered, and not as wished. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {Words} words
   */
  constructor(status, words) {
    super(words.code ?? String(status));
    this.status = status;
    this.words = words;
  }
}

const SILENT_MS = 20_000;
const banner = document.getElementById("line");
let lastHeard = serverNow();

/** Everything that waits for the line. */
export const line = new EventTarget();

/** @param {boolean} whole */
export function heard(whole) {
  if (whole) lastHeard = serverNow();
  if (!banner || banner.hidden === whole) return;
  const since = /** @type {HTMLElement} */ (document.getElementById("line-since"));
  const time = new Date(lastHeard).toLocaleTimeString(document.documentElement.lang, { timeStyle: "short" });
  since.textContent = (since.dataset.words ?? "").replace("{time}", time);
  banner.hidden = whole;
  if (whole) line.dispatchEvent(new Event("back"));
}

addEventListener("offline", () => heard(false));
addEventListener("online", () => line.dispatchEvent(new Event("back")));

/** @param {number} status */
function session(status) {
  const notice = document.getElementById("session");
  if (notice && (status === 401 || status < 400)) notice.hidden = status !== 401;
}

/**
 * @typedef {object} Options
 * @property {Record<string, string>} [headers]
 * @property {Blob | URLSearchParams | null} [body]
 * @property {AbortSignal} [signal]
 * @property {(sent: number) => void} [onSent] bytes of the body that have left
 *
 * @typedef {{status: number, text: string, header: (name: string) => string}} Answer
 */

/**
 * One request; an answer of whatever status.
 * @param {string} method
 * @param {string} url
 * @param {Options} [options]
 * @returns {Promise<Answer>}
 */
export function ask(method, url, { headers = {}, body = null, signal, onSent } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => request.abort(), SILENT_MS);
    };
    const stop = () => request.abort();
    request.upload.onprogress = (event) => {
      alive();
      onSent?.(event.loaded);
    };
    request.onprogress = alive;
    request.onloadend = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      if (request.status === 0) {
        if (!signal?.aborted) heard(false);
        reject(new Broken(signal?.aborted ? "aborted" : "line_broken"));
        return;
      }
      heard(true);
      // a page asked for without a session leads to the sign-in page
      const status = new URL(request.responseURL).pathname === "/sign-in" ? 401 : request.status;
      session(status);
      resolve({
        status,
        text: request.responseText,
        header: (name) => request.getResponseHeader(name) ?? "",
      });
    };
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (signal?.aborted) {
      reject(new Broken("aborted"));
      return;
    }
    signal?.addEventListener("abort", stop);
    alive();
    request.send(body);
  });
}

/** @param {Answer} answer @returns {Refused} */
export function refusal(answer) {
  let words = {};
  try {
    words = JSON.parse(answer.text).error ?? {};
  } catch {
    // not ours: a proxy's page
  }
  return new Refused(answer.status, words);
}
