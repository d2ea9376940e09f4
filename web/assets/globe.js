// The earth on a flat page: great circles, Mercator's projection, a frame around what is to be seen. Pure: no DOM, no rows.
// Points are [degrees north, degrees east].

import { DIGITS, RINGS, STEP } from "./coastline.js";

const RADIANS = Math.PI / 180;
/** Mercator's map has no poles. */
const NORTH_MAX = 80;
/** Degrees between two points of an arc, about. */
const ARC_STEP = 2;

/** The land: rings of points. */
export function land() {
  return RINGS.split(" ").map(decode);
}

function decode(text) {
  const numbers = [];
  let [value, shift] = [0, 0];
  for (const digit of text) {
    const bits = DIGITS.indexOf(digit);
    value |= (bits & 31) << shift;
    shift += 5;
    if (bits < 32) {
      numbers.push(value & 1 ? -(value + 1) / 2 : value / 2);
      [value, shift] = [0, 0];
    }
  }
  const points = [];
  let [east, north] = [0, 0];
  for (let i = 0; i < numbers.length; i += 2) {
    east += numbers[i];
    north += numbers[i + 1];
    points.push([north * STEP, east * STEP]);
  }
  return points;
}

/** The shortest way over the sphere, as points from `a` to `b`; on the far side of the earth there are many, and it takes one. */
export function greatCircle(a, b) {
  const [from, to] = [vector(a), vector(b)];
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(from, to))));
  const steps = Math.max(1, Math.ceil(angle / RADIANS / ARC_STEP));
  if (angle < 1e-9 || Math.sin(angle) < 1e-9) return [a, b];
  return Array.from({ length: steps + 1 }, (_, i) => {
    const [v, w] = [Math.sin((1 - i / steps) * angle), Math.sin((i / steps) * angle)];
    return degrees(from.map((x, axis) => (v * x + w * to[axis]) / Math.sin(angle)));
  });
}

function vector([north, east]) {
  const [phi, lambda] = [north * RADIANS, east * RADIANS];
  return [Math.cos(phi) * Math.cos(lambda), Math.cos(phi) * Math.sin(lambda), Math.sin(phi)];
}

function degrees([x, y, z]) {
  return [Math.atan2(z, Math.hypot(x, y)) / RADIANS, Math.atan2(y, x) / RADIANS];
}

function dot(a, b) {
  return a.reduce((sum, x, axis) => sum + x * b[axis], 0);
}

/** A point on Mercator's map, the whole of it one unit wide: x to the east, y to the south. */
export function mercator([north, east]) {
  const phi = Math.min(NORTH_MAX, Math.max(-NORTH_MAX, north)) * RADIANS;
  return [east / 360, -Math.log(Math.tan(Math.PI / 4 + phi / 2)) / (2 * Math.PI)];
}

/** How points come onto a page of this size so that all of `points` are seen, with `room` pixels around them. */
export class View {
  constructor(points, width, height, room) {
    const flat = points.map(mercator);
    const [xs, ys] = [flat.map(([x]) => x), flat.map(([, y]) => y)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const fits = (pixels, side, extent) => Math.max(1, pixels - 2 * side) / Math.max(extent, 0.02);
    this.scale = Math.min(fits(width, room.x, right - left), fits(height, room.y, bottom - top));
    this.dx = width / 2 - ((left + right) / 2) * this.scale;
    this.dy = height / 2 - ((top + bottom) / 2) * this.scale;
  }

  /** Pixels. */
  at(point) {
    const [x, y] = mercator(point);
    return [x * this.scale + this.dx, y * this.scale + this.dy];
  }

  /** A line as an SVG path; where it passes the date line it begins anew on the other side. */
  path(points) {
    let last = null;
    return points.map((point) => {
      const [x, y] = this.at(point);
      const jumps = last !== null && Math.abs(point[1] - last) > 180;
      const command = last === null || jumps ? "M" : "L";
      last = point[1];
      return `${command}${x.toFixed(1)} ${y.toFixed(1)}`;
    }).join("");
  }
}
