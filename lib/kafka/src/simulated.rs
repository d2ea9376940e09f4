//! A Kafka that is made up, behind the same clients: for the simulation, and only in builds with the feature `simulation`.
//!
//! Clients made with [`settings`] of this module ask the [`SimulatedKafka`] of their own thread. Nothing here waits: a poll that finds nothing says
//! so at once, since whoever simulates a thread lets time pass itself. How clients behave is written here, how the cluster lies is the simulation's.

use crate::{AppendError, Deliveries, GroupEvents, GroupOptions, KafkaError, Polled, Record};
use crate::{Settings, Start, TopicInfo};
use parking_lot::Mutex;
use rtf_proto::{Offset, Original, PartitionId};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What stands in front of a client's name in the place of broker addresses.
const SCHEME: &str = "simulated:";

/// A record of a simulated topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimulatedRecord {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// When it was appended, ms since 1970.
    pub timestamp_ms: i64,
    /// The epoch of the leader it is read from.
    pub leader_epoch: i32,
    /// Key, value and headers.
    pub original: Original,
}

/// A record on its way into a simulated topic.
pub struct Append {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: PartitionId,
    /// Key, value and headers.
    pub original: Original,
    /// Comes back in [`Deliveries`].
    pub sequence: u64,
    /// Hears what became of it.
    pub deliveries: Arc<dyn Deliveries>,
}

/// What a group says to a member that polls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// These partitions are its own, from these positions on.
    Assigned(Vec<(PartitionId, Offset)>),
    /// These go to somebody else as soon as it has let go of them.
    Revoked(Vec<PartitionId>),
    /// These were somebody else's before it heard of it.
    Lost(Vec<PartitionId>),
}

/// One member of one group.
pub type MemberId = u64;

/// The cluster. `client` names the process that asks.
pub trait SimulatedKafka {
    /// A topic, if it is there.
    fn topic(&self, name: &str) -> Option<TopicInfo>;
    /// Makes a topic.
    fn create(&self, name: &str, partitions: u32) -> TopicInfo;
    /// Gives a topic so many partitions, unless it has them.
    fn raise(&self, name: &str, partitions: u32);
    /// First offset and end of a partition; nothing when it does not answer this client.
    fn offsets(
        &self,
        client: &str,
        topic: &str,
        partition: PartitionId,
    ) -> Option<(Offset, Offset)>;
    /// The first record from an offset on.
    fn fetch(&self, client: &str, topic: &str, partition: PartitionId, from: Offset) -> Fetched;
    /// Takes an append; what becomes of it is told later, if ever.
    ///
    /// # Errors
    /// It is not taken.
    fn append(&self, client: &str, producer: u64, append: Append) -> Result<(), AppendError>;
    /// A producer of a client begins; it is known by this number.
    fn producer(&self, client: &str) -> u64;
    /// Why a producer is broken, if it is.
    fn fatal(&self, producer: u64) -> Option<String>;
    /// A client joins a group over a topic.
    fn join(&self, client: &str, options: &GroupOptions) -> MemberId;
    /// What the group has to say to a member, which is alive since it asks.
    fn order(&self, member: MemberId) -> Option<Order>;
    /// A member has let go of what was revoked.
    fn let_go(&self, member: MemberId, partitions: &[PartitionId]);
    /// Commits positions; whether the group took them.
    fn commit(&self, member: MemberId, positions: &[(PartitionId, Offset)]) -> bool;
    /// What the group of a member committed; nothing when it does not answer.
    fn committed(
        &self,
        member: MemberId,
        partitions: &[PartitionId],
    ) -> Option<Vec<(PartitionId, Offset)>>;
    /// A member leaves.
    fn leave(&self, member: MemberId);
    /// Rings when there is news of a topic: records, or orders for those who read it as members of a group.
    fn news(&self, topic: &str) -> Arc<Notify>;
}

/// What a fetch brings.
#[derive(Debug)]
pub enum Fetched {
    /// The next record.
    Record(SimulatedRecord),
    /// There is none yet.
    End,
    /// No answer.
    Silence,
    /// The partition does not reach so far.
    OutOfRange,
}

