// The map: geometry first, without a browser; then rows that are drawn, and pages that have none.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertQuiet, Browser, DESKTOP, live } from "../support/browser.mjs";
import { module } from "../support/module.mjs";
import { person } from "../support/rows.mjs";
import { Site } from "../support/site.mjs";

const { greatCircle, land, mercator, View } = await module("globe.js");
const JFK = [40.64, -73.78];
const NARITA = [35.76, 140.39];

function near([a, b], [c, d], tolerance = 0.01) {
  assert.ok(Math.abs(a - c) < tolerance && Math.abs(b - d) < tolerance, `${[a, b]} is not ${[c, d]}`);
}

test("a great circle is the shortest way", () => {
  const way = greatCircle(JFK, NARITA);
  near(way[0], JFK);
  near(way.at(-1), NARITA);
  assert.ok(Math.max(...way.map(([north]) => north)) > 65, "from New York to Tokyo one flies over Alaska");
  const equator = greatCircle([0, 0], [0, 90]);
  for (const [north] of equator) near([north, 0], [0, 0], 1e-9);
  near(greatCircle([10, 20], [10, 20])[0], [10, 20]);
});

test("Mercator's map has the equator in its middle", () => {
  near(mercator([0, 0]), [0, 0], 1e-9);
  near(mercator([0, 180]), [0.5, 0], 1e-9);
  assert.ok(mercator([60, 0])[1] < 0, "north is up");
  near([mercator([60, 0])[1], 0], [-mercator([-60, 0])[1], 0], 1e-9);
  assert.ok(Number.isFinite(mercator([90, 0])[1]));
});

test("a view shows all points with room around them", () => {
  const view = new View([JFK, [33.94, -118.4]], 600, 300, { x: 30, y: 20 });
  for (const point of [JFK, [33.94, -118.4]]) {
    const [x, y] = view.at(point);
    assert.ok(x >= 29.9 && x <= 570.1 && y >= 19.9 && y <= 280.1, `${x}, ${y}`);
  }
  assert.equal(view.path([[0, 179], [0, -179]]).match(/M/g).length, 2, "the date line is not crossed over the whole map");
});

test("the land is where it is", () => {
  const rings = land();
  assert.ok(rings.length > 60);
  for (const [north, east] of rings.flat()) assert.ok(Math.abs(north) <= 90 && Math.abs(east) <= 180.2, `${north}, ${east}`);
  const inside = ([north, east]) => rings.some((ring) => encloses(ring, north, east));
  for (const town of [[39.1, -94.6], [52.5, 13.4], [-23.5, -46.6], [-25.3, 131], [0.3, 32.6]]) assert.ok(inside(town), `${town}`);
  for (const sea of [[30, -40], [0, -150], [-40, 80]]) assert.ok(!inside(sea), `${sea}`);
});

function encloses(ring, north, east) {
  return ring.reduce((within, [n, e], i) => {
    const [m, f] = ring.at(i - 1);
    return n > north !== m > north && east < ((f - e) * (north - n)) / (m - n) + e ? !within : within;
  }, false);
}

let site;
let browser;
before(async () => {
  [site, browser] = await Promise.all([Site.start({ map: true }), Browser.start()]);
});
after(() => Promise.all([site?.stop(), browser?.stop()]));

test("a row with places is drawn as a way from one to the other; one without is not", async () => {
  const page = await browser.open(site.url);
  await live(page);
  await page.waitForSelector("#map .land");
  await site.redis.add([
    person("lost", { foreign: { lat: null, lon: "" } }),
    person("beyond", { foreign: { lat: 91, lon: 0 } }),
    person("unknown airport", { code: "XXX", foreign: { lat: 40.64, lon: -73.78 } }),
    person("flies", { code: "SEA", foreign: { lat: 40.64, lon: -73.78 } }),
  ]);
  await page.waitForSelector("#map .way path");
  assert.equal(await page.locator("#map .way").count(), 1);
  const path = await page.getAttribute("#map .way path", "d");
  assert.ok(path.split("L").length > 10, "a curve has many points");
  const seattle = await page.$eval("#map", (map) => [...map.querySelectorAll(".dot")].find((dot) => dot.textContent.startsWith("SEA")).getAttribute("cx"));
  assert.ok(Math.abs(Number(path.split("L").at(-1).split(" ")[0]) - Number(seattle)) < 0.2, "it ends in Seattle");
  assert.match(await page.getAttribute("#map svg", "aria-label"), /^Map of the newest rows between 17 places; 1 drawn/);
  await page.setViewportSize({ ...DESKTOP, width: 700 });
  await page.waitForFunction(() => {
    const { width, height } = document.getElementById("map").getBoundingClientRect();
    return document.querySelector("#map svg").getAttribute("viewBox") === `0 0 ${width} ${height}` && width > 600 && width <= 700;
  });
  assertQuiet(page);
});

test("where no places are configured there is no map, nor its weight", async () => {
  const plain = await Site.start();
  const page = await browser.open(plain.url);
  const files = [];
  page.on("request", (request) => files.push(request.url()));
  await page.reload();
  await live(page);
  assert.equal(await page.locator("#map").count(), 0);
  assert.deepEqual(files.filter((file) => /map\.(js|css)|coastline|globe/.test(file)), []);
  await plain.stop();
});
