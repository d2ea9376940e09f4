//! What a replica finds on disk: read, held against itself, and made anew from the log where it cannot be gone on with.

use crate::database::guarded;
use crate::error::RegistryFailure;
use crate::lanes::{Lanes, Serves};
use crate::lineage::Lineage;
use crate::remembered::{Remembered, Shelf};
use crate::store::{State, Store, StoreError};
use rtf_proto::PartitionId;
use rtf_proto::partitioner::children;
use std::collections::BTreeMap;

type Partitions = Vec<(Remembered, State)>;

/// The store, and what each partition that is followed remembers by it.
pub struct View {
    pub store: Store,
    pub partitions: Partitions,
}

impl View {
    /// Reads what is there; partitions of the beginning of which nothing is there begin anew. `ask` says how many partitions the log began with, if
    /// nothing on disk does. The lanes are empty.
    ///
    /// # Errors
    /// A disk that cannot be used at all, or `ask`'s.
    pub fn open(
        store: Store,
        serves: &Serves,
        ask: impl FnOnce() -> Result<u32, RegistryFailure>,
    ) -> Result<(Self, Lanes), RegistryFailure> {
        let (mut store, (found, mut partitions)) = match guarded(|| read(&store, serves)) {
            Ok(read) => (store, read),
            Err(error) => (store.made_anew(&error)?, (None, Vec::new())),
        };
        let roots = found.map_or_else(ask, Ok)?;
        let lanes = Lanes::new(roots, serves.clone());
        begin_missing(&mut partitions, &lanes, &store)?;
        if let Err(words) = check(&partitions, &store) {
            partitions.clear();
            store = store.rebuild(&words)?;
            begin_missing(&mut partitions, &lanes, &store)?;
        }
        Ok((Self { store, partitions }, lanes))
    }
}

/// How many partitions the log began with, as far as the states know, and the partitions that are followed: what was followed before may have
/// been removed since.
fn read(store: &Store, serves: &Serves) -> Result<(Option<u32>, Partitions), StoreError> {
    let partitions = store.partitions()?.into_iter();
    let states: Vec<(PartitionId, State)> = partitions
        .map(|partition| Ok((partition, store.state(partition)?)))
        .collect::<Result<_, StoreError>>()?;
    let first = |(_, state): &(PartitionId, State)| state.lineage.counts().first().copied();
    let Some(roots) = states.iter().filter_map(first).min() else {
        return Ok((None, Vec::new()));
    };
    let lanes = Lanes::new(roots, serves.clone());
    let mut shelf = Shelf::new();
    let followed = states
        .iter()
        .filter(|(partition, _)| lanes.follows(*partition));
    let followed =
        followed.map(|(partition, _)| Remembered::load_sharing(*partition, store, &mut shelf));
    Ok((Some(roots), followed.collect::<Result<_, _>>()?))
}

/// Of these partitions nothing is on disk, and they are followed: the replica is new, did not serve them before, or ended before it had read anything of them. They are read from
/// the first record there is; what was split from them follows from that.
fn begin_missing(
    partitions: &mut Partitions,
    lanes: &Lanes,
    store: &Store,
) -> Result<(), RegistryFailure> {
    let roots = lanes.layout().roots();
    for partition in (0..roots).filter(|partition| lanes.follows(*partition)) {
        let is_there = |(known, _): &(Remembered, State)| known.partition() == partition;
        if !partitions.iter().any(is_there) {
            let fresh = Remembered::fresh(partition, Lineage::root(roots), store);
            let fresh = fresh.map_err(|error| store.failed(&error))?;
            partitions.push((fresh, State::default()));
        }
    }
    Ok(())
}

