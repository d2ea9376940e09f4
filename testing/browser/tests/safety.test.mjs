// What strangers write is text, wherever it stands: in rows, in addresses, in ids.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertQuiet, Browser, live } from "../support/browser.mjs";
import { person } from "../support/rows.mjs";
import { Site } from "../support/site.mjs";

const HOSTILE = `</script><script>alert(1)</script><img src=x onerror=alert(2)>'"><svg onload=alert(3)>`;
const HEBREW = "אני צריך חופשה 🌴";
const OVERRIDE = "abc\u202Edefg\u202C hij";
const EMOJI = "👩🏽‍🚀✈️🏝️ 🇵🇹";

let site;
let browser;
before(async () => {
  [site, browser] = await Promise.all([Site.start(), Browser.start()]);
  await site.redis.add([
    person(HOSTILE, { text: HOSTILE, key: HOSTILE, code: HOSTILE, fare: HOSTILE, foreign: { link: "javascript:alert(4)", created_at: HOSTILE } }),
    person("Hebrew", { text: HEBREW, foreign: { link: "https://example.org/a?b=<c>" } }),
    person("Override", { text: OVERRIDE }),
    person("Emoji", { text: EMOJI }),
    person("given up", { outcome: "unjoinable", reason: HOSTILE }),
  ]);
});
after(() => Promise.all([site?.stop(), browser?.stop()]));

async function open(path) {
  const page = await browser.open(site.url + path);
  await live(page);
  await page.waitForSelector("#rows tbody tr.row");
  return page;
}

test("markup in a row stays text", async () => {
  const page = await open("/");
  const row = page.locator("tr.row", { has: page.locator("td:first-child .main", { hasText: "alert(1)" }) });
  assert.equal(await row.locator("td:first-child .main").textContent(), HOSTILE);
  assert.match(await page.textContent(".outcome"), /onerror=alert/);
  assert.equal(await page.locator("#rows script, #rows img, #rows svg[onload]").count(), 0);
  assert.equal(await row.locator("a").count(), 0, "an address that runs code is no link");
  await row.locator(".toggle").click();
  assert.match(await page.textContent("tr.originals"), /<script>alert\(1\)<\/script>/);
  assertQuiet(page);
});

test("each writing direction keeps to its own text", async () => {
  const page = await open("/");
  const cell = (name) => page.locator("tr.row", { hasText: name }).locator("td:nth-child(2) .main");
  assert.equal(await cell("Hebrew").textContent(), HEBREW);
  assert.equal(await cell("Hebrew").evaluate((node) => getComputedStyle(node).direction), "rtl");
  assert.equal(await cell("Override").textContent(), OVERRIDE);
  assert.equal(await cell("Override").evaluate((node) => getComputedStyle(node).unicodeBidi), "isolate");
  assert.equal(await cell("Emoji").textContent(), EMOJI);
  const lefts = await page.$$eval("tbody tr.row td:nth-child(3)", (cells) => cells.map((td) => Math.round(td.getBoundingClientRect().left)));
  assert.equal(new Set(lefts).size, 1, "no text moves another column");
  assertQuiet(page);
});

test("a link is one only over http, and tells its host nothing", async () => {
  const page = await open("/?q=example.org");
  const link = page.locator("tr.row a");
  assert.equal(await link.getAttribute("href"), "https://example.org/a?b=%3Cc%3E");
  assert.equal(await link.getAttribute("rel"), "noopener noreferrer");
  assertQuiet(page);
});

test("markup in an address stays text", async () => {
  const words = encodeURIComponent(HOSTILE);
  const page = await browser.open(`${site.url}/?q=${words}&key=${words}`);
  await page.waitForSelector("#rows tbody tr.row, #empty:not([hidden])");
  assert.equal(await page.inputValue("#text"), HOSTILE);
  await page.goto(`${site.url}/lookup?id=${words}`);
  await page.waitForSelector("#answer .id");
  assert.equal(await page.textContent("#answer .id"), HOSTILE);
  // That nobody can look it up here is an answer of the server's, and one that the browser notes.
  page.complaints = page.complaints.filter((words) => !words.includes("503"));
  assertQuiet(page);
});

test("the policy lets nothing in that stands in the page", async () => {
  const answer = await fetch(site.url);
  const policy = answer.headers.get("content-security-policy");
  assert.match(policy, /^default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  const page = await open("/");
  const ran = await page.evaluate(() => new Promise((resolve) => {
    document.addEventListener("securitypolicyviolation", () => resolve("refused"));
    const script = document.createElement("script");
    script.textContent = "globalThis.ran = true";
    document.body.append(script);
    setTimeout(() => resolve(globalThis.ran ? "ran" : "nothing happened"), 2000);
  }));
  assert.equal(ran, "refused");
});
