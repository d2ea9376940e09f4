//! Sent: what stands in the two topics, and reading JSON as the join's contract says.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use bytes::Bytes;
use rtf_kafka::{Cluster, Settings};
use rtf_proto::{Original, TopicId};
use rtf_synth::Join;
use serde_json::value::RawValue;

use crate::reader::TopicReader;

/// Partition and offset in the foreign topic, by topic id, partition and offset of a retry topic.
type Parked = HashMap<(TopicId, u32, u64), (u32, u64)>;

/// Both topics, in memory.
pub(super) struct Sent {
    /// The foreign topic's id.
    pub(super) foreign_id: TopicId,
    /// Each foreign record, by partition and offset.
    pub(super) foreign: HashMap<(u32, u64), Original>,
    /// Where each parked record came from.
    pub(super) parked: Parked,
    /// The value of each primary.
    pub(super) primary: HashSet<Bytes>,
}

impl Sent {
    pub(super) fn read(settings: &Settings, join: &Join) -> Result<Self> {
        let mut reader = TopicReader::open(settings, join.foreign.topic)?;
        let foreign_id = reader.info().id;
        let mut foreign = HashMap::new();
        reader.read_to_end(|record| {
            foreign.insert((record.partition(), record.offset()), record.original());
            Ok(())
        })?;
        let mut primary = HashSet::new();
        TopicReader::open(settings, join.primary.topic)?.read_to_end(|record| {
            let value = record.value().map(<[u8]>::trim_ascii);
            primary.extend(value.map(Bytes::copy_from_slice));
            Ok(())
        })?;
        Ok(Self {
            parked: read_parked(settings, join)?,
            foreign_id,
            foreign,
            primary,
        })
    }
}

/// Retry topics say of each record where it came from.
fn read_parked(settings: &Settings, join: &Join) -> Result<Parked> {
    let mut parked = HashMap::new();
    for topic in Cluster::connect(settings)?.topics(&format!("{}.retry.", join.name))? {
        let mut reader = TopicReader::open(settings, &topic)?;
        let id = reader.info().id;
        reader.read_to_end(|record| {
            let headers = record.headers();
            let source = headers.iter().rfind(|(name, _)| name == "rtf.source");
            let source =
                source.and_then(|(_, text)| String::from_utf8(text.as_ref()?.to_vec()).ok());
            let place = source.as_deref().and_then(|text| {
                let rest = text.strip_prefix(join.foreign.topic)?.strip_prefix('/')?;
                let (partition, offset) = rest.split_once('/')?;
                Some((partition.parse().ok()?, offset.parse().ok()?))
            });
            parked.extend(place.map(|place| ((id, record.partition(), record.offset()), place)));
            Ok(())
        })?;
    }
    Ok(parked)
}

/// The text at a JSON pointer: the string, or the number as it is written.
pub(super) fn text_at(json: &str, pointer: &str) -> Option<String> {
    let mut at: &RawValue = serde_json::from_str(json).ok()?;
    for name in pointer.split('/').skip(1) {
        let fields: HashMap<String, &RawValue> = serde_json::from_str(at.get()).ok()?;
        at = fields.get(name).copied()?;
    }
    match at.get().as_bytes().first()? {
        b'"' => serde_json::from_str(at.get()).ok(),
        b'-' | b'0'..=b'9' => Some(at.get().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_below_pointers() {
        let deep = format!(r#","deep":{}{}"#, "[".repeat(10_000), "]".repeat(10_000));
        let json = format!(r#"{{"a":{{"b":"x\u0041"}},"n":-1.50,"t":true{deep}}}"#);
        assert_eq!(text_at(&json, "/a/b").as_deref(), Some("xA"));
        assert_eq!(text_at(&json, "/n").as_deref(), Some("-1.50"));
        assert_eq!(text_at(&json, "/t"), None);
        assert_eq!(text_at(&json, "/a/c"), None);
        assert_eq!(text_at("no", "/a"), None);
    }
}
