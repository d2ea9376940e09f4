use super::*;
use crate::apply::{Ids, Winner, tests::Model};
use crate::lineage::Birth;
use crate::remembered::Remembered;
use proptest::prelude::*;
use rtf_proto::control::{Control, Settings};
use rtf_proto::{Outcome, Token, TopicId};

const LOG: LogId = TopicId([3; 16]);
const SOURCE: (TopicId, u32) = (TopicId([8; 16]), 0);

fn winner(offset: u64) -> Winner {
    Winner {
        offset,
        token: Some(Token(offset ^ 0xabc)),
        outcome: Outcome::Joined,
    }
}

fn open(folder: &Path) -> (Store, Remembered, State) {
    let store = Store::open(folder, "t", LOG).unwrap();
    let (remembered, state) = Remembered::load(0, &store).unwrap();
    (store, remembered, state)
}

fn commit(store: &Store, remembered: &mut Remembered, next: u64) {
    let commit = remembered.uncommitted(next, Some((next - 1, 7)));
    store.commit(&[commit]).unwrap();
    remembered.committed();
}

/// What the tailer does with a record, in short.
fn take(store: &Store, remembered: &mut Remembered, offset: u64, time: i64, id: &[u8]) -> bool {
    if remembered.reach(offset, time) {
        remembered.begin(store.bucket(remembered.age.current()).unwrap());
    }
    let won = match remembered.find(id).unwrap() {
        Some((_, known)) if known.offset != offset => false,
        Some(_) => true,
        None => {
            remembered.insert(id, winner(offset));
            true
        }
    };
    if won {
        remembered.won(id, &winner(offset), SOURCE, offset);
    } else {
        remembered.reject(offset);
    }
    remembered.bury();
    won
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Commits, new buckets and crashes at any point, with what was applied since the last commit applied again: the decisions
    /// equal those of a plain map, and are remembered.
    #[test]
    fn memory_and_disk_equal_a_map(ops in prop::collection::vec((0u16..400, 0u8..16), 1..600)) {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut remembered, _) = open(folder.path());
        remembered.control(&Control::Settings(Settings { horizon_ms: 1_000_000, span_ms: 1000 }));
        let mut model = Model::default();
        // All that was in the log so far: id, time, whether it won.
        let mut log: Vec<(Vec<u8>, i64, bool)> = Vec::new();
        let (mut time, mut saved) = (1000, 0);
        commit(&store, &mut remembered, 1);
        for (id, op) in ops {
            let (id, offset) = (format!("event-{id}").into_bytes(), log.len() as u64);
            let won = take(&store, &mut remembered, offset, time, &id);
            prop_assert_eq!(won, Ids::find(&model, &id).unwrap().is_none());
            if won {
                model.insert(&id, winner(offset));
            }
            log.push((id, time, won));
            match op {
                0 | 1 => {
                    commit(&store, &mut remembered, offset + 1);
                    saved = log.len();
                }
                2 => {
                    // A crash: what was not committed is read from the log again, and decided alike.
                    drop((remembered, store));
                    let state;
                    (store, remembered, state) = open(folder.path());
                    prop_assert_eq!(state.next.max(1), saved.max(1) as u64);
                    remembered.control(&Control::Settings(Settings { horizon_ms: 1_000_000, span_ms: 1000 }));
                    for (offset, (id, time, won)) in log.iter().enumerate().skip(saved) {
                        prop_assert_eq!(take(&store, &mut remembered, offset as u64, *time, id), *won);
                    }
                }
                3 => time += 700,
                _ => {}
            }
        }
        prop_assert_eq!(remembered.ids(), model.0.len() as u64);
        for (offset, (id, _, won)) in log.iter().enumerate() {
            prop_assert_eq!(remembered.is_accepted(offset as u64, id).unwrap(), *won);
        }
    }
}

