//! Which joiner to ask about a key, as far as the joiners have said what they hold. Pure: it knows no call and no clock.
//!
//! A wrong answer here costs a call, never a row: a joiner that does not hold a key's partition says "not ready".

use super::Group;
use crate::partitioner::partition_of;
use crate::{JoinerShare, PartitionId};
use std::collections::{BTreeMap, BTreeSet};

/// The last word of one joiner.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    /// None yet.
    Nothing,
    /// It has all primaries.
    All,
    /// It has some partitions of them.
    Share(JoinerShare),
    /// It had some partitions, and does not answer any more. What it said was broken still is.
    Silent { broken: Option<String> },
}

/// What each joiner said last.
#[derive(Clone, Debug)]
pub(super) struct Holders(Vec<Said>);

/// Whom to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Routes {
    /// Anyone: nobody has said that it holds less than everything.
    Everyone,
    /// By the partition of the key.
    Partitioned {
        /// Partitions of the primary topic; 1 while that is not known.
        partitions: u32,
        /// Who answers for each. Those that have everything are among them.
        holders: BTreeMap<PartitionId, Group>,
        /// Why there is nobody for some.
        words: String,
    },
}

/// A part of a batch: whom to ask, and where its events stand in the batch.
pub(super) type Cut = Vec<(Group, Vec<usize>)>;

impl Holders {
    /// Nobody of so many has said anything.
    pub fn new(joiners: usize) -> Self {
        Self(vec![Said::Nothing; joiners])
    }

    /// One has said what it holds; `None`: everything.
    pub fn heard(&mut self, at: usize, share: Option<JoinerShare>) {
        self.0[at] = share.map_or(Said::All, Said::Share);
    }

    /// One did not answer. One that holds everything stays with the others, to be asked last; a partition may be another's already.
    pub fn silent(&mut self, at: usize) {
        if let Said::Share(share) = &mut self.0[at] {
            let broken = share.broken.take();
            self.0[at] = Said::Silent { broken };
        }
    }

    /// Whom to ask now.
    pub fn routes(&self) -> Routes {
        let is_partitioned = |said: &Said| matches!(said, Said::Share(_) | Said::Silent { .. });
        if !self.0.iter().any(is_partitioned) {
            return Routes::Everyone;
        }
        let shares = || self.0.iter().filter_map(Said::share);
        let mut words = "no joiner holds it and has read it to its end".to_owned();
        // One that has just started does not know it yet.
        let counts = shares().map(|share| share.partitions);
        let counts: BTreeSet<u32> = counts.filter(|count| *count > 0).collect();
        let broken = self.0.iter().find_map(Said::broken).cloned();
        let is_sound = broken.is_none() && counts.len() == 1;
        if counts.len() > 1 {
            words = format!(
                "joiners differ in how many partitions the primary topic has: {counts:?}; start them again"
            );
        }
        words = broken.unwrap_or(words);
        // Where no count is known there is nobody but those who have everything, whatever the partition.
        let partitions = counts.last().copied().unwrap_or(0).max(1);
        let holds = |said: &Said, partition| match said {
            Said::All => true,
            Said::Share(share) => is_sound && share.ready.contains(&partition),
            Said::Nothing | Said::Silent { .. } => false,
        };
        let group = |partition| -> Group {
            let all = self.0.iter().enumerate();
            all.filter(|(_, said)| holds(said, partition))
                .map(|(at, _)| at)
                .collect()
        };
        let holders = (0..partitions)
            .map(|p| (p, group(p)))
            .filter(|(_, group)| !group.is_empty());
        Routes::Partitioned {
            partitions,
            holders: holders.collect(),
            words,
        }
    }
}

impl Said {
    fn share(&self) -> Option<&JoinerShare> {
        match self {
            Self::Share(share) => Some(share),
            _ => None,
        }
    }

