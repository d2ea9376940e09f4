//! Takes a batch through look-up, join and registration, for as long as it takes. Decides nothing: see [`crate::step`].
//!
//! A call without an answer leaves the outcome unknown, never "not done" (RULE 2): its records stay at their step and go again, with the
//! same tokens, after a back-off. What was answered is reported after each round and does not wait for the rest.

use crate::backoff::InVain;
use crate::clock::Clock;
use crate::health::{Health, Part};
use crate::parker::{NotParked, Parker};
use crate::spans;
use crate::step::{Next, Step, after_join, after_lookup, after_register};
use crate::{Answers, Backoff, Done, Flight, Landed, Subject};
use rtf_proto::{
    ForeignEvent, JoinVerdict, Joiner, JoinerError, Known, LookupItem, Registration, Registry,
    RegistryError, Verdict,
};
use rtf_service::mutant;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Between two rounds of a batch of which too much was asked.
const BUSY: Backoff = Backoff {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
};
/// Between two rounds of a batch that found somebody not ready, or not there: asking again costs little, and everything stands still until
/// the answer comes.
const NOT_YET: Backoff = Backoff {
    first: Duration::from_millis(20),
    max: Duration::from_millis(250),
};
/// A call without an answer for so long counts as lost.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// The ports, and whom to tell when they do not answer.
pub(crate) struct Carrier {
    pub registry: Arc<dyn Registry>,
    pub joiner: Arc<dyn Joiner>,
    pub health: Arc<Health>,
    pub clock: Clock,
    /// Where events are parked, if anywhere.
    pub parker: Option<Parker>,
}

struct Item {
    flight: Flight,
    step: Step,
}

/// One round of a batch.
#[derive(Default)]
struct Round {
    answers: Answers,
    /// How long to wait before what is left goes again; the longest that anybody asked for.
    again: Option<Backoff>,
}

/// Why a call gave no answers.
enum Silence {
    /// Shed: to be expected under load.
    Busy,
    /// Anything else.
    Trouble(String),
}

impl Carrier {
    /// Returns when each of the records was reported once.
    pub async fn carry(&self, flights: Vec<Flight>, report: impl Fn(Answers)) {
        let seed = flights.first().map_or(0, |flight| flight.place.offset);
        let mut items: Vec<Item> = flights.into_iter().map(Item::new).collect();
        let mut in_vain = InVain::default();
        loop {
            let mut round = Round::default();
            items = self.look_up(items, &mut round).await;
            items = self.join(items, &mut round).await;
            items = self.register(items, &mut round).await;
            if round.again.is_some() && mutant::is("silence-is-success") {
                let done = items.drain(..).map(|item| item.flight.landed(Done::Joined));
                round.answers.done.extend(done);
            }
            report(round.answers);
            if items.is_empty() {
                return;
            }
            if let Some(wait) = in_vain.wait(round.again, seed) {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Parks each of the records in a retry topic, or reports it as one that cannot be. Returns when all were reported.
    pub async fn park(&self, flights: Vec<Flight>, report: impl Fn(Answers)) {
        let Some(parker) = &self.parker else {
            unreachable!("nothing is parked where there is nothing to park it in");
        };
        let mut flights = flights;
        let mut in_vain = 0;
        loop {
            let now_ms = self.clock.wall_ms(self.clock.now());
            let parking = flights.iter().map(|flight| parker.park(flight, now_ms));
            let results = futures::future::join_all(parking).await;
            let (mut answers, mut rest) = (Answers::default(), Vec::new());
            let mut is_well = true;
            for (mut flight, result) in flights.into_iter().zip(results) {
                match result {
                    Ok(()) => answers.done.push(land(flight, Done::Parked)),
                    Err(NotParked::TooLarge) => {
                        flight.can_park = false;
                        answers.not_found.push(flight);
                    }
                    Err(NotParked::Full) => rest.push(flight),
                    Err(NotParked::Unknown(words)) => {
                        self.health.trouble(Part::Retry, words);
                        is_well = false;
                        rest.push(flight);
                    }
                }
            }
            let some = !answers.done.is_empty();
            report(answers);
            if is_well && some {
                self.health.well(Part::Retry);
            }
            if rest.is_empty() {
                return;
            }
            flights = rest;
            in_vain = if is_well { 0 } else { in_vain + 1 };
            tokio::time::sleep(BUSY.delay(in_vain, 0)).await;
        }
    }

    async fn look_up(&self, items: Vec<Item>, round: &mut Round) -> Vec<Item> {
        let questions: Vec<LookupItem> = items.iter().filter_map(Item::question).collect();
        if questions.is_empty() {
            return items;
        }
        let asked = questions.len();
        let answers = within(self.registry.lookup(questions)).await;
        let Some(answers) = self.heard(Part::Registry, answers, asked, round) else {
            return items;
        };
        self.health.well(Part::Registry);
        let next = |item: &mut Item, answer: Option<Known>| after_lookup(&item.flight, answer);
        round.settle(items, answers, Item::is_looked_up, next)
    }

    async fn join(&self, items: Vec<Item>, round: &mut Round) -> Vec<Item> {
        let events: Vec<ForeignEvent> = items.iter().filter_map(Item::event).collect();
        if events.is_empty() {
            return items;
        }
        let asked = events.len();
        let answers = within(self.joiner.join(events)).await;
        let Some(answers) = self.heard(Part::Joiner, answers, asked, round) else {
            return items;
        };
        if answers.contains(&JoinVerdict::NotReady) {
            self.health
                .trouble(Part::Joiner, "no joiner has caught up with some keys");
        } else {
            self.health.well(Part::Joiner);
        }
        let next = |item: &mut Item, verdict: JoinVerdict| after_join(&mut item.flight, verdict);
        round.settle(items, answers, Item::is_joined, next)
    }

    async fn register(&self, items: Vec<Item>, round: &mut Round) -> Vec<Item> {
        let registrations = items.iter().filter_map(Item::registration);
        let registrations: Vec<Registration> = registrations.cloned().collect();
        if registrations.is_empty() {
            return items;
        }
        let asked = registrations.len();
        let answers = within(self.registry.register(registrations)).await;
        let Some(answers) = self.heard(Part::Registry, answers, asked, round) else {
            return items;
        };
        self.health.well(Part::Registry);
        let next = |item: &mut Item, verdict: Verdict| match &item.step {
            Step::Register(registration) => after_register(registration, verdict),
            Step::LookUp | Step::Join => unreachable!("it was registered"),
        };
        round.settle(items, answers, |item| item.registration().is_some(), next)
    }

    /// The answers, if there are as many as questions; else all is to be asked again.
    fn heard<A>(
        &self,
        part: Part,
        answers: Result<Vec<A>, Silence>,
        asked: usize,
        round: &mut Round,
    ) -> Option<Vec<A>> {
        let silence = match answers {
            Ok(answers) if answers.len() == asked => return Some(answers),
            Ok(answers) => {
                Silence::Trouble(format!("{} answers to {asked} questions", answers.len()))
            }
            Err(silence) => silence,
        };
        match silence {
            Silence::Busy => round.again = Some(BUSY),
            Silence::Trouble(words) => {
                self.health.trouble(part, words);
                round.not_yet();
            }
        }
        None
    }
}

async fn within<A, E: Into<Silence>>(
    call: impl Future<Output = Result<A, E>>,
) -> Result<A, Silence> {
    match tokio::time::timeout(CALL_WITHIN, call).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Silence::Trouble(format!(
            "no answer within {CALL_WITHIN:?}"
        ))),
    }
}

impl Round {
    fn not_yet(&mut self) {
        self.again.get_or_insert(NOT_YET);
    }

