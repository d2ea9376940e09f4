// The look-up page: where an event is, from the table and by hand.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, assertQuiet, Browser } from "../support/browser.mjs";
import { Demo } from "../support/demo.mjs";
import { until } from "../support/process.mjs";

let demo;
let browser;
before(async () => {
  [demo, browser] = await Promise.all([Demo.start(), Browser.start()]);
});
after(() => Promise.all([demo?.stop(), browser?.stop()]));

test("a joined event shows its row, its partners and its place", async () => {
  const [row] = await demo.rows();
  const page = await browser.open(`${demo.url}/lookup`, { calm: true });
  await page.fill("#id", row.id);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".verdict.good");
  const answer = await page.innerText("#answer");
  assert.match(answer, /^Joined/);
  assert.ok(answer.includes(`partition ${row.partition}, offset ${row.offset.toLocaleString("en-US")}`), answer);
  assert.ok(answer.includes(row.foreign.user.name) && answer.includes(row.primary[0].airline), answer);
  assert.match(page.url(), /\?id=/);
  await assertAccessible(page, "an answer");
  assertQuiet(page);
});

test("a row of the table leads there", async () => {
  const page = await browser.open(demo.url);
  await page.click("tr.row .toggle");
  await page.click("tr.originals .onward a");
  await page.waitForSelector(".verdict.good");
  assertQuiet(page);
});

test("an event that waits says since when, how often it was tried, and when it is tried again", async () => {
  const page = await browser.open(`${demo.url}/lookup`);
  // Some people live where no flight leaves from; which ones is the generator's secret, so places are asked for until one waits.
  const waiting = await until("an event waits", async () => {
    for (let offset = 0; offset < 40; offset += 1) {
      const answer = await fetch(`${demo.url}/api/lookup?id=tweets/${offset % 4}/${Math.floor(offset / 4)}`);
      const found = answer.ok ? await answer.json() : {};
      if (found.state === "waiting") return found;
    }
    return null;
  });
  assert.ok(waiting.attempts > 0 && waiting.due_ts > waiting.first_seen_ts, JSON.stringify(waiting));
  await page.fill("#id", waiting.id);
  await page.keyboard.press("Enter");
  await until("it is said", async () => /Waiting since[^]*Attempts[^]*Next attempt/.test(await page.innerText("#answer")));
  assertQuiet(page);
});

test("an id that nobody knows is not resolved, and that is said", async () => {
  const page = await browser.open(`${demo.url}/lookup?id=nobody`);
  await page.waitForSelector(".verdict.open");
  assert.match(await page.innerText("#answer"), /Not resolved\s+nobody/);
  assert.equal(await page.inputValue("#id"), "nobody");
  await page.fill("#id", (await demo.rows())[0].id);
  await page.click("button.strong");
  await page.waitForSelector(".verdict.good");
  await page.goBack();
  await page.waitForSelector(".verdict.open");
  assertQuiet(page);
});
