// The report of a case: statements by keyboard, a draft saved as it is typed, signing with a PIN.
import { expand, loadWords, search } from "./report-words.js";
import { Draft } from "./report-draft.js";
import { heard } from "./keys.js";

const form = /** @type {HTMLFormElement | null} */ (document.getElementById("report"));

/** @template {HTMLElement} T @param {string} id @returns {T} */
function by(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/** @param {string} template @param {Record<string, string>} values */
function fill(template, values) {
  return template.replace(/\{(\w+)\}/g, (_whole, name) => values[name] ?? "");
}

class Report {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    this.words = /** @type {import("./report-words.js").Words | null} */ (null);
    /** @type {string[]} */
    this.codes = [];
    this.template = false;
    this.signing = false;
    this.draft = form.dataset.fence ? new Draft(form, () => this.body(), by("draft-state")) : null;
    this.find = /** @type {HTMLInputElement} */ (by("find"));
    this.found = by("found");
    this.shown = /** @type {import("./report-words.js").Statement[]} */ ([]);
    this.at = -1;
  }

  async start() {
    this.listen();
    this.words = await loadWords(this.form.dataset.lexicon ?? "");
    const kept = this.form.dataset.draft;
    if (kept && this.form.dataset.mine) this.take(JSON.parse(kept));
    this.fillMacros();
    this.draw();
  }

  body() {
    return {
      statements: this.codes,
      text: this.field("text").value,
      comparison: this.field("comparison").value,
      technical: this.field("technical").value,
      critical: by("critical") instanceof HTMLInputElement && /** @type {HTMLInputElement} */ (by("critical")).checked,
      template: this.template,
    };
  }

  /** @param {string} name @returns {HTMLTextAreaElement} */
  field(name) {
    return by(name);
  }

  /** @param {any} body */
  take(body) {
    this.codes = (body.statements ?? []).filter((/** @type {string} */ code) => this.words?.byCode.has(code));
    for (const name of ["text", "comparison", "technical"]) this.field(name).value = body[name] ?? "";
    /** @type {HTMLInputElement} */ (by("critical")).checked = body.critical === true;
    this.template = body.template === true;
    this.draw();
  }

  listen() {
    this.find.addEventListener("input", () => this.look());
    this.find.addEventListener("keydown", (event) => this.onFind(event));
    this.find.addEventListener("blur", () => setTimeout(() => this.close(), 150));
    for (const name of ["text", "comparison", "technical"]) {
      this.field(name).addEventListener("input", () => this.changed());
      this.field(name).addEventListener("keydown", (event) => this.onText(event, this.field(name)));
    }
    by("critical").addEventListener("change", () => this.changed());
    by("normal")?.addEventListener("click", () => this.normal());
    for (const button of this.form.querySelectorAll(".suggest"))
      button.addEventListener("click", () => this.add([/** @type {HTMLElement} */ (button).dataset.code ?? ""]));
    by("take-draft")?.addEventListener("click", () => {
      this.take(JSON.parse(this.form.dataset.draft ?? "{}"));
      by("offered").remove();
      this.changed();
    });
    by("leave-draft")?.addEventListener("click", () => by("offered").remove());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.sign();
    });
    by("pin-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(/** @type {HTMLInputElement} */ (by("pin")).value);
    });
    by("pin-cancel").addEventListener("click", () => /** @type {HTMLDialogElement} */ (by("pin-dialog")).close());
    // before the page's own keys: the letter that chooses a macro is nobody else's
    document.addEventListener("keydown", (event) => this.onKey(event), true);
    by("pin-dialog").addEventListener("keydown", (event) => event.stopPropagation());
    // the draft stands as it was saved last; what is on this page is not thrown away either
    document.addEventListener("claim:lost", () => this.draft?.stop());
    addEventListener("beforeunload", (event) => {
      if (this.signing || !this.draft?.dirty) return;
      this.draft.flush();
      event.preventDefault();
      event.returnValue = ""; // Chrome before 119 asks only so
    });
    addEventListener("pagehide", () => this.draft?.dirty && !this.signing && this.draft.flush());
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!(/** @type {HTMLDialogElement} */ (by("pin-dialog")).open)) this.sign();
      return;
    }
    const macros = by("macros");
    if (macros && !macros.hidden) {
      event.preventDefault();
      event.stopImmediatePropagation();
      macros.hidden = true;
      const macro = this.words?.macros.find((one) => one.key === event.key.toLowerCase());
      if (macro) this.useMacro(macro);
      return;
    }
    if (!heard(event)) return;
    if (target.closest("textarea, input, select, dialog")) return;
    if (event.key === "r") {
      event.preventDefault();
      this.find.focus();
    } else if (event.key === "d" && macros) {
      event.preventDefault();
      macros.hidden = false;
    }
  }

  /** @param {KeyboardEvent} event */
  onFind(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const n = this.shown.length;
      if (n) this.at = (this.at + (event.key === "ArrowDown" ? 1 : n - 1)) % n;
      this.list();
    } else if (event.key === "Tab" && this.find.value.startsWith(".")) {
      const macro = this.words && expand(this.words, this.find.value);
      if (macro) {
        event.preventDefault();
        this.find.value = "";
        this.close();
        this.useMacro(macro);
      }
    } else if (event.key === "Enter" && !event.ctrlKey) {
      event.preventDefault();
      const chosen = this.shown[this.at < 0 ? 0 : this.at];
      if (chosen) this.choose(chosen.code);
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (this.find.value) this.find.value = "";
      else this.find.blur();
      this.close();
    } else if (event.key === "Backspace" && !this.find.value && this.codes.length) {
      this.remove(this.codes[this.codes.length - 1]);
    }
  }

  /** @param {KeyboardEvent} event @param {HTMLTextAreaElement} field */
  onText(event, field) {
    if (event.key !== "Tab" || event.shiftKey || !this.words) return;
    const before = field.value.slice(0, field.selectionStart);
    const word = /(?:^|\s)(\.[a-z]+)$/.exec(before);
    const macro = word && expand(this.words, word[1]);
    if (!word || !macro) return;
    event.preventDefault();
    field.setRangeText("", before.length - word[1].length, before.length, "end");
    this.useMacro(macro);
  }

  look() {
    this.shown = this.words ? search(this.words, this.find.value) : [];
    this.at = this.shown.length ? 0 : -1;
    this.list();
  }

  list() {
    const language = this.form.dataset.language === "zh" ? "zh" : "en";
    this.found.replaceChildren(
      ...this.shown.map((one, place) => {
        const item = document.createElement("li");
        item.id = `found-${place}`;
        item.role = "option";
        item.ariaSelected = String(place === this.at);
        item.textContent = `${one[language]}${one.aha.length ? ` · ${one.aha.join("+")}` : ""}`;
        if (one.critical) item.classList.add("critical");
        item.addEventListener("pointerdown", (event) => {
          event.preventDefault();
          this.choose(one.code);
        });
        return item;
      }),
    );
    const open = this.find.value.trim() !== "" && !this.find.value.startsWith(".");
    if (open && !this.shown.length) {
      const none = document.createElement("li");
      none.role = "option";
      none.ariaDisabled = "true";
      none.textContent = this.form.dataset.none ?? "";
      this.found.append(none);
    }
    this.found.hidden = !open;
    this.find.ariaExpanded = String(open);
    if (open && this.at >= 0) this.find.setAttribute("aria-activedescendant", `found-${this.at}`);
    else this.find.removeAttribute("aria-activedescendant");
    this.found.children[this.at]?.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.found.hidden = true;
    this.find.ariaExpanded = "false";
    this.find.removeAttribute("aria-activedescendant");
  }

  /** @param {string} code */
  choose(code) {
    this.find.value = "";
    this.close();
    this.shown = [];
    this.add([code]);
  }

  /** @param {import("./report-words.js").Macro} macro */
  useMacro(macro) {
    if (macro.normal) this.normal();
    else this.add(macro.statements);
  }

  normal() {
    const why = this.whyNotNormal();
    if (why) {
      this.say(why);
      return;
    }
    const macro = this.words?.macros.find((one) => one.normal);
    if (macro && this.add(macro.statements)) {
      this.template = true;
      this.changed();
    }
  }

  whyNotNormal() {
    const said = this.form.dataset;
    if (this.flagged) return said.flagged;
    if (said.priority === "urgent") return said.urgent;
    return said.analysed ? "" : said.unanalysed;
  }

  /** @param {string[]} codes @returns {boolean} whether all of them stand in the report now */
  add(codes) {
    const words = this.words;
    if (!words) return false;
    this.say("");
    for (const code of codes) {
      if (this.codes.includes(code)) continue;
      const other = this.codes.find((one) => words.exclude(one, code));
      if (other) {
        this.say(fill(this.form.dataset.excluded ?? "", { one: this.name(other), other: this.name(code) }));
        return false;
      }
      this.codes.push(code);
    }
    this.changed();
    return true;
  }

  /** @param {string} code */
  remove(code) {
    this.codes = this.codes.filter((one) => one !== code);
    this.template = false;
    this.changed();
  }

  /** @param {string} code */
  name(code) {
    const one = this.words?.byCode.get(code);
    return one ? (this.form.dataset.language === "zh" ? one.zh : one.en) : code;
  }

  changed() {
    this.draw();
    this.draft?.touch();
  }

  draw() {
    const chosen = by("chosen");
    chosen.replaceChildren(
      ...this.codes.map((code) => {
        const item = document.createElement("li");
        const one = this.words?.byCode.get(code);
        item.append(this.name(code));
        if (one?.critical) {
          item.classList.add("critical");
          item.append(` · ${this.form.dataset.critical}`);
        }
        const out = document.createElement("button");
        out.type = "button";
        out.textContent = "×";
        out.ariaLabel = fill(this.form.dataset.remove ?? "", { name: this.name(code) });
        out.addEventListener("click", () => this.remove(code));
        item.append(out);
        return item;
      }),
    );
    const box = /** @type {HTMLInputElement} */ (by("critical"));
    if (this.codes.some((code) => this.words?.byCode.get(code)?.critical)) box.checked = true;
    /** @type {HTMLInputElement} */ (by("statements")).value = this.codes.join(",");
    /** @type {HTMLInputElement} */ (by("template")).value = this.template ? "1" : "";
  }

  /** Whether something that the program flags is neither rejected nor answered by a statement. */
  get flagged() {
    const open = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".flags li[data-flag]:not(.is-rejected)"));
    return [...open].some((row) => !this.words?.answers[row.dataset.flag ?? ""]?.some((code) => this.codes.includes(code)));
  }

  sign() {
    this.say("");
    const dialog = /** @type {HTMLDialogElement} */ (by("pin-dialog"));
    const until = Number(this.form.dataset.open || 0);
    const now = Number(document.body.dataset.now || 0) + performance.now();
    if (until - 5000 > now) {
      this.send("");
      return;
    }
    this.draft?.flush();
    dialog.showModal();
    /** @type {HTMLInputElement | null} */ (by("pin"))?.focus();
  }

  /** @param {string} pin */
  async send(pin) {
    if (this.signing) return;
    this.signing = true;
    /** @type {HTMLInputElement} */ (by("report-measurements")).value = measurements();
    const fields = new URLSearchParams();
    for (const [name, value] of new FormData(this.form)) fields.set(name, String(value));
    if (pin) fields.set("pin", pin);
    const dialog = /** @type {HTMLDialogElement} */ (by("pin-dialog"));
    this.draft?.stop();
    const signed = await this.post(`/api/cases/${this.form.dataset.case}/report`, fields, dialog.open);
    if (!signed) {
      this.signing = false;
      this.draft?.resume();
      const field = /** @type {HTMLInputElement | null} */ (by("pin"));
      if (field) field.value = "";
      return;
    }
    if (this.draft) this.draft.dirty = false;
    const event = new CustomEvent("teleread:signed", { cancelable: true, detail: { case: this.form.dataset.case, ...signed } });
    if (document.dispatchEvent(event)) location.assign(signed.page);
  }

  /** @param {string} address @param {URLSearchParams} fields @param {boolean} inDialog @returns {Promise<any>} */
  async post(address, fields, inDialog = false) {
    let answer;
    document.body.dataset.signing = "1"; // the claim ends with it, which is no loss
    try {
      answer = await fetch(address, { method: "POST", body: fields });
    } catch {
      delete document.body.dataset.signing;
      this.say(this.form.dataset.line ?? "", inDialog);
      return null;
    }
    const body = await answer.json().catch(() => null);
    if (answer.ok) return body;
    delete document.body.dataset.signing;
    const error = body?.error ?? { what: String(answer.status), todo: "", code: "" };
    const dialog = /** @type {HTMLDialogElement} */ (by("pin-dialog"));
    if (error.code === "pin_needed" && !dialog.open) {
      this.form.dataset.open = "";
      this.sign();
      return null;
    }
    const aboutPin = String(error.code).startsWith("pin_");
    if (!aboutPin && dialog.open) dialog.close();
    const named = error.code === "flags_unanswered" ? fill(this.form.dataset.standing ?? "", { what: standing() }) : "";
    this.say(`${error.what} ${error.todo} ${named}`.trim(), inDialog && aboutPin);
    return null;
  }

  /** @param {string | undefined} words @param {boolean} inDialog */
  say(words, inDialog = false) {
    const place = by(inDialog ? "pin-problem" : "report-problem");
    if (!place) return;
    place.textContent = words ?? "";
    place.hidden = !words;
    if (words && !inDialog) place.scrollIntoView({ block: "nearest" });
  }

  fillMacros() {
    const list = document.querySelector("#macros ul");
    for (const macro of this.words?.macros ?? []) {
      if (!list || !macro.key) continue;
      const item = document.createElement("li");
      const key = document.createElement("kbd");
      key.textContent = macro.key.toUpperCase();
      item.append(key, ` ${macro.statements.map((code) => this.name(code)).join(" · ")} `);
      const name = document.createElement("span");
      name.className = "muted mono";
      name.textContent = `.${macro.name}`;
      item.append(name);
      list.append(item);
    }
  }
}

/** The flags that nobody has rejected, by their names: the panel that lists them may be scrolled away. */
function standing() {
  const left = [...document.querySelectorAll("section.flags li[data-flag]:not(.is-rejected) b")];
  return left.map((one) => one.textContent?.trim()).join("; ");
}

/** What the page's measurements say, moved marks included; empty where the page has none. */
function measurements() {
  const shown = document.getElementById("measurements")?.dataset.json;
  return shown && shown !== "{}" ? shown : "";
}

if (form) new Report(form).start();
