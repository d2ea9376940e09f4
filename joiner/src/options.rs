//! What a joiner must be told. Knows no configuration file.

use crate::Policy;
use rtf_json::Folding;
use std::path::PathBuf;
use std::time::Duration;

/// How a joiner is made. Id, key and time are fields as in [`rtf_json::Fields`]: JSON pointers into the primary's value, `@key` or
/// `@header.NAME`; the expiry is a pointer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The primary topic.
    pub topic: String,
    /// Parts of a primary's id: a later event of the same id takes the place of the earlier, and a record without a
    /// value whose message key is the id (of several parts: their JSON array, `["a","b"]`) deletes it; where all of the id stands
    /// beside the value, in message key and headers, it is read from there. When empty
    /// an event's id is its topic, partition and offset, so none is ever replaced, and records without a
    /// value are counted and passed over.
    pub id: Vec<String>,
    /// Parts of its key.
    pub key: Vec<String>,
    /// Its time; without, Kafka's timestamp is.
    pub time: Option<String>,
    /// The time from which on it matches nobody; an event where it is missing or null never expires.
    pub expires: Option<String>,
    /// How keys are made alike; the dispatcher must do the same to the foreign side.
    pub folding: Folding,
    /// Which partners a foreign event gets.
    pub policy: Policy,
    /// Where the event store keeps what memory does not; without, all stays in memory.
    pub data: Option<PathBuf>,
    /// Memory the event store may take, bytes. Without a directory the joiner stops when that is full.
    pub memory_bytes: usize,
    /// Keys remembered that were asked for in vain; beyond it the oldest go, and their events wait for their retry.
    pub wanted_keys: usize,
    /// Batches worked on at once; beyond it the answer is "busy".
    pub batches_in_flight: usize,
}

impl Options {
    /// What decides how an event lies on disk and among which others, as text: with other settings the store is made anew. How many
    /// partners there are does not.
    pub(crate) fn decides_events(&self) -> String {
        let order = match &self.policy {
            Policy::First => "first".to_owned(),
            Policy::Latest => "latest".to_owned(),
            Policy::All { .. } => "all".to_owned(),
            Policy::Best {
                order_by,
                direction,
                ..
            } => format!("best by {order_by:?}, {direction:?}"),
        };
        format!(
            "id {:?}, key {:?}, time {:?}, expires {:?}, {:?}, {order}",
            self.id, self.key, self.time, self.expires, self.folding
        )
    }
}

/// The joiners among which the partitions of the primary topic are spread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its name: a consumer group over the primary topic.
    pub name: String,
    /// A joiner that is silent for so long has lost its partitions.
    pub session_timeout: Duration,
}
