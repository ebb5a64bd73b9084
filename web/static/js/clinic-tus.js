// One file over tus 1.0.0, in parts of about a second of line; what has come is never sent again.

import { ask, Broken, refusal } from "./clinic-line.js";

const VERSION = { "Tus-Resumable": "1.0.0" };
const BYTES = { ...VERSION, "Content-Type": "application/offset+octet-stream" };
const LEAST = 32 << 10;
const MOST = 8 << 20;
const WAIT_MS = 700;
let bytesPerSecond = 64 << 10; // of the line, as the last parts went

/**
 * @typedef {import("./clinic-kept.js").KeptFile} KeptFile
 *
 * @typedef {object} Way
 * @property {boolean} urgent
 * @property {string} group
 * @property {number} groupSize
 * @property {AbortSignal} signal
 * @property {() => void} onPlace called when ``file.location`` has changed
 * @property {(sent: number, there: boolean) => void} onSent bytes of the file that have left, or are known to be there
 */

/**
 * Send a file, or the rest of it.
 * @param {KeptFile} file
 * @param {Blob} blob
 * @param {Way} way
 * @returns {Promise<string[]>} receipts; none where other files of its group bring them
 */
export async function send(file, blob, way) {
  if (file.location && way.urgent && !file.urgent) await raise(file, way);
  let answer = file.location ? await where(file, way) : await announce(file, blob, way);
  for (;;) {
    const receipts = answer.header("Teleread-Receipts");
    if (receipts) return receipts.split(",");
    const offset = Number(answer.header("Upload-Offset"));
    way.onSent(offset, true);
    if (offset >= file.size) {
      if (way.group) return [];
      await pause(WAIT_MS, way.signal); // whole, and being stored
      answer = await where(file, way);
      continue;
    }
    answer = await part(file, blob, offset, way);
  }
}

/** @param {KeptFile} file @param {Blob} blob @param {Way} way */
async function announce(file, blob, way) {
  const said = { filename: file.name.slice(-120), ...(file.sha256 && { sha256: file.sha256 }) };
  if (way.urgent) Object.assign(said, { urgent: "1" });
  if (way.group) Object.assign(said, { group: way.group, group_size: String(way.groupSize) });
  const metadata = Object.entries(said).map(([key, value]) => `${key} ${base64(value)}`);
  const headers = { ...BYTES, "Upload-Length": String(file.size), "Upload-Metadata": metadata.join(",") };
  const answer = await timed("POST", "/api/tus", headers, blob.slice(0, partBytes()), 0, way);
  if (answer.status !== 201) {
    if (answer.status === 409 || answer.status === 423) {
      await pause(WAIT_MS, way.signal); // another window sends the same bytes
      return announce(file, blob, way);
    }
    throw refusal(answer);
  }
  file.location = answer.header("Location");
  file.urgent = way.urgent;
  way.onPlace();
  return answer;
}

/** It is urgent after all. @param {KeptFile} file @param {Way} way */
async function raise(file, way) {
  const answer = await ask("POST", `${file.location}/urgent`, { headers: VERSION, signal: way.signal });
  if (answer.status >= 500 || answer.status === 401) throw refusal(answer);
  if (answer.status !== 200) return; // received meanwhile, or forgotten: said with its receipt, or anew
  file.urgent = true;
  way.onPlace();
}

/** @param {KeptFile} file @param {Way} way */
async function where(file, way) {
  const answer = await ask("HEAD", file.location, { headers: VERSION, signal: way.signal });
  if (answer.status === 404) {
    // forgotten there, or received long ago: announced again, it is known by its hash
    file.location = "";
    way.onPlace();
    throw new Broken("forgotten");
  }
  if (answer.status !== 200) throw refusal(answer);
  return answer;
}

/** @param {KeptFile} file @param {Blob} blob @param {number} offset @param {Way} way */
async function part(file, blob, offset, way) {
  const headers = { ...BYTES, "Upload-Offset": String(offset) };
  const answer = await timed("PATCH", file.location, headers, blob.slice(offset, offset + partBytes()), offset, way);
  if (answer.status === 204) return answer;
  if (answer.status !== 409 && answer.status !== 423 && answer.status !== 404) throw refusal(answer);
  await pause(WAIT_MS, way.signal); // another window sends the same bytes: go on where they end
  return where(file, way);
}

/**
 * @param {string} method
 * @param {string} url
 * @param {Record<string, string>} headers
 * @param {Blob} body
 * @param {number} offset
 * @param {Way} way
 */
async function timed(method, url, headers, body, offset, way) {
  const begun = performance.now();
  const onSent = (/** @type {number} */ sent) => way.onSent(offset + Math.min(sent, body.size), false);
  const answer = await ask(method, url, { headers, body, signal: way.signal, onSent });
  const seconds = Math.max((performance.now() - begun) / 1000, 0.02);
  if (answer.status < 300) bytesPerSecond = (bytesPerSecond + body.size / seconds) / 2;
  return answer;
}

const partBytes = () => Math.round(Math.min(MOST, Math.max(LEAST, bytesPerSecond)));

/** @param {string} text */
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new Broken("aborted"));
    if (signal.aborted) {
      stop();
      return;
    }
    signal.addEventListener("abort", stop, { once: true });
    setTimeout(resolve, ms);
  });
}
