//! Whether what is read of the log moves while there is something to read (RULE 17). Pure.

use rtf_proto::{Offset, PartitionId};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A log that is not as far as it was applied, or applied as far as it is, for so long is a failure. Longer than from one heartbeat to the next: an idle
/// partition may end in something that is no record, the marker of a transaction of somebody else's.
const STALLED_AFTER: Duration = Duration::from_secs(180);

/// What was seen of a partition at the last look that saw it move.
#[derive(Clone, Copy)]
struct Progress {
    applied: Offset,
    at: Instant,
}

/// Looks at all partitions, again and again.
#[derive(Default)]
pub struct Watchdog(HashMap<PartitionId, Progress>);

impl Watchdog {
    /// Nobody could be asked: what was seen before says nothing of the time since.
    pub fn blind(&mut self, partition: PartitionId) {
        self.0.remove(&partition);
    }

    /// A look: applied up to here, and the log ends there. For how long that has stood still, if it is too long.
    pub fn look(
        &mut self,
        partition: PartitionId,
        applied: Offset,
        end: Offset,
        now: Instant,
    ) -> Option<Duration> {
        let seen = Progress { applied, at: now };
        let progress = self.0.entry(partition).or_insert(seen);
        if applied != progress.applied || applied == end {
            *progress = seen;
        }
        let stalled = now - progress.at;
        (stalled >= STALLED_AFTER).then_some(stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_that_stands_still_while_the_log_goes_on_is_noticed() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.look(0, 5, 5, at(0)), None);
        assert_eq!(watchdog.look(0, 5, 5, at(500)), None, "nothing to read");
        assert_eq!(watchdog.look(0, 5, 9, at(530)), None);
        assert_eq!(watchdog.look(0, 6, 9, at(679)), None, "it moves");
        assert_eq!(watchdog.look(0, 6, 20, at(858)), None);
        assert_eq!(watchdog.look(1, 6, 20, at(859)), None, "another one");
        assert_eq!(watchdog.look(0, 6, 30, at(859)), Some(STALLED_AFTER));
        assert_eq!(watchdog.look(1, 6, 4, at(1039)), Some(STALLED_AFTER), "cut");
        watchdog.blind(0);
        assert_eq!(watchdog.look(0, 6, 30, at(2000)), None, "Kafka was away");
    }
}