#[test]
fn what_is_forgotten_leaves_the_disk_but_not_before_the_state_on_disk_forgets_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut remembered, _) = open(folder.path());
    let settings = Settings {
        horizon_ms: 5000,
        span_ms: 1000,
    };
    remembered.control(&Control::Settings(settings));
    assert!(take(&store, &mut remembered, 0, 10_000, b"a"));
    remembered.control(&Control::Progress(vec![(SOURCE, 1)]));
    assert!(!take(&store, &mut remembered, 1, 10_100, b"a"));
    assert!(take(&store, &mut remembered, 2, 11_000, b"b"));
    commit(&store, &mut remembered, 3);
    assert!(take(&store, &mut remembered, 3, 16_000, b"c"));
    assert_eq!(remembered.ids(), 2, "a is forgotten");
    assert!(remembered.is_below_floor(SOURCE, 0));
    assert_eq!(
        store.remove_before(remembered.oldest_needed()).unwrap(),
        Vec::<BucketId>::new(),
        "a's bucket is still named on disk"
    );
    commit(&store, &mut remembered, 3);
    assert_eq!(
        store.remove_before(remembered.oldest_needed()).unwrap(),
        [0, 10_000]
    );
    assert!(remembered.is_accepted(0, b"a").unwrap());
    assert!(
        !remembered.is_accepted(1, b"a").unwrap(),
        "the loser is known, though the winner is forgotten"
    );
    drop((store, remembered));
    let (_store, remembered, _) = open(folder.path());
    assert!(!remembered.is_accepted(1, b"a").unwrap() && remembered.is_below_floor(SOURCE, 0));
    assert_eq!(remembered.ids(), 2);
}

#[test]
fn another_logs_directory_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), "vacation.joins", LOG).unwrap());
    let refused = Store::open(folder.path(), "vacation.joins", TopicId([4; 16]))
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains(&LOG.to_string()) && refused.contains("[registry].data"),
        "{refused}"
    );
}

/// Seen with real faults: a byte of the topic's name changed on the disk, and the replica took its directory for another join's for ever.
#[test]
fn a_damaged_name_is_no_other_logs_name() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut remembered, _) = open(folder.path());
    take(&store, &mut remembered, 0, 0, b"a");
    commit(&store, &mut remembered, 1);
    drop((remembered, store));
    let name = folder.path().join("log");
    let mut bytes = fs::read(&name).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&name, bytes).unwrap();
    let (store, _, state) = open(folder.path());
    assert_eq!(state, State::default());
    assert!(folder.path().join("view.broken-0").exists());
    drop(store);
    open(folder.path());
    assert!(!folder.path().join("view.broken-1").exists());
}

#[test]
fn a_torn_database_is_set_aside_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut remembered, _) = open(folder.path());
    for n in 0..1000u64 {
        take(&store, &mut remembered, n, 0, &n.to_le_bytes());
    }
    commit(&store, &mut remembered, 1000);
    store.sync().unwrap();
    drop((remembered, store));
    fs::write(folder.path().join("view/bucket-0/conf"), b"not sled's").unwrap();
    let (_store, remembered, state) = open(folder.path());
    assert_eq!((state, remembered.ids()), (State::default(), 0));
    assert!(folder.path().join("view.broken-0").exists());
}

#[test]
fn a_replica_that_does_not_know_the_beginning_does_not_forget_that() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut remembered, _) = open(folder.path());
    assert!(take(&store, &mut remembered, 500, 0, b"a"));
    let mut commit = remembered.uncommitted(501, None);
    commit.state.uninformed = Some(500);
    commit.state.rebasing = true;
    store.commit(&[commit]).unwrap();
    drop((remembered, store));
    let (_store, _, state) = open(folder.path());
    assert_eq!(
        (state.next, state.uninformed, state.rebasing),
        (501, Some(500), true)
    );
}

#[test]
fn a_bucket_that_was_removed_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut remembered, _) = open(folder.path());
    remembered.control(&Control::Settings(Settings {
        horizon_ms: 5000,
        span_ms: 1000,
    }));
    assert!(take(&store, &mut remembered, 0, 10_000, b"a"));
    assert!(take(&store, &mut remembered, 1, 11_000, b"b"));
    commit(&store, &mut remembered, 2);
    store.sync().unwrap();
    drop((remembered, store));
    fs::remove_dir_all(folder.path().join("view/bucket-10000")).unwrap();
    let store = Store::open(folder.path(), "t", LOG).unwrap();
    let missed = Remembered::load(0, &store).err().unwrap();
    assert!(
        matches!(missed, StoreError::Incomplete { bucket: 10_000, .. }),
        "{missed}"
    );
}

