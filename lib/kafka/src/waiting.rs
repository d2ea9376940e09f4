//! A consumer that is waited for by a clock which nobody sets.
//!
//! librdkafka waits until a time of the wall clock. Whoever began to wait a tenth of a second in an hour that is then set back waits for that hour, unless
//! something comes: nothing is committed meanwhile, nothing parked is due, and who is told to stop does not hear of it. So librdkafka is only
//! asked what there is, and says when there is something again.

use crate::polled::LONGEST_POLL;
use parking_lot::{Condvar, Mutex};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The consumer.
pub(crate) struct Waiting<C: ConsumerContext + 'static> {
    consumer: BaseConsumer<C>,
    bell: Arc<Bell>,
}

/// Rings when the consumer's queue has something again.
#[derive(Default)]
struct Bell {
    has_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    /// Called by librdkafka, which holds its queue meanwhile.
    fn ring(&self) {
        *self.has_rung.lock() = true;
        self.rings.notify_one();
    }

    fn wait(&self, longest: Duration) {
        let mut has_rung = self.has_rung.lock();
        if !*has_rung {
            self.rings.wait_for(&mut has_rung, longest);
        }
        *has_rung = false;
    }
}

impl<C: ConsumerContext + 'static> Waiting<C> {
    /// One that has not been told yet what to read.
    pub fn new(mut consumer: BaseConsumer<C>) -> Self {
        let bell = Arc::new(Bell::default());
        let rung = bell.clone();
        consumer.set_nonempty_callback(move || rung.ring());
        Self { consumer, bell }
    }

    /// The next thing, at the latest after `timeout`, and never later than after 100 ms.
    pub fn poll(&self, timeout: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        let at_once = self.consumer.poll(Duration::ZERO);
        if at_once.is_some() || timeout.is_zero() {
            return at_once;
        }
        self.bell.wait(timeout.min(LONGEST_POLL));
        self.consumer.poll(Duration::ZERO)
    }
}

impl<C: ConsumerContext + 'static> Deref for Waiting<C> {
    type Target = BaseConsumer<C>;

    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}
