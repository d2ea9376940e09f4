//! The dispatcher's decisions as one machine: events in, batches out. Pure: no clock, no I/O, no thread.
//!
//! It owns every record from the moment it was read to the moment it is done, in one of two places: *in flight*
//! with a batch, or *waiting* for a partner. What is held is bounded in number and bytes: the caller reads on only while
//! there is [`room`](Core::room), and nothing is ever dropped but what belongs to an epoch that is over, which somebody
//! else reads again.
//!
//! Two kinds of batches share the places for batches in flight: *fresh* ones, as they were read, and *retried* ones, of events that
//! waited. The retried go first, but may take only half of the places, so that neither starves the other.

use crate::inflight::{Inflight, WindowStatus};
use crate::retry::{Retry, Terms};
use crate::{Backoff, Done, Epoch, Flight, Landed, Millis, Subject};
use rtf_proto::{EventId, JoinKey, Offset, PartitionId};
use std::time::Duration;

/// The bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Records in one batch.
    pub batch_events: usize,
    /// Bytes in one batch, about; a single record may be larger.
    pub batch_bytes: usize,
    /// Batches in flight; at least 2.
    pub batches: usize,
    /// Records held, in flight and waiting, beyond which nothing more is read.
    pub held_events: usize,
    /// Their bytes, likewise.
    pub held_bytes: usize,
    /// Records of one partition that are pending, beyond which it is not read.
    pub window_events: usize,
    /// How long an event waits for a partner.
    pub wait_max: Duration,
    /// Between two attempts.
    pub backoff: Backoff,
}

/// What happens to a dispatcher.
#[derive(Debug)]
pub enum Event {
    /// These partitions are ours from now on.
    Assigned(Vec<PartitionId>),
    /// A partition begins again further up: an operator wants it, it was truncated, or its topic was made anew.
    Rewound(PartitionId),
    /// These records were read; there was [`room`](Core::room).
    Read(Vec<Flight>),
    /// What became of some of a batch's records.
    Answered(Answers),
    /// All of a batch was answered.
    Ended(Kind),
    /// Primaries with these keys arrived.
    Woken(Vec<JoinKey>),
    /// Time has passed.
    Tick,
    /// These partitions will go: begin nothing more for them.
    Draining(Vec<PartitionId>),
    /// These partitions are gone.
    Gone(Vec<PartitionId>),
}

/// Answers for some records of a batch.
#[derive(Debug, Default)]
pub struct Answers {
    /// Those that are done.
    pub done: Vec<Landed>,
    /// Those that have no partner yet.
    pub not_found: Vec<Flight>,
}

/// Where a batch's records come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// They were just read.
    Fresh,
    /// They waited.
    Retried,
}

/// Records to be taken through look-up, join and registration together.
#[derive(Debug)]
pub struct Batch {
    /// Where they come from.
    pub kind: Kind,
    /// At least one.
    pub flights: Vec<Flight>,
}

/// Some of what waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// All.
    All,
    /// What waits for this key.
    Key(JoinKey),
    /// This event.
    Id(EventId),
}

/// Counts since the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Ended with their row in the log.
    pub joined: u64,
    /// Given up.
    pub unjoinable: u64,
    /// Could not be read, or did not fit into the log.
    pub malformed: u64,
    /// Found resolved.
    pub already_resolved: u64,
    /// Below the registry's floor.
    pub too_old: u64,
    /// Attempts after the first of an event.
    pub retries: u64,
    /// Events woken by their key.
    pub wakeups: u64,
}

#[derive(Debug, Default)]
struct Batches {
    fresh: usize,
    retried: usize,
}

/// The machine.
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    inflight: Inflight,
    retry: Retry<Flight>,
    batches: Batches,
    flying_events: usize,
    flying_bytes: usize,
    tally: Tally,
    resting: bool,
}

