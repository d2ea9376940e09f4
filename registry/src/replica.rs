//! A replica's life: opened, started, ready, stopped.

use crate::error::RegistryFailure;
use crate::handle::{RegistryHandle, Shared};
use crate::keeper::Keeper;
use crate::lanes::{Lanes, Serves};
use crate::lineage::Lineage;
use crate::log_topic::{LogTopic, MAX_RECORD_BYTES};
use crate::pending::Slot;
use crate::remembered::{Remembered, Shelf};
use crate::roots;
use crate::store::{State, Store, StoreError};
use crate::tailer::Tailer;
use crate::writer::{Again, Writer};
use rtf_kafka::{AppenderOptions, Cluster, KafkaError, Settings};
use rtf_proto::{Offset, PartitionId};
use rtf_service::crash;
use rtf_service::thread::{ThreadError, spawn};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// A record waits so long for others to share its batch.
const LINGER: Duration = Duration::from_millis(1);
/// An append without an acknowledgement is unknown after this.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
const QUEUE_BYTES: usize = 64 << 20;
/// A barrier that has not come back is appended again.
const BARRIER_EVERY: Duration = Duration::from_secs(5);
/// What waits for a new partition is tried again this often.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A stopping replica waits so long for its last acknowledgements.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// How a replica is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The join log's topic.
    pub topic: String,
    /// Its partitions when it is made; a split changes their number, and the log knows it then.
    pub partitions: u32,
    /// Of the partitions the log began with, those that this replica answers for, with all that were split from them. `None`: all.
    pub serves: Serves,
    /// Its replication factor; `None`: 3 where there are 3 brokers.
    pub replication: Option<i32>,
    /// How long an id is remembered after its registration, at the least.
    pub horizon: Duration,
    /// Where the view of the log is kept.
    pub data: PathBuf,
    /// Broken records that are passed over instead of stopping at them: the same in all replicas.
    pub skip: BTreeSet<(PartitionId, Offset)>,
    /// Whether a topic whose settings are changed while running stops the replica; else it is only complained about.
    pub strict: bool,
}

/// A replica that is opened but not yet running.
pub struct Replica {
    shared: Arc<Shared>,
    tailer: Tailer,
    keeper: Keeper,
    again: mpsc::UnboundedReceiver<Again>,
}

impl Replica {
    /// Makes or checks the log's topic, opens the data directory and finds its place in the log. Blocking.
    ///
    /// # Errors
    /// See [`RegistryFailure`]; each says what to do.
    pub fn open(options: &Options, settings: &Settings) -> Result<Self, RegistryFailure> {
        let cluster = Cluster::connect(settings)?;
        let topic = LogTopic {
            name: options.topic.clone(),
            partitions: options.partitions,
            replication: options.replication,
            horizon: options.horizon,
            verify: !settings.embedded,
        };
        let info = topic.ensure(&cluster)?;
        let store = Store::open(&options.data, &options.topic, info.id)?;
        let (store, mut loaded) = load(store)?;
        let roots = match loaded.as_slice() {
            [] => roots::ask(&topic, &info, settings)?,
            some => roots::of(some),
        };
        begin_missing(&mut loaded, roots, &store).map_err(|e| unusable(options, &e))?;
        check_serves(options, roots)?;
        let lanes = Arc::new(Lanes::new(roots, options.serves.clone()));
        let (store, loaded) = growing(options, store, loaded, &lanes)?;
        let (writer, again) = writer(options, settings, info.id, lanes.clone())?;
        let mut shared = Shared::new(
            settings.clone(),
            options.topic.clone(),
            info.id,
            options.data.clone(),
            writer,
            lanes.clone(),
        );
        shared.skip.clone_from(&options.skip);
        let shared = Arc::new(shared);
        let store = Arc::new(store);
        let follow = |(remembered, state): (Remembered, State)| {
            let partition = remembered.partition();
            let is_followed = lanes.follows(partition);
            is_followed.then(|| (lanes.add(partition, remembered, state.next), state))
        };
        let followed: Vec<_> = loaded.into_iter().filter_map(follow).collect();
        let tailer = Tailer::open(shared.clone(), store.clone(), followed)?;
        let keeper = Keeper::new(shared.clone(), store, cluster, topic, options.strict);
        tracing::info!(topic = options.topic, log = %info.id, ids = shared.ids(), "the registry is open");
        Ok(Self {
            shared,
            tailer,
            keeper,
            again,
        })
    }

