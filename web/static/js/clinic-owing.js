// "Urgent" that was pressed when the reading centre already had the recording: owed until it has answered.

import { ask, Broken, refusal } from "./clinic-line.js";

/**
 * @typedef {import("./clinic-queue.js").Queue} Queue
 * @typedef {import("./clinic-queue.js").Ride} Ride
 */

const AGAIN_MS = 3000;
const PASSING = new Set([401, 408, 425, 429]);

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
        const answer = await ask("POST", `/api/receipts/${encodeURIComponent(receipt)}/urgent`);
        if (answer.status >= 500 || PASSING.has(answer.status)) throw new Broken(String(answer.status));
        if (answer.status !== 200) one.notRaised = refusal(answer);
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
