// A flood of rows, and how a page takes it.

import { person } from "./rows.mjs";

const TICK_MS = 50;

/** Adds rows at this rate for so long; says how many, and how many a second they became. */
export async function flood(redis, perSecond, seconds) {
  const start = performance.now();
  let added = 0;
  while (performance.now() - start < seconds * 1000) {
    const due = Math.floor(((performance.now() - start) / 1000) * perSecond) - added;
    if (due > 0) {
      const rows = Array.from({ length: due }, (_, i) => person(`flood ${added + i}`, { partition: (added + i) % 2 }));
      await redis.add(rows);
      added += due;
    }
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  return { added, rate: added / ((performance.now() - start) / 1000) };
}

/** Runs in the page, before its own scripts: notes the time between frames, and every row that is sent. */
export function watchFrames() {
  globalThis.frames_ms = [];
  globalThis.received = 0;
  let last = performance.now();
  const frame = (now) => {
    globalThis.frames_ms.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  const Real = EventSource;
  globalThis.EventSource = class extends Real {
    constructor(...args) {
      super(...args);
      this.addEventListener("rows", (event) => (globalThis.received += JSON.parse(event.data).length));
    }
  };
}

/** The longest and the 99th percentile of the frames so far; then they are forgotten. */
export async function frames(page) {
  const all = await page.evaluate(() => globalThis.frames_ms.splice(0));
  all.sort((a, b) => a - b);
  return { count: all.length, longest: Math.round(all.at(-1)), p99: Math.round(all[Math.floor(all.length * 0.99)]) };
}
