// Draws what the agent says of itself, and gives it what is dropped here.

const EVERY_MS = 1000;
const NAMED = 8;
const FRESH_S = 86400;
const LATE_S = 7 * 86400;
const words = await (await fetch("/words.json")).json();
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("en") ? "en" : "zh");

/** @param {string} id */
const at = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const input = /** @type {HTMLInputElement} */ (at("files"));

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
function say(key, values = {}) {
  let text = words[language][key] ?? key;
  for (const [name, value] of Object.entries(values)) text = text.replace(`{${name}}`, String(value));
  return text;
}

/** @param {number} seconds */
const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleString(language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "short", timeStyle: "medium" });

function label() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = say("title");
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-word]")))
    element.textContent = say(element.dataset.word ?? "");
  at("language").textContent = language === "zh" ? "English" : "中文";
  at("language").lang = language === "zh" ? "en" : "zh-CN";
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = text === "";
}

/**
 * What has happened and what to do, for any code.
 * @param {string} code
 */
const because = (code) => (words[language][`code.${code}`] ? say(`code.${code}`) : say("other_failure", { code }));

/** @param {any} state */
function draw(state) {
  at("line").classList.toggle("down", state.line === "down" || state.line === "refused" || !state.enrolled);
  const time = state.failing_since ? clock(state.failing_since) : "";
  set(at("line-text"), !state.enrolled ? say("not_enrolled") : say(`line_${state.line}`, { time }));
  // what is not sent by itself must not be said to be
  set(at("line-safe"), state.line === "refused" ? say("kept") : state.failure ? say("safe") : "");
  set(at("line-todo"), state.failure ? because(state.failure) : "");
  // whoever is told to telephone must not have to look the number up
  const untold = state.items.some((/** @type {any} */ item) => item.failure === "urgent_not_told");
  const isDown = state.line === "down" || state.line === "refused";
  const calls = state.telephone && (isDown || state.trouble || state.refused || untold);
  set(at("line-telephone"), calls ? say("telephone_is", { number: state.telephone }) : "");
  set(at("ends"), state.ends_at ? say("ends_soon", { time: clock(state.ends_at) }) : "");
  set(at("not-judged"), state.not_judged ? because(state.not_judged) : "");
  set(at("trouble"), state.trouble ? because(state.trouble) : "");
  set(at("clock"), Math.abs(state.skew_s ?? 0) > 60 ? say("clock", { n: Math.round(Math.abs(state.skew_s) / 60) }) : "");
  at("alarm").hidden = !state.telephone_now;
  set(at("telephone"), state.telephone);
  set(at("not-taken"), state.refused ? say("not_taken", { n: state.refused }) : "");
  set(at("waiting"), state.waiting ? say("waiting", { n: state.waiting, urgent: state.urgent }) : say("nothing_waits"));
  at("watched").hidden = !state.watched;
  set(/** @type {HTMLElement} */ (at("watched").querySelector("code")), state.watched);
  const lead = /** @type {HTMLAnchorElement} */ (at("lead"));
  lead.hidden = !state.page_url;
  if (state.page_url) lead.href = `${state.page_url}/upload`;
  at("reports-in").hidden = !state.reports_in;
  set(/** @type {HTMLElement} */ (at("reports-in").querySelector("code")), state.reports_in);
  drawReports(state);
  const rows = state.items.map((/** @type {any} */ item) => row(item, state));
  const body = at("items");
  const key = JSON.stringify([language, state.line, state.page_url, state.items]);
  if (body.dataset.key === key) return;
  // a row under the pointer or with the focus must not be replaced while somebody aims at it
  if (body.contains(document.activeElement)) return;
  body.dataset.key = key;
  body.replaceChildren(...rows);
}

/**
 * What is new in a report, or wrong with it, and what has no line below: critical ones first, as the agent orders them.
 * @param {any} state
 */
