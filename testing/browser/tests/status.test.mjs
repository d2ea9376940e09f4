// The status page: charts that outlive a reload, and troubles that say what to do.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertQuiet, Browser } from "../support/browser.mjs";
import { Demo } from "../support/demo.mjs";
import { until } from "../support/process.mjs";
import { Site } from "../support/site.mjs";

let demo;
let site;
let browser;
before(async () => {
  [demo, site, browser] = await Promise.all([Demo.start(), Site.start(), Browser.start()]);
});
after(() => Promise.all([demo?.stop(), site?.stop(), browser?.stop()]));

const drawn = (page, chart) => page.$eval(`figure.chart:nth-child(${chart}) path.line`, (path) => path.getAttribute("d").split("L").length);

test("charts show what was before the page was opened", async () => {
  const page = await browser.open(`${demo.url}/status`);
  await until("lines are drawn", async () => (await drawn(page, 1)) >= 3 && (await drawn(page, 3)) >= 3);
  const before = await drawn(page, 1);
  await page.reload();
  await until("they are there at once", async () => (await drawn(page, 1)) >= before, 4000);
  assert.match(await page.getAttribute("figure.chart svg", "aria-label"), /^Joined per second, last quarter of an hour\. now [\d.]+, from/i);
  await page.hover("figure.chart:nth-child(1) .plot", { position: { x: 300, y: 60 } });
  const right = await page.$eval("figure.chart:nth-child(1) .plot", (plot) => plot.clientWidth - 3);
  await page.hover("figure.chart:nth-child(1) .plot", { position: { x: right, y: 60 } });
  assert.match(await page.textContent("figure.chart:nth-child(1) .tip"), /^\d\d:\d\d:\d\d [AP]M · /);
  assertQuiet(page);
});

test("every process is listed with version and age, and well", async () => {
  const page = await browser.open(`${demo.url}/status`);
  await until("all are ready", async () => (await page.textContent("#state-text")) === "all well");
  const roles = await page.$$eval("#roles tr", (rows) => rows.map((row) => row.innerText.replace(/\s+/g, " ")));
  assert.deepEqual(roles.map((row) => row.split(" ")[0]), ["registry", "joiner", "dispatcher", "publisher", "web"]);
  for (const row of roles.slice(0, 4)) assert.match(row, /✓ ?ready \d+\.\d+\.\d+ [\d.]+ MB [\d.]+ s|min/);
  assert.ok(await page.isHidden("#troubles"));
  assert.match(await page.textContent("#ages"), /less than 1 s/);
  assertQuiet(page);
});

test("what is red says what to do, and where to read on", async () => {
  const page = await browser.open(`${site.url}/status`);
  await page.waitForSelector("#trouble-list li");
  const text = await page.innerText("#trouble-list");
  for (const role of ["registry", "joiner", "dispatcher", "publisher"]) {
    assert.match(text, new RegExp(`The ${role} does not answer[^]*Start it \\(rtf ${role} -c rtf.toml\\)`));
  }
  assert.equal(await page.textContent("#state-text"), "needs attention");
  const links = await page.$$eval("#trouble-list a", (all) => all.map((a) => a.href));
  assert.equal(links.length, 4);
  for (const link of new Set(links)) {
    await page.goto(link);
    const heading = new URL(link).hash.slice(1);
    assert.ok(heading === "" || (await page.locator(`[id="${heading}"]`).count()) === 1, link);
  }
  assertQuiet(page);
});

test("a row store that is away is said, and that nothing is lost", async () => {
  await site.redis.process.kill();
  const page = await browser.open(`${site.url}/status`);
  await until("it is said", async () => (await page.innerText("#trouble-list")).includes("The row store does not answer"));
  assert.match(await page.innerText("#trouble-list"), /nothing is lost/);
});
