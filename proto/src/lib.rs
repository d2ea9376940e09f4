//! The contract between the roles: ids, the join-log record, the joined row, the ports, and their gRPC form.
//!
//! Roles never import one another. What one role may know of another stands here: the [`Registry`]
//! and [`Joiner`] ports, which are satisfied by a plain function call inside one process and by a gRPC
//! client across processes.

pub mod client;
pub mod control;
pub mod convert;
#[cfg(test)]
mod fuzz;
pub mod header;
mod id;
pub mod naming;
mod next;
mod original;
mod outcome;
pub mod partitioner;
mod ports;
pub mod record;
pub mod row;
mod source;

/// Generated from `proto/rtf/v1/*.proto`.
pub mod pb {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("rtf.v1");
    /// Encoded descriptors, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rtf.bin"));
}

pub use control::SourceId;
pub use id::{
    EventId, Incarnation, JoinKey, LogId, MAX_ID_BYTES, Offset, PartitionId, Token, TopicId,
};
pub use original::{Header, Original};
pub use outcome::{Outcome, Outcomes, Reason};
pub use ports::{
    Accepted, AcceptedBatch, AcceptedStream, ForeignEvent, JoinVerdict, Joiner, JoinerError,
    JoinerShare, JoinerStatus, Known, LookupItem, Registration, Registry, RegistryBucket,
    RegistryError, RegistryPartition, RegistryStatus, Resolved, Verdict, WakeupStream,
};
pub use source::Source;
