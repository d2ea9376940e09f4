//! A replica that serves has applied what stood in the log when it started.

use rtf_proto::{Offset, PartitionId, RegistryStatus};

/// The promise.
pub const INVARIANT: &str = "a replica that serves knows what was there when it started";

/// Whether it has, given each partition's end then.
pub fn check(ends: &[(PartitionId, Offset)], status: &RegistryStatus) -> Result<(), String> {
    for (partition, end) in ends {
        let served = status
            .served
            .iter()
            .find(|served| served.partition == *partition);
        let applied = served.map_or(0, |served| served.applied);
        if applied < *end {
            return Err(format!(
                "{applied} of partition {partition} is applied, it ended at {end}"
            ));
        }
    }
    Ok(())
}
