//! Replicas against a model: whatever stands in a log (ghosts, duplicates, garbage, splits that fit and that do not), in whatever order its partitions are
//! read, killed wherever, sealed, rebuilt: each replica has the winners of a plain map, and all are equal byte for byte.

use super::*;
use crate::database::guarded;
use crate::store::{self, StoreError};
use crate::testing::{self, LOG};
use crate::view::View;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rtf_proto::control::Settings;
use rtf_proto::partitioner::{children, partition_of};
use rtf_proto::record::{encode_barrier, encode_control, encode_event};
use rtf_proto::{EventId, Incarnation, LogId, Registration, TopicId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const OTHER_LOG: LogId = TopicId([2; 16]);
const ROOTS: u32 = 2;
/// Partitions the log can have at the most.
const MOST: u32 = 12;
const IDS: u16 = 300;
/// Buckets are cut every few records, and nothing is forgotten.
const SETTINGS: Settings = Settings {
    horizon_ms: 1 << 40,
    span_ms: 50,
};

#[derive(Clone, Debug)]
struct Written {
    append_ms: i64,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

/// The log, by partition. Every third offset is a gap.
#[derive(Default, Debug)]
struct Log(HashMap<PartitionId, Vec<Written>>);

fn offset_of(position: usize) -> Offset {
    position as u64 + position as u64 / 2
}

/// What somebody does to the log.
#[derive(Clone, Debug)]
enum Op {
    /// An event of this id, by a writer who believes that so many splits were done in its partition.
    Event {
        id: u16,
        stale: usize,
        token: u64,
    },
    /// A record that was written before comes once more, into the same partition.
    Ghost(prop::sample::Index),
    /// An event in some partition, by a writer who believes in some count, of some log.
    Stray {
        id: u16,
        partition: u32,
        count: u32,
        is_ours: bool,
    },
    Garbage(u32, Vec<u8>),
    Epoch {
        partition: u32,
        partitions: u32,
    },
    /// The right birth of a partition, if it waits for one.
    Birth(u32),
    WrongBirth {
        partition: u32,
        parent: u32,
        offset: u64,
    },
    Wait(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let partition = || 0..MOST;
    let count = || prop::sample::select(vec![1u32, 2, 3, 4, 6, 8, 12]);
    prop_oneof![
        12 => (0..IDS, 0usize..2, any::<u64>()).prop_map(|(id, stale, token)| Op::Event { id, stale, token }),
        2 => any::<prop::sample::Index>().prop_map(Op::Ghost),
        2 => (0..IDS, partition(), count(), any::<bool>())
            .prop_map(|(id, partition, count, is_ours)| Op::Stray { id, partition, count, is_ours }),
        1 => (partition(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(p, bytes)| Op::Garbage(p, bytes)),
        1 => (partition(), count()).prop_map(|(partition, partitions)| Op::Epoch { partition, partitions }),
        2 => partition().prop_map(Op::Birth),
        1 => (partition(), partition(), 0u64..40)
            .prop_map(|(partition, parent, offset)| Op::WrongBirth { partition, parent, offset }),
        2 => (1u8..60).prop_map(Op::Wait),
    ]
}

/// The model of a partition: a plain map, and which ids it takes.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    counts: Vec<u32>,
    unborn: Option<(PartitionId, Offset)>,
    winners: HashMap<Vec<u8>, (PartitionId, Offset)>,
    read: usize,
}

/// All of it: roots first, children when their parents come to the epoch.
#[derive(Debug)]
struct Model(HashMap<PartitionId, Plain>);

impl Model {
    fn new() -> Self {
        let root = Plain {
            counts: vec![ROOTS],
            unborn: None,
            winners: HashMap::new(),
            read: 0,
        };
        Self((0..ROOTS).map(|p| (p, root.clone())).collect())
    }

    /// Reads what is new.
    fn follow(&mut self, log: &Log) {
        while let Some(partition) = self.behind(log) {
            let record = &log.0[&partition][self.0[&partition].read];
            self.apply(partition, record);
        }
    }

    fn behind(&self, log: &Log) -> Option<PartitionId> {
        let written = |p: &PartitionId| log.0.get(p).map_or(0, Vec::len);
        let mut behind = self.0.iter().filter(|(p, plain)| plain.read < written(p));
        behind.next().map(|(p, _)| *p)
    }

    fn apply(&mut self, partition: PartitionId, record: &Written) {
        let plain = self.0.get_mut(&partition).unwrap();
        let offset = offset_of(plain.read);
        plain.read += 1;
        let Ok(decoded) = decode(record.key.as_deref(), Some(&record.value)) else {
            return;
        };
        let (stamp, count) = (decoded.stamp, *plain.counts.last().unwrap());
        if stamp.log != LOG {
            return;
        }
        match decoded.content {
            Content::Event(event) => {
                let fits = stamp.partitions == count && partition_of(event.id, count) == partition;
                if plain.unborn.is_none() && fits {
                    plain
                        .winners
                        .entry(event.id.to_vec())
                        .or_insert((partition, offset));
                }
            }
            Content::Control(Control::Born { parent, offset }) => {
                plain.unborn.take_if(|unborn| *unborn == (parent, offset));
            }
            Content::Control(Control::Epoch { partitions })
                if plain.unborn.is_none() && partitions > count && partitions % count == 0 =>
            {
                plain.counts.push(partitions);
                let child = Plain {
                    unborn: Some((partition, offset)),
                    read: 0,
                    ..plain.clone()
                };
                for id in children(partition, count, partitions) {
                    self.0.insert(id, child.clone());
                }
            }
            _ => {}
        }
    }

    /// Where a writer who knows all but the last `stale` splits appends an id, with which count.
    fn route(&self, id: &[u8], stale: usize) -> (PartitionId, u32) {
        let (mut partition, mut count) = (partition_of(id, ROOTS), ROOTS);
        loop {
            let counts = &self.0[&partition].counts;
            let known = &counts[..counts.len().saturating_sub(stale).max(1)];
            let Some(next) = known.iter().find(|next| **next > count) else {
                return (partition, count);
            };
            (count, partition) = (*next, partition_of(id, *next));
        }
    }
}

fn stamp(log: LogId, partitions: u32, sequence: usize) -> Stamp {
    Stamp {
        log,
        partitions,
        incarnation: Incarnation(9),
        sequence: sequence as u64,
    }
}

fn id(number: u16) -> EventId {
    EventId::from(format!("event-{number}").as_str())
}

fn registration(number: u16, token: u64) -> Registration {
    let mut item = testing::registration(&format!("event-{number}"), token);
    item.source.offset = number.into();
    item
}

/// Writes the log that these ops make, and the model of it.
fn write(ops: &[Op]) -> (Log, Model) {
    let (mut log, mut model) = (Log::default(), Model::new());
    let mut all: Vec<(PartitionId, Written)> = Vec::new();
    let mut now = 1000;
    for partition in 0..ROOTS {
        let mut value = Vec::new();
        encode_barrier(&stamp(LOG, ROOTS, 0), &mut value);
        all.push((
            partition,
            Written {
                append_ms: now,
                key: None,
                value,
            },
        ));
        let mut value = Vec::new();
        encode_control(
            &stamp(LOG, ROOTS, 0),
            &Control::Settings(SETTINGS),
            &mut value,
        );
        all.push((
            partition,
            Written {
                append_ms: now,
                key: None,
                value,
            },
        ));
    }
    for (partition, record) in &all {
        log.0.entry(*partition).or_default().push(record.clone());
    }
    for (sequence, op) in ops.iter().enumerate() {
        model.follow(&log);
        let event = |number, token, log, partition, count| {
            let mut value = Vec::new();
            let item = registration(number, token);
            encode_event(&stamp(log, count, sequence), &item, &mut value);
            let key = Some(item.id.as_bytes().to_vec());
            (
                partition,
                Written {
                    append_ms: now,
                    key,
                    value,
                },
            )
        };
        let control = |partition, control| {
            let mut value = Vec::new();
            encode_control(&stamp(LOG, 1, sequence), &control, &mut value);
            (
                partition,
                Written {
                    append_ms: now,
                    key: None,
                    value,
                },
            )
        };
        let written = match op {
            Op::Event {
                id: number,
                stale,
                token,
            } => {
                let (partition, count) = model.route(id(*number).as_bytes(), *stale);
                event(*number, *token, LOG, partition, count)
            }
            Op::Ghost(which) => which.get(&all).clone(),
            Op::Stray {
                id,
                partition,
                count,
                is_ours,
            } => {
                let log = if *is_ours { LOG } else { OTHER_LOG };
                event(*id, 1, log, *partition, *count)
            }
            Op::Garbage(partition, bytes) => (
                *partition,
                Written {
                    append_ms: now,
                    key: None,
                    value: bytes.clone(),
                },
            ),
            Op::Epoch {
                partition,
                partitions,
            } => control(
                *partition,
                Control::Epoch {
                    partitions: *partitions,
                },
            ),
            Op::Birth(partition) => {
                let unborn = model.0.get(partition).and_then(|plain| plain.unborn);
                let Some((parent, offset)) = unborn else {
                    continue;
                };
                control(*partition, Control::Born { parent, offset })
            }
            Op::WrongBirth {
                partition,
                parent,
                offset,
            } => control(
                *partition,
                Control::Born {
                    parent: *parent,
                    offset: *offset,
                },
            ),
            Op::Wait(ms) => {
                now += i64::from(*ms);
                continue;
            }
        };
        log.0.entry(written.0).or_default().push(written.1.clone());
        all.push(written);
    }
    model.follow(&log);
    (log, model)
}

/// What a partition is: its state's bytes, and the offsets that did not win.
type Whole = (Vec<u8>, Vec<Offset>);

/// A replica without Kafka.
struct Replica {
    shared: Arc<Shared>,
    store: Arc<Store>,
    applier: Applier,
    followed: Vec<PartitionId>,
    /// Positions in the log, where it goes on later.
    read: HashMap<PartitionId, usize>,
}

impl Replica {
    fn open(folder: &TempDir) -> Self {
        let store = Store::open(folder.path(), "t", LOG).unwrap();
        let (view, lanes) = View::open(store, &None, || Ok(ROOTS)).unwrap();
        let lanes = Arc::new(lanes);
        // What is written comes from the model.
        let shared = Arc::new(testing::shared(folder.path(), &lanes));
        let store = Arc::new(view.store);
        let mut applier = Applier::new(shared.clone(), store.clone());
        let mut followed = Vec::new();
        for (remembered, state) in view.partitions {
            let partition = remembered.partition();
            let lane = lanes.add(partition, remembered, state.next);
            applier.resume(lane, &state, None, None);
            followed.push(partition);
        }
        Self {
            shared,
            store,
            applier,
            followed,
            read: HashMap::new(),
        }
    }

    /// The next record of a partition, if there is one.
    fn step(&mut self, log: &Log, which: usize) -> Result<bool, RegistryFailure> {
        self.followed.extend(self.applier.take_begun());
        let written = |p: &PartitionId| log.0.get(p).map_or(0, Vec::len);
        let behind: Vec<_> = self
            .followed
            .iter()
            .filter(|p| self.read.get(p).copied().unwrap_or(0) < written(p))
            .collect();
        let Some(partition) = behind.get(which % behind.len().max(1)).map(|p| **p) else {
            return Ok(false);
        };
        let position = self.read.entry(partition).or_default();
        let record = &log.0[&partition][*position];
        let offset = offset_of(*position);
        *position += 1;
        let (append_ms, key) = (record.append_ms, record.key.as_deref());
        let value = Some(record.value.as_slice());
        let record = LogRecord {
            partition,
            offset,
            append_ms,
            key,
            value,
        };
        self.applier.apply(&record)?;
        Ok(true)
    }

    /// Reads all there is.
    fn finish(&mut self, log: &Log) -> Result<(), RegistryFailure> {
        while self.step(log, 0)? {}
        self.applier.commit()
    }

    /// What the keeper does: seals what no partition writes to any more.
    fn seal(&self) -> Result<(), StoreError> {
        self.store.sync()?;
        let lanes = self.shared.lanes.all();
        let settled = lanes
            .iter()
            .map(|lane| lane.remembered.read().settled_in())
            .min();
        for id in self.store.open_before(settled.unwrap()) {
            let partitions = self.shared.lanes.partitions();
            let sealed = self.store.seal(id, partitions, || true)?;
            let sealed = sealed.expect("it went on");
            for lane in &lanes {
                lane.remembered.write().seal(id, sealed.clone());
            }
            self.store.close(id)?;
        }
        Ok(())
    }

    /// All that the model's partitions are, as [`state`](Self::state) has them.
    fn states(&self, model: &Model) -> Vec<(PartitionId, Whole)> {
        let mut partitions: Vec<_> = model.0.iter().collect();
        partitions.sort_unstable_by_key(|(partition, _)| **partition);
        let state = |(partition, plain): (&PartitionId, &Plain)| {
            let next = plain.read.checked_sub(1);
            let next = next.map_or(0, |last| offset_of(last) + 1);
            (*partition, self.state(*partition, next))
        };
        partitions.into_iter().map(state).collect()
    }

    /// Everything that is remembered of a partition, as bytes and winners.
    fn state(&self, partition: PartitionId, next: Offset) -> Whole {
        let lane = self.shared.lanes.get(partition).unwrap();
        let remembered = lane.remembered.read();
        let mut bytes = Vec::new();
        remembered.age.encode(&mut bytes);
        remembered.lineage.encode(&mut bytes);
        bytes.extend(remembered.digest.sum().to_le_bytes());
        bytes.extend(next.to_le_bytes());
        let rejected =
            (0..next).filter(|offset| !remembered.is_accepted(*offset, b"nobody").unwrap());
        (bytes, rejected.collect())
    }
}

/// How a replica reads it: which partition next, and what befalls it in between.
#[derive(Clone, Debug)]
enum Fate {
    Read(usize),
    Commit,
    Kill,
    Seal,
    Rebuild,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        40 => any::<usize>().prop_map(Fate::Read),
        2 => Just(Fate::Commit),
        1 => Just(Fate::Kill),
        1 => Just(Fate::Seal),
        1 => Just(Fate::Rebuild),
    ]
}

/// A folder that need not wait for a disk, where there is such a place.
fn memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn run(log: &Log, fates: &[Fate]) -> (Replica, TempDir) {
    let mut folder = memory();
    let mut replica = Replica::open(&folder);
    for fate in fates {
        match fate {
            Fate::Read(which) => drop(replica.step(log, *which).unwrap()),
            Fate::Commit => replica.applier.commit().unwrap(),
            Fate::Seal => replica.seal().unwrap(),
            Fate::Kill => {
                drop(replica);
                replica = Replica::open(&folder);
            }
            Fate::Rebuild => {
                drop(replica);
                folder = memory();
                replica = Replica::open(&folder);
            }
        }
    }
    replica.finish(log).unwrap();
    (replica, folder)
}

impl Replica {
    /// Whether all of its winners, and what it follows, are the model's.
    fn check(&self, model: &Model) -> Result<Result<(), TestCaseError>, StoreError> {
        let check = |partition: PartitionId, plain: &Plain| {
            let lane = self.shared.lanes.get(partition).unwrap();
            let remembered = lane.remembered.read();
            let mut same = remembered.lineage.counts() == plain.counts;
            for number in 0..IDS {
                let id = id(number);
                // What moved to a child is not asked here any more.
                if partition_of(id.as_bytes(), *plain.counts.last().unwrap()) == partition {
                    let found = guarded(|| remembered.registered(id.as_bytes()))?;
                    let found = found.map(|(home, winner)| (home, winner.offset));
                    same &= found == plain.winners.get(id.as_bytes()).copied();
                }
            }
            Ok::<_, StoreError>(same)
        };
        for (partition, plain) in &model.0 {
            if !check(*partition, plain)? {
                return Ok(Err(TestCaseError::fail(format!("partition {partition}"))));
            }
        }
        let lanes = self.shared.lanes.all().len();
        Ok(if lanes == model.0.len() {
            Ok(())
        } else {
            Err(TestCaseError::fail("a partition the log does not speak of"))
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]
    #[test]
    fn all_replicas_equal_the_model_and_each_other(
        ops in prop::collection::vec(op(), 1..300),
        fates in prop::collection::vec(prop::collection::vec(fate(), 0..300), 2),
    ) {
        let (log, model) = write(&ops);
        let replicas: Vec<_> = fates.iter().map(|fates| run(&log, fates)).collect();
        let states: Vec<_> = replicas.iter().map(|(replica, _)| replica.states(&model)).collect();
        prop_assert_eq!(&states[0], &states[1]);
        for (replica, _) in &replicas {
            replica.check(&model).unwrap()?;
        }
    }
}

/// Each case opens some databases.
const CASES: u32 = 16;

/// What a replica appended itself and came back keeps no place, or all that is appended later would.
#[test]
fn what_came_back_keeps_no_place() {
    let folder = memory();
    let mut replica = Replica::open(&folder);
    let writer = &replica.shared.writer;
    let controls = [
        Control::Settings(SETTINGS),
        Control::Epoch {
            partitions: 2 * ROOTS,
        },
        Control::Heartbeat,
    ];
    for control in controls.clone() {
        writer.append_control(0, control);
    }
    assert_eq!(writer.places(), controls.len());
    let mut log = Log::default();
    let incarnation = writer.incarnation();
    for (sequence, control) in (0..).zip(&controls) {
        let stamp = Stamp {
            log: LOG,
            partitions: ROOTS,
            incarnation,
            sequence,
        };
        let mut value = Vec::new();
        encode_control(&stamp, control, &mut value);
        let record = Written {
            append_ms: 1000,
            key: None,
            value,
        };
        log.0.entry(0).or_default().push(record);
    }
    replica.finish(&log).unwrap();
    assert_eq!(replica.shared.lanes.all().len(), 3, "it is split");
    // The child's birth is announced, and did not come back.
    assert!(replica.shared.writer.places() <= 1);
}

/// What may befall a file while nobody looks.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Cut,
    Flip,
    Zero,
    Garbage,
    Delete,
    /// With all that is in its folder.
    DeleteFolder,
}

const DAMAGES: [Damage; 6] = [
    Damage::Cut,
    Damage::Flip,
    Damage::Zero,
    Damage::Garbage,
    Damage::Delete,
    Damage::DeleteFolder,
];

impl Damage {
    fn befall(self, path: &Path, random: &mut StdRng) {
        let mut bytes = std::fs::read(path).unwrap();
        let at = random.random_range(0..bytes.len().max(1));
        match self {
            Self::Delete => return std::fs::remove_file(path).unwrap(),
            Self::DeleteFolder => return std::fs::remove_dir_all(path.parent().unwrap()).unwrap(),
            Self::Cut => bytes.truncate(at),
            Self::Garbage => bytes.extend(random.random::<[u8; 16]>()),
            Self::Flip => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
            Self::Zero => {
                let end = (at + random.random_range(1..200)).min(bytes.len());
                bytes[at..end].fill(0);
            }
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// All files of a view.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// Which sort of file it is: its path without numbers.
fn sort_of(path: &Path, view: &Path) -> String {
    let path = path.strip_prefix(view).unwrap().to_string_lossy();
    let path = path.trim_start_matches("bucket-").replace('\\', "/");
    let name = path.split('.').next().unwrap_or_default();
    name.chars()
        .filter(|c| !c.is_ascii_digit() && *c != '-')
        .collect()
}

/// A file of a view, each sort as likely as another.
fn any_of(view: &Path, random: &mut StdRng) -> PathBuf {
    let all = files(view);
    let sorts: BTreeSet<String> = all.iter().map(|path| sort_of(path, view)).collect();
    let sort = sorts.iter().nth(random.random_range(0..sorts.len()));
    let mut of_sort = all;
    of_sort.retain(|path| Some(&sort_of(path, view)) == sort);
    of_sort.swap_remove(random.random_range(0..of_sort.len()))
}

/// Copies a view file by file while its replica goes on: what a disk may have that lost some of what was written last.
fn torn(replica: &mut Replica, log: &Log, folder: &TempDir, random: &mut StdRng) -> TempDir {
    let copy = memory();
    for path in files(folder.path()) {
        let to = copy.path().join(path.strip_prefix(folder.path()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        // It may be gone by now.
        let _ = std::fs::copy(&path, to);
        for _ in 0..random.random_range(0..20) {
            replica.step(log, random.random_range(0..100)).unwrap();
        }
        match random.random_range(0..4) {
            0 => replica.applier.commit().unwrap(),
            1 => replica.seal().unwrap(),
            _ => {}
        }
    }
    copy
}

/// Opens what is there, reads all of the log, and compares it with the model. What meets damage meanwhile is condemned and opened again, as in a process that ends
/// and is started. Says whether the view was made anew.
fn recover(log: &Log, model: &Model, folder: &TempDir) -> (Replica, bool) {
    let asides = || std::fs::read_dir(folder.path()).unwrap().count();
    let before = asides();
    for _ in 0..2 {
        let mut replica = Replica::open(folder);
        let finished = std::panic::catch_unwind(AssertUnwindSafe(|| {
            replica.finish(log).map(|()| replica.check(model))
        }));
        let words = match finished {
            Ok(Ok(Ok(same))) => {
                same.unwrap();
                return (replica, asides() > before);
            }
            Ok(Ok(Err(error))) if error.is_damage() => error.to_string(),
            Ok(Err(failure @ RegistryFailure::Data { .. })) => failure.to_string(),
            Ok(Ok(Err(error))) => panic!("no damage: {error}"),
            Ok(Err(failure)) => panic!("no damage: {failure}"),
            Err(panic) => rtf_service::thread::words(panic.as_ref()),
        };
        drop(replica);
        store::condemn(folder.path(), &words);
    }
    panic!("a view that was made anew is damaged");
}

/// Whatever is cut off, flipped, overwritten, added or missing in whichever file: the same winners, from what is there or made anew from the log.
#[test]
fn damage_changes_no_winner() {
    let cases = std::env::var("RTF_CASES").map_or(DAMAGE_CASES, |n| n.parse().unwrap());
    let mut runner = TestRunner::deterministic();
    let mut random = StdRng::seed_from_u64(4);
    let mut hit: BTreeMap<String, [u32; 2]> = BTreeMap::new();
    for _ in 0..cases {
        let ops = prop::collection::vec(op(), 200..500).new_tree(&mut runner);
        let (log, model) = write(&ops.unwrap().current());
        let folder = memory();
        let mut replica = Replica::open(&folder);
        let mut torn_states = Vec::new();
        for _ in 0..TORN_EACH {
            let copy = torn(&mut replica, &log, &folder, &mut random);
            let (recovered, is_anew) = recover(&log, &model, &copy);
            torn_states.push(recovered.states(&model));
            hit.entry("torn".into()).or_default()[usize::from(is_anew)] += 1;
        }
        drop(replica);
        let (mut replica, _) = recover(&log, &model, &folder);
        let undamaged = replica.states(&model);
        assert!(torn_states.iter().all(|states| *states == undamaged));
        for _ in 0..DAMAGES_EACH {
            if random.random() {
                replica.seal().unwrap();
            }
            drop(replica);
            let view = folder.path().join("view");
            let path = any_of(&view, &mut random);
            let damage = DAMAGES[random.random_range(0..DAMAGES.len())];
            let sort = sort_of(&path, &view);
            damage.befall(&path, &mut random);
            let (recovered, is_anew) = recover(&log, &model, &folder);
            hit.entry(sort).or_default()[usize::from(is_anew)] += 1;
            replica = recovered;
            assert_eq!(replica.states(&model), undamaged, "{damage:?} of {path:?}");
        }
    }
    eprintln!("harmless and made anew, by file: {hit:?}");
    for sort in ["torn", "/db", "sealed/blocks", "sealed/index", "rejected"] {
        let [harmless, anew] = hit.get(sort).copied().unwrap_or_default();
        assert!(harmless + anew > 0, "{sort}: {hit:?}");
    }
}

const DAMAGE_CASES: u32 = 6;
const DAMAGES_EACH: u32 = 12;
const TORN_EACH: u32 = 4;
