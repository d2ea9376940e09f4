// What a cell shows: a value found by JSON pointer, written in its column's format. Everything that comes from outside goes
// in as text, never as markup.

import * as numbers from "./numbers.js";

const DASH = "–";
/** A text that is longer gets a column to itself on a phone. */
const SHORT = 28;

/** An element with a class and children (texts or elements). */
export function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** The value at an RFC 6901 pointer; undefined when there is none. */
export function at(value, pointer) {
  if (pointer === "") return value;
  const steps = pointer.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  for (const step of steps) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, step)) return undefined;
    value = value[step];
  }
  return value;
}

/** A row's cell in a column. */
export function cell(column, row) {
  const value = at(row, column.value);
  const details = column.details.map((pointer) => at(row, pointer)).filter((detail) => plain(detail) !== "");
  const td = element("td", column.format);
  td.setAttribute("role", "cell");
  td.dataset.title = column.title;
  td.classList.toggle("end", column.end);
  td.classList.toggle("spare", column.phoneHidden);
  if (plain(value) === "") {
    td.classList.add("none");
    td.append(element("span", "main", DASH));
    return td;
  }
  (WRITERS[column.format] ?? WRITERS.text)(td, value, details);
  return td;
}

/** What a cell is sorted by. */
export function sortKey(column, row) {
  const value = at(row, column.value);
  if (column.format === "money") return value === undefined || value === null ? NaN : Number(value);
  return column.format === "time" ? numbers.time(value) : plain(value);
}

/** Writes relative times anew as they pass. */
export function refreshTimes(root, now = Date.now()) {
  for (const node of root.querySelectorAll("time[data-ms]")) {
    const [main, detail] = numbers.moment(Number(node.dataset.ms), now);
    setText(node.firstChild, main);
    setText(node.lastChild, detail);
  }
}

/** Changes a text only when it differs: a change costs layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const WRITERS = {
  text(td, value, details) {
    const text = plain(value);
    td.classList.toggle("short", text.length <= SHORT);
    td.append(words("main", text), ...small(details));
  },

  money(td, value, details) {
    const amount = Number(value);
    const currency = details.find((detail) => /^[A-Z]{3}$/.test(detail));
    const text = Number.isFinite(amount) ? numbers.money(amount, currency) : plain(value);
    td.append(words("main", text), ...small(details.filter((detail) => detail !== currency)));
  },

  time(td, value, details) {
    const ms = numbers.time(value);
    if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return WRITERS.text(td, value, details);
    const [main, detail] = numbers.moment(ms);
    const node = element("time", "", element("span", "main", main), element("span", "detail", detail));
    node.dataset.ms = ms;
    node.dateTime = new Date(ms).toISOString();
    node.title = numbers.precisely(ms);
    td.append(node, ...small(details));
  },

  airport(td, value, details) {
    const code = plain(value);
    if (!/^[A-Z0-9]{3,4}$/.test(code)) return WRITERS.text(td, value, details);
    const flaps = element("span", "code", ...[...code].map((letter) => element("span", "flap", letter)));
    flaps.setAttribute("aria-hidden", "true");
    td.append(element("span", "unseen", code), flaps, ...small(details));
  },

  link(td, value, details) {
    const url = URL.canParse(value) ? new URL(value) : null;
    if (!url || !/^https?:$/.test(url.protocol)) return WRITERS.text(td, value, details);
    const link = element("a", "main", url.host + (url.pathname === "/" ? "" : url.pathname));
    link.href = url.href;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    td.append(link, ...small(details));
  },
};

function plain(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function small(details) {
  return details.length > 0 ? [words("detail", details.map(plain).join(" · "))] : [];
}

/** Text of a writing direction of its own. */
function words(className, text) {
  const node = element("span", className, text);
  node.dir = "auto";
  return node;
}
