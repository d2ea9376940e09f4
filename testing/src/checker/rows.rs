//! Rows: what Redis holds, entry by entry.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use redis::Commands;
use redis::streams::StreamRangeReply;
use rtf_proto::naming;
use rtf_synth::Join;
use serde::Deserialize;

use super::log::Winners;
use super::problems::Problems;
use crate::fate::shown;
use crate::redis_source;

const PAGE_ENTRIES: usize = 5_000;

/// Entry ids with their rows, in the stream's order, by the stream's name.
pub type RowsByStream = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// All that Redis holds of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The streams.
    pub streams: RowsByStream,
    /// Other keys beside the streams, with their text.
    pub others: BTreeMap<String, String>,
    /// Entries that have something else than one field `row`.
    odd: Vec<String>,
}

/// What a row in Redis must have beside what stands in the log.
#[derive(Deserialize)]
struct Closing {
    joined_ts: i64,
    offset: u64,
    partition: u32,
}

impl Rows {
    /// Reads every key that begins with the join's name.
    pub(super) fn read(redis: &str, name: &str) -> Result<Self> {
        let mut rows = Self {
            streams: BTreeMap::new(),
            others: BTreeMap::new(),
            odd: Vec::new(),
        };
        for mut connection in redis_source::connections(redis)? {
            rows.read_server(&mut connection, name)?;
        }
        Ok(rows)
    }

    fn read_server(&mut self, connection: &mut redis::Connection, name: &str) -> Result<()> {
        let keys: BTreeSet<String> = connection.keys(format!("{name}:*"))?;
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query(connection)?;
            let was_there = if kind == "stream" {
                let entries = self.read_stream(connection, &key)?;
                self.streams.insert(key.clone(), entries).is_some()
            } else {
                let text = if kind == "string" {
                    connection.get(&key)?
                } else {
                    kind
                };
                self.others.insert(key.clone(), text).is_some()
            };
            ensure!(!was_there, "two servers have {key}");
        }
        Ok(())
    }

    fn read_stream(
        &mut self,
        connection: &mut redis::Connection,
        stream: &str,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        let mut entries = Vec::new();
        let mut from = "-".to_owned();
        loop {
            let page: StreamRangeReply =
                connection.xrange_count(stream, &from, "+", PAGE_ENTRIES)?;
            let Some(last) = page.ids.last() else {
                return Ok(entries);
            };
            from = format!("({}", last.id);
            for entry in page.ids {
                let row: Option<Vec<u8>> = entry.get("row");
                if entry.map.len() != 1 || row.is_none() {
                    self.odd.push(format!("{stream} {}", entry.id));
                }
                entries.push((entry.id, row.unwrap_or_default()));
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.streams.values().map(Vec::len).sum()
    }

    /// Holds them against the log: each joined row once, where the log has it, and nothing else.
    pub(super) fn check(
        &self,
        join: &Join,
        winners: &Winners,
        problems: &mut Problems,
    ) -> Result<()> {
        for odd in &self.odd {
            problems.add("not one field `row` in Redis", || odd.clone());
        }
        let partitions: BTreeMap<String, u32> = (0..winners.partitions)
            .map(|partition| (naming::redis_stream(join.name, partition), partition))
            .collect();
        let mut seen = BTreeSet::new();
        for (stream, entries) in &self.streams {
            match partitions.get(stream) {
                None => problems.add("not a stream of this join", || stream.clone()),
                Some(partition) => {
                    check_stream(*partition, entries, winners, &mut seen, problems);
                }
            }
        }
        for place in winners.joined.keys().filter(|place| !seen.contains(place)) {
            problems.add("missing in Redis", || format!("{}/{}", place.0, place.1));
        }
        self.check_others(join, winners, problems);
        Ok(())
    }

    /// Beside the streams stand only the marks that say which log they are of.
    fn check_others(&self, join: &Join, winners: &Winners, problems: &mut Problems) {
        let marks: BTreeSet<String> = (0..winners.partitions)
            .map(|partition| naming::redis_log_key(join.name, partition))
            .collect();
        let log = winners.log.to_string();
        let streams = naming::redis_partitions_key(join.name);
        for (key, text) in &self.others {
            let right = if *key == streams {
                *text == winners.partitions.to_string()
            } else {
                marks.contains(key) && *text == log
            };
            problems.unless(right, "not a mark of the log", || {
                format!("{key} = {text:?}")
            });
        }
        for stream in self.streams.keys() {
            let mark = stream.replacen(":joined:", ":log:", 1);
            let right = self.others.contains_key(&mark);
            problems.unless(right, "without a mark of its log", || stream.clone());
        }
    }
}

fn check_stream(
    partition: u32,
    entries: &[(String, Vec<u8>)],
    winners: &Winners,
    seen: &mut BTreeSet<(u32, u64)>,
    problems: &mut Problems,
) {
    let mut last = None;
    for (entry, row) in entries {
        let place = || format!("{partition} {entry}: {}", shown(row));
        let Some(offset) = entry.strip_suffix("-0").and_then(|n| n.parse().ok()) else {
            problems.add("not an offset in Redis", place);
            continue;
        };
        problems.unless(last < Some(offset), "out of order in Redis", place);
        last = Some(offset);
        let Some(logged) = winners.joined.get(&(partition, offset)) else {
            problems.add("in Redis, but not joined in the log", place);
            continue;
        };
        problems.unless(seen.insert((partition, offset)), "twice in Redis", place);
        problems.unless(
            row.starts_with(&logged.open),
            "not the log's row in Redis",
            place,
        );
        match serde_json::from_slice::<Closing>(row) {
            Err(error) => problems.add("no row in Redis", || format!("{}: {error}", place())),
            Ok(closing) => {
                let right = (closing.partition, closing.offset) == (partition, offset);
                problems.unless(right, "with another place in Redis", place);
                let right = closing.joined_ts == logged.logged_ms;
                problems.unless(right, "with another time than the log's in Redis", place);
            }
        }
    }
}