thread_local! {
    static KAFKA: RefCell<Option<Rc<dyn SimulatedKafka>>> = const { RefCell::new(None) };
}

/// From now on the clients of this thread ask this cluster; none: no cluster.
pub fn set(kafka: Option<Rc<dyn SimulatedKafka>>) {
    KAFKA.with(|current| *current.borrow_mut() = kafka);
}

/// Settings of a client of this name.
pub fn settings(client: &str) -> Settings {
    Settings {
        bootstrap: format!("{SCHEME}{client}"),
        // It has no settings of topics to be verified.
        embedded: true,
        ..Settings::default()
    }
}

/// Whether settings are of this module.
pub(crate) fn is_named(settings: &Settings) -> bool {
    settings.bootstrap.starts_with(SCHEME)
}

/// The client's name, if its settings are of this module.
pub(crate) fn client(settings: &Settings) -> Option<String> {
    settings.bootstrap.strip_prefix(SCHEME).map(str::to_owned)
}

pub(crate) fn kafka() -> Rc<dyn SimulatedKafka> {
    let kafka = KAFKA.with(|current| current.borrow().clone());
    kafka.expect("a simulated client belongs to the thread of its simulation")
}

/// Waits for news of a topic, so long at the most.
pub async fn rest(topic: &str, longest: Duration) {
    let news = kafka().news(topic);
    // Nothing is lost: it rings again with the next, and nobody waits for ever.
    let _ = tokio::time::timeout(longest, news.notified()).await;
}

/// No answer.
pub(crate) fn silence(topic: &str) -> KafkaError {
    KafkaError::topic(topic, "no simulated broker answers")
}

/// Where a client reads on in one partition.
struct Cursor {
    partition: PartitionId,
    start: Start,
    paused: bool,
    /// It has been said that its end is reached.
    ended: bool,
}

/// Reading some partitions of one topic, in turn.
pub(crate) struct Cursors {
    client: String,
    topic: String,
    all: Mutex<(usize, Vec<Cursor>)>,
    /// Begins at the beginning when its position is not there; else that is a failure.
    resets: bool,
}

impl Cursors {
    pub fn new(client: String, topic: &str) -> Self {
        Self {
            client,
            topic: topic.into(),
            all: Mutex::default(),
            resets: false,
        }
    }

    pub fn clear(&self) {
        self.all.lock().1.clear();
    }

    pub fn add(&self, positions: &[(PartitionId, Start)]) {
        for (partition, start) in positions {
            self.drop_all(&[*partition]);
            self.all.lock().1.push(Cursor {
                partition: *partition,
                start: *start,
                paused: false,
                ended: false,
            });
        }
    }

    pub fn drop_all(&self, partitions: &[PartitionId]) {
        let is_kept = |cursor: &Cursor| !partitions.contains(&cursor.partition);
        self.all.lock().1.retain(is_kept);
    }

    pub fn partitions(&self) -> Vec<PartitionId> {
        let all = self.all.lock();
        all.1.iter().map(|cursor| cursor.partition).collect()
    }

    pub fn pause(&self, partitions: &[PartitionId], paused: bool) {
        let mut all = self.all.lock();
        let named = all.1.iter_mut();
        for cursor in named.filter(|cursor| partitions.contains(&cursor.partition)) {
            cursor.paused = paused;
        }
    }

    pub fn offsets(&self, partition: PartitionId) -> Result<(Offset, Offset), KafkaError> {
        let offsets = kafka().offsets(&self.client, &self.topic, partition);
        offsets.ok_or_else(|| silence(&self.topic))
    }

