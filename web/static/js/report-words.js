// The statements of a report: loaded once, searched as they are typed.

/**
 * @typedef {{code: string, category: string, aha: number[], zh: string, en: string, initials: string,
 *   critical: boolean, excludes: string[]}} Statement
 * @typedef {{name: string, key: string | null, statements: string[], normal: boolean}} Macro
 * @typedef {{statements: Statement[], macros: Macro[], answers: Record<string, string[]>,
 *   byCode: Map<string, Statement>, exclude: (one: string, other: string) => boolean}} Words
 */

const SHOWN = 8;

/** @param {string} version @returns {Promise<Words>} */
export async function loadWords(version) {
  const answer = await fetch(`/api/statements?v=${encodeURIComponent(version)}`);
  const body = answer.ok ? await answer.json() : { statements: [], macros: [], answers: {} };
  const byCode = new Map(body.statements.map((/** @type {Statement} */ one) => [one.code, one]));
  /** @param {string} one @param {string} other */
  const exclude = (one, other) =>
    Boolean(byCode.get(one)?.excludes.includes(other) || byCode.get(other)?.excludes.includes(one));
  return { ...body, byCode, exclude };
}

/**
 * The statements that a text may mean, best first: by the beginning of the pinyin initials, of the Chinese or English
 * name, of an AHA number or of the code, then by a part of any.
 *
 * @param {Words} words @param {string} text @returns {Statement[]}
 */
export function search(words, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted || wanted.startsWith(".")) return [];
  return words.statements
    .map((one, place) => ({ one, place, rank: rank(one, wanted) }))
    .filter((found) => found.rank < 9)
    .sort((a, b) => a.rank - b.rank || a.one.initials.length - b.one.initials.length || a.place - b.place)
    .slice(0, SHOWN)
    .map((found) => found.one);
}

/** @param {Statement} one @param {string} wanted */
function rank(one, wanted) {
  const en = one.en.toLowerCase();
  if (one.initials === wanted || one.zh === wanted || one.aha.join("+") === wanted) return 0;
  if (one.initials.startsWith(wanted) || one.zh.startsWith(wanted)) return 1;
  if (en.startsWith(wanted) || one.code.startsWith(wanted)) return 2;
  if (one.aha.some((number) => String(number) === wanted)) return 3;
  if (en.split(/[\s,(-]+/).some((word) => word.startsWith(wanted))) return 4;
  if (one.zh.includes(wanted)) return 5;
  if (wanted.length > 1 && (one.initials.includes(wanted) || en.includes(wanted))) return 6;
  const parts = wanted.split(/\s+/);
  return parts.length > 1 && parts.every((part) => en.includes(part)) ? 7 : 9;
}

/** @param {Words} words @param {string} text @returns {Macro | undefined} the macro of ".name" */
export function expand(words, text) {
  return words.macros.find((macro) => `.${macro.name}` === text.trim().toLowerCase());
}