    fn broken(&self) -> Option<&String> {
        match self {
            Self::Share(share) => share.broken.as_ref(),
            Self::Silent { broken } => broken.as_ref(),
            Self::Nothing | Self::All => None,
        }
    }
}

impl Routes {
    /// Cuts a batch by whom to ask. Events for which there is nobody are in no part.
    pub fn cut<'k>(&self, everyone: Group, keys: impl Iterator<Item = &'k [u8]>) -> Cut {
        let Self::Partitioned {
            partitions,
            holders,
            ..
        } = self
        else {
            return vec![(everyone, keys.enumerate().map(|(at, _)| at).collect())];
        };
        let mut parts: BTreeMap<&Group, Vec<usize>> = BTreeMap::new();
        for (at, key) in keys.enumerate() {
            if let Some(group) = holders.get(&partition_of(key, *partitions)) {
                parts.entry(group).or_default().push(at);
            }
        }
        parts
            .into_iter()
            .map(|(group, places)| (group.clone(), places))
            .collect()
    }

    /// Why there is nobody to ask about a key.
    pub fn nobody(&self, key: &[u8]) -> String {
        match self {
            Self::Everyone => "no joiner answers".into(),
            Self::Partitioned {
                partitions, words, ..
            } => {
                format!(
                    "partition {} of the primary topic: {words}",
                    partition_of(key, *partitions)
                )
            }
        }
    }

    /// Whether somebody answers for a partition who did not before: it does not know which of its keys are waited for.
    pub fn gains_on(&self, before: &Self) -> bool {
        let Self::Partitioned { holders, .. } = self else {
            return false;
        };
        let had = |partition: &PartitionId, at: &usize| match before {
            Self::Everyone => false,
            Self::Partitioned { holders, .. } => holders
                .get(partition)
                .is_some_and(|group| group.contains(at)),
        };
        holders
            .iter()
            .any(|(partition, group)| group.iter().any(|at| !had(partition, at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(partitions: u32, ready: &[PartitionId]) -> Option<JoinerShare> {
        Some(JoinerShare {
            partitions,
            held: ready.iter().copied().collect(),
            ready: ready.iter().copied().collect(),
            broken: None,
        })
    }

    fn who(holders: &Holders, key: &[u8]) -> Option<Group> {
        let everyone = (0..holders.0.len()).collect();
        holders
            .routes()
            .cut(everyone, std::iter::once(key))
            .pop()
            .map(|(group, _)| group)
    }

    #[derive(Clone, Debug)]
    enum Op {
        All(usize),
        Share(usize, u32, BTreeSet<PartitionId>, bool),
        Silent(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let share = (
            0usize..3,
            prop_oneof![9 => Just(4u32), 1 => Just(8u32), 1 => Just(0u32)],
            prop::collection::btree_set(0u32..5, 0..4),
            prop::bool::weighted(0.1),
        );
        prop_oneof![
            1 => (0usize..3).prop_map(Op::All),
            6 => share.prop_map(|(at, count, ready, broken)| Op::Share(at, count, ready, broken)),
            2 => (0usize..3).prop_map(Op::Silent),
        ]
    }

    proptest! {
        /// Asked key by key, of what each one said last.
        #[test]
        fn a_key_goes_to_those_who_answer_for_it(ops in prop::collection::vec(op(), 0..12), keys in prop::collection::vec(any::<[u8; 3]>(), 0..40)) {
            let mut holders = Holders::new(3);
            // By joiner: whether it is partitioned, and what it would answer a key's partition; none: everything.
            let mut last: Vec<Option<Op>> = vec![None; 3];
            let mut breaks = [false; 3];
            for op in ops {
                match &op {
                    Op::All(at) => { holders.heard(*at, None); last[*at] = Some(op.clone()); breaks[*at] = false; }
                    Op::Share(at, partitions, ready, broken) => {
                        breaks[*at] = *broken;
                        let broken = broken.then(|| "not cut by its keys".to_owned());
                        holders.heard(*at, Some(JoinerShare { partitions: *partitions, held: ready.clone(), ready: ready.clone(), broken }));
                        last[*at] = Some(op.clone());
                    }
                    Op::Silent(at) => {
                        holders.silent(*at);
                        if matches!(last[*at], Some(Op::Share(..))) { last[*at] = Some(op.clone()); }
                    }
                }
            }
            let partitioned = last.iter().flatten().any(|op| matches!(op, Op::Share(..) | Op::Silent(_)));
            let shares: Vec<_> = last.iter().flatten().filter_map(|op| match op { Op::Share(_, n, ..) if *n > 0 => Some(*n), _ => None }).collect();
            let sound = !shares.is_empty() && shares.iter().all(|n| *n == shares[0]) && breaks == [false; 3];
            let count = shares.iter().max().copied().unwrap_or(1);
            let routes = holders.routes();
            let cut = routes.cut(vec![0, 1, 2], keys.iter().map(<[u8; 3]>::as_slice));
            for (at, key) in keys.iter().enumerate() {
                let found: Vec<&Group> = cut.iter().filter(|(_, places)| places.contains(&at)).map(|(group, _)| group).collect();
                let naive: Group = (0..3).filter(|joiner| match &last[*joiner] {
                    _ if !partitioned => true,
                    Some(Op::All(_)) => true,
                    Some(Op::Share(_, _, ready, _)) => sound && ready.contains(&partition_of(key, count)),
                    _ => false,
                }).collect();
                match naive.is_empty() {
                    true => prop_assert!(found.is_empty()),
                    false => prop_assert_eq!(found, vec![&naive]),
                }
            }
        }
    }

    #[test]
    fn joiners_that_have_everything_are_asked_as_ever() {
        let mut holders = Holders::new(2);
        assert_eq!(holders.routes(), Routes::Everyone);
        holders.heard(0, None);
        holders.silent(0);
        assert_eq!(
            who(&holders, b"k"),
            Some(vec![0, 1]),
            "the second may have it too"
        );
    }

    #[test]
    fn who_falls_silent_is_not_asked_and_nobody_else_is_in_its_place() {
        let mut holders = Holders::new(2);
        holders.heard(0, share(1, &[0]));
        holders.heard(1, share(1, &[]));
        assert_eq!(who(&holders, b"k"), Some(vec![0]));
        let before = holders.routes();
        holders.silent(0);
        assert_eq!(who(&holders, b"k"), None);
        assert!(
            holders
                .routes()
                .nobody(b"k")
                .starts_with("partition 0 of the primary topic: no joiner")
        );
        assert!(!holders.routes().gains_on(&before), "nobody new");
        holders.heard(1, share(1, &[0]));
        assert!(holders.routes().gains_on(&before));
        holders.silent(1);
        assert_eq!(who(&holders, b"k"), None, "both are silent");
    }

    #[test]
    fn one_broken_joiner_stops_the_others_but_not_those_that_have_everything() {
        let mut holders = Holders::new(3);
        holders.heard(0, share(1, &[0]));
        let broken = JoinerShare {
            broken: Some("cut otherwise".into()),
            ..share(1, &[]).unwrap()
        };
        holders.heard(1, Some(broken));
        assert_eq!(who(&holders, b"k"), None);
        assert!(holders.routes().nobody(b"k").ends_with("cut otherwise"));
        holders.heard(2, None);
        assert_eq!(who(&holders, b"k"), Some(vec![2]));
    }

    #[test]
    fn joiners_must_agree_how_the_topic_is_cut() {
        let mut holders = Holders::new(2);
        holders.heard(0, share(4, &[0, 1, 2, 3]));
        holders.heard(1, share(8, &[4]));
        assert_eq!(who(&holders, b"k"), None);
        assert!(holders.routes().nobody(b"k").contains("{4, 8}"));
    }
}
