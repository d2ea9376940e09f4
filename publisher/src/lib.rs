//! The publisher: carries accepted rows, in log order, from the registry into a sink (DESIGN §7). Dead letters are another view of the same log,
//! carried by the same loop into another sink.
//!
//! # Theory
//!
//! A row's entry id in the sink *is* its offset in the join log, so the sink itself says how far it is: the cursor and
//! the rows are one thing, and roll back together. Every append says where it believes the sink to end; the sink
//! compares and appends all rows or none. By induction each stream is, at every instant, the accepted rows of its partition
//! up to its last id, each once and in order, whatever crashed, was doubled, came late, was flushed or forgotten:
//! an append that is built on a wrong belief appends nothing, and its publisher goes on from where the sink really ends.
//!
//! ```text
//! registry ─ Tail ─▶ worker (one per partition) ─ append(expected last id, rows) ─▶ sink
//!                       │        ▲                                                   │
//!                       └ carry ─┘ ◀──────────── appended, or where it really ends ──┘
//! ```
//!
//! [`carry`](mod@carry) decides, without clock or I/O; the worker does; the board tells readiness, metrics and status.

mod back_off;
mod board;
mod carry;
mod content;
mod letter;
mod meter;
mod options;
mod publisher;
pub mod sink;
mod spans;
mod worker;

pub use board::{PartitionStatus, PublisherHandle, State};
pub use content::Content;
pub use letter::LetterOptions;
pub use options::Options;
pub use publisher::Publisher;

/// What a publisher is made of, for those who explore it.
#[doc(hidden)]
pub mod parts {
    pub use crate::carry::{Append, Carry, Limits, Step};
}
