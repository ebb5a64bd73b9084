// The clinic's page: what is chosen or dropped is on its way at once.

import { fill } from "./clock.js";
import { Card, said } from "./clinic-card.js";
import { chosen, droppedFiles, recordings } from "./clinic-files.js";
import { Kept } from "./clinic-kept.js";
import { keepPage, openedWithoutLine } from "./clinic-offline.js";
import { Queue } from "./clinic-queue.js";

/**
 * @typedef {import("./clinic-files.js").Found} Found
 * @typedef {import("./clinic-queue.js").Ride} Ride
 */

const MANY = 4; // more recordings at once are lines of one list, not cards

const page = /** @type {HTMLElement} */ (document.getElementById("clinic"));
const form = /** @type {HTMLFormElement} */ (document.getElementById("upload"));
const input = /** @type {HTMLInputElement} */ (document.getElementById("file"));
const folder = /** @type {HTMLInputElement} */ (document.getElementById("folder"));
const place = /** @type {HTMLElement} */ (document.getElementById("cards"));
const unkept = /** @type {HTMLElement} */ (document.getElementById("unkept"));

/** @type {Map<string, Card>} */
const cards = new Map();
/** @type {Map<string, HTMLElement>} */
const lines = new Map();
/** @type {Map<string, HTMLElement>} */
const batches = new Map();
let urgent = false; // of the file that is being chosen
/** @type {(queue: Queue) => void} */
let ready;
/** @type {Promise<Queue>} */
const started = new Promise((resolve) => {
  ready = resolve;
});

/** @param {Ride} ride */
function changed(ride) {
  if (ride.item.batch) changedLine(ride);
  else changedCard(ride);
}

/** @param {Ride} ride */
async function changedCard(ride) {
  const card = cards.get(ride.item.id);
  if (card) {
    card.show();
    return;
  }
  const queue = await started;
  if (cards.has(ride.item.id) || !queue.rides.has(ride.item.id)) return;
  const fresh = new Card(queue, ride);
  cards.set(ride.item.id, fresh);
  place.prepend(fresh.root);
}

/** @param {Ride} ride */
function changedLine(ride) {
  const { item } = ride;
  let one = lines.get(item.id);
  if (!one) {
    one = copy("line-item");
    lines.set(item.id, one);
    /** @type {HTMLElement} */ (part(one, "line-name")).textContent = item.files.map((file) => file.name).join(" + ");
    part(one, "line-urgent").addEventListener("click", async () => (await started).makeUrgent(ride));
    part(batch(item.batch), "batch-lines").append(one);
  }
  part(one, "line-urgent").hidden = item.urgent || item.receipts.length > 0;
  const words = part(one, "line-said");
  if (item.receipts.length && !words.querySelector("a")) {
    const links = item.receipts.map((receipt) => {
      const link = Object.assign(document.createElement("a"), { href: `/receipts/${receipt}`, textContent: receipt });
      link.className = "mono";
      return link;
    });
    words.replaceChildren(...links);
  } else if (!item.receipts.length) {
    words.textContent = said(ride);
  }
  part(one, "line-owed").hidden = !item.receipts.length || !item.owed;
  part(one, "line-owed").textContent = (ride.notRaised ? place.dataset.unraised : place.dataset.owed) ?? "";
  count(item.batch);
}

/** @param {string} id */
async function count(id) {
  const all = [...(await started).rides.values()].filter((ride) => ride.item.batch === id);
  const n = all.filter((ride) => ride.item.receipts.length).length;
  part(batch(id), "batch-title").textContent = fill(place.dataset.many, { n, all: all.length });
  const owed = all.some((ride) => ride.item.owed && !ride.notRaised);
  part(batch(id), "batch-done").hidden = n < all.length || owed;
}

/** @param {string} id */
function batch(id) {
  let found = batches.get(id);
  if (!found) {
    found = copy("batch");
    batches.set(id, found);
    place.prepend(found);
    part(found, "batch-done").addEventListener("click", async () => {
      const queue = await started;
      for (const ride of [...queue.rides.values()]) if (ride.item.batch === id) queue.remove(ride);
      batch(id).remove();
    });
  }
  return found;
}

/** @param {string} id */
function copy(id) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
  const content = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  return /** @type {HTMLElement} */ (content.firstElementChild);
}

/** @param {HTMLElement} root @param {string} name */
const part = (root, name) => /** @type {HTMLElement} */ (root.querySelector(`.${name}`));

/** @param {Found[]} found @param {boolean} now */
async function take(found, now) {
  const queue = await started;
  const all = await recordings(found);
  const together = all.length > MANY ? `${Date.now()}` : "";
  const rides = all.map((files) => queue.add(files, now, together));
  if (!together && rides.length) {
    await Promise.resolve();
    cards.get(rides[0].item.id)?.root.scrollIntoView({ block: "nearest" });
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  urgent = /** @type {HTMLButtonElement | null} */ (/** @type {SubmitEvent} */ (event).submitter)?.value === "1";
  input.click();
});
for (const one of [input, folder]) {
  one.addEventListener("change", () => {
    const found = chosen(one.files);
    one.value = "";
    take(found, urgent);
  });
}
/** @type {HTMLElement} */ (document.getElementById("folder-open")).addEventListener("click", () => {
  urgent = false;
  folder.click();
});

/** @param {DragEvent} event */
const zoneOf = (event) =>
  /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest?.(".zone") ?? null);

for (const name of /** @type {const} */ (["dragenter", "dragover", "dragleave", "drop"])) {
  addEventListener(name, (event) => {
    event.preventDefault(); // a file dropped beside a zone must not replace the page
    for (const zone of form.querySelectorAll(".zone")) {
      zone.classList.toggle("over", (name === "dragenter" || name === "dragover") && zone === zoneOf(event));
    }
  });
}
addEventListener("drop", async (event) => {
  const now = zoneOf(event)?.dataset.urgent === "1";
  take(await droppedFiles(event.dataTransfer), now);
});

addEventListener("beforeunload", async (event) => {
  if (!queue?.isUnsettled) return;
  event.preventDefault();
  event.returnValue = ""; // Chrome before 119 asks only so
});

/** @type {Queue | null} */
let queue = null;

for (const one of form.querySelectorAll(".scripted")) /** @type {HTMLElement} */ (one).hidden = false;
/** @type {HTMLElement} */ (document.getElementById("plain")).hidden = true;
input.required = false; // only a press before this script was there had to be stopped

keepPage(() => queue?.isUnsettled ?? true);
if (page.dataset.shell) openedWithoutLine();
Kept.open().then(async (kept) => {
  queue = new Queue(kept, page.dataset.site ?? "", changed);
  unkept.hidden = kept !== null;
  ready(queue);
  kept?.channel?.addEventListener("message", async (event) => {
    const item = await kept.item(event.data);
    if (item) queue?.changedElsewhere(item);
  });
  await queue.load();
  if (input.files?.length) take(chosen(input.files), false); // chosen before this script was there
});
