//! Which offsets of which partition are still on their way, and hence what may be committed. Pure: knows no event,
//! no clock and no Kafka.
//!
//! Per partition there is a window: the offsets that are pending, and one past the last that was read. What lies below that and is
//! not pending is done, or was never there: gaps between offsets are normal. So a window costs memory for
//! what is pending only, however long the oldest waits.
//!
//! Each assignment of a partition is an *epoch* of its own. What belongs to an epoch that is over, or to a partition that is
//! not ours, moves nothing (RULE 14).

use rtf_proto::{Offset, PartitionId};
use rtf_service::mutant;
use std::collections::{BTreeMap, BTreeSet};

/// One assignment of one partition to this dispatcher.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch(u64);

/// A record, in the epoch in which it was read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Partition of the foreign topic.
    pub partition: PartitionId,
    /// The assignment under which it was read.
    pub epoch: Epoch,
    /// Its offset.
    pub offset: Offset,
}

/// What is known of one assigned partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowStatus {
    /// The partition.
    pub partition: PartitionId,
    /// First offset that is not done: what a commit says. `None` before the first record of the epoch.
    pub position: Option<Offset>,
    /// One past the last offset that was read.
    pub next: Option<Offset>,
    /// Records read and not done: being worked on, or waiting for a partner.
    pub pending: usize,
    /// Those of them that are being worked on.
    pub working: usize,
}

#[derive(Debug)]
struct Window {
    epoch: Epoch,
    pending: BTreeSet<Offset>,
    working: usize,
    next: Option<Offset>,
    crowded: bool,
    draining: bool,
}

/// The windows of all assigned partitions.
#[derive(Debug)]
pub struct Inflight {
    windows: BTreeMap<PartitionId, Window>,
    epochs: u64,
    window_events: usize,
}

impl Inflight {
    /// Nothing assigned; a window with more than `window_events` pending is crowded.
    pub fn new(window_events: usize) -> Self {
        Self {
            windows: BTreeMap::new(),
            epochs: 0,
            window_events,
        }
    }

    /// Begins a new epoch of the partition with an empty window; an older one is over.
    pub fn assign(&mut self, partition: PartitionId) -> Epoch {
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        let window = Window {
            epoch,
            pending: BTreeSet::new(),
            working: 0,
            next: None,
            crowded: false,
            draining: false,
        };
        self.windows.insert(partition, window);
        epoch
    }

    /// Ends the partition's epoch.
    pub fn release(&mut self, partition: PartitionId) {
        self.windows.remove(&partition);
    }

    /// No more work is to be begun for this partition; what is being worked on goes on.
    pub fn drain(&mut self, partition: PartitionId) {
        if let Some(window) = self.windows.get_mut(&partition) {
            window.draining = true;
        }
    }

    /// Whether nothing of this partition is being worked on.
    pub fn is_drained(&self, partition: PartitionId) -> bool {
        self.windows
            .get(&partition)
            .is_none_or(|window| window.working == 0)
    }

    /// A record that was just read is worked on from now on. False, and nothing happens, when its epoch is over or draining.
    ///
    /// # Panics
    /// When it is not behind all others of its epoch: whoever reads begins a new epoch when a partition is rewound.
    pub fn begin(&mut self, place: Place) -> bool {
        let crowd = self.window_events;
        let Some(window) = self.window(place).filter(|window| !window.draining) else {
            return false;
        };
        assert!(
            window.next.is_none_or(|next| place.offset >= next),
            "records of an epoch are read in order"
        );
        window.next = Some(place.offset + 1);
        window.pending.insert(place.offset);
        window.working += 1;
        window.crowded |= window.pending.len() >= crowd;
        true
    }

    /// Whether what is worked on may still be: its epoch is neither over nor draining.
    pub fn is_open(&self, place: Place) -> bool {
        let window = self.windows.get(&place.partition);
        window.is_some_and(|window| window.epoch == place.epoch && !window.draining)
    }

