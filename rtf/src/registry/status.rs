//! `rtf registry status`: how far each replica is, what it remembers, and what keeps it from forgetting.

use super::parts;
use super::replica::{Replica, within};
use crate::table::{Align, Table};
use crate::watch::Shown;
use crate::{human, paint};
use rtf_proto::client::ranges;
use rtf_proto::{
    Offset, PartitionId, RegistryBucket, RegistryPartition, RegistryStatus, SourceId, pb,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What one replica says.
struct Seen {
    admin: pb::StatusResponse,
    status: RegistryStatus,
}

impl Seen {
    fn is_well(&self) -> bool {
        self.admin.ready && self.status.ready && !self.status.paused
    }

    fn state(&self) -> String {
        match (
            self.admin.ready && self.status.ready,
            self.admin.reason.as_str(),
        ) {
            (true, _) => paint::good("ready"),
            (false, "") => paint::bad("not ready: cut off from Kafka"),
            (false, reason) => paint::bad(&format!("not ready: {reason}")),
        }
    }
}

/// All replicas, and whether all of them are well.
pub async fn report(replicas: &[Replica], json: bool) -> Shown {
    let seen = futures::future::join_all(replicas.iter().map(ask)).await;
    let all: Vec<_> = replicas.iter().zip(&seen).collect();
    let text = if json {
        let replicas: Vec<Value> = all.iter().map(|(r, seen)| as_json(&r.url, seen)).collect();
        format!("{}\n", json!({ "replicas": replicas }))
    } else {
        let shown: Vec<String> = all.iter().map(|(r, seen)| shown(&r.url, seen)).collect();
        shown.join("\n")
    };
    let is_well = |seen: &Result<Seen, String>| seen.as_ref().is_ok_and(Seen::is_well);
    (text, seen.iter().all(is_well))
}

async fn ask(replica: &Replica) -> Result<Seen, String> {
    let mut admin = replica.admin();
    let (admin, status) = tokio::join!(
        within(ANSWER_WITHIN, admin.status(pb::StatusRequest {})),
        parts::status(replica),
    );
    Ok(Seen {
        admin: admin?,
        status: status?,
    })
}

fn shown(url: &str, seen: &Result<Seen, String>) -> String {
    let seen = match seen {
        Ok(seen) => seen,
        Err(words) => return format!("{url}  {words}\n"),
    };
    let status = &seen.status;
    let ids: u64 = status.served.iter().map(|partition| partition.ids).sum();
    let uptime = i64::try_from(seen.admin.uptime_ms).unwrap_or(i64::MAX);
    let mut text = format!(
        "{url}  {}\n  serves {}\n  {} ids, {} on disk, up {}, version {}, log {}, incarnation {:016x}\n\n{}\n{}",
        seen.state(),
        extent(status),
        human::count(ids),
        human::bytes(status.disk_bytes),
        human::span(uptime),
        seen.admin.version,
        status.log,
        status.incarnation,
        partitions(&status.served),
        buckets(&status.served),
    );
    let awaited = awaited(&status.served);
    if !awaited.is_empty() {
        text += &format!("\n{}", awaited_table(&awaited));
    }
    text
}

/// What it serves of the log.
fn extent(status: &RegistryStatus) -> String {
    let served: BTreeSet<PartitionId> = status.served.iter().map(|p| p.partition).collect();
    let partitions = status.partitions;
    let mut text = if served.len() == partitions as usize {
        format!("all {partitions} partitions of the log")
    } else {
        format!("{} of the log's {partitions} partitions", ranges(&served))
    };
    if status.roots < partitions {
        text += &format!(", which began with {}", status.roots);
    }
    text
}

fn partitions(served: &[RegistryPartition]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("PARTITION", Right),
        ("COUNT", Right),
        ("APPLIED", Right),
        ("END", Right),
        ("LAG", Right),
        ("IDS", Right),
        ("LOG TIME", Left),
        ("DIGEST BELOW", Right),
        ("DIGEST", Left),
    ]);
    for partition in served {
        let (below, digest) = partition.digest;
        let digest = match below {
            0 => String::new(),
            _ => format!("{digest:016x}"),
        };
        table.row(vec![
            partition.partition.to_string(),
            match partition.count {
                0 => "unborn".into(),
                count => count.to_string(),
            },
            human::count(partition.applied),
            human::count(partition.end),
            human::count(partition.end - partition.applied),
            human::count(partition.ids),
            human::time(partition.time_ms),
            human::count(below),
            digest,
        ]);
    }
    table
}

/// A stretch of the log's time, over all partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stretch {
    begin_ms: i64,
    /// None for the one that is being written.
    end_ms: Option<i64>,
    ids: u64,
    partitions: usize,
    sealed: usize,
}

/// Buckets begin alike in all partitions, but not every partition has each of them.
fn stretches(served: &[RegistryPartition]) -> Vec<Stretch> {
    let mut buckets: BTreeMap<i64, Vec<RegistryBucket>> = BTreeMap::new();
    for bucket in served.iter().flat_map(|partition| &partition.buckets) {
        buckets.entry(bucket.begin_ms).or_default().push(*bucket);
    }
    let ends = buckets.keys().skip(1).copied().map(Some).chain([None]);
    let ends: Vec<Option<i64>> = ends.collect();
    let stretch = |((begin_ms, buckets), end_ms): ((&i64, &Vec<RegistryBucket>), _)| Stretch {
        begin_ms: *begin_ms,
        end_ms,
        ids: buckets.iter().map(|bucket| bucket.ids).sum(),
        partitions: buckets.len(),
        sealed: buckets.iter().filter(|bucket| bucket.sealed).count(),
    };
    buckets.iter().zip(ends).map(stretch).collect()
}

