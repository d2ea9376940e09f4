// The demonstration as a whole in a browser. Makes the README's pictures, too (testing/browser/run --pictures).

import { after, before, test } from "node:test";
import { join } from "node:path";
import { assertAccessible, assertQuiet, Browser, DESKTOP, live, names, PHONE } from "../support/browser.mjs";
import { Demo } from "../support/demo.mjs";
import { until } from "../support/process.mjs";

/** A picture shows what a while of it looks like. */
const WHILE_MS = process.env.RTF_PICTURES ? 90_000 : 0;

let demo;
let browser;
before(async () => {
  [demo, browser] = await Promise.all([Demo.start(), Browser.start()]);
});
after(() => Promise.all([demo?.stop(), browser?.stop()]));

async function picture(page, name) {
  if (process.env.RTF_PICTURES) await page.screenshot({ path: join(process.env.RTF_PICTURES, `${name}.png`) });
}

test("flights are joined, drawn and told of", async () => {
  const page = await browser.open(demo.url, { viewport: DESKTOP });
  await live(page);
  await page.waitForSelector("#map .way path");
  const first = (await names(page))[0];
  await until("rows go on coming", async () => (await names(page))[0] !== first);
  await until("the figures are there", async () => /^[\d,]+$/.test(await page.textContent('[data-figure="joined"] b')));
  await page.waitForTimeout(WHILE_MS);
  // Not in the middle of a flap's turn, and with something in the sky.
  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.waitForFunction(() => document.querySelectorAll(".way").length > 5);
  await picture(page, "table");
  assertQuiet(page);
});

test("dark, on a phone", async () => {
  const page = await browser.open(demo.url, { viewport: PHONE, scheme: "dark", calm: true });
  await live(page);
  await page.waitForSelector("#rows tbody tr.row");
  await assertAccessible(page, "the demonstration");
  assertQuiet(page);
});

test("the status page is well", async () => {
  const page = await browser.open(`${demo.url}/status`, { viewport: { ...DESKTOP, height: 1000 } });
  await until("all are well", async () => (await page.textContent("#state-text")) === "all well");
  await until("lines are drawn", async () => (await page.$eval("path.line", (path) => path.getAttribute("d"))).includes("L"));
  await picture(page, "status");
  assertQuiet(page);
});
