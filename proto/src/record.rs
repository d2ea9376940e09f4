//! The join-log record: one Kafka record that is an event's id, its outcome and its row together.
//!
//! The record's key is the event id, so any tool with Kafka's default partitioner agrees on its partition.
//! The value is a fixed header, little endian, and a body:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `RTFJ` |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | kind: 1 event, 2 barrier, 3 control |
//! | 6 | 2 | outcome, big endian: outcome and reason |
//! | 8 | 16 | log id |
//! | 24 | 4 | partition count the writer knew |
//! | 28 | 8 | incarnation of the writer's producer |
//! | 36 | 8 | sequence within the incarnation |
//! | 44 | 4 | CRC-32 of the key and of all other bytes of the value |
//! | 48 | 8 | token (events only, as is all that follows) |
//! | 56 | 16 | source topic id |
//! | 72 | 4 | source partition |
//! | 76 | 8 | source offset |
//! | 84 | 8 | Kafka timestamp of the later side, ms since 1970 |
//! | 92 | … | body, see [`Body`] |
//!
//! A control record has its [`Control`] from byte 48 on.

use crate::control::Control;
use crate::next::{VERSION, versions};
use crate::original::{put, take};
use crate::{
    EventId, Incarnation, LogId, Offset, Original, Outcome, PartitionId, Registration, SourceId,
    Token, TopicId,
};
use bytes::{Buf, BufMut, Bytes};

const MAGIC: [u8; 4] = *b"RTFJ";
const KIND_EVENT: u8 = 1;
const KIND_BARRIER: u8 = 2;
const KIND_CONTROL: u8 = 3;
const CRC_AT: usize = 44;
const COMMON_BYTES: usize = 48;
/// Largest record of the log: a row of two records of a megabyte each fits with room to spare.
pub const MAX_RECORD_BYTES: usize = 8 << 20;
/// Bytes in front of an event's body.
pub const HEADER_BYTES: usize = 92;

/// Who wrote a record, and what it believed about the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The log this was written for.
    pub log: LogId,
    /// The log's partition count as the writer knew it.
    pub partitions: u32,
    /// The writer's life.
    pub incarnation: Incarnation,
    /// Position within that life.
    pub sequence: u64,
}

/// A decoded record; borrows the Kafka message it came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Who wrote it.
    pub stamp: Stamp,
    /// What it says.
    pub content: Content<'a>,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// An event is resolved, if this is the first record of its id.
    Event(Event<'a>),
    /// Nothing; its writer waits for it to come back, and then knows the log up to here.
    Barrier,
    /// Something about the log itself.
    Control(Control),
}

/// The resolution of one event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// The event, from the record's key.
    pub id: &'a [u8],
    /// How it ended.
    pub outcome: Outcome,
    /// Attempt chain.
    pub token: Token,
    /// Position of the foreign record: topic id, partition, offset.
    pub source: (TopicId, PartitionId, Offset),
    /// Kafka timestamp of the later side, ms.
    pub later_ts: i64,
    /// See [`Body`].
    pub body: &'a [u8],
}

impl Event<'_> {
    /// Where its foreign record stands.
    pub fn place(&self) -> (SourceId, Offset) {
        let (topic, partition, offset) = self.source;
        ((topic, partition), offset)
    }
}

/// Why bytes in the log are not a record that can be applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Somebody else's record: skipped and counted.
    #[error("not a record of a join log")]
    Foreign,
    /// Ours, but of a version this program does not know: stop, do not guess.
    #[error("record version {0} is not known to this program (it knows up to {VERSION})")]
    Version(u8),
    /// Ours, but damaged: stop.
    #[error("damaged record: {0}")]
    Damaged(&'static str),
}

/// Encodes an event's value; the key is the id.
pub fn encode_event(stamp: &Stamp, registration: &Registration, out: &mut Vec<u8>) {
    out.clear();
    out.reserve(HEADER_BYTES + registration.body.len());
    put_common(stamp, KIND_EVENT, registration.outcome.code(), out);
    out.put_u64_le(registration.token.0);
    out.put_slice(&registration.source.topic_id.0);
    out.put_u32_le(registration.source.partition);
    out.put_u64_le(registration.source.offset);
    out.put_i64_le(registration.later_ts);
    out.put_slice(&registration.body);
    seal(registration.id.as_bytes(), out);
}

/// Encodes a barrier's value; it has no key.
pub fn encode_barrier(stamp: &Stamp, out: &mut Vec<u8>) {
    out.clear();
    put_common(stamp, KIND_BARRIER, 0, out);
    seal(&[], out);
}

/// Encodes a control record's value; it has no key.
pub fn encode_control(stamp: &Stamp, control: &Control, out: &mut Vec<u8>) {
    out.clear();
    put_common(stamp, KIND_CONTROL, 0, out);
    control.encode(out);
    seal(&[], out);
}

