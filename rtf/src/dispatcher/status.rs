//! `rtf dispatcher status`: how far each dispatcher is, and what waits.

use crate::registry::replica::{Replica, within};
use crate::table::{Align, Table};
use crate::watch::Shown;
use crate::{human, paint};
use rtf_proto::pb;
use serde_json::{Value, json};
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What one dispatcher says.
pub struct Seen {
    admin: pb::StatusResponse,
    /// Its own part of it.
    pub status: pb::DispatcherStatus,
}

impl Seen {
    fn is_well(&self) -> bool {
        self.admin.ready && !self.status.paused
    }

    fn state(&self) -> String {
        if self.admin.ready {
            return paint::good("ready");
        }
        paint::bad(&format!("not ready: {}", self.admin.reason))
    }
}

/// All dispatchers, and whether all of them are well.
pub async fn report(dispatchers: &[Replica], json: bool) -> Shown {
    let seen = futures::future::join_all(dispatchers.iter().map(ask)).await;
    let all: Vec<_> = dispatchers.iter().zip(&seen).collect();
    let text = if json {
        let all: Vec<Value> = all.iter().map(|(d, seen)| as_json(&d.url, seen)).collect();
        format!("{}\n", json!({ "dispatchers": all }))
    } else {
        let shown: Vec<String> = all.iter().map(|(d, seen)| shown(&d.url, seen)).collect();
        shown.join("\n")
    };
    let is_well = |seen: &Result<Seen, String>| seen.as_ref().is_ok_and(Seen::is_well);
    (text, seen.iter().all(is_well))
}

/// Asks one.
///
/// # Errors
/// In words why there is no answer.
pub async fn ask(dispatcher: &Replica) -> Result<Seen, String> {
    let question = pb::StatusRequest {};
    let mut admin = within(ANSWER_WITHIN, dispatcher.admin().status(question)).await?;
    match admin.dispatcher.take() {
        Some(status) => Ok(Seen { admin, status }),
        None => Err(format!("this is a {}, not a dispatcher", admin.role)),
    }
}

fn shown(url: &str, seen: &Result<Seen, String>) -> String {
    let seen = match seen {
        Ok(seen) => seen,
        Err(words) => return format!("{url}  {words}\n"),
    };
    let status = &seen.status;
    let uptime = i64::try_from(seen.admin.uptime_ms).unwrap_or(i64::MAX);
    let full = if status.full {
        "; reading pauses: too much is held"
    } else {
        ""
    };
    format!(
        "{url}  {}\n  group {} reads {}\n  {} in flight, {} wait ({}), up {}, version {}{full}\n\n{}\n{}\n{}\n{}",
        seen.state(),
        status.group,
        status.topic,
        human::count(status.in_flight),
        human::count(status.waiting),
        human::bytes(status.waiting_bytes),
        human::span(uptime),
        seen.admin.version,
        partitions(&status.partitions),
        waiting(&status.waiting_by_age),
        parked(&status.parked),
        ended(status.tally.unwrap_or_default()),
    )
}

fn partitions(partitions: &[pb::DispatcherPartition]) -> Table {
    let names = [
        "PARTITION",
        "POSITION",
        "MARK",
        "NEXT",
        "END",
        "LAG",
        "PENDING",
        "IN FLIGHT",
    ];
    let mut table = Table::new(&names.map(|name| (name, Align::Right)));
    let known = |number: Option<u64>| number.map_or_else(|| "-".into(), human::count);
    for p in partitions {
        table.row(vec![
            p.partition.to_string(),
            known(p.position),
            known(p.mark),
            known(p.next),
            known(p.end),
            known(p.lag),
            human::count(p.pending),
            human::count(p.in_flight),
        ]);
    }
    table
}

