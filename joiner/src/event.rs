//! A primary event as it is kept: one block of memory with the original bytes, and where in it things stand.

mod stored;

use crate::Options;
use crate::matching::{Candidate, OrderValue};
use rtf_json::{ExtractError, Extracted, Extractor, Fields, Parts, PointerError};
use rtf_proto::MAX_ID_BYTES;
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

/// Never expires.
const NEVER: i64 = i64::MAX;

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Kafka's timestamp of it, ms.
    pub kafka_ts: i64,
    pub partition: u32,
    pub offset: u64,
}

/// Part of an event's block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Span {
    at: u32,
    len: u32,
}

impl Span {
    fn pack(self) -> u64 {
        u64::from(self.at) << 32 | u64::from(self.len)
    }
    fn unpack(packed: u64) -> Self {
        Self {
            at: (packed >> 32) as u32,
            len: packed as u32,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OrderKind {
    Number,
    Text,
    Missing,
}

/// Bytes that are owned, or lie elsewhere.
pub(crate) trait Block: Deref<Target = [u8]> {}
impl<B: Deref<Target = [u8]>> Block for B {}

/// A primary event; cheap to clone. There are millions of them, so its fields are packed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Event<B = Arc<[u8]>> {
    /// The payload, then those texts that do not stand in it as they are.
    block: B,
    payload: u32,
    partition: u32,
    offset: u64,
    kafka_ts: i64,
    event_ts: i64,
    expires: i64,
    /// A number's bits, or a text's span.
    order: u64,
    key: Span,
    id_at: u32,
    /// 0 when primaries have none; an id is never empty.
    id_len: u16,
    order_kind: OrderKind,
}

/// An event as it is looked at where it lies on disk.
pub(crate) type Stored<'b> = Event<&'b [u8]>;

impl<B: Block> Event<B> {
    /// The original bytes.
    pub fn payload(&self) -> &[u8] {
        &self.block[..self.payload as usize]
    }
    /// Its id, if primaries have one.
    pub fn id(&self) -> Option<&[u8]> {
        let span = Span {
            at: self.id_at,
            len: self.id_len.into(),
        };
        (span.len > 0).then(|| self.span(span))
    }
    pub fn key(&self) -> &[u8] {
        self.span(self.key)
    }
    /// Event time, ms.
    pub fn event_ts(&self) -> i64 {
        self.event_ts
    }
    pub fn place(&self) -> Place {
        Place {
            kafka_ts: self.kafka_ts,
            partition: self.partition,
            offset: self.offset,
        }
    }
    /// When it stops matching, ms, if ever.
    pub fn expires(&self) -> Option<i64> {
        (self.expires != NEVER).then_some(self.expires)
    }
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires <= now_ms
    }
    /// Bytes of its block.
    pub fn block_bytes(&self) -> usize {
        self.block.len()
    }
    /// What the policy looks at.
    pub fn candidate(&self) -> Candidate<'_> {
        Candidate {
            value: match self.order_kind {
                OrderKind::Number => OrderValue::Number(f64::from_bits(self.order)),
                OrderKind::Text => OrderValue::Text(self.span(Span::unpack(self.order))),
                OrderKind::Missing => OrderValue::Missing,
            },
            kafka_ts: self.kafka_ts,
            partition: self.partition,
            offset: self.offset,
        }
    }

    fn span(&self, span: Span) -> &[u8] {
        &self.block[span.at as usize..][..span.len as usize]
    }
}

/// Reads primary events out of records.
pub(crate) struct EventReader {
    extractor: Extractor,
    has_id: bool,
    expires: Option<String>,
    orders: bool,
}

impl EventReader {
    pub fn new(options: &Options) -> Result<Self, PointerError> {
        let order_by = options.policy.order_by();
        let extra = options.expires.as_deref().into_iter().chain(order_by);
        let fields = Fields {
            id: options.id.clone(),
            key: options.key.clone(),
            time: options.time.clone(),
            extra: extra.map(str::to_owned).collect(),
            folding: options.folding,
            max_id_bytes: MAX_ID_BYTES,
        };
        Ok(Self {
            extractor: Extractor::new(fields)?,
            has_id: !options.id.is_empty(),
            expires: options.expires.clone(),
            orders: order_by.is_some(),
        })
    }

    /// Whether primaries have ids of their own.
    pub fn has_id(&self) -> bool {
        self.has_id
    }

    /// Whether it must be given a record's headers.
    pub fn reads_headers(&self) -> bool {
        self.extractor.reads_headers()
    }

