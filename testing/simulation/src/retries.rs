//! The retry topics: which there are, and where copies of parked events stand in them. Knows their headers' names and nothing else of how events are parked.

use rtf_dispatcher::{Parking, Tier};
use rtf_kafka::simulated::SimulatedRecord;
use rtf_proto::{EventId, Offset, PartitionId, header};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// After so long an event is parked.
const AFTER: Duration = Duration::from_millis(1_200);
/// How long they keep an event.
const DELAYS_S: [u64; 2] = [3, 8];
/// How long they keep what nobody reads: longer than any simulation takes.
const RETENTION: Duration = Duration::from_secs(3600);

/// How the dispatchers of a site park.
pub fn parking(site: u32) -> Parking {
    Parking {
        tiers: tiers(site).collect(),
        after: AFTER,
        replication: None,
        retention: RETENTION,
    }
}

/// The retry topics of a site, which are its own.
pub fn tiers(site: u32) -> impl Iterator<Item = Tier> {
    DELAYS_S.into_iter().map(move |seconds| {
        let topic = format!("simulated.retry.{seconds}s.{site}");
        Tier {
            group: format!("{topic}.dispatchers"),
            topic,
            delay: Duration::from_secs(seconds),
        }
    })
}

/// A partition of a retry topic.
type Place = (String, PartitionId);

/// What is parked where.
#[derive(Default, Debug)]
pub struct Retries {
    /// Where copies of an event stand.
    copies: BTreeMap<EventId, BTreeSet<(Place, Offset)>>,
    /// What stands where.
    records: BTreeMap<Place, BTreeMap<Offset, EventId>>,
    /// How far each was ever committed.
    committed: BTreeMap<Place, Offset>,
}

impl Retries {
    /// A record has arrived. False when it is no parked event.
    pub fn arrived(&mut self, topic: &str, record: &SimulatedRecord) -> bool {
        let headers = record.original.headers.iter();
        let mut ids = headers.filter(|(name, _)| name == header::ID);
        let Some((_, Some(id))) = ids.next_back() else {
            return false;
        };
        let (id, place) = (EventId::new(id.clone()), (topic.into(), record.partition));
        let records = self.records.entry(place.clone()).or_default();
        records.insert(record.offset, id.clone());
        let copies = self.copies.entry(id).or_default();
        copies.insert((place, record.offset));
        true
    }

    /// Whether an event will be read again here.
    pub fn holds(&self, id: &EventId) -> bool {
        let is_ahead = |(place, offset): &(Place, Offset)| {
            let committed = self.committed.get(place).copied();
            *offset >= committed.unwrap_or_default()
        };
        let copies = self.copies.get(id);
        copies.is_some_and(|copies| copies.iter().any(is_ahead))
    }

    /// A position is committed: the events that it is the first one to pass.
    pub fn passed(
        &mut self,
        topic: &str,
        partition: PartitionId,
        position: Offset,
    ) -> Vec<EventId> {
        let place = (topic.to_owned(), partition);
        let committed = self.committed.entry(place.clone()).or_default();
        let from = *committed;
        *committed = from.max(position);
        let records = self.records.get(&place).into_iter();
        let passed = records.flat_map(|records| records.range(from..from.max(position)));
        passed.map(|(_, id)| id.clone()).collect()
    }
}
