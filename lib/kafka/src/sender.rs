//! Sending data of the user's own making to a topic: what `rtf synth` and the tests do.

use crate::producing::Producing;
use crate::settings::{Quiet, partition as native_partition};
use crate::transactor::headers;
use crate::{KafkaError, Settings};
use rdkafka::error::{KafkaError as Native, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext};
use rtf_proto::{Original, PartitionId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A record that is not acknowledged after this is given up. A broker that was killed is back by then, also on a slow machine.
const DELIVERED_WITHIN: Duration = Duration::from_secs(120);

/// A record that did not arrive.
#[derive(Debug, thiserror::Error)]
#[error("topic `{topic}`: {words}")]
pub struct SendError {
    topic: String,
    words: String,
}

#[derive(Clone, Default)]
struct Failures(Arc<AtomicU64>);

struct Context {
    failures: Failures,
    begun: Instant,
    acknowledged: Box<dyn Fn(Duration) + Send + Sync>,
}

/// When a record was handed over, µs since its producer began.
type Sent = usize;

impl rdkafka::ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, words: &str) {
        rdkafka::ClientContext::log(&Quiet, level, facility, words);
    }
    fn error(&self, error: Native, reason: &str) {
        tracing::debug!(%error, reason, "kafka producer");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Sent;
    fn delivery(&self, result: &DeliveryResult<'_>, sent: Sent) {
        match result {
            Ok(_) => {
                let sent = Duration::from_micros(sent as u64);
                (self.acknowledged)(self.begun.elapsed().saturating_sub(sent));
            }
            Err((error, _)) => {
                if self.failures.0.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(%error, "a record was not delivered");
                }
            }
        }
    }
}

/// A producer to any topic, idempotent and in order.
pub struct Sender {
    producer: Producing<Context>,
    begun: Instant,
    failures: Failures,
}

impl Sender {
    /// Makes a producer.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open(settings: &Settings) -> Result<Self, KafkaError> {
        Self::open_observed(settings, |_| {})
    }

    /// Makes a producer; `acknowledged` is told of each record how long its acknowledgement took since it was handed over.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open_observed(
        settings: &Settings,
        acknowledged: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Result<Self, KafkaError> {
        let mut config = settings.client();
        config
            .set("enable.idempotence", "true")
            .set("queue.buffering.max.ms", "2")
            .set("partitioner", "murmur2_random")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "200000")
            .set(
                "message.timeout.ms",
                DELIVERED_WITHIN.as_millis().to_string(),
            );
        let failures = Failures::default();
        let begun = Instant::now();
        let context = Context {
            failures: failures.clone(),
            begun,
            acknowledged: Box::new(acknowledged),
        };
        Ok(Self {
            producer: Producing::new(&config, context)?,
            begun,
            failures,
        })
    }

    /// Sends one record, waiting while the queue is full. Without a partition Java's partitioner decides by the key,
    /// as other tools do.
    ///
    /// # Errors
    /// The record can never be sent: too large, no such topic.
    pub fn send(
        &self,
        topic: &str,
        partition: Option<PartitionId>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), SendError> {
        self.enqueue(self.record(topic, partition, key, value))
    }

    /// Sends a record with headers, likewise, and with a timestamp (ms since 1970) if it shall not be the present.
    ///
    /// # Errors
    /// The record can never be sent: too large, no such topic.
    pub fn send_original(
        &self,
        topic: &str,
        partition: Option<PartitionId>,
        original: &Original,
        timestamp_ms: Option<i64>,
    ) -> Result<(), SendError> {
        let (key, value) = (original.key.as_deref(), original.value.as_deref());
        let record = self.record(topic, partition, key, value);
        let mut record = record.headers(headers(original));
        record.timestamp = timestamp_ms;
        self.enqueue(record)
    }

    fn enqueue(&self, mut record: BaseRecord<'_, [u8], [u8], Sent>) -> Result<(), SendError> {
        let topic = record.topic;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((Native::MessageProduction(Code::QueueFull), returned)) => {
                    record = returned;
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => {
                    return Err(SendError {
                        topic: topic.into(),
                        words: error.to_string(),
                    });
                }
            }
        }
    }

    /// Waits until all was acknowledged.
    ///
    /// # Errors
    /// Some were not, within `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<(), SendError> {
        let error = |words| SendError {
            topic: "(any)".into(),
            words,
        };
        self.producer
            .flush(timeout)
            .map_err(|e| error(e.to_string()))?;
        match self.failures.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => Err(error(format!("{n} records were not delivered"))),
        }
    }

    fn record<'a>(
        &self,
        topic: &'a str,
        partition: Option<PartitionId>,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
    ) -> BaseRecord<'a, [u8], [u8], Sent> {
        let mut record =
            BaseRecord::with_opaque_to(topic, self.begun.elapsed().as_micros() as Sent);
        record.key = key;
        record.payload = value;
        record.partition = partition.map(native_partition);
        record
    }
}
