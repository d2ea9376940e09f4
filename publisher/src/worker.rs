//! Carries one partition: does what the carry decides, and waits out what goes wrong. Decides nothing of its own.

use crate::back_off::BackOff;
use crate::board::State;
use crate::carry::{Ahead, Append, Carry, Limits, Step};
use crate::meter::Meter;
use crate::publisher::Shared;
use crate::sink::{AppendOutcome, Place, SinkError};
use crate::spans::Spans;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesOrdered;
use rtf_proto::{
    AcceptedBatch, AcceptedStream, Offset, PartitionId, RegistryError, RegistryStatus,
};
use rtf_service::mutant;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A registry that does not begin to tail within this counts as away.
const TAIL_WITHIN: Duration = Duration::from_secs(10);
/// When told to stop, appends under way are waited for so long; giving up on them does no harm.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

type Answer = (Append, Result<AppendOutcome, SinkError>);

/// What keeps a partition from being carried.
enum Trouble {
    Sink(SinkError),
    Registry(String),
    Refused(String),
}

impl From<SinkError> for Trouble {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl From<RegistryError> for Trouble {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error.to_string())
    }
}

pub(crate) struct Worker {
    shared: Arc<Shared>,
    place: Place,
    carry: Carry,
    tail: Option<AcceptedStream>,
    under_way: FuturesOrdered<BoxFuture<'static, Answer>>,
    back_off: BackOff,
    /// Another publisher carries this partition: where the sink ended when that was seen last.
    stands_by: Option<Offset>,
    /// When an idle partition asks its sink again.
    check_at: Instant,
    meter: Meter,
    spans: Spans,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, partition: PartitionId) -> Self {
        let log = shared.status.borrow().log;
        Self {
            place: Place { log, partition },
            carry: Carry::new(Limits::default()),
            tail: None,
            under_way: FuturesOrdered::new(),
            back_off: BackOff::default(),
            stands_by: None,
            check_at: Instant::now(),
            meter: Meter::new(&shared.options.content),
            spans: Spans::default(),
            shared,
        }
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(self.turn()).await.is_some() {}
        let drained = tokio::time::timeout(DRAIN_WITHIN, self.drain()).await;
        if drained.is_err() {
            tracing::debug!(
                partition = self.place.partition,
                "stopped with appends under way"
            );
        }
    }

    async fn turn(&mut self) {
        let done = match self.carry.step() {
            Step::Locate => self.locate().await,
            Step::Tail { from } => self.open_tail(from).await,
            Step::Append(append) => {
                self.send(append);
                Ok(())
            }
            Step::Wait => self.event().await,
        };
        let (last, published) = match self.stands_by {
            Some(last) => (Some(last), last + 1),
            None => (self.carry.last(), self.carry.published()),
        };
        self.shared
            .board
            .moved(self.place.partition, last, published);
        if let Err(trouble) = done {
            self.wait_out(trouble).await;
        }
    }

    async fn locate(&mut self) -> Result<(), Trouble> {
        if self.stands_by.is_some() {
            tokio::time::sleep(self.shared.sink.give_way()).await;
        }
        let (log, end) = self.log_and_end();
        if log != self.place.log {
            tracing::warn!(partition = self.place.partition, before = %self.place.log, now = %log, "the registry follows another log");
            self.place.log = log;
            self.carry = Carry::new(Limits::default());
            self.tail = None;
            self.stands_by = None;
        }
        let last = self.shared.sink.last(self.place).await;
        let last = last.inspect_err(|error| self.meter.failed(error.is_retriable()))?;
        if self.goes_on_standing_by(last) {
            self.is_well();
            return Ok(());
        }
        match self.carry.located(last, end) {
            Ok(()) => {
                self.check_at = Instant::now() + self.shared.options.recheck_idle;
                self.is_well_if_idle();
                Ok(())
            }
            Err(ahead) => self.wait_for_the_log(ahead).await,
        }
    }

    /// Two that append the same rows do all the work twice: whoever is refused leaves the partition to the other one, and neither reads its rows nor
    /// sends them, until the sink's end stands still between two looks.
    fn stand_by(&mut self, last: Option<Offset>) {
        // A sink that forgot is behind what we know, and to be filled at once.
        if last > self.carry.last() && !self.shared.sink.give_way().is_zero() {
            self.stands_by = last;
            self.tail = None;
            self.carry.tail_lost();
        }
    }

    fn goes_on_standing_by(&mut self, last: Option<Offset>) -> bool {
        let has_moved = |seen| last > Some(seen) || mutant::is("standby-never-takes-over");
        let goes_on = self.stands_by.is_some_and(has_moved);
        self.stands_by = last.filter(|_| goes_on);
        goes_on
    }

    fn log_and_end(&self) -> (rtf_proto::LogId, Offset) {
        let status = self.shared.status.borrow();
        (status.log, end_of(&status, self.place.partition))
    }

    /// Another publisher's registry may have seen more of the log than ours: ours is given a moment.
    async fn wait_for_the_log(&mut self, ahead: Ahead) -> Result<(), Trouble> {
        let Ahead { last, end } = ahead;
        let partition = self.place.partition;
        let mut status = self.shared.status.clone();
        self.shared.is_asked_for.notify_one();
        let longer = status.wait_for(|s| s.log != self.place.log || end_of(s, partition) > last);
        let ready = match tokio::time::timeout(self.shared.options.ahead_grace, longer).await {
            Ok(_) => return Ok(()),
            Err(_) => self.shared.status.borrow().ready,
        };
        if !ready {
            let words = format!("it is not ready, and knows the log up to {end} only");
            return Err(Trouble::Registry(words));
        }
        Err(Trouble::Sink(SinkError::Ahead {
            subject: self.shared.sink.subject(partition),
            last,
            end,
            remedy: self.shared.sink.remedy(partition),
        }))
    }

    async fn open_tail(&mut self, from: Offset) -> Result<(), Trouble> {
        self.tail = None;
        let outcomes = self.shared.options.content.outcomes();
        let registry = &self.shared.registry;
        let tail = registry.tail(self.place.partition, from, outcomes);
        match tokio::time::timeout(TAIL_WITHIN, tail).await {
            Ok(Ok(tail)) => {
                self.tail = Some(tail);
                self.carry.tail_opened();
                self.is_well_if_idle();
                Ok(())
            }
            Ok(Err(error)) => self.tail_failed(error),
            Err(_) => self.tail_failed(RegistryError::Unavailable(format!(
                "no tail within {TAIL_WITHIN:?}"
            ))),
        }
    }

    fn tail_failed(&mut self, error: RegistryError) -> Result<(), Trouble> {
        self.tail = None;
        if let RegistryError::OutOfRange { first, .. } = error
            && first > self.carry.next()
        {
            tracing::error!(
                partition = self.place.partition,
                missing_from = self.carry.next(),
                missing_to = first,
                "the log's retention took rows that the sink does not have: they cannot be published again"
            );
            self.meter.skipped();
            self.carry.log_begins_at(first);
            return Ok(());
        }
        self.carry.tail_lost();
        Err(error.into())
    }

    /// Appends at once what there is; the answer comes as an event.
    fn send(&mut self, append: Append) {
        let (sink, place) = (self.shared.sink.clone(), self.place);
        let answer = async move {
            let outcome = sink.append(place, append.expected, &append.rows).await;
            (append, outcome)
        };
        self.under_way.push_back(answer.boxed());
    }

    /// Waits for whatever comes first. There is always something: without appends under way the carry is idle.
    async fn event(&mut self) -> Result<(), Trouble> {
        let (wants_more, is_idle) = (self.carry.wants_more(), self.carry.is_idle());
        tokio::select! {
            biased;
            Some(answer) = self.under_way.next(), if !self.under_way.is_empty() => self.answered(answer),
            item = next_batch(&mut self.tail), if wants_more => match item {
                Ok(batch) => self.offered(batch),
                Err(error) => self.tail_failed(error),
            },
            () = tokio::time::sleep_until(self.check_at), if is_idle => self.look_again().await,
        }
    }

    /// Nothing new came: the sink may note how far the log is carried, and is asked again where it ends.
    async fn look_again(&mut self) -> Result<(), Trouble> {
        self.carry.doubt();
        let next = self.carry.published();
        Ok(self.shared.sink.settled(self.place, next).await?)
    }

    fn answered(&mut self, (append, outcome): Answer) -> Result<(), Trouble> {
        match outcome {
            Ok(AppendOutcome::Appended { last }) => {
                self.meter.appended(&append.rows);
                self.spans.appended(&append.rows);
                self.carry.appended(last);
            }
            Ok(AppendOutcome::Moved { last }) => {
                self.meter.moved();
                self.spans.moved(last);
                self.stand_by(last);
                self.carry.moved(last);
            }
            Err(error) => {
                self.meter.failed(error.is_retriable());
                self.carry.failed();
                return Err(error.into());
            }
        }
        self.check_at = Instant::now() + self.shared.options.recheck_idle;
        self.is_well();
        Ok(())
    }

    fn offered(&mut self, batch: AcceptedBatch) -> Result<(), Trouble> {
        let mut rows = Vec::with_capacity(batch.records.len());
        let content = &self.shared.options.content;
        for accepted in batch.records {
            let offset = accepted.offset;
            self.spans.read(content, self.place, &accepted);
            match content.row(self.place, accepted) {
                Ok(row) => rows.extend(row),
                Err(words) => {
                    // A broken record of ours stops its partition, behind the rows before it (RULE 8).
                    self.carry.offered(rows, offset);
                    self.tail = None;
                    self.carry.tail_lost();
                    return Err(Trouble::Refused(words));
                }
            }
        }
        self.carry.offered(rows, batch.next);
        Ok(())
    }

    /// Says what is wrong, lets the appends under way end, and waits before the next try.
    async fn wait_out(&mut self, trouble: Trouble) {
        let (state, wait) = match trouble {
            Trouble::Sink(error) if error.is_retriable() => (
                State::SinkAway(error.to_string()),
                self.back_off.next_wait(),
            ),
            Trouble::Registry(words) => (State::RegistryAway(words), self.back_off.next_wait()),
            Trouble::Sink(error) => (
                State::Refused(error.to_string()),
                self.shared.options.recheck_refused,
            ),
            Trouble::Refused(words) => (State::Refused(words), self.shared.options.recheck_refused),
        };
        self.drain().await;
        self.shared.board.set(self.place.partition, state);
        tokio::time::sleep(wait).await;
    }

    async fn drain(&mut self) {
        while let Some(answer) = self.under_way.next().await {
            // What went wrong is known already, or the carry asks again.
            let _ = self.answered(answer);
        }
    }

    fn is_well(&mut self) {
        self.back_off.reset();
        self.shared.board.set(self.place.partition, State::Carrying);
    }

    /// With rows still to be appended only their append can tell: a sink that is full answers questions all the same.
    fn is_well_if_idle(&mut self) {
        if self.carry.is_idle() {
            self.is_well();
        }
    }
}

/// One past the last record of a partition, as far as the registry knows.
fn end_of(status: &RegistryStatus, partition: PartitionId) -> Offset {
    let served = status.served.iter().find(|p| p.partition == partition);
    served.map_or(0, |p| p.end.max(p.applied))
}

async fn next_batch(tail: &mut Option<AcceptedStream>) -> Result<AcceptedBatch, RegistryError> {
    let ended = || RegistryError::Unavailable("its tail ended".into());
    match tail {
        Some(tail) => tail.next().await.unwrap_or_else(|| Err(ended())),
        None => Err(ended()),
    }
}
