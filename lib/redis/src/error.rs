//! Why there is no connection to who holds a key.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::time::Duration;

/// Why there is no connection to who holds a key. The words never hold a password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A server refuses, or is not there.
    #[error("Redis at {address}: {error}")]
    Failed {
        /// Where it is.
        address: String,
        /// In its words, or the driver's.
        error: RedisError,
    },
    /// A server is silent.
    #[error("Redis at {address}: no connection within {limit:?}")]
    Silent {
        /// Where it is.
        address: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A Sentinel watches others.
    #[error("the Sentinel at {sentinel} watches no `{master}`")]
    NotWatched {
        /// Where it is.
        sentinel: String,
        /// Whom it was asked for.
        master: String,
    },
    /// A Sentinel has not seen yet that a primary is none any more.
    #[error("Redis at {address} is no primary, though the Sentinel at {sentinel} says so")]
    NotPrimary {
        /// Where the server is.
        address: String,
        /// Where the Sentinel is.
        sentinel: String,
    },
    /// A node has not joined a cluster, or said something else than what was asked.
    #[error("Redis at {address} does not say which nodes have which slots: is it in the cluster?")]
    NoSlots {
        /// Where it is.
        address: String,
    },
    /// A part of the cluster is missing.
    #[error("no node of the Redis Cluster has the slot of {key}")]
    NoOwner {
        /// A key of that slot.
        key: String,
    },
    /// There is nobody to ask.
    #[error("no address of Redis is known")]
    Nobody,
}

impl Error {
    /// Whether another try may succeed without anybody's help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Failed { error, .. } => may_pass(error),
            Self::Silent { .. } | Self::NotPrimary { .. } | Self::NoOwner { .. } => true,
            Self::NotWatched { .. } | Self::NoSlots { .. } | Self::Nobody => false,
        }
    }
}

/// Whether asking again, of whom it is right to ask then, may help: Redis was silent or gone, it reads its data, or it changes who has what.
pub fn may_pass(error: &RedisError) -> bool {
    let is_changing = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
        )
    );
    error.is_io_error() || is_changing
}
