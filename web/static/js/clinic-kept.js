// What this computer keeps until the reading centre has it: bytes on their way, answers not yet sent (IndexedDB).

/**
 * @typedef {object} KeptFile
 * @property {string} name forgotten once received: it may name a patient
 * @property {number} size
 * @property {string} sha256 empty until it is known
 * @property {string} location of the upload; empty until it is announced
 * @property {boolean} urgent as the reading centre knows it
 *
 * @typedef {object} Item One recording: one file, or some that belong together.
 * @property {string} id
 * @property {string} site
 * @property {number} at when it was chosen; milliseconds
 * @property {boolean} urgent
 * @property {number} urgentAt when it became so; milliseconds, 0 for never
 * @property {boolean} [owed] "urgent" was pressed, and the reading centre has not yet said that it knows
 * @property {boolean} paused
 * @property {string} group
 * @property {string} batch what was chosen together, where that is much
 * @property {KeptFile[]} files
 * @property {string[]} receipts the acknowledgement: empty until all of it has been received
 *
 * @typedef {object} Answers
 * @property {string} id of an item, or a receipt
 * @property {string} site
 * @property {[string, string][]} fields
 * @property {number} at
 * @property {boolean} [sent] the reading centre has them; they are kept so that a later answer does not wipe them
 */

const DAY = 86_400_000;

/** @param {IDBRequest<any>} request @returns {Promise<any>} */
const answer = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
const end = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });

export class Kept {
  /** @param {IDBDatabase} db */
  constructor(db) {
    this.db = db;
    this.channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("teleread-kept") : null;
  }

  /** @returns {Promise<Kept | null>} null where this browser keeps nothing */
  static async open() {
    try {
      const request = indexedDB.open("teleread", 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("items", { keyPath: "id" });
        request.result.createObjectStore("bytes");
        request.result.createObjectStore("answers", { keyPath: "id" });
      };
      const kept = new Kept(await answer(request));
      // asked for, so that the browser does not clear it when its disk is short
      navigator.storage?.persist?.().catch(() => false);
      return kept;
    } catch {
      return null;
    }
  }

  /** @param {string[]} stores */
  writing(stores) {
    // "strict": on the disk when it says so, also if the power goes
    return this.db.transaction(stores, "readwrite", { durability: "strict" });
  }

  /**
   * Keep an item with its bytes: both or nothing.
   * @param {Item} item
   * @param {Blob[]} blobs
   */
  async add(item, blobs) {
    const transaction = this.writing(["items", "bytes"]);
    transaction.objectStore("items").put(item);
    // copies, not references to files that may be gone with a stick
    blobs.forEach((blob, n) => transaction.objectStore("bytes").put(blob, [item.id, n]));
    await end(transaction);
  }

  /**
   * Change an item as it is now; other windows may have changed it meanwhile.
   * @param {string} id
   * @param {(item: Item) => void} change
   */
  async change(id, change) {
    const transaction = this.writing(["items"]);
    const store = transaction.objectStore("items");
    store.get(id).onsuccess = (event) => {
      const item = /** @type {IDBRequest<Item | undefined>} */ (event.target).result;
      if (!item) return;
      change(item);
      store.put(item);
    };
    await end(transaction);
    this.channel?.postMessage(id);
  }

  /**
   * It has been received: its bytes and names go, its receipts stay, and what is owed to it.
   * @param {string} id
   * @param {string[]} receipts
   * @param {boolean} knownUrgent whether the reading centre has it as urgent
   * @returns {Promise<boolean>} whether a raise is owed; another window may have pressed meanwhile
   */
  async received(id, receipts, knownUrgent) {
    let owed = false;
    await this.change(id, (item) => {
      item.receipts = receipts;
      item.owed = owed = item.urgent && !knownUrgent;
      for (const file of item.files) file.name = "";
    });
    await this.forgetBytes(id);
    return owed;
  }

  /** @param {string} id */
  async forgetBytes(id) {
    const transaction = this.writing(["bytes"]);
    transaction.objectStore("bytes").delete(IDBKeyRange.bound([id, 0], [id, 99]));
    await end(transaction);
  }

  /** @param {string} id */
  async remove(id) {
    const transaction = this.writing(["items", "bytes", "answers"]);
    transaction.objectStore("items").delete(id);
    transaction.objectStore("bytes").delete(IDBKeyRange.bound([id, 0], [id, 99]));
    transaction.objectStore("answers").delete(id);
    await end(transaction);
    this.channel?.postMessage(id);
  }

  /** @param {string} id @returns {Promise<Item | undefined>} */
  item(id) {
    return answer(this.db.transaction("items").objectStore("items").get(id));
  }

  /**
   * What a site has here, in the order of choosing; what was received a day ago is forgotten, but for what is owed.
   * @param {string} site
   * @returns {Promise<Item[]>}
   */
  async items(site) {
    /** @type {Item[]} */
    const all = await answer(this.db.transaction("items").objectStore("items").getAll());
    const old = all.filter((item) => item.receipts.length && !item.owed && item.at < Date.now() - DAY);
    await Promise.all(old.map((item) => this.remove(item.id)));
    return all.filter((item) => item.site === site && !old.includes(item)).sort((a, b) => a.at - b.at);
  }

  /** @param {Item} item @returns {Promise<Blob[]>} */
  async blobs(item) {
    const store = this.db.transaction("bytes").objectStore("bytes");
    return Promise.all(item.files.map((_file, n) => answer(store.get([item.id, n]))));
  }

  /** @param {Answers} answers */
  async keepAnswers(answers) {
    const transaction = this.writing(["answers"]);
    transaction.objectStore("answers").put(answers);
    await end(transaction);
  }

  /** @param {string} id @returns {Promise<Answers | undefined>} */
  answers(id) {
    return answer(this.db.transaction("answers").objectStore("answers").get(id));
  }

  /**
   * They have been received; newer ones stay.
   * @param {Answers} sent
   * @param {boolean} stay whether they are shown again here: they go with their item then
   */
  async answersReceived(sent, stay) {
    const transaction = this.writing(["answers"]);
    const store = transaction.objectStore("answers");
    store.get(sent.id).onsuccess = (event) => {
      const now = /** @type {IDBRequest<Answers | undefined>} */ (event.target).result;
      if (!now || now.at > sent.at) return;
      if (stay) store.put({ ...now, sent: true });
      else store.delete(sent.id);
    };
    await end(transaction);
  }
}
