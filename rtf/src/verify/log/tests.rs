//! Logs written by hand, split and cut, and what they decided.

use super::*;
use rtf_proto::control::{Checkpoint, Settings};
use rtf_proto::partitioner::partition_of;
use rtf_proto::{Incarnation, Token, TopicId};

const LOG: LogId = TopicId([1; 16]);
const TOPIC: TopicId = TopicId([2; 16]);
const SETTINGS: Control = Control::Settings(Settings {
    horizon_ms: 1000,
    span_ms: 100,
});

/// A log written by hand, in the order it is read.
struct Hand {
    log: Log,
    accepted: Vec<(PartitionId, Winner)>,
    open: Option<PartitionId>,
    next: Offset,
    now: i64,
}

impl Hand {
    fn new(firsts: &[Offset]) -> Self {
        Self {
            log: Log::new(LOG, None, firsts.to_vec()),
            accepted: Vec::new(),
            open: None,
            next: 0,
            now: 10_000,
        }
    }

    /// The log began with so many partitions as the first record in partition 0 says.
    fn put(&mut self, partition: PartitionId, partitions: u32, content: Content<'_>) -> Offset {
        if partition == 0 {
            self.log.roots.get_or_insert(partitions);
        }
        if self.open != Some(partition) {
            self.log.open(partition);
            self.open = Some(partition);
            self.next = self.log.firsts[partition as usize];
        }
        let offset = self.next;
        self.next += 1;
        let stamp = Stamp {
            log: LOG,
            partitions,
            incarnation: Incarnation(3),
            sequence: offset,
        };
        let record = Record { stamp, content };
        let at = (partition, offset);
        let winner = self.log.record(at, self.now, Some(&record));
        self.accepted
            .extend(winner.map(|winner| (partition, winner)));
        offset
    }

    fn event(&mut self, partition: PartitionId, partitions: u32, id: &str) -> Offset {
        let number: Offset = id.parse().expect("ids are numbers");
        let event = Event {
            id: id.as_bytes(),
            outcome: Outcome::Joined,
            token: Token(4),
            source: (TOPIC, 0, number),
            later_ts: 0,
            body: b"",
        };
        self.put(partition, partitions, Content::Event(event))
    }

    fn control(&mut self, partition: PartitionId, partitions: u32, control: Control) -> Offset {
        self.put(partition, partitions, Content::Control(control))
    }

    /// Where an event was decided, the last time.
    fn winner(&self, id: &str) -> Option<(PartitionId, Offset)> {
        let id = hash(id.as_bytes());
        let mut newest = self.accepted.iter().rev();
        let (partition, winner) = newest.find(|(_, winner)| winner.id == id)?;
        Some((*partition, winner.offset))
    }

    fn is_remembered(&self, id: &str) -> bool {
        self.log.remembered.contains(&hash(id.as_bytes()))
    }
}

/// Numbers that hash to a partition among so many.
fn ids(partition: PartitionId, count: u32) -> impl Iterator<Item = String> {
    let all = (0..).map(|n: u32| n.to_string());
    all.filter(move |id| partition_of(id.as_bytes(), count) == partition)
}

fn id(partition: PartitionId, count: u32) -> String {
    ids(partition, count).next().expect("there are some")
}

fn born(parent: PartitionId, offset: Offset) -> Control {
    Control::Born { parent, offset }
}

#[test]
fn a_split_moves_ids_with_what_was_decided() {
    let mut hand = Hand::new(&[0; 8]);
    let mut children = ids(5, 8);
    let [early, late, hasty] = [(); 3].map(|()| children.next().expect("there are some"));
    hand.put(0, 4, Content::Barrier);
    hand.event(1, 4, &early);
    let epoch = hand.control(1, 4, Control::Epoch { partitions: 8 });
    hand.event(1, 4, &late);
    hand.event(1, 8, &late);
    let stays = hand.event(1, 8, &id(1, 8));
    hand.control(1, 4, Control::Epoch { partitions: 8 });
    hand.event(5, 8, &hasty);
    hand.control(5, 8, born(1, epoch + 1));
    hand.event(5, 8, &hasty);
    hand.control(5, 8, born(1, epoch));
    hand.event(5, 8, &early);
    hand.event(5, 4, &late);
    let wins = hand.event(5, 8, &late);
    hand.event(5, 8, &late);
    assert_eq!(hand.winner(&early), Some((1, 0)));
    assert_eq!(hand.winner(&late), Some((5, wins)));
    assert_eq!(hand.winner(&id(1, 8)), Some((1, stays)));
    assert_eq!(hand.winner(&hasty), None);
    assert_eq!((hand.log.misplaced, hand.log.superseded), (5, 2));
}

#[test]
fn a_child_is_split_again() {
    let mut hand = Hand::new(&[0; 8]);
    hand.put(0, 2, Content::Barrier);
    let first = id(7, 8);
    hand.event(1, 2, &first);
    let epoch = hand.control(1, 2, Control::Epoch { partitions: 4 });
    hand.control(3, 4, born(1, epoch));
    let second = ids(7, 8).nth(1).expect("there are some");
    hand.event(3, 4, &second);
    let epoch = hand.control(3, 4, Control::Epoch { partitions: 8 });
    hand.control(7, 8, born(3, epoch));
    hand.event(7, 8, &first);
    hand.event(7, 8, &second);
    assert_eq!(hand.winner(&first), Some((1, 0)));
    assert_eq!(hand.winner(&second), Some((3, 1)));
    assert_eq!((hand.log.misplaced, hand.log.superseded), (0, 2));
}

