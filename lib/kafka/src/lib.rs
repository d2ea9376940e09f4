//! Kafka, as the rest of the house wants to see it. The only crate that says `rdkafka`.
//!
//! Reading is blocking and belongs on an OS thread of the caller's (RULE 13); nothing here starts one, but for
//! the producers' own polling thread, and one on which a client for administration ends.

mod administering;
mod appender;
mod cluster;
mod cursors;
mod embedded;
mod error;
mod group;
mod polled;
mod positions;
mod producing;
mod refusal;
mod rights;
mod sender;
mod settings;
#[cfg(feature = "simulation")]
pub mod simulated;
mod tail;
mod topic_id;
mod transactor;
mod waiting;

pub use appender::{AppendError, Appender, AppenderOptions, Deliveries};
pub use cluster::{Cluster, TopicInfo};
pub use cursors::Cursors;
pub use embedded::Embedded;
pub use error::KafkaError;
pub use group::{GroupEvents, GroupOptions, GroupReader};
pub use polled::{Polled, Record};
pub use positions::{GroupState, Positions};
pub use rights::{Operation, Rights};
pub use sender::{SendError, Sender};
pub use settings::{Isolation, Prefetch, Settings};
pub use tail::{Start, Tail};
pub use transactor::{TransactError, Transactor, TransactorOptions};