    pub fn poll(&self) -> Polled<'static> {
        let (turn, cursors) = &mut *self.all.lock();
        for _ in 0..cursors.len() {
            *turn = (*turn + 1) % cursors.len();
            if let Some(polled) = self.look(&mut cursors[*turn]) {
                return polled;
            }
        }
        Polled::Idle
    }

    fn look(&self, cursor: &mut Cursor) -> Option<Polled<'static>> {
        if cursor.paused {
            return None;
        }
        let offsets = || kafka().offsets(&self.client, &self.topic, cursor.partition);
        let from = match cursor.start {
            Start::Offset(offset) => offset,
            Start::Beginning => offsets()?.0,
            Start::End => offsets()?.1,
        };
        cursor.start = Start::Offset(from);
        match kafka().fetch(&self.client, &self.topic, cursor.partition, from) {
            Fetched::Record(record) => {
                cursor.start = Start::Offset(record.offset + 1);
                cursor.ended = false;
                Some(Polled::Record(Record::simulated(record)))
            }
            Fetched::End if !std::mem::replace(&mut cursor.ended, true) => {
                Some(Polled::EndOfPartition(cursor.partition))
            }
            Fetched::End | Fetched::Silence => None,
            // As `auto.offset.reset` has it.
            Fetched::OutOfRange if self.resets => {
                cursor.start = Start::Beginning;
                None
            }
            Fetched::OutOfRange => Some(Polled::Failed(KafkaError::OutOfRange {
                topic: self.topic.clone(),
                words: format!("partition {} does not reach {from}", cursor.partition),
            })),
        }
    }
}

/// A member of a simulated group.
pub(crate) struct Membership<H> {
    member: MemberId,
    pub events: H,
    pub cursors: Cursors,
}

impl<H: GroupEvents> Membership<H> {
    pub fn open(client: String, options: &GroupOptions, events: H) -> Self {
        Self {
            member: kafka().join(&client, options),
            events,
            cursors: Cursors {
                resets: true,
                ..Cursors::new(client, &options.topic)
            },
        }
    }

    pub fn poll(&self) -> Polled<'static> {
        while let Some(order) = kafka().order(self.member) {
            self.obey(order);
        }
        self.cursors.poll()
    }

    fn obey(&self, order: Order) {
        match order {
            Order::Assigned(positions) => {
                let partitions: Vec<_> = positions.iter().map(|(p, _)| *p).collect();
                let starts = positions.iter().map(|(p, next)| (*p, Start::Offset(*next)));
                self.cursors.add(&starts.collect::<Vec<_>>());
                self.events.assigned(&partitions);
            }
            Order::Revoked(partitions) => self.revoked(&partitions),
            Order::Lost(partitions) => {
                self.cursors.drop_all(&partitions);
                self.events.lost(&partitions);
            }
        }
    }

    fn revoked(&self, partitions: &[PartitionId]) {
        self.cursors.drop_all(partitions);
        let positions = self.events.revoked(partitions);
        kafka().commit(self.member, &positions);
        kafka().let_go(self.member, partitions);
    }

    pub fn commit(&self, positions: &[(PartitionId, Offset)]) -> bool {
        kafka().commit(self.member, positions)
    }

    pub fn committed(&self, partitions: &[PartitionId]) -> Option<Vec<(PartitionId, Offset)>> {
        kafka().committed(self.member, partitions)
    }

    pub fn close(self) {
        self.revoked(&self.cursors.partitions());
        kafka().leave(self.member);
    }
}

/// A simulated producer.
pub(crate) struct Producer {
    client: String,
    producer: u64,
    topic: String,
    deliveries: Arc<dyn Deliveries>,
}

impl Producer {
    pub fn open(client: String, topic: &str, deliveries: Arc<dyn Deliveries>) -> Self {
        Self {
            producer: kafka().producer(&client),
            client,
            topic: topic.into(),
            deliveries,
        }
    }

    pub fn append(
        &self,
        partition: PartitionId,
        original: Original,
        sequence: u64,
    ) -> Result<(), AppendError> {
        let append = Append {
            topic: self.topic.clone(),
            partition,
            original,
            sequence,
            deliveries: self.deliveries.clone(),
        };
        kafka().append(&self.client, self.producer, append)
    }

    pub fn fatal(&self) -> Option<String> {
        kafka().fatal(self.producer)
    }
}
