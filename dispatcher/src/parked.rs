//! What a parked event is in Kafka: its original record, and how it waits, in headers behind the original's own. Pure.
//!
//! | header | says |
//! |---|---|
//! | `rtf.due` | when it is to be tried again, ms since 1970 |
//! | `rtf.attempts` | how often a partner was looked for |
//! | `rtf.first_seen` | when it was read first, ms since 1970 |
//! | `rtf.source` | where it stands in the foreign topic: topic/partition/offset |
//! | `rtf.source_topic_id` | Kafka's id of that topic |
//! | `rtf.timestamp` | Kafka's timestamp of it, ms since 1970 |
//! | `rtf.token` | its attempt chain |
//! | `rtf.id`, `rtf.key` | its id, and the key it waits for |
//!
//! They are the last ones, in this order, so that taking them away leaves what the original had, whatever that was.

use rtf_proto::{EventId, Header, JoinKey, Original, Source, Token, TopicId, header};

/// How an event waits.
#[derive(Clone, PartialEq, Debug)]
pub struct Parked {
    /// When it is to be tried again, ms since 1970.
    pub due_ms: i64,
    /// How often a partner was looked for.
    pub attempts: u32,
    /// When it was read first, ms since 1970.
    pub first_seen_ms: i64,
    /// Where it stands in the foreign topic.
    pub source: Source,
    /// Kafka's timestamp of it, ms since 1970.
    pub kafka_ts: i64,
    /// Its attempt chain.
    pub token: Token,
    /// Its id.
    pub id: EventId,
    /// The key it waits for.
    pub key: JoinKey,
}

const NAMES: [&str; 9] = [
    header::DUE,
    header::ATTEMPTS,
    header::FIRST_SEEN,
    header::SOURCE,
    header::SOURCE_TOPIC_ID,
    header::TIMESTAMP,
    header::TOKEN,
    header::ID,
    header::KEY,
];

impl Parked {
    /// The record to be parked.
    pub fn write(&self, original: &Original) -> Original {
        let values = [
            self.due_ms.to_string(),
            self.attempts.to_string(),
            self.first_seen_ms.to_string(),
            self.source.to_string(),
            self.source.topic_id.to_string(),
            self.kafka_ts.to_string(),
            format!("{:016x}", self.token.0),
            self.id.to_string(),
            self.key.to_string(),
        ];
        let mut record = original.clone();
        let named = NAMES.into_iter().zip(values);
        let ours = named.map(|(name, value)| (name.to_owned(), Some(value.into())));
        record.headers.extend(ours);
        record
    }

    /// Reads what [`write`](Self::write) made, and gives the original back; `None` for somebody else's record.
    pub fn read(mut record: Original) -> Option<(Self, Original)> {
        let own = record.headers.len().checked_sub(NAMES.len())?;
        let ours = record.headers.split_off(own);
        let parked = Self::of(&ours)?;
        Some((parked, record))
    }

    /// The key a parked record waits for, without a look at the rest.
    pub fn key_of(headers: &[Header]) -> Option<&[u8]> {
        let (name, value) = headers.last()?;
        (name == header::KEY).then_some(value.as_deref()?)
    }

    fn of(headers: &[Header]) -> Option<Self> {
        if !headers.iter().map(|(name, _)| name).eq(NAMES) {
            return None;
        }
        let text = |at: usize| std::str::from_utf8(headers[at].1.as_deref()?).ok();
        let mut place = text(3)?.rsplitn(3, '/');
        let (offset, partition) = (place.next()?, place.next()?);
        Some(Self {
            due_ms: text(0)?.parse().ok()?,
            attempts: text(1)?.parse().ok()?,
            first_seen_ms: text(2)?.parse().ok()?,
            source: Source {
                topic: place.next()?.into(),
                topic_id: TopicId::parse(text(4)?)?,
                partition: partition.parse().ok()?,
                offset: offset.parse().ok()?,
            },
            kafka_ts: text(5)?.parse().ok()?,
            token: Token(u64::from_str_radix(text(6)?, 16).ok()?),
            id: EventId::from(text(7)?),
            key: JoinKey::from(text(8)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use rtf_fuzz::fuzz;

    fn any_original() -> impl Strategy<Value = Original> {
        let bytes =
            || prop::option::of(prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from));
        let name = prop_oneof![
            "[a-z]{0,4}",
            prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
        ];
        let headers = prop::collection::vec((name, bytes()), 0..12);
        (bytes(), bytes(), headers).prop_map(|(key, value, headers)| Original {
            key,
            value,
            headers,
        })
    }

    /// Headers of anybody's making, one a line: what is read as parked is written so that it is read the same.
    #[test]
    fn fuzz_parked() {
        let whole = b"1700000060000\n3\n1700000000000\na/b/1/77\nAQEBAQEBAQEBAQEBAQEBAQ\n1700000000000\n00000000000000ff\nan id\na key";
        let negative = b"own header\n-1\n0\n-5\nt/0/0\nAQEBAQEBAQEBAQEBAQEBAQ\n0\n0\n\xc3\xa9\nk";
        fuzz("parked", &[whole, negative], |input| {
            let values: Vec<_> = input.split(|byte| *byte == b'\n').collect();
            let own = values.len().saturating_sub(NAMES.len());
            let name = |at: usize| at.checked_sub(own).map_or("h", |at| NAMES[at]).to_owned();
            let value = |value: &&[u8]| Some(Bytes::copy_from_slice(value));
            let headers = values.iter().enumerate();
            let record = Original {
                headers: headers
                    .map(|(at, bytes)| (name(at), value(bytes)))
                    .collect(),
                ..Original::default()
            };
            if let Some((parked, original)) = Parked::read(record) {
                assert_eq!(original.headers.len(), own);
                let again = Parked::read(parked.write(&original));
                assert_eq!(again, Some((parked, original)));
            }
        });
    }

    proptest! {
        #[test]
        fn what_is_parked_comes_back(original in any_original(), due_ms: i64, attempts: u32, first_seen_ms: i64, kafka_ts: i64,
                                     token: u64, topic: [u8; 16], at: (u32, u64), id in "\\PC{1,9}", key in "\\PC{1,9}") {
            let source = Source { topic: "a/b".into(), topic_id: TopicId(topic), partition: at.0, offset: at.1 };
            let parked = Parked {
                due_ms, attempts, first_seen_ms, source, kafka_ts, token: Token(token),
                id: EventId::from(id.as_str()), key: JoinKey::from(key.as_str()),
            };
            let record = parked.write(&original);
            prop_assert_eq!(Parked::key_of(&record.headers), Some(key.as_bytes()));
            prop_assert_eq!(Parked::read(record), Some((parked.clone(), original.clone())));
            // Parked a second time, it is still the same.
            let again = parked.write(&Parked::read(parked.write(&original)).unwrap().1);
            prop_assert_eq!(again, parked.write(&original));
        }

        #[test]
        fn strangers_are_known(original in any_original()) {
            let is_parked = original.headers.len() >= NAMES.len()
                && original.headers[original.headers.len() - NAMES.len()..].iter().map(|(n, _)| n).eq(NAMES);
            if !is_parked {
                prop_assert_eq!(Parked::read(original), None);
            }
        }
    }
}
