//! The partitioned layout: the primary topic's partitions are spread over a group of joiners (docs/adr/0014).
//!
//! ```text
//! consumer group ─▶ member: partitions given and taken
//!                     │
//!                     ▼
//! join(batch) ─▶ parts: one small joiner per partition held ─▶ tail of that partition, event store, wanted keys
//!                  cut by the key's murmur2; whose partition is not held, or not read to its end: "not ready"
//! ```
//!
//! The group says who reads what, and nothing else: it commits nothing, and what it would read is paused. Who answers for a partition is decided by
//! whoever answers: only where it was read to its end, only until it is taken away. Two that answer for one partition, as when one was frozen,
//! do no harm: both read it, and the registry decides once.
//!
//! All of it stands on one sentence: *the primaries of a key stand in the key's partition.* Each record that is read proves it or breaks it.

mod crew;
mod handle;
mod member;
mod parts;
mod role;

pub use handle::PartitionedHandle;
pub use role::PartitionedRole;
