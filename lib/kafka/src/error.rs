//! What can go wrong with Kafka, with the subject in the error.

use rdkafka::error::{KafkaError as Native, RDKafkaErrorCode as Code};

/// An error of a Kafka client.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A client could not be made from the settings; the words name the property.
    #[error("kafka client settings are not accepted: {0}")]
    Settings(String),
    /// No broker answered in time.
    #[error(
        "no Kafka broker answers at {bootstrap} ({words}); is it running, and is [kafka].bootstrap right?"
    )]
    Unreachable {
        /// The addresses asked.
        bootstrap: String,
        /// What the client said.
        words: String,
    },
    /// A broker is there, and lets this client not in.
    #[error("Kafka at {bootstrap} refuses this client ({words}): {advice}")]
    Refused {
        /// The addresses asked.
        bootstrap: String,
        /// What the client said.
        words: String,
        /// What is to be done.
        advice: &'static str,
    },
    /// A topic could not be created.
    #[error("topic `{topic}` could not be created: {words}")]
    CreateTopic {
        /// The topic.
        topic: String,
        /// What the broker said.
        words: String,
    },
    /// A question about a topic failed.
    #[error("topic `{topic}`: {words}")]
    Topic {
        /// The topic.
        topic: String,
        /// What the client or the broker said.
        words: String,
    },
    /// The broker that was asked does not know the topic, or not so many partitions of it.
    #[error("topic `{topic}`: {words}")]
    Unknown {
        /// The topic.
        topic: String,
        /// What the client or the broker said.
        words: String,
    },
    /// The position asked for is not in the partition any more, or not yet.
    #[error("topic `{topic}` has no record at the position asked for: {words}")]
    OutOfRange {
        /// The topic.
        topic: String,
        /// What the client said.
        words: String,
    },
    /// A consumer or producer broke and must be made anew.
    #[error("kafka client of topic `{topic}` failed: {words}")]
    Fatal {
        /// The topic.
        topic: String,
        /// What the client said.
        words: String,
    },
}

impl KafkaError {
    /// Whether the client that said this must be thrown away.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal { .. })
    }

    /// The property's value is not repeated: it may be a password, under a name that is not quite right.
    pub(crate) fn settings(error: Native) -> Self {
        Self::Settings(match error {
            Native::ClientConfig(_, words, property, _) => format!("{property}: {words}"),
            other => other.to_string(),
        })
    }

    pub(crate) fn topic(topic: &str, error: impl ToString) -> Self {
        Self::Topic {
            topic: topic.into(),
            words: error.to_string(),
        }
    }
}

/// What an error met while polling means.
pub(crate) enum PollError {
    /// The client is working on it (a broker is away, a coordinator moves): nothing to do.
    Passing,
    /// All there is was read.
    EndOfPartition(u32),
    /// The caller must act.
    Real(KafkaError),
}

/// Sorts an error of `poll`: librdkafka reports its own recoveries as errors too.
pub(crate) fn sort(topic: &str, error: Native) -> PollError {
    let topic = topic.to_owned();
    let words = error.to_string();
    match error {
        Native::PartitionEOF(partition) => PollError::EndOfPartition(
            u32::try_from(partition).expect("Kafka's partitions are not negative"),
        ),
        Native::MessageConsumptionFatal(_) => PollError::Real(KafkaError::Fatal { topic, words }),
        Native::MessageConsumption(code) | Native::Global(code) => match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                PollError::Real(KafkaError::OutOfRange { topic, words })
            }
            Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicId => PollError::Real(KafkaError::Unknown { topic, words }),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::BadMessage
            | Code::InvalidMessage => PollError::Real(KafkaError::Topic { topic, words }),
            // librdkafka would try these for ever; none gets better by itself.
            Code::InvalidSessionTimeout
            | Code::InconsistentGroupProtocol
            | Code::FencedInstanceId => PollError::Real(KafkaError::Topic { topic, words }),
            Code::Fatal => PollError::Real(KafkaError::Fatal { topic, words }),
            _ => PollError::Passing,
        },
        _ => PollError::Passing,
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cluster, Settings};

    #[test]
    fn a_password_under_a_wrong_name_is_not_repeated() {
        let settings = Settings {
            properties: [("sasl.pasword".into(), "hunter2".into())].into(),
            ..Settings::default()
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
        let Err(error) = Cluster::connect(&settings) else {
            panic!("there is no such property");
        };
        let words = error.to_string();
        assert!(
            words.contains("sasl.pasword") && !words.contains("hunter2"),
            "{words}"
        );
    }
}
