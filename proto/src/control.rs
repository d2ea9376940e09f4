//! What a join log says about itself, between its events: time that passes, the settings that decide, how far the sources are read,
//! and what a replica that starts from nothing cannot know from the records that are left.

use crate::{Offset, PartitionId, TopicId};
use bytes::{Buf, BufMut};

/// One partition of one foreign topic. A topic made anew is another source.
pub type SourceId = (TopicId, PartitionId);

/// A record that resolves no event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// Nothing but the log's time.
    Heartbeat,
    /// What decides from here on.
    Settings(Settings),
    /// Everything of these sources below these offsets has an outcome in the log.
    Progress(Vec<(SourceId, Offset)>),
    /// What one replica knows that earlier records would have told.
    Checkpoint(Checkpoint),
    /// Nobody reads this topic any more: its marks hold nothing back.
    Retire(TopicId),
    /// An operator wants the log to have so many partitions. Stands in partition 0; all else of a split follows from it.
    Split {
        /// A multiple of the present count.
        partitions: u32,
    },
    /// From here on this partition keeps the ids that hash to it among so many; the others belong to its children.
    Epoch {
        /// A multiple of the count that held before.
        partitions: u32,
    },
    /// This partition begins: it knows what its parent knew before the offset of its [`Epoch`](Self::Epoch).
    Born {
        /// Partition whose ids it took over.
        parent: PartitionId,
        /// Where the parent's epoch stands.
        offset: Offset,
    },
}

/// Settings that decide: the same in every replica, as they stand in the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Settings {
    /// How long an id is remembered at the least, ms of the log's time.
    pub horizon_ms: u64,
    /// How much of the log's time one bucket holds, ms.
    pub span_ms: u64,
}

/// A replica's state, as far as it follows from records that retention may have taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Records below this offset were applied.
    pub base: Offset,
    /// The log's running time there, ms since 1970.
    pub time_ms: i64,
    /// Settings in force there.
    pub settings: Option<Settings>,
    /// Low-water marks heard.
    pub marks: Vec<(SourceId, Offset)>,
    /// Floors: below them everything was resolved once, and may be forgotten.
    pub floors: Vec<(SourceId, Offset)>,
    /// Where the oldest ids begin that are remembered there, ms since 1970; `None` when there are none.
    pub oldest_ms: Option<i64>,
    /// An offset at or below `base`, and the digest of all winners below it.
    pub digest: (Offset, u64),
    /// Partition counts that held in this partition, oldest first; the last one holds there.
    pub counts: Vec<u32>,
    /// The count an operator wants, if that stands in this partition.
    pub wanted: Option<u32>,
}

const HEARTBEAT: u8 = 1;
const SETTINGS: u8 = 2;
const PROGRESS: u8 = 3;
const CHECKPOINT: u8 = 4;
const RETIRE: u8 = 5;
const SPLIT: u8 = 6;
const EPOCH: u8 = 7;
const BORN: u8 = 8;

impl Control {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Heartbeat => out.put_u8(HEARTBEAT),
            Self::Settings(settings) => {
                out.put_u8(SETTINGS);
                put_settings(out, *settings);
            }
            Self::Progress(marks) => {
                out.put_u8(PROGRESS);
                put_offsets(out, marks);
            }
            Self::Checkpoint(checkpoint) => {
                out.put_u8(CHECKPOINT);
                checkpoint.encode(out);
            }
            Self::Retire(topic) => {
                out.put_u8(RETIRE);
                out.put_slice(&topic.0);
            }
            Self::Split { partitions } => {
                out.put_u8(SPLIT);
                out.put_u32_le(*partitions);
            }
            Self::Epoch { partitions } => {
                out.put_u8(EPOCH);
                out.put_u32_le(*partitions);
            }
            Self::Born { parent, offset } => {
                out.put_u8(BORN);
                out.put_u32_le(*parent);
                out.put_u64_le(*offset);
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let control = match bytes.try_get_u8().ok()? {
            HEARTBEAT => Self::Heartbeat,
            SETTINGS => Self::Settings(take_settings(&mut bytes)?),
            PROGRESS => Self::Progress(take_offsets(&mut bytes)?),
            CHECKPOINT => Self::Checkpoint(Checkpoint::take(&mut bytes)?),
            RETIRE => Self::Retire(take_topic(&mut bytes)?),
            SPLIT => Self::Split {
                partitions: bytes.try_get_u32_le().ok()?,
            },
            EPOCH => Self::Epoch {
                partitions: bytes.try_get_u32_le().ok()?,
            },
            BORN => Self::Born {
                parent: bytes.try_get_u32_le().ok()?,
                offset: bytes.try_get_u64_le().ok()?,
            },
            _ => return None,
        };
        bytes.is_empty().then_some(control)
    }
}

