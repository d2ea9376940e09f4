//! The loop that reads the join log and has it applied, on a thread of its own (RULE 13).

use crate::applier::{Applier, LogRecord};
use crate::error::RegistryFailure;
use crate::handle::Shared;
use crate::lanes::Lane;
use crate::store::{State, Store};
use rtf_kafka::{Cluster, Isolation, KafkaError, Polled, Record, Start, Tail};
use rtf_proto::{Offset, PartitionId};
use rtf_service::mutant;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Records applied before what they changed is handed on.
const CYCLE_RECORDS: usize = 1024;
/// Nothing to read: look again after this.
const POLL: Duration = Duration::from_millis(20);
const QUESTION: Duration = Duration::from_secs(10);
/// A broker that is well says within this which partitions there are; meanwhile nothing is applied.
/// A topic that is not known is asked for so often.
const TRIES: u32 = 5;
const TRY_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Partitions that the broker does not have yet are looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The reading half of a replica.
pub struct Tailer {
    shared: Arc<Shared>,
    store: Arc<Store>,
    tail: Tail,
    applier: Applier,
    /// The latest leader each partition was read from.
    leaders: HashMap<PartitionId, i32>,
    /// Partitions that began while it ran, and are not read yet: the broker may not have heard of them.
    unread: Vec<PartitionId>,
    look_again: Instant,
}

impl Tailer {
    /// Opens the tail where the store says that it was left, after checking that the log still has that place. Blocking.
    ///
    /// # Errors
    /// A log that forgot what was applied, or no answer.
    pub fn open(
        shared: Arc<Shared>,
        store: Arc<Store>,
        states: Vec<(Arc<Lane>, State)>,
    ) -> Result<Self, RegistryFailure> {
        let tail = Tail::open(
            &shared.settings,
            &shared.topic,
            &[],
            Isolation::ReadUncommitted,
        )?;
        let mut applier = Applier::new(shared.clone(), store.clone());
        let mut positions = Vec::with_capacity(states.len());
        for (lane, state) in states {
            let partition = lane.partition;
            let (first, end) = tail.offsets(partition, QUESTION)?;
            let (start, anchor) = entry_point(&shared, partition, &state, first, end)?;
            positions.push((partition, start));
            // The embedded broker forgets silently, and is for trying out.
            let begins_late = state.next == 0 && first > 0 && !shared.settings.embedded;
            applier.resume(lane, &state, anchor, begins_late.then_some(first));
        }
        tail.assign(&positions)?;
        Ok(Self {
            shared,
            store,
            tail,
            applier,
            leaders: HashMap::new(),
            unread: Vec::new(),
            look_again: Instant::now(),
        })
    }

    /// Applies the log until told to stop; what was applied is then on disk.
    ///
    /// # Errors
    /// A log or a database that cannot be gone on with.
    pub fn run(mut self, stop: &CancellationToken) -> Result<(), RegistryFailure> {
        while !stop.is_cancelled() {
            self.turn()?;
        }
        self.end()
    }