impl Core {
    /// Nothing assigned, nothing held.
    ///
    /// # Panics
    /// With limits under which nothing could ever move.
    pub fn new(limits: Limits) -> Self {
        assert!(
            limits.batches >= 2,
            "fresh and retried batches need a place each"
        );
        assert!(
            limits.batch_events >= 1 && limits.batch_bytes >= 1,
            "a batch holds something"
        );
        assert!(
            limits.held_events >= 1 && limits.held_bytes >= 1 && limits.window_events >= 1,
            "something is held"
        );
        Self {
            inflight: Inflight::new(limits.window_events),
            retry: Retry::new(limits.backoff, limits.wait_max),
            batches: Batches::default(),
            flying_events: 0,
            flying_bytes: 0,
            tally: Tally::default(),
            resting: false,
            limits,
        }
    }

    /// Takes in what happened; the batches that come back are to be carried out, all at the same time.
    pub fn on(&mut self, event: Event, now: Millis) -> Vec<Batch> {
        let mut out = Vec::new();
        let ticked = matches!(event, Event::Tick);
        match event {
            Event::Assigned(partitions) => self.assigned(&partitions),
            Event::Rewound(partition) => self.assigned(&[partition]),
            Event::Read(flights) => out.extend(self.read(flights)),
            Event::Answered(answers) => self.answered(answers, now),
            Event::Ended(Kind::Fresh) => self.batches.fresh -= 1,
            Event::Ended(Kind::Retried) => self.batches.retried -= 1,
            Event::Woken(keys) => self.tally.wakeups += self.retry.wake(&keys, now) as u64,
            Event::Tick => {}
            Event::Draining(partitions) => self.drain(&partitions),
            Event::Gone(partitions) => self.gone(&partitions),
        }
        self.retry_due(ticked, now, &mut out);
        out
    }

    /// Whether what waits is left alone, whatever is due; until told otherwise. What is in flight goes on.
    pub fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// What waits of these is due now; it goes with the next event. Says how many that are.
    pub fn retry_now(&mut self, which: &Which, now: Millis) -> usize {
        self.retry.hurry(now, |flight, key| match which {
            Which::All => true,
            Which::Key(wanted) => key == wanted,
            Which::Id(id) => flight.subject.id() == id,
        })
    }

    /// Whether a fresh batch may be handed in.
    pub fn room(&self) -> bool {
        self.batches.fresh + self.batches.retried < self.limits.batches
            && self.held_events() < self.limits.held_events
            && self.held_bytes() < self.limits.held_bytes
    }

    /// The present epoch of a partition that was just assigned or rewound; `None` when it is not ours.
    pub fn epoch(&self, partition: PartitionId) -> Option<Epoch> {
        self.inflight.epoch(partition)
    }

    /// Partitions whose windows are too full to read on.
    pub fn crowded(&self) -> impl Iterator<Item = PartitionId> {
        self.inflight.crowded()
    }

    /// All assigned partitions.
    pub fn assignment(&self) -> Vec<PartitionId> {
        self.inflight.assigned().collect()
    }

    /// Whether nothing of these partitions is in flight. What waits for a partner does not count.
    pub fn is_drained(&self, partitions: &[PartitionId]) -> bool {
        partitions.iter().all(|p| self.inflight.is_drained(*p))
    }

    /// What may be committed: per partition the first offset that is not done.
    pub fn positions(&self, partitions: &[PartitionId]) -> Vec<(PartitionId, Offset)> {
        let position = |p: &PartitionId| Some((*p, self.inflight.position(*p)?));
        partitions.iter().filter_map(position).collect()
    }

    /// What is known of each assigned partition.
    pub fn windows(&self) -> impl Iterator<Item = WindowStatus> {
        self.inflight.status()
    }

    /// How many events wait for a partner, their bytes, and when the oldest was seen first.
    pub fn waiting(&self) -> (usize, usize, Option<Millis>) {
        (self.retry.len(), self.retry.bytes(), self.retry.oldest())
    }

    /// How many wait, by the time since they were first seen: below each of these bounds, which ascend, and beyond the last.
    pub fn waiting_by_age(&self, now: Millis, bounds: &[Millis]) -> Vec<usize> {
        self.retry.by_age(now, bounds)
    }

    /// Records in flight, those of epochs that are over included.
    pub fn flying(&self) -> usize {
        self.flying_events
    }

    /// Batches in flight.
    pub fn batches(&self) -> usize {
        self.batches.fresh + self.batches.retried
    }

