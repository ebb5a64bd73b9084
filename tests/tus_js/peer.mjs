// tus-js-client does one thing with our server and says what came of it as JSON.
//   node peer.mjs ACT URL TOKEN FILE...
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, statSync, createReadStream } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileUrlStorage, Upload, defaultOptions } from "tus-js-client";

const [act, url, token, ...files] = process.argv.slice(2);
const store = new FileUrlStorage(join(mkdtempSync(join(tmpdir(), "tus-")), "urls.json"));
const seen = { requests: [], sent: 0 };

function begin(file, more = {}) {
  const data = readFileSync(file);
  const sha256 = createHash("sha256").update(data).digest("hex");
  return new Promise((resolve, reject) => {
    const last = {};
    const upload = new Upload(createReadStream(file), {
      endpoint: `${url}/api/tus`,
      headers: { Authorization: `Bearer ${token}` },
      metadata: { filename: "a.bin", ...(more.unknown ? {} : { sha256 }) },
      uploadSize: statSync(file).size,
      chunkSize: 50_000,
      retryDelays: [0, 100, 200, 500, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000],
      urlStorage: store,
      fingerprint: async () => `fingerprint-${sha256}`,
      storeFingerprintForResuming: true,
      removeFingerprintOnSuccess: false,
      onAfterResponse(request, response) {
        seen.requests.push([request.getMethod(), response.getStatus()]);
        last.receipts = response.getHeader("Teleread-Receipts") ?? last.receipts;
        last.offset = response.getHeader("Upload-Offset") ?? last.offset;
      },
      onChunkComplete(size, accepted) {
        seen.sent += size;
        if (more.stopAt !== undefined && accepted >= more.stopAt) {
          more.stopAt = undefined;
          upload.abort(more.terminate === true).then(() => resolve({ stopped: accepted, url: upload.url }));
        }
      },
      onError: reject,
      onSuccess: () => resolve({ receipts: last.receipts, url: upload.url, offset: last.offset }),
    });
    if (more.previous) upload.resumeFromPreviousUpload(more.previous);
    upload.start();
    if (more.creating) more.creating(upload);
  });
}

async function resumed(file) {
  const stopped = await begin(file, { stopAt: 100_000, unknown: true });
  const sha256 = createHash("sha256").update(readFileSync(file)).digest("hex");
  const [previous] = await store.findUploadsByFingerprint(`fingerprint-${sha256}`);
  const before = seen.requests.length;
  const done = await begin(file, { previous, unknown: true });
  return { stopped, done, afterwards: seen.requests.slice(before), same: stopped.url === done.url };
}

const acts = {
  upload: async () => ({ done: [await begin(files[0])] }),
  parallel: async () => ({ done: await Promise.all(files.map((file) => begin(file))) }),
  resume: async () => resumed(files[0]),
  terminate: async () => begin(files[0], { stopAt: 50_000, terminate: true }),
};

try {
  console.log(JSON.stringify({ ...(await acts[act]()), ...seen, version: defaultOptions ? "tus-js-client" : "" }));
} catch (error) {
  console.log(JSON.stringify({ error: String(error.message), ...seen }));
  process.exitCode = 1;
}
