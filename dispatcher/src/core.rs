//! The dispatcher's decisions as one machine: events in, batches out. Pure: no clock, no I/O, no thread.
//!
//! It owns every record from the moment it was read to the moment it is done, in one of two places: *in flight*
//! with a batch, or *waiting* for a partner. What has waited for long, or would be too much to hold, is *parked*: carried into a retry topic, and done
//! here. What is held is bounded in number and bytes: the caller reads on only while
//! there is [`room`](Core::room), and nothing is ever dropped but what belongs to an epoch that is over, which somebody
//! else reads again.
//!
//! Two kinds of batches share the places for batches in flight: *fresh* ones, as they were read, and *retried* ones, of events that
//! waited. The retried go first, but may take only half of the places, so that neither starves the other.

use crate::inflight::{Inflight, WindowStatus};
use crate::retry::{Retry, Terms};
use crate::sites::Sites;
use crate::{Backoff, Done, Epoch, Flight, Landed, Millis, Site, Subject};
use rtf_proto::{EventId, JoinKey, Offset, PartitionId, Reason};
use rtf_service::mutant;
use std::sync::Arc;
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
    /// How long it waits for further partners from the first one on.
    pub collect: Duration,
    /// Between two attempts.
    pub backoff: Backoff,
    /// Which of several pipelines this is; `None`: the only one.
    pub site: Option<Site>,
    /// When events are parked; `None` where there is nothing to park them in.
    pub park: Option<Park>,
}

/// What waits in memory, and what does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Park {
    /// After an attempt in vain an event that was seen first so long ago is parked.
    pub after: Duration,
    /// So many may wait in memory; more are parked at once.
    pub events: usize,
    /// Their bytes, likewise.
    pub bytes: usize,
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
    Woken(Arc<Vec<JoinKey>>),
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
    /// Those that have partners and are to wait for more.
    pub collecting: Vec<Flight>,
}

/// Where a batch's records come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// They were just read.
    Fresh,
    /// They waited.
    Retried,
    /// They are to be carried into a retry topic, and answered as done.
    Parking,
}

/// Records to be taken through look-up, join and registration together, or to be parked.
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
    /// Those of them whose row did not fit into the log; the others' time was up.
    pub row_too_large: u64,
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
    /// Events parked in a retry topic, each time they were.
    pub parked: u64,
    /// Events joined here that somebody else had resolved meanwhile; counted as already resolved too.
    pub wasted: u64,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            joined: self.joined + other.joined,
            unjoinable: self.unjoinable + other.unjoinable,
            row_too_large: self.row_too_large + other.row_too_large,
            malformed: self.malformed + other.malformed,
            already_resolved: self.already_resolved + other.already_resolved,
            too_old: self.too_old + other.too_old,
            retries: self.retries + other.retries,
            wakeups: self.wakeups + other.wakeups,
            parked: self.parked + other.parked,
            wasted: self.wasted + other.wasted,
        }
    }
}

#[derive(Debug, Default)]
struct Batches {
    fresh: usize,
    retried: usize,
    parking: usize,
}

