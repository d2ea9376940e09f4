//! What must become, and what became, of one foreign event. The same words for the oracle and for what is found, so that the two
//! can be compared as multisets.

use std::fmt;

use rtf_synth::Expected;

/// So many bytes of a value are shown.
const SHOWN_BYTES: usize = 100;

/// How one event ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// Joined.
    Joined {
        /// The foreign event's id.
        id: String,
        /// The key that both sides carry.
        key: String,
        /// The partner's id; none where the match policy chooses among several.
        primary: Option<String>,
    },
    /// Given up after the longest wait.
    Unjoinable {
        /// The foreign event's id.
        id: String,
        /// The key in vain.
        key: String,
    },
    /// Could not be read.
    Malformed {
        /// The record's value, byte for byte; `None` is Kafka's null.
        value: Option<Vec<u8>>,
    },
}

impl From<Expected> for Fate {
    fn from(expected: Expected) -> Self {
        match expected {
            Expected::Joined { id, key, primary } => Self::Joined { id, key, primary },
            Expected::Unjoinable { id, key } => Self::Unjoinable { id, key },
            Expected::Malformed { value } => Self::Malformed { value: Some(value) },
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { id, key, primary } => {
                let (id, key) = (shown(id.as_bytes()), shown(key.as_bytes()));
                let partner = primary.as_ref().map(|id| shown(id.as_bytes()));
                let partner = partner.as_deref().unwrap_or("any of its key");
                write!(f, "joined {id} of key {key} with {partner}")
            }
            Self::Unjoinable { id, key } => {
                let (id, key) = (shown(id.as_bytes()), shown(key.as_bytes()));
                write!(f, "unjoinable {id} of key {key}")
            }
            Self::Malformed { value: None } => f.write_str("malformed null"),
            Self::Malformed { value: Some(value) } => write!(f, "malformed {}", shown(value)),
        }
    }
}

/// The beginning of some bytes, as text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]);
    let text = text.escape_debug();
    match bytes.len() {
        0..=SHOWN_BYTES => format!("\"{text}\""),
        all => format!("\"{text}…\" ({all} bytes)"),
    }
}
