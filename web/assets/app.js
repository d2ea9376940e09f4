// The table page: new rows on top as they come, held back while someone reads; search, key, sort, older pages.

import * as cursor from "./cursor.js";
import { element, setText } from "./cells.js";
import { showFigures, showNotice, showState, watchStatus } from "./figures.js";
import { Live } from "./live.js";
import * as numbers from "./numbers.js";
import { ROWS_MAX, Table } from "./table.js";

const PAGE_ROWS = 50;
/** New rows are shown together, at most this often. */
const SHOW_MS = 160;
/** More at once are a flood: the newest page is shown instead, and less often. */
const FLOOD_ROWS = 100;
const FLOOD_MS = 600;
const SPEAK_MS = 10_000;
const TYPING_MS = 250;
const ANSWER_MS = 12_000;
const RETRY_MS = 2000;
const KEYS_MAX = 200;

const $ = (id) => document.getElementById(id);
const table = new Table($("rows"), changed);
const live = new Live({ rows: arrive, state: connection });
/** Only where rows have coordinates: it brings the coasts of the world along. */
const map = $("map") && import("./map.js").then(({ WorldMap }) => new WorldMap($("map")));
const filter = { text: "", key: "" };

/** Cursors of the older pages that were opened, the last is on show; none: the live page. */
const pages = [];
/** Where rows older than the page on show begin; null when there are none. */
let next = null;
/** New rows that are not shown yet, the oldest first; only the newest ROWS_MAX are kept, `held` counts all. */
let pending = [];
let held = 0;
let paused = false;
let state = ["connecting"];
/** Counts loads, so that an answer that was overtaken is thrown away. */
let loads = 0;
let shownAt = 0;
let timer = null;
let unspoken = 0;
let arrived = { rows: 0, since: performance.now() };
const keys = new Set();

// Rows that are already there

async function load({ first = false } = {}) {
  loads += 1;
  const mine = loads;
  try {
    const page = await fetchRows(pages.at(-1));
    if (mine !== loads) return;
    connection(...state);
    showPage(page);
    if (first) live.open(page.cursor);
  } catch (error) {
    if (mine !== loads) return;
    showAway(error.message);
    if (table.size === 0) showEmpty({ trouble: error.message });
    setTimeout(() => mine === loads && load({ first }), RETRY_MS);
  }
}

