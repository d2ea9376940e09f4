//! What needs an operator, with what to do about it and where to read on. Pure: it reads the roles' own reports.

use super::Report;
use rtf_registry::{CUT_OFF, PAUSED};
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// Who has just started is not in trouble yet.
const START: Duration = Duration::from_secs(20);
/// More than this behind is more than a hiccup.
const BEHIND_RECORDS: u64 = 100_000;
/// Shares are looked at when so many events ended.
const ENDED_MIN: u64 = 1000;
/// One in so many may find no partner, or be unreadable, before that is remarkable.
const UNJOINABLE_SHARE: u64 = 2;
const MALFORMED_SHARE: u64 = 20;

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Trouble {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub act: String,
    /// Where to read on: a chapter of the manual, and perhaps a heading of it.
    pub see: &'static str,
}

impl Trouble {
    fn new(what: impl Into<String>, act: impl Into<String>, see: &'static str) -> Self {
        Self {
            what: what.into(),
            act: act.into(),
            see,
        }
    }
}

/// All there are, roles first; `merged` are the figures of all roles together.
pub fn troubles(reports: &[Report], merged: &Map<String, Value>) -> Vec<Trouble> {
    let roles = reports.iter().filter_map(of_role);
    roles.chain(of_figures(merged)).collect()
}

fn of_role(report: &Report) -> Option<Trouble> {
    let Report { role, reason, .. } = report;
    if report.ready {
        return None;
    }
    if report.version.is_empty() {
        let act = format!(
            "Start it (`rtf {role} -c rtf.toml`), or see from here whether its address is right and reachable. The other roles wait for it; nothing is lost meanwhile."
        );
        return Some(Trouble::new(
            format!("The {role} does not answer: {reason}"),
            act,
            "failure-modes#processes",
        ));
    }
    let what = format!("The {role} is not ready: {reason}");
    match reason.as_str() {
        PAUSED => {
            let act = format!("Somebody paused it. `rtf {role} resume` lets it go on.");
            let see = if role == "registry" {
                "registry#commands"
            } else {
                "operations#commands"
            };
            Some(Trouble::new(what, act, see))
        }
        CUT_OFF => Some(Trouble::new(
            what,
            "Start Kafka, or mend the way to it ([kafka].bootstrap). Everything goes on by itself as soon as a broker answers.",
            "failure-modes#kafka",
        )),
        _ if report.uptime < START => None,
        _ => {
            let act = "It says why, and goes on by itself once that is over; if it does not, its log says more.";
            Some(Trouble::new(what, act, see(role)))
        }
    }
}

/// Where each role is explained.
fn see(role: &str) -> &'static str {
    match role {
        "registry" => "registry#when-a-replica-stops",
        "joiner" => "operations#more-primaries-than-one-joiner-holds",
        _ => "operations",
    }
}

fn of_figures(merged: &Map<String, Value>) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let figure = |name: &str| merged.get(name).map_or(0, total);
    let (joined, unjoinable, malformed) =
        (figure("joined"), figure("unjoinable"), figure("malformed"));
    let ended = joined + unjoinable + malformed;
    if merged.get("paused") == Some(&Value::Bool(true)) {
        troubles.push(Trouble::new(
            "The dispatcher reads no further for now: too much is under way or waits",
            "That ends by itself. If it lasts, a joiner or the registry is too slow or away, or many keys have no partner; more dispatchers help against load.",
            "operations#reading-status",
        ));
    }
    let lag = figure("lag");
    if lag > BEHIND_RECORDS {
        troubles.push(Trouble::new(
            format!("{lag} records of the foreign topic are still to be read"),
            "After a pause or a replay that is as it should be, and becomes less. If it grows, run more dispatchers: each takes its share of the partitions.",
            "operations#reading-status",
        ));
    }
    let publishing = figure("publisher_lag");
    if publishing > BEHIND_RECORDS {
        troubles.push(Trouble::new(
            format!("{publishing} joined rows are not in the row store yet"),
            "Look whether Redis is away, full or slow. The rows are safe in the log, and follow by themselves.",
            "failure-modes#redis",
        ));
    }
    if ended >= ENDED_MIN && unjoinable * UNJOINABLE_SHARE > ended {
        troubles.push(Trouble::new(
            format!("{unjoinable} of {ended} events found no partner"),
            "See whether both sides write the key alike, and whether the primary topic is still fed: `rtf dlq list` shows what was given up.",
            "matching#when-there-is-none",
        ));
    }
    if ended >= ENDED_MIN && malformed * MALFORMED_SHARE > ended {
        troubles.push(Trouble::new(
            format!("{malformed} of {ended} events could not be read"),
            "`rtf dlq list` shows the parser's words and the originals. Often [join.foreign] names a field that is not there.",
            "dead-letters#looking",
        ));
    }
    troubles
}

/// A count; of an object, the sum of all counts in it.
fn total(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => fields.values().map(total).sum(),
        other => other.as_u64().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manual::CHAPTERS;
    use serde_json::json;

    fn report(role: &str, reason: &str, uptime: Duration) -> Report {
        Report {
            role: role.into(),
            version: "1".into(),
            uptime,
            memory: None,
            ready: reason.is_empty(),
            reason: reason.into(),
            figures: json!({}),
        }
    }

    fn in_figures(figures: Value) -> Vec<Trouble> {
        of_figures(figures.as_object().unwrap())
    }

    /// One of each kind.
    fn all() -> Vec<Trouble> {
        let silent = Report {
            version: String::new(),
            ..report("publisher", "no answer", Duration::ZERO)
        };
        let reports = [
            report("registry", PAUSED, START),
            report("dispatcher", PAUSED, START),
            report("registry", CUT_OFF, START),
            report("joiner", "reading", START),
            silent,
        ];
        let figures = json!({
            "paused": true, "lag": { "tweets": { "0": 100_000, "1": 1 } }, "publisher_lag": 100_001,
            "joined": 100, "unjoinable": { "timed_out": 900 }, "malformed": 300,
        });
        troubles(&reports, figures.as_object().unwrap())
    }

    #[test]
    fn whatever_is_wrong_is_said() {
        let all = all();
        assert_eq!(all.len(), 10, "{all:#?}");
        assert!(all[0].act.contains("rtf registry resume"));
        assert!(all[6].what.starts_with("100001 records"), "{:?}", all[6]);
    }

    #[test]
    fn what_is_well_or_has_just_started_is_no_trouble() {
        let starting = report("joiner", "reading", START - Duration::from_secs(1));
        assert!(troubles(&[report("web", "", START), starting], &Map::new()).is_empty());
        let figures = json!({ "paused": false, "lag": { "t": { "0": 99 } }, "joined": 600, "unjoinable": { "timed_out": 400 }, "malformed": 9 });
        assert!(in_figures(figures).is_empty());
        let few = json!({ "joined": 0, "unjoinable": { "timed_out": 9 } });
        assert!(in_figures(few).is_empty());
    }

    #[test]
    fn every_hint_leads_to_a_heading_of_the_manual() {
        for Trouble { see, .. } in all() {
            let (name, heading) = see.split_once('#').unwrap_or((see, ""));
            let chapter = CHAPTERS.iter().find(|chapter| chapter.name == name);
            let text = chapter
                .unwrap_or_else(|| panic!("there is no chapter {name}"))
                .text;
            let headings = text.lines().filter(|line| line.starts_with('#'));
            let mut names = headings.map(|line| rtf_web::slug(line.trim_start_matches('#').trim()));
            assert!(
                heading.is_empty() || names.any(|name| name == heading),
                "{see}"
            );
        }
    }
}
