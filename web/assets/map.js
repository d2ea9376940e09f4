// The map: each new row as a way over the earth that is drawn, and fades. It must not know what travels there.

import { at } from "./cells.js";
import { greatCircle, land, View } from "./globe.js";

const SVG = "http://www.w3.org/2000/svg";
/** Ways on show at once; the oldest make room. */
const WAYS_MAX = 30;
/** Ways that begin at once: more would be a flash. */
const BEGIN_MAX = 3;
const BEGIN_MS = 350;
const DRAW_MS = 1100;
const FADE_MS = 9000;
const LABEL = { width: 34, height: 15 };
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class WorldMap {
  constructor(host) {
    this.host = host;
    const { from, to, label, places } = JSON.parse(host.dataset.map);
    Object.assign(this, { from, to, label });
    this.places = new Map(places.map(([code, name, north, east]) => [code, { name, point: [north, east] }]));
    this.svg = shape("svg", { role: "img" });
    this.base = this.svg.appendChild(shape("g"));
    this.ways = this.svg.appendChild(shape("g"));
    /** Points that must be seen. */
    this.seen = [...this.places.values()].map(({ point }) => point);
    this.queue = [];
    this.shown = 0;
    host.append(this.svg);
    new ResizeObserver(() => this.#draw()).observe(host);
    setInterval(() => this.#begin(), BEGIN_MS);
  }

  /** Takes new rows, the newest last. Of a flood only the newest are drawn. */
  take(rows) {
    this.queue.push(...rows.slice(-WAYS_MAX).map((row) => this.#way(row)).filter(Boolean));
    this.queue = this.queue.slice(-WAYS_MAX);
  }

  #way(row) {
    const from = this.#spot(this.from, row);
    const to = this.to ? this.#spot(this.to, row) : from;
    if (!from || !to) return null;
    return { from, to, label: this.label ? String(at(row, this.label) ?? "") : "" };
  }

  /** The place that a row names, by a code or in degrees. */
  #spot(pointers, row) {
    const values = pointers.map((pointer) => at(row, pointer));
    if (values.length === 1) return this.places.get(String(values[0]))?.point ?? null;
    const [north, east] = values.map((value) => (value === null || value === "" ? NaN : Number(value)));
    return Math.abs(north) <= 90 && Math.abs(east) <= 180 ? [north, east] : null;
  }

  #begin() {
    if (document.hidden) return;
    const begun = this.queue.splice(0, this.queue.length > WAYS_MAX / 2 ? BEGIN_MAX : 1);
    if (begun.length === 0) return;
    this.#widen(begun.flatMap(({ from, to }) => [from, to]));
    for (const way of begun) this.#show(way);
    while (this.ways.childElementCount > WAYS_MAX) this.ways.firstElementChild.remove();
  }

  /** Rows with coordinates may lie outside of what is seen so far. */
  #widen(points) {
    if (this.places.size > 0) return;
    const { width, height } = this.host.getBoundingClientRect();
    const outside = points.filter((point) => {
      const [x, y] = this.view?.at(point) ?? [-1, -1];
      return x < 0 || y < 0 || x > width || y > height;
    });
    if (outside.length === 0) return;
    this.seen.push(...outside);
    this.#draw();
  }

  #show({ from, to, label }) {
    if (!this.view) return;
    const way = this.ways.appendChild(shape("g", { class: "way" }));
    const line = way.appendChild(shape("path", { d: this.view.path(greatCircle(from, to)), pathLength: 1 }));
    const [x, y] = this.view.at(to);
    const end = way.appendChild(shape("circle", { cx: x, cy: y, r: 3.2 }));
    if (label) way.appendChild(shape("title")).append(label);
    this.shown += 1;
    if (this.shown % 10 === 1) this.#describe();
    if (calm.matches) return void setTimeout(() => way.remove(), FADE_MS);
    line.animate([{ strokeDasharray: "0 1" }, { strokeDasharray: "1 0" }], { duration: DRAW_MS, easing: "cubic-bezier(.4, 0, .2, 1)" });
    end.animate([{ opacity: 0, r: "0px" }, { opacity: 0, r: "0px", offset: 0.8 }, { opacity: 1, r: "7px", offset: 0.92 }, { opacity: 1 }], { duration: DRAW_MS });
    way.animate([{ opacity: 1 }, { opacity: 0.85, offset: 0.3 }, { opacity: 0 }], FADE_MS).finished.then(() => way.remove(), () => {});
  }

  #draw() {
    const { width, height } = this.host.getBoundingClientRect();
    if (width === 0 || this.seen.length === 0) return this.#describe();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.view = new View(this.seen, width, height, { x: Math.max(16, width * 0.06), y: Math.max(14, height * 0.13) });
    const coast = shape("path", { class: "land", d: land().map((ring) => `${this.view.path(ring)}Z`).join("") });
    this.base.replaceChildren(coast, ...this.#dots(width));
    this.ways.replaceChildren();
    this.#describe();
  }

  /** Places with their codes, as far as these do not lie on one another. */
  #dots(width) {
    const taken = [];
    return [...this.places].flatMap(([code, { name, point }]) => {
      const [x, y] = this.view.at(point);
      const dot = shape("circle", { class: "dot", cx: x, cy: y, r: 2.2 });
      dot.appendChild(shape("title")).append(`${code} · ${name}`);
      const free = [[x + 7, y + 4], [x - LABEL.width, y + 4], [x - LABEL.width / 2, y - 7], [x - LABEL.width / 2, y + 16]].find(([left, bottom]) =>
        left > 0 && left + LABEL.width < width && !taken.some(([l, b]) => Math.abs(l - left) < LABEL.width && Math.abs(b - bottom) < LABEL.height));
      if (!free) return [dot];
      taken.push(free);
      const text = shape("text", { x: free[0], y: free[1] });
      text.append(code);
      return [dot, text];
    });
  }

  #describe() {
    const places = this.places.size > 0 ? ` between ${this.places.size} places` : "";
    this.svg.setAttribute("aria-label", `Map of the newest rows${places}; ${this.shown} drawn so far. The table below has them all.`);
  }
}

function shape(name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  return node;
}