    /// Gives each item that was `asked` its answer, in order; returns those that go on.
    fn settle<A>(
        &mut self,
        items: Vec<Item>,
        answers: Vec<A>,
        asked: impl Fn(&Item) -> bool,
        next: impl Fn(&mut Item, A) -> Next,
    ) -> Vec<Item> {
        let mut answers = answers.into_iter();
        let mut rest = Vec::new();
        for mut item in items {
            if !asked(&item) {
                rest.push(item);
                continue;
            }
            let answer = answers.next().expect("as many answers as questions");
            match next(&mut item, answer) {
                Next::Done(done) => self.answers.done.push(land(item.flight, done)),
                Next::Wait => {
                    spans::note(&mut item.flight, "no partner yet");
                    self.answers.not_found.push(item.flight);
                }
                Next::Collect => {
                    spans::note(&mut item.flight, "waits for more partners");
                    self.answers.collecting.push(item.flight);
                }
                Next::Go(step) => {
                    item.step = step;
                    rest.push(item);
                }
                Next::Again => {
                    self.not_yet();
                    rest.push(item);
                }
            }
        }
        rest
    }
}

/// It is done here.
fn land(mut flight: Flight, done: Done) -> Landed {
    spans::end(&mut flight, done);
    flight.landed(done)
}

impl Item {
    fn new(mut flight: Flight) -> Self {
        if flight.attempts > 0 {
            spans::note(&mut flight, "tried again");
        }
        Self {
            flight,
            step: Step::LookUp,
        }
    }

    fn is_looked_up(&self) -> bool {
        self.step == Step::LookUp
    }

    fn is_joined(&self) -> bool {
        self.step == Step::Join
    }

    fn question(&self) -> Option<LookupItem> {
        self.is_looked_up().then(|| self.flight.question())
    }

    fn event(&self) -> Option<ForeignEvent> {
        match &self.flight.subject {
            Subject::Event(event) if self.is_joined() => Some(ForeignEvent {
                attempts: self.flight.attempts,
                collect: !self.flight.collected,
                ..event.clone()
            }),
            _ => None,
        }
    }

    fn registration(&self) -> Option<&Registration> {
        match &self.step {
            Step::Register(registration) => Some(registration),
            Step::LookUp | Step::Join => None,
        }
    }
}

impl From<RegistryError> for Silence {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Busy => Self::Busy,
            other => Self::Trouble(other.to_string()),
        }
    }
}

impl From<JoinerError> for Silence {
    fn from(error: JoinerError) -> Self {
        match error {
            JoinerError::Busy => Self::Busy,
            other => Self::Trouble(other.to_string()),
        }
    }
}
