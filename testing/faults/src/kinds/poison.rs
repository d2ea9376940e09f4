//! Poison: records that nobody of us wrote, in every topic.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rtf_kafka::{Cluster, Settings};
use rtf_proto::naming;
use rtf_synth::CLICKS;
use rtf_testing::{Fate, POISON_KEY, wait_until};

use crate::kind::{Begun, Kind, Need, Wanted};
use crate::stage::Stage;

/// Records in each topic at once.
const RECORDS: u32 = 50;
const LENGTH_MAX: usize = 2_000;
const NAMED_WITHIN: Duration = Duration::from_secs(60);
const FLUSH_WITHIN: Duration = Duration::from_secs(150);

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "poison.inputs",
        does: "50 records of garbage in each of the foreign and the primary topic",
        heals: "needs no healing: those of the foreign topic end as malformed",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: Wanted::Slowest(Duration::from_secs(2)),
        begin: poison_inputs,
    },
    Kind {
        name: "poison.ours",
        does: "50 records of garbage in each of the join log, the retry topics and the dead letters",
        heals: "needs no healing: they are passed over",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: Wanted::Slowest(Duration::from_secs(2)),
        begin: poison_ours,
    },
];

/// Garbage that is no event of anybody: it does not even begin like JSON.
fn garbage(stage: &mut Stage) -> Vec<u8> {
    let length = stage.rng.random_range(1..LENGTH_MAX);
    let mut bytes = vec![0; length];
    stage.rng.fill(&mut bytes[..]);
    bytes[0] = b'}';
    bytes
}

fn poison_inputs(stage: &mut Stage) -> Result<Begun> {
    for _ in 0..RECORDS {
        let value = garbage(stage);
        for topic in [CLICKS.foreign.topic, CLICKS.primary.topic] {
            stage.sender.send(topic, None, None, Some(&value))?;
        }
        stage.expected.push(Fate::Malformed { value: Some(value) });
    }
    stage.sender.flush(FLUSH_WITHIN)?;
    Begun::and_over("clicks and queries")
}

/// Each topic that we write, and its partitions.
fn our_topics(settings: &Settings) -> Result<Vec<(String, u32)>> {
    let cluster = Cluster::connect(settings)?;
    let mut topics = cluster.topics(&format!("{}.retry.", CLICKS.name))?;
    topics.push(naming::log_topic(CLICKS.name));
    topics.push(naming::dead_letter_topic(CLICKS.name));
    let with_partitions = |topic: String| {
        let info = cluster.topic(&topic)?;
        let info = info.with_context(|| format!("there is no {topic}"))?;
        Ok((topic, info.partitions))
    };
    topics.into_iter().map(with_partitions).collect()
}

fn poison_ours(stage: &mut Stage) -> Result<Begun> {
    // A broker may be away for another reason.
    let topics = wait_until("Kafka names our topics", NAMED_WITHIN, || {
        our_topics(stage.checker.settings()).ok()
    })?;
    for (topic, partitions) in &topics {
        for number in 0..RECORDS {
            let value = garbage(stage);
            let partition = Some(number % partitions);
            stage
                .sender
                .send(topic, partition, Some(POISON_KEY), Some(&value))?;
        }
    }
    stage.sender.flush(FLUSH_WITHIN)?;
    let names: Vec<_> = topics.into_iter().map(|(topic, _)| topic).collect();
    Begun::and_over(names.join(", "))
}
