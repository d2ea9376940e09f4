//! The dispatcher's metrics. They follow the machine's own counts, so that nothing is counted record by record.

use crate::status::{Fleet, partitions, status};
use metrics::{Counter, Gauge, counter, gauge};
use rtf_proto::PartitionId;
use std::collections::BTreeSet;
use std::sync::Arc;

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
    parked: Counter,
    wasted: Counter,
    fleet: Arc<Fleet>,
    /// Topics and partitions whose lag is told.
    lags: BTreeSet<(String, PartitionId)>,
}

impl Meters {
    /// With the recorder that is installed by now.
    pub fn new(fleet: Arc<Fleet>) -> Self {
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
            parked: counter!("rtf_dispatcher_parked_total"),
            wasted: counter!("rtf_dispatcher_wasted_total"),
            fleet,
            lags: BTreeSet::new(),
        }
    }

    /// Brings them up to date.
    pub fn show(&mut self) {
        let status = status(&self.fleet);
        let tally = status.tally;
        self.joined.absolute(tally.joined);
        self.unjoinable.absolute(tally.unjoinable);
        self.malformed.absolute(tally.malformed);
        self.already_resolved.absolute(tally.already_resolved);
        self.too_old.absolute(tally.too_old);
        self.retries.absolute(tally.retries);
        self.wakeups.absolute(tally.wakeups);
        self.parked.absolute(tally.parked);
        self.wasted.absolute(tally.wasted);
        for tier in status.parked {
            gauge!("rtf_dispatcher_parked", "topic" => tier.topic).set(tier.records as f64);
        }
        self.waiting.set(status.waiting as f64);
        self.waiting_bytes.set(status.waiting_bytes as f64);
        self.oldest
            .set(status.oldest_waiting.map_or(0.0, |age| age.as_secs_f64()));
        self.in_flight.set(status.in_flight as f64);
        self.paused.set(f64::from(u8::from(status.paused)));
        let mut present = BTreeSet::new();
        for shared in self.fleet.all() {
            for partition in partitions(shared) {
                if let Some(records) = partition.lag {
                    let told = (shared.topic.clone(), partition.partition);
                    lag(&told).set(records as f64);
                    present.insert(told);
                }
            }
        }
        // Somebody else's by now: here there is nothing left to read of them.
        for gone in self.lags.difference(&present) {
            lag(gone).set(0.0);
        }
        self.lags = present;
    }
}

fn lag((topic, partition): &(String, PartitionId)) -> Gauge {
    let (topic, partition) = (topic.clone(), partition.to_string());
    gauge!("rtf_consumer_lag_records", "topic" => topic, "partition" => partition)
}
