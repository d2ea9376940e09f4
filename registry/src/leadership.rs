//! After an election: is the log still the one that was applied?
//!
//! librdkafka skips its own check for plain offsets (RULE 9), so the last applied record is read again and compared.

use crate::error::RegistryFailure;
use crate::handle::Shared;
use rtf_kafka::{Isolation, KafkaError, Polled, Start, Tail};
use rtf_proto::{Offset, PartitionId};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);
/// A leader that was just elected answers within this, or it is asked through a new client.
const WITHIN: Duration = Duration::from_secs(10);
const TRIES: u32 = 6;

/// Compares the record at the last applied offset with what was applied. Blocking.
///
/// # Errors
/// It is another one, or gone; or nobody answers.
pub fn check(
    shared: &Shared,
    partition: PartitionId,
    (offset, hash): (Offset, u32),
) -> Result<(), RegistryFailure> {
    tracing::info!(
        partition,
        offset,
        "the log has a new leader: checking that it is the same log"
    );
    let differs = |words: &str| Err(shared.truncated(partition, offset, words));
    for _ in 0..TRIES {
        match read(shared, partition, offset)? {
            Read::Hash(found) if found == hash => return Ok(()),
            Read::Hash(_) => {
                return differs("another record stands where the last applied one stood");
            }
            Read::Gone => return differs("the last applied record is gone"),
            Read::Nothing => {}
        }
    }
    Err(RegistryFailure::Stalled {
        topic: shared.topic.clone(),
        partition,
        applied: offset + 1,
        end: offset + 1,
        stalled: WITHIN * TRIES,
    })
}

enum Read {
    Hash(u32),
    Gone,
    Nothing,
}

fn read(shared: &Shared, partition: PartitionId, offset: Offset) -> Result<Read, RegistryFailure> {
    let from = [(partition, Start::Offset(offset))];
    let tail = Tail::open(
        &shared.settings,
        &shared.topic,
        &from,
        Isolation::ReadUncommitted,
    )?;
    let deadline = Instant::now() + WITHIN;
    let mut ended = false;
    while Instant::now() < deadline {
        match tail.poll(POLL) {
            Polled::Record(record) if record.offset() == offset => {
                return Ok(Read::Hash(crc32fast::hash(
                    record.value().unwrap_or_default(),
                )));
            }
            Polled::Record(_) | Polled::Failed(KafkaError::OutOfRange { .. }) => {
                return Ok(Read::Gone);
            }
            Polled::Failed(error) => return Err(error.into()),
            // A leader that was just elected may not know yet how much of its log is committed (KIP-207).
            Polled::EndOfPartition(_) => ended = true,
            Polled::Idle => {}
        }
    }
    Ok(if ended { Read::Gone } else { Read::Nothing })
}
