//! How far the foreign topic reaches, for people and metrics, and whether it is still the same: asked now and then, on a thread of its own.

use crate::engine::Shared;
use rtf_kafka::{Cluster, Settings};
use rtf_proto::TopicId;
use rtf_service::mutant;
#[cfg(feature = "simulation")]
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(100);

/// Asks until halted. A partition whose end is not told keeps the old one.
pub(crate) fn watch(
    shared: &Weak<Shared>,
    settings: &Settings,
    topic: &str,
    halt: &CancellationToken,
) {
    let Ok(cluster) = Cluster::connect(settings) else {
        return;
    };
    let mut known = None;
    while let Some(shared) = shared.upgrade() {
        compare(&shared, &cluster, topic, &mut known);
        ask(&shared, &cluster, topic, halt);
        drop(shared);
        if !nap(halt) {
            return;
        }
    }
}

/// As [`watch`], as a task, and for the topic alone.
#[cfg(feature = "simulation")]
pub(crate) async fn watch_simulated(shared: &Shared, cluster: &Cluster) -> Infallible {
    let mut known = None;
    loop {
        compare(shared, cluster, &shared.topic, &mut known);
        tokio::time::sleep(EVERY).await;
    }
}

/// Tells of a change only: the reader asks too, and may know of a newer topic than was asked for here.
fn compare(shared: &Shared, cluster: &Cluster, topic: &str, known: &mut Option<TopicId>) {
    let Ok(Some(info)) = cluster.topic(topic) else {
        return;
    };
    let is_other = known.replace(info.id).is_some_and(|known| known != info.id);
    if is_other && !mutant::is("topic-known-by-name") {
        shared.outside.lock().made_anew = Some(info.id);
    }
}

fn ask(shared: &Arc<Shared>, cluster: &Cluster, topic: &str, halt: &CancellationToken) {
    let assigned = shared.core().assignment();
    shared
        .outside
        .lock()
        .ends
        .retain(|partition, _| assigned.contains(partition));
    for partition in assigned {
        if halt.is_cancelled() {
            return;
        }
        if let Ok((_, end)) = cluster.offsets(topic, partition) {
            shared.outside.lock().ends.insert(partition, end);
        }
    }
}

fn nap(halt: &CancellationToken) -> bool {
    let naps = EVERY.as_millis() / NAP.as_millis();
    for _ in 0..naps {
        if halt.is_cancelled() {
            return false;
        }
        std::thread::sleep(NAP);
    }
    true
}
