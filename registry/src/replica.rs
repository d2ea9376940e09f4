//! A replica's life: opened, started, ready, stopped.

use crate::error::RegistryFailure;
use crate::handle::{RegistryHandle, Shared};
use crate::log_topic::{LogTopic, MAX_RECORD_BYTES};
use crate::memory::Memory;
use crate::recent::Recent;
use crate::store::{Applied, Store, StoreError};
use crate::tailer::Tailer;
use crate::writer::{Unknown, Writer};
use rtf_kafka::{AppenderOptions, Cluster, KafkaError, Settings};
use rtf_service::thread::{ThreadError, spawn};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A record waits so long for others to share its batch.
const LINGER: Duration = Duration::from_millis(1);
/// An append without an acknowledgement is unknown after this.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
const QUEUE_BYTES: usize = 64 << 20;
/// A barrier that has not come back is appended again.
const BARRIER_EVERY: Duration = Duration::from_secs(5);
/// The disk is made to keep what was committed, and the log's end is asked for, this often.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(2);
/// A sleeping thread looks this often whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(50);
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
}

/// A replica that is opened but not yet running.
pub struct Replica {
    shared: Arc<Shared>,
    store: Arc<Store>,
    tailer: Tailer,
    cluster: Cluster,
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
        let (store, memories, applied) = load(options, info.id)?;
        let (writer, unknown) = writer(options, settings, info.id)?;
        let recent = Recent::new(applied.iter().map(|applied| applied.next));
        let shared = Arc::new(Shared::new(
            settings.clone(),
            options.topic.clone(),
            info.id,
            options.data.clone(),
            writer,
            recent,
            memories,
        ));
        let store = Arc::new(store);
        let tailer = Tailer::open(shared.clone(), store.clone(), applied)?;
        tracing::info!(topic = options.topic, log = %info.id, ids = shared.ids(), "the registry is open");
        Ok(Self {
            shared,
            store,
            tailer,
            cluster,
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
            store,
            tailer,
            cluster,
            unknown,
        } = self;
        let stop = CancellationToken::new();
        let mut tail = spawn("rtf-log-tail", {
            let stop = stop.clone();
            move || tailer.run(&stop)
        })
        .map_err(|error| failed("tail", &error))?;
        let keeper = spawn("rtf-log-keeper", {
            let (stop, shared) = (stop.clone(), shared.clone());
            move || {
                housekeep(&shared, &store, &cluster, &stop);
                Ok(())
            }
        })
        .map_err(|error| failed("housekeeping", &error))?;
        let again = tokio::spawn(append_again(shared.clone(), unknown));
        let ended = tokio::select! {
            ended = &mut tail => Some(ended),
            () = async { barriers(&shared).await; ready(); shutdown.cancelled().await } => None,
            () = shutdown.cancelled() => None,
        };
        shared.stop();
        again.abort();
        let result = match ended {
            Some(ended) => joined("tail", ended),
            None => {
                let flushing = shared.clone();
                // What is under way comes back through the tail, so the tail stops last.
                let _ =
                    tokio::task::spawn_blocking(move || flushing.writer.flush(FLUSH_WITHIN)).await;
                stop.cancel();
                joined("tail", tail.await)
            }
        };
        stop.cancel();
        joined("housekeeping", keeper.await)?;
        result
    }
}

/// Reads what is on disk; what cannot be read is set aside and rebuilt from the log.
fn load(
    options: &Options,
    log: rtf_proto::LogId,
) -> Result<(Store, Vec<Memory>, Vec<Applied>), RegistryFailure> {
    let store = Store::open(&options.data, &options.topic, log)?;
    match read(&store, options.partitions) {
        Ok((memories, applied)) => Ok((store, memories, applied)),
        Err(error) => {
            let store = store.rebuild(&error.to_string())?;
            let failed = |e: StoreError| RegistryFailure::Data {
                path: options.data.clone(),
                words: e.to_string(),
            };
            let (memories, applied) = read(&store, options.partitions).map_err(failed)?;
            Ok((store, memories, applied))
        }
    }
}

fn read(store: &Store, partitions: u32) -> Result<(Vec<Memory>, Vec<Applied>), StoreError> {
    let memories = (0..partitions)
        .map(|partition| Memory::load(partition, store.blocks()))
        .collect::<Result<_, _>>()?;
    let applied = (0..partitions)
        .map(|partition| store.applied(partition))
        .collect::<Result<_, _>>()?;
    Ok((memories, applied))
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

/// What need not be done on the tail's own thread.
fn housekeep(shared: &Shared, store: &Store, cluster: &Cluster, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = store.sync() {
            tracing::warn!(%error, "the registry's data could not be synced; it can be rebuilt from the log");
        }
        for partition in 0..shared.partitions {
            if let Ok((_, end)) = cluster.offsets(&shared.topic, partition) {
                shared.heard_end(partition, end);
                let lag = end.saturating_sub(shared.applied(partition));
                let labels = [
                    ("topic", shared.topic.clone()),
                    ("partition", partition.to_string()),
                ];
                metrics::gauge!("rtf_consumer_lag_records", &labels).set(lag as f64);
            }
            if stop.is_cancelled() {
                return;
            }
        }
        metrics::gauge!("rtf_registry_ids").set(shared.ids() as f64);
        let next = Instant::now() + HOUSEKEEPING_EVERY;
        while !stop.is_cancelled() && Instant::now() < next {
            std::thread::sleep(STOP_POLL);
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
