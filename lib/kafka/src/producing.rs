//! A producer with a thread that hands out its delivery reports.
//!
//! As rdkafka's `ThreadedProducer`, but for two things. That one polls for a tenth of a second at a time and, since its time-outs are whole
//! milliseconds rounded down, spins through the last of each: half a percent of a core for each producer, which are many and mostly idle.
//! And dropping it waits for the thread, also on a thread of the async runtime.

use crate::KafkaError;
use crate::settings::create;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, ProducerContext};
use std::ops::Deref;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// One look at the reports; each comes at once, within it.
const POLL: Duration = Duration::from_secs(1);

/// The producer. Dropped, it ends within [`POLL`]; what it has not sent by then is never sent.
pub(crate) struct Producing<C: ProducerContext + 'static> {
    producer: Arc<BaseProducer<C>>,
}

impl<C: ProducerContext + 'static> Producing<C> {
    /// Makes one.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept, or no thread to be had.
    pub fn new(config: &ClientConfig, context: C) -> Result<Self, KafkaError> {
        let producer: Arc<BaseProducer<C>> = Arc::new(create(config, context)?);
        let reporting = producer.clone();
        thread::Builder::new()
            .name("kafka reports".into())
            .spawn(move || {
                // Until it is this thread's alone.
                while Arc::strong_count(&reporting) > 1 {
                    reporting.poll(POLL);
                }
            })
            .map_err(|error| KafkaError::Settings(format!("no thread for a producer: {error}")))?;
        Ok(Self { producer })
    }
}

impl<C: ProducerContext + 'static> Deref for Producing<C> {
    type Target = BaseProducer<C>;

    fn deref(&self) -> &Self::Target {
        &self.producer
    }
}