    /// Applies what there is, and hands it on.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn turn(&mut self) -> Result<(), RegistryFailure> {
        self.cycle()?;
        self.applier.hand_on();
        self.applier.commit_in_time()?;
        self.read_new();
        Ok(())
    }

    /// Gets what was applied to the disk.
    ///
    /// # Errors
    /// The disk could not.
    pub fn end(&mut self) -> Result<(), RegistryFailure> {
        self.applier.commit()?;
        self.store.sync().map_err(|e| self.shared.data_failed(&e))
    }

    fn cycle(&mut self) -> Result<(), RegistryFailure> {
        let mut wait = POLL;
        for _ in 0..CYCLE_RECORDS {
            match self.tail.poll(wait) {
                Polled::Record(record) => {
                    let (partition, leader) = (record.partition(), record.leader_epoch());
                    let last = match is_new(&mut self.leaders, partition, leader) {
                        true => self.applier.compare_again(partition),
                        false => None,
                    };
                    match last {
                        // Behind a new leader the log may be another one. It is read again from what was applied last, while the other partitions are
                        // read on.
                        Some(offset) => {
                            tracing::info!(
                                partition,
                                offset,
                                "the log has a new leader: what was applied last is read again and compared"
                            );
                            self.tail.seek(partition, offset)?;
                        }
                        None => self.applier.apply(&read(&record))?,
                    }
                }
                Polled::EndOfPartition(_) => {}
                Polled::Idle => break,
                Polled::Failed(error @ KafkaError::Unknown { .. }) => self.doubt(error)?,
                Polled::Failed(error) => return Err(error.into()),
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Reads partitions that began while it ran, as soon as the broker has them. Asking may wait for a fetch that waits for records, so it is done
    /// once for all of them.
    fn read_new(&mut self) {
        self.unread.extend(self.applier.take_begun());
        if self.unread.is_empty() || Instant::now() < self.look_again {
            return;
        }
        self.look_again = Instant::now() + LOOK_AGAIN;
        let positions: Vec<_> = self.unread.iter().map(|p| (*p, Start::Beginning)).collect();
        match self.begin_reading(&positions) {
            Ok(true) => self.unread.clear(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "new partitions of the log cannot be read yet"),
        }
    }
}

impl Tailer {
    /// False when the broker does not know all of them yet. One whose log lost its beginning already must be told what stood there.
    fn begin_reading(&mut self, positions: &[(PartitionId, Start)]) -> Result<bool, KafkaError> {
        if !self.tail.add(positions, ANSWER_WITHIN)? {
            return Ok(false);
        }
        for (partition, _) in positions {
            let (first, _) = self.tail.offsets(*partition, ANSWER_WITHIN)?;
            if first > 0 && !self.shared.settings.embedded {
                self.applier.begins_late(*partition, first);
            }
        }
        Ok(true)
    }

    /// The broker that was asked last does not know the log's topic, or not all of its partitions. Another one may, and this one will; unless it
    /// is gone.
    fn doubt(&self, error: KafkaError) -> Result<(), RegistryFailure> {
        tracing::warn!(%error, "a broker does not know all of the join log's topic");
        let cluster = Cluster::connect(&self.shared.settings)?;
        let followed = self.shared.lanes.all();
        let most = followed.iter().map(|lane| lane.partition).max();
        for _ in 0..TRIES {
            let topic = cluster.topic(&self.shared.topic);
            let is_there = topic.is_ok_and(|topic| {
                topic.is_some_and(|topic| {
                    topic.id == self.shared.log && Some(topic.partitions) > most
                })
            });
            if is_there {
                return Ok(());
            }
            std::thread::sleep(TRY_EVERY);
        }
        Err(error.into())
    }
}

/// Whether a record is the first that a later leader appended than those before it. What is read again was appended by an earlier one.
fn is_new(
    leaders: &mut HashMap<PartitionId, i32>,
    partition: PartitionId,
    leader: Option<i32>,
) -> bool {
    let Some(leader) = leader else { return false };
    match leaders.entry(partition) {
        Entry::Vacant(first) => {
            first.insert(leader);
            false
        }
        Entry::Occupied(mut latest) => latest.insert(leader.max(*latest.get())) < leader,
    }
}

fn read<'a>(record: &'a Record<'_>) -> LogRecord<'a> {
    LogRecord {
        partition: record.partition(),
        offset: record.offset(),
        append_ms: record.timestamp_ms(),
        key: record.key(),
        value: record.value(),
    }
}

/// Where reading begins: at the anchor if the log still has it, so that it is compared.
fn entry_point(
    shared: &Shared,
    partition: PartitionId,
    state: &State,
    first: Offset,
    end: Offset,
) -> Result<(Start, Option<(Offset, u32)>), RegistryFailure> {
    let truncated = |words: String| shared.truncated(partition, state.next, words);
    if state.next == 0 {
        if mutant::is("reset-to-latest") {
            return Ok((Start::End, None));
        }
        return Ok((Start::Beginning, None));
    }
    if state.next > end {
        return Err(truncated(format!(
            "it ends at {end}, but was applied further"
        )));
    }
    if state.next < first {
        return Err(truncated(format!(
            "it begins at {first}, behind what was applied"
        )));
    }
    match state.anchor {
        Some(anchor) if anchor.0 >= first => Ok((Start::Offset(anchor.0), Some(anchor))),
        _ => Ok((Start::Offset(state.next), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Lanes;
    use crate::testing;

    #[test]
    fn each_leader_is_new_once_and_none_that_came_before_the_latest() {
        let mut leaders = HashMap::new();
        let mut is_new = |partition, leader| super::is_new(&mut leaders, partition, leader);
        assert!(
            !is_new(0, Some(5)),
            "the first was compared when the log was opened"
        );
        assert!(is_new(0, Some(7)));
        assert!(!is_new(0, Some(5)), "read again");
        assert!(!is_new(0, Some(7)));
        assert!(!is_new(0, None));
        assert!(!is_new(1, Some(9)));
        assert!(is_new(0, Some(8)));
    }

    #[test]
    fn only_what_the_log_has_lost_is_a_loss() {
        let folder = tempfile::tempdir().unwrap();
        let shared = testing::shared(folder.path(), &Arc::new(Lanes::new(1, None)));
        let anchor = Some((17, 3));
        let enter = |next, first, end| {
            let state = State {
                next,
                anchor: anchor.filter(|_| next > 0),
                ..State::default()
            };
            entry_point(&shared, 0, &state, first, end)
        };
        assert_eq!(enter(0, 5, 9).unwrap(), (Start::Beginning, None));
        assert_eq!(enter(20, 0, 40).unwrap(), (Start::Offset(17), anchor));
        assert_eq!(enter(20, 20, 20).unwrap(), (Start::Offset(20), None));
        for (first, end) in [(21, 40), (0, 19)] {
            let lost = enter(20, first, end).unwrap_err();
            assert!(matches!(lost, RegistryFailure::Truncated { .. }), "{lost}");
        }
    }
}
