// The stream of rows under an open page: the server is killed, Redis is emptied, and nobody misses or repeats anything.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser, live, names } from "../support/browser.mjs";
import { until } from "../support/process.mjs";
import { people } from "../support/rows.mjs";
import { Site } from "../support/site.mjs";

const ROUNDS = 3;
const ROWS = 12;

let site;
let browser;
before(async () => {
  [site, browser] = await Promise.all([Site.start(), Browser.start()]);
});
after(() => Promise.all([site?.stop(), browser?.stop()]));

/** Notes every row that the page is sent: the table itself would hide a repeat. */
function spy() {
  globalThis.sent = [];
  const Real = EventSource;
  globalThis.EventSource = class extends Real {
    constructor(...args) {
      super(...args);
      this.addEventListener("rows", (event) => globalThis.sent.push(...JSON.parse(event.data).map(({ partition, offset }) => `${partition}-${offset}`)));
    }
  };
}

test("a killed server leaves no gap and no repeat under an open page", async () => {
  const page = await browser.open(site.url, { before: spy });
  await live(page);
  const [sent, shown] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    const add = async (first) => {
      const rows = await site.redis.add(people(ROWS, first));
      sent.push(...rows.map(({ partition, offset }) => `${partition}-${offset}`));
      shown.unshift(...rows.map(({ foreign }) => foreign.user.name).reverse());
    };
    await add(round * 100);
    await until("they are shown", async () => (await names(page)).length === shown.length);
    await site.kill();
    await page.waitForSelector('#state:not([data-state="live"])');
    await add(round * 100 + 50);
    await site.serve();
    await live(page);
    await until("what came meanwhile is shown", async () => (await names(page)).length === shown.length);
  }
  assert.deepEqual(new Set(await names(page)), new Set(shown));
  const got = await page.evaluate(() => globalThis.sent);
  for (const partition of ["0-", "1-"]) {
    const of = (places) => places.filter((place) => place.startsWith(partition));
    assert.deepEqual(of(got), of(sent), "each once, in the log's order");
  }
});

test("a page that is opened while Redis is away helps itself once it is back", async () => {
  const alone = await Site.start();
  await alone.redis.process.kill();
  const page = await browser.open(alone.url);
  await page.waitForSelector("#notice:not([hidden])");
  assert.match(await page.textContent("#notice"), /Nothing is lost/);
  await page.waitForSelector("#empty:not([hidden])");
  assert.match(await page.textContent("#empty"), /out of reach/);
  await alone.stop();
});
