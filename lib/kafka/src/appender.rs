//! Appending to the join log and to retry topics: idempotent, all replicas, not transactional (RULE 7).

use crate::producing::Producing;
use crate::settings::{log, partition as native_partition, partitions};
#[cfg(feature = "simulation")]
use crate::simulated;
use crate::transactor::headers;
use crate::{KafkaError, Settings};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as Native, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext};
use rtf_proto::{Original, PartitionId};
use std::time::Duration;

/// Hears what became of appends; called on the producer's own thread.
pub trait Deliveries: Send + Sync + 'static {
    /// The broker took it; told if the options want it. Where, is not said: a repeated send may report offset -1 (RULE 1).
    fn delivered(&self, sequence: u64);
    /// Unknown: it may be in the log, now or later (RULE 2).
    fn unknown(&self, sequence: u64, words: &str);
}

/// How a producer behaves.
#[derive(Clone, Debug)]
pub struct AppenderOptions {
    /// Topic.
    pub topic: String,
    /// How long a record waits for others to share its batch.
    pub linger: Duration,
    /// After so long without an acknowledgement an append counts as unknown.
    pub delivery_timeout: Duration,
    /// Largest record.
    pub max_record_bytes: usize,
    /// Bytes that may wait in the producer.
    pub queue_bytes: usize,
    /// Whether what was delivered is told of, too. Who does not listen saves a report for each record.
    pub tells_delivered: bool,
}

/// Why an append was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue is full; later.
    #[error("the producer's queue is full")]
    Full,
    /// Larger than a record may be.
    #[error("the record is too large")]
    TooLarge,
    /// The producer has not heard of the partition; [refresh](Appender::refresh), then again.
    #[error("the producer does not know the partition")]
    UnknownPartition,
    /// The producer is broken; make a new one under a new incarnation.
    #[error("the producer failed: {0}")]
    Fatal(String),
}

struct Context<D>(D);

impl<D: Deliveries> ClientContext for Context<D> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        log(level, facility, words);
    }
    fn error(&self, error: Native, reason: &str) {
        tracing::debug!(%error, reason, "kafka producer");
    }
}

impl<D: Deliveries> ProducerContext for Context<D> {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        match result {
            Ok(_) => self.0.delivered(sequence as u64),
            Err((error, _)) => self.0.unknown(sequence as u64, &error.to_string()),
        }
    }
}

/// An idempotent producer to one topic.
pub struct Appender<D: Deliveries> {
    client: Client<D>,
    topic: String,
}

enum Client<D: Deliveries> {
    Native(Producing<Context<D>>),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Producer),
}

impl<D: Deliveries> Client<D> {
    fn new(
        settings: &Settings,
        options: &AppenderOptions,
        deliveries: D,
    ) -> Result<Self, KafkaError> {
        #[cfg(feature = "simulation")]
        if let Some(client) = simulated::client(settings) {
            let deliveries = std::sync::Arc::new(deliveries);
            let producer = simulated::Producer::open(client, &options.topic, deliveries);
            return Ok(Self::Simulated(producer));
        }
        let context = Context(deliveries);
        Ok(Self::Native(Producing::new(
            &config(settings, options),
            context,
        )?))
    }
}

