//! librdkafka's in-process mock cluster: the demonstration's broker.
//!
//! It speaks the real protocol, so that every role runs the code it runs against a real broker. It keeps a
//! few MiB per partition in memory and silently drops the oldest: for trying out only.

use crate::settings::{Quiet, create};
use crate::{KafkaError, Settings};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka_sys::{RDKafkaApiKey, RDKafkaRespErr};

/// A running mock cluster of one broker; gone when dropped.
pub struct Embedded {
    // The cluster lives inside a client.
    host: BaseProducer<QuietProducer>,
}

struct QuietProducer;

impl rdkafka::ClientContext for QuietProducer {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, words: &str) {
        rdkafka::ClientContext::log(&Quiet, level, facility, words);
    }
}
impl rdkafka::producer::ProducerContext for QuietProducer {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

impl Embedded {
    /// Starts a broker on a free loopback port.
    ///
    /// # Errors
    /// librdkafka could not make it.
    pub fn start() -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", "1");
        let embedded = Self {
            host: create(&config, QuietProducer)?,
        };
        embedded.skip_rebalance_delay();
        Ok(embedded)
    }

    /// A mock group waits three seconds for more members before its first assignment; here there is one.
    #[allow(unsafe_code)]
    fn skip_rebalance_delay(&self) {
        // SAFETY: the pointer is a live client's own, and is used only while `self.host` is borrowed.
        unsafe {
            let cluster =
                rdkafka_sys::rd_kafka_handle_mock_cluster(self.host.client().native_ptr());
            rdkafka_sys::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// It exists already.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<(), KafkaError> {
        self.cluster()
            .create_topic(name, crate::settings::partition(partitions), 1)
            .map_err(|e| KafkaError::CreateTopic {
                topic: name.into(),
                words: e.to_string(),
            })
    }

    /// The next append of a producer is answered as if what came before it had been lost: the producer is broken for good then.
    pub fn lose_sequence(&self) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        self.cluster()
            .request_errors(RDKafkaApiKey::Produce, &[error]);
    }

    /// The next commit of a group's positions is refused.
    pub fn refuse_commit(&self) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
        self.cluster()
            .request_errors(RDKafkaApiKey::OffsetCommit, &[error]);
    }

    /// The broker answers the next questions for positions as one does that is not the group's coordinator.
    pub fn deny_coordinating(&self, questions: usize) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
        self.cluster()
            .request_errors(RDKafkaApiKey::OffsetFetch, &vec![error; questions]);
    }

    fn cluster(&self) -> MockCluster<'_, QuietProducer> {
        let cluster = self.host.client().mock_cluster();
        cluster.expect("the client was made with a mock cluster")
    }

    /// How to reach it.
    pub fn settings(&self) -> Settings {
        Settings {
            bootstrap: self.cluster().bootstrap_servers(),
            embedded: true,
            ..Settings::default()
        }
    }
}
