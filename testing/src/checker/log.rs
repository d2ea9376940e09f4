//! Winners: the first record of each id that counts in the log, found anew, and held against what was sent.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::Result;
use bytes::Bytes;
use rtf_kafka::{Record, Settings};
use rtf_proto::naming;
use rtf_proto::record::{Body, Content, Event, decode};
use rtf_proto::{LogId, Original, Outcome};
use rtf_synth::Join;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::problems::Problems;
use super::reigns::{Reigns, Splits};
use super::sent::{Sent, text_of};
use super::{Checked, POISON_KEY};
use crate::fate::{Fate, shown};
use crate::reader::TopicReader;

/// What the log decided.
pub(super) struct Winners {
    /// The log's id.
    pub(super) log: LogId,
    /// Its topic's number of partitions.
    pub(super) partitions: u32,
    /// How each event ended.
    pub(super) fates: Vec<Fate>,
    /// The joined ones, by partition and offset: what Redis must hold.
    pub(super) joined: BTreeMap<(u32, u64), JoinedRow>,
    /// Those that were given up or could not be read, likewise: what the dead-letter topic must hold.
    pub(super) given_up: BTreeMap<(u32, u64), GivenUp>,
    /// Those that were given up.
    unjoinable: BTreeMap<(u32, u64), JoinedRow>,
    /// How many of each.
    pub(super) counts: Checked,
}

/// An event that ended without a partner.
#[derive(Debug)]
pub(super) struct GivenUp {
    /// Where it stands in the foreign topic.
    pub(super) place: (u32, u64),
    /// How it ended, as a word.
    pub(super) outcome: &'static str,
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

/// The first record so far of an id.
struct Found {
    place: (u32, u64),
    logged_ms: i64,
    source: (u32, u64),
    outcome: Outcome,
    judged: Result<(Fate, Option<Bytes>), String>,
}

impl Winners {
    /// Reads the log, which must exist, to its present end: once for its splits, and once for its events.
    pub(super) fn read(
        settings: &Settings,
        join: &Join,
        sent: &Sent,
        problems: &mut Problems,
    ) -> Result<Self> {
        let topic = naming::log_topic(join.name);
        let reigns = read_splits(TopicReader::open(settings, &topic)?)?;
        let mut reader = TopicReader::open(settings, &topic)?;
        let mut winners = Self {
            log: reader.info().id,
            partitions: reader.info().partitions,
            fates: Vec::new(),
            joined: BTreeMap::new(),
            given_up: BTreeMap::new(),
            unjoinable: BTreeMap::new(),
            counts: Checked::default(),
        };
        let judge = Judge { join, sent };
        let mut found = BTreeMap::new();
        reader.read_to_end(|record| {
            let place = (record.partition(), record.offset());
            if record.key() == Some(POISON_KEY) {
                return Ok(());
            }
            match decode(record.key(), record.value()) {
                Err(error) => problems.add("unreadable in the log", || {
                    format!("{}/{}: {error}", place.0, place.1)
                }),
                Ok(decoded) => {
                    let Content::Event(event) = decoded.content else {
                        return Ok(());
                    };
                    if reigns.count(place, &decoded.stamp, event.id) {
                        winners.consider(record, &event, &judge, &mut found);
                    } else {
                        winners.counts.misplaced += 1;
                        let right = reigns.explain(place.0, &decoded.stamp, event.id);
                        problems.unless(right, "out of place in the log", || {
                            let (partition, offset) = place;
                            let of = decoded.stamp.partitions;
                            format!("{partition}/{offset}: {} among {of}", shown(event.id))
                        });
                    }
                }
            }
            Ok(())
        })?;
        for (id, found) in found {
            winners.add(&id, found, problems);
        }
        Ok(winners)
    }

    /// An event that counts. The first one is in the lowest partition, because a child has a higher number than its parent and takes over its ids where
    /// the parent no longer accepts them; so it does not matter which partition is read first.
    fn consider(
        &mut self,
        record: &Record<'_>,
        event: &Event<'_>,
        judge: &Judge<'_>,
        found: &mut BTreeMap<Vec<u8>, Found>,
    ) {
        let place = (record.partition(), record.offset());
        let judged = || Found {
            place,
            logged_ms: record.timestamp_ms(),
            source: judge.source(event).unwrap_or_default(),
            outcome: event.outcome,
            judged: judge.fate(event),
        };
        match found.entry(event.id.to_vec()) {
            Entry::Vacant(entry) => {
                entry.insert(judged());
            }
            Entry::Occupied(mut entry) => {
                self.counts.superseded += 1;
                if place < entry.get().place {
                    entry.insert(judged());
                }
            }
        }
    }

    fn add(&mut self, id: &[u8], found: Found, problems: &mut Problems) {
        let Found {
            place,
            logged_ms,
            source,
            outcome,
            judged,
        } = found;
        if outcome != Outcome::Joined {
            let given_up = GivenUp {
                place: source,
                outcome: outcome_word(outcome),
            };
            self.given_up.insert(place, given_up);
        }
        match judged {
            Err(wrong) => problems.add("wrong in the log", || {
                format!("{}/{}: {} {wrong}", place.0, place.1, shown(id))
            }),
            Ok((fate, row)) => {
                self.count(&fate);
                let rows = match fate {
                    Fate::Joined { .. } => &mut self.joined,
                    _ => &mut self.unjoinable,
                };
                rows.extend(row.map(|open| (place, JoinedRow { open, logged_ms })));
                self.fates.push(fate);
            }
        }
    }

