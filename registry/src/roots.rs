//! How many partitions the log began with: for a replica that starts from nothing, the log itself says it.

use crate::error::RegistryFailure;
use crate::log_topic::LogTopic;
use rtf_kafka::{Isolation, Polled, Settings, Start, Tail, TopicInfo};
use rtf_proto::Offset;
use rtf_proto::record::decode;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(30);

/// The partitions to begin with, by the first record of ours in partition 0: it names the count that held. A log without any began with what there is.
/// Blocking.
///
/// # Errors
/// Kafka does not answer; or the log was never split, and has not as many partitions as it must.
pub fn ask(
    topic: &LogTopic,
    info: &TopicInfo,
    settings: &Settings,
) -> Result<u32, RegistryFailure> {
    // The embedded broker's topics are made beforehand, with room for a split; it is for trying out.
    if settings.embedded {
        return Ok(topic.partitions);
    }
    let (first, count) = first_count(topic, settings)?;
    let roots = count.unwrap_or(info.partitions);
    // Retention took the splits: the log may have begun with what is configured, and its checkpoints will tell.
    if first > 0 && roots.is_multiple_of(topic.partitions) {
        return Ok(topic.partitions);
    }
    // With more partitions than it began with it was split, or is being split: what holds is known when the log is applied.
    if roots >= info.partitions && roots != topic.partitions {
        return Err(topic.wrong_count(roots));
    }
    Ok(roots)
}

/// The first offset of partition 0, and the count that its first record of ours names.
fn first_count(
    topic: &LogTopic,
    settings: &Settings,
) -> Result<(Offset, Option<u32>), RegistryFailure> {
    let from = [(0, Start::Beginning)];
    let tail = Tail::open(settings, &topic.name, &from, Isolation::ReadUncommitted)?;
    let (first, end) = tail.offsets(0, WITHIN)?;
    if first == end {
        return Ok((first, None));
    }
    let deadline = Instant::now() + WITHIN;
    loop {
        match tail.poll(POLL) {
            Polled::Record(record) => {
                if let Ok(decoded) = decode(record.key(), record.value()) {
                    return Ok((first, Some(decoded.stamp.partitions)));
                }
            }
            Polled::EndOfPartition(_) => return Ok((first, None)),
            Polled::Failed(error) => return Err(error.into()),
            Polled::Idle if Instant::now() > deadline => {
                return Err(RegistryFailure::Stalled {
                    topic: topic.name.clone(),
                    partition: 0,
                    applied: first,
                    end,
                    stalled: WITHIN,
                });
            }
            Polled::Idle => {}
        }
    }
}
