//! Expected: one record that the join log must accept. Knows no log: a checker compares the two as multisets.

/// What must come of one foreign event, known before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Expected {
    /// Joined with a primary of its key.
    Joined {
        /// The foreign event's id.
        id: String,
        /// The key that both sides carry.
        key: String,
        /// The primary's id where only one can match; none where the match policy chooses.
        primary: Option<String>,
    },
    /// Given up after the longest wait: no primary of its key exists.
    Unjoinable {
        /// The foreign event's id.
        id: String,
        /// The key in vain.
        key: String,
    },
    /// Malformed. Its id is its place in the topic, which only Kafka knows; its bytes are unlike all others.
    Malformed {
        /// The record's value.
        value: Vec<u8>,
    },
}
