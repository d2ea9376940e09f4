// A line over time, drawn as SVG without a library. The values fill the width; the scale starts at zero.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 100;
/** A young history is stretched over the width, but not if it is younger than this. */
const SLOTS_MIN = 12;

/** Values of the last moments, the newest last. */
export class History {
  constructor(length) {
    this.length = length;
    this.values = [];
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > this.length) this.values.shift();
  }
}

/** Draws one or two histories with a common scale into `host`, and returns the largest value. */
export function draw(host, ...histories) {
  const largest = Math.max(0, ...histories.flatMap((history) => history.values).filter(Number.isFinite));
  const svg = host.querySelector("svg") ?? host.appendChild(create(histories.length));
  histories.forEach((history, i) => {
    const points = history.values.map((value, x) => point(value, x, history, largest));
    svg.querySelectorAll(".line")[i].setAttribute("points", points.join(" "));
    if (i > 0 || points.length === 0) return;
    const [first, last] = [points[0], points.at(-1)].map((p) => p.split(",")[0]);
    svg.querySelector(".area").setAttribute("points", `${first},${HEIGHT} ${points.join(" ")} ${last},${HEIGHT}`);
  });
  return largest;
}

function point(value, x, history, largest) {
  const { length } = history.values;
  const left = WIDTH - (length - 1 - x) * (WIDTH / (Math.max(length, SLOTS_MIN) - 1));
  const height = largest > 0 && Number.isFinite(value) ? (value / largest) * HEIGHT * 0.9 : 0;
  return `${left.toFixed(1)},${(HEIGHT - 1 - height).toFixed(1)}`;
}

function create(lines) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "spark");
  svg.append(shape("polygon", "area"));
  for (let i = 0; i < lines; i += 1) svg.append(shape("polyline", i === 0 ? "line" : "line second"));
  return svg;
}

function shape(name, className) {
  const node = document.createElementNS(SVG, name);
  node.setAttribute("class", className);
  return node;
}