impl<D: Deliveries> Appender<D> {
    /// Makes a producer; the broker is first asked by an append.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open(
        settings: &Settings,
        options: &AppenderOptions,
        deliveries: D,
    ) -> Result<Self, KafkaError> {
        Ok(Self {
            client: Client::new(settings, options, deliveries)?,
            topic: options.topic.clone(),
        })
    }

    /// Hands a record to the producer; it is copied. `sequence` comes back in [`Deliveries`].
    ///
    /// # Errors
    /// Not taken; nothing was appended.
    pub fn append(
        &self,
        partition: PartitionId,
        key: Option<&[u8]>,
        value: &[u8],
        sequence: u64,
    ) -> Result<(), AppendError> {
        match &self.client {
            Client::Native(producer) => {
                let mut record = self.record(partition, sequence).payload(value);
                record.key = key;
                self.send(producer, record)
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(producer) => {
                let original = Original {
                    key: key.map(bytes::Bytes::copy_from_slice),
                    value: Some(bytes::Bytes::copy_from_slice(value)),
                    headers: Vec::new(),
                };
                producer.append(partition, original, sequence)
            }
        }
    }

    /// Hands a whole record to the producer, headers and all, as [`append`](Self::append) does.
    ///
    /// # Errors
    /// As there.
    pub fn append_original(
        &self,
        partition: PartitionId,
        original: &Original,
        sequence: u64,
    ) -> Result<(), AppendError> {
        match &self.client {
            Client::Native(producer) => {
                let mut record = self.record(partition, sequence).headers(headers(original));
                record.key = original.key.as_deref();
                record.payload = original.value.as_deref();
                self.send(producer, record)
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(producer) => producer.append(partition, original.clone(), sequence),
        }
    }

    fn record(&self, partition: PartitionId, sequence: u64) -> BaseRecord<'_, [u8], [u8], usize> {
        let sequence = usize::try_from(sequence).expect("sequences fit into a machine word");
        BaseRecord::with_opaque_to(&self.topic, sequence).partition(native_partition(partition))
    }

    fn send(
        &self,
        producer: &Producing<Context<D>>,
        record: BaseRecord<'_, [u8], [u8], usize>,
    ) -> Result<(), AppendError> {
        producer
            .send(record)
            .map_err(|(error, _)| self.sort(&error))
    }

    fn sort(&self, error: &Native) -> AppendError {
        match error {
            Native::MessageProduction(Code::QueueFull) => AppendError::Full,
            Native::MessageProduction(Code::MessageSizeTooLarge) => AppendError::TooLarge,
            Native::MessageProduction(Code::UnknownPartition) => AppendError::UnknownPartition,
            other => AppendError::Fatal(self.fatal().unwrap_or_else(|| other.to_string())),
        }
    }

    /// Asks the broker how many partitions the topic has, so that new ones can be appended to. Blocking.
    ///
    /// # Errors
    /// No answer within `timeout`.
    pub fn refresh(&self, timeout: Duration) -> Result<u32, KafkaError> {
        match &self.client {
            Client::Native(producer) => partitions(producer.client(), &self.topic, timeout),
            #[cfg(feature = "simulation")]
            Client::Simulated(_) => {
                let info = simulated::kafka().topic(&self.topic);
                Ok(info.map_or(0, |info| info.partitions))
            }
        }
    }

    /// Whether the producer is broken for good, and why.
    pub fn fatal(&self) -> Option<String> {
        match &self.client {
            Client::Native(producer) => {
                let error = producer.client().fatal_error();
                error.map(|(code, words)| format!("{code}: {words}"))
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(producer) => producer.fatal(),
        }
    }

    /// Breaks the producer as a broker that fenced it would, for tests of what then happens.
    #[doc(hidden)]
    #[expect(unsafe_code, reason = "rdkafka 0.39 has no safe call for it")]
    pub fn break_down(&self) {
        #[cfg_attr(not(feature = "simulation"), expect(irrefutable_let_patterns))]
        let Client::Native(producer) = &self.client else {
            return;
        };
        let client = producer.client().native_ptr();
        let code = rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        // SAFETY: the pointer is the living client's own, the words are a C string.
        unsafe { rdkafka_sys::rd_kafka_test_fatal_error(client, code, c"a test".as_ptr()) };
    }

    /// Waits until nothing is under way, at the most for `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let flushed = match &self.client {
            Client::Native(producer) => producer.flush(timeout),
            // It hands on at once.
            #[cfg(feature = "simulation")]
            Client::Simulated(_) => Ok(()),
        };
        if let Err(error) = flushed {
            tracing::warn!(%error, topic = self.topic, "not everything was acknowledged before the producer closed");
        }
    }
}

/// What RULE 7 wants of it.
fn config(settings: &Settings, options: &AppenderOptions) -> ClientConfig {
    let mut config = settings.client();
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set(
            "queue.buffering.max.ms",
            (options.linger.as_micros() as f64 / 1000.0).to_string(),
        )
        .set("batch.num.messages", "10000")
        .set("batch.size", "1000000")
        .set(
            "message.timeout.ms",
            options.delivery_timeout.as_millis().to_string(),
        )
        .set("message.max.bytes", options.max_record_bytes.to_string())
        .set(
            "queue.buffering.max.kbytes",
            (options.queue_bytes / 1024).to_string(),
        )
        .set("queue.buffering.max.messages", "500000")
        .set(
            "delivery.report.only.error",
            (!options.tells_delivered).to_string(),
        )
        .remove("transactional.id");
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{careless, expect};

    #[test]
    fn appends_are_idempotent_whatever_the_user_sets() {
        let options = AppenderOptions {
            topic: "t".into(),
            linger: Duration::from_millis(1),
            delivery_timeout: Duration::from_secs(10),
            max_record_bytes: 1 << 20,
            queue_bytes: 1 << 20,
            tells_delivered: true,
        };
        let config = config(&careless(), &options);
        let wanted = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("delivery.report.only.error", "false"),
        ];
        expect(&config, &wanted);
        assert_eq!(config.get("transactional.id"), None);
    }
}