    /// What other roles call.
    pub fn handle(&self) -> RegistryHandle {
        RegistryHandle(self.shared.clone())
    }

    /// Follows the log until `shutdown`; `ready` is called once, when every partition's barrier came back.
    ///
    /// # Errors
    /// A log or a database that cannot be gone on with.
    pub async fn run(
        self,
        ready: impl FnOnce() + Send,
        shutdown: CancellationToken,
    ) -> Result<(), RegistryFailure> {
        let Self {
            shared,
            tailer,
            keeper,
            again,
        } = self;
        let stop = CancellationToken::new();
        let mut tail = spawn("rtf-log-tail", {
            let stop = stop.clone();
            move || tailer.run(&stop)
        })
        .map_err(|error| failed("tail", &error))?;
        let mut keeper = spawn("rtf-log-keeper", {
            let stop = stop.clone();
            move || keeper.run(&stop)
        })
        .map_err(|error| failed("housekeeping", &error))?;
        let again = tokio::spawn(append_again(shared.clone(), again));
        let failed = tokio::select! {
            ended = &mut tail => Some(("tail", ended)),
            ended = &mut keeper => Some(("housekeeping", ended)),
            () = async { barriers(&shared).await; ready(); shutdown.cancelled().await } => None,
            () = shutdown.cancelled() => None,
        };
        shared.stop();
        again.abort();
        if let Some((thread, ended)) = failed {
            stop.cancel();
            return joined(thread, ended);
        }
        let flushing = shared.clone();
        // What is under way comes back through the tail, so the tail stops last.
        let _ = tokio::task::spawn_blocking(move || flushing.writer.flush(FLUSH_WITHIN)).await;
        crash::point("registry-stopping");
        stop.cancel();
        joined("tail", tail.await)?;
        joined("housekeeping", keeper.await)
    }
}

/// Reads what is on disk; what cannot be read is set aside and rebuilt from the log.
fn load(store: Store) -> Result<(Store, Vec<(Remembered, State)>), RegistryFailure> {
    match read(&store) {
        Ok(loaded) => Ok((store, loaded)),
        Err(error) => Ok((store.rebuild(&error.to_string())?, Vec::new())),
    }
}

fn read(store: &Store) -> Result<Vec<(Remembered, State)>, StoreError> {
    let mut shelf = Shelf::new();
    let partitions = store.partitions()?.into_iter();
    partitions
        .map(|partition| Remembered::load_sharing(partition, store, &mut shelf))
        .collect()
}

/// Of these partitions nothing is on disk: the replica is new, did not serve them before, or ended before it had read anything of them. They are read from
/// the first record there is; what was split from them follows from that.
fn begin_missing(
    loaded: &mut Vec<(Remembered, State)>,
    roots: u32,
    store: &Store,
) -> Result<(), StoreError> {
    let known: BTreeSet<PartitionId> = (loaded.iter())
        .map(|(remembered, _)| remembered.partition())
        .collect();
    for partition in (0..roots).filter(|partition| !known.contains(partition)) {
        let remembered = Remembered::fresh(partition, Lineage::root(roots), store)?;
        loaded.push((remembered, State::default()));
    }
    Ok(())
}

