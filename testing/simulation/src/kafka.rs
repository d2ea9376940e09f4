//! The simulated Kafka, which lies as the real one does: acknowledgements get lost, appends that failed arrive minutes later or twice, leaders
//! change and take what was not replicated with them, offsets have gaps, clocks jump, groups rebalance at any moment.

mod agenda;
mod group;
mod lies;
mod topic;

pub use lies::{Fate, Lies};
pub use topic::Topic;

use crate::machine::{BEGINNING_MS, now_ms};
use crate::trace::trace;
use crate::world::world;
use agenda::{Agenda, Step};
use group::Group;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_kafka::simulated::{Append, Fetched, MemberId, Order, SimulatedKafka};
use rtf_kafka::{AppendError, GroupOptions, TopicInfo};
use rtf_proto::{Offset, Original, PartitionId, TopicId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// One for each of some partitions of topics.
type Offsets = BTreeMap<(String, PartitionId), Offset>;

struct Inner {
    random: ChaCha8Rng,
    lies: Lies,
    topics: BTreeMap<String, Topic>,
    groups: BTreeMap<String, Group>,
    members: BTreeMap<MemberId, String>,
    numbers: u64,
    /// Producers that are fenced, or will be with their next append.
    broken: BTreeSet<u64>,
    /// The last one of each producer.
    batches: BTreeMap<(u64, PartitionId), Batch>,
    /// Clients that get no answer, and until when.
    cut_off: BTreeMap<String, u64>,
    /// Clients that do not get records from some offsets on, and until when.
    behind: BTreeMap<String, (u64, Offsets)>,
    /// What is to become of appends.
    agenda: Agenda,
}

/// Appends that go together.
#[derive(Default)]
struct Batch {
    arrives_ms: u64,
    told_ms: u64,
}

/// The cluster.
pub struct Cluster {
    inner: RefCell<Inner>,
    /// By topic.
    news: RefCell<BTreeMap<String, Arc<Notify>>>,
    /// Something comes sooner than all that was to come.
    sooner: Notify,
}

impl Cluster {
    /// No topics.
    pub fn new(seed: u64, lies: Lies) -> Self {
        let inner = Inner {
            random: ChaCha8Rng::seed_from_u64(seed ^ 0x006B_6166_6B61),
            lies,
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            numbers: 0,
            broken: BTreeSet::new(),
            batches: BTreeMap::new(),
            cut_off: BTreeMap::new(),
            behind: BTreeMap::new(),
            agenda: Agenda::default(),
        };
        Self {
            inner: RefCell::new(inner),
            news: RefCell::default(),
            sooner: Notify::new(),
        }
    }

    /// Appends at once, and truly.
    pub fn send(&self, topic: &str, partition: PartitionId, original: Original) -> Offset {
        let mut inner = self.inner.borrow_mut();
        let to = inner.topics.get_mut(topic).expect("it was made");
        let to = &mut to.partitions[partition as usize];
        let offset = to.append(partition, original, wall_ms(), 0).offset;
        drop(inner);
        self.ring(topic);
        offset
    }

    /// Appends the last record of a partition once more, with one bit of it turned over. Says where it stands.
    pub fn spoil(&self, topic: &str, partition: PartitionId) -> Option<Offset> {
        let last = self.with_topic(topic, |topic| {
            let records = &topic.partitions[partition as usize].records;
            records.last().map(|record| record.original.clone())
        });
        let mut original = last?;
        let mut value = original.value.take()?.to_vec();
        *value.last_mut()? ^= 1;
        original.value = Some(value.into());
        Some(self.send(topic, partition, original))
    }

    /// There is news of a topic.
    fn ring(&self, topic: &str) {
        if let Some(news) = self.news.borrow().get(topic) {
            news.notify_waiters();
        }
    }

    /// There is news for members of groups.
    fn ring_all(&self) {
        self.news
            .borrow()
            .values()
            .for_each(|news| news.notify_waiters());
    }

    /// Looks at a topic.
    pub fn with_topic<A>(&self, topic: &str, look: impl FnOnce(&Topic) -> A) -> A {
        look(&self.inner.borrow().topics[topic])
    }

    /// Where a group is.
    pub fn committed(&self, group: &str) -> BTreeMap<PartitionId, Offset> {
        let inner = self.inner.borrow();
        let group = inner.groups.get(group);
        group.map_or_else(BTreeMap::new, |group| group.committed().clone())
    }

    /// No lies from now on. What is on its way arrives all the same.
    pub fn heal(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.lies = Lies::none();
        inner.cut_off.clear();
        inner.behind.clear();
        inner.broken.clear();
    }

    /// Appends that are still to arrive.
    pub fn on_their_way(&self) -> usize {
        self.inner.borrow().agenda.on_their_way()
    }

    /// A client gets no answer for a while.
    pub fn cut_off(&self, client: &str, for_ms: u64) {
        let until = now_ms() + for_ms;
        self.inner.borrow_mut().cut_off.insert(client.into(), until);
    }

    /// A client gets only the first records of each partition for a while.
    pub fn hold_back(&self, client: &str, for_ms: u64) {
        let inner = &mut *self.inner.borrow_mut();
        let mut from = BTreeMap::new();
        for (name, topic) in &inner.topics {
            for (partition, end) in topic.ends() {
                let first = inner.random.random_range(0..=end);
                from.insert((name.clone(), partition), first);
            }
        }
        let until = now_ms() + for_ms;
        inner.behind.insert(client.into(), (until, from));
    }

    /// Whether a client gets no answer, or not all records.
    pub fn keeps_back(&self, client: &str) -> bool {
        let inner = self.inner.borrow();
        let is_behind = (inner.behind.get(client)).is_some_and(|(until, _)| now_ms() < *until);
        is_behind || inner.is_cut_off(client)
    }

    /// Another broker leads a partition.
    pub fn elect(&self, topic: &str, partition: PartitionId) {
        let mut inner = self.inner.borrow_mut();
        if let Some(topic) = inner.topics.get_mut(topic) {
            topic.partitions[partition as usize].leader_epoch += 1;
        }
    }

    /// The clock of a partition's leader jumps.
    pub fn jump(&self, topic: &str, partition: PartitionId, by_ms: i64) {
        let mut inner = self.inner.borrow_mut();
        if let Some(topic) = inner.topics.get_mut(topic) {
            topic.partitions[partition as usize].ahead_ms = by_ms;
        }
    }

    /// All groups divide their partitions anew.
    pub fn rebalance(&self) {
        let Inner { groups, random, .. } = &mut *self.inner.borrow_mut();
        groups
            .values_mut()
            .for_each(|group| group.rebalance(random));
        self.ring_all();
    }

    /// Members that were silent for too long are out.
    pub fn expire(&self) {
        let Inner { groups, random, .. } = &mut *self.inner.borrow_mut();
        for group in groups.values_mut() {
            if group.expire(now_ms(), random) {
                self.ring_all();
            }
        }
    }

    /// All positions of all groups are lost.
    pub fn forget_positions(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.groups.values_mut().for_each(Group::forget_positions);
    }

    /// A topic is deleted, and made anew under its name: another id, no records, and no group has a position in it.
    pub fn make_anew(&self, topic: &str) {
        let inner = &mut *self.inner.borrow_mut();
        let partitions = inner.topics[topic].partitions.len() as u32;
        let id = TopicId(inner.random.random());
        inner
            .topics
            .insert(topic.into(), Topic::new(id, partitions));
        let groups = inner.groups.values_mut();
        groups
            .filter(|group| group.topic == topic)
            .for_each(Group::forget_positions);
    }

    /// All producers there are break with their next append.
    pub fn break_producers(&self) {
        let mut inner = self.inner.borrow_mut();
        let all = 1..=inner.numbers;
        inner.broken.extend(all);
    }

    fn with_group<A>(
        &self,
        member: MemberId,
        ask: impl FnOnce(&mut Group, &mut ChaCha8Rng) -> A,
    ) -> Option<A> {
        let Inner {
            groups,
            members,
            random,
            ..
        } = &mut *self.inner.borrow_mut();
        let group = groups.get_mut(members.get(&member)?)?;
        Some(ask(group, random))
    }

    /// The brokers do what they have to.
    pub async fn work(&self) -> ! {
        loop {
            self.next_step().await;
            self.go_on();
        }
    }

    /// Waits until something is to become of an append.
    async fn next_step(&self) {
        loop {
            let next = self.inner.borrow().agenda.next();
            let left = next.map(|next| next.saturating_sub(now_ms()));
            match left {
                Some(0) => return,
                Some(left) => {
                    let left = Duration::from_millis(left);
                    // It is over, or something comes sooner: both are looked at again.
                    let _ = tokio::time::timeout(left, self.sooner.notified()).await;
                }
                None => self.sooner.notified().await,
            }
        }
    }

    /// What has become of appends until now.
    fn go_on(&self) {
        let mut news = BTreeSet::new();
        loop {
            let steps = self.inner.borrow_mut().agenda.take(now_ms());
            let Some(steps) = steps else { break };
            for step in steps {
                match step {
                    Step::Arrives(append) => {
                        self.arrive(&append);
                        if !news.contains(&append.topic) {
                            news.insert(append.topic.clone());
                        }
                    }
                    Step::Told(append, true) => append.deliveries.delivered(append.sequence),
                    Step::Told(append, false) => {
                        let words = "the simulated broker said nothing";
                        append.deliveries.unknown(append.sequence, words);
                    }
                }
            }
        }
        news.iter().for_each(|topic| self.ring(topic));
    }

    /// An append arrives.
    fn arrive(&self, append: &Append) {
        let Append {
            topic, partition, ..
        } = append;
        let record = {
            let Inner {
                lies,
                random,
                topics,
                ..
            } = &mut *self.inner.borrow_mut();
            let gap = lies.gap(random);
            let to = topics.get_mut(topic).expect("it was made");
            let to = &mut to.partitions[*partition as usize];
            let original = append.original.clone();
            to.append(*partition, original, wall_ms(), gap).clone()
        };
        trace!("{topic}/{partition}/{} arrives", record.offset);
        if let Some(world) = world() {
            world.arrived(topic, &record);
        }
    }
}

fn wall_ms() -> i64 {
    BEGINNING_MS.saturating_add_unsigned(now_ms())
}

impl SimulatedKafka for Cluster {
    fn topic(&self, name: &str) -> Option<TopicInfo> {
        let inner = self.inner.borrow();
        let topic = inner.topics.get(name)?;
        Some(TopicInfo {
            id: topic.id,
            partitions: topic.partitions.len() as u32,
        })
    }

    fn create(&self, name: &str, partitions: u32) -> TopicInfo {
        let mut inner = self.inner.borrow_mut();
        let id = TopicId(inner.random.random());
        let topic = Topic::new(id, partitions);
        inner.topics.insert(name.into(), topic);
        TopicInfo { id, partitions }
    }

    fn raise(&self, name: &str, partitions: u32) {
        let mut inner = self.inner.borrow_mut();
        if let Some(topic) = inner.topics.get_mut(name) {
            topic.raise(partitions);
        }
    }

    fn offsets(
        &self,
        client: &str,
        topic: &str,
        partition: PartitionId,
    ) -> Option<(Offset, Offset)> {
        let inner = self.inner.borrow();
        if inner.is_cut_off(client) {
            return None;
        }
        let partition = inner
            .topics
            .get(topic)?
            .partitions
            .get(partition as usize)?;
        Some((0, partition.end))
    }

    fn fetch(&self, client: &str, topic: &str, partition: PartitionId, from: Offset) -> Fetched {
        let inner = self.inner.borrow();
        let is_held_back = inner.is_held_back(client, topic, partition, from);
        let topic = inner
            .topics
            .get(topic)
            .filter(|_| !inner.is_cut_off(client));
        let Some(partition) = topic.and_then(|topic| topic.partitions.get(partition as usize))
        else {
            return Fetched::Silence;
        };
        if is_held_back {
            return Fetched::Silence;
        }
        match partition.fetch(from) {
            Some(record) => Fetched::Record(record.clone()),
            None if from > partition.end => Fetched::OutOfRange,
            None => Fetched::End,
        }
    }

    fn append(&self, client: &str, producer: u64, append: Append) -> Result<(), AppendError> {
        let mut inner = self.inner.borrow_mut();
        if inner.broken.contains(&producer) {
            return Err(AppendError::Fatal("fenced by the simulation".into()));
        }
        let partitions = inner.topics.get(&append.topic);
        let partitions = partitions.map_or(0, |topic| topic.partitions.len());
        if append.partition as usize >= partitions {
            return Err(AppendError::UnknownPartition);
        }
        let inner = &mut *inner;
        let mut fate = match inner.is_cut_off(client) {
            true => inner.lies.out_of_reach(&mut inner.random),
            false => inner.lies.fate(&mut inner.random),
        };
        inner.batch(&mut fate, (producer, append.partition));
        let append = Rc::new(append);
        let arrivals = fate.arrives_ms.into_iter().chain(fate.again_ms);
        let arrivals = arrivals.map(|after_ms| (after_ms, Step::Arrives(append.clone())));
        let told = (fate.told_ms, Step::Told(append.clone(), fate.is_delivered));
        for (after_ms, step) in arrivals.chain([told]) {
            if inner.agenda.add(now_ms() + after_ms, step) {
                self.sooner.notify_one();
            }
        }
        Ok(())
    }

    fn producer(&self, _client: &str) -> u64 {
        let mut inner = self.inner.borrow_mut();
        inner.numbers += 1;
        inner.numbers
    }

    fn fatal(&self, producer: u64) -> Option<String> {
        let is_broken = self.inner.borrow().broken.contains(&producer);
        is_broken.then(|| "fenced by the simulation".into())
    }

    fn join(&self, client: &str, options: &GroupOptions) -> MemberId {
        let inner = &mut *self.inner.borrow_mut();
        inner.numbers += 1;
        let member = inner.numbers;
        let partitions = inner.topics[&options.topic].partitions.len();
        let group = inner.groups.entry(options.group.clone());
        let group = group.or_insert_with(|| Group::new(&options.topic, partitions as u32));
        group.join(member, now_ms(), &mut inner.random);
        inner.members.insert(member, options.group.clone());
        trace!("{client} joins {} as {member}", options.group);
        member
    }

    fn order(&self, member: MemberId) -> Option<Order> {
        let order = self.with_group(member, |group, random| {
            group.order(member, now_ms(), random)
        })?;
        if let Some(order) = &order {
            trace!("member {member}: {order:?}");
        }
        order
    }

    fn let_go(&self, member: MemberId, partitions: &[PartitionId]) {
        self.with_group(member, |group, _| group.let_go(member, partitions));
        self.ring_all();
    }

    fn commit(&self, member: MemberId, positions: &[(PartitionId, Offset)]) -> bool {
        let taken = self.with_group(member, |group, _| {
            (group.commit(member, positions)).then(|| group.topic.clone())
        });
        let topic = taken.flatten();
        if let (Some(topic), Some(world)) = (&topic, world()) {
            trace!("member {member} commits {positions:?}");
            world.committed(topic, positions);
        }
        topic.is_some()
    }

    fn committed(
        &self,
        member: MemberId,
        partitions: &[PartitionId],
    ) -> Option<Vec<(PartitionId, Offset)>> {
        self.with_group(member, |group, _| {
            let known = group.committed().iter().map(|(p, next)| (*p, *next));
            known.filter(|(p, _)| partitions.contains(p)).collect()
        })
    }

    fn leave(&self, member: MemberId) {
        self.with_group(member, |group, random| group.leave(member, random));
        self.ring_all();
    }

    fn news(&self, topic: &str) -> Arc<Notify> {
        let mut news = self.news.borrow_mut();
        if let Some(news) = news.get(topic) {
            return news.clone();
        }
        news.entry(topic.into()).or_default().clone()
    }
}

impl Inner {
    /// While an append of a producer's is on its way, what comes behind it is of its batch: it arrives and is told with it, and so in order, as an
    /// idempotent producer's appends do. What is not told to be taken is alone.
    fn batch(&mut self, fate: &mut Fate, producer: (u64, PartitionId)) {
        let (true, Some(arrives_ms)) = (fate.is_delivered, fate.arrives_ms) else {
            return;
        };
        let now = now_ms();
        let batch = self.batches.entry(producer).or_default();
        if batch.arrives_ms <= now {
            *batch = Batch {
                arrives_ms: now + arrives_ms,
                told_ms: now + fate.told_ms,
            };
        }
        let with_batch = batch.arrives_ms - now;
        fate.again_ms = fate
            .again_ms
            .map(|again_ms| again_ms + with_batch - arrives_ms);
        fate.arrives_ms = Some(with_batch);
        fate.told_ms = batch.told_ms - now;
    }

    fn is_held_back(&self, client: &str, topic: &str, number: PartitionId, from: Offset) -> bool {
        self.behind.get(client).is_some_and(|(until, limits)| {
            let limit = limits.get(&(topic.to_owned(), number));
            now_ms() < *until && limit.is_some_and(|limit| from >= *limit)
        })
    }

    fn is_cut_off(&self, client: &str) -> bool {
        self.cut_off
            .get(client)
            .is_some_and(|until| now_ms() < *until)
    }
}
