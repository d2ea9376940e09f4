//! The dispatcher's metrics. They follow the machine's own counts, so that nothing is counted record by record.

use crate::engine::Shared;
use crate::status::status;
use metrics::{Counter, Gauge, counter, gauge};
use rtf_proto::PartitionId;
use std::collections::BTreeSet;

/// Handles of all of them.
pub(crate) struct Meters {
    joined: Counter,
    unjoinable: Counter,
    malformed: Counter,
    already_resolved: Counter,
    too_old: Counter,
    retries: Counter,
    wakeups: Counter,
    waiting: Gauge,
    waiting_bytes: Gauge,
    oldest: Gauge,
    in_flight: Gauge,
    paused: Gauge,
    topic: String,
    lags: BTreeSet<PartitionId>,
}

impl Meters {
    /// With the recorder that is installed by now.
    pub fn new(topic: &str) -> Self {
        let events =
            |outcome: &'static str| counter!("rtf_dispatcher_events_total", "outcome" => outcome);
        Self {
            joined: events("joined"),
            unjoinable: events("unjoinable"),
            malformed: events("malformed"),
            already_resolved: events("already_resolved"),
            too_old: events("too_old"),
            retries: counter!("rtf_dispatcher_retries_total"),
            wakeups: counter!("rtf_dispatcher_wakeups_total"),
            waiting: gauge!("rtf_dispatcher_waiting"),
            waiting_bytes: gauge!("rtf_dispatcher_waiting_bytes"),
            oldest: gauge!("rtf_dispatcher_oldest_waiting_seconds"),
            in_flight: gauge!("rtf_dispatcher_in_flight"),
            paused: gauge!("rtf_dispatcher_paused"),
            topic: topic.into(),
            lags: BTreeSet::new(),
        }
    }

    /// Brings them up to date.
    pub fn show(&mut self, shared: &Shared) {
        let status = status(shared);
        let tally = status.tally;
        self.joined.absolute(tally.joined);
        self.unjoinable.absolute(tally.unjoinable);
        self.malformed.absolute(tally.malformed);
        self.already_resolved.absolute(tally.already_resolved);
        self.too_old.absolute(tally.too_old);
        self.retries.absolute(tally.retries);
        self.wakeups.absolute(tally.wakeups);
        self.waiting.set(status.waiting as f64);
        self.waiting_bytes.set(status.waiting_bytes as f64);
        self.oldest
            .set(status.oldest_waiting.map_or(0.0, |age| age.as_secs_f64()));
        self.in_flight.set(status.in_flight as f64);
        self.paused.set(f64::from(u8::from(status.paused)));
        let lags = status.partitions.iter();
        let lags: Vec<_> = lags.filter_map(|p| Some((p.partition, p.lag?))).collect();
        let present: BTreeSet<PartitionId> = lags.iter().map(|(p, _)| *p).collect();
        for (partition, lag) in lags {
            self.lag(partition).set(lag as f64);
        }
        // Somebody else's by now: here there is nothing left to read of them.
        for gone in self.lags.difference(&present) {
            self.lag(*gone).set(0.0);
        }
        self.lags = present;
    }

    fn lag(&self, partition: PartitionId) -> Gauge {
        let (topic, partition) = (self.topic.clone(), partition.to_string());
        gauge!("rtf_consumer_lag_records", "topic" => topic, "partition" => partition)
    }
}
