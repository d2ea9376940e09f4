//! What is held of the primary topic: by partition, the joiner of its keys. Knows neither the group nor Kafka.

use crate::handle::{Shared, WAKEUP_BATCHES};
use crate::tail::Part;
use crate::{JoinerFailure, Options};
use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use rtf_proto::partitioner::partition_of;
use rtf_proto::{
    ForeignEvent, JoinKey, JoinVerdict, JoinerError, JoinerShare, JoinerStatus, PartitionId,
    Registry,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

type Held = BTreeMap<PartitionId, Arc<Shared>>;

/// The state the halves of a partitioned joiner share.
pub(crate) struct Parts {
    options: Options,
    registry: Arc<dyn Registry>,
    /// Partitions of the primary topic; 0 until it is found.
    partitions: AtomicU32,
    held: RwLock<Held>,
    broken: Mutex<Option<String>>,
    pub wakeups: broadcast::Sender<Arc<Vec<JoinKey>>>,
    pub room: Arc<Semaphore>,
    /// Cancelled when the role ends.
    pub stop: CancellationToken,
}

/// Of a batch, the events of one partition that is held, and where they stood.
struct Cut {
    part: Arc<Shared>,
    places: Vec<usize>,
    events: Vec<ForeignEvent>,
}

impl Parts {
    pub fn new(options: &Options, registry: Arc<dyn Registry>) -> Self {
        Self {
            options: options.clone(),
            registry,
            partitions: AtomicU32::new(0),
            held: RwLock::default(),
            broken: Mutex::default(),
            wakeups: broadcast::Sender::new(WAKEUP_BATCHES),
            room: Arc::new(Semaphore::new(options.batches_in_flight.max(1))),
            stop: CancellationToken::new(),
        }
    }

    /// Partitions of the primary topic; 0 until it is found.
    pub fn partitions(&self) -> u32 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// The topic was found, cut into so many.
    pub fn found(&self, partitions: u32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// Holds a partition from now on, with these options; it is answered for once it was read to its end.
    pub fn take(&self, partition: PartitionId) -> (Options, Arc<Shared>) {
        let options = self.options_of(partition);
        let part = Part {
            partition,
            partitions: self.partitions(),
        };
        let shared = Shared::new(&options, self.registry.clone());
        let part = Arc::new(shared.of_part(part, self.wakeups.clone()));
        self.held.write().insert(partition, part.clone());
        (options, part)
    }

    /// What a partition may take when all are held: what is left over is [lent](Self::share_memory).
    fn options_of(&self, partition: PartitionId) -> Options {
        let (options, partitions) = (&self.options, self.partitions().max(1) as usize);
        let data = options.data.as_ref();
        Options {
            data: data.map(|data| data.join(format!("partition-{partition}"))),
            memory_bytes: match data {
                Some(_) => options.memory_bytes / partitions,
                // All together are counted.
                None => options.memory_bytes,
            },
            wanted_keys: options.wanted_keys / partitions,
            ..options.clone()
        }
    }

    /// Holds a partition no longer; it is not answered for from this moment.
    pub fn let_go(&self, partition: PartitionId) {
        if let Some(part) = self.held.write().remove(&partition) {
            part.stop.cancel();
        }
    }

    /// Nobody may say of any key that it has no primary: the topic is not cut as was believed. Until the joiner is started again.
    pub fn break_down(&self, failure: &JoinerFailure) {
        let mut broken = self.broken.lock();
        if broken.is_none() {
            tracing::error!("{failure}");
            *broken = Some(failure.to_string());
        }
    }

    /// Why nothing is answered, if so.
    pub fn broken(&self) -> Option<String> {
        self.broken.lock().clone()
    }

    /// Partitions held that were not read to their end yet.
    pub fn unread(&self) -> Vec<PartitionId> {
        let held = self.held.read();
        let unread = held.iter().filter(|(_, part)| !part.is_ready());
        unread.map(|(partition, _)| *partition).collect()
    }

    /// What is held now.
    pub fn held(&self) -> Vec<Arc<Shared>> {
        self.held.read().values().cloned().collect()
    }

    /// The topic has so many partitions now.
    pub fn check_partitions(&self, now: u32) {
        let checked = Part {
            partition: 0,
            partitions: self.partitions(),
        };
        if let Err(failure) = checked.check(&self.options.topic, now) {
            self.break_down(&failure);
        }
    }

    /// Lends what partitions of others would take to those that are held. Where there is no disk: whether the events held take more memory
    /// than allowed.
    pub fn share_memory(&self) -> Result<(), JoinerFailure> {
        if self.options.data.is_some() {
            self.lend();
            return Ok(());
        }
        let (mut events, mut bytes) = (0, 0);
        for part in self.held.read().values() {
            let state = part.state.read();
            events += state.store.len();
            bytes += state.store.bytes();
        }
        let limit = self.options.memory_bytes;
        if bytes <= limit {
            return Ok(());
        }
        Err(JoinerFailure::StoreFull {
            topic: self.options.topic.clone(),
            events,
            limit,
        })
    }

    fn lend(&self) {
        let held = self.held.read();
        let share = |parts: usize| self.options.memory_bytes / parts.max(1);
        let lent = share(held.len()).saturating_sub(share(self.partitions() as usize));
        for part in held.values() {
            part.state.read().store.lend(lent);
        }
    }

    pub async fn join(&self, batch: Vec<ForeignEvent>) -> Result<Vec<JoinVerdict>, JoinerError> {
        let mut verdicts = vec![JoinVerdict::NotReady; batch.len()];
        if self.is_broken() {
            return Ok(verdicts);
        }
        let asked = self.cut(batch).into_values().map(
            |Cut {
                 part,
                 places,
                 events,
             }| async move {
                let answers = part.join(events).await;
                (part, places, answers)
            },
        );
        for (part, places, answers) in join_all(asked).await {
            // What was given up meanwhile may have missed a primary that came.
            let is_ready = part.is_ready() && !self.is_broken();
            for (at, answer) in places.into_iter().zip(answers?) {
                verdicts[at] = match answer {
                    JoinVerdict::NotFound if !is_ready => JoinVerdict::NotReady,
                    answer => answer,
                };
            }
        }
        Ok(verdicts)
    }

    /// The events of partitions that are held and were read to their end.
    fn cut(&self, batch: Vec<ForeignEvent>) -> BTreeMap<PartitionId, Cut> {
        let mut cut = BTreeMap::new();
        let partitions = self.partitions();
        if partitions == 0 {
            return cut;
        }
        let held = self.held.read();
        for (at, event) in batch.into_iter().enumerate() {
            let partition = partition_of(event.key.as_bytes(), partitions);
            let Some(part) = held.get(&partition).filter(|part| part.is_ready()) else {
                continue;
            };
            let cut = cut.entry(partition).or_insert_with(|| Cut {
                part: part.clone(),
                places: Vec::new(),
                events: Vec::new(),
            });
            cut.places.push(at);
            cut.events.push(event);
        }
        cut
    }

    fn is_broken(&self) -> bool {
        self.broken.lock().is_some()
    }

    pub fn status(&self) -> JoinerStatus {
        let broken = self.broken();
        let held = self.held.read();
        let is_ready = |part: &Shared| broken.is_none() && part.is_ready();
        let ready = held.iter().filter(|(_, part)| is_ready(part));
        let share = JoinerShare {
            partitions: self.partitions(),
            held: held.keys().copied().collect(),
            ready: ready.map(|(partition, _)| *partition).collect(),
            broken: broken.clone(),
        };
        let mut status = JoinerStatus {
            ready: broken.is_none() && share.partitions > 0 && share.held == share.ready,
            ..JoinerStatus::default()
        };
        for part in held.values() {
            let state = part.state.read();
            status.events += state.store.len();
            status.bytes += state.store.bytes() as u64;
            status.disk_bytes += state.store.disk_bytes();
            status.wanted += state.wanted.len() as u64;
            status.malformed += part.malformed.load(Ordering::Relaxed);
        }
        status.share = Some(share);
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use async_trait::async_trait;
    use proptest::prelude::*;
    use rtf_json::Folding;
    use rtf_proto::{
        AcceptedStream, EventId, Known, LookupItem, Offset, Original, Outcomes, Registration,
        RegistryError, RegistryStatus, Source, SourceId, Token, TopicId, Verdict,
    };
    use std::collections::BTreeSet;

    const PARTITIONS: u32 = 4;

    /// Nothing is ever found here.
    struct Nobody;

    #[async_trait]
    impl Registry for Nobody {
        async fn register(&self, _: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
            Err(RegistryError::Busy)
        }
        async fn lookup(&self, _: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
            Err(RegistryError::Busy)
        }
        async fn progress(&self, _: Vec<(SourceId, u64)>) -> Result<(), RegistryError> {
            Ok(())
        }
        async fn tail(
            &self,
            _: PartitionId,
            _: Offset,
            _: Outcomes,
        ) -> Result<AcceptedStream, RegistryError> {
            Err(RegistryError::Busy)
        }
        async fn status(&self) -> Result<RegistryStatus, RegistryError> {
            Err(RegistryError::Busy)
        }
    }

    fn parts() -> Parts {
        let options = Options {
            topic: "queries".into(),
            id: Vec::new(),
            key: vec!["@key".into()],
            time: None,
            expires: None,
            folding: Folding::default(),
            data: None,
            policy: Policy::First,
            memory_bytes: 1 << 20,
            wanted_keys: 100,
            batches_in_flight: 1,
        };
        Parts::new(&options, Arc::new(Nobody))
    }

    fn foreign(key: u8) -> ForeignEvent {
        ForeignEvent {
            id: EventId::from(&*format!("e{key}")),
            key: JoinKey::from(&*key.to_string()),
            source: Source {
                topic: "clicks".into(),
                topic_id: TopicId([1; 16]),
                partition: 0,
                offset: 0,
            },
            foreign_ts: 1,
            kafka_ts: 1,
            token: Token(1),
            attempts: 0,
            original: Original::default(),
            collect: false,
        }
    }

    fn failure() -> JoinerFailure {
        JoinerFailure::Repartitioned {
            topic: "queries".into(),
            known: 4,
            now: 8,
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Take(PartitionId),
        LetGo(PartitionId),
        CaughtUp(PartitionId),
        Join(Vec<u8>),
        Break,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0..PARTITIONS).prop_map(Op::Take),
            2 => (0..PARTITIONS).prop_map(Op::LetGo),
            6 => (0..PARTITIONS).prop_map(Op::CaughtUp),
            8 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Op::Join),
            1 => Just(Op::Break),
        ]
    }

    proptest! {
        /// "No" is said of a key only by who holds its partition and has read it to its end.
        #[test]
        fn not_found_is_said_of_what_is_held_and_read_and_of_nothing_else(ops in prop::collection::vec(op(), 0..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let parts = parts();
            let (mut held, mut read, mut broken) = (BTreeSet::new(), BTreeSet::new(), false);
            let none = runtime.block_on(parts.join(vec![foreign(1)])).unwrap();
            prop_assert_eq!(none, vec![JoinVerdict::NotReady], "the topic is not found yet");
            parts.found(PARTITIONS);
            for op in ops {
                match op {
                    Op::Take(partition) => {
                        parts.take(partition);
                        held.insert(partition);
                        read.remove(&partition);
                    }
                    Op::LetGo(partition) => {
                        parts.let_go(partition);
                        held.remove(&partition);
                        read.remove(&partition);
                    }
                    Op::CaughtUp(partition) => {
                        if let Some(part) = parts.held.read().get(&partition) {
                            part.caught_up();
                            read.insert(partition);
                        }
                    }
                    Op::Break => {
                        parts.break_down(&failure());
                        broken = true;
                    }
                    Op::Join(keys) => {
                        let verdicts = runtime.block_on(parts.join(keys.iter().map(|key| foreign(*key)).collect())).unwrap();
                        let expected = |key: &u8| match read.contains(&partition_of(key.to_string().as_bytes(), PARTITIONS)) && !broken {
                            true => JoinVerdict::NotFound,
                            false => JoinVerdict::NotReady,
                        };
                        prop_assert_eq!(verdicts, keys.iter().map(expected).collect::<Vec<_>>());
                    }
                }
                let status = parts.status();
                let share = status.share.unwrap();
                prop_assert_eq!(&share.held, &held);
                prop_assert_eq!(&share.ready, &if broken { BTreeSet::new() } else { read.clone() });
                prop_assert_eq!(share.broken.is_some(), broken);
                prop_assert_eq!(status.ready, !broken && held == read);
                let unread: BTreeSet<_> = parts.unread().into_iter().collect();
                prop_assert_eq!(unread, held.difference(&read).copied().collect::<BTreeSet<_>>());
            }
        }
    }

    #[tokio::test]
    async fn what_is_let_go_while_it_is_asked_says_not_ready() {
        let parts = parts();
        parts.found(PARTITIONS);
        let key = 7;
        let partition = partition_of(b"7", PARTITIONS);
        parts.take(partition).1.caught_up();
        let cut = parts.cut(vec![foreign(key)]);
        parts.let_go(partition);
        let part = &cut[&partition].part;
        let answers = part.join(vec![foreign(key)]).await;
        assert_eq!(answers, Ok(vec![JoinVerdict::NotReady]));
    }
}
