//! What is asked and told now and then, beside the tail: lag, sizes, whether the topic is still the same.

use crate::JoinerFailure;
use crate::handle::Shared;
use rtf_kafka::{Cluster, Settings, TopicInfo};
use rtf_proto::PartitionId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often lag and sizes are told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How often the topic is described anew.
const DESCRIBE_EVERY: Duration = Duration::from_secs(10);
/// A sleeping thread looks this often whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Keeps house for whatever is `held`, until the joiner stops; `described` hears how many partitions the topic has.
///
/// # Errors
/// The topic is not the one that was read.
pub(crate) fn keep(
    topic: &str,
    settings: &Settings,
    known: TopicInfo,
    stop: &CancellationToken,
    held: impl Fn() -> Vec<Arc<Shared>>,
    described: impl Fn(u32),
) -> Result<(), JoinerFailure> {
    let cluster = Cluster::connect(settings)?;
    let mut asked = Instant::now();
    while !stop.is_cancelled() {
        let held = held();
        tell_sizes(&held);
        held.iter()
            .for_each(|shared| tell_lag(topic, shared, &cluster));
        if asked.elapsed() >= DESCRIBE_EVERY {
            asked = Instant::now();
            match cluster.topic(topic) {
                Ok(Some(now)) if now.id == known.id => described(now.partitions),
                Ok(_) => {
                    return Err(JoinerFailure::TopicRemade {
                        topic: topic.into(),
                    });
                }
                Err(error) => {
                    tracing::debug!(topic, %error, "the primary topic could not be described");
                }
            }
        }
        let next = Instant::now() + TELL_EVERY;
        while !stop.is_cancelled() && Instant::now() < next {
            std::thread::sleep(STOP_POLL);
        }
    }
    Ok(())
}

fn tell_sizes(held: &[Arc<Shared>]) {
    let mut sizes = [
        ("rtf_joiner_events", 0),
        ("rtf_joiner_bytes", 0),
        ("rtf_joiner_disk_bytes", 0),
        ("rtf_joiner_disk_events", 0),
        ("rtf_joiner_segments", 0),
        ("rtf_joiner_wanted", 0),
    ];
    for shared in held {
        let state = shared.state.read();
        let store = &state.store;
        let own = [
            store.len(),
            store.bytes() as u64,
            store.disk_bytes(),
            store.disk_events(),
            store.segments().len() as u64,
            state.wanted.len() as u64,
        ];
        sizes
            .iter_mut()
            .zip(own)
            .for_each(|((_, sum), own)| *sum += own);
    }
    for (name, size) in sizes {
        metrics::gauge!(name).set(size as f64);
    }
}

/// Offsets between the position and the end; a transaction's marker at the end counts as one.
fn tell_lag(topic: &str, shared: &Shared, cluster: &Cluster) {
    let positions = shared.positions.lock().clone();
    let mut floors = vec![0; positions.len()];
    for (at, next) in positions.into_iter().enumerate() {
        let partition = at as PartitionId;
        if !shared.reads(partition) {
            continue;
        }
        // A Kafka that is away is told of by the tail.
        let Ok((first, end)) = cluster.offsets(topic, partition) else {
            return;
        };
        floors[at] = first;
        if shared.stop.is_cancelled() {
            return;
        }
        let labels = [
            ("topic", topic.to_owned()),
            ("partition", partition.to_string()),
        ];
        metrics::gauge!("rtf_consumer_lag_records", &labels).set(end.saturating_sub(next) as f64);
    }
    *shared.floors.lock() = floors;
}
