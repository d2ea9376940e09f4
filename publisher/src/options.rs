//! What can be set about a publisher. Knows no configuration file.

use crate::Content;
use std::time::Duration;

/// How rows are carried.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is carried.
    pub content: Content,
    /// A refused partition is looked at again after this.
    pub recheck_refused: Duration,
    /// A partition without new rows asks the sink where it ends this often, to notice that it was flushed or forgot.
    pub recheck_idle: Duration,
    /// So long a sink may be ahead of the log, as the registry knows it, before it is refused: replicas differ by moments.
    pub ahead_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            content: Content::Rows {
                emit_unjoinable: false,
            },
            recheck_refused: Duration::from_secs(30),
            recheck_idle: Duration::from_secs(1),
            ahead_grace: Duration::from_secs(10),
        }
    }
}
