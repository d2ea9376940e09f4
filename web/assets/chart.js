// A chart of the last quarter of an hour: lines over time, drawn as SVG without a library, with its values under the pointer.

import { element, setText } from "./cells.js";
import * as numbers from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
/** The drawing's own units; it is stretched to whatever room there is. */
const WIDTH = 600;
const HEIGHT = 160;
/** Kept free above the highest value. */
const HEADROOM = 1.08;

export class Chart {
  /** `lines` are `{name, label}`; `words(n)` writes a value. */
  constructor(title, words, lines) {
    Object.assign(this, { title, words, lines });
    this.history = null;
    this.now = lines.map(() => element("b", "", "–"));
    const legend = lines.map(({ label }, i) => element("li", `key${i}`, label ? `${label} ` : "", this.now[i]));
    this.svg = svg();
    this.paths = lines.map((_, i) => this.svg.appendChild(shape("path", { class: `line key${i}` })));
    this.area = this.svg.insertBefore(shape("path", { class: "area" }), this.paths[0]);
    this.mark = this.svg.appendChild(shape("line", { class: "mark", y1: 0, y2: HEIGHT }));
    this.top = element("span", "top");
    this.half = element("span", "half");
    this.tip = element("span", "tip");
    this.nothing = element("p", "nothing", "not known here");
    this.plot = element("div", "plot", this.svg, this.top, this.half, this.tip, this.nothing);
    const axis = element("div", "axis", ...["15 min ago", "10", "5", "now"].map((text) => element("span", "", text)));
    axis.setAttribute("aria-hidden", "true");
    this.host = element("figure", "card chart", element("figcaption", "", title, element("ul", "keys", ...legend)), this.plot, axis);
    this.plot.addEventListener("pointermove", (event) => this.#point(event));
    this.plot.addEventListener("pointerleave", () => this.#unpoint());
    this.#unpoint();
  }

  /** Draws the history as the server tells it. */
  draw({ lines, until, step_seconds: step, moments }) {
    const values = this.lines.map(({ name }) => lines[name] ?? []);
    const known = values.flat().filter(Number.isFinite);
    this.nothing.hidden = known.length > 0;
    this.svg.classList.toggle("empty", known.length === 0);
    const most = ceiling(Math.max(0, ...known) || 1);
    this.history = { values, until, step, moments, most };
    values.forEach((line, i) => this.paths[i].setAttribute("d", this.#path(line)));
    this.area.setAttribute("d", this.#fill(values[0]));
    setText(this.top, known.length > 0 ? this.words(most) : "");
    // Of whole things there is no half.
    setText(this.half, known.length > 0 && this.words(most / 2) !== this.words(most) ? this.words(most / 2) : "");
    values.forEach((line, i) => setText(this.now[i], this.#say(line.at(-1))));
    this.svg.setAttribute("aria-label", this.#summary(values));
  }

  #say(value) {
    return Number.isFinite(value) ? this.words(value) : "–";
  }

  #x(i, line) {
    const { moments } = this.history;
    return WIDTH - (line.length - 1 - i) * (WIDTH / (moments - 1));
  }

  #y(value) {
    return HEIGHT - (value / (this.history.most * HEADROOM)) * HEIGHT;
  }

  /** What is not known leaves a gap. */
  #path(line) {
    let open = false;
    const steps = line.map((value, i) => {
      const point = Number.isFinite(value) ? `${open ? "L" : "M"}${this.#x(i, line).toFixed(1)} ${this.#y(value).toFixed(1)}` : "";
      open = point !== "";
      return point;
    });
    return steps.join("");
  }

  #fill(line) {
    const path = this.#path(line);
    const runs = path.split("M").filter(Boolean);
    const x = (point) => point.split(" ")[0];
    return runs.map((run) => `M${x(run)} ${HEIGHT}L${run}L${x(run.split("L").at(-1))} ${HEIGHT}Z`).join("");
  }

  #summary(values) {
    const parts = this.lines.map(({ label }, i) => {
      const known = values[i].filter(Number.isFinite);
      if (known.length === 0) return `${label || this.title} is not known`;
      return `${label ? `${label}: ` : ""}now ${this.#say(values[i].at(-1))}, from ${this.words(Math.min(...known))} to ${this.words(Math.max(...known))}`;
    });
    return `${this.title}, last quarter of an hour. ${parts.join(". ")}.`;
  }

  #point(event) {
    if (!this.history) return;
    const { values, until, step, moments } = this.history;
    const box = this.plot.getBoundingClientRect();
    const back = Math.round((1 - (event.clientX - box.left) / box.width) * (moments - 1));
    const found = values.map((line) => line.at(-1 - back));
    if (back < 0 || !found.some(Number.isFinite)) return this.#unpoint();
    const x = WIDTH - back * (WIDTH / (moments - 1));
    this.mark.setAttribute("x1", x);
    this.mark.setAttribute("x2", x);
    this.mark.classList.remove("off");
    const said = this.lines.map(({ label }, i) => `${label ? `${label} ` : ""}${this.#say(found[i])}`);
    setText(this.tip, `${numbers.clockTime(until - back * step * 1000)} · ${said.join(" · ")}`);
    this.tip.classList.toggle("left", x > WIDTH / 2);
    this.tip.style.left = `${(x / WIDTH) * 100}%`;
    this.tip.hidden = false;
  }

  #unpoint() {
    this.mark.classList.add("off");
    this.tip.hidden = true;
  }
}

/** The next round number: 1, 2 or 5 and zeros. */
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((round) => round >= value * 0.999);
}

function svg() {
  const node = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const grid = (at) => shape("line", { class: "grid", x1: 0, x2: WIDTH, y1: at, y2: at });
  node.append(grid(HEIGHT - 0.5), grid(HEIGHT - HEIGHT / HEADROOM), grid(HEIGHT - HEIGHT / HEADROOM / 2));
  return node;
}

function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  return node;
}
