//! After an election: is the log still the one that was applied?
//!
//! librdkafka skips its own check for plain offsets (RULE 9), so the last applied record is read again and compared.

use crate::error::RegistryFailure;
use crate::fnv::fnv1a;
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

/// What a record is known by. No CRC: a barrier ends in its own, and the CRC of that is the same for all of them.
pub fn hash_of(value: &[u8]) -> u32 {
    let hash = fnv1a(value);
    (hash ^ (hash >> 32)) as u32
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
                return Ok(Read::Hash(hash_of(record.value().unwrap_or_default())));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Lanes;
    use crate::testing;
    use rtf_kafka::{Embedded, Sender};
    use std::sync::Arc;

    #[test]
    fn a_log_without_the_last_applied_record_is_another_one() {
        let broker = Embedded::start().unwrap();
        broker.create_topic("t", 1).unwrap();
        let sender = Sender::open(&broker.settings()).unwrap();
        for value in [b"0", b"1"] {
            sender.send("t", Some(0), None, Some(value)).unwrap();
        }
        sender.flush(Duration::from_secs(10)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut shared = testing::shared(folder.path(), &Arc::new(Lanes::new(1, None)));
        shared.settings = broker.settings();
        check(&shared, 0, (1, hash_of(b"1"))).unwrap();
        for (offset, value) in [(1, b"0"), (2, b"2"), (9, b"9")] {
            let other = check(&shared, 0, (offset, hash_of(value))).unwrap_err();
            assert!(
                matches!(other, RegistryFailure::Truncated { .. }),
                "{offset}: {other}"
            );
        }
    }
}