impl Checkpoint {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.base);
        out.put_i64_le(self.time_ms);
        out.put_u8(self.settings.is_some().into());
        if let Some(settings) = self.settings {
            put_settings(out, settings);
        }
        put_offsets(out, &self.marks);
        put_offsets(out, &self.floors);
        out.put_u8(self.oldest_ms.is_some().into());
        out.put_i64_le(self.oldest_ms.unwrap_or_default());
        out.put_u64_le(self.digest.0);
        out.put_u64_le(self.digest.1);
        put_counts(out, &self.counts);
        out.put_u32_le(self.wanted.unwrap_or(0));
    }

    /// Takes one from the front of `bytes`.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            base: bytes.try_get_u64_le().ok()?,
            time_ms: bytes.try_get_i64_le().ok()?,
            settings: match bytes.try_get_u8().ok()? {
                0 => None,
                1 => Some(take_settings(bytes)?),
                _ => return None,
            },
            marks: take_offsets(bytes)?,
            floors: take_offsets(bytes)?,
            oldest_ms: match (bytes.try_get_u8().ok()?, bytes.try_get_i64_le().ok()?) {
                (0, 0) => None,
                (1, oldest_ms) => Some(oldest_ms),
                _ => return None,
            },
            digest: (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?),
            counts: take_counts(bytes)?,
            wanted: Some(bytes.try_get_u32_le().ok()?).filter(|wanted| *wanted > 0),
        })
    }
}

fn put_settings(out: &mut Vec<u8>, settings: Settings) {
    out.put_u64_le(settings.horizon_ms);
    out.put_u64_le(settings.span_ms);
}

fn take_settings(bytes: &mut &[u8]) -> Option<Settings> {
    let settings = Settings {
        horizon_ms: bytes.try_get_u64_le().ok()?,
        span_ms: bytes.try_get_u64_le().ok()?,
    };
    (settings.span_ms > 0).then_some(settings)
}

/// Appends partition counts, with how many they are.
pub fn put_counts(out: &mut Vec<u8>, counts: &[u32]) {
    out.put_u32_le(u32::try_from(counts.len()).expect("splits are few"));
    counts.iter().for_each(|count| out.put_u32_le(*count));
}

/// Takes what [`put_counts`] wrote from the front of `bytes`.
pub fn take_counts(bytes: &mut &[u8]) -> Option<Vec<u32>> {
    let count = bytes.try_get_u32_le().ok()?;
    (0..count).map(|_| bytes.try_get_u32_le().ok()).collect()
}

/// Appends offsets of sources, with their count.
pub fn put_offsets(out: &mut Vec<u8>, offsets: &[(SourceId, Offset)]) {
    out.put_u32_le(u32::try_from(offsets.len()).expect("sources are few"));
    for ((topic, partition), offset) in offsets {
        out.put_slice(&topic.0);
        out.put_u32_le(*partition);
        out.put_u64_le(*offset);
    }
}

/// Takes what [`put_offsets`] wrote from the front of `bytes`.
pub fn take_offsets(bytes: &mut &[u8]) -> Option<Vec<(SourceId, Offset)>> {
    let count = bytes.try_get_u32_le().ok()?;
    (0..count)
        .map(|_| {
            let topic = take_topic(bytes)?;
            let partition = bytes.try_get_u32_le().ok()?;
            Some(((topic, partition), bytes.try_get_u64_le().ok()?))
        })
        .collect()
}

fn take_topic(bytes: &mut &[u8]) -> Option<TopicId> {
    let mut topic = [0; 16];
    bytes.try_copy_to_slice(&mut topic).ok()?;
    Some(TopicId(topic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offsets() -> impl Strategy<Value = Vec<(SourceId, Offset)>> {
        prop::collection::vec(
            any::<([u8; 16], u32, u64)>().prop_map(|(t, p, o)| ((TopicId(t), p), o)),
            0..4,
        )
    }

    fn settings() -> impl Strategy<Value = Settings> {
        (any::<u64>(), 1u64..).prop_map(|(horizon_ms, span_ms)| Settings {
            horizon_ms,
            span_ms,
        })
    }

    fn control() -> impl Strategy<Value = Control> {
        let checkpoint = (
            any::<(u64, i64, (u64, u64))>(),
            prop::option::of(settings()),
            offsets(),
            offsets(),
            prop::collection::vec(any::<u32>(), 0..4),
            prop::option::of(1u32..),
            any::<Option<i64>>(),
        );
        prop_oneof![
            Just(Control::Heartbeat),
            settings().prop_map(Control::Settings),
            offsets().prop_map(Control::Progress),
            any::<[u8; 16]>().prop_map(|topic| Control::Retire(TopicId(topic))),
            any::<u32>().prop_map(|partitions| Control::Split { partitions }),
            any::<u32>().prop_map(|partitions| Control::Epoch { partitions }),
            any::<(u32, u64)>().prop_map(|(parent, offset)| Control::Born { parent, offset }),
            checkpoint.prop_map(
                |((base, time_ms, digest), settings, marks, floors, counts, wanted, oldest_ms)| {
                    Control::Checkpoint(Checkpoint {
                        base,
                        time_ms,
                        settings,
                        marks,
                        floors,
                        oldest_ms,
                        digest,
                        counts,
                        wanted,
                    })
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(control in control(), cut: prop::sample::Index) {
            let mut bytes = Vec::new();
            control.encode(&mut bytes);
            prop_assert_eq!(Control::decode(&bytes), Some(control));
            prop_assert_eq!(Control::decode(&bytes[..cut.index(bytes.len())]), None);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = Control::decode(&bytes);
        }
    }
}
