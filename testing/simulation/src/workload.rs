//! What is sent, and what must come of it.

use crate::machine::now_ms;
use crate::plan::Plan;
use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_proto::{EventId, JoinKey, Offset, Original, PartitionId, Source, TopicId};
use std::cell::Cell;
use std::collections::BTreeMap;

/// The foreign topic.
pub const FOREIGN: &str = "foreign";
/// The primary topic.
pub const PRIMARY: &str = "primary";
/// A late primary comes so long after its event at the most.
const LATE_MS: u64 = 4_000;

/// A record to be sent.
#[derive(Clone, Debug)]
pub struct Sending {
    /// When, ms after the beginning.
    pub at_ms: u64,
    /// Where to.
    pub topic: &'static str,
    /// Into which partition.
    pub partition: PartitionId,
    /// What.
    pub value: Bytes,
    /// The foreign event it is; none where its place will be its id, and for primaries.
    pub id: Option<EventId>,
    /// What must come of it, if it is foreign.
    pub end: Option<End>,
    /// The key it is a partner for, if it is primary.
    pub key: Option<JoinKey>,
}

/// How an event must end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// With this partner.
    Joined(Bytes),
    /// Given up.
    Unjoinable,
    /// As malformed.
    Malformed,
}

/// A foreign event that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its value.
    pub value: Bytes,
    /// When it was sent first, ms.
    pub at_ms: u64,
    /// What must come of it.
    pub end: End,
    /// It has ended so.
    pub is_checked: Cell<bool>,
}

/// All foreign events that were sent so far.
#[derive(Default, Debug)]
pub struct AllSent {
    /// By id.
    pub events: BTreeMap<EventId, Sent>,
    /// The event at each offset, by partition.
    pub places: BTreeMap<PartitionId, Vec<(Offset, EventId)>>,
    /// When the partner of each key was sent, ms.
    pub primaries: BTreeMap<JoinKey, u64>,
}

impl AllSent {
    /// A foreign record was sent.
    pub fn note(&mut self, topic_id: TopicId, sending: &Sending, offset: Offset) {
        let Some(end) = &sending.end else {
            return;
        };
        let partition = sending.partition;
        let own = || {
            let topic = FOREIGN.into();
            let source = Source {
                topic,
                topic_id,
                partition,
                offset,
            };
            source.event_id()
        };
        let id = sending.id.clone().unwrap_or_else(own);
        self.places
            .entry(partition)
            .or_default()
            .push((offset, id.clone()));
        self.events.entry(id).or_insert_with(|| Sent {
            value: sending.value.clone(),
            at_ms: now_ms(),
            end: end.clone(),
            is_checked: Cell::new(false),
        });
    }
}

/// What is sent in this plan, in order.
pub fn workload(plan: &Plan) -> Vec<Sending> {
    let random = &mut ChaCha8Rng::seed_from_u64(plan.seed ^ 0x776F_726B);
    let mut all = Vec::new();
    for number in 0..plan.events {
        event(plan, number, random, &mut all);
    }
    for sending in &mut all {
        sending.at_ms -= sending.at_ms % plan.burst_ms;
    }
    all.sort_by_cached_key(|sending| sending.at_ms);
    all
}

/// Events that are sent into the topic made anew.
const ANEW: u32 = 40;
/// So many that were sent before are sent once more.
const SENT_AGAIN: usize = 10;

/// What is sent into the foreign topic when it was made anew: broken records first, which are known by their places, and the first of each partition stood at that very
/// place before; then new events, and some of the old ones, of which nothing may come.
pub fn workload_anew(plan: &Plan) -> Vec<Sending> {
    let foreign = |partition, value: String, id: Option<String>, end| Sending {
        at_ms: 0,
        topic: FOREIGN,
        partition,
        value: Bytes::from(value),
        id: id.as_deref().map(EventId::from),
        end: Some(end),
        key: None,
    };
    let mut all = Vec::new();
    for partition in 0..plan.partitions {
        let value = format!(r#"{{"id":"broken-anew-{partition}","key""#);
        all.push(foreign(partition, value, None, End::Malformed));
    }
    for number in 0..ANEW {
        let partition = number % plan.partitions;
        let (id, key) = (format!("anew-{number}"), format!("key-anew-{number}"));
        let primary = format!(r#"{{"id":"primary-{id}","key":"{key}","fare":{number}}}"#);
        let end = End::Joined(Bytes::from(primary.clone()));
        let value = format!(r#"{{"id":"{id}","key":"{key}","n": {number}.0}}"#);
        all.push(foreign(partition, value, Some(id), end));
        all.push(Sending {
            topic: PRIMARY,
            value: Bytes::from(primary),
            key: Some(JoinKey::from(key)),
            end: None,
            ..all[0].clone()
        });
    }
    // What is sent again after it was forgotten would be another event.
    if !plan.is_forgetful {
        let before = workload(plan).into_iter();
        all.extend(
            before
                .filter(|sending| sending.id.is_some())
                .take(SENT_AGAIN),
        );
    }
    all
}

fn event(plan: &Plan, number: u32, random: &mut ChaCha8Rng, all: &mut Vec<Sending>) {
    let at_ms = random.random_range(0..plan.sending_ms);
    let mut send = |at_ms, topic, value: String, id: Option<&str>, end| {
        all.push(Sending {
            at_ms,
            topic,
            partition: random.random_range(0..plan.partitions),
            value: Bytes::from(value),
            id: id.map(EventId::from),
            key: (topic == PRIMARY).then(|| JoinKey::from(format!("key-{number}"))),
            end,
        });
    };
    let dice = splitmix(plan.seed, number);
    let (kind, late, again) = (dice % 100, (dice >> 8) % LATE_MS, (dice >> 40) % 100);
    if kind < 3 {
        let value = format!(r#"{{"id":"broken-{number}","key""#);
        return send(at_ms, FOREIGN, value, None, Some(End::Malformed));
    }
    let (id, key) = (format!("event-{number}"), format!("key-{number}"));
    let value = format!(r#"{{"id":"{id}","key":"{key}","n": {number}.0}}"#);
    let primary = format!(r#"{{"id":"primary-{number}","key":"{key}","fare":{number}}}"#);
    let end = match kind {
        3..8 => End::Unjoinable,
        _ => End::Joined(Bytes::from(primary.clone())),
    };
    if kind >= 20 {
        send(at_ms.saturating_sub(late), PRIMARY, primary, None, None);
    } else if kind >= 8 {
        send(at_ms + late, PRIMARY, primary, None, None);
    }
    // What is sent again after it was forgotten would be another event.
    if again < 5 && !plan.is_forgetful {
        let at_ms = at_ms + (dice >> 16) % 2_000;
        send(at_ms, FOREIGN, value.clone(), Some(&id), Some(end.clone()));
    }
    send(at_ms, FOREIGN, value, Some(&id), Some(end));
}

fn splitmix(seed: u64, number: u32) -> u64 {
    let mut z = seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The record as Kafka keeps it.
pub fn original(value: &Bytes) -> Original {
    Original {
        key: None,
        value: Some(value.clone()),
        headers: Vec::new(),
    }
}
