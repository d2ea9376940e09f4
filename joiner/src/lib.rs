//! The joiner: looks a foreign event's partners up, builds the row and has it registered (Photon §3.2, DESIGN §6).
//!
//! ```text
//! primary topic ─▶ tail ─▶ event store (by key, in the policy's order) ◀─ join ◀─ dispatcher
//!                    │                                                     │
//!                    └─▶ keys asked for in vain ─▶ wake-ups                └─▶ registry: id and row, one record
//! ```
//!
//! It keeps nothing that the primary topic did not hold: what lies on disk can be deleted, then the topic is read from its first record.
//! A joiner that starts answers "not ready" until it has caught up. It decides nothing either: who won is the registry's answer.
//! The events in memory, the match policy and the table of wanted keys are pure: time comes in as an argument.

mod cache;
mod catch_up;
mod disk;
mod error;
mod event;
mod handle;
mod housekeeping;
mod keeper;
mod matching;
mod options;
mod partitioned;
mod partners;
pub mod parts;
mod position;
mod primaries;
mod ranked;
mod role;
mod service;
mod slab;
mod state;
mod store;
mod tail;
#[cfg(test)]
mod testing;
mod wanted;

pub use error::JoinerFailure;
pub use handle::JoinerHandle;
pub use matching::{Direction, Policy};
pub use options::{Group, Options};
pub use partitioned::{PartitionedHandle, PartitionedRole};
pub use role::{JoinerRole, Readiness};
pub use service::service;