fn put_common(stamp: &Stamp, kind: u8, outcome: u16, out: &mut Vec<u8>) {
    out.put_slice(&MAGIC);
    out.put_u8(versions().0);
    out.put_u8(kind);
    out.put_u16(outcome);
    out.put_slice(&stamp.log.0);
    out.put_u32_le(stamp.partitions);
    out.put_u64_le(stamp.incarnation.0);
    out.put_u64_le(stamp.sequence);
    out.put_u32_le(0);
}

fn seal(key: &[u8], value: &mut [u8]) {
    let crc = checksum(key, value);
    value[CRC_AT..COMMON_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Gives bytes the checksum that a record of theirs has, if they are long enough for one.
#[cfg(test)]
pub(crate) fn reseal(key: &[u8], value: &mut [u8]) {
    if value.len() >= COMMON_BYTES {
        seal(key, value);
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&value[..CRC_AT]);
    hasher.update(&value[COMMON_BYTES..]);
    hasher.finalize()
}

/// Decodes a record of the log.
///
/// # Errors
/// [`DecodeError::Foreign`] for what was never ours; everything else is ours and broken.
pub fn decode<'a>(
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
) -> Result<Record<'a>, DecodeError> {
    let value = value.ok_or(DecodeError::Foreign)?;
    if !value.starts_with(&MAGIC) {
        return Err(DecodeError::Foreign);
    }
    if value.len() < COMMON_BYTES {
        return Err(DecodeError::Damaged("shorter than its header"));
    }
    if !(VERSION..=versions().1).contains(&value[4]) {
        return Err(DecodeError::Version(value[4]));
    }
    let stored = u32::from_le_bytes(array(value, CRC_AT));
    if checksum(key.unwrap_or_default(), value) != stored {
        return Err(DecodeError::Damaged("its checksum does not match"));
    }
    let stamp = Stamp {
        log: TopicId(array(value, 8)),
        partitions: u32::from_le_bytes(array(value, 24)),
        incarnation: Incarnation(u64::from_le_bytes(array(value, 28))),
        sequence: u64::from_le_bytes(array(value, 36)),
    };
    let content = match value[5] {
        KIND_BARRIER => Content::Barrier,
        KIND_CONTROL => Content::Control(
            Control::decode(&value[COMMON_BYTES..])
                .ok_or(DecodeError::Damaged("its control record cannot be read"))?,
        ),
        KIND_EVENT => Content::Event(decode_event(key, value)?),
        _ => return Err(DecodeError::Damaged("its kind is not known")),
    };
    Ok(Record { stamp, content })
}

