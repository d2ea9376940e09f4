//! The registry's inner loops, each alone: `cargo bench -p rtf-registry`. The whole is measured by `rtf-bench ids`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rtf_proto::record::{Event, Stamp};
use rtf_proto::{Incarnation, LogId, Offset, Outcome, Token, TopicId};
use rtf_registry::parts::{
    Decision, Place, Remembered, Sealed, SealedEntry, Sealer, Store, apply, hash_of,
};
use std::hint::black_box;
use std::time::Instant;

const LOG: LogId = TopicId([1; 16]);
const PLACE: Place = Place {
    log: LOG,
    partitions: 1,
    partition: 0,
};
const STAMP: Stamp = Stamp {
    log: LOG,
    partitions: 1,
    incarnation: Incarnation(1),
    sequence: 0,
};
/// Ids in the hot bucket, and in each sealed one.
const IDS: u64 = 1_000_000;
const SEALED_BUCKETS: u64 = 12;
/// Winners between two commits, about as a busy replica has them.
const COMMIT_IDS: u64 = 2048;

/// Id number `n`, of 20 bytes.
fn id_of(n: u64) -> String {
    format!("click-{n:014}")
}

fn event<'a>(id: &'a str, n: u64) -> Event<'a> {
    Event {
        id: id.as_bytes(),
        outcome: Outcome::Joined,
        token: Token(n),
        source: (LOG, 0, n),
        later_ts: 0,
        body: b"",
    }
}

/// A partition on disk and what it remembers.
struct Hot {
    _folder: tempfile::TempDir,
    store: Store,
    remembered: Remembered,
    next: Offset,
}

impl Hot {
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), "ids", LOG).expect("an empty store");
        let (remembered, _) = Remembered::load(0, &store).expect("nothing");
        Self {
            _folder: folder,
            store,
            remembered,
            next: 0,
        }
    }

    fn apply(&mut self, id: &str) -> Decision {
        let (offset, event) = (self.next, event(id, self.next));
        self.remembered.reach(offset, 1);
        let decision = apply(&PLACE, &mut self.remembered, offset, &STAMP, &event);
        self.next += 1;
        if self.next.is_multiple_of(COMMIT_IDS) {
            self.commit();
        }
        decision.expect("a store that works")
    }

    fn commit(&mut self) {
        let commit = self.remembered.uncommitted(self.next, None);
        self.store.commit(&[commit]).expect("a disk that works");
        self.remembered.committed();
    }
}

fn hot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hot");
    group.throughput(Throughput::Elements(1));
    let mut growing = Hot::empty();
    group.bench_function("apply a new id, commits included", |bencher| {
        bencher.iter_custom(|times| {
            let first = growing.next;
            let ids: Vec<String> = (first..first + times).map(id_of).collect();
            let begun = Instant::now();
            for id in &ids {
                assert_eq!(growing.apply(id), Decision::Won);
            }
            begun.elapsed()
        });
    });
    let mut known = Hot::empty();
    for n in 0..IDS {
        known.apply(&id_of(n));
    }
    known.commit();
    let mut n = 0;
    let mut next = move || {
        n = (n + 7919) % IDS;
        n
    };
    group.bench_function("look up an absent id", |bencher| {
        bencher.iter_batched(
            || id_of(IDS + next()),
            |id| known.remembered.is_absent(id.as_bytes()),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("look up a present id", |bencher| {
        bencher.iter_batched(
            || id_of(next()),
            |id| known.remembered.registered(id.as_bytes()),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn sealed(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = |bucket: u64| -> Vec<SealedEntry> {
        let entry = |n| SealedEntry {
            id: id_of(bucket * IDS + n).into_bytes().into(),
            offset: n,
            outcome: Outcome::Joined,
        };
        (0..IDS).map(entry).collect()
    };
    let seal = |bucket: u64, entries| {
        let dir = folder.path().join(bucket.to_string());
        let mut sealer = Sealer::create(&dir).expect("a folder");
        sealer.partition(0, entries).expect("a disk that works");
        sealer.finish().expect("a disk that works");
        Sealed::open(&dir).expect("what was just written")
    };
    let buckets: Vec<Sealed> = (0..SEALED_BUCKETS)
        .map(|bucket| seal(bucket, entries(bucket)))
        .collect();
    let mut n = 0;
    let mut next = move || {
        n = (n + 7919) % IDS;
        n
    };
    let mut group = criterion.benchmark_group("sealed");
    group.throughput(Throughput::Elements(1));
    group.bench_function("look up an absent id in 12 buckets", |bencher| {
        bencher.iter_batched(
            || id_of(SEALED_BUCKETS * IDS + next()),
            |id| {
                let hash = hash_of(id.as_bytes());
                buckets.iter().all(|bucket| bucket.is_absent(0, hash))
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("look up a present id in its bucket", |bencher| {
        bencher.iter_batched(
            || id_of(next()),
            |id| buckets[0].find(0, hash_of(id.as_bytes()), id.as_bytes()),
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(IDS));
    group.sample_size(10);
    group.bench_function("seal a bucket of a million ids", |bencher| {
        bencher.iter_batched(
            || entries(SEALED_BUCKETS),
            |entries| black_box(seal(SEALED_BUCKETS, entries)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(parts, hot, sealed);
criterion_main!(parts);
