//! Which partitions are paused, and which should be. Pure: says what to do, and is told when it was done.

use rtf_proto::PartitionId;
use std::collections::BTreeSet;

/// What the consumer is known to do.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    paused: BTreeSet<PartitionId>,
    flowing: BTreeSet<PartitionId>,
}

/// What is to be done to bring the consumer in line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Change {
    pub pause: Vec<PartitionId>,
    pub resume: Vec<PartitionId>,
}

impl Pauses {
    /// These were just assigned. librdkafka keeps a partition paused across assignments, so nothing is known of them.
    pub fn forget(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            self.paused.remove(partition);
            self.flowing.remove(partition);
        }
    }

    /// Whether any partition is paused.
    #[cfg(feature = "simulation")]
    pub fn any(&self) -> bool {
        !self.paused.is_empty()
    }

    /// The way from here to `wanted`, of all that are `assigned`.
    pub fn change(&self, wanted: &BTreeSet<PartitionId>, assigned: &[PartitionId]) -> Change {
        let (to_pause, to_flow): (Vec<_>, Vec<_>) =
            assigned.iter().partition(|p| wanted.contains(p));
        Change {
            pause: unlike(to_pause, &self.paused),
            resume: unlike(to_flow, &self.flowing),
        }
    }

    /// That was done.
    pub fn done(&mut self, wanted: &BTreeSet<PartitionId>, assigned: &[PartitionId]) {
        (self.paused, self.flowing) = assigned.iter().partition(|p| wanted.contains(p));
    }
}

fn unlike(partitions: Vec<PartitionId>, already: &BTreeSet<PartitionId>) -> Vec<PartitionId> {
    let mut partitions = partitions;
    partitions.retain(|partition| !already.contains(partition));
    partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(pause: &[u32], resume: &[u32]) -> Change {
        Change {
            pause: pause.to_vec(),
            resume: resume.to_vec(),
        }
    }

    #[test]
    fn only_differences_are_told_and_only_of_assigned_partitions() {
        let mut pauses = Pauses::default();
        let wanted = BTreeSet::from([1, 2, 9]);
        assert_eq!(pauses.change(&wanted, &[1, 2, 3]), change(&[1, 2], &[3]));
        pauses.done(&wanted, &[1, 2, 3]);
        assert_eq!(pauses.change(&wanted, &[1, 2, 3]), change(&[], &[]));
        let wanted = BTreeSet::from([3]);
        assert_eq!(pauses.change(&wanted, &[2, 3]), change(&[3], &[2]));
    }

    #[test]
    fn what_is_assigned_anew_is_told_again() {
        let mut pauses = Pauses::default();
        let none = BTreeSet::new();
        pauses.done(&none, &[1, 2]);
        assert_eq!(pauses.change(&none, &[1, 2]), change(&[], &[]));
        pauses.forget(&[2]);
        assert_eq!(pauses.change(&none, &[1, 2]), change(&[], &[2]));
    }
}
