// The status page: what needs attention, the last quarter of an hour as charts, and the figures of now.

import { element } from "./cells.js";
import { Chart } from "./chart.js";
import { known, showFigures, showNotice, showState, sum, watchStatus } from "./figures.js";
import * as numbers from "./numbers.js";

const HISTORY_MS = 5000;
const ANSWER_MS = 5000;
/** A partition with more to read than this is shown in red. */
const LATE_RECORDS = 10_000;
/** Partitions shown of a topic. */
const LANES_MAX = 64;

const $ = (id) => document.getElementById(id);

const charts = [
  new Chart("Joined per second", numbers.rate, [{ name: "joins_per_second", label: "" }]),
  new Chart("Latency, later side to visible", numbers.seconds, [{ name: "latency_p50", label: "p50" }, { name: "latency_p99", label: "p99" }]),
  new Chart("Waiting for a partner", numbers.count, [{ name: "waiting", label: "in memory" }, { name: "parked", label: "parked" }]),
  new Chart("Given up or unreadable, per second", numbers.rate, [{ name: "unjoinable_per_second", label: "unjoinable" }, { name: "malformed_per_second", label: "malformed" }]),
  new Chart("Still to read, still to publish", numbers.count, [{ name: "lag", label: "read" }, { name: "publisher_lag", label: "publish" }]),
  new Chart("Ids remembered", numbers.count, [{ name: "registry_ids", label: "" }]),
];
$("charts").append(...charts.map(({ host }) => host));

watchStatus((status) => {
  if (!status) {
    showState("connecting", "connecting");
    return showNotice("The server does not answer. What is below is from before; trying again every two seconds.");
  }
  const troubles = allTroubles(status);
  showState(troubles.length > 0 ? "away" : "live", troubles.length > 0 ? "needs attention" : "all well");
  showNotice(status.error ? `The figures are not known: ${status.error}.` : null);
  showTroubles(troubles);
  showFigures(status);
  showOutcomes(status);
  showAges(status);
  showStores(status);
  showRoles(status);
  showLag(status);
});

async function showHistory() {
  if (!document.hidden) {
    const answer = await fetch("/api/history", { signal: AbortSignal.timeout(ANSWER_MS) }).catch(() => null);
    const history = answer?.ok ? await answer.json().catch(() => null) : null;
    if (history) charts.forEach((chart) => chart.draw(history));
  }
  setTimeout(showHistory, HISTORY_MS);
}
showHistory();

/** What the roles know of, and what only the page sees. */
function allTroubles({ troubles = [], web }) {
  if (web?.store?.ok !== false) return troubles;
  const own = {
    what: `The row store does not answer: ${web.store.reason}`,
    act: "Start it again, or put [redis].url right. The join goes on meanwhile; nothing is lost, and the table fills by itself from the log.",
    see: "failure-modes#redis",
  };
  return [own, ...troubles];
}

function showTroubles(troubles) {
  const words = JSON.stringify(troubles);
  // Built anew only when they change, so that a link keeps the focus.
  if ($("trouble-list").dataset.words === words) return;
  $("trouble-list").dataset.words = words;
  $("troubles").hidden = troubles.length === 0;
  $("trouble-list").replaceChildren(...troubles.map(trouble));
}

function trouble({ what, act, see }) {
  const item = element("li", "", element("strong", "", what), element("p", "", ...coded(act)));
  if (see) {
    const link = element("a", "", "Read on in the manual");
    link.href = `/manual/${see}`;
    item.append(link);
  }
  return item;
}

/** What stands between backticks is to be typed. */
function coded(text) {
  return text.split("`").map((part, i) => (i % 2 === 1 ? element("code", "", part) : part));
}

function showOutcomes(status) {
  const reasons = Object.entries(status.unjoinable ?? {}).filter(([reason]) => reason !== "total");
  list("outcomes", [
    ["Joined", known(status.joined, numbers.count)],
    ["Unjoinable", status.unjoinable && numbers.count(sum(status.unjoinable))],
    ...reasons.map(([reason, n]) => [`· ${reason.replaceAll("_", " ")}`, numbers.count(n)]),
    ["Malformed", known(status.malformed, numbers.count)],
    ["Duplicates dropped", known(status.duplicates, numbers.count)],
    ["Work done twice", known(status.wasted, numbers.count)],
    ["Too old to be joined", known(status.too_old, numbers.count)],
  ]);
}

