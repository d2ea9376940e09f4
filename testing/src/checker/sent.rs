//! Sent: what stands in the two topics, and reading JSON as the join's contract says.

use std::collections::HashMap;

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
    /// The primaries, by their values.
    pub(super) primary: HashMap<Bytes, Vec<Original>>,
    folds: bool,
}

impl Sent {
    /// `folds`: keys are trimmed and in lower case.
    pub(super) fn read(settings: &Settings, join: &Join, folds: bool) -> Result<Self> {
        let mut reader = TopicReader::open(settings, join.foreign.topic)?;
        let foreign_id = reader.info().id;
        let mut foreign = HashMap::new();
        reader.read_to_end(|record| {
            foreign.insert((record.partition(), record.offset()), record.original());
            Ok(())
        })?;
        let mut primary: HashMap<Bytes, Vec<Original>> = HashMap::new();
        TopicReader::open(settings, join.primary.topic)?.read_to_end(|record| {
            if let Some(value) = record.value().map(<[u8]>::trim_ascii) {
                let same = primary.entry(Bytes::copy_from_slice(value)).or_default();
                same.push(record.original());
            }
            Ok(())
        })?;
        Ok(Self {
            parked: read_parked(settings, join)?,
            foreign_id,
            foreign,
            primary,
            folds,
        })
    }

    /// The key of a record; these are its fields.
    pub(super) fn key(&self, record: &Original, fields: &str) -> Option<String> {
        let key = text_of(record, fields)?;
        Some(match self.folds {
            true => key.trim().to_lowercase(),
            false => key,
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

/// The text of a field, or the JSON array of several that are separated by spaces.
pub(super) fn text_of(record: &Original, fields: &str) -> Option<String> {
    let texts = fields.split(' ').map(|field| text_in(record, field));
    let texts: Vec<String> = texts.collect::<Option<_>>()?;
    match &texts[..] {
        [text] => Some(text.clone()),
        _ => serde_json::to_string(&texts).ok(),
    }
}

fn text_in(record: &Original, field: &str) -> Option<String> {
    let bytes = if let Some(name) = field.strip_prefix("@header.") {
        let last = record.headers.iter().rfind(|(n, _)| n == name);
        last.and_then(|(_, value)| value.as_deref())
    } else if field == "@key" {
        record.key.as_deref()
    } else {
        let json = std::str::from_utf8(record.value.as_deref()?).ok()?;
        return text_at(json, field);
    };
    Some(std::str::from_utf8(bytes?).ok()?.to_owned())
}

/// The text at a JSON pointer: the string, or the number as it is written.
fn text_at(json: &str, pointer: &str) -> Option<String> {
    let mut at: &RawValue = serde_json::from_str(json).ok()?;
    for name in pointer.split('/').skip(1) {
        if at.get().starts_with('[') {
            let elements: Vec<&RawValue> = serde_json::from_str(at.get()).ok()?;
            at = elements.get(name.parse::<usize>().ok()?).copied()?;
            continue;
        }
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
        assert_eq!(
            text_at(r#"{"a":[{"b":1},2]}"#, "/a/0/b").as_deref(),
            Some("1")
        );
    }

    #[test]
    fn texts_beside_the_value_are_found() {
        let header = |value: &'static str| ("h".to_owned(), Some(Bytes::from(value)));
        let record = Original {
            key: Some("k".into()),
            value: Some(r#"{"a":1}"#.into()),
            headers: vec![header("1"), header("2"), ("null".into(), None)],
        };
        let text = |fields| text_of(&record, fields);
        assert_eq!(
            text("@key /a @header.h").as_deref(),
            Some(r#"["k","1","2"]"#)
        );
        assert_eq!(text("/a").as_deref(), Some("1"));
        assert_eq!(text("@header.null"), None);
        assert_eq!(text("@key @header.none"), None);
    }
}
