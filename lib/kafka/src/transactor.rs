//! Appending in transactions (KIP-98).
//!
//! What a transaction appended is there all or not at all, for who reads `read_committed`. A transactional id has one living producer: making
//! another fences the one before, and ends what that had begun. librdkafka knows neither KIP-890 nor KIP-588, so after any error the producer is
//! to be dropped and another made (RULE 16). No position of a group is part of a transaction: `rd_kafka_send_offsets_to_transaction` may wait
//! for ever when the group's coordinator moves (librdkafka's issues 5456 and 5511, met with a broker that was killed and came back).

use crate::producing::Producing;
use crate::settings::{log, partition as native_partition};
use crate::{KafkaError, Settings};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as Native, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext};
use rtf_proto::{Original, PartitionId};
use std::time::Duration;

/// A transaction that its producer has forgotten is ended by the broker after this; until then its partition's readers wait.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Beginning, committing and fencing take no longer, or failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Who appends where.
#[derive(Clone, Debug)]
pub struct TransactorOptions {
    /// Topic that is appended to.
    pub topic: String,
    /// What names the one living producer.
    pub transactional_id: String,
    /// Largest record.
    pub max_record_bytes: usize,
}

/// Why nothing is known of a transaction. Drop the producer.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    /// Another producer of the same transactional id lives; this one will never append again.
    #[error("another producer has taken over")]
    Fenced,
    /// It may have been committed or not.
    #[error("topic `{topic}`: {words}")]
    Unknown {
        /// The topic.
        topic: String,
        /// What the client said.
        words: String,
    },
}

struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        log(level, facility, words);
    }
    fn error(&self, error: Native, reason: &str) {
        tracing::debug!(%error, reason, "kafka producer");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();
    /// A record that is not delivered lets its transaction's commit fail.
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// The living producer of a transactional id.
pub struct Transactor {
    producer: Producing<Context>,
    topic: String,
}

impl Transactor {
    /// Fences the one before, and waits until what that had begun is committed or aborted. Blocking.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept, or no answer in time.
    pub fn open(settings: &Settings, options: &TransactorOptions) -> Result<Self, KafkaError> {
        let producer = Producing::new(&config(settings, options), Context)?;
        producer
            .init_transactions(ANSWER_WITHIN)
            .map_err(|e| KafkaError::topic(&options.topic, e))?;
        Ok(Self {
            producer,
            topic: options.topic.clone(),
        })
    }

    /// Appends records to a partition, all or none. Blocking.
    ///
    /// # Errors
    /// It is not known what became of it, or somebody else has taken over.
    pub fn commit(
        &self,
        partition: PartitionId,
        records: &[Original],
    ) -> Result<(), TransactError> {
        let done = self.transact(partition, records);
        done.map_err(|error| match code(&error) {
            Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => {
                TransactError::Fenced
            }
            _ => TransactError::Unknown {
                topic: self.topic.clone(),
                words: error.to_string(),
            },
        })
    }

    fn transact(&self, partition: PartitionId, records: &[Original]) -> Result<(), Native> {
        self.producer.begin_transaction()?;
        for original in records {
            self.send(partition, original)?;
        }
        self.producer.commit_transaction(ANSWER_WITHIN)
    }

    fn send(&self, partition: PartitionId, original: &Original) -> Result<(), Native> {
        let mut record = BaseRecord::<[u8], [u8], ()>::to(&self.topic)
            .partition(native_partition(partition))
            .headers(headers(original));
        record.key = original.key.as_deref();
        record.payload = original.value.as_deref();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((Native::MessageProduction(Code::QueueFull), back)) => record = back,
                Err((error, _)) => return Err(error),
            }
            self.producer.poll(Duration::from_millis(5));
        }
    }
}

/// A record's headers as librdkafka wants them.
pub(crate) fn headers(original: &Original) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(original.headers.len());
    original.headers.iter().fold(empty, |all, (key, value)| {
        all.insert(Header {
            key,
            value: value.as_deref(),
        })
    })
}

fn code(error: &Native) -> Option<Code> {
    match error {
        Native::Transaction(error) => Some(error.code()),
        Native::MessageProduction(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

fn config(settings: &Settings, options: &TransactorOptions) -> ClientConfig {
    let mut config = settings.client();
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("transactional.id", &options.transactional_id)
        .set(
            "transaction.timeout.ms",
            TRANSACTION_TIMEOUT.as_millis().to_string(),
        )
        .set("queue.buffering.max.ms", "1")
        .set("message.max.bytes", options.max_record_bytes.to_string())
        // It follows from the transaction's.
        .remove("message.timeout.ms");
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{careless, expect};

    #[test]
    fn transactions_are_ours_whatever_the_user_sets() {
        let options = TransactorOptions {
            topic: "t".into(),
            transactional_id: "n.dead.3".into(),
            max_record_bytes: 1 << 20,
        };
        let wanted = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("transactional.id", "n.dead.3"),
            ("transaction.timeout.ms", "10000"),
        ];
        expect(&config(&careless(), &options), &wanted);
    }
}
