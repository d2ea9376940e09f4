//! Why a dispatcher cannot go on.

use rtf_json::PointerError;
use rtf_kafka::KafkaError;

/// Why a dispatcher cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {
    /// A pointer of `join.foreign` is none.
    #[error("join.foreign: a JSON pointer is not usable")]
    Pointer(#[from] PointerError),
    /// There is nothing to read.
    #[error("foreign topic `{topic}` does not exist; create it, or correct join.foreign.topic")]
    TopicMissing {
        /// The topic.
        topic: String,
    },
    /// Kafka does not answer at the start, or does not accept the settings.
    #[error("kafka of the foreign topic")]
    Kafka(#[from] KafkaError),
    /// No thread could be started.
    #[error("no thread for reading the foreign topic")]
    Thread(#[source] std::io::Error),
    /// A defect: part of the dispatcher panicked. What was in flight is read again by whoever comes next.
    #[error("a part of the dispatcher panicked: {0}")]
    Panicked(&'static str),
}
