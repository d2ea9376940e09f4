//! What a dispatcher is told. Plain values; where they come from is the binary's concern.

use crate::parker::Parking;
use crate::{Backoff, Limits, Park, Site, Tier};
use rtf_json::{Fields, Folding};
use rtf_kafka::{GroupOptions, Isolation};
use rtf_proto::MAX_ID_BYTES;
use std::time::Duration;

/// Bytes of one batch, about. Calls stay well below gRPC's limits, and few large records do not fill the memory.
const BATCH_BYTES: usize = 2 << 20;
/// Bytes of a record, about, where a number of records bounds bytes.
const BEYOND_BYTES: usize = 4096;
/// A retry topic's reader may keep such a part of what may wait in memory: few of its events wait here, the others are parked again.
const WAITING_OF_TIER: usize = 10;
/// It has such a part of the batches in flight: what has waited for a minute is not in a hurry.
const IN_FLIGHT_OF_TIER: usize = 4;
/// Fresh and retried batches need a place each.
const IN_FLIGHT_MIN: usize = 2;

/// Everything a dispatcher can be told.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The foreign topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// Fields ([`rtf_json::Fields`]) of an event's id; none: its position is its id.
    pub id: Vec<String>,
    /// Fields of its key; at least one.
    pub key: Vec<String>,
    /// Field of its time; none: Kafka's timestamp.
    pub time: Option<String>,
    /// Whether white space around keys is ignored.
    pub trim: bool,
    /// Whether upper and lower case of keys is ignored.
    pub fold_case: bool,
    /// Which records of transactions are read.
    pub isolation: Isolation,
    /// A dispatcher that is silent for so long has lost its partitions.
    pub session_timeout: Duration,
    /// A name that survives a restart makes a static member of the group.
    pub instance_id: Option<String>,
    /// How long an event waits for a partner, counted from when this dispatcher read it first.
    pub wait_max: Duration,
    /// How long an event that has a partner waits for more.
    pub collect: Duration,
    /// Before the second attempt, about; doubles from then on.
    pub retry_initial: Duration,
    /// The longest between two attempts, about.
    pub retry_max: Duration,
    /// Records held in memory, waiting and in flight, beyond which reading pauses.
    pub max_events: usize,
    /// Their bytes, likewise.
    pub max_bytes: usize,
    /// Records of one partition that are pending, beyond which reading from it pauses.
    pub window_events: usize,
    /// Records in one batch.
    pub batch: usize,
    /// Batches in flight; at least two are.
    pub in_flight: usize,
    /// A batch that is not full is sent after this, or at once when nothing is in flight.
    pub linger: Duration,
    /// Between two commits.
    pub commit_every: Duration,
    /// Which of several pipelines over the same topic and log this is; `None`: the only one.
    pub site: Option<Site>,
    /// How events are parked that wait for long; `None`: all wait in memory.
    pub parking: Option<Parking>,
    /// When partitions go, what is in flight has so long to be answered.
    pub drain: Duration,
}

impl Options {
    /// The defaults for a topic, a group and a key.
    pub fn new(topic: impl Into<String>, group: impl Into<String>, key: Vec<String>) -> Self {
        Self {
            topic: topic.into(),
            group: group.into(),
            id: Vec::new(),
            key,
            time: None,
            trim: false,
            fold_case: false,
            isolation: Isolation::ReadCommitted,
            session_timeout: Duration::from_secs(6),
            instance_id: None,
            wait_max: Duration::from_secs(24 * 3600),
            collect: Duration::ZERO,
            retry_initial: Duration::from_millis(200),
            retry_max: Duration::from_secs(30),
            max_events: 1_000_000,
            max_bytes: 512 << 20,
            window_events: 500_000,
            batch: 500,
            in_flight: 16,
            linger: Duration::from_millis(2),
            commit_every: Duration::from_secs(1),
            site: None,
            parking: None,
            drain: Duration::from_secs(2),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            batch_events: self.batch.max(1),
            batch_bytes: BATCH_BYTES,
            batches: self.in_flight.max(IN_FLIGHT_MIN),
            held_events: self.max_events.max(1).saturating_add(self.beyond()),
            held_bytes: self
                .max_bytes
                .max(1)
                .saturating_add(self.beyond() * BEYOND_BYTES),
            window_events: self.window_events.max(1),
            wait_max: self.wait_max,
            collect: self.collect,
            backoff: Backoff {
                first: self.retry_initial,
                max: self.retry_max,
            },
            site: self.site,
            park: self.parking.as_ref().map(|parking| Park {
                after: parking.after,
                events: self.max_events,
                bytes: self.max_bytes,
            }),
        }
    }

    /// Where events are parked, so many more than may wait are held: reading goes on while they are on their way into a retry topic.
    fn beyond(&self) -> usize {
        match self.parking {
            Some(_) => self.in_flight.max(IN_FLIGHT_MIN) * self.batch.max(1),
            None => 0,
        }
    }

    /// The retry topics.
    pub(crate) fn tiers(&self) -> &[Tier] {
        self.parking.as_ref().map_or(&[], |parking| &parking.tiers)
    }

    /// Of the reader of a retry topic: what it reads has waited, and what finds nobody is parked again.
    pub(crate) fn of_tier(&self, tier: &Tier) -> Self {
        let at_once = |parking: &Parking| Parking {
            after: Duration::ZERO,
            ..parking.clone()
        };
        Self {
            topic: tier.topic.clone(),
            group: tier.group.clone(),
            isolation: Isolation::ReadUncommitted,
            // What is parked here is this site's own.
            site: None,
            max_events: self.max_events / WAITING_OF_TIER,
            max_bytes: self.max_bytes / WAITING_OF_TIER,
            in_flight: self.in_flight / IN_FLIGHT_OF_TIER,
            parking: self.parking.as_ref().map(at_once),
            ..self.clone()
        }
    }

    pub(crate) fn fields(&self) -> Fields {
        Fields {
            id: self.id.clone(),
            key: self.key.clone(),
            time: self.time.clone(),
            extra: Vec::new(),
            folding: Folding {
                trim: self.trim,
                fold_case: self.fold_case,
            },
            max_id_bytes: MAX_ID_BYTES,
        }
    }

    pub(crate) fn group_options(&self) -> GroupOptions {
        GroupOptions {
            topic: self.topic.clone(),
            group: self.group.clone(),
            session_timeout: self.session_timeout,
            isolation: self.isolation,
            instance_id: self.instance_id.clone(),
        }
    }
}
