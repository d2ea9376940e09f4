// The table: rows in the DOM, the newest on top, at most ROWS_MAX of them. It must not know where rows come from.

import { at, cell, element, refreshTimes, sortKey } from "./cells.js";
import { originals } from "./originals.js";

/** Rows kept in the page. */
export const ROWS_MAX = 500;
/** More at once do not slide in: nobody could follow. */
const SLIDE_ROWS = 12;
const SLIDE_MS = 420;
const FRESH_MS = 3400;

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const calm = matchMedia("(prefers-reduced-motion: reduce)");
/** Rows are cards there, which would slide over what stands above them. */
const phone = matchMedia("(max-width: 860px)");

export class Table {
  /** Calls `onchange` when it was sorted, or a row was opened or closed. */
  constructor(table, onchange) {
    this.board = table.parentElement;
    this.table = table;
    this.head = table.tHead;
    this.body = table.tBodies[0];
    this.columns = JSON.parse(table.dataset.columns);
    this.onchange = onchange;
    /** {id, row, tr}, the newest first, however the DOM is sorted. */
    this.items = [];
    this.ids = new Set();
    /** Per partition: above this offset everything was shown at some time. */
    this.dropped = new Map();
    this.sort = null;
    this.opened = null;
    this.#buildHead();
    this.#showBones();
    this.body.addEventListener("click", (event) => this.#click(event));
    this.body.addEventListener("keydown", (event) => this.#key(event));
    this.body.addEventListener("focusin", (event) => this.#rove(event.target.closest(".toggle")));
    new ResizeObserver(() => this.#measure()).observe(this.board);
    setInterval(() => document.hidden || refreshTimes(this.body), 5000);
  }

  /** Shows these rows (the newest first) and no others. */
  replace(rows) {
    this.#close();
    for (const { row } of this.items) this.#drop(row);
    this.items = [];
    this.ids.clear();
    this.#take(rows);
    this.body.replaceChildren();
    this.#arrange();
    this.table.setAttribute("aria-busy", "false");
  }

  /** A page of its own: what was shown before plays no part in what is older than it. */
  restart(rows) {
    this.items = [];
    this.dropped.clear();
    this.replace(rows);
  }

  /** Puts new rows (the newest first) on top. */
  prepend(rows) {
    const before = this.items;
    const first = this.body.firstElementChild;
    const from = first?.offsetTop ?? 0;
    this.items = [];
    this.#take(rows);
    const fresh = this.items;
    this.items = [...fresh, ...before];
    for (const { row, tr } of this.items.splice(ROWS_MAX)) {
      this.#drop(row);
      if (this.opened?.tr === tr) this.#close();
      tr.remove();
    }
    for (const { tr } of fresh) tr.classList.add("fresh");
    setTimeout(() => fresh.forEach(({ tr }) => tr.classList.remove("fresh")), FRESH_MS);
    this.#arrange();
    if (first?.isConnected && fresh.length <= SLIDE_ROWS) this.#slide(first.offsetTop - from);
    return fresh.length;
  }

  /** Where rows older than these begin, given where they begin without them. */
  olderThan(next) {
    const bounds = new Map(next);
    for (const [partition, offset] of this.dropped) bounds.set(partition, Math.max(offset + 1, bounds.get(partition) ?? 0));
    const oldest = new Map();
    for (const { row } of this.items) oldest.set(row.partition, Math.min(row.offset, oldest.get(row.partition) ?? Infinity));
    for (const [partition, offset] of oldest) bounds.set(partition, offset);
    return bounds;
  }

  /** Whether someone is busy with the rows as they stand. */
  get inUse() {
    return this.sort !== null || this.opened !== null || this.body.querySelector(":focus-visible") !== null;
  }

  get size() {
    return this.items.length;
  }

  clearSort() {
    this.sort = null;
    this.#showSort();
    this.#arrange();
  }

  #take(rows) {
    for (const row of rows) {
      const id = `${row.partition}-${row.offset}`;
      if (this.ids.has(id)) continue;
      this.ids.add(id);
      this.items.push({ id, row, tr: this.#build(row) });
    }
  }

  #drop(row) {
    this.ids.delete(`${row.partition}-${row.offset}`);
    this.dropped.set(row.partition, Math.max(row.offset, this.dropped.get(row.partition) ?? -1));
  }

  #build(row) {
    const tr = element("tr", "row");
    tr.setAttribute("role", "row");
    for (const column of this.columns) tr.append(cell(column, row));
    if (row.outcome !== "joined") tr.firstElementChild.append(outcome(row));
    tr.append(toggleCell(this.columns, row));
    return tr;
  }

  #buildHead() {
    const tr = element("tr");
    tr.setAttribute("role", "row");
    this.columns.forEach((column, index) => {
      const button = element("button", "", column.title);
      button.type = "button";
      button.addEventListener("click", () => this.#sortBy(index));
      const th = element("th", column.end ? "end" : "", button);
      th.classList.toggle("spare", column.phoneHidden);
      if (column.width) Object.assign(th.style, { width: column.width, minWidth: column.width });
      th.scope = "col";
      th.setAttribute("role", "columnheader");
      tr.append(th);
    });
    const last = element("td", "more", element("span", "unseen", "Originals"));
    last.setAttribute("role", "cell");
    tr.append(last);
    this.head.replaceChildren(tr);
  }

  /** Something to look at until the first rows are here. */
  #showBones() {
    const bone = () => {
      const tr = element("tr", "bone", ...this.columns.map(() => element("td")), element("td", "more"));
      tr.setAttribute("aria-hidden", "true");
      return tr;
    };
    this.body.replaceChildren(...Array.from({ length: 6 }, bone));
  }

  #sortBy(index) {
    const [sorted, descending] = [this.sort?.index === index, this.sort?.descending];
    this.sort = sorted && descending ? null : { index, descending: sorted };
    this.#showSort();
    this.#arrange();
    this.onchange();
  }

  #showSort() {
    [...this.head.rows[0].cells].forEach((th, index) => {
      if (this.sort?.index !== index) return th.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", this.sort.descending ? "descending" : "ascending");
    });
  }