    /// The id that a record without a value deletes. `None` where there is no key for it.
    pub fn deleted<'j>(&self, parts: &Parts<'j>) -> Result<Option<Cow<'j, [u8]>>, ExtractError> {
        let id = self.extractor.id_without_value(parts).transpose()?;
        let id = id.map(|id| match id {
            Cow::Borrowed(id) => Cow::Borrowed(id.as_bytes()),
            Cow::Owned(id) => Cow::Owned(id.into_bytes()),
        });
        Ok(id.or(parts.key.map(Cow::Borrowed)))
    }

    pub fn read(&self, parts: &Parts<'_>, place: Place) -> Result<Event, ExtractError> {
        let payload = parts.value;
        let found = self.extractor.extract(parts)?;
        let expires = self.expires(&found)?;
        let order = match self.orders {
            true => order(found.extra(usize::from(self.expires.is_some()))),
            false => Read::Missing,
        };
        let mut texts = Vec::new();
        let id = found.id.as_ref().map(|id| put(&mut texts, payload, id));
        let id = id.unwrap_or_default();
        let key = put(&mut texts, payload, &found.key);
        let (order_kind, order) = match &order {
            Read::Number(number) => (OrderKind::Number, number.to_bits()),
            Read::Text(text) => (OrderKind::Text, put(&mut texts, payload, text).pack()),
            Read::Missing => (OrderKind::Missing, 0),
        };
        Ok(Event {
            block: block(payload, &texts),
            payload: short(payload.len()),
            partition: place.partition,
            offset: place.offset,
            kafka_ts: place.kafka_ts,
            event_ts: found.time_ms.unwrap_or(place.kafka_ts),
            expires,
            order,
            key,
            id_at: id.at,
            id_len: u16::try_from(id.len).expect("ids are at most MAX_ID_BYTES long"),
            order_kind,
        })
    }

    fn expires(&self, found: &Extracted<'_, '_>) -> Result<i64, ExtractError> {
        let Some(pointer) = &self.expires else {
            return Ok(NEVER);
        };
        match found.extra(0) {
            None | Some("null") => Ok(NEVER),
            raw => Ok(rtf_json::time::of(pointer, raw)?),
        }
    }
}

/// An order value on its way into a block.
enum Read<'j> {
    Number(f64),
    Text(Cow<'j, str>),
    Missing,
}

fn order(raw: Option<&str>) -> Read<'_> {
    let is_text = raw.is_some_and(|raw| raw.starts_with('"'));
    match rtf_json::text("", raw) {
        Ok(text) if is_text => Read::Text(text),
        // Adding zero makes the negative zero the positive one.
        Ok(number) => number
            .parse::<f64>()
            .map_or(Read::Missing, |n| Read::Number(n + 0.0)),
        Err(_) => Read::Missing,
    }
}

/// Where in the payload a text stands, if it was borrowed from it.
fn within(payload: &[u8], text: &str) -> Option<usize> {
    let borrowed = payload.as_ptr_range().contains(&text.as_ptr());
    borrowed.then(|| text.as_ptr().addr() - payload.as_ptr().addr())
}

/// The payload and what follows it; mostly nothing does.
fn block(payload: &[u8], texts: &[u8]) -> Arc<[u8]> {
    match texts {
        [] => payload.into(),
        texts => [payload, texts].concat().into(),
    }
}

/// Finds a text in the payload, or adds it to what follows it.
fn put(texts: &mut Vec<u8>, payload: &[u8], text: &str) -> Span {
    let at = within(payload, text).unwrap_or_else(|| {
        texts.extend_from_slice(text.as_bytes());
        payload.len() + texts.len() - text.len()
    });
    Span {
        at: short(at),
        len: short(text.len()),
    }
}

