//! Appends whose record has not come back yet, by sequence, and the batches that wait for them. Knows no Kafka.

use parking_lot::Mutex;
use rtf_proto::control::Control;
use rtf_proto::{PartitionId, Registration, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A `Register` call that waits for all its verdicts.
pub struct Batch(Mutex<Verdicts>);

struct Verdicts {
    given: Vec<Option<Verdict>>,
    missing: usize,
    waiter: Option<oneshot::Sender<Vec<Verdict>>>,
}

impl Batch {
    /// A batch of `size` questions, and where its answers will come.
    pub fn new(size: usize) -> (Arc<Self>, oneshot::Receiver<Vec<Verdict>>) {
        let (waiter, answers) = oneshot::channel();
        let verdicts = Verdicts {
            given: vec![None; size],
            missing: size,
            waiter: Some(waiter),
        };
        (Arc::new(Self(Mutex::new(verdicts))), answers)
    }

    /// Answers one question; a second answer to the same is ignored. The last answer wakes the caller.
    pub fn give(&self, index: usize, verdict: Verdict) {
        let mut verdicts = self.0.lock();
        if verdicts.given[index].is_some() {
            return;
        }
        verdicts.given[index] = Some(verdict);
        verdicts.missing -= 1;
        if verdicts.missing == 0
            && let Some(waiter) = verdicts.waiter.take()
        {
            let all = verdicts
                .given
                .iter()
                .map(|verdict| verdict.expect("none is missing"))
                .collect();
            // A caller that went away does not need its answers.
            let _ = waiter.send(all);
        }
    }

    /// Whether nobody waits any more.
    pub fn is_abandoned(&self) -> bool {
        self.0
            .lock()
            .waiter
            .as_ref()
            .is_none_or(oneshot::Sender::is_closed)
    }
}

/// What was appended.
pub enum Slot {
    /// A registration: question `index` of `batch`.
    Event {
        /// Kept so that it can be appended again, with the same token.
        item: Registration,
        /// Who waits.
        batch: Arc<Batch>,
        /// Which question.
        index: usize,
    },
    /// This partition's barrier.
    Barrier(PartitionId),
    /// Something about the log itself; nobody waits for it.
    Control(PartitionId, Control),
}

/// Slots by sequence. Sequences only grow, so this is a queue with holes.
#[derive(Default)]
pub struct Pending {
    first: u64,
    slots: VecDeque<Option<Slot>>,
}

impl Pending {
    /// Keeps a slot and names its sequence.
    pub fn add(&mut self, slot: Slot) -> u64 {
        self.slots.push_back(Some(slot));
        self.first + self.slots.len() as u64 - 1
    }

    /// Looks at a slot.
    pub fn peek(&self, sequence: u64) -> Option<&Slot> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.slots.get(at)?.as_ref()
    }

    /// Takes a slot out, once.
    pub fn take(&mut self, sequence: u64) -> Option<Slot> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let slot = self.slots.get_mut(at)?.take();
        while self.slots.front().is_some_and(Option::is_none) {
            self.slots.pop_front();
            self.first += 1;
        }
        slot
    }

    /// Slots that are taken, those in between included.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many registrations there are.
    pub fn events(&self) -> usize {
        let slots = self.slots.iter().flatten();
        slots
            .filter(|slot| matches!(slot, Slot::Event { .. }))
            .count()
    }

    /// Takes all of them.
    pub fn drain(&mut self) -> Vec<Slot> {
        self.first += self.slots.len() as u64;
        self.slots.drain(..).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn a_slot_comes_out_once_under_its_own_sequence(ops in prop::collection::vec(any::<Option<prop::sample::Index>>(), 0..200)) {
            let (mut pending, mut model, mut issued) = (Pending::default(), HashMap::new(), Vec::new());
            for (n, op) in ops.into_iter().enumerate() {
                match op {
                    Some(which) if !issued.is_empty() => {
                        let sequence = *which.get(&issued);
                        let found = match pending.take(sequence) { Some(Slot::Barrier(p)) => Some(p), _ => None };
                        prop_assert_eq!(found, model.remove(&sequence));
                    }
                    _ => {
                        let sequence = pending.add(Slot::Barrier(n as u32));
                        prop_assert!(model.insert(sequence, n as u32).is_none());
                        issued.push(sequence);
                    }
                }
            }
            prop_assert_eq!(pending.drain().len(), model.len());
        }
    }

    #[tokio::test]
    async fn a_batch_answers_when_its_last_verdict_is_given() {
        let (batch, mut answers) = Batch::new(2);
        batch.give(1, Verdict::TooOld);
        batch.give(1, Verdict::TooLarge);
        assert!(answers.try_recv().is_err());
        batch.give(0, Verdict::Registered(4));
        assert_eq!(
            answers.await.unwrap(),
            [Verdict::Registered(4), Verdict::TooOld]
        );
        assert!(batch.is_abandoned());
    }
}
