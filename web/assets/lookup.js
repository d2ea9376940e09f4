// The look-up page: an id, and where that event is now.

import { element } from "./cells.js";
import * as numbers from "./numbers.js";
import { facts, originals, side, when } from "./originals.js";

const ANSWER_MS = 25_000;
/** Something that is on its way is looked up again after this. */
const AGAIN_MS = 3000;

const $ = (id) => document.getElementById(id);
/** Counts questions, so that an answer that was overtaken is thrown away. */
let asked = 0;
let again = null;

/** What each state is called, and what it means. */
const STATES = {
  joined: ["good", "Joined", () => "It has found its partners. Its row is in the log, first of its id, for ever."],
  unjoinable: ["bad", "Unjoinable", ({ reason }) => `It was given up: ${words(reason ?? "no reason given")}. Its original is in the dead letters.`],
  malformed: ["bad", "Malformed", () => "It could not be read as an event. The original is kept as it was."],
  waiting: ["open", "Waiting", ({ due_ts: due }) => `It has no partner yet. ${due ? `It is tried again ${numbers.ago(due)}, and at once when a partner comes.` : ""}`],
  parked: ["open", "Parked", ({ due_ts: due }) => `It has no partner yet and waits in Kafka, where it costs no memory. ${due ? `It is read again ${numbers.ago(due)}, and at once when a partner comes.` : ""}`],
  forgotten: ["open", "Resolved and forgotten", () => "It was resolved once, longer ago than the registry remembers. It is not joined again."],
  unresolved: ["open", "Not resolved", unresolved],
};

async function ask(id) {
  clearTimeout(again);
  asked += 1;
  const mine = asked;
  $("answer").setAttribute("aria-busy", "true");
  const found = await fetchAnswer(id);
  if (mine !== asked) return;
  $("answer").setAttribute("aria-busy", "false");
  show(id, found);
  if (["waiting", "parked", "unresolved"].includes(found.state)) again = setTimeout(() => (document.hidden ? null : ask(id)), AGAIN_MS);
}

async function fetchAnswer(id) {
  try {
    const answer = await fetch(`/api/lookup?${new URLSearchParams({ id })}`, { signal: AbortSignal.timeout(ANSWER_MS) });
    const body = await answer.json();
    return answer.ok ? body : { error: answer.status === 404 ? "this server cannot look events up" : body.error };
  } catch {
    return { error: "the server does not answer" };
  }
}

function show(id, found) {
  const [mood, title, meaning] = STATES[found.state] ?? ["bad", "No answer", () => `${found.error ?? "That answer is not understood"}. Trying again may help.`];
  const heading = element("h2", "", title);
  const name = element("p", "id", id);
  name.dir = "auto";
  const verdict = element("section", `card verdict ${mood}`, heading, name, element("p", "meaning", meaning(found)));
  for (const said of [found.words, found.note]) if (said) verdict.append(element("p", "words", said));
  verdict.append(facts(details(found)), ...content(found));
  $("answer").replaceChildren(verdict);
}

function details(found) {
  const { source = {} } = found;
  const place = Number.isFinite(source.offset) ? `${source.topic ? `${source.topic}, ` : ""}partition ${source.partition}, offset ${numbers.count(source.offset)}` : undefined;
  // A row says the rest itself.
  if (found.row) return [["Where it was read", place]];
  return [
    ["Resolved", when(found.resolved_ts)],
    ["Waiting since", when(found.first_seen_ts)],
    ["Attempts", found.attempts === undefined ? undefined : numbers.count(found.attempts)],
    ["Next attempt", when(found.due_ts)],
    [found.state === "parked" ? "Parked in" : "Was parked in", found.tier],
    ["Waits for the key", found.key],
    ["Place in the join log", Number.isFinite(found.offset) ? `partition ${found.partition}, offset ${numbers.count(found.offset)}` : undefined],
    ["Where it was read", place],
  ];
}

function content({ row, original }) {
  if (row) return originals(row);
  return original ? [element("div", "sides", side("The original", original))] : [];
}

function unresolved({ parked = {} }) {
  const tiers = Object.entries(parked).filter(([, n]) => n > 0).map(([topic, n]) => `${numbers.count(n)} in ${topic}`);
  const where = tiers.length > 0 ? `, or is one of those that are parked (${tiers.join(", ")})` : "";
  return `The registry knows no outcome, and no dispatcher has it waiting in memory. It was never read, is being worked on at this moment${where}.`;
}

function words(reason) {
  return reason.replaceAll("_", " ");
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = $("id").value.trim();
  if (id === "") return;
  history.pushState(null, "", `?${new URLSearchParams({ id })}`);
  ask(id);
});

function recall() {
  const id = new URLSearchParams(location.search).get("id") ?? "";
  $("id").value = id;
  if (id !== "") ask(id);
  else $("answer").replaceChildren();
}

addEventListener("popstate", recall);
recall();