#[test]
fn sealing_forgets_nothing_and_survives_being_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut remembered, _) = open(folder.path());
    remembered.control(&Control::Settings(Settings {
        horizon_ms: 500_000,
        span_ms: 1000,
    }));
    let id = |n: u64| format!("id-{n}").into_bytes();
    for n in 0..500 {
        assert!(take(
            &store,
            &mut remembered,
            n,
            10_000 + n as i64 * 10,
            &id(n)
        ));
    }
    commit(&store, &mut remembered, 500);
    let settled = remembered.settled_in();
    let due = store.open_before(settled);
    assert!(due.len() > 3 && !due.contains(&settled));
    assert!(
        store.seal(due[1], 1, || false).unwrap().is_none(),
        "told to stop"
    );
    for (at, id) in due.iter().enumerate() {
        let sealed = store.seal(*id, 1, || true).unwrap().unwrap();
        match at {
            // A crash before its first form was removed.
            2 => {}
            _ => {
                remembered.seal(*id, sealed);
                store.close(*id).unwrap();
            }
        }
    }
    // A crash while it was being written.
    fs::create_dir(folder.path().join("view/sealed-99000")).unwrap();
    for reopened in [false, true] {
        for n in 0..500 {
            assert_eq!(remembered.find(&id(n)).unwrap().unwrap().1.offset, n);
            assert!(!remembered.is_absent(&id(n)));
        }
        assert!(remembered.find(b"another").unwrap().is_none());
        assert_eq!(remembered.ids(), 500, "reopened: {reopened}");
        if !reopened {
            let (again, state);
            drop((remembered, store));
            (again, remembered, state) = open(folder.path());
            assert_eq!(state.next, 500);
            assert_eq!(
                again.open_before(i64::MAX).len(),
                1,
                "all others are sealed"
            );
            store = again;
        }
    }
}

#[test]
fn two_replicas_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(folder.path(), "t", LOG).unwrap();
    let refused = Store::open(folder.path(), "t", LOG)
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("another process"), "{refused}");
}

/// sled holds writes back for half a second: a bucket must be on the disk before a state in the next one counts its ids.
#[test]
fn a_bucket_is_on_the_disk_before_the_next_one_counts_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut remembered, _) = open(folder.path());
    assert!(take(&store, &mut remembered, 0, 1000, b"a"));
    commit(&store, &mut remembered, 1);
    // Split: what was registered before is shared from now on, and not written again.
    remembered.split(8);
    let blocks = store.bucket(remembered.age.current()).unwrap();
    remembered.begin(blocks.clone());
    let birth = Birth {
        parent: 0,
        offset: 1,
    };
    let child = remembered.child(4, birth, blocks);
    commit(&store, &mut remembered, 2);
    // The new bucket happens to be written first.
    store.sync_bucket(remembered.age.current()).unwrap();
    let copied = tempfile::tempdir().unwrap();
    // What a kill at this moment leaves.
    copy(&folder.path().join("view"), &copied.path().join("view"));
    let (_, again, state) = open(copied.path());
    assert_eq!((state.next, again.ids()), (2, 1));
    assert!(child.find(b"a").unwrap().is_some());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// sled gets ten times as slow, and as large, with a key per id (RULE 19).
#[test]
fn ids_share_blocks() {
    const IDS: u64 = 5000;
    let folder = tempfile::tempdir().unwrap();
    let (store, mut remembered, _) = open(folder.path());
    for offset in 0..IDS {
        take(&store, &mut remembered, offset, 0, &offset.to_le_bytes());
    }
    commit(&store, &mut remembered, IDS);
    let blocks = store.bucket(remembered.age.current()).unwrap();
    let keys = blocks.all(0).count() as u64;
    assert!(keys <= IDS / 50, "{keys} keys for {IDS} ids");
}