fn decode_event<'a>(key: Option<&'a [u8]>, value: &'a [u8]) -> Result<Event<'a>, DecodeError> {
    let id = key.ok_or(DecodeError::Damaged("an event without a key"))?;
    if value.len() < HEADER_BYTES {
        return Err(DecodeError::Damaged("an event shorter than its header"));
    }
    let outcome = Outcome::from_code(u16::from_be_bytes(array(value, 6)))
        .ok_or(DecodeError::Damaged("its outcome is not known"))?;
    Ok(Event {
        id,
        outcome,
        token: Token(u64::from_le_bytes(array(value, 48))),
        source: (
            TopicId(array(value, 56)),
            u32::from_le_bytes(array(value, 72)),
            u64::from_le_bytes(array(value, 76)),
        ),
        later_ts: i64::from_le_bytes(array(value, 84)),
        body: &value[HEADER_BYTES..],
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

/// An event's body, by outcome. `row` is an *open* row, see [`crate::row`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// [`Outcome::Joined`].
    Joined {
        /// The open row.
        row: Bytes,
    },
    /// [`Outcome::Unjoinable`].
    Unjoinable {
        /// The open row, without partners.
        row: Bytes,
        /// How often a partner was looked for.
        attempts: u32,
        /// When the dispatcher saw the event first, ms.
        first_seen_ms: i64,
        /// The foreign record.
        original: Original,
    },
    /// [`Outcome::Malformed`].
    Malformed {
        /// What the parser said.
        words: String,
        /// The foreign record; empty when it was too large for the log.
        original: Original,
    },
}

impl Body {
    /// The bytes that stand in the record.
    pub fn encode(self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Joined { row } => return row,
            Self::Unjoinable {
                row,
                attempts,
                first_seen_ms,
                original,
            } => {
                put(&mut out, Some(&row));
                out.put_u32_le(attempts);
                out.put_i64_le(first_seen_ms);
                original.encode(&mut out);
            }
            Self::Malformed { words, original } => {
                put(&mut out, Some(words.as_bytes()));
                original.encode(&mut out);
            }
        }
        out.into()
    }

    /// Reads a body; `None` when it is not one of this outcome.
    pub fn decode(outcome: Outcome, mut bytes: Bytes) -> Option<Self> {
        Some(match outcome {
            Outcome::Joined => Self::Joined { row: bytes },
            Outcome::Unjoinable(_) => Self::Unjoinable {
                row: take(&mut bytes)??,
                attempts: bytes.try_get_u32_le().ok()?,
                first_seen_ms: bytes.try_get_i64_le().ok()?,
                original: Original::decode(bytes)?,
            },
            Outcome::Malformed => Self::Malformed {
                words: String::from_utf8(take(&mut bytes)??.to_vec()).ok()?,
                original: Original::decode(bytes)?,
            },
        })
    }

    /// The open row, if this outcome has one.
    pub fn row(&self) -> Option<&Bytes> {
        match self {
            Self::Joined { row } | Self::Unjoinable { row, .. } => Some(row),
            Self::Malformed { .. } => None,
        }
    }
}

/// Checks that the registered id is acceptable to the codec and the index.
pub fn id_fits(id: &EventId) -> bool {
    !id.as_bytes().is_empty() && id.as_bytes().len() <= crate::MAX_ID_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, Source};
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Joined),
            Just(Outcome::Unjoinable(Reason::TimedOut)),
            Just(Outcome::Malformed),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(id in "[a-z]{1,40}", outcome in outcome(), token: u64, topic: [u8; 16],
                                   at: (u32, u64), later_ts: i64, body: Vec<u8>, log: [u8; 16],
                                   partitions: u32, incarnation: u64, sequence: u64) {
            let stamp = Stamp { log: TopicId(log), partitions, incarnation: Incarnation(incarnation), sequence };
            let source = Source { topic: "t".into(), topic_id: TopicId(topic), partition: at.0, offset: at.1 };
            let registration = Registration { id: EventId::from(id.as_str()), outcome, source, token: Token(token), later_ts, body: body.clone().into() };
            let mut value = Vec::new();
            encode_event(&stamp, &registration, &mut value);
            let record = decode(Some(id.as_bytes()), Some(&value)).unwrap();
            prop_assert_eq!(record.stamp, stamp);
            let event = Event { id: id.as_bytes(), outcome, token: Token(token), source: (TopicId(topic), at.0, at.1), later_ts, body: &body };
            prop_assert_eq!(record.content, Content::Event(event));
        }

        #[test]
        fn any_flipped_bit_is_noticed(bit in 0usize..8 * (HEADER_BYTES + 5)) {
            let stamp = Stamp { log: TopicId([7; 16]), partitions: 16, incarnation: Incarnation(1), sequence: 2 };
            let source = Source { topic: "t".into(), topic_id: TopicId([9; 16]), partition: 1, offset: 2 };
            let registration = Registration { id: "an id".into(), outcome: Outcome::Joined, source, token: Token(3), later_ts: 4, body: Bytes::from_static(b"a row") };
            let mut value = Vec::new();
            encode_event(&stamp, &registration, &mut value);
            value[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(Some(b"an id"), Some(&value)).is_err());
            value[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(Some(b"another id"), Some(&value)).is_err());
        }

        #[test]
        fn garbage_never_panics(key: Option<Vec<u8>>, mut value: Vec<u8>, ours: bool, outcome in outcome()) {
            if ours {
                value.splice(0..0, MAGIC);
            }
            let _ = decode(key.as_deref(), Some(&value));
            let _ = Body::decode(outcome, value.into());
        }

        #[test]
        fn bodies_come_back(row: Vec<u8>, words: String, attempts: u32, first_seen_ms: i64, key: Option<Vec<u8>>, value: Option<Vec<u8>>, name: String, header: Option<Vec<u8>>) {
            let original = Original { key: key.map(Bytes::from), value: value.map(Bytes::from), headers: vec![(name, header.map(Bytes::from))] };
            let unjoinable = Body::Unjoinable { row: row.into(), attempts, first_seen_ms, original: original.clone() };
            let malformed = Body::Malformed { words, original };
            prop_assert_eq!(Body::decode(Outcome::Unjoinable(Reason::TimedOut), unjoinable.clone().encode()), Some(unjoinable));
            prop_assert_eq!(Body::decode(Outcome::Malformed, malformed.clone().encode()), Some(malformed));
        }
    }

    #[test]
    fn barriers_come_back_and_strangers_are_known() {
        let stamp = Stamp {
            log: TopicId([1; 16]),
            partitions: 4,
            incarnation: Incarnation(5),
            sequence: 6,
        };
        let mut value = Vec::new();
        encode_barrier(&stamp, &mut value);
        assert_eq!(
            decode(None, Some(&value)),
            Ok(Record {
                stamp,
                content: Content::Barrier
            })
        );
        assert_eq!(decode(None, None), Err(DecodeError::Foreign));
        assert_eq!(decode(None, Some(b"{\"a\":1}")), Err(DecodeError::Foreign));
        value[4] = 9;
        assert_eq!(decode(None, Some(&value)), Err(DecodeError::Version(9)));
    }
}