fn short(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a Kafka record is below 2 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Policy};
    use rtf_json::Folding;

    const PLACE: Place = Place {
        kafka_ts: 7,
        partition: 1,
        offset: 2,
    };

    fn options() -> Options {
        Options {
            topic: "deals".into(),
            id: vec!["/id".into()],
            key: vec!["/from".into()],
            time: None,
            expires: Some("/gone".into()),
            folding: Folding {
                trim: true,
                fold_case: true,
            },
            policy: Policy::Best {
                order_by: "/fare".into(),
                direction: Direction::Ascending,
                limit: 3,
            },
            data: None,
            memory_bytes: 1 << 20,
            wanted_keys: 10,
            batches_in_flight: 1,
        }
    }

    fn read(json: &str) -> Result<Event, ExtractError> {
        EventReader::new(&options())
            .unwrap()
            .read(&Parts::of(json.as_bytes()), PLACE)
    }

    #[test]
    fn texts_of_the_payload_are_not_kept_twice() {
        let json = r#"{"id":"d1","from":" austin ","fare":12.5,"gone":9}"#;
        let event = read(json).unwrap();
        assert_eq!(event.block_bytes(), json.len());
        assert_eq!(event.payload(), json.as_bytes());
        assert_eq!(event.id(), Some(&b"d1"[..]));
        assert_eq!(event.key(), b"austin");
        assert_eq!(event.event_ts(), 7);
        assert_eq!(event.expires(), Some(9));
        assert_eq!(event.candidate().value, OrderValue::Number(12.5));
        assert!(event.is_expired(9) && !event.is_expired(8));
    }

    #[test]
    fn changed_texts_stand_behind_the_payload() {
        let json = r#"{"id":"d\u0031","from":"Austin","fare":"\u0041b","gone":null}"#;
        let event = read(json).unwrap();
        assert_eq!(event.block_bytes(), json.len() + 2 + 6 + 2);
        assert_eq!(event.payload(), json.as_bytes());
        assert_eq!(event.id(), Some(&b"d1"[..]));
        assert_eq!(event.key(), b"austin");
        assert_eq!(event.expires(), None);
        assert_eq!(event.candidate().value, OrderValue::Text(b"Ab"));
    }

    #[test]
    fn texts_beside_the_payload_stand_behind_it() {
        let options = Options {
            id: vec!["@key".into()],
            key: vec!["@header.from".into()],
            ..options()
        };
        let reader = EventReader::new(&options).unwrap();
        assert!(reader.reads_headers());
        let headers = [("from".to_owned(), Some("Austin".into()))];
        let parts = Parts {
            value: b"{}",
            key: Some(b"d1"),
            headers: &headers,
        };
        let event = reader.read(&parts, PLACE).unwrap();
        assert_eq!(event.payload(), b"{}");
        assert_eq!(event.block_bytes(), 2 + 2 + 6);
        assert_eq!(event.id(), Some(&b"d1"[..]));
        assert_eq!(event.key(), b"austin");
    }

    #[test]
    fn records_without_a_value_name_what_they_delete() {
        let deleted = |id: &[&str], key: Option<&'static [u8]>| {
            let options = Options {
                id: id.iter().map(|id| (*id).to_owned()).collect(),
                ..options()
            };
            let headers = [("h".to_owned(), Some("H".into()))];
            let parts = Parts {
                value: b"",
                key,
                headers: &headers,
            };
            let reader = EventReader::new(&options).unwrap();
            let deleted = reader.deleted(&parts).map_err(|e| e.to_string())?;
            Ok(deleted.map(|id| String::from_utf8_lossy(&id).into_owned()))
        };
        let key = Some(&b"K"[..]);
        assert_eq!(deleted(&["/id"], key), Ok(Some("K".into())));
        assert_eq!(deleted(&["/id"], None), Ok(None));
        assert_eq!(deleted(&["@key"], key), Ok(Some("K".into())));
        assert_eq!(deleted(&["@header.h"], key), Ok(Some("H".into())));
        let both = Ok(Some(r#"["K","H"]"#.into()));
        assert_eq!(deleted(&["@key", "@header.h"], key), both);
        assert_eq!(deleted(&["@key", "/id"], key), Ok(Some("K".into())));
        let null: Result<_, String> = Err("`@key` is null".into());
        assert_eq!(deleted(&["@key"], None), null);
    }

    #[test]
    fn order_values_that_are_none_are_missing() {
        for fare in ["null", "[]", "true", "\"\""] {
            let event = read(&format!(r#"{{"id":1,"from":"x","fare":{fare}}}"#)).unwrap();
            assert_eq!(event.candidate().value, OrderValue::Missing, "{fare}");
        }
        let event = read(r#"{"id":1,"from":"x","fare":-0.0}"#).unwrap();
        let zero = Candidate {
            value: OrderValue::Number(0.0),
            ..event.candidate()
        };
        let order = options().policy.compare(&event.candidate(), &zero);
        assert!(order.is_eq());
    }

    #[test]
    fn events_are_packed() {
        assert_eq!(size_of::<Option<Event>>(), 80);
    }

    #[test]
    fn an_unreadable_expiry_is_malformed() {
        let words = read(r#"{"id":1,"from":"x","gone":"soon"}"#)
            .unwrap_err()
            .to_string();
        assert!(
            words.starts_with("`/gone` is not a time: \"soon\""),
            "{words}"
        );
    }
}
