// Sends the chosen files with progress; says plainly what happened when it fails.

import { fill } from "./clock.js";

const form = /** @type {HTMLFormElement} */ (document.getElementById("upload"));
const drop = /** @type {HTMLElement} */ (document.getElementById("drop"));
const input = /** @type {HTMLInputElement} */ (document.getElementById("file"));
const chosen = /** @type {HTMLElement} */ (document.getElementById("chosen"));
const sending = /** @type {HTMLElement} */ (document.getElementById("sending"));
const sendingText = /** @type {HTMLElement} */ (document.getElementById("sending-text"));
const bar = /** @type {HTMLProgressElement} */ (document.getElementById("progress"));
const failed = /** @type {HTMLElement} */ (document.getElementById("failed"));
const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (form.querySelectorAll("button"));

let busy = false;

function list() {
  const files = [...(input.files ?? [])];
  chosen.textContent = files.map((file) => file.name).join(" · ");
  failed.hidden = true;
  if (files.length) buttons[buttons.length - 1].focus();
}

/** @param {boolean} on */
function setBusy(on) {
  busy = on;
  sending.hidden = !on;
  for (const button of buttons) button.disabled = on;
}

/**
 * @param {{code?: string, what?: string, lost?: string, todo?: string}} words none of them: the line is broken
 * @param {boolean} sessionEnded the file stays chosen while its sender signs in elsewhere
 */
function fail(words, sessionEnded = false) {
  setBusy(false);
  for (const part of /** @type {const} */ (["what", "lost", "todo"])) {
    const element = /** @type {HTMLElement} */ (document.getElementById(`failed-${part}`));
    element.textContent = words[part] ?? element.dataset.offline ?? "";
  }
  const code = /** @type {HTMLElement} */ (document.getElementById("failed-code"));
  code.textContent = `${code.dataset.text} ${words.code ?? "line_broken"}`;
  /** @type {HTMLElement} */ (document.getElementById("failed-sign-in")).hidden = !sessionEnded;
  failed.hidden = false;
  failed.scrollIntoView({ block: "nearest" });
}

/** @param {boolean} urgent */
function send(urgent) {
  const files = [...(input.files ?? [])];
  if (!files.length) {
    input.focus();
    fail({ code: "empty_upload", what: form.dataset.nothing, lost: form.dataset.nothingStored, todo: form.dataset.nothingTodo });
    return;
  }
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (size > Number(form.dataset.limit)) {
    // known before a byte is sent; the server would say the same
    const { tooLarge, tooLargeTodo, nothingStored } = form.dataset;
    fail({ code: "upload_too_large", what: tooLarge, lost: nothingStored, todo: tooLargeTodo });
    return;
  }
  const data = new FormData();
  for (const file of files) data.append("file", file);
  data.append("urgent", urgent ? "1" : "0");
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", (event) => {
    const percent = event.total ? Math.floor((100 * event.loaded) / event.total) : 0;
    bar.value = percent;
    sendingText.textContent =
      percent < 100 ? fill(form.dataset.progress, { n: percent }) : (form.dataset.judging ?? "");
  });
  request.addEventListener("load", () => {
    const answer = parse(request.responseText);
    if (request.status < 300 && answer?.receipt) {
      busy = false;
      location.assign(`/receipts/${encodeURIComponent(answer.receipt)}`);
    } else {
      fail(answer?.error ?? {}, request.status === 401);
    }
  });
  request.addEventListener("error", () => fail({}));
  request.open("POST", "/api/upload");
  failed.hidden = true;
  bar.value = 0;
  sendingText.textContent = fill(form.dataset.progress, { n: 0 });
  setBusy(true);
  request.send(data);
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const pressed = /** @type {HTMLButtonElement | null} */ (event.submitter);
  if (!busy) send(pressed?.value === "1");
});
input.addEventListener("change", list);
if (input.files?.length) list(); // chosen before this script was there
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (!busy && event.dataTransfer?.files.length) {
    input.files = event.dataTransfer.files;
    list();
  }
});
// a file dropped beside the field must not replace the page
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
addEventListener("beforeunload", (event) => {
  if (!busy) return;
  event.preventDefault();
  event.returnValue = ""; // Chrome before 119 asks only so
});