function drawReports(state) {
  const listed = new Set(state.items.flatMap((/** @type {any} */ item) => item.receipts));
  const now = Date.now() / 1000;
  const shown = state.reports.filter((/** @type {any} */ one) => {
    const isFresh = now - one.changed_at < FRESH_S;
    const isLate = now - one.changed_at < LATE_S && (!listed.has(one.receipt) || one.kind === "corrected" || one.kind === "withdrawn");
    return one.failure || one.open_elsewhere || one.identity_under_correction || isLate || (one.critical && isFresh);
  });
  const section = at("reports");
  section.hidden = !shown.length;
  const key = JSON.stringify([language, state.page_url, shown]);
  if (section.dataset.key === key || section.contains(document.activeElement)) return;
  section.dataset.key = key;
  section.classList.toggle("critical-there", shown.some((/** @type {any} */ one) => one.critical));
  /** @type {HTMLElement} */ (section.querySelector("ul")).replaceChildren(
    ...shown.map((/** @type {any} */ one) => {
      const line = document.createElement("li");
      line.append(reportLines(one, state.page_url, true));
      return line;
    }),
  );
}

/**
 * A report in words, with its files; the word about a critical one stands first.
 * @param {any} report
 * @param {string} pageUrl
 * @param {boolean} isNamed whether to say which recording it is of
 */
function reportLines(report, pageUrl, isNamed) {
  const block = document.createElement("div");
  block.className = "report";
  if (report.critical) block.append(span(say("critical"), "critical"));
  if (isNamed) block.append(span(`${report.receipt}  ${report.name}`, "receipt"));
  const kind = report.kind === "withdrawn" ? "red" : report.kind === "corrected" || report.kind === "preliminary" ? "amber" : "plain";
  block.append(span(say(`report_${report.kind}`), kind));
  const version = report.version > 1 ? [say("version", { n: report.version })] : [];
  block.append(span([...version, say(`report_${report.state}`), clock(report.changed_at)].join(" · "), "small"));
  if (report.identity_under_correction) block.append(span(say("report_held"), "red"));
  if (report.open_elsewhere) block.append(span(say("report_open"), "red"));
  if (report.failure) block.append(span(because(report.failure), "red"));
  if (report.signature && report.signature !== "good") block.append(span(say(`signature_${report.signature}`), "small"));
  const files = document.createElement("p");
  files.className = "files";
  for (const [ending, word] of [["pdf", "sheet"], ["json", "document"]])
    if (report.files[ending]) files.append(link(report.files[ending], `${say(word)}`, report.receipt));
  if (files.children.length) block.append(files);
  if (report.critical && pageUrl) {
    const confirm = span(`${say("report_confirm")} `, "small");
    confirm.append(link(`${pageUrl}/receipts/${report.receipt}`, say("open_page"), report.receipt));
    block.append(confirm);
  }
  return block;
}

/**
 * @param {string} address
 * @param {string} text
 * @param {string} receipt
 */
function link(address, text, receipt) {
  const element = document.createElement("a");
  element.href = address;
  element.target = "_blank";
  element.rel = "noopener";
  element.textContent = text;
  element.setAttribute("aria-label", `${text} ${receipt}`);
  return element;
}

/**
 * @param {any} item
 * @param {any} state
 */
function row(item, state) {
  const line = document.createElement("tr");
  const time = line.insertCell();
  time.className = "time";
  time.textContent = clock(item.seen_at);
  const name = line.insertCell();
  name.textContent = item.name;
  if (item.urgent) name.append(document.createElement("br"), span(say("urgent"), "critical"));
  const quality = line.insertCell();
  const judged = "light" in item.verdict;
  const light = item.verdict.failure ? "amber" : judged ? item.verdict.light : "none";
  quality.append(span(!judged ? say("judging") : item.verdict.failure ? say("unreadable") : say(light), light));
  for (const one of item.verdict.findings ?? []) {
    const where = one.electrode ? say(`electrode.${one.electrode}`) : one.lead ?? say("whole");
    const text = document.createElement("p");
    text.className = "small";
    text.textContent = `${where} – ${say(`fault.${one.fault}`)}. ${say(`remedy.${one.remedy}`)}`;
    quality.append(text);
  }
  line.append(stateCell(item, state));
  return line;
}

/**
 * @param {any} item
 * @param {any} state
 */
