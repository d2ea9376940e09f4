//! Carries events into the retry topics. An append without an acknowledgement is unknown, and goes again: a second copy of a parked event loses in the
//! log, or is found resolved.

use crate::parked::Parked;
use crate::tiers::{Stay, Tier, stay};
use crate::{Flight, Subject};
use parking_lot::Mutex;
use rtf_kafka::{
    AppendError, Appender, AppenderOptions, Cluster, Deliveries, KafkaError, Settings,
};
use rtf_proto::ForeignEvent;
use rtf_proto::record::MAX_RECORD_BYTES;
use rtf_service::mutant;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// What is parked together may share a batch for so long.
const LINGER: Duration = Duration::from_millis(5);
/// Without an acknowledgement within this it goes again.
const DELIVERED_WITHIN: Duration = Duration::from_secs(15);
/// What is on its way into a topic, at the most, and room for the largest record; what does not fit waits.
const QUEUE_BYTES: usize = 2 * MAX_RECORD_BYTES;

/// What parking needs to know.
#[derive(Clone, PartialEq, Debug)]
pub struct Parking {
    /// The retry topics.
    pub tiers: Vec<Tier>,
    /// After so long an event is parked.
    pub after: Duration,
    /// Replicas of the topics; `None`: three where there are three brokers.
    pub replication: Option<i32>,
    /// How long a topic keeps what nobody reads.
    pub retention: Duration,
}

/// Why an event is not known to be parked.
#[derive(Debug)]
pub(crate) enum NotParked {
    /// It does not fit into the topic.
    TooLarge,
    /// Too much is on its way into the topic just now.
    Full,
    /// It may be, or not.
    Unknown(String),
}

/// Tells those who wait for an acknowledgement.
#[derive(Clone, Default)]
struct Acks(Arc<Mutex<HashMap<u64, Acknowledged>>>);

type Acknowledged = oneshot::Sender<Result<(), String>>;

impl Acks {
    fn tell(&self, sequence: u64, result: Result<(), String>) {
        if let Some(waiting) = self.0.lock().remove(&sequence) {
            // It may have gone away.
            let _ = waiting.send(result);
        }
    }
}

impl Deliveries for Acks {
    fn delivered(&self, sequence: u64) {
        self.tell(sequence, Ok(()));
    }

    fn unknown(&self, sequence: u64, words: &str) {
        self.tell(sequence, Err(words.to_owned()));
    }
}

/// A retry topic, once something was parked in it.
struct Open {
    appender: Appender<Acks>,
    partitions: u32,
}

/// The retry topics, each made and opened when the first event is parked in it.
pub(crate) struct Parker {
    parking: Parking,
    wait_max: Duration,
    settings: Settings,
    foreign_topic: String,
    open: Vec<tokio::sync::Mutex<Option<Arc<Open>>>>,
    acks: Acks,
    sequence: AtomicU64,
    /// All is done on one thread, and nothing blocks.
    #[cfg(feature = "simulation")]
    is_simulated: bool,
}

impl Parker {
    /// Asks nothing yet.
    pub fn new(
        parking: Parking,
        wait_max: Duration,
        settings: Settings,
        foreign_topic: &str,
    ) -> Self {
        Self {
            open: parking.tiers.iter().map(|_| Default::default()).collect(),
            parking,
            wait_max,
            settings,
            foreign_topic: foreign_topic.into(),
            acks: Acks::default(),
            sequence: AtomicU64::new(0),
            #[cfg(feature = "simulation")]
            is_simulated: false,
        }
    }

    /// The same, for a simulation.
    #[cfg(feature = "simulation")]
    pub fn simulated(self) -> Self {
        Self {
            is_simulated: true,
            ..self
        }
    }

