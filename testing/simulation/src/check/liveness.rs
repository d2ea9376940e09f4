//! When the faults are healed, the backlog drains within a bound.

use crate::check::rows;
use crate::plan::Fault;
use crate::retries;
use crate::workload::FOREIGN;
use crate::world::{GROUPS, World};
use rtf_kafka::simulated::SimulatedKafka;

/// The promise.
pub const INVARIANT: &str = "after the faults the backlog drains within its bound";

/// Events that are not resolved. What was sent and what has won are looked at one by one only in the end: nobody wins who was not sent, so the numbers say it.
pub fn open(world: &World) -> usize {
    let (sent, ledger) = (world.sent.borrow(), world.ledger.borrow());
    sent.events.len().saturating_sub(ledger.winners.len())
}

/// What is left to be done, if anything.
pub fn left(world: &World) -> Option<String> {
    let (sent, ledger) = (world.sent.borrow(), world.ledger.borrow());
    let open = open(world);
    if open > 0 {
        let is_open = |id: &&_| !ledger.winners.contains_key(id);
        let first = sent.events.keys().find(is_open);
        return Some(format!("{open} events are not resolved, like {first:?}"));
    }
    let wanted = world.wanted_partitions();
    if let Some(partitions) = wanted.filter(|count| !ledger.is_split(*count)) {
        return Some(format!("the log has not come to {partitions} partitions"));
    }
    if !rows::is_complete(&ledger, &world.redis.borrow()) {
        return Some("rows are missing in Redis".into());
    }
    let sites = 0..world.plan.sites;
    let retries = sites.clone().flat_map(retries::tiers);
    let retries = retries.map(|tier| (tier.group, tier.topic));
    let foreign = sites.map(|site| (GROUPS[site as usize].to_owned(), FOREIGN.to_owned()));
    let mut read = foreign.chain(retries);
    read.find_map(|(group, topic)| uncommitted(world, &group, &topic))
}

fn uncommitted(world: &World, group: &str, topic: &str) -> Option<String> {
    // Retry topics are made when something is parked in them.
    world.kafka.topic(topic)?;
    let committed = world.kafka.committed(group);
    // Who has had nothing to read since he got a partition commits nothing, also when Kafka lost its position: the next one begins at the start, and finds
    // all resolved.
    let may_be_lost = world.plan.has(Fault::LostPositions);
    world.kafka.with_topic(topic, |topic| {
        let mut partitions = (0..).zip(&topic.partitions);
        let behind = partitions.find(|(number, partition)| match committed.get(number) {
            None => partition.end > 0 && !may_be_lost,
            Some(position) => *position < partition.end,
        });
        behind.map(|(number, partition)| {
            let committed = committed.get(&number);
            format!(
                "partition {number} ends at {}, and {committed:?} is committed by {group}",
                partition.end
            )
        })
    })
}
