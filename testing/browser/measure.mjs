#!/usr/bin/env node
// What the page costs, by hand: a flood in one browser, and many browsers at once. Prints the figures of docs/performance.md.
//
//   testing/browser/measure.mjs [rows a second for many] [browsers] [seconds]

import { readFileSync } from "node:fs";
import { get } from "node:http";
import { Browser, live } from "./support/browser.mjs";
import { flood, frames, watchFrames } from "./support/flood.mjs";
import { until } from "./support/process.mjs";
import { Site } from "./support/site.mjs";

/** Linux's clock tick. */
const TICKS_PER_SECOND = 100;
const FLOOD = 10_000;

const [rate = 100, browsers = 200, seconds = 20] = process.argv.slice(2).map(Number);

await oneBrowser();
await manyBrowsers();

async function oneBrowser() {
  const [site, browser] = await Promise.all([Site.start(), Browser.start()]);
  const page = await browser.open(site.url, { before: watchFrames });
  await live(page);
  await frames(page);
  const before = cpu(site);
  const made = await flood(site.redis, FLOOD, seconds);
  const seen = await frames(page);
  const used = (cpu(site) - before) / seconds;
  await until("every row was sent", () => page.evaluate((wanted) => globalThis.received >= wanted, made.added));
  console.log(`one browser, ${Math.round(made.rate)} rows/s for ${seconds} s: ${seen.count} frames, p99 ${seen.p99} ms, longest ${seen.longest} ms; the server took ${used.toFixed(2)} cores`);
  await Promise.all([site.stop(), browser.stop()]);
}

async function manyBrowsers() {
  const site = await Site.start();
  const streams = await Promise.all(Array.from({ length: browsers }, () => stream(site.url)));
  const [before, bytesBefore] = [cpu(site), sum(streams)];
  const made = await flood(site.redis, rate, seconds);
  const used = (cpu(site) - before) / seconds;
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const megabytes = (sum(streams) - bytesBefore) / 1e6 / seconds;
  console.log(`${browsers} streams, ${Math.round(made.rate)} rows/s for ${seconds} s: the server took ${used.toFixed(2)} cores and sent ${megabytes.toFixed(1)} MB/s`);
  for (const { request } of streams) request.destroy();
  await site.stop();
}

/** An open stream of rows, as a browser has it; counts its bytes. */
function stream(url) {
  return new Promise((resolve) => {
    const counted = { bytes: 0 };
    counted.request = get(`${url}/api/stream`, { agent: false }, (answer) => {
      answer.on("data", (data) => (counted.bytes += data.length));
      answer.on("error", () => {});
      resolve(counted);
    });
    counted.request.on("error", () => {});
  });
}

function sum(streams) {
  return streams.reduce((all, { bytes }) => all + bytes, 0);
}

/** Seconds of processor time that the server has taken. */
function cpu(site) {
  const fields = readFileSync(`/proc/${site.process.child.pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
