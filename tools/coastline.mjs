#!/usr/bin/env node
// Makes web/assets/coastline.js, the land on the page's map, from Natural Earth's 1:110m land (public domain, naturalearthdata.com)
// as the npm package world-atlas has it:
//
//   npm install --no-save world-atlas && tools/coastline.mjs node_modules/world-atlas/land-110m.json > web/assets/coastline.js
//
// What is smaller than a line on a screen goes: points nearer to the line between their neighbours than TOLERANCE, islets, and Antarctica.

import { readFileSync } from "node:fs";

/** Degrees. */
const TOLERANCE = 0.3;
const STEP = 0.2;
const ISLET = 1;
const SOUTH = -60;
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

const atlas = JSON.parse(readFileSync(process.argv[2], "utf8"));
const arcs = atlas.arcs.map(decodeArc);
const kept = rings().filter((ring) => extent(ring, 1).max > SOUTH).map((ring) => thin(ring, TOLERANCE)).filter((ring) => ring.length > 3 && size(ring) > ISLET);
process.stdout.write(`// The land, after Natural Earth's 1:110m land (public domain). Made by tools/coastline.mjs, not by hand: rings of steps of ${STEP}°.

export const STEP = ${STEP};
export const DIGITS = "${DIGITS}";
export const RINGS = "${kept.map(encode).join(" ")}";
`);

/** TopoJSON: arcs are steps on a grid. */
function decodeArc(arc) {
  const { scale, translate } = atlas.transform;
  let [x, y] = [0, 0];
  return arc.map(([dx, dy]) => [(x += dx) * scale[0] + translate[0], (y += dy) * scale[1] + translate[1]]);
}

function rings() {
  const { geometries } = atlas.objects.land;
  const polygons = geometries.flatMap(({ type, arcs }) => (type === "Polygon" ? [arcs] : arcs));
  return polygons.flat().map((ring) => ring.flatMap((arc, i) => (arc < 0 ? [...arcs[~arc]].reverse() : arcs[arc]).slice(i > 0 ? 1 : 0)));
}

function extent(ring, axis) {
  const values = ring.map((point) => point[axis]);
  return { min: Math.min(...values), max: Math.max(...values) };
}

function size(ring) {
  const [x, y] = [extent(ring, 0), extent(ring, 1)];
  return Math.max(x.max - x.min, y.max - y.min);
}

/** Douglas and Peucker's. */
function thin(line, tolerance) {
  const [first, last] = [line[0], line.at(-1)];
  let [far, at] = [0, 0];
  for (let i = 1; i < line.length - 1; i += 1) {
    const distance = away(line[i], first, last);
    if (distance > far) [far, at] = [distance, i];
  }
  if (far <= tolerance) return [first, last];
  return [...thin(line.slice(0, at + 1), tolerance).slice(0, -1), ...thin(line.slice(at), tolerance)];
}

function away([x, y], [ax, ay], [bx, by]) {
  const length = Math.hypot(bx - ax, by - ay);
  return length < 1e-9 ? Math.hypot(x - ax, y - ay) : Math.abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length;
}

/** Each step as two numbers, zigzag, five bits a digit, the low ones first; a digit above 31 says that more follow. */
function encode(ring) {
  let before = [0, 0];
  let text = "";
  for (const point of ring.slice(0, -1).map((point) => point.map((degrees) => Math.round(degrees / STEP)))) {
    for (const axis of [0, 1]) text += number(point[axis] - before[axis]);
    before = point;
  }
  return text;
}

function number(value) {
  let rest = value < 0 ? -value * 2 - 1 : value * 2;
  let text = "";
  while (rest > 31) {
    text += DIGITS[(rest & 31) | 32];
    rest >>= 5;
  }
  return text + DIGITS[rest];
}
