// A row in full: when and where both sides met, and both as they were.

import { element } from "./cells.js";
import * as numbers from "./numbers.js";

/** The facts, and the originals side by side. */
export function originals(row) {
  const primary = row.primary ?? [];
  const partners = primary.map((value, i) => side(primary.length > 1 ? `Primary ${i + 1} of ${primary.length}` : "Primary: what it matched", value));
  return [facts(rowFacts(row)), element("div", "sides", side("Foreign: the event that asked", row.foreign), ...partners)];
}

/** A list of names and values; what is not known is left out. */
export function facts(entries) {
  const known = entries.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return element("dl", "facts", ...known.map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", String(value)))));
}

/** One side's original. */
export function side(title, value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const pre = element("pre", "", text ?? "–");
  pre.tabIndex = 0;
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", title);
  return element("div", "", element("p", "name", title), pre);
}

/** A moment in full; nothing when there is none. */
export function when(ms) {
  return Number.isFinite(ms) ? numbers.precisely(ms) : undefined;
}

function rowFacts(row) {
  return [
    ["Key", row.key],
    ["Id", row.id],
    ["Outcome", row.reason ? `${row.outcome}: ${row.reason.replaceAll("_", " ")}` : row.outcome],
    ["Foreign event", when(row.foreign_ts)],
    ["Primary event", when(row.primary_ts)],
    ["Joined", when(row.joined_ts)],
    ["Waited for its partner", waited(row)],
    ["Attempts", Number.isFinite(row.attempts) ? numbers.count(row.attempts) : undefined],
    ["Log position", `partition ${row.partition}, offset ${numbers.count(row.offset)}`],
  ];
}

/** By the times of both events: a partner that was there first was not waited for. */
function waited({ foreign_ts: foreign, primary_ts: primary }) {
  if (!Number.isFinite(foreign) || !Number.isFinite(primary)) return undefined;
  return primary > foreign ? numbers.seconds((primary - foreign) / 1000) : "not at all: it was there first";
}
