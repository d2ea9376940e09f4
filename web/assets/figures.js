// The figures on top of both pages: asks for them every two seconds and keeps a short history.

import { setText } from "./cells.js";
import * as numbers from "./numbers.js";
import { draw, History } from "./spark.js";

const INTERVAL_MS = 2000;
const ANSWER_MS = 5000;
/** Two minutes. */
const HISTORY = 60;

const rates = new History(HISTORY);

/** Asks for the figures for ever; calls `seen(status)`, or `seen(null)` when they did not come. */
export function watchStatus(seen) {
  const ask = async () => {
    if (!document.hidden) seen(await fetchStatus());
    setTimeout(ask, INTERVAL_MS);
  };
  ask();
}

/** Shows the figures; `measured` is the rate that this page saw itself, for when the server does not know one. */
export function showFigures(status, measured) {
  const rate = status.joins_per_second ?? measured;
  rates.push(rate ?? 0);
  show("rate", rate === undefined ? undefined : numbers.rate(rate));
  draw(document.querySelector('[data-figure="rate"]'), rates);
  const unjoinable = sum(status.unjoinable);
  show("joined", known(status.joined, numbers.count), unjoinable > 0 ? `${numbers.count(unjoinable)} unjoinable` : "");
  const { p50, p99 } = status.latency_seconds ?? {};
  show("latency", known(p50, numbers.seconds), known(p99, (s) => `p50 · p99 ${numbers.seconds(s)}`));
  const oldest = status.waiting > 0 ? known(status.oldest_waiting_seconds, (s) => `oldest ${numbers.seconds(s)}`) : "";
  show("waiting", known(status.waiting, numbers.count), oldest);
}

/** The sum of an object's numbers. */
export function sum(object) {
  return Object.values(object ?? {}).reduce((all, n) => all + n, 0);
}

/** A number in words, or undefined. */
export function known(value, words) {
  return Number.isFinite(value) ? words(value) : undefined;
}

/** Puts the page's state into its lamp: live, connecting, away or paused. */
export function showState(state, words = state) {
  document.getElementById("state").dataset.state = state;
  setText(document.getElementById("state-text"), words);
}

/** Says what is wrong, or takes it back. */
export function showNotice(text) {
  const notice = document.getElementById("notice");
  setText(notice, text ?? "");
  notice.hidden = !text;
}

async function fetchStatus() {
  try {
    const answer = await fetch("/api/status", { signal: AbortSignal.timeout(ANSWER_MS) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function show(name, text = "–", detail = "") {
  const box = document.querySelector(`[data-figure="${name}"]`);
  setText(box.querySelector("b"), text);
  setText(box.querySelector("small"), detail);
}
