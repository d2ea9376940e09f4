//! Winners: the first record of each id in the log, found anew, and held against what was sent.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use bytes::Bytes;
use rtf_kafka::{Record, Settings};
use rtf_proto::naming;
use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{Body, Content, Event, Stamp, decode};
use rtf_proto::{LogId, Outcome};
use rtf_synth::Join;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Checked;
use super::problems::Problems;
use super::sent::{Sent, text_at};
use crate::fate::{Fate, shown};
use crate::reader::TopicReader;

/// What the log decided.
pub(super) struct Winners {
    /// The log's id.
    pub(super) log: LogId,
    /// Its number of partitions.
    pub(super) partitions: u32,
    /// How each event ended.
    pub(super) fates: Vec<Fate>,
    /// The joined ones, by partition and offset: what Redis must hold.
    pub(super) joined: BTreeMap<(u32, u64), JoinedRow>,
    /// How many of each.
    pub(super) counts: Checked,
}

/// A row as the log has it.
pub(super) struct JoinedRow {
    /// Up to and without `"joined_ts"`.
    pub(super) open: Bytes,
    /// The log's time of it, ms.
    pub(super) logged_ms: i64,
}

/// What a row in the log must have.
#[derive(Deserialize)]
struct OpenRow<'a> {
    id: String,
    key: String,
    outcome: String,
    #[serde(borrow)]
    foreign: &'a RawValue,
    #[serde(borrow)]
    primary: Vec<&'a RawValue>,
}

impl Winners {
    /// Reads the log, which must exist, to its present end.
    pub(super) fn read(
        settings: &Settings,
        join: &Join,
        sent: &Sent,
        problems: &mut Problems,
    ) -> Result<Self> {
        let mut reader = TopicReader::open(settings, &naming::log_topic(join.name))?;
        let mut winners = Self {
            log: reader.info().id,
            partitions: reader.info().partitions,
            fates: Vec::new(),
            joined: BTreeMap::new(),
            counts: Checked::default(),
        };
        let mut known = HashSet::new();
        let judge = Judge { join, sent };
        reader.read_to_end(|record| {
            let place = || format!("{}/{}", record.partition(), record.offset());
            match decode(record.key(), record.value()) {
                Err(error) => {
                    problems.add("unreadable in the log", || format!("{}: {error}", place()))
                }
                Ok(decoded) => {
                    let Content::Event(event) = decoded.content else {
                        return Ok(());
                    };
                    let right = winners.is_in_place(&decoded.stamp, event.id, record.partition());
                    problems.unless(right, "out of place in the log", place);
                    if known.insert(event.id.to_vec()) {
                        winners.add(record, &event, &judge, problems);
                    } else {
                        winners.counts.superseded += 1;
                    }
                }
            }
            Ok(())
        })?;
        Ok(winners)
    }

    fn is_in_place(&self, stamp: &Stamp, id: &[u8], partition: u32) -> bool {
        stamp.log == self.log
            && stamp.partitions == self.partitions
            && partition_of(id, self.partitions) == partition
    }

    fn add(
        &mut self,
        record: &Record<'_>,
        event: &Event<'_>,
        judge: &Judge<'_>,
        problems: &mut Problems,
    ) {
        match judge.fate(event) {
            Err(wrong) => problems.add("wrong in the log", || {
                let (partition, offset) = (record.partition(), record.offset());
                format!("{partition}/{offset}: {} {wrong}", shown(event.id))
            }),
            Ok((fate, row)) => {
                self.count(&fate);
                self.fates.push(fate);
                let logged_ms = record.timestamp_ms();
                let place = (record.partition(), record.offset());
                let row = row.map(|open| (place, JoinedRow { open, logged_ms }));
                self.joined.extend(row);
            }
        }
    }

    fn count(&mut self, fate: &Fate) {
        match fate {
            Fate::Joined { .. } => self.counts.joined += 1,
            Fate::Unjoinable { .. } => self.counts.unjoinable += 1,
            Fate::Malformed { .. } => self.counts.malformed += 1,
        }
    }
}

/// Holds one winner against what was sent.
struct Judge<'a> {
    join: &'a Join,
    sent: &'a Sent,
}

