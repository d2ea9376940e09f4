//! Names of things as newtypes, parsed once at the edge. Knows no encoding but its own text form.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use std::fmt;

/// Partition number of a topic.
pub type PartitionId = u32;
/// Position of a record in a partition.
pub type Offset = u64;

/// The longest id that is accepted, in bytes. A block of 64 of them stays well under 128 KiB (DESIGN §4).
pub const MAX_ID_BYTES: usize = 1024;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(Bytes);

        impl $name {
            /// Wraps bytes; usually a slice of the record they were found in, so nothing is copied.
            pub fn new(text: impl Into<Bytes>) -> Self {
                Self(text.into())
            }
            /// The UTF-8 text as bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
            /// The shared buffer itself.
            pub fn bytes(&self) -> &Bytes {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Bytes::from(text))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&String::from_utf8_lossy(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", String::from_utf8_lossy(&self.0))
            }
        }
    };
}

text_id! {
    /// Names one foreign event for ever: what the registry remembers.
    EventId
}
text_id! {
    /// What a foreign and a primary event must have in common to be joined.
    JoinKey
}

/// Kafka's own UUID of a topic (KIP-516). All zeros where the broker has none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// Reads Kafka's own text form, 22 characters of URL-safe base64.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
    /// Whether the broker gave no UUID.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}
impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one join log: the topic id of the log. A log that is made anew is another log.
pub type LogId = TopicId;

/// Names one attempt chain: every retry of one attempt to resolve one event carries the same token, so
/// a writer that finds its own token in the log knows that it won (RULES 2, 27).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Token(pub u64);

impl Token {
    /// A token no other attempt chain has, but for one chance in 2^64 per id.
    pub fn fresh() -> Self {
        Self(rand::random())
    }
}

/// Names one life of one producer of the join log. Random, never reused: together with the sequence it
/// tells a writer its own record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// A new life.
    pub fn fresh() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
