//! A broken record of ours stops every replica, in front of it.

use rtf_proto::{Offset, PartitionId};
use rtf_registry::RegistryFailure;
use std::collections::BTreeSet;

/// The promise.
pub const INVARIANT: &str = "a broken record of ours stops every replica";

/// A broken record, and whom it has stopped.
#[derive(Debug)]
pub struct Poison {
    at: (PartitionId, Offset),
    stopped: BTreeSet<usize>,
}

impl Poison {
    /// It stands there.
    pub fn at(partition: PartitionId, offset: Offset) -> Self {
        Self {
            at: (partition, offset),
            stopped: BTreeSet::new(),
        }
    }

    /// A process has ended; whether it was this record that stopped it.
    pub fn stops(&mut self, process: usize, failure: &RegistryFailure) -> bool {
        let is_it = match failure {
            RegistryFailure::Poison {
                partition, offset, ..
            } => (*partition, *offset) == self.at,
            _ => false,
        };
        if is_it {
            self.stopped.insert(process);
        }
        is_it
    }

    /// Whether all of these were stopped.
    pub fn check(&self, mut processes: impl Iterator<Item = usize>) -> Result<(), String> {
        match processes.find(|process| !self.stopped.contains(process)) {
            Some(process) => Err(format!(
                "process {process} goes on with {:?} in its log",
                self.at
            )),
            None => Ok(()),
        }
    }
}