impl Judge<'_> {
    /// How the event ended, with its row if it was joined; or what is wrong.
    fn fate(&self, event: &Event<'_>) -> Result<(Fate, Option<Bytes>), String> {
        let (topic, partition, offset) = event.source;
        if topic != self.sent.foreign_id {
            return Err(format!("is of a topic {topic} that is not the foreign one"));
        }
        let value = self.sent.foreign.get(&(partition, offset));
        let value = value.ok_or_else(|| format!("is of {partition}/{offset}, never sent"))?;
        let body = Body::decode(event.outcome, Bytes::copy_from_slice(event.body));
        match body.ok_or("has a body that cannot be read")? {
            Body::Joined { row } => {
                let fate = self.joined(event, &row, value.as_deref())?;
                Ok((fate, Some(row)))
            }
            Body::Unjoinable { row, original, .. } => {
                if original.value != *value {
                    return Err("does not keep its original".into());
                }
                Ok((self.unjoinable(event, &row, value.as_deref())?, None))
            }
            Body::Malformed { words, original } => {
                self.malformed(event, &words)?;
                if original.value != *value {
                    return Err("does not keep its original".into());
                }
                let value = value.as_ref().map(|value| value.to_vec());
                Ok((Fate::Malformed { value }, None))
            }
        }
    }

    fn joined(&self, event: &Event<'_>, row: &[u8], value: Option<&[u8]>) -> Result<Fate, String> {
        let text = closed(row)?;
        let row = self.row(event, &text, value)?;
        let mut partners = Vec::new();
        for primary in &row.primary {
            if !self.sent.primary.contains(primary.get().as_bytes()) {
                return Err(format!("has a partner never sent: {primary}"));
            }
            if text_at(primary.get(), self.join.primary.key).as_ref() != Some(&row.key) {
                return Err(format!("has a partner of another key: {primary}"));
            }
            let id = text_at(primary.get(), self.join.primary.id);
            partners.push(id.ok_or_else(|| format!("has a partner without id: {primary}"))?);
        }
        if partners.is_empty() {
            return Err("is joined with nobody".into());
        }
        Ok(Fate::Joined {
            id: row.id,
            key: row.key,
            primary: partners.into_iter().next(),
        })
    }

    fn unjoinable(
        &self,
        event: &Event<'_>,
        row: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Fate, String> {
        let text = closed(row)?;
        let row = self.row(event, &text, value)?;
        if !row.primary.is_empty() {
            return Err("is unjoinable and has a partner".into());
        }
        Ok(Fate::Unjoinable {
            id: row.id,
            key: row.key,
        })
    }

    /// A malformed record's id is its place, because it may have none of its own.
    fn malformed(&self, event: &Event<'_>, words: &str) -> Result<(), String> {
        let (topic, partition, offset) = event.source;
        let place = format!("{}.{topic}/{partition}/{offset}", self.join.foreign.topic);
        if event.id != place.as_bytes() {
            return Err(format!("is malformed, but its id is not its place {place}"));
        }
        if words.is_empty() {
            return Err("is malformed, but not a word says why".into());
        }
        Ok(())
    }

    /// The row's own fields must say what the record and the foreign event say.
    fn row<'r>(
        &self,
        event: &Event<'_>,
        text: &'r str,
        value: Option<&[u8]>,
    ) -> Result<OpenRow<'r>, String> {
        let row: OpenRow<'_> = serde_json::from_str(text)
            .map_err(|error| format!("has a row that is none: {error}"))?;
        if Some(row.foreign.get().as_bytes()) != value.map(<[u8]>::trim_ascii) {
            return Err(format!("has a row of another event: {}", row.foreign));
        }
        if row.id.as_bytes() != event.id {
            return Err(format!("has a row with the id {}", row.id));
        }
        let foreign = row.foreign.get();
        if text_at(foreign, self.join.foreign.id).as_ref() != Some(&row.id) {
            return Err("has another id than its event".into());
        }
        if text_at(foreign, self.join.foreign.key).as_ref() != Some(&row.key) {
            return Err(format!(
                "has a row with the key {}",
                shown(row.key.as_bytes())
            ));
        }
        if row.outcome != outcome_word(event.outcome) {
            return Err(format!("has a row that is {}", row.outcome));
        }
        Ok(row)
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Joined => "joined",
        Outcome::Unjoinable(_) => "unjoinable",
        Outcome::Malformed => "malformed",
    }
}

/// An open row with its brace.
fn closed(row: &[u8]) -> Result<String, String> {
    let text =
        std::str::from_utf8(row).map_err(|error| format!("has a row that is no text: {error}"))?;
    Ok(format!("{text}}}"))
}