    /// Redis must hold those too that were given up.
    pub(super) fn emit_unjoinable(&mut self) {
        self.joined.append(&mut self.unjoinable);
        // What has a row is no dead letter.
        self.given_up
            .retain(|_, ended| ended.outcome != "unjoinable");
    }

    fn count(&mut self, fate: &Fate) {
        match fate {
            Fate::Joined { .. } => self.counts.joined += 1,
            Fate::Unjoinable { .. } => self.counts.unjoinable += 1,
            Fate::Malformed { .. } => self.counts.malformed += 1,
        }
    }
}

/// Which records count.
fn read_splits(mut reader: TopicReader) -> Result<Reigns> {
    let mut splits = Splits::of(reader.info().id);
    reader.read_to_end(|record| {
        // What is unreadable is told when the events are read.
        if let Ok(decoded) = decode(record.key(), record.value()) {
            splits.note(record.partition(), record.offset(), &decoded);
        }
        Ok(())
    })?;
    Ok(splits.reigns(reader.info().partitions))
}

/// Holds one winner against what was sent.
struct Judge<'a> {
    join: &'a Join,
    sent: &'a Sent,
}

impl Judge<'_> {
    /// Where the event stands in the foreign topic, also if it was parked.
    fn source(&self, event: &Event<'_>) -> Option<(u32, u64)> {
        let (topic, partition, offset) = event.source;
        if topic == self.sent.foreign_id {
            return Some((partition, offset));
        }
        self.sent.parked.get(&event.source).copied()
    }

    /// How the event ended, with its row if it has one; or what is wrong.
    fn fate(&self, event: &Event<'_>) -> Result<(Fate, Option<Bytes>), String> {
        let (topic, ..) = event.source;
        let source = self.source(event);
        let (partition, offset) = source
            .ok_or_else(|| format!("is of a topic {topic} that is neither the foreign one nor a retry topic, or was never parked"))?;
        let sent = self.sent.foreign.get(&(partition, offset));
        let sent = sent.ok_or_else(|| format!("is of {partition}/{offset}, never sent"))?;
        let body = Body::decode(event.outcome, Bytes::copy_from_slice(event.body));
        match body.ok_or("has a body that cannot be read")? {
            Body::Joined { row } => {
                let fate = self.joined(event, &row, sent)?;
                Ok((fate, Some(row)))
            }
            Body::Unjoinable {
                row, mut original, ..
            } => {
                if topic != self.sent.foreign_id {
                    let place = format!("{}/{partition}/{offset}", self.join.foreign.topic);
                    let said = original.headers.pop();
                    if said != Some(("rtf.source".into(), Some(place.into()))) {
                        return Err(format!("does not say where it stood before: {said:?}"));
                    }
                }
                if original != *sent {
                    return Err("does not keep its original".into());
                }
                Ok((self.unjoinable(event, &row, sent)?, Some(row)))
            }
            Body::Malformed { words, original } => {
                self.malformed(event, &words)?;
                if original != *sent {
                    return Err("does not keep its original".into());
                }
                let value = sent.value.as_ref().map(|value| value.to_vec());
                Ok((Fate::Malformed { value }, None))
            }
        }
    }

    fn joined(&self, event: &Event<'_>, row: &[u8], sent: &Original) -> Result<Fate, String> {
        let text = closed(row)?;
        let row = self.row(event, &text, sent)?;
        let mut partners = Vec::new();
        for primary in &row.primary {
            let sent = self.sent.primary.get(primary.get().as_bytes());
            let sent = sent.ok_or_else(|| format!("has a partner never sent: {primary}"))?;
            let key = |sent: &Original| self.sent.key(sent, self.join.primary.key);
            let partner = sent
                .iter()
                .find(|sent| key(sent).as_ref() == Some(&row.key));
            let partner =
                partner.ok_or_else(|| format!("has a partner of another key: {primary}"))?;
            let id = text_of(partner, self.join.primary.id);
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

    fn unjoinable(&self, event: &Event<'_>, row: &[u8], sent: &Original) -> Result<Fate, String> {
        let text = closed(row)?;
        let row = self.row(event, &text, sent)?;
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
        sent: &Original,
    ) -> Result<OpenRow<'r>, String> {
        let row: OpenRow<'_> = serde_json::from_str(text)
            .map_err(|error| format!("has a row that is none: {error}"))?;
        let value = sent.value.as_deref().map(<[u8]>::trim_ascii);
        if Some(row.foreign.get().as_bytes()) != value {
            return Err(format!("has a row of another event: {}", row.foreign));
        }
        if row.id.as_bytes() != event.id {
            return Err(format!("has a row with the id {}", row.id));
        }
        // A record that is sent again to be joined after all brings its id along.
        let given = sent.headers.iter().rfind(|(name, _)| name == "rtf.id");
        let given = given.and_then(|(_, id)| String::from_utf8(id.as_ref()?.to_vec()).ok());
        let id = given.or_else(|| text_of(sent, self.join.foreign.id));
        if id.as_ref() != Some(&row.id) {
            return Err("has another id than its event".into());
        }
        if self.sent.key(sent, self.join.foreign.key).as_ref() != Some(&row.key) {
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
