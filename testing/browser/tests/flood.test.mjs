// Ten thousand rows a second arrive: the page stays usable, and ends up with the newest.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertQuiet, Browser, live, names } from "../support/browser.mjs";
import { flood, frames, watchFrames } from "../support/flood.mjs";
import { until } from "../support/process.mjs";
import { Site } from "../support/site.mjs";

const ROWS_PER_SECOND = 10_000;
const SECONDS = 6;
/** The machine that makes the flood shows it as well: this says "not frozen", and no more. */
const FROZEN_MS = 4000;
/** So many must at least have been made for it to be a flood. */
const FLOOD_MIN = 3000;

let site;
let browser;
before(async () => {
  [site, browser] = await Promise.all([Site.start(), Browser.start()]);
});
after(() => Promise.all([site?.stop(), browser?.stop()]));

test("ten thousand rows a second do not freeze the page", async () => {
  const page = await browser.open(site.url, { before: watchFrames });
  await live(page);
  await frames(page);
  const flooding = flood(site.redis, ROWS_PER_SECOND, SECONDS);
  await page.waitForTimeout(2000);
  const pressed = performance.now();
  await page.click("#pause");
  await page.waitForFunction(() => document.getElementById("pause").getAttribute("aria-pressed") === "true");
  const answered = performance.now() - pressed;
  await page.click("#pause");
  const { added, rate } = await flooding;
  const seen = await frames(page);
  console.log(`# ${added} rows at ${Math.round(rate)}/s: ${seen.count} frames, p99 ${seen.p99} ms, longest ${seen.longest} ms; a click was answered after ${Math.round(answered)} ms`);
  assert.ok(rate > FLOOD_MIN, `only ${rate} rows a second were made`);
  assert.ok(seen.longest < FROZEN_MS, `the page stood still for ${seen.longest} ms`);
  assert.ok(answered < FROZEN_MS, `a click was answered after ${answered} ms`);
  await until("every row was sent", () => page.evaluate((wanted) => globalThis.received >= wanted, added));
  assert.equal(await page.evaluate(() => globalThis.received), added, "each once");
  // The last row of either partition; between rows of the same millisecond the order is that of arrival.
  const newest = [`flood ${added - 1}`, `flood ${added - 2}`];
  await until("the newest is on top", async () => newest.includes((await names(page))[0]));
  assert.ok((await names(page)).length <= 500);
  assertQuiet(page);
});