  /** Brings the DOM into order, moving only what is not in its place. */
  #arrange() {
    let place = this.body.firstElementChild;
    for (const { tr } of this.#sorted()) {
      if (tr === place) {
        place = place.nextElementSibling;
      } else {
        this.body.insertBefore(tr, place);
      }
      if (this.opened?.tr === tr) {
        if (this.opened.panel !== place) tr.after(this.opened.panel);
        else place = place.nextElementSibling;
      }
    }
    if (!this.body.contains(document.activeElement)) this.#rove(this.body.querySelector(".toggle"));
    this.#measure();
  }

  #sorted() {
    if (!this.sort) return this.items;
    const column = this.columns[this.sort.index];
    const sign = this.sort.descending ? -1 : 1;
    const keyed = this.items.map((item) => ({ item, key: sortKey(column, item.row) }));
    return keyed.sort((a, b) => compare(a.key, b.key, sign)).map(({ item }) => item);
  }

  #slide(distance) {
    if (calm.matches || phone.matches || distance <= 0) return;
    const frames = [{ transform: `translateY(${-distance}px)` }, { transform: "none" }];
    this.body.animate(frames, { duration: SLIDE_MS, easing: "cubic-bezier(.2, .8, .2, 1)" });
  }

  /** A table wider than its board scrolls; its heading cannot stick then. */
  #measure() {
    this.board.classList.toggle("wide", this.table.scrollWidth > this.board.clientWidth + 1);
  }

  #click(event) {
    const tr = event.target.closest("tr.row");
    if (!tr || event.target.closest("a") || String(getSelection()) !== "") return;
    this.#toggle(tr);
  }

  #key(event) {
    const toggle = event.target.closest?.(".toggle");
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (event.key === "Escape") {
      this.opened?.toggle.focus();
      this.#close();
      this.onchange();
    }
    if (!toggle || !step) return;
    event.preventDefault();
    let tr = toggle.closest("tr")[step];
    if (tr && !tr.classList.contains("row")) tr = tr[step];
    tr?.querySelector(".toggle").focus();
  }

  /** One stop for the tabulator in the whole table; the arrows go on from there. */
  #rove(toggle) {
    if (!toggle || toggle === this.stop) return;
    if (this.stop) this.stop.tabIndex = -1;
    this.stop = toggle;
    toggle.tabIndex = 0;
  }

  #toggle(tr) {
    const same = this.opened?.tr === tr;
    this.#close();
    if (!same) this.#open(tr);
    this.onchange();
  }

  #open(tr) {
    const { row } = this.items.find((item) => item.tr === tr);
    const panel = originalsRow(row, this.columns.length + 1);
    const toggle = tr.querySelector(".toggle");
    toggle.setAttribute("aria-expanded", "true");
    tr.classList.add("open");
    tr.after(panel);
    this.opened = { tr, panel, toggle };
  }

  #close() {
    if (!this.opened) return;
    const { tr, panel, toggle } = this.opened;
    toggle.setAttribute("aria-expanded", "false");
    tr.classList.remove("open");
    panel.remove();
    this.opened = null;
  }
}

/** What is missing goes last, whatever the direction. */
function compare(a, b, sign) {
  const missing = (key) => key === "" || Number.isNaN(key);
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  return sign * (typeof a === "number" ? a - b : collator.compare(a, b));
}

function outcome(row) {
  return element("span", "outcome", `${row.outcome}: ${(row.reason ?? "no reason given").replaceAll("_", " ")}`);
}

function toggleCell(columns, row) {
  const button = element("button", "toggle");
  button.type = "button";
  button.tabIndex = -1;
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-label", `Originals of ${at(row, columns[0].value) ?? row.id}`);
  button.append(chevron());
  const td = element("td", "more", button);
  td.setAttribute("role", "cell");
  return td;
}

function chevron() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 18 18");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svg.namespaceURI, "path");
  for (const [name, value] of Object.entries({ d: "m4 7 5 5 5-5", fill: "none", stroke: "currentColor", "stroke-width": "2", "stroke-linecap": "round" })) {
    path.setAttribute(name, value);
  }
  svg.append(path);
  return svg;
}

function originalsRow(row, columns) {
  const td = element("td", "", ...originals(row), whereabouts(row));
  td.colSpan = columns;
  td.setAttribute("role", "cell");
  const tr = element("tr", "originals", td);
  tr.setAttribute("role", "row");
  return tr;
}

function whereabouts({ id }) {
  const link = element("a", "", "All that is known of this event");
  link.href = `/lookup?${new URLSearchParams({ id })}`;
  return element("p", "onward", link);
}
