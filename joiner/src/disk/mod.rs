//! The part of the event store that lies on disk: a log-structured merge tree without levels (O'Neil et al., 1996).
//!
//! ```text
//! events in memory ──flush──▶ segment ┐
//!                             segment ├──merge──▶ segment      never changed, in the keys' hash order
//!                             segment ┘
//! manifest   which segments count · which of their events are gone · how far each partition was read
//! ```
//!
//! A segment holds whole events: a look-up of a key asks each segment's filter in memory and reads, where one says
//! "perhaps", the block the hash belongs into. An event that is replaced, deleted or found expired is marked as gone
//! in its segment's list; a merge leaves it out. Everything counts from the moment the manifest that names it is
//! renamed into place, together with the positions in the topic it was made of (RULE 4). So a crash costs what was
//! read since, and nothing else. All of it is a view of the topic: what is missing, damaged, of another topic or of
//! other settings is set aside and read anew. Why whole events and not their offsets: docs/adr/0009.

mod directory;
mod error;
mod filter;
mod hash;
mod job;
mod manifest;
mod segment;
mod writer;

pub(crate) use directory::{Directory, Opened};
pub(crate) use error::DiskError;
pub(crate) use hash::Seed;
pub(crate) use job::{Done, Flushed, Job, Merged, StartWorker, Worker, is_past};
pub(crate) use manifest::{Identity, Manifest};
pub(crate) use segment::Segment;

use rtf_proto::Offset;

/// An event whose expiry lies in a minute that has passed is as if it had never been; until then it is only passed over.
pub(crate) const EXPIRY_SPAN_MS: i64 = 60_000;

/// What decides, beside the lists of the gone, that an event is of no use any more.
#[derive(Clone, Default, Debug)]
pub(crate) struct Age {
    /// The wall clock, ms.
    pub now_ms: i64,
    /// The first offset the topic still has, per partition.
    pub floors: Vec<Offset>,
}

impl Age {
    /// Whether the record has left the topic.
    pub fn has_left(&self, partition: u32, offset: Offset) -> bool {
        let floor = self.floors.get(partition as usize);
        floor.is_some_and(|floor| offset < *floor)
    }
}