async function fetchRows(before) {
  const query = new URLSearchParams({ limit: PAGE_ROWS, q: filter.text, key: filter.key, before: before ?? "" });
  const answer = await fetch(`/api/rows?${query}`, { signal: AbortSignal.timeout(ANSWER_MS) }).catch(() => {
    throw new Error("The server does not answer.");
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `The server answered ${answer.status}.`);
  return body;
}

function showPage(page) {
  const seen = cursor.parse(page.cursor);
  next = page.next === null ? null : cursor.parse(page.next);
  table.restart(page.rows);
  if (onLivePage()) {
    // Rows that came after the answer was written are still to be shown; all others are in it.
    pending = pending.filter((row) => !cursor.covers(seen, row));
    held = pending.length;
  }
  learnKeys(page.rows);
  if (onLivePage()) map?.then((map) => map.take(page.rows.toReversed()));
  showEmpty({ truncated: page.truncated, scanned: page.scanned });
  showPager();
  changed();
}

// Rows as they come

function arrive(rows) {
  arrived.rows += rows.length;
  const wanted = rows.filter(matches);
  for (const row of wanted) pending.push(row);
  held += wanted.length;
  map?.then((map) => map.take(wanted));
  if (pending.length > ROWS_MAX) pending = pending.slice(-ROWS_MAX);
  schedule();
}

function schedule() {
  if (timer !== null || pending.length === 0) return;
  const pause = pending.length > FLOOD_ROWS ? FLOOD_MS : SHOW_MS;
  const wait = Math.max(0, shownAt + pause - performance.now());
  timer = setTimeout(() => requestAnimationFrame(() => {
    timer = null;
    if (holding()) showPill();
    else release();
  }), wait);
}

function release() {
  if (pending.length === 0) return;
  const rows = pending.reverse();
  unspoken += held;
  // After a flood only the newest page is shown: what lies between is older, and a page of rows must not have holes.
  if (held > FLOOD_ROWS) table.replace(rows.slice(0, PAGE_ROWS));
  else table.prepend(rows);
  if (table.dropped.size > 0) next ??= new Map();
  learnKeys(rows);
  pending = [];
  held = 0;
  shownAt = performance.now();
  showPill();
  showEmpty({});
  showPager();
}

function holding() {
  const below = scrollY > $("board").offsetTop + $("main").offsetTop + 40;
  return paused || below || !onLivePage() || table.inUse;
}

function changed() {
  if (!holding()) release();
  showPill();
  connection(...state);
}

function matches(row) {
  if (filter.key && row.key !== filter.key) return false;
  return !filter.text || JSON.stringify(row).toLowerCase().includes(filter.text.toLowerCase());
}

function onLivePage() {
  return pages.length === 0;
}

// What the page says

function showPill() {
  const show = held > 0 && holding();
  $("pill").hidden = !show;
  if (show) setText($("pill"), `↑ ${numbers.count(held)} new`);
}

function connection(name, reason) {
  state = [name, reason];
  if (name === "live") {
    showNotice(null);
    showState(paused ? "paused" : "live");
  } else if (name === "away") {
    showAway(reason);
  } else {
    showState("connecting", "connecting");
  }
}

function showAway(reason) {
  showState("away", "rows away");
  showNotice(`No new rows for now: ${reason.replace(/\.$/, "")}. Nothing is lost; they are shown as soon as that is over.`);
}

function showEmpty({ truncated = false, scanned = 0, trouble }) {
  const box = $("empty");
  box.hidden = table.size > 0;
  $("rows").hidden = table.size === 0;
  if (table.size > 0) return;
  const [title, text] = trouble
    ? ["The rows are out of reach", `${trouble} Trying again every ${RETRY_MS / 1000} seconds.`]
    : emptyWords(truncated, scanned);
  setText(box.querySelector("h2"), title);
  setText(box.querySelector("p"), text);
  const button = box.querySelector("button");
  button.hidden = !filtered() || Boolean(trouble);
  setText(button, "Show all rows");
}

function emptyWords(truncated, scanned) {
  if (!filtered()) {
    return ["Nobody is ready to fly yet", "Rows appear here by themselves, as soon as both sides of an event have arrived. The status page tells what is waiting."];
  }
  const where = truncated ? `the newest ${numbers.count(scanned)} rows; “Older” looks further` : "any row";
  return ["Nothing matches", `${filterWords()} is not in ${where}. New rows that match appear by themselves.`];
}

function filterWords() {
  const words = [];
  if (filter.text) words.push(`“${filter.text}”`);
  if (filter.key) words.push(`the key “${filter.key}”`);
  return words.join(" with ");
}

function filtered() {
  return filter.text !== "" || filter.key !== "";
}

function showPager() {
  $("pager").hidden = onLivePage() && next === null;
  $("newer").disabled = onLivePage();
  $("older").disabled = next === null;
  setText($("page"), onLivePage() ? `${numbers.count(table.size)} newest` : `page ${numbers.count(pages.length + 1)}`);
}

/** Screen readers hear a summary, not every row. */
function speak() {
  setText($("news"), unspoken > 0 ? `${numbers.count(unspoken)} new rows` : "");
  unspoken = 0;
}

function learnKeys(rows) {
  for (const { key } of rows) {
    if (keys.size >= KEYS_MAX || keys.has(key)) continue;
    keys.add(key);
    const option = element("option");
    option.value = key;
    $("keys").append(option);
  }
}

// What the reader does

function toTop() {
  scrollTo({ top: 0, behavior: "smooth" });
  document.activeElement?.blur();
  if (paused) togglePause();
  table.clearSort();
  if (onLivePage() && !table.inUse) return release();
  pages.length = 0;
  load();
}

function turn(step) {
  step();
  $("board").scrollIntoView({ block: "start" });
  load();
}

function togglePause() {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  setText($("pause").querySelector("span"), paused ? "Go on" : "Pause");
  changed();
}

function applyFilter() {
  const [text, key] = [$("text").value.trim(), $("key").value.trim()];
  if (text === filter.text && key === filter.key) return;
  Object.assign(filter, { text, key });
  pages.length = 0;
  pending = [];
  held = 0;
  rememberFilter();
  load();
}

/** The address shows the filter, so that it can be kept and sent. */
function rememberFilter() {
  const query = new URLSearchParams();
  if (filter.text) query.set("q", filter.text);
  if (filter.key) query.set("key", filter.key);
  history.replaceState(null, "", query.size > 0 ? `?${query}` : location.pathname);
}

function recallFilter() {
  const query = new URLSearchParams(location.search);
  [filter.text, filter.key] = [query.get("q") ?? "", query.get("key") ?? ""];
  [$("text").value, $("key").value] = [filter.text, filter.key];
}

let typing = null;
$("tools").addEventListener("submit", (event) => event.preventDefault());
$("tools").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(applyFilter, TYPING_MS);
});
$("empty").querySelector("button").addEventListener("click", () => {
  $("tools").reset();
  [$("text").value, $("key").value] = ["", ""];
  applyFilter();
});
$("pause").addEventListener("click", togglePause);
$("pill").addEventListener("click", toTop);
$("older").addEventListener("click", () => turn(() => pages.push(cursor.write(table.olderThan(next)))));
$("newer").addEventListener("click", () => turn(() => pages.pop()));
addEventListener("scroll", () => held > 0 && changed(), { passive: true });
$("rows").addEventListener("focusout", () => setTimeout(() => held > 0 && changed()));

setInterval(speak, SPEAK_MS);
watchStatus((status) => {
  const elapsed = (performance.now() - arrived.since) / 1000;
  if (status) showFigures(status, arrived.rows / elapsed);
  arrived = { rows: 0, since: performance.now() };
});
recallFilter();
load({ first: true });
