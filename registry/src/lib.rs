//! The IdRegistry: who won (Photon §2, and §4 of the design).
//!
//! # Theory
//!
//! The join log is a Kafka topic. A record in it says "event X is resolved, and this is its row". The first record
//! of an id in log order wins for ever, and nothing else decides anything: no leader, no lease, no clock.
//! A replica appends, tails the same log, and answers a `Register` only when its own record (known by the incarnation
//! of its producer and a sequence number) has come back through the tail and was applied. So every replica
//! gives the same verdict, whatever was lost, doubled or late on the way.
//!
//! What a replica remembers is a view: ids in blocks in sled, together with the offset up to which the log was applied,
//! in one atomic batch; and a table of fingerprints in memory. Wipe it, and the log rebuilds it.
//!
//! ```text
//! register ─▶ writer ─▶ join log ─▶ tailer ─▶ apply ─▶ memory (index, uncommitted blocks) ─▶ sled
//!     ▲                                         │
//!     └───────── verdict ◀──────────────────────┤
//!                                               └─▶ recent ─▶ Tail (publisher)
//! ```

mod age;
mod applier;
mod apply;
mod block;
mod catch_up;
mod database;
mod digest;
mod error;
mod fnv;
mod handle;
mod keeper;
mod lanes;
mod lineage;
mod log_topic;
mod memory;
mod name;
mod operator;
mod pending;
mod reader;
mod rebuild;
mod recent;
mod rejected;
mod remembered;
mod replica;
mod roots;
mod sealed;
mod service;
#[cfg(feature = "simulation")]
pub mod simulated;
mod split;
mod store;
mod tailer;
#[cfg(test)]
mod testing;
mod view;
mod watchdog;
mod writer;

pub use age::{Age, BucketId};
pub use error::RegistryFailure;
pub use handle::{CUT_OFF, PAUSED, RegistryHandle};
pub use lanes::Serves;
pub use log_topic::{BUCKETS, check as check_log, retention as log_retention};
pub use operator::{Collected, PartitionDigest, Standing};
pub use rebuild::{Extent, Rebuild, accept_loss};
pub use replica::{Options, Replica};
pub use service::service;
pub use split::MOST as MOST_PARTITIONS;

/// What a replica is made of, for those who measure it and for those who explore it.
#[doc(hidden)]
pub mod parts {
    pub use crate::apply::{Decision, Ids, Place, Winner, apply};
    pub use crate::lineage::{Birth, Lineage};
    pub use crate::remembered::Remembered;
    pub use crate::sealed::{Sealed, SealedEntry, Sealer, hash_of};
    pub use crate::store::{State, Store, StoreError};
}