/// The machine.
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    inflight: Inflight,
    retry: Retry<Flight>,
    sites: Sites,
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
            sites: Sites::new(limits.site),
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
            Event::Read(flights) => out.extend(self.read(flights, now)),
            Event::Answered(answers) => out.extend(self.answered(answers, now)),
            Event::Ended(Kind::Fresh) => self.batches.fresh -= 1,
            Event::Ended(Kind::Retried) => self.batches.retried -= 1,
            Event::Ended(Kind::Parking) => self.batches.parking -= 1,
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

    /// The event if it waits here, and when it is tried again. Looks at each that waits.
    pub fn find(&self, id: &EventId) -> Option<(&Flight, Millis)> {
        self.retry.find(|flight| flight.subject.id() == id)
    }

    /// Whether a fresh batch may be handed in.
    pub fn room(&self) -> bool {
        self.working_batches() < self.limits.batches
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

    /// When the first of those that wait is due.
    #[cfg(feature = "simulation")]
    pub fn next_due(&self) -> Option<Millis> {
        self.retry.next_due()
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

    /// Batches in flight, those that are being parked included.
    pub fn batches(&self) -> usize {
        self.working_batches() + self.batches.parking
    }

    /// Those that look for partners, which alone are bounded: what is being parked has been read already.
    fn working_batches(&self) -> usize {
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

    fn read(&mut self, flights: Vec<Flight>, now: Millis) -> Option<Batch> {
        let asked = self.retry.mark();
        let mut fresh = Vec::with_capacity(flights.len());
        for mut flight in flights {
            if !self.inflight.begin(flight.place) {
                continue;
            }
            flight.asked = asked;
            // One that comes back from a retry topic may have no time left.
            flight.collected = self.limits.collect.is_zero() || flight.last_try;
            match self.left_to_others(&flight) {
                None => fresh.push(flight),
                Some(claim) => {
                    self.inflight.wait(flight.place);
                    flight.was_left = true;
                    let terms = terms(&flight);
                    self.retry.hold(flight, terms, claim, now);
                }
            }
        }
        if fresh.is_empty() {
            return None;
        }
        self.batches.fresh += 1;
        Some(self.take_off(Kind::Fresh, fresh))
    }

    fn left_to_others(&mut self, flight: &Flight) -> Option<Duration> {
        match &flight.subject {
            Subject::Event(event) => self.sites.leaves(&event.id),
            Subject::Malformed(_) => None,
        }
    }

    fn take_off(&mut self, kind: Kind, flights: Vec<Flight>) -> Batch {
        self.flying_events += flights.len();
        self.flying_bytes += flights.iter().map(|flight| flight.bytes).sum::<usize>();
        Batch { kind, flights }
    }

    fn answered(&mut self, answers: Answers, now: Millis) -> Option<Batch> {
        for landed in answers.done {
            self.flying_events -= 1;
            self.flying_bytes -= landed.bytes;
            self.inflight.done(landed.place);
            self.tally.count(landed.done);
            if landed.was_left {
                self.sites.found(landed.done == Done::AlreadyResolved);
            }
        }
        let mut parking = Vec::new();
        for mut flight in answers.not_found {
            // Partners that were there while it collected are gone: it begins to collect anew when others come.
            flight.collected = self.limits.collect.is_zero();
            self.came_to_nothing(&mut flight);
            if self.parks(&flight, now) {
                parking.push(flight);
            } else if self.lands(&flight) {
                let terms = terms(&flight);
                self.retry.wait(flight, terms, now);
            }
        }
        for mut flight in answers.collecting {
            flight.collected = true;
            self.came_to_nothing(&mut flight);
            if self.lands(&flight) {
                let terms = terms(&flight);
                self.retry.hold(flight, terms, self.limits.collect, now);
            }
        }
        if parking.is_empty() {
            return None;
        }
        // They stay in flight until the retry topic has them.
        self.batches.parking += 1;
        Some(Batch {
            kind: Kind::Parking,
            flights: parking,
        })
    }

    /// Nobody had resolved it; once that is known it is an event like any other.
    fn came_to_nothing(&mut self, flight: &mut Flight) {
        if std::mem::take(&mut flight.was_left) {
            self.sites.found(false);
        }
    }

    /// Whether an event that has no partner yet is parked instead of waiting here. One that was woken while it was looked for is tried again first.
    fn parks(&self, flight: &Flight, now: Millis) -> bool {
        let Some(park) = self.limits.park else {
            return false;
        };
        let has_waited = now.saturating_sub(flight.first_seen);
        let is_due = u128::from(has_waited) >= park.after.as_millis();
        let is_full = self.retry.len() >= park.events || self.retry.bytes() >= park.bytes;
        (is_due || is_full)
            && flight.can_park
            && self.inflight.is_open(flight.place)
            && !self.retry.was_woken(&terms(flight))
    }

    /// A flight is over for now; whether it may wait here.
    fn lands(&mut self, flight: &Flight) -> bool {
        self.flying_events -= 1;
        self.flying_bytes -= flight.bytes;
        self.inflight.wait(flight.place)
    }

    /// Sends what is due on its way. Between ticks only while no other retried batch is in flight, so that under
    /// many small wake-ups the batches fill.
    fn retry_due(&mut self, ticked: bool, now: Millis, out: &mut Vec<Batch>) {
        let share = self.limits.batches / 2;
        while !self.resting
            && self.batches.retried < share
            && self.working_batches() < self.limits.batches
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
            flight.last_try |= self.retry.gives_up(flight.first_seen, now)
                || (mutant::is("given-up-after-attempts") && flight.attempts >= 3);
            flight.collected |= flight.last_try;
            flight.asked = asked;
        }
        if flights.is_empty() {
            return None;
        }
        self.batches.retried += 1;
        let retried = flights.iter().filter(|flight| !flight.was_left);
        self.tally.retries += retried.count() as u64;
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
    /// One more ended so.
    pub(crate) fn count(&mut self, done: Done) {
        let counter = match done {
            Done::Joined => &mut self.joined,
            Done::Unjoinable(reason) => {
                self.row_too_large += u64::from(reason == Reason::RowTooLarge);
                &mut self.unjoinable
            }
            Done::Malformed => &mut self.malformed,
            Done::AlreadyResolved => &mut self.already_resolved,
            Done::TooOld => &mut self.too_old,
            Done::Parked => &mut self.parked,
            Done::Wasted => {
                self.wasted += 1;
                &mut self.already_resolved
            }
        };
        *counter += 1;
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
