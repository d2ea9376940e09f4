//! A client for administration whose end is waited for by a clock that nobody sets.
//!
//! Dropping rdkafka's waits for its thread, which looks for answers a tenth of a second at a time by the wall clock: one that began its look in an hour
//! which was then set back would be waited for until that hour, and with it a process that was told to stop.

use crate::KafkaError;
use crate::settings::{Quiet, create};
use rdkafka::admin::AdminClient;
use rdkafka::config::ClientConfig;
use std::ops::Deref;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// It ends within a tenth of a second, or not for long.
const ENDS_WITHIN: Duration = Duration::from_millis(500);

/// The client.
pub(crate) struct Administering(Option<AdminClient<Quiet>>);

impl Administering {
    /// Makes one.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        Ok(Self(Some(create(config, Quiet)?)))
    }
}

impl Deref for Administering {
    type Target = AdminClient<Quiet>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("only a drop takes it")
    }
}

impl Drop for Administering {
    fn drop(&mut self) {
        let client = self.0.take();
        let (ends, ended) = mpsc::channel::<()>();
        // Where there is no thread to be had the client ends with what was to be done there, on this one.
        let ending = thread::Builder::new().name("kafka ends".into());
        if let Ok(_detached) = ending.spawn(move || {
            drop(client);
            drop(ends);
        }) {
            // Either it ended, or it is left to itself.
            let _ = ended.recv_timeout(ENDS_WITHIN);
        }
    }
}
