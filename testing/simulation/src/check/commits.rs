//! No committed position passes an event that is not resolved.

use crate::ledger::Ledger;
use crate::workload::AllSent;
use rtf_proto::{Offset, PartitionId};
use std::collections::BTreeMap;

/// The promise.
pub const INVARIANT: &str = "no committed position passes an unresolved event";

/// How far each partition was found right: what is resolved stays so.
#[derive(Default, Debug)]
pub struct Commits(BTreeMap<PartitionId, usize>);

impl Commits {
    /// The topic is made anew.
    pub fn begin_anew(&mut self) {
        self.0.clear();
    }

    /// What is wrong with these positions, if anything.
    pub fn check(
        &mut self,
        sent: &AllSent,
        ledger: &Ledger,
        positions: &[(PartitionId, Offset)],
    ) -> Result<(), String> {
        for (partition, position) in positions {
            let seen = self.0.entry(*partition).or_default();
            let places = sent.places.get(partition).map_or(&[][..], Vec::as_slice);
            while let Some((offset, id)) = places.get(*seen).filter(|(at, _)| at < position) {
                if !ledger.winners.contains_key(id) {
                    return Err(format!(
                        "{position} of partition {partition} is committed, and {id} at {offset} is not resolved"
                    ));
                }
                *seen += 1;
            }
        }
        Ok(())
    }
}
