//! A replica's life: opened, started, ready, stopped.

use crate::error::RegistryFailure;
use crate::handle::{RegistryHandle, Shared};
use crate::keeper::Keeper;
use crate::log_topic::{LogTopic, MAX_RECORD_BYTES};
use crate::recent::Recent;
use crate::remembered::Remembered;
use crate::store::{State, Store, StoreError};
use crate::tailer::Tailer;
use crate::writer::{Unknown, Writer};
use rtf_kafka::{AppenderOptions, Cluster, KafkaError, Settings};
use rtf_proto::{Offset, PartitionId};
use rtf_service::thread::{ThreadError, spawn};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A record waits so long for others to share its batch.
const LINGER: Duration = Duration::from_millis(1);
/// An append without an acknowledgement is unknown after this.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
const QUEUE_BYTES: usize = 64 << 20;
/// A barrier that has not come back is appended again.
const BARRIER_EVERY: Duration = Duration::from_secs(5);
/// A stopping replica waits so long for its last acknowledgements.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// How a replica is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The join log's topic.
    pub topic: String,
    /// Its partitions.
    pub partitions: u32,
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
    unknown: mpsc::UnboundedReceiver<Unknown>,
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
        let (store, remembered, states) = load(options, info.id)?;
        let (writer, unknown) = writer(options, settings, info.id)?;
        let recent = Recent::new(states.iter().map(|state| state.next));
        let mut shared = Shared::new(
            settings.clone(),
            options.topic.clone(),
            info.id,
            options.data.clone(),
            writer,
            recent,
            remembered,
        );
        shared.skip.clone_from(&options.skip);
        let shared = Arc::new(shared);
        let store = Arc::new(store);
        let tailer = Tailer::open(shared.clone(), store.clone(), states)?;
        let keeper = Keeper::new(shared.clone(), store, cluster, topic, options.strict);
        tracing::info!(topic = options.topic, log = %info.id, ids = shared.ids(), "the registry is open");
        Ok(Self {
            shared,
            tailer,
            keeper,
            unknown,
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
            unknown,
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
        let again = tokio::spawn(append_again(shared.clone(), unknown));
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
        stop.cancel();
        joined("tail", tail.await)?;
        joined("housekeeping", keeper.await)
    }
}

/// Reads what is on disk; what cannot be read is set aside and rebuilt from the log.
fn load(
    options: &Options,
    log: rtf_proto::LogId,
) -> Result<(Store, Vec<Remembered>, Vec<State>), RegistryFailure> {
    let store = Store::open(&options.data, &options.topic, log)?;
    match read(&store, options.partitions) {
        Ok((remembered, states)) => Ok((store, remembered, states)),
        Err(error) => {
            let store = store.rebuild(&error.to_string())?;
            let failed = |e: StoreError| RegistryFailure::Data {
                path: options.data.clone(),
                words: e.to_string(),
            };
            let (remembered, states) = read(&store, options.partitions).map_err(failed)?;
            Ok((store, remembered, states))
        }
    }
}

fn read(store: &Store, partitions: u32) -> Result<(Vec<Remembered>, Vec<State>), StoreError> {
    (0..partitions)
        .map(|partition| Remembered::load(partition, store))
        .collect()
}

fn writer(
    options: &Options,
    settings: &Settings,
    log: rtf_proto::LogId,
) -> Result<(Writer, mpsc::UnboundedReceiver<Unknown>), KafkaError> {
    let appender = AppenderOptions {
        topic: options.topic.clone(),
        linger: LINGER,
        delivery_timeout: DELIVERY_TIMEOUT,
        max_record_bytes: MAX_RECORD_BYTES,
        queue_bytes: QUEUE_BYTES,
    };
    Writer::open(settings.clone(), appender, log, options.partitions)
}

/// Appends a barrier to every partition until each has come back (RULE 3).
async fn barriers(shared: &Shared) {
    let mut ready = shared.watch_ready();
    while !*ready.borrow() {
        (0..shared.partitions).for_each(|partition| shared.writer.append_barrier(partition));
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

async fn append_again(shared: Arc<Shared>, mut unknown: mpsc::UnboundedReceiver<Unknown>) {
    while let Some(append) = unknown.recv().await {
        shared.writer.append_again(append).await;
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