/// More partitions than the log uses are a split under way; nothing there counts.
#[test]
fn the_topic_may_be_ahead_of_the_log() {
    let mut hand = Hand::new(&[0; 8]);
    let id = id(5, 8);
    hand.event(0, 4, &self::id(0, 4));
    hand.event(1, 4, &id);
    hand.event(5, 8, &id);
    assert_eq!(hand.winner(&id), Some((1, 0)));
    assert_eq!((hand.log.misplaced, hand.accepted.len()), (1, 2));
    // No record of ours in partition 0 says otherwise.
    let mut hand = Hand::new(&[0; 8]);
    hand.event(5, 8, &id);
    assert_eq!(hand.winner(&id), Some((5, 0)));
}

#[test]
fn parent_and_child_forget_apart() {
    let mut hand = Hand::new(&[0; 2]);
    hand.control(0, 1, SETTINGS);
    let (stays, goes) = (id(0, 2), id(1, 2));
    hand.event(0, 1, &stays);
    hand.event(0, 1, &goes);
    let marks = Control::Progress(vec![((TOPIC, 0), 1000)]);
    hand.control(0, 1, marks);
    let epoch = hand.control(0, 1, Control::Epoch { partitions: 2 });
    let split_at = hand.now;
    hand.now += 2000;
    hand.control(0, 2, Control::Heartbeat);
    assert!(!hand.is_remembered(&stays));
    assert!(hand.is_remembered(&goes), "it is the child's now");
    hand.now = split_at;
    hand.control(1, 2, born(0, epoch));
    hand.event(1, 2, &goes);
    assert_eq!(hand.log.superseded, 1);
    hand.now += 2000;
    hand.control(1, 2, Control::Heartbeat);
    assert!(!hand.is_remembered(&goes));
    hand.event(1, 2, &goes);
    assert_eq!(hand.log.superseded, 2, "it is below the floor");
    assert_eq!(hand.winner(&goes), Some((0, 2)));
}

#[test]
fn a_log_without_its_beginning_is_believed_until_a_checkpoint() {
    let mut hand = Hand::new(&[7, 9, 0, 0]);
    hand.put(0, 4, Content::Barrier);
    let counts = |counts: &[u32]| {
        Control::Checkpoint(Checkpoint {
            counts: counts.to_vec(),
            ..Checkpoint::default()
        })
    };
    let (old, new) = (id(3, 4), id(1, 4));
    hand.event(1, 2, &old);
    hand.control(1, 4, counts(&[2, 4]));
    hand.event(1, 2, &ids(3, 4).nth(1).expect("there are some"));
    hand.event(1, 4, &new);
    assert_eq!(hand.winner(&old), Some((1, 9)));
    assert_eq!(hand.winner(&new), Some((1, 12)));
    // The parent's epoch is gone, what was announced by it is not.
    hand.control(3, 4, born(1, 5));
    hand.event(3, 4, &old);
    let third = ids(3, 4).nth(2).expect("there are some");
    hand.event(3, 4, &third);
    assert_eq!(hand.winner(&third), Some((3, 2)));
    assert_eq!((hand.log.misplaced, hand.log.superseded), (1, 1));
}

#[test]
fn another_log_decides_nothing_here() {
    let mut log = Log::new(LOG, None, vec![0; 2]);
    log.open(0);
    let record = control(TOPIC, 1, Control::Epoch { partitions: 2 });
    assert_eq!(log.record((0, 0), 0, Some(&record)), None);
    assert_eq!(log.misplaced, 1);
    let mut roots = Roots::new(LOG, false);
    assert!(!roots.learn(&record) && roots.known.is_none());
}

fn control(log: LogId, partitions: u32, control: Control) -> Record<'static> {
    Record {
        stamp: Stamp {
            log,
            partitions,
            incarnation: Incarnation(3),
            sequence: 0,
        },
        content: Content::Control(control),
    }
}

#[test]
fn the_roots_are_told_by_the_first_record_or_by_a_checkpoint() {
    let heartbeat = |partitions| control(LOG, partitions, Control::Heartbeat);
    let checkpoint = Control::Checkpoint(Checkpoint {
        counts: vec![2, 4, 8],
        ..Checkpoint::default()
    });
    let mut whole = Roots::new(LOG, false);
    assert!(whole.learn(&heartbeat(4)));
    assert_eq!(whole.known, Some(4));
    let mut cut = Roots::new(LOG, true);
    assert!(!cut.learn(&heartbeat(8)));
    assert_eq!(cut.known, Some(8), "as long as nothing better is known");
    assert!(cut.learn(&control(LOG, 8, checkpoint)));
    assert_eq!(cut.known, Some(2));
}

#[test]
fn a_family_is_a_root_and_what_was_split_off_it() {
    let families = |partitions, roots| families(partitions, root_count(partitions, roots));
    assert_eq!(families(8, Some(4)), [[0, 4], [1, 5], [2, 6], [3, 7]]);
    assert_eq!(families(8, Some(2)), [[0, 2, 4, 6], [1, 3, 5, 7]]);
    assert_eq!(families(3, None), [[0], [1], [2]]);
    assert_eq!(
        families(2, Some(16)),
        [[0], [1]],
        "another topic than it was"
    );
    assert!(families(0, None).iter().flatten().next().is_none());
}