fn buckets(served: &[RegistryPartition]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("BUCKET FROM", Left),
        ("TO", Left),
        ("SPAN", Right),
        ("IDS", Right),
        ("PARTITIONS", Right),
        ("STATE", Left),
    ]);
    for stretch in stretches(served) {
        let (to, span, open) = match stretch.end_ms {
            None => ("now".into(), String::new(), "being written"),
            Some(end) if stretch.begin_ms == 0 => (human::time(end), String::new(), "open"),
            Some(end) => (
                human::time(end),
                human::span(end - stretch.begin_ms),
                "open",
            ),
        };
        let state = if stretch.sealed == stretch.partitions {
            "sealed"
        } else {
            open
        };
        table.row(vec![
            human::time(stretch.begin_ms),
            to,
            span,
            human::count(stretch.ids),
            stretch.partitions.to_string(),
            state.into(),
        ]);
    }
    table
}

/// Sources that hold ids back: what their mark must reach, and in how many partitions of the log.
fn awaited(served: &[RegistryPartition]) -> BTreeMap<SourceId, (Offset, usize)> {
    let mut awaited = BTreeMap::new();
    for (source, offset) in served.iter().flat_map(|partition| &partition.awaited) {
        let (top, partitions) = awaited.entry(*source).or_insert((0, 0));
        *top = (*offset).max(*top);
        *partitions += 1;
    }
    awaited
}

fn awaited_table(awaited: &BTreeMap<SourceId, (Offset, usize)>) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("AWAITED TOPIC", Left),
        ("PARTITION", Right),
        ("UP TO OFFSET", Right),
        ("HELD IN", Left),
    ]);
    for ((topic, partition), (offset, held_in)) in awaited {
        table.row(vec![
            topic.to_string(),
            partition.to_string(),
            human::count(*offset),
            format!("{held_in} partitions of the log"),
        ]);
    }
    table
}

fn as_json(url: &str, seen: &Result<Seen, String>) -> Value {
    let seen = match seen {
        Ok(seen) => seen,
        Err(words) => return json!({ "endpoint": url, "ok": false, "error": words }),
    };
    let status = &seen.status;
    json!({
        "endpoint": url, "ok": seen.is_well(), "ready": seen.admin.ready && status.ready, "reason": seen.admin.reason,
        "paused": status.paused, "version": seen.admin.version, "uptime_ms": seen.admin.uptime_ms,
        "log": status.log.to_string(), "incarnation": format!("{:016x}", status.incarnation),
        "disk_bytes": status.disk_bytes, "log_began_with": status.roots, "log_partitions": status.partitions,
        "partitions": status.served.iter().map(partition_json).collect::<Vec<_>>(),
    })
}

fn partition_json(partition: &RegistryPartition) -> Value {
    let bucket = |bucket: &RegistryBucket| json!({ "begin_ms": bucket.begin_ms, "ids": bucket.ids, "sealed": bucket.sealed });
    let source = |((topic, partition), offset): &(SourceId, Offset)| json!({ "topic_id": topic.to_string(), "partition": partition, "offset": offset });
    let (below, digest) = partition.digest;
    json!({
        "partition": partition.partition, "count": partition.count, "applied": partition.applied, "end": partition.end,
        "lag": partition.end - partition.applied, "ids": partition.ids, "time_ms": partition.time_ms,
        "digest": { "offset": below, "digest": format!("{digest:016x}") },
        "buckets": partition.buckets.iter().map(bucket).collect::<Vec<_>>(),
        "awaited": partition.awaited.iter().map(source).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::TopicId;

    fn bucket(begin_ms: i64, ids: u64, sealed: bool) -> RegistryBucket {
        RegistryBucket {
            begin_ms,
            ids,
            sealed,
        }
    }

    fn partition(buckets: &[RegistryBucket], awaited: &[(SourceId, Offset)]) -> RegistryPartition {
        RegistryPartition {
            buckets: buckets.to_vec(),
            awaited: awaited.to_vec(),
            ..RegistryPartition::default()
        }
    }

    #[test]
    fn buckets_of_all_partitions_are_shown_as_one() {
        let served = [
            partition(&[bucket(1000, 1, true), bucket(2000, 2, false)], &[]),
            partition(&[bucket(1000, 3, true), bucket(3000, 4, false)], &[]),
        ];
        let shown: Vec<_> = (stretches(&served).iter())
            .map(|s| (s.begin_ms, s.end_ms, s.ids, s.partitions, s.sealed))
            .collect();
        assert_eq!(
            shown,
            [
                (1000, Some(2000), 4, 2, 2),
                (2000, Some(3000), 2, 1, 0),
                (3000, None, 4, 1, 0)
            ]
        );
        assert_eq!(stretches(&[]), []);
    }

    #[test]
    fn what_it_serves_is_said_in_words() {
        let served = |partitions: &[PartitionId]| {
            let partition = |partition: &PartitionId| RegistryPartition {
                partition: *partition,
                ..RegistryPartition::default()
            };
            partitions.iter().map(partition).collect()
        };
        let mut status = RegistryStatus {
            roots: 2,
            partitions: 2,
            served: served(&[0, 1]),
            ..RegistryStatus::default()
        };
        assert_eq!(extent(&status), "all 2 partitions of the log");
        (status.partitions, status.served) = (4, served(&[1, 3]));
        let words = "1,3 of the log's 4 partitions, which began with 2";
        assert_eq!(extent(&status), words);
    }

    #[test]
    fn a_source_waits_for_the_largest_of_its_offsets() {
        let source = (TopicId([1; 16]), 2);
        let served = [
            partition(&[], &[(source, 5)]),
            partition(&[], &[(source, 9)]),
            partition(&[], &[(source, 7)]),
        ];
        assert_eq!(awaited(&served), BTreeMap::from([(source, (9, 3))]));
    }
}
