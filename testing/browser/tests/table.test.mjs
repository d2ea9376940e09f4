// The table, as somebody uses it: rows come, are held back, found, sorted, opened, turned over.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertQuiet, Browser, live, names } from "../support/browser.mjs";
import { until } from "../support/process.mjs";
import { people, person } from "../support/rows.mjs";
import { Site } from "../support/site.mjs";

let site;
let browser;
before(async () => {
  [site, browser] = await Promise.all([Site.start(), Browser.start()]);
  await site.redis.add(people(120));
});
after(() => Promise.all([site?.stop(), browser?.stop()]));

async function open(path = "/") {
  const page = await browser.open(site.url + path);
  await live(page);
  await page.waitForSelector("#rows tbody tr.row, #empty:not([hidden])");
  return page;
}

async function close(page) {
  assertQuiet(page);
  await page.context().close();
}

test("rows appear on top by themselves, in every browser", async () => {
  const [one, other] = [await open(), await open()];
  assert.equal((await names(one)).length, 50);
  await site.redis.add([person("somebody new")]);
  for (const page of [one, other]) {
    await until("the new row is on top", async () => (await names(page))[0] === "somebody new");
  }
  assert.deepEqual(await names(one), await names(other));
  await close(one);
  await close(other);
});

test("new rows are held back while someone reads further down", async () => {
  const page = await open();
  const top = (await names(page))[0];
  await page.mouse.wheel(0, 1500);
  await page.waitForFunction(() => scrollY > 800);
  await site.redis.add(people(12, 1000));
  await until("the pill says how many", async () => (await page.textContent("#pill")) === "↑ 12 new");
  assert.equal((await names(page))[0], top, "nothing moved");
  await page.click("#pill");
  await until("they are on top", async () => (await names(page))[0] === "person 1011");
  assert.ok(await page.isHidden("#pill"));
  await page.waitForFunction(() => scrollY === 0);
  await close(page);
});

test("a pause holds rows back until it ends", async () => {
  const page = await open();
  await page.click("#pause");
  await site.redis.add([person("after the pause")]);
  await until("the pill says so", async () => (await page.textContent("#pill")) === "↑ 1 new");
  await page.click("#pause");
  await until("it is on top", async () => (await names(page))[0] === "after the pause");
  await close(page);
});

test("text and key find rows, new ones too, and stand in the address", async () => {
  await site.redis.add([person("a needle", { text: "Straße nach Łódź" }), person("from far away", { key: "Łódź" })]);
  const page = await open();
  await page.fill("#text", "straße NACH");
  await until("only what matches is left", async () => (await names(page)).join() === "a needle");
  await site.redis.add([person("no match"), person("a second needle", { text: "eine STRASSE nach nirgendwo, eine Straße nach Hause" })]);
  await until("a new row that matches comes", async () => (await names(page)).join() === "a second needle,a needle");
  await page.fill("#text", "");
  await page.fill("#key", "Łódź");
  await until("only that key is left", async () => (await names(page)).join() === "from far away");
  assert.match(page.url(), /\?key=%C5%81%C3%B3d%C5%BA$/);
  await page.reload();
  await until("the address says what was looked for", async () => (await names(page)).join() === "from far away");
  await page.fill("#key", "nowhere at all");
  await page.waitForSelector("#empty:not([hidden])");
  assert.match(await page.textContent("#empty"), /Nothing matches/);
  await page.click("#empty button");
  await until("all rows are back", async () => (await names(page)).length === 50);
  await close(page);
});

test("a heading sorts, both ways, and back", async () => {
  await site.redis.add([9, 100, 20].map((fare) => person(`pays ${fare}`, { fare, key: "sorted" })));
  const page = await open("/?key=sorted");
  const price = page.getByRole("button", { name: "Price" });
  const order = () => names(page).then((all) => all.map((name) => name.split(" ")[1]).join());
  assert.equal(await order(), "20,100,9");
  await price.click();
  assert.equal(await order(), "9,20,100");
  assert.equal(await page.getAttribute('th[aria-sort]', "aria-sort"), "ascending");
  await price.click();
  assert.equal(await order(), "100,20,9");
  await price.click();
  assert.equal(await order(), "20,100,9");
  await close(page);
});

test("a row opens by keyboard and shows both originals, times and its place", async () => {
  await site.redis.add([person("opened", { key: "keyboard" }), person("below", { key: "keyboard" })]);
  const page = await open("/?key=keyboard");
  await page.focus("#rows tbody tr.row .toggle");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  const panel = page.locator("tr.originals");
  assert.match(await panel.innerText(), /"name": "opened"/);
  assert.match(await panel.innerText(), /"totalFare": 99.5/);
  for (const fact of ["Foreign event", "Primary event", "Joined", "Waited for its partner", "Attempts", "Log position"]) {
    assert.match(await panel.innerText(), new RegExp(fact));
  }
  assert.equal(await page.getAttribute('.toggle[aria-expanded="true"]', "aria-label"), "Originals of opened");
  await page.keyboard.press("Escape");
  assert.equal(await panel.count(), 0);
  await close(page);
});

test("older pages are turned to without gap or repeat, and back", async () => {
  const page = await open("/?q=person");
  const all = [];
  for (;;) {
    all.push(...(await names(page)));
    if (await page.isDisabled("#older")) break;
    const first = (await names(page))[0];
    await page.click("#older");
    await until("the next page", async () => (await names(page))[0] !== first);
  }
  const wanted = [...people(120), ...people(12, 1000)].map(({ foreign }) => foreign.user.name).reverse();
  assert.deepEqual(new Set(all), new Set(wanted));
  assert.equal(all.length, wanted.length);
  await page.click("#newer");
  await page.click("#newer");
  await until("the newest page is back", async () => (await names(page))[0] === "person 1011");
  await close(page);
});

test("columns are as they were configured", async () => {
  const page = await open();
  assert.deepEqual(await page.$$eval("thead th", (all) => all.map((th) => th.textContent)), ["Name", "Text", "Departure", "Price", "Sent", "Where"]);
  assert.equal(await page.$eval("thead th:nth-child(2)", (th) => th.style.width), "30em");
  assert.equal(await page.textContent("tbody tr.row td.money .main"), "$99.50");
  assert.equal(await page.$eval("tbody tr.row td.money", (td) => getComputedStyle(td).textAlign), "right");
  assert.match(await page.textContent("tbody tr.row td.time"), /Nov 25/);
  await close(page);
});
