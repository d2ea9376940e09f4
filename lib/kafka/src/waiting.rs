//! A consumer that is waited for by a clock which nobody sets.
//!
//! librdkafka waits until a time of the wall clock. Whoever began to wait a tenth of a second in an hour that is then set back waits for that hour, unless
//! something comes: nothing is committed meanwhile, nothing parked is due, and who is told to stop does not hear of it. So librdkafka is only
//! asked what there is, and says when there is something again.

use crate::polled::LONGEST_POLL;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use std::ops::Deref;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// The consumer.
pub(crate) struct Waiting<C: ConsumerContext + 'static> {
    consumer: BaseConsumer<C>,
    /// Has a word in it as soon as the consumer's queue has something again.
    news: Mutex<Receiver<()>>,
}

impl<C: ConsumerContext + 'static> Waiting<C> {
    /// One that has not been told yet what to read.
    pub fn new(mut consumer: BaseConsumer<C>) -> Self {
        let (tells, news) = mpsc::sync_channel(1);
        consumer.set_nonempty_callback(move || {
            // One word is as good as two. librdkafka holds its queue meanwhile.
            let _ = tells.try_send(());
        });
        Self {
            consumer,
            news: Mutex::new(news),
        }
    }

    /// The next thing, at the latest after `timeout`, and never later than after 100 ms.
    pub fn poll(&self, timeout: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        let at_once = self.consumer.poll(Duration::ZERO);
        if at_once.is_some() || timeout.is_zero() {
            return at_once;
        }
        // Or nothing in time.
        let _ = self.news.lock().recv_timeout(timeout.min(LONGEST_POLL));
        self.consumer.poll(Duration::ZERO)
    }
}

impl<C: ConsumerContext + 'static> Deref for Waiting<C> {
    type Target = BaseConsumer<C>;

    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}