function stateCell(item, state) {
  const cell = document.createElement("td");
  const stays = item.state === "queued" && state.line === "refused";
  const text = stays ? say("kept") : item.state === "sending" ? say("sending", { n: item.percent }) : say(item.state, { receipt: item.receipts.join(", ") });
  const isCritical = item.reports.some((/** @type {any} */ one) => one.critical) || item.verdict.report?.critical;
  for (const one of item.reports) cell.append(reportLines(one, state.page_url, item.receipts.length > 1));
  if (!item.reports.length && item.verdict.report) cell.append(span(say(isCritical ? "critical" : "report"), isCritical ? "critical" : ""), document.createElement("br"));
  cell.append(span(text, item.state === "refused" ? "red" : ""));
  if (item.failure) cell.append(document.createElement("br"), span(because(item.failure), "small"));
  if (item.verdict.case_state && !item.verdict.report) cell.append(document.createElement("br"), span(say(`case_${item.verdict.case_state}`), "small"));
  if (item.raising) cell.append(document.createElement("br"), span(say("raising"), "critical"));
  if (item.raised_at) cell.append(document.createElement("br"), span(say("raised", { time: clock(item.raised_at) }), "small"));
  if (item.state !== "refused" && !item.urgent && !item.verdict.report) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = say("make_urgent");
    button.addEventListener("click", () => {
      button.blur();
      post(`/urgent/${item.id}`, "").then(
        (answer) => (answer.ok ? refresh() : set(at("chosen"), say("not_saved_urgent"))),
        () => set(at("chosen"), say("no_agent")),
      );
    });
    cell.append(document.createElement("br"), button);
  }
  return cell;
}

/**
 * @param {string} text
 * @param {string} kind
 */
function span(text, kind) {
  const element = document.createElement("span");
  element.className = kind;
  element.textContent = text;
  return element;
}

/**
 * @param {string} path
 * @param {BodyInit} body
 */
const post = (path, body) => fetch(path, { method: "POST", headers: { "X-Teleread": "1" }, body });

/** @param {boolean} urgent */
async function take(urgent) {
  const files = [...(input.files ?? [])];
  if (!files.length) return input.click();
  if (!(await areReadable(files))) return set(at("chosen"), say("not_a_file"));
  const groups = together(files);
  for (const group of groups) {
    const head = JSON.stringify({ urgent, files: group.map(({ name, size }) => ({ name, size })) });
    try {
      const answer = await post("/take", new Blob([head, "\n", ...group]));
      if (!answer.ok) return set(at("chosen"), answer.status === 413 ? say("code.upload_too_large") : say("not_saved"));
    } catch {
      return set(at("chosen"), say("no_agent"));
    }
  }
  input.value = "";
  set(at("chosen"), say("taken"));
  await refresh();
}

/**
 * Whether each is a file with something in it: a folder that was dropped looks like one and cannot be read.
 * @param {File[]} files
 */
async function areReadable(files) {
  try {
    for (const file of files) if (!file.size || !(await file.slice(0, 1).arrayBuffer()).byteLength) return false;
    return true;
  } catch {
    return false;
  }
}

/**
 * Files of one recording: a header and what bears its name.
 * @param {File[]} files
 */
function together(files) {
  const stem = (/** @type {File} */ file) => file.name.replace(/\.[^.]*$/, "");
  const headers = new Set(files.filter((file) => /\.hea$/i.test(file.name)).map(stem));
  const sets = [...headers].map((name) => files.filter((file) => stem(file) === name));
  return [...sets, ...files.filter((file) => !headers.has(stem(file))).map((file) => [file])];
}

async function refresh() {
  try {
    draw(await (await fetch("/state")).json());
  } catch {
    at("line").classList.add("down");
    set(at("line-text"), say("no_agent"));
  }
}

at("urgent").addEventListener("click", () => take(true));
at("routine").addEventListener("click", () => take(false));
at("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  label();
  refresh();
});
input.addEventListener("change", () => {
  const names = [...(input.files ?? [])].map((file) => file.name);
  set(at("chosen"), names.slice(0, NAMED).join(" · ") + (names.length > NAMED ? ` … (${names.length})` : ""));
});
const drop = at("drop");
for (const name of ["dragenter", "dragover"])
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer?.files.length) {
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change"));
  }
});
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
label();
await refresh();
setInterval(refresh, EVERY_MS);
