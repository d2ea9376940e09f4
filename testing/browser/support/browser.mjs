// Chromium, and what tests ask of a page in it.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const PATHS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const DESKTOP = { width: 1360, height: 880 };
export const PHONE = { width: 390, height: 844 };

export class Browser {
  static async start() {
    const executablePath = process.env.CHROMIUM ?? PATHS.find(existsSync);
    assert.ok(executablePath, `Chromium is none of ${PATHS.join(", ")}; CHROMIUM can say where it is`);
    const browser = new Browser();
    // CI runs as root, where Chromium's sandbox cannot be.
    browser.chromium = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    return browser;
  }

  /** A page at this address; `before` runs in it before its own scripts. What it complains about is kept for [assertQuiet]. */
  async open(url, { viewport = DESKTOP, scheme = "light", calm = false, before } = {}) {
    const phone = viewport.width < 600;
    const context = await this.chromium.newContext({ viewport, colorScheme: scheme, reducedMotion: calm ? "reduce" : "no-preference", isMobile: phone, hasTouch: phone, locale: "en-US", timezoneId: "Europe/Berlin" });
    if (before) await context.addInitScript(before);
    const page = await context.newPage();
    page.complaints = [];
    page.on("pageerror", (error) => page.complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
    page.on("dialog", (dialog) => {
      page.complaints.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    await page.goto(url);
    return page;
  }

  async stop() {
    await this.chromium.close();
  }
}

/** The page had no error, no dialog, and nothing that its policy refused. */
export function assertQuiet(page) {
  assert.deepEqual(page.complaints, []);
}

/** No rule of axe is broken. It runs beside the page's own policy, which stays as it is. */
export async function assertAccessible(page, what) {
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await session.send("Runtime.evaluate", { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true });
    assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
    return result.value;
  };
  await evaluate(AXE);
  const found = await evaluate(`axe.run({ resultTypes: ["violations"] }).then(({ violations }) => violations.map(({ id, nodes }) => id + ": " + nodes.slice(0, 3).map(({ html, failureSummary }) => html + " " + failureSummary).join("; ")))`);
  assert.deepEqual(found, [], what);
  await session.detach();
}

/** What stands in the first column, top to bottom. */
export function names(page) {
  return page.$$eval("#rows tbody tr.row td:first-child .main", (cells) => cells.map((cell) => cell.textContent));
}

/** Waits until the page says that it is live. */
export async function live(page) {
  await page.waitForSelector('#state[data-state="live"]');
}
