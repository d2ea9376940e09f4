//! What is asked and told now and then, beside the tail: lag, sizes, whether the topic is still the same.

use crate::handle::Shared;
use crate::{JoinerFailure, Options};
use rtf_kafka::{Cluster, Settings, TopicInfo};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often lag and sizes are told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How often the topic is described anew.
const DESCRIBE_EVERY: Duration = Duration::from_secs(30);
/// A sleeping thread looks this often whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Keeps house until the joiner stops.
///
/// # Errors
/// The topic is not the one that was read.
pub(crate) fn keep(
    options: &Options,
    settings: &Settings,
    shared: &Shared,
    info: TopicInfo,
) -> Result<(), JoinerFailure> {
    let cluster = Cluster::connect(settings)?;
    let mut described = Instant::now();
    while !shared.stop.is_cancelled() {
        tell_sizes(shared);
        tell_lag(&options.topic, shared, &cluster);
        if described.elapsed() >= DESCRIBE_EVERY {
            described = Instant::now();
            describe(&options.topic, shared, &cluster, info)?;
        }
        let next = Instant::now() + TELL_EVERY;
        while !shared.stop.is_cancelled() && Instant::now() < next {
            std::thread::sleep(STOP_POLL);
        }
    }
    Ok(())
}

fn tell_sizes(shared: &Shared) {
    let state = shared.state.read();
    metrics::gauge!("rtf_joiner_events").set(state.store.len() as f64);
    metrics::gauge!("rtf_joiner_bytes").set(state.store.bytes() as f64);
    metrics::gauge!("rtf_joiner_disk_bytes").set(state.store.disk_bytes() as f64);
    metrics::gauge!("rtf_joiner_disk_events").set(state.store.disk_events() as f64);
    metrics::gauge!("rtf_joiner_segments").set(state.store.segments().len() as f64);
    metrics::gauge!("rtf_joiner_wanted").set(state.wanted.len() as f64);
}

/// Offsets between the position and the end; a transaction's marker at the end counts as one.
fn tell_lag(topic: &str, shared: &Shared, cluster: &Cluster) {
    let positions = shared.positions.lock().clone();
    let mut floors = Vec::with_capacity(positions.len());
    for (partition, next) in (0..).zip(positions) {
        // A Kafka that is away is told of by the tail.
        let Ok((first, end)) = cluster.offsets(topic, partition) else {
            return;
        };
        floors.push(first);
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

fn describe(
    topic: &str,
    shared: &Shared,
    cluster: &Cluster,
    known: TopicInfo,
) -> Result<(), JoinerFailure> {
    match cluster.topic(topic) {
        Ok(Some(now)) if now.id == known.id => {
            shared
                .partitions
                .fetch_max(now.partitions, Ordering::Relaxed);
            Ok(())
        }
        Ok(_) => Err(JoinerFailure::TopicRemade {
            topic: topic.into(),
        }),
        Err(error) => {
            tracing::debug!(topic, %error, "the primary topic could not be described");
            Ok(())
        }
    }
}
