//! Sends a workload's events at their own times, from a thread, while the test does other things.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rtf_kafka::{Sender, Settings};
use rtf_synth::{Event, Join, Side, Tally};

use crate::pause;

/// Longer than a record may take.
const FLUSH_WITHIN: Duration = Duration::from_secs(150);
/// Shorter waits are not waited: what is due within is sent now.
const PACE: Duration = Duration::from_millis(2);

/// A workload on its way.
#[derive(Debug)]
pub struct Load(JoinHandle<Result<Tally>>);

impl Load {
    /// Begins to send.
    pub fn start(
        settings: &Settings,
        join: Join,
        events: impl Iterator<Item = Event> + Send + 'static,
    ) -> Result<Self> {
        Self::start_observed(settings, join, events, |_| {})
    }

    /// The same; `acknowledged` is told of each record how long its acknowledgement took.
    pub fn start_observed(
        settings: &Settings,
        join: Join,
        events: impl Iterator<Item = Event> + Send + 'static,
        acknowledged: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Result<Self> {
        let sender = Sender::open_observed(settings, acknowledged)?;
        let sending = move || send(&sender, &join, events);
        let thread = thread::Builder::new().name("load".into());
        Ok(Self(thread.spawn(sending)?))
    }

    /// Whether all is sent, or sending failed.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until all is sent and acknowledged, and says what it was.
    pub fn finish(self) -> Result<Tally> {
        let sent = self.0.join();
        sent.map_err(|_| anyhow!("the load's thread panicked"))?
    }
}

fn send(sender: &Sender, join: &Join, events: impl Iterator<Item = Event>) -> Result<Tally> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    for event in events {
        let due = Duration::from_millis(event.at_ms.max(0).unsigned_abs());
        let early = due.saturating_sub(begun.elapsed());
        if early > PACE {
            pause(early);
        }
        let topic = match event.side {
            Side::Foreign => join.foreign.topic,
            Side::Primary => join.primary.topic,
        };
        sender.send(topic, None, event.key.as_deref(), Some(&event.value))?;
        tally.count(&event);
    }
    sender
        .flush(FLUSH_WITHIN)
        .context("not all of the load arrived")?;
    Ok(tally)
}
