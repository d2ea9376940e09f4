//! A replica's life: opened, started, ready, stopped.

use crate::error::RegistryFailure;
use crate::handle::{RegistryHandle, Shared};
use crate::keeper::Keeper;
use crate::lanes::{Lanes, Serves};
use crate::log_topic::LogTopic;
use crate::pending::Slot;
use crate::remembered::Remembered;
use crate::roots;
use crate::store::{self, State, Store};
use crate::tailer::Tailer;
use crate::view::View;
use crate::writer::{Again, Writer};
use rtf_kafka::{AppenderOptions, Cluster, KafkaError, Settings};
use rtf_proto::record::MAX_RECORD_BYTES;
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
    pub(crate) shared: Arc<Shared>,
    pub(crate) tailer: Tailer,
    pub(crate) keeper: Keeper,
    pub(crate) again: mpsc::UnboundedReceiver<Again>,
}

impl Replica {
    /// Makes or checks the log's topic, opens the data directory and finds its place in the log. Blocking.
    ///
    /// # Errors
    /// See [`RegistryFailure`]; each says what to do.
    pub fn open(options: &Options, settings: &Settings) -> Result<Self, RegistryFailure> {
        let cluster = Cluster::connect(settings)?;
        let topic = LogTopic {
            verify: !settings.embedded,
            ..LogTopic::of(options)
        };
        let info = topic.ensure(&cluster)?;
        let store = Store::open(&options.data, &options.topic, info.id)?;
        let ask = || roots::ask(&topic, &info, settings);
        let (view, lanes) = View::open(store, &options.serves, ask)?;
        check_serves(options, lanes.layout().roots())?;
        let lanes = Arc::new(lanes);
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
        let store = Arc::new(view.store);
        let follow = |(remembered, state): (Remembered, State)| {
            let lane = lanes.add(remembered.partition(), remembered, state.next);
            (lane, state)
        };
        let followed = view.partitions.into_iter().map(follow).collect();
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
            failure = shared.failed() => {
                stop.cancel();
                again.abort();
                return Err(failure);
            }
            () = async { barriers(&shared).await; ready(); shutdown.cancelled().await } => None,
            () = shutdown.cancelled() => None,
        };
        shared.stop();
        again.abort();
        if let Some((thread, ended)) = failed {
            stop.cancel();
            if let Err(panic) = &ended {
                // Most probably sled's, over damaged pages; and whatever it was, what is on disk is not to be trusted.
                store::condemn(&shared.data, &panic.to_string());
            }
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
        // Only the tail decides (RULE 1).
        tells_delivered: false,
    };
    Writer::open(settings.clone(), appender, log, lanes)
}

/// Appends a barrier to every partition until each has come back (RULE 3).
pub(crate) async fn barriers(shared: &Shared) {
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
pub(crate) async fn append_again(shared: Arc<Shared>, mut again: mpsc::UnboundedReceiver<Again>) {
    let mut waiting: Vec<Slot> = Vec::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // In this order always: a simulation draws its own lots only. However much is to be appended again, what waits gets its turn.
            biased;
            _ = look.tick(), if !waiting.is_empty() => {
                refresh(&shared).await;
                for slot in std::mem::take(&mut waiting) {
                    waiting.extend(shared.writer.append_again(Again::Slot(slot)).await);
                }
            }
            next = again.recv() => {
                let Some(next) = next else { return };
                waiting.extend(shared.writer.append_again(next).await);
            }
        }
    }
}

/// Asks for the log's partitions, where that may block.
async fn refresh(shared: &Arc<Shared>) {
    #[cfg(feature = "simulation")]
    if shared.settings.is_simulated() {
        return shared.writer.refresh();
    }
    let shared = shared.clone();
    // It fails only with the runtime.
    let _ = tokio::task::spawn_blocking(move || shared.writer.refresh()).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_kafka::Embedded;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_is_read_on_a_thread_of_its_own() {
        let broker = Embedded::start().unwrap();
        broker.create_topic("t", 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            topic: "t".into(),
            partitions: 1,
            serves: None,
            replication: None,
            horizon: Duration::from_secs(3600),
            data: folder.path().into(),
            skip: BTreeSet::new(),
            strict: true,
        };
        let settings = broker.settings();
        let opened = tokio::task::spawn_blocking(move || Replica::open(&options, &settings));
        let replica = opened.await.unwrap().unwrap();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let stop = CancellationToken::new();
        let running = tokio::spawn(replica.run(|| ready.send(()).unwrap(), stop.clone()));
        is_ready.await.unwrap();
        let names: Vec<String> = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")))
            .filter_map(Result::ok)
            .collect();
        assert!(
            names.iter().any(|name| name.trim() == "rtf-log-tail"),
            "{names:?}"
        );
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}
