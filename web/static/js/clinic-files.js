// What was chosen or dropped: folders are walked, files of one recording are put together.

/** @typedef {{file: File, path: string}} Found */

const NOISE = /^(\.|~\$|thumbs\.db$|desktop\.ini$)/i;
const HEADER_BYTES = 64 << 10;
const MOST_TOGETHER = 8;

/**
 * @param {FileList | null} list
 * @returns {Found[]}
 */
export const chosen = (list) =>
  [...(list ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name })).filter(wanted);

/**
 * @param {DataTransfer | null} dropped
 * @returns {Promise<Found[]>}
 */
export async function droppedFiles(dropped) {
  // taken before the first await: afterwards the browser gives nothing out
  const entries = [...(dropped?.items ?? [])].map((item) => item.webkitGetAsEntry?.() ?? null);
  const plain = [...(dropped?.files ?? [])];
  if (!entries.some((entry) => entry)) return plain.map((file) => ({ file, path: file.name })).filter(wanted);
  /** @type {Found[]} */
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, found);
  return found.filter(wanted);
}

/** @param {Found} one */
const wanted = (one) => !NOISE.test(one.file.name);

/** @param {FileSystemEntry} entry @param {Found[]} found */
async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => {
      /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject);
    });
    found.push({ file, path: entry.fullPath });
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) await walk(one, found);
  }
}

/**
 * Each recording by itself: a WFDB header with the files that it names, every other file alone.
 * @param {Found[]} found
 * @returns {Promise<File[][]>}
 */
export async function recordings(found) {
  const byPath = new Map(found.map((one) => [one.path, one]));
  /** @type {File[][]} */
  const together = [];
  for (const one of found) {
    if (!/\.hea$/i.test(one.path)) continue;
    const folder = one.path.slice(0, one.path.length - one.file.name.length);
    const named = signals(await one.file.slice(0, HEADER_BYTES).text());
    const parts = named.map((name) => byPath.get(folder + name)).filter((part) => part !== undefined);
    if (!parts.length || parts.length >= MOST_TOGETHER) continue;
    together.push([one.file, ...parts.map((part) => part.file)]);
    for (const part of [one, ...parts]) byPath.delete(part.path);
  }
  return [...together, ...[...byPath.values()].map((one) => [one.file])];
}

/**
 * Names of signal files in a WFDB header: the first word of each line after the record's own.
 * @param {string} header
 */
function signals(header) {
  const lines = header.split(/\r?\n/).filter((text) => text && !text.startsWith("#"));
  return [...new Set(lines.slice(1).map((text) => text.split(/\s/)[0]))].filter((name) => name && name !== "~");
}