    /// What was worked on waits from now on: still pending. False when there is nothing to wait for: the epoch is over or draining.
    pub fn wait(&mut self, place: Place) -> bool {
        let Some(window) = self.window(place) else {
            return false;
        };
        window.working -= 1;
        !window.draining
    }

    /// What waited is worked on again. False when its epoch is over or draining.
    pub fn resume(&mut self, place: Place) -> bool {
        let Some(window) = self.window(place).filter(|window| !window.draining) else {
            return false;
        };
        window.working += 1;
        true
    }

    /// What was worked on is done, for ever. False when its epoch is over.
    pub fn done(&mut self, place: Place) -> bool {
        let roomy = self.window_events / 4 * 3;
        let Some(window) = self.window(place) else {
            return false;
        };
        window.working -= 1;
        let was_pending = window.pending.remove(&place.offset);
        window.crowded &= window.pending.len() > roomy;
        was_pending
    }

    /// The first offset that is not done: what may be committed. `None` when nothing was read in this epoch.
    pub fn position(&self, partition: PartitionId) -> Option<Offset> {
        self.windows.get(&partition)?.position()
    }

    /// Partitions from which nothing more should be read until their windows have room again.
    pub fn crowded(&self) -> impl Iterator<Item = PartitionId> {
        let crowded = self.windows.iter().filter(|(_, window)| window.crowded);
        crowded.map(|(partition, _)| *partition)
    }

    /// The partition's present epoch; `None` when it is not ours.
    pub fn epoch(&self, partition: PartitionId) -> Option<Epoch> {
        Some(self.windows.get(&partition)?.epoch)
    }

    /// All assigned partitions.
    pub fn assigned(&self) -> impl Iterator<Item = PartitionId> {
        self.windows.keys().copied()
    }

    /// What is known of each assigned partition.
    pub fn status(&self) -> impl Iterator<Item = WindowStatus> {
        self.windows.iter().map(|(partition, window)| WindowStatus {
            partition: *partition,
            position: window.position(),
            next: window.next,
            pending: window.pending.len(),
            working: window.working,
        })
    }

    fn window(&mut self, place: Place) -> Option<&mut Window> {
        let window = self.windows.get_mut(&place.partition);
        window.filter(|window| window.epoch == place.epoch || mutant::is("epoch-not-compared"))
    }
}