fn waiting(ages: &[pb::WaitingAge]) -> Table {
    let mut table = Table::new(&[("WAITING FOR", Align::Left), ("EVENTS", Align::Right)]);
    let mut least = 0;
    for age in ages {
        let name = match age.below_ms {
            0 => format!("{} and more", human::span(least)),
            below_ms => {
                least = i64::try_from(below_ms).unwrap_or(i64::MAX);
                format!("less than {}", human::span(least))
            }
        };
        table.row(vec![name, human::count(age.events)]);
    }
    table
}

fn ended(tally: pb::DispatcherTally) -> Table {
    let mut table = Table::new(&[("SINCE ITS START", Align::Left), ("EVENTS", Align::Right)]);
    for (name, number) in counts(tally) {
        table.row(vec![name.replace('_', " "), human::count(number)]);
    }
    table
}

fn parked(parked: &[pb::Parked]) -> Table {
    let mut table = Table::new(&[("PARKED IN", Align::Left), ("EVENTS", Align::Right)]);
    for tier in parked {
        table.row(vec![tier.topic.clone(), human::count(tier.records)]);
    }
    table
}

fn counts(tally: pb::DispatcherTally) -> [(&'static str, u64); 9] {
    [
        ("joined", tally.joined),
        ("unjoinable", tally.unjoinable),
        ("malformed", tally.malformed),
        ("already_resolved", tally.already_resolved),
        ("too_old", tally.too_old),
        ("retries", tally.retries),
        ("wakeups", tally.wakeups),
        ("parked", tally.parked),
        ("wasted", tally.wasted),
    ]
}

fn as_json(url: &str, seen: &Result<Seen, String>) -> Value {
    let seen = match seen {
        Ok(seen) => seen,
        Err(words) => return json!({ "endpoint": url, "ok": false, "error": words }),
    };
    let status = &seen.status;
    let partition = |p: &pb::DispatcherPartition| {
        json!({
            "partition": p.partition, "position": p.position, "mark": p.mark, "next": p.next, "end": p.end, "lag": p.lag,
            "pending": p.pending, "in_flight": p.in_flight,
        })
    };
    let age = |age: &pb::WaitingAge| {
        let below_ms = (age.below_ms > 0).then_some(age.below_ms);
        json!({ "below_ms": below_ms, "events": age.events })
    };
    let parked = status.parked.iter();
    let parked: serde_json::Map<_, _> = parked
        .map(|tier| (tier.topic.clone(), tier.records.into()))
        .collect();
    let tally = counts(status.tally.unwrap_or_default());
    let tally: serde_json::Map<_, _> = tally
        .map(|(k, v)| (k.to_owned(), v.into()))
        .into_iter()
        .collect();
    json!({
        "endpoint": url, "ok": seen.is_well(), "ready": seen.admin.ready, "reason": seen.admin.reason, "paused": status.paused,
        "full": status.full, "version": seen.admin.version, "uptime_ms": seen.admin.uptime_ms, "topic": status.topic, "group": status.group,
        "in_flight": status.in_flight, "waiting": status.waiting, "waiting_bytes": status.waiting_bytes,
        "parked": parked, "waiting_by_age": status.waiting_by_age.iter().map(age).collect::<Vec<_>>(), "tally": tally,
        "partitions": status.partitions.iter().map(partition).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_words() {
        let ages = [(1_000, 5), (60_000, 0), (3_600_000, 1_200), (0, 7)];
        let ages = ages.map(|(below_ms, events)| pb::WaitingAge { below_ms, events });
        let table = waiting(&ages).to_string();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table.lines().skip(1).map(words).collect();
        let expected = [
            "less than 1s 5",
            "less than 1m 0",
            "less than 1h 1,200",
            "1h and more 7",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_is_not_known_is_no_number() {
        let partition = pb::DispatcherPartition {
            partition: 3,
            mark: Some(1_000),
            ..pb::DispatcherPartition::default()
        };
        let table = partitions(&[partition]).to_string();
        let line = table.lines().nth(1).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells, ["3", "-", "1,000", "-", "-", "-", "0", "0"]);
    }
}
