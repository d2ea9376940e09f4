// The status page: the figures every two seconds, with the last ten minutes as lines.

import { element, setText } from "./cells.js";
import { known, showFigures, showNotice, showState, sum, watchStatus } from "./figures.js";
import * as numbers from "./numbers.js";
import { draw, History } from "./spark.js";

/** Ten minutes of a figure every two seconds. */
const HISTORY = 300;
/** A partition with more to read than this is shown in red. */
const LATE_RECORDS = 10_000;
/** Partitions shown of a topic. */
const LANES_MAX = 64;

const $ = (id) => document.getElementById(id);
const history = Object.fromEntries(["rate", "p50", "p99", "waiting"].map((name) => [name, new History(HISTORY)]));

watchStatus((status) => {
  if (!status) {
    showState("connecting", "connecting");
    return showNotice("The server does not answer. The figures below are from before; trying again every two seconds.");
  }
  showState("live");
  showNotice(trouble(status));
  showFigures(status);
  showCharts(status);
  showOutcomes(status);
  showRoles(status);
  showStores(status);
  showLag(status);
});

function trouble(status) {
  if (status.error) return `The figures are not known: ${status.error}`;
  const store = status.web?.store;
  return store?.ok === false ? `No new rows for now: ${store.reason}. The join goes on; the table shows them when that is over.` : null;
}

function showCharts(status) {
  const { p50, p99 } = status.latency_seconds ?? {};
  const now = { rate: status.joins_per_second, p50, p99, waiting: status.waiting };
  for (const [name, value] of Object.entries(now)) history[name].push(value);
  chart("chart-rate", numbers.rate, history.rate);
  chart("chart-latency", numbers.seconds, history.p50, history.p99);
  chart("chart-waiting", numbers.count, history.waiting);
}

function chart(id, words, ...lines) {
  const host = $(id);
  if (!lines.some((line) => line.values.some(Number.isFinite))) {
    return host.replaceChildren(element("p", "", "not known here"));
  }
  host.querySelector("p")?.remove();
  const top = host.querySelector(".top") ?? host.appendChild(element("span", "top"));
  setText(top, `up to ${words(draw(host, ...lines))}`);
}

function showOutcomes(status) {
  const reasons = Object.entries(status.unjoinable ?? {});
  list("outcomes", [
    ["Joined", known(status.joined, numbers.count)],
    ["Unjoinable", status.unjoinable && numbers.count(sum(status.unjoinable))],
    ...reasons.map(([reason, n]) => [`· ${reason.replaceAll("_", " ")}`, numbers.count(n)]),
    ["Malformed", known(status.malformed, numbers.count)],
    ["Duplicates dropped", known(status.duplicates, numbers.count)],
    ["Waiting", known(status.waiting, numbers.count)],
    ["Oldest waiting", known(status.oldest_waiting_seconds, numbers.seconds)],
  ]);
}

function showStores(status) {
  const { web = {} } = status;
  list("stores", [
    ["Row store", web.store?.ok ? "answers" : "away"],
    ["Rows still to publish", known(status.publisher_lag, numbers.count)],
    ["Ids remembered", known(status.registry_ids, numbers.count)],
    ["Log partitions", known(web.partitions, numbers.count)],
    ["Open pages", known(web.sse_clients, numbers.count)],
    ["Up for", known(web.uptime_seconds, numbers.seconds)],
    ["Version", web.version],
  ]);
}

function list(id, entries) {
  const shown = entries.filter(([, value]) => value !== undefined);
  $(id).replaceChildren(...shown.map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value))));
}

function showRoles(status) {
  const roles = status.roles ?? [];
  const items = roles.map(({ role, ready, reason }) => {
    const mark = element("span", "mark", ready ? "✓" : "!");
    mark.setAttribute("aria-hidden", "true");
    const item = element("li", ready ? "" : "bad", mark, element("span", "", role), element("span", "word", ready ? "ready" : "not ready"));
    if (!ready && reason) item.append(element("span", "why", reason));
    return item;
  });
  $("roles").replaceChildren(...(items.length > 0 ? items : [element("li", "quiet", "not known here")]));
}

function showLag(status) {
  const topics = Object.entries(status.lag ?? {}).map(([topic, partitions]) => {
    const lanes = Object.entries(partitions).sort(([a], [b]) => a - b);
    const total = element("span", "", ` ${numbers.count(sum(partitions))} in all`);
    const items = lanes.slice(0, LANES_MAX).map(([partition, records]) => element("li", records > LATE_RECORDS ? "late" : "", `p${partition} `, element("b", "", numbers.count(records))));
    return element("section", "topic", element("h3", "", topic, total), element("ul", "lanes", ...items));
  });
  $("lag").replaceChildren(...(topics.length > 0 ? topics : [element("p", "quiet", "not known here")]));
}
