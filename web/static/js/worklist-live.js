// What happens in the queue while the list is open. Rows that were taken are greyed in their place, new ones are told
// by a badge. The list is renewed only when its reader asks, or when no row is under her cursor: neither focus nor mouse.

import { fill, serverNow, waitText } from "./clock.js";

const LOST_MS = 20000;

export const listed = /** @type {HTMLElement} */ (document.getElementById("main"));
const badge = /** @type {HTMLButtonElement} */ (document.getElementById("new"));
const news = /** @type {HTMLElement} */ (document.getElementById("news"));
const help = /** @type {HTMLDialogElement} */ (document.getElementById("help"));
const find = /** @type {HTMLInputElement} */ (document.getElementById("find"));
const words = /** @type {HTMLElement} */ (document.getElementById("words")).dataset;

const list = () => /** @type {HTMLElement} */ (document.getElementById("list"));

/** @type {Map<string, string>} newcomers that the list does not show: case and priority */
const fresh = new Map();
let known = new Set((list().dataset.recent ?? "").split(","));
let renewing = false;

export const rows = () => /** @type {HTMLTableRowElement[]} */ ([...list().querySelectorAll("tr[data-case]")]);

/** @param {HTMLTableRowElement} row */
export const linkOf = (row) => /** @type {HTMLAnchorElement} */ (row.querySelector("a.open"));

/** The row under the keyboard's cursor. */
export const rowAt = () => rows().find((row) => row.contains(document.activeElement));

/** Whether a row is under the reader's cursor: then nothing may move. */
const onRow = () => Boolean(rowAt() ?? list().querySelector("tbody tr:hover")) || help.open || find.value !== "";

/**
 * Read aloud by a screen reader, when it has time.
 * @param {string} text
 */
export function say(text) {
  news.textContent = text;
}

/**
 * Show in its place how a case stands now.
 * @param {HTMLTableRowElement} row
 * @param {import("./alarm.js").Standing} standing
 */
export function stand(row, standing) {
  const held = standing.state === "IN PROGRESS";
  const all = list().dataset.shows === "all";
  row.classList.toggle("is-mine", held && standing.mine);
  row.classList.toggle("is-read", held && !standing.mine);
  row.classList.toggle("is-gone", !standing.mine && (!held || !all));
  const text = !held
    ? standing.state === "COMPLETED" ? words.signed : words.read
    : standing.mine ? words.mine : standing.by ? fill(words.taken, { name: standing.by }) : words.read;
  const holder = row.querySelector(".holder");
  if (holder && holder.textContent !== text) holder.textContent = text ?? "";
}

/** @param {import("./alarm.js").Changes} changes */
function apply(changes) {
  for (const [priority, n] of Object.entries(changes.counts)) put(`count-${priority}`, n);
  put("count-mine", changes.shows.mine);
  const shown = new Set(rows().map((row) => row.dataset.case));
  fresh.clear();
  for (const one of changes.new) {
    if (!known.has(one.case_id) && !shown.has(one.case_id)) fresh.set(one.case_id, one.priority);
  }
  for (const row of rows()) {
    const standing = changes.shown[row.dataset.case ?? ""];
    if (standing) stand(row, standing);
  }
  settle();
}

/**
 * @param {string} id
 * @param {string} text
 */
function put(id, text) {
  const element = document.getElementById(id);
  if (element && element.textContent !== text) element.textContent = text;
}

/** Take what is new into the list, or tell that it is there. */
function settle() {
  if (fresh.size && !onRow()) {
    renew();
    return;
  }
  badge.hidden = fresh.size === 0;
  const urgent = [...fresh.values()].filter((priority) => priority === "urgent").length;
  const text = fill(urgent ? badge.dataset.urgent : badge.dataset.text, { n: fresh.size, urgent });
  badge.classList.toggle("is-urgent", urgent > 0);
  if (badge.textContent !== text) badge.textContent = text;
  if (!badge.hidden && news.textContent !== text) say(text);
}

/** Load the list anew. The row under the keyboard's cursor keeps it, and its place on the screen as far as it can. */
export async function renew() {
  if (renewing) return;
  renewing = true;
  try {
    const query = new URLSearchParams(location.search);
    query.delete("told");
    const response = await fetch(`/worklist/rows?${query}`, { credentials: "same-origin" });
    if (!response.ok) throw new Error(String(response.status));
    const loaded = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("list");
    if (loaded) swap(document.adoptNode(loaded));
  } catch {
    say(words.failed ?? "");
  }
  renewing = false;
}

/** @param {HTMLElement} loaded */
function swap(loaded) {
  const before = rowAt();
  const id = before?.dataset.case;
  const y = before?.getBoundingClientRect().y ?? 0;
  list().replaceWith(loaded);
  known = new Set((loaded.dataset.recent ?? "").split(","));
  fresh.clear();
  badge.hidden = true;
  const after = id ? rows().find((row) => row.dataset.case === id) ?? rows()[0] : undefined;
  linkOf(after ?? rows()[0] ?? document.createElement("tr"))?.setAttribute("tabindex", "0");
  if (after) {
    linkOf(after).focus({ preventScroll: true });
    scrollBy(0, after.getBoundingClientRect().y - y);
  }
  tick();
}

/** Waiting times against their limits: in words and by shape, every second. */
function tick() {
  const now = serverNow();
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".due"))) {
    const due = Number(element.dataset.due);
    const since = Number(element.dataset.since);
    const how = now >= due ? "late" : now >= since + (due - since) * 0.8 ? "soon" : "fine";
    if (!element.classList.contains(how)) {
      element.classList.remove("late", "soon", "fine");
      element.classList.add(how);
    }
    const text = fill(how === "late" ? words.late : words.left, { time: waitText(Math.abs(now - due) / 1000) });
    const said = element.querySelector(".due-words");
    if (said && said.textContent !== text) said.textContent = text;
  }
  if (fresh.size && !onRow()) renew();
}

/** The stream of changes: a wake-up for alarm.js, which asks every few seconds all the same. */
function listen() {
  /** @type {EventSource | undefined} */
  let stream;
  let failedAt = 0;
  const start = () => {
    if (stream || document.hidden) return;
    stream = new EventSource("/api/worklist/live");
    stream.addEventListener("changed", () => {
      list().dataset.live = "1";
      document.dispatchEvent(new Event("worklist:ask"));
    });
    stream.addEventListener("error", () => {
      list().dataset.live = "";
      // a refusal ends a stream for good; a broken line is tried again by the browser
      if (stream?.readyState === EventSource.CLOSED) {
        stream = undefined;
        failedAt = Date.now();
      }
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stream?.close(); // a browser has few lines to one server
      stream = undefined;
    } else {
      start();
      document.dispatchEvent(new Event("worklist:ask"));
    }
  });
  addEventListener("pagehide", () => stream?.close());
  setInterval(() => {
    if (!stream && Date.now() - failedAt > LOST_MS) start();
  }, 5000);
  start();
}

/** Begin to follow the queue. */
export function watch() {
  document.addEventListener("worklist:changes", (event) => {
    apply(/** @type {CustomEvent<import("./alarm.js").Changes>} */ (event).detail);
  });
  badge.addEventListener("click", renew);
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  setInterval(tick, 1000);
  listen();
}