/// Whether it can be gone on with. Each partition's newest state is whole in itself; a file that was lost may leave one of them older than
/// the others believe it to be.
fn check(partitions: &Partitions, store: &Store) -> Result<(), String> {
    let remembered = partitions.iter().map(|(remembered, _)| remembered);
    let by_partition: BTreeMap<PartitionId, &Remembered> = remembered
        .map(|remembered| (remembered.partition(), remembered))
        .collect();
    let sealed = store.newest_sealed();
    for (partition, remembered) in &by_partition {
        if sealed.is_some_and(|sealed| remembered.age.current() <= sealed) {
            return Err(format!(
                "partition {partition} goes on in a bucket that is sealed: it was not followed for a while, or what was written of it later is lost"
            ));
        }
        let count_of = |of: PartitionId| by_partition.get(&of).map_or(0, |r| r.lineage.count());
        if let Some(relative) = torn_from(*partition, &remembered.lineage, count_of) {
            return Err(format!(
                "partitions {partition} and {relative}, one split from the other, are not of the same time"
            ));
        }
    }
    Ok(())
}

/// The parent that was not split into this partition, as far as it knows, or the child that it was split into and that is not there.
fn torn_from(
    partition: PartitionId,
    lineage: &Lineage,
    count_of: impl Fn(PartitionId) -> u32,
) -> Option<PartitionId> {
    let steps = lineage.counts().windows(2).map(|step| (step[0], step[1]));
    let mut relatives = steps.flat_map(|(before, after)| {
        let parent = (before..after)
            .contains(&partition)
            .then(|| partition % before);
        let parted = (partition < before).then(|| children(partition, before, after));
        let relatives = parent.into_iter().chain(parted.into_iter().flatten());
        relatives.map(move |relative| (relative, after))
    });
    let torn = relatives.find(|(relative, after)| count_of(*relative) < *after);
    torn.map(|(relative, _)| relative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::age::BucketId;
    use rtf_proto::{LogId, TopicId};

    const LOG: LogId = TopicId([3; 16]);

    /// Commits these partitions with these counts, and opens what that makes. Whether it was made anew.
    fn is_made_anew(partitions: &[(PartitionId, &[u32])], sealed: Option<BucketId>) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "t", LOG).unwrap();
        for (partition, counts) in partitions {
            let lineage = Lineage::learned(counts.to_vec());
            let remembered = Remembered::fresh(*partition, lineage, &store).unwrap();
            let commit = remembered.uncommitted(1, Some((0, 7)));
            store.commit(&[commit]).unwrap();
        }
        if let Some(bucket) = sealed {
            store.seal(bucket, 8, || true).unwrap();
            store.close(bucket).unwrap();
        }
        let (view, lanes) = View::open(store, &None, || Ok(2)).unwrap();
        assert_eq!(lanes.layout().roots(), 2);
        let next = view.partitions.iter().map(|(_, state)| state.next);
        let is_anew = next.sum::<u64>() == 0;
        assert_eq!(folder.path().join("view.broken-0").exists(), is_anew);
        is_anew
    }

    #[test]
    fn a_view_that_is_not_of_one_time_is_made_anew() {
        assert!(!is_made_anew(&[(0, &[2]), (1, &[2])], None));
        assert!(!is_made_anew(
            &[(0, &[2, 4]), (1, &[2]), (2, &[2, 4])],
            None
        ));
        assert!(is_made_anew(&[(0, &[2]), (1, &[2]), (2, &[2, 4])], None));
        assert!(is_made_anew(&[(0, &[2, 4]), (1, &[2])], None));
        assert!(is_made_anew(&[(0, &[2]), (1, &[2])], Some(5000)));
    }

    #[test]
    fn a_family_is_of_one_time() {
        let of = |counts: &[u32]| Lineage::learned(counts.to_vec());
        let whole = |_| 8;
        assert_eq!(torn_from(1, &of(&[2]), |_| 0), None, "no family yet");
        for partition in [0, 1, 3, 6] {
            assert_eq!(torn_from(partition, &of(&[2, 4, 8]), whole), None);
        }
        let lost = |lost, count| move |p| if p == lost { count } else { 8 };
        assert_eq!(torn_from(6, &of(&[2, 4, 8]), lost(2, 4)), Some(2));
        assert_eq!(torn_from(6, &of(&[2, 4, 8]), lost(0, 4)), None, "a cousin");
        assert_eq!(torn_from(0, &of(&[2, 4, 8]), lost(2, 0)), Some(2));
        assert_eq!(torn_from(0, &of(&[2, 4, 8]), lost(4, 0)), Some(4));
    }
}
