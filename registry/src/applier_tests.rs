//! One partition, record by record: what stops a replica, what it passes over, and when it begins to answer.

use super::*;
use crate::handle::RegistryHandle;
use crate::testing::{One, barrier};
use rtf_proto::{EventId, Incarnation, Known, LookupItem, Registry, Source, TopicId};

const STRANGER: Incarnation = Incarnation(9);

fn question() -> Vec<LookupItem> {
    vec![LookupItem {
        id: EventId::from("a"),
        source: Source {
            topic: "t".into(),
            topic_id: TopicId([8; 16]),
            partition: 0,
            offset: 0,
        },
    }]
}

#[tokio::test]
async fn nothing_is_answered_before_the_own_barrier_came_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = One::open(folder.path(), &State::default(), &[]);
    let handle = RegistryHandle(one.shared.clone());
    one.shared.writer.append_barrier(0);
    let own = barrier(one.shared.writer.incarnation(), 0);
    one.event(0, "a");
    one.apply(1, &barrier(STRANGER, 0)).unwrap();
    one.applier.hand_on();
    assert!(!one.shared.is_ready(), "another's barrier says nothing");
    assert!(handle.lookup(question()).await.is_err());
    one.apply(2, &own).unwrap();
    one.applier.hand_on();
    let found = handle.lookup(question()).await.unwrap();
    assert_eq!(found[0].and_then(Known::resolved).unwrap().offset, 0);
}

#[test]
fn a_barrier_that_cannot_vouch_for_the_log_ends_the_replica() {
    let folder = tempfile::tempdir().unwrap();
    let state = State {
        uninformed: Some(40),
        ..State::default()
    };
    let mut one = One::open(folder.path(), &state, &[]);
    one.shared.writer.append_barrier(0);
    let own = barrier(one.shared.writer.incarnation(), 0);
    let ended = one.apply(41, &own).unwrap_err();
    assert!(matches!(
        ended,
        RegistryFailure::Uninformed { first: 40, .. }
    ));
    one.applier.hand_on();
    assert!(!one.shared.is_ready());
}

#[test]
fn another_record_where_the_last_one_stood_ends_the_replica() {
    let folder = tempfile::tempdir().unwrap();
    let known = barrier(STRANGER, 1);
    let state = State {
        next: 8,
        anchor: Some((7, hash_of(&known))),
        ..State::default()
    };
    let mut same = One::open(folder.path(), &state, &[]);
    same.apply(7, &known).unwrap();
    same.apply(8, &barrier(STRANGER, 2)).unwrap();
    drop(same);
    for (offset, value) in [(7, barrier(STRANGER, 2)), (8, known)] {
        let mut other = One::open(folder.path(), &state, &[]);
        let ended = other.apply(offset, &value).unwrap_err();
        assert!(
            matches!(ended, RegistryFailure::Truncated { offset: 7, .. }),
            "{ended}"
        );
    }
}

#[test]
fn behind_a_new_leader_the_last_record_must_be_the_same() {
    let (first, second) = (barrier(STRANGER, 1), barrier(STRANGER, 2));
    let opened = || {
        let folder = tempfile::tempdir().unwrap();
        let mut one = One::open(folder.path(), &State::default(), &[]);
        assert_eq!(one.applier.compare_again(0), None, "nothing was applied");
        one.apply(4, &first).unwrap();
        one.apply(6, &second).unwrap();
        assert_eq!(one.applier.compare_again(0), Some(6));
        (one, folder)
    };
    let (mut same, _folder) = opened();
    same.apply(6, &second).unwrap();
    assert_eq!(same.applier.partitions[&0].next, 7);
    same.apply(7, &first).unwrap();
    assert_eq!(same.applier.partitions[&0].next, 8);
    for (offset, value) in [(6, &first), (7, &second)] {
        let (mut other, _folder) = opened();
        let ended = other.apply(offset, value).unwrap_err();
        assert!(
            matches!(ended, RegistryFailure::Truncated { offset: 6, .. }),
            "{ended}"
        );
    }
}

#[test]
fn a_broken_record_ends_the_replica_and_a_foreign_one_does_not() {
    let mut broken = barrier(STRANGER, 1);
    *broken.last_mut().unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let mut one = One::open(folder.path(), &State::default(), &[]);
    one.apply(0, b"somebody else's").unwrap();
    one.event(1, "a");
    for _ in 0..2 {
        let ended = one.apply(2, &broken).unwrap_err();
        assert!(
            matches!(ended, RegistryFailure::Poison { offset: 2, .. }),
            "{ended}"
        );
        assert_eq!(
            one.applier.partitions[&0].next, 2,
            "it stays in front of it"
        );
    }
    drop(one);
    let mut told = One::open(folder.path(), &State::default(), &[2]);
    told.apply(2, &broken).unwrap();
    assert_eq!(told.applier.partitions[&0].next, 3);
    assert!(
        told.apply(3, &broken).is_err(),
        "only the one that is named"
    );
}

#[test]
fn new_ids_are_committed_by_the_few_thousand_and_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = One::open(folder.path(), &State::default(), &[]);
    let (mut saved, ids) = (0, 3 * COMMIT_IDS as u64);
    for offset in 0..ids {
        one.event(offset, &format!("id-{offset}"));
        // However quick the replica is.
        one.applier.last_commit = Instant::now();
        one.applier.commit_in_time().unwrap();
        let next = one.store.load(0).unwrap().state.next;
        assert!(
            offset + 1 - next <= 4096,
            "{} wait at {offset}",
            offset + 1 - next
        );
        saved = next;
    }
    assert_eq!(saved, ids);
    let lane = one.shared.lanes.get(0).unwrap();
    let bucket = one
        .store
        .bucket(lane.remembered.read().age.current())
        .unwrap();
    let blocks: Vec<_> = bucket.all(0).map(Result::unwrap).collect();
    assert_eq!(blocks.len() as u64, ids.div_ceil(64));
}
