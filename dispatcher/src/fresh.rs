//! What was read and waits for a place in flight, in groups that go together. Pure.
//!
//! Ids of one group belong into one partition of the join log. While there is a backlog a batch is made of few groups, so that each partition gets
//! many records at once: librdkafka sends a request for each, and a broker works for each request. With nothing to wait for there is one
//! group or another in a batch, and nothing waits.

use crate::Flight;
use rtf_proto::PartitionId;
use rtf_proto::partitioner::partition_of;
use std::collections::VecDeque;

/// Records on their way into batches.
#[derive(Debug)]
pub(crate) struct Fresh {
    groups: Vec<VecDeque<Flight>>,
    /// Groups that are not empty, in turns.
    turns: VecDeque<usize>,
    events: usize,
    bytes: usize,
}

impl Fresh {
    /// Empty, in so many groups.
    pub fn new(groups: u32) -> Self {
        Self {
            groups: (0..groups).map(|_| VecDeque::new()).collect(),
            turns: VecDeque::new(),
            events: 0,
            bytes: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.events
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a record behind those of its group.
    pub fn push(&mut self, flight: Flight) {
        let groups = u32::try_from(self.groups.len()).expect("made of as many");
        let group = partition_of(flight.subject.id().as_bytes(), groups) as usize;
        if self.groups[group].is_empty() {
            self.turns.push_back(group);
        }
        self.events += 1;
        self.bytes += flight.bytes;
        self.groups[group].push_back(flight);
    }

    /// At the most so many records of the groups whose turn it is, and of their bytes one record more at the most. What is left of a group has had its turn.
    pub fn take(&mut self, max_events: usize, max_bytes: usize) -> Vec<Flight> {
        let mut taken = Vec::with_capacity(max_events.min(self.events));
        let mut bytes = 0;
        let is_full = |taken: &Vec<Flight>, bytes| taken.len() >= max_events || bytes >= max_bytes;
        while !is_full(&taken, bytes)
            && let Some(group) = self.turns.pop_front()
        {
            let records = &mut self.groups[group];
            while !is_full(&taken, bytes)
                && let Some(flight) = records.pop_front()
            {
                bytes += flight.bytes;
                taken.push(flight);
            }
            if !records.is_empty() {
                self.turns.push_back(group);
            }
        }
        self.events -= taken.len();
        self.bytes -= bytes;
        taken
    }

    /// Forgets those of these partitions of the foreign topic.
    pub fn forget(&mut self, partitions: &[PartitionId]) {
        let stays = |flight: &Flight| !partitions.contains(&flight.place.partition);
        self.groups.iter_mut().for_each(|group| group.retain(stays));
        self.turns.retain(|group| !self.groups[*group].is_empty());
        let left = || self.groups.iter().flatten();
        self.events = left().count();
        self.bytes = left().map(|flight| flight.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flight;
    use std::collections::BTreeSet;

    const GROUPS: u32 = 4;

    fn filled(records: u64) -> Fresh {
        let mut fresh = Fresh::new(GROUPS);
        (0..records).for_each(|offset| fresh.push(flight(0, offset, "k")));
        fresh
    }

    fn groups(flights: &[Flight]) -> BTreeSet<PartitionId> {
        let group = |flight: &Flight| partition_of(flight.subject.id().as_bytes(), GROUPS);
        flights.iter().map(group).collect()
    }

    #[test]
    fn what_fits_into_a_batch_goes_at_once() {
        let mut fresh = filled(20);
        assert_eq!(fresh.take(100, 1 << 20).len(), 20);
        assert_eq!((fresh.len(), fresh.bytes()), (0, 0));
        assert!(fresh.take(100, 1 << 20).is_empty());
    }

    #[test]
    fn a_backlog_goes_group_by_group_each_in_its_turn() {
        let mut fresh = filled(400);
        let mut offsets = BTreeSet::new();
        let mut first = BTreeSet::new();
        for turn in 0..GROUPS as usize {
            let batch = fresh.take(50, 1 << 20);
            assert_eq!((batch.len(), groups(&batch).len()), (50, 1));
            assert!(batch.is_sorted_by_key(|flight| flight.place.offset));
            offsets.extend(batch.iter().map(|flight| flight.place.offset));
            first.extend(groups(&batch));
            assert_eq!(first.len(), turn + 1, "another one each time");
        }
        while fresh.len() > 0 {
            let batch = fresh.take(50, 1 << 20);
            offsets.extend(batch.iter().map(|flight| flight.place.offset));
        }
        assert_eq!(offsets, (0..400).collect());
        assert_eq!(fresh.bytes(), 0);
    }

    #[test]
    fn large_records_fill_a_batch_as_well() {
        assert_eq!(filled(20).take(100, 1).len(), 1);
    }

    #[test]
    fn what_is_forgotten_is_gone() {
        let mut fresh = filled(20);
        fresh.push(flight(1, 7, "k"));
        fresh.forget(&[0]);
        let left = fresh.take(100, 1 << 20);
        let places: Vec<_> = left
            .iter()
            .map(|f| (f.place.partition, f.place.offset))
            .collect();
        assert_eq!((places, fresh.len(), fresh.bytes()), (vec![(1, 7)], 0, 0));
    }
}
