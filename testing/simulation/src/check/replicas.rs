//! All replicas of the registry decided alike, and as the log says.

use crate::ledger::{Entry, Ledger};
use rtf_proto::{EventId, Known, LookupItem, Registry, RegistryStatus, Source, TopicId};
use rtf_registry::RegistryHandle;
use std::collections::BTreeMap;

/// The promise.
pub const INVARIANT: &str = "all replicas agree with the log";

/// Ids asked for at once.
const ASKED: usize = 512;

/// Whether digests of equal offsets are equal.
pub fn check_digests(all: &[RegistryStatus]) -> Result<(), String> {
    let mut digests = BTreeMap::new();
    for partition in all.iter().flat_map(|status| &status.served) {
        let (offset, sum) = partition.digest;
        let known = *digests.entry((partition.partition, offset)).or_insert(sum);
        if known != sum {
            let id = partition.partition;
            return Err(format!(
                "two digests of partition {id} at {offset}: {known}, {sum}"
            ));
        }
    }
    Ok(())
}

/// Whether replicas that have applied as much are equally old, and hold as much of each time.
pub fn check_ages(all: &[RegistryStatus]) -> Result<(), String> {
    let mut ages = BTreeMap::new();
    for partition in all.iter().flat_map(|status| &status.served) {
        let buckets = partition.buckets.iter();
        let buckets: Vec<_> = buckets
            .map(|bucket| (bucket.begin_ms, bucket.ids))
            .collect();
        let age = (partition.time_ms, buckets);
        let at = (partition.partition, partition.applied);
        let known = ages.entry(at).or_insert_with(|| age.clone());
        if *known != age {
            return Err(format!("at {at:?} one is {known:?}, another {age:?}"));
        }
    }
    Ok(())
}

/// Whether a replica knows all winners; one that forgets may have forgotten them.
pub async fn check_winners(
    replica: &RegistryHandle,
    winners: &[(EventId, Entry)],
    may_forget: bool,
) -> Result<(), String> {
    // A place that no floor is above.
    let source = Source {
        topic: "nowhere".into(),
        topic_id: TopicId([0xEE; 16]),
        partition: 0,
        offset: 0,
    };
    for some in winners.chunks(ASKED) {
        let ask = |(id, _): &(EventId, Entry)| LookupItem {
            id: id.clone(),
            source: source.clone(),
        };
        let known = replica.lookup(some.iter().map(ask).collect()).await;
        let known = known.map_err(|error| error.to_string())?;
        for ((id, entry), known) in some.iter().zip(known) {
            let found = known.and_then(Known::resolved);
            let is_right = match found {
                Some(found) => (found.partition, found.offset) == entry.place,
                None => may_forget,
            };
            if !is_right {
                return Err(format!("{id} is {found:?}, and won at {:?}", entry.place));
            }
        }
    }
    Ok(())
}

/// The winners, to be looked up.
pub fn winners(ledger: &Ledger) -> Vec<(EventId, Entry)> {
    let winners = ledger.winners.iter();
    winners
        .map(|(id, entry)| (id.clone(), entry.clone()))
        .collect()
}
