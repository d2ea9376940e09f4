// How the pages look and behave for everybody: light and dark, phone and wide, keyboard, screen reader, calm, light in weight.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, assertQuiet, Browser, DESKTOP, live, names, PHONE } from "../support/browser.mjs";
import { until } from "../support/process.mjs";
import { people, person } from "../support/rows.mjs";
import { Site } from "../support/site.mjs";

/** What comes over the wire for a first look, all files together. */
const FIRST_LOAD_BYTES = 100 * 1024;
const PATHS = ["/", "/status", "/lookup", "/manual/operations"];

let site;
let browser;
before(async () => {
  [site, browser] = await Promise.all([Site.start({ map: true }), Browser.start()]);
  await site.redis.add([...people(30), person("a-name-that-is-far-too-long-to-fit-".repeat(4), { text: "word".repeat(90) })]);
});
after(() => Promise.all([site?.stop(), browser?.stop()]));

async function open(path, options) {
  const page = await browser.open(site.url + path, options);
  if (path === "/") await page.waitForSelector("#rows tbody tr.row");
  if (path === "/status") await page.waitForSelector("#roles tr");
  return page;
}

/** The colours that a page is painted with, as brightness from 0 to 1. */
function brightness(page, selector) {
  return page.$eval(selector, (node) => {
    const [r, g, b] = getComputedStyle(node).backgroundColor.match(/[\d.]+/g).map(Number);
    return (0.299 * r + 0.587 * g + 0.114 * b) / 255;
  });
}

for (const path of PATHS) {
  for (const [scheme, viewport, name] of [["light", DESKTOP, "wide"], ["dark", DESKTOP, "wide"], ["light", PHONE, "phone"], ["dark", PHONE, "phone"]]) {
    test(`${path} is accessible, ${scheme}, ${name}`, async () => {
      // Colours in motion are no colours to measure.
      const page = await open(path, { viewport, scheme, calm: true });
      await assertAccessible(page, path);
      const { wide, room } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, room: document.documentElement.clientWidth }));
      assert.ok(wide <= room, `${path} is ${wide} wide where there are ${room}`);
      const ground = await brightness(page, "body");
      assert.ok(scheme === "dark" ? ground < 0.2 : ground > 0.8, `the ground is ${ground} bright`);
      assertQuiet(page);
      await page.context().close();
    });
  }
}

test("an open row, an empty table and troubles are accessible too", async () => {
  const page = await open("/", { calm: true });
  await page.click("tr.row .toggle");
  await assertAccessible(page, "an open row");
  await page.goto(`${site.url}/?q=nothing+has+this`);
  await page.waitForSelector("#empty:not([hidden])");
  await assertAccessible(page, "an empty table");
  await page.goto(`${site.url}/status`);
  await page.waitForSelector("#trouble-list li");
  await assertAccessible(page, "troubles");
  await page.context().close();
});

test("on a phone rows are cards, without what was not wanted there", async () => {
  const page = await open("/", { viewport: PHONE });
  assert.equal(await page.$eval("tbody tr.row", (row) => getComputedStyle(row).display), "grid");
  assert.ok(await page.isHidden("thead"));
  assert.ok(await page.isHidden("tbody tr.row td.time"));
  assert.ok(await page.isVisible("tbody tr.row td.money"));
  await page.context().close();
});

test("everything is reached by keyboard, the table with one stop", async () => {
  const page = await open("/", { calm: true });
  const stops = [];
  for (let i = 0; i < 30; i += 1) {
    await page.keyboard.press("Tab");
    stops.push(await page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.textContent));
  }
  assert.equal(stops[0], "skip");
  for (const wanted of ["text", "key", "pause", "Name", "Price", "toggle"]) {
    assert.ok(stops.includes(wanted), `${wanted} is not among ${stops}`);
  }
  assert.equal(stops.filter((stop) => stop === "toggle").length, 1);
  await page.context().close();
});

test("who wants no motion gets none", async () => {
  const page = await open("/", { calm: true });
  await live(page);
  await site.redis.add([person("calmly")]);
  await until("the row is there", async () => (await names(page))[0] === "calmly");
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  await page.context().close();
  const lively = await open("/");
  await live(lively);
  await site.redis.add([person("lively")]);
  await until("the row is there", async () => (await names(lively))[0] === "lively");
  assert.ok((await lively.evaluate(() => document.getAnimations().length)) > 0);
  await lively.context().close();
});

test("times are told in the reader's zone, and relatively", async () => {
  await site.redis.add([person("on time", { foreign: { created_at: new Date(Date.now() - 125_000).toISOString() } }), person("noon", { foreign: { created_at: "2020-06-01T12:00:00Z" } })]);
  const page = await open("/");
  const time = (name) => page.locator("tr.row", { hasText: name }).locator("time");
  assert.match(await time("on time").innerText(), /^2 minutes ago/);
  assert.match(await time("noon").innerText(), /02:00 PM/, "Berlin is two hours ahead in summer");
  assert.match(await time("noon").getAttribute("title"), /GMT\+2/);
  await page.context().close();
});

for (const path of PATHS) {
  test(`${path} comes in less than ${FIRST_LOAD_BYTES / 1024} KB, and a second time in next to nothing`, async () => {
    const page = await browser.open("about:blank");
    const session = await page.context().newCDPSession(page);
    await session.send("Network.enable");
    let bytes = 0;
    session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
    await page.goto(site.url + path, { waitUntil: "load" });
    await page.waitForTimeout(500);
    const first = bytes;
    assert.ok(first > 5000 && first <= FIRST_LOAD_BYTES, `${first} bytes`);
    bytes = 0;
    await page.goto("about:blank");
    await page.goto(site.url + path, { waitUntil: "load" });
    await page.waitForTimeout(500);
    assert.ok(bytes < first / 2, `${bytes} bytes after ${first}`);
    console.log(`# ${path}: ${first} bytes at first, ${bytes} when it is known`);
    await page.context().close();
  });
}