    /// Parks an event that looked for a partner in vain at `now_ms`; returns when the topic has it.
    pub async fn park(&self, flight: &Flight, now_ms: i64) -> Result<(), NotParked> {
        let Subject::Event(event) = &flight.subject else {
            unreachable!("only events wait for a partner");
        };
        let Stay { tier, due_ms } = stay(
            &self.parking.tiers,
            flight.first_seen_ms,
            self.wait_max,
            now_ms,
        );
        let open = self.open(tier).await?;
        let told = match self.append(&open, flight, event, due_ms) {
            Ok(told) => told,
            Err(error) => return Err(self.failed(tier, &error).await),
        };
        match told.await {
            Ok(Err(_)) if mutant::is("unheard-is-parked") => Ok(()),
            Ok(delivered) => delivered.map_err(NotParked::Unknown),
            Err(_) => Err(NotParked::Unknown("the producer went away".into())),
        }
    }

    /// Nothing of the record is held here while it is on its way.
    fn append(
        &self,
        open: &Open,
        flight: &Flight,
        event: &ForeignEvent,
        due_ms: i64,
    ) -> Result<oneshot::Receiver<Result<(), String>>, AppendError> {
        let parked = Parked {
            due_ms,
            attempts: flight.attempts,
            first_seen_ms: flight.first_seen_ms,
            source: flight
                .origin
                .clone()
                .unwrap_or_else(|| event.source.clone()),
            kafka_ts: event.kafka_ts,
            token: event.token,
            id: event.id.clone(),
            key: event.key.clone(),
        };
        let record = parked.write(&event.original);
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.acks.0.lock().insert(sequence, tell);
        // Events of one partition stay in one partition.
        let partition = parked.source.partition % open.partitions;
        let appended = open.appender.append_original(partition, &record, sequence);
        if appended.is_err() {
            self.acks.0.lock().remove(&sequence);
        }
        appended.map(|()| told)
    }

    async fn failed(&self, tier: usize, error: &AppendError) -> NotParked {
        match error {
            AppendError::TooLarge => return NotParked::TooLarge,
            AppendError::Fatal(_) | AppendError::UnknownPartition => {
                *self.open[tier].lock().await = None;
            }
            AppendError::Full => return NotParked::Full,
        }
        let topic = &self.parking.tiers[tier].topic;
        NotParked::Unknown(format!("retry topic `{topic}`: {error}"))
    }

    async fn open(&self, tier: usize) -> Result<Arc<Open>, NotParked> {
        let mut slot = self.open[tier].lock().await;
        if let Some(open) = &*slot {
            return Ok(Arc::clone(open));
        }
        let topic = self.parking.tiers[tier].topic.clone();
        let (settings, parking) = (self.settings.clone(), self.parking.clone());
        let (foreign, acks) = (self.foreign_topic.clone(), self.acks.clone());
        let opening = move || open(&settings, &parking, topic, &foreign, acks);
        let open = self.blocking(opening).await.map_err(NotParked::Unknown)?;
        Ok(Arc::clone(slot.insert(Arc::new(open))))
    }

    /// Does work that blocks where it may.
    async fn blocking<A: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<A, KafkaError> + Send + 'static,
    ) -> Result<A, String> {
        #[cfg(feature = "simulation")]
        if self.is_simulated {
            return work().map_err(|error| error.to_string());
        }
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|cut| cut.to_string())?
            .map_err(|error| error.to_string())
    }
}

/// Makes the topic unless it is there, with as many partitions as the foreign one. Blocking.
fn open(
    settings: &Settings,
    parking: &Parking,
    topic: String,
    foreign: &str,
    acks: Acks,
) -> Result<Open, KafkaError> {
    let cluster = Cluster::connect(settings)?;
    let partitions = cluster.topic(foreign)?.map_or(1, |info| info.partitions);
    let (retention, max_bytes) = (
        parking.retention.as_millis().to_string(),
        MAX_RECORD_BYTES.to_string(),
    );
    let config = [
        ("cleanup.policy", "delete"),
        ("retention.ms", retention.as_str()),
        ("max.message.bytes", max_bytes.as_str()),
    ];
    let info = cluster.ensure_topic(&topic, partitions, parking.replication, &config)?;
    let options = AppenderOptions {
        topic,
        linger: LINGER,
        delivery_timeout: DELIVERED_WITHIN,
        max_record_bytes: MAX_RECORD_BYTES,
        queue_bytes: QUEUE_BYTES,
        tells_delivered: true,
    };
    Ok(Open {
        appender: Appender::open(settings, &options, acks)?,
        partitions: info.partitions,
    })
}