impl Window {
    fn position(&self) -> Option<Offset> {
        if mutant::is("read-is-committed") {
            return self.next;
        }
        self.pending.first().copied().or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The naive model: everything that was ever read, each with its state.
    #[derive(Default)]
    struct Model {
        epoch: Option<Epoch>,
        read: Vec<(Offset, State)>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum State {
        Working,
        Waiting,
        Done,
    }

    impl Model {
        fn position(&self) -> Option<Offset> {
            let open = self.read.iter().find(|(_, state)| *state != State::Done);
            let end = self.read.last().map(|(offset, _)| offset + 1);
            open.map(|(offset, _)| *offset).or(end)
        }
        fn count(&self, wanted: State) -> usize {
            self.read.iter().filter(|(_, s)| *s == wanted).count()
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Assign,
        Release,
        Read { gap: u64 },
        Settle { which: usize, waits: bool },
        Resume { which: usize },
        Ghost { offset: u64 },
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            1 => Just(Op::Assign),
            1 => Just(Op::Release),
            12 => (0u64..5).prop_map(|gap| Op::Read { gap }),
            10 => (any::<usize>(), any::<bool>()).prop_map(|(which, waits)| Op::Settle { which, waits }),
            4 => any::<usize>().prop_map(|which| Op::Resume { which }),
            3 => (0u64..40).prop_map(|offset| Op::Ghost { offset }),
        ]
    }

    fn pick(model: &Model, which: usize, wanted: State) -> Option<usize> {
        let all = model.read.iter().enumerate();
        let fits: Vec<usize> = all.filter(|(_, r)| r.1 == wanted).map(|(i, _)| i).collect();
        (!fits.is_empty()).then(|| fits[which % fits.len()])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn does_what_the_naive_model_does(ops in prop::collection::vec((0u32..3, op()), 0..120)) {
            let mut inflight = Inflight::new(8);
            let mut models: BTreeMap<PartitionId, Model> = BTreeMap::new();
            let mut ghosts: Vec<Place> = Vec::new();
            for (partition, op) in ops {
                let model = models.entry(partition).or_default();
                let place = |epoch, offset| Place { partition, epoch, offset };
                match op {
                    Op::Assign => {
                        ghosts.extend(model.epoch.iter().flat_map(|e| model.read.iter().map(move |r| Place { partition, epoch: *e, offset: r.0 })));
                        *model = Model { epoch: Some(inflight.assign(partition)), read: Vec::new() };
                    }
                    Op::Release => {
                        ghosts.extend(model.epoch.iter().flat_map(|e| model.read.iter().map(move |r| Place { partition, epoch: *e, offset: r.0 })));
                        inflight.release(partition);
                        *model = Model::default();
                    }
                    Op::Read { gap } => if let Some(epoch) = model.epoch {
                        let offset = model.read.last().map_or(0, |(last, _)| last + 1) + gap;
                        prop_assert!(inflight.begin(place(epoch, offset)));
                        model.read.push((offset, State::Working));
                    },
                    Op::Settle { which, waits } => if let Some(at) = pick(model, which, State::Working) {
                        let place = place(model.epoch.unwrap(), model.read[at].0);
                        let taken = if waits { inflight.wait(place) } else { inflight.done(place) };
                        prop_assert!(taken);
                        model.read[at].1 = if waits { State::Waiting } else { State::Done };
                    },
                    Op::Resume { which } => if let Some(at) = pick(model, which, State::Waiting) {
                        prop_assert!(inflight.resume(place(model.epoch.unwrap(), model.read[at].0)));
                        model.read[at].1 = State::Working;
                    },
                    // Late results of epochs that are over, and of partitions that never were ours.
                    Op::Ghost { offset } => {
                        for ghost in &ghosts {
                            prop_assert!(!inflight.done(*ghost) && !inflight.wait(*ghost) && !inflight.resume(*ghost));
                        }
                        let never = Place { partition: 99, epoch: Epoch(1), offset };
                        prop_assert!(!inflight.begin(never) && !inflight.done(never));
                    }
                }
                for (partition, model) in &models {
                    prop_assert_eq!(inflight.position(*partition), model.position());
                    let status = inflight.status().find(|s| s.partition == *partition);
                    prop_assert_eq!(status.is_some(), model.epoch.is_some());
                    if let Some(status) = status {
                        prop_assert_eq!(status.working, model.count(State::Working));
                        prop_assert_eq!(status.pending, model.count(State::Working) + model.count(State::Waiting));
                        let crowded = inflight.crowded().any(|p| p == *partition);
                        prop_assert!(crowded || status.pending < 8);
                        prop_assert!(!crowded || status.pending > 6);
                    }
                }
            }
        }
    }

    #[test]
    fn a_draining_partition_begins_nothing_and_finishes_what_it_has() {
        let mut inflight = Inflight::new(100);
        let epoch = inflight.assign(0);
        let place = |offset| Place {
            partition: 0,
            epoch,
            offset,
        };
        assert!((0..3).all(|offset| inflight.begin(place(offset))));
        assert!(inflight.wait(place(1)));
        inflight.drain(0);
        assert!(!inflight.begin(place(3)) && !inflight.resume(place(1)));
        assert!(!inflight.is_drained(0));
        assert!(inflight.done(place(0)));
        assert!(!inflight.wait(place(2)), "there is no waiting any more");
        assert!(inflight.is_drained(0));
        assert_eq!(inflight.position(0), Some(1));
    }
}