/** A bar for each age, and what is parked beyond. */
function showAges(status) {
  const ages = Object.entries(status.waiting_by_age ?? {}).sort(([a], [b]) => (Number(a) || Infinity) - (Number(b) || Infinity));
  const parked = Object.entries(status.parked ?? {}).map(([topic, n]) => [`parked in ${topic}`, n]);
  const rows = [...ages.map(([below, n], i) => [ageWords(below, ages[i - 1]?.[0]), n]), ...parked];
  const most = Math.max(1, ...rows.map(([, n]) => n));
  const items = rows.map(([words, n]) => {
    const bar = element("span", "bar-fill");
    bar.style.width = `${(n / most) * 100}%`;
    return element("div", "", element("dt", "", words), element("dd", "", element("span", "bar-room", bar), element("b", "", numbers.count(n))));
  });
  const oldest = status.waiting > 0 ? known(status.oldest_waiting_seconds, (s) => element("p", "quiet", `The oldest has waited for ${numbers.seconds(s)}.`)) : undefined;
  $("ages").replaceChildren(...(items.length > 0 ? [element("dl", "bars", ...items), oldest ?? ""] : [element("p", "quiet", "not known here")]));
}

function ageWords(below, from) {
  if (!Number.isFinite(Number(below))) return `${numbers.seconds(Number(from))} and more`;
  return from === undefined ? `less than ${numbers.seconds(Number(below))}` : `up to ${numbers.seconds(Number(below))}`;
}

function showStores(status) {
  const { web = {} } = status;
  list("stores", [
    ["Row store", web.store?.ok ? "answers" : "away", web.store?.ok === false],
    ["Kafka", kafkaWords(status.roles), false],
    ["Rows still to publish", known(status.publisher_lag, numbers.count)],
    ["Dead letters still to write", known(status.dead_letter_lag, numbers.count)],
    ["Ids remembered", known(status.registry_ids, numbers.count)],
    ["Registry on disk", known(status.registry_disk_bytes, numbers.bytes)],
    ["Primaries held", known(status.primaries, numbers.count)],
    ["Primaries in memory", known(status.primary_bytes, numbers.bytes)],
    ["Primaries on disk", known(status.primary_disk_bytes, numbers.bytes)],
    ["Waiting, in memory", known(status.waiting_bytes, numbers.bytes)],
    ["Log partitions", known(web.partitions, numbers.count)],
    ["Open pages", known(web.sse_clients, numbers.count)],
  ]);
}

/** The page does not know it; those who do say so in what keeps them from being ready. */
function kafkaWords(roles) {
  if (!roles) return undefined;
  return roles.every(({ ready }) => ready) ? "answers every role" : "see the processes";
}

function list(id, entries) {
  const shown = entries.filter(([, value]) => value !== undefined);
  $(id).replaceChildren(...shown.map(([name, value, bad]) => element("div", bad ? "bad" : "", element("dt", "", name), element("dd", "", value))));
}

function showRoles({ roles = [], web = {} }) {
  const own = web.version ? [{ role: "web", ready: true, version: web.version, uptime_seconds: web.uptime_seconds }] : [];
  $("roles").replaceChildren(...[...roles, ...own].map(roleRow));
}

function roleRow({ role, ready, reason, version, uptime_seconds: uptime, memory_bytes: memory }) {
  const mark = element("span", "sign", ready ? "✓" : "!");
  mark.setAttribute("aria-hidden", "true");
  const state = element("td", "", mark, element("span", "word", ready ? "ready" : "not ready"));
  if (!ready && reason) state.append(element("span", "why", reason));
  const name = element("th", "", role);
  name.scope = "row";
  return element("tr", ready ? "" : "bad", name, state, element("td", "", version || "–"), element("td", "end", known(memory, numbers.bytes) ?? "–"), element("td", "end", known(uptime, numbers.seconds) ?? "–"));
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