/// What is followed must be able to grow where it is. A partition that was not followed for a while, or never, belongs into buckets that may be sealed by now:
/// then everything is read from the log again, because a sealed bucket takes nothing more.
fn growing(
    options: &Options,
    store: Store,
    loaded: Vec<(Remembered, State)>,
    lanes: &Lanes,
) -> Result<(Store, Vec<(Remembered, State)>), RegistryFailure> {
    let sealed = store.newest_sealed();
    let is_late = |(remembered, _): &&(Remembered, State)| {
        let partition = remembered.partition();
        lanes.follows(partition) && sealed.is_some_and(|sealed| remembered.age.current() <= sealed)
    };
    let Some(late) = loaded.iter().find(is_late) else {
        return Ok((store, loaded));
    };
    let words = format!(
        "partition {} was not followed while its buckets were sealed",
        late.0.partition()
    );
    drop(loaded);
    let store = store.rebuild(&words)?;
    let mut fresh = Vec::new();
    begin_missing(&mut fresh, lanes.layout().roots(), &store).map_err(|e| unusable(options, &e))?;
    Ok((store, fresh))
}

fn unusable(options: &Options, error: &StoreError) -> RegistryFailure {
    RegistryFailure::Data {
        path: options.data.clone(),
        words: error.to_string(),
    }
}

/// Whether the partitions to serve are of those the log began with.
fn check_serves(options: &Options, roots: u32) -> Result<(), RegistryFailure> {
    let unknown = options.serves.iter().flatten().find(|p| **p >= roots);
    match unknown {
        None => Ok(()),
        Some(partition) => Err(RegistryFailure::Serves {
            topic: options.topic.clone(),
            partition: *partition,
            roots,
        }),
    }
}

fn writer(
    options: &Options,
    settings: &Settings,
    log: rtf_proto::LogId,
    lanes: Arc<Lanes>,
) -> Result<(Writer, mpsc::UnboundedReceiver<Again>), KafkaError> {
    let appender = AppenderOptions {
        topic: options.topic.clone(),
        linger: LINGER,
        delivery_timeout: DELIVERY_TIMEOUT,
        max_record_bytes: MAX_RECORD_BYTES,
        queue_bytes: QUEUE_BYTES,
    };
    Writer::open(settings.clone(), appender, log, lanes)
}

/// Appends a barrier to every partition until each has come back (RULE 3).
async fn barriers(shared: &Shared) {
    let mut ready = shared.watch_ready();
    while !*ready.borrow() {
        for lane in shared.lanes.all() {
            shared.writer.append_barrier(lane.partition);
        }
        let came_back = async { ready.wait_for(|ready| *ready).await.map(|_| ()) };
        if tokio::time::timeout(BARRIER_EVERY, came_back)
            .await
            .is_err()
        {
            tracing::warn!(
                topic = shared.topic,
                "the barriers have not come back yet: the log is long, or Kafka is away"
            );
        }
    }
}

/// Appends again what must be, and looks after what waits for a partition that is not there yet.
async fn append_again(shared: Arc<Shared>, mut again: mpsc::UnboundedReceiver<Again>) {
    let mut waiting: Vec<Slot> = Vec::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            next = again.recv() => {
                let Some(next) = next else { return };
                waiting.extend(shared.writer.append_again(next).await);
            }
            _ = look.tick(), if !waiting.is_empty() => {
                let refreshing = shared.clone();
                // It fails only with the runtime.
                let _ = tokio::task::spawn_blocking(move || refreshing.writer.refresh()).await;
                for slot in std::mem::take(&mut waiting) {
                    waiting.extend(shared.writer.append_again(Again::Slot(slot)).await);
                }
            }
        }
    }
}

type Ended = Result<Result<(), RegistryFailure>, ThreadError>;

fn joined(thread: &'static str, ended: Ended) -> Result<(), RegistryFailure> {
    ended.unwrap_or_else(|error| Err(failed(thread, &error)))
}

fn failed(thread: &'static str, error: &ThreadError) -> RegistryFailure {
    RegistryFailure::Thread {
        thread,
        words: error.to_string(),
    }
}
