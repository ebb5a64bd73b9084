// Waiting times go on ticking in the browser, by the server's clock.

const body = document.body;
const offset = body.dataset.now ? Number(body.dataset.now) - Date.now() : 0;

/** The server's time now, in milliseconds. */
export function serverNow() {
  return Date.now() + offset;
}

/**
 * A waiting time in the form that the server uses.
 * @param {number} seconds
 * @returns {string}
 */
export function waitText(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 3600) return fill(body.dataset.waitMinutes, { m: Math.floor(s / 60), s: s % 60 });
  const hours = Math.floor(s / 3600);
  if (s < 86400) return fill(body.dataset.waitHours, { h: hours, m: Math.floor((s % 3600) / 60) });
  return fill(body.dataset.waitDays, { d: Math.floor(hours / 24), h: hours % 24 });
}

/**
 * Put values into a text with {names}.
 * @param {string | undefined} text
 * @param {Record<string, string | number>} values
 * @returns {string}
 */
export function fill(text, values) {
  return (text ?? "").replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

function tick() {
  const now = serverNow();
  for (const element of document.querySelectorAll("time.wait")) {
    const text = waitText((now - Number(/** @type {HTMLElement} */ (element).dataset.since)) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
}

setInterval(tick, 1000);
