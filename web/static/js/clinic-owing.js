// "Urgent" that was pressed when the reading centre already had the recording: owed until it has answered.

import { ask, Broken, refusal } from "./clinic-line.js";

/**
 * @typedef {import("./clinic-queue.js").Queue} Queue
 * @typedef {import("./clinic-queue.js").Ride} Ride
 */

/** @typedef {import("./clinic-kept.js").Kept} Kept */
/** @typedef {import("./clinic-kept.js").Item} Item */

const AGAIN_MS = 3000;
const PASSING = new Set([401, 408, 425, 429]);

/**
 * Ask for one receipt.
 * @param {string} receipt
 * @returns {Promise<import("./clinic-line.js").Refused | null>} why it is not raised; null where it is
 */
async function raise(receipt) {
  const answer = await ask("POST", `/api/receipts/${encodeURIComponent(receipt)}/urgent`);
  if (answer.status >= 500 || PASSING.has(answer.status)) throw new Broken(String(answer.status));
  return answer.status === 200 ? null : refusal(answer);
}

export class Owing {
  /** @param {Queue} queue */
  constructor(queue) {
    this.queue = queue;
    /** @type {Set<string>} of the items that are being asked for at this moment */
    this.asking = new Set();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** Keep that a received item is to be raised, and ask until it is. @param {Ride} one */
  owe(one) {
    if (!one.item.owed) {
      this.queue.change(one, (item) => {
        item.owed = true;
      });
    }
    one.notRaised = null;
    this.queue.onChange(one);
    this.ask(one);
  }

  /** Ask for all that is owed: the page was opened, or the line is back. */
  again() {
    clearTimeout(this.timer);
    for (const one of this.queue.rides.values()) {
      if (one.item.owed && one.item.receipts.length && !one.notRaised) this.ask(one);
    }
  }

  /** @param {Ride} one */
  async ask(one) {
    const { item } = one;
    if (this.asking.has(item.id)) return;
    this.asking.add(item.id);
    try {
      for (const receipt of item.receipts) {
        one.notRaised = (await raise(receipt)) ?? one.notRaised;
      }
      // what was refused stays owed: it is asked once more when the page is opened again, and told until then
      if (!one.notRaised) {
        this.queue.change(one, (kept) => {
          kept.owed = false;
        });
      }
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.again(), AGAIN_MS);
    } finally {
      this.asking.delete(item.id);
    }
    this.queue.onChange(one);
  }
}

/** "Urgent" on a receipt's own page: kept like that of the sender's page, which goes on with it when it is opened. */
export class OwedHere {
  /**
   * @param {Kept | null} kept
   * @param {string} receipt
   * @param {string} site
   * @param {(state: "owed" | "raised" | "refused", code: string) => void} show
   */
  constructor(kept, receipt, site, show) {
    this.kept = kept;
    this.receipt = receipt;
    this.site = site;
    this.show = show;
    this.asking = false;
  }

  /** Go on with what was pressed before this page was loaded. */
  async resume() {
    const item = await this.item();
    if (item?.owed) this.ask(item.id);
  }

  async pressed() {
    const known = await this.item();
    const now = Date.now();
    /** @param {Item} item */
    const owe = (item) => Object.assign(item, { urgent: true, urgentAt: now, owed: true });
    const id = known?.id ?? `owed-${this.receipt}`;
    const fresh = { id, site: this.site, at: now, paused: false, group: "", batch: "", files: [], receipts: [this.receipt] };
    const keeping = known ? this.kept?.change(id, owe) : this.kept?.add({ ...fresh, urgent: true, urgentAt: now, owed: true }, []);
    await keeping?.catch(() => {});
    await this.ask(id);
  }

  /** @param {string} id */
  async ask(id) {
    if (this.asking) return;
    this.asking = true;
    try {
      const refused = await raise(this.receipt);
      if (refused) {
        this.show("refused", refused.words.code ?? `http_${refused.status}`);
        return;
      }
      // what was made for this alone goes; the sender's own card stays
      if (id.startsWith("owed-")) await this.kept?.remove(id).catch(() => {});
      else {
        await this.kept?.change(id, (item) => {
          item.owed = false;
        });
      }
      this.show("raised", "");
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      this.show("owed", "");
      setTimeout(() => this.ask(id), AGAIN_MS);
    } finally {
      this.asking = false;
    }
  }

  /** The item of this receipt that this computer keeps. */
  async item() {
    const all = (await this.kept?.items(this.site).catch(() => [])) ?? [];
    return all.find((item) => item.receipts.length === 1 && item.receipts[0] === this.receipt);
  }
}