    /// Counts since the beginning.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn held_events(&self) -> usize {
        self.flying_events + self.retry.len()
    }

    fn held_bytes(&self) -> usize {
        self.flying_bytes + self.retry.bytes()
    }

    fn assigned(&mut self, partitions: &[PartitionId]) {
        self.forget_waiting(partitions);
        for partition in partitions {
            self.inflight.assign(*partition);
        }
    }

    fn read(&mut self, mut flights: Vec<Flight>) -> Option<Batch> {
        let asked = self.retry.mark();
        flights.retain_mut(|flight| {
            flight.asked = asked;
            self.inflight.begin(flight.place)
        });
        if flights.is_empty() {
            return None;
        }
        self.batches.fresh += 1;
        Some(self.take_off(Kind::Fresh, flights))
    }

    fn take_off(&mut self, kind: Kind, flights: Vec<Flight>) -> Batch {
        self.flying_events += flights.len();
        self.flying_bytes += flights.iter().map(|flight| flight.bytes).sum::<usize>();
        Batch { kind, flights }
    }

    fn answered(&mut self, answers: Answers, now: Millis) {
        for landed in answers.done {
            self.flying_events -= 1;
            self.flying_bytes -= landed.bytes;
            self.inflight.done(landed.place);
            self.tally.count(landed.done);
        }
        for flight in answers.not_found {
            self.flying_events -= 1;
            self.flying_bytes -= flight.bytes;
            if self.inflight.wait(flight.place) {
                let terms = terms(&flight);
                self.retry.wait(flight, terms, now);
            }
        }
    }

    /// Sends what is due on its way. Between ticks only while no other retried batch is in flight, so that under
    /// many small wake-ups the batches fill.
    fn retry_due(&mut self, ticked: bool, now: Millis, out: &mut Vec<Batch>) {
        let share = self.limits.batches / 2;
        while !self.resting
            && self.batches.retried < share
            && self.batches() < self.limits.batches
            && (ticked || self.batches.retried == 0)
        {
            let Some(batch) = self.due_batch(now) else {
                return;
            };
            out.push(batch);
        }
    }

    fn due_batch(&mut self, now: Millis) -> Option<Batch> {
        let asked = self.retry.mark();
        let mut flights = self
            .retry
            .take(now, self.limits.batch_events, self.limits.batch_bytes);
        for flight in &mut flights {
            let resumed = self.inflight.resume(flight.place);
            assert!(resumed, "what waits belongs to a living epoch");
            flight.last_try = self.retry.gives_up(flight.first_seen, now);
            flight.asked = asked;
        }
        if flights.is_empty() {
            return None;
        }
        self.batches.retried += 1;
        self.tally.retries += flights.len() as u64;
        Some(self.take_off(Kind::Retried, flights))
    }

    fn drain(&mut self, partitions: &[PartitionId]) {
        self.forget_waiting(partitions);
        for partition in partitions {
            self.inflight.drain(*partition);
        }
    }

    fn gone(&mut self, partitions: &[PartitionId]) {
        self.forget_waiting(partitions);
        for partition in partitions {
            self.inflight.release(*partition);
        }
    }

    /// They stay pending in their window, so that the position stays before them and whoever comes next reads them again.
    fn forget_waiting(&mut self, partitions: &[PartitionId]) {
        self.retry
            .forget(|flight| partitions.contains(&flight.place.partition));
    }
}

fn terms(flight: &Flight) -> Terms {
    let Subject::Event(event) = &flight.subject else {
        unreachable!("only events wait for a partner");
    };
    Terms {
        key: event.key.clone(),
        token: event.token,
        first_seen: flight.first_seen,
        attempts: flight.attempts,
        asked: flight.asked,
        bytes: flight.bytes,
    }
}

impl Tally {
    fn count(&mut self, done: Done) {
        let counter = match done {
            Done::Joined => &mut self.joined,
            Done::Unjoinable => &mut self.unjoinable,
            Done::Malformed => &mut self.malformed,
            Done::AlreadyResolved => &mut self.already_resolved,
            Done::TooOld => &mut self.too_old,
        };
        *counter += 1;
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
