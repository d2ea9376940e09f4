//! No committed position passes an event that is not resolved, unless it is parked: then another position is in front of it.

use crate::ledger::Ledger;
use crate::retries::Retries;
use crate::workload::AllSent;
use rtf_proto::{EventId, Offset, PartitionId};
use std::collections::BTreeMap;

/// The promise.
pub const INVARIANT: &str = "no committed position passes an unresolved event";

/// How far each partition of the foreign topic was found right: what is resolved stays so, and what is parked is looked after there.
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
        retries: &Retries,
        positions: &[(PartitionId, Offset)],
    ) -> Result<(), String> {
        for (partition, position) in positions {
            let seen = self.0.entry(*partition).or_default();
            let places = sent.places.get(partition).map_or(&[][..], Vec::as_slice);
            while let Some((offset, id)) = places.get(*seen).filter(|(at, _)| at < position) {
                if !ledger.winners.contains_key(id) && !retries.holds(id) {
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

/// What is wrong with these positions in a retry topic, if anything.
pub fn check_retries(
    retries: &mut Retries,
    ledger: &Ledger,
    topic: &str,
    positions: &[(PartitionId, Offset)],
) -> Result<(), String> {
    for (partition, position) in positions {
        let passed = retries.passed(topic, *partition, *position);
        let is_lost = |id: &&EventId| !ledger.winners.contains_key(id) && !retries.holds(id);
        if let Some(id) = passed.iter().find(is_lost) {
            return Err(format!(
                "{position} of {topic}/{partition} is committed, and {id} is neither resolved nor parked again"
            ));
        }
    }
    Ok(())
}
