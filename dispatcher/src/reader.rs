//! The reading thread: polls, fills batches, hands them in, commits, pauses. Blocking, on an OS thread of its own (RULE 13).

use crate::engine::{Engine, Offered};
use crate::filling::{Filling, Supply};
use crate::gate::Gate;
use crate::group::Member;
use crate::health::{Health, Part};
use crate::intake::Intake;
use crate::key_index::KeyIndex;
use crate::lanes::{Seen, missed};
use crate::meters::Meters;
use crate::orders::{OperatorError, Order, Rewound};
use crate::pauses::Pauses;
use crate::{Backoff, DispatcherError, Event, Flight, Millis, Options, Place};
use metrics::counter;
use parking_lot::Mutex;
use rtf_kafka::{Cluster, GroupReader, KafkaError, Polled, Record, Settings, TopicInfo};
use rtf_proto::{Offset, Original, PartitionId, Source, TopicId};
use rtf_service::mutant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The longest look for a record.
const POLL: Duration = Duration::from_millis(100);
/// The longest wait for room, or look for a record while there is none: group and room are both attended to.
const POLL_WITHOUT_ROOM: Duration = Duration::from_millis(5);
/// Reading just halts while there is no room; after this the partitions are paused, so that the group can be polled.
const PAUSE_AFTER: Millis = 300;
/// Between two looks at what is crowded.
const LOOK_EVERY: Millis = 100;
/// Between two records of progress in the log: what is older than both its horizon and these marks can be forgotten.
const ANNOUNCE_EVERY: Millis = 10_000;
/// Every so many records of progress all marks are stated again: one may have been lost on its way.
const RESTATE_EVERY: u32 = 6;
/// All positions are committed again so often: the client does not tell of a commit that was refused.
const RECOMMIT_EVERY: Millis = 5_000;
/// The group's coordinator answers within this, or is asked another time.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// A partition is to be found at another place within this.
const SEEK_WITHIN: Duration = Duration::from_secs(5);
/// Joining the group takes no longer, unless something is wrong.
const JOIN_WITHIN: Millis = 15_000;
/// Between two looks whether a retry topic is there by now.
const LOOK_FOR_TOPIC_EVERY: Duration = Duration::from_secs(2);
/// Between two tries to read again after the client failed. A static member whose session ended while its coordinator was away is fenced by its own return,
/// and well at once when it begins anew; two dispatchers of one `instance_id` fence each other again and again.
const REOPEN: Backoff = Backoff {
    first: Duration::from_millis(50),
    max: Duration::from_secs(1),
};
/// A membership that lasted so long was not in vain.
const LASTED: Duration = Duration::from_secs(10);
/// Between two questions for the topic's id.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the thread is made of.
pub(crate) struct Reader {
    engine: Arc<Engine>,
    health: Arc<Health>,
    options: Options,
    settings: Settings,
    cluster: Cluster,
    intake: Intake,
    /// Of the reader of a retry topic.
    tier: Option<Waiting>,
    /// What its troubles are told as.
    part: Part,
    meters: Option<Meters>,
    halt: CancellationToken,
    topic: Arc<str>,
    topic_id: TopicId,
    /// Partitions of a topic that was made anew which are still to be read from their beginning.
    anew: BTreeSet<PartitionId>,
    filling: Filling,
    supply: Supply,
    pauses: Pauses,
    no_room_since: Option<Millis>,
    all_paused: bool,
    now: Millis,
    opened_at: Millis,
    looked_at: Millis,
    committed_at: Millis,
    recommitted_at: Millis,
    announced_at: Millis,
    announcements: u32,
    announced: BTreeMap<PartitionId, Offset>,
    committed: BTreeMap<PartitionId, Offset>,
}

/// What a retry topic's reader has beside.
struct Waiting {
    gate: Gate<Flight>,
    index: Arc<Mutex<KeyIndex>>,
}

impl Reader {
    /// Reads the foreign topic. Connects; asks nothing yet.
    pub fn of_foreign(
        engine: Arc<Engine>,
        health: Arc<Health>,
        intake: Intake,
        options: Options,
        settings: Settings,
        meters: Meters,
        halt: CancellationToken,
    ) -> Result<Self, DispatcherError> {
        let reader = Self::new(engine, health, intake, options, settings, halt)?;
        Ok(Self {
            meters: Some(meters),
            ..reader
        })
    }

    /// Reads a retry topic: each event when it is due. What it has read is not to be woken by its key any more.
    pub fn of_tier(
        engine: Arc<Engine>,
        health: Arc<Health>,
        intake: Intake,
        options: Options,
        settings: Settings,
        index: Arc<Mutex<KeyIndex>>,
        halt: CancellationToken,
    ) -> Result<Self, DispatcherError> {
        let reader = Self::new(engine, health, intake, options, settings, halt)?;
        Ok(Self {
            part: Part::Retry,
            tier: Some(Waiting {
                gate: Gate::default(),
                index,
            }),
            ..reader
        })
    }

    fn new(
        engine: Arc<Engine>,
        health: Arc<Health>,
        intake: Intake,
        options: Options,
        settings: Settings,
        halt: CancellationToken,
    ) -> Result<Self, DispatcherError> {
        let limits = options.limits();
        let linger = Millis::try_from(options.linger.as_millis()).unwrap_or(Millis::MAX);
        Ok(Self {
            cluster: Cluster::connect(&settings)?,
            filling: Filling::new(limits.batch_events, limits.batch_bytes, linger),
            tier: None,
            part: Part::Kafka,
            meters: None,
            topic: options.topic.as_str().into(),
            topic_id: TopicId::default(),
            anew: BTreeSet::new(),
            supply: Supply::Dry,
            pauses: Pauses::default(),
            no_room_since: None,
            all_paused: false,
            now: 0,
            opened_at: 0,
            looked_at: 0,
            committed_at: 0,
            recommitted_at: 0,
            announced_at: 0,
            announcements: 0,
            announced: BTreeMap::new(),
            committed: BTreeMap::new(),
            engine,
            health,
            options,
            settings,
            intake,
            halt,
        })
    }

    /// Reads until it is halted, then leaves the group.
    ///
    /// # Errors
    /// At the start: no such topic, no broker. Later troubles are waited out.
    pub fn run(mut self) -> Result<(), DispatcherError> {
        let Some(info) = self.find_topic()? else {
            return Ok(());
        };
        self.topic_id = info.id;
        let mut in_vain = 0;
        while !self.halt.is_cancelled() {
            let opened = std::time::Instant::now();
            let Err(error) = self.read() else {
                break;
            };
            self.health.trouble(self.part, error.to_string());
            self.forget_membership();
            if opened.elapsed() >= LASTED {
                in_vain = 0;
            }
            in_vain += 1;
            self.rest(REOPEN.delay(in_vain, 0));
        }
        self.show();
        Ok(())
    }

    /// The foreign topic must be there; a retry topic is made when the first event is parked in it, by whoever parks it. `None` when halted before.
    fn find_topic(&self) -> Result<Option<TopicInfo>, DispatcherError> {
        let topic = &self.options.topic;
        loop {
            match (self.cluster.topic(topic), &self.tier) {
                (Ok(Some(info)), _) => return Ok(Some(info)),
                (Ok(None), None) => {
                    let topic = topic.clone();
                    return Err(DispatcherError::TopicMissing { topic });
                }
                (Err(error), None) => return Err(error.into()),
                (Ok(None) | Err(_), Some(_)) => self.rest(LOOK_FOR_TOPIC_EVERY),
            }
            if self.halt.is_cancelled() {
                return Ok(None);
            }
        }
    }

    fn show(&mut self) {
        if let Some(waiting) = &self.tier {
            let firsts = waiting.gate.firsts().map(|flight| flight.first_seen_ms);
            self.engine.shared().outside.lock().oldest_parked_ms = firsts.min();
        }
        if let Some(meters) = &mut self.meters {
            meters.show();
        }
    }

    /// One membership, from joining the group to leaving it.
    fn read(&mut self) -> Result<(), KafkaError> {
        let reader = self.join()?;
        let result = self.follow(&reader);
        reader.close();
        result
    }

    fn join(&mut self) -> Result<GroupReader<Member>, KafkaError> {
        let health = Arc::clone(&self.health);
        let member = Member::new(
            Arc::clone(&self.engine),
            health,
            self.part,
            self.options.drain,
        );
        let group = self.options.group_options();
        let reader = GroupReader::open(&self.settings, &group, member)?;
        self.opened_at = self.engine.shared().now();
        Ok(reader)
    }

    fn follow(&mut self, reader: &GroupReader<Member>) -> Result<(), KafkaError> {
        while !self.halt.is_cancelled() {
            if self.is_stuck() {
                self.engine
                    .wait_until(|core| core.room(), POLL_WITHOUT_ROOM);
            } else {
                self.poll(reader)?;
            }
            self.attend(reader);
        }
        Ok(())
    }

    /// Whether there is nothing to be done but to wait for room.
    fn is_stuck(&self) -> bool {
        self.filling.is_full() && !self.all_paused
    }

    /// After each poll.
    fn attend(&mut self, reader: &GroupReader<Member>) {
        self.now = self.engine.shared().now();
        self.let_through();
        self.hand_in();
        self.look_after(reader);
    }

    fn poll(&mut self, reader: &GroupReader<Member>) -> Result<(), KafkaError> {
        self.supply = Supply::Dry;
        match reader.poll(self.patience()) {
            Polled::Record(record) => {
                self.supply = Supply::Flowing;
                self.take(reader.events(), &record);
                if self.all_paused {
                    // Of a partition that was assigned since: pause it at once.
                    self.look_at_once();
                }
            }
            Polled::EndOfPartition(_) | Polled::Idle => {}
            Polled::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// How long to look for the next record.
    fn patience(&self) -> Duration {
        if self.no_room_since.is_some() {
            return POLL_WITHOUT_ROOM;
        }
        if self.filling.flights.is_empty() {
            return POLL;
        }
        if self.engine.shared().is_idle() {
            return Duration::ZERO;
        }
        Duration::from_millis(self.filling.time_left(self.now).max(1))
    }

    fn take(&mut self, member: &Member, record: &Record<'_>) {
        let (partition, offset) = (record.partition(), record.offset());
        let Seen::Next(place) = member.see(partition, offset) else {
            return;
        };
        if member.take_stale() && !self.describe() {
            return;
        }
        // The look for it may have taken its time, and the question for the topic's id as well: its wait begins now, not before it was there.
        if !mutant::is("wait-begins-with-the-look") {
            self.now = self.engine.shared().now();
        }
        let source = Source {
            topic: Arc::clone(&self.topic),
            topic_id: self.topic_id,
            partition,
            offset,
        };
        let original = record.original();
        if self.tier.is_some() {
            return self.take_parked(place, source, original);
        }
        let subject = self.intake.subject(source, record.timestamp_ms(), original);
        let flight = Flight::new(place, subject, self.now, self.now_ms());
        self.filling.push(flight, self.now);
    }

    /// Holds a parked event until it is due. Somebody else's record is passed over.
    fn take_parked(&mut self, place: Place, source: Source, record: Original) {
        let now = self.now;
        let Some(waiting) = &mut self.tier else {
            return;
        };
        let Some((due_ms, flight)) = self.intake.returned(place, source, record, now) else {
            counter!("rtf_dispatcher_foreign_records_total").increment(1);
            return;
        };
        waiting.gate.hold(place.partition, due_ms, flight);
        // Nothing more of its partition is to be read until then.
        self.look_at_once();
    }

    /// Lets parked events go on that are due.
    fn let_through(&mut self) {
        let now_ms = self.now_ms();
        let end = i64::try_from(self.options.wait_max.as_millis()).unwrap_or(i64::MAX);
        let Some(waiting) = &mut self.tier else {
            return;
        };
        let mut has_opened = false;
        while !self.filling.is_full()
            && let Some(mut flight) = waiting.gate.next(now_ms)
        {
            flight.last_try = now_ms >= flight.first_seen_ms.saturating_add(end);
            let Place {
                partition, offset, ..
            } = flight.place;
            waiting.index.lock().came_back(partition, offset + 1);
            self.filling.push(flight, self.now);
            has_opened = true;
        }
        if has_opened {
            self.looked_at = 0;
        }
    }

    /// Now, ms since 1970.
    fn now_ms(&self) -> i64 {
        self.engine.shared().clock.wall_ms(self.now)
    }

    /// Asks for the topic's id until it is known: with a wrong one a record of a topic made anew would be taken
    /// for one of its predecessor's. False when halted before.
    fn describe(&mut self) -> bool {
        if mutant::is("topic-known-by-name") && !self.topic_id.is_zero() {
            return true;
        }
        while !self.halt.is_cancelled() {
            let words = match self.cluster.topic(&self.options.topic) {
                Ok(Some(info)) => {
                    self.note_topic(info.id);
                    self.health.well(self.part);
                    return true;
                }
                Ok(None) => format!("topic `{}` does not exist", self.options.topic),
                Err(error) => error.to_string(),
            };
            self.health.trouble(self.part, words);
            self.rest(ASK_AGAIN_AFTER);
        }
        false
    }

    /// A topic that is made anew keeps its name and begins with offset 0. Where it has grown beyond the old positions before anybody looked, what lies below
    /// would be skipped: so all of it is read.
    fn note_topic(&mut self, id: TopicId) {
        let known = std::mem::replace(&mut self.topic_id, id);
        if known == id || known.is_zero() {
            return;
        }
        tracing::warn!(topic = %self.topic, "the topic was made anew: it is read from its beginning");
        self.anew = self.engine.core().assignment().into_iter().collect();
    }

    fn read_anew(&mut self, reader: &GroupReader<Member>) {
        let assigned = self.engine.core().assignment();
        self.anew.retain(|partition| assigned.contains(partition));
        for partition in std::mem::take(&mut self.anew) {
            // Positions of the old topic are void at once, those of records that were read further down as soon as the first is sought.
            reader.events().rewind(partition);
            if !told(self.go_to(reader, partition, 0)) {
                self.anew.insert(partition);
            }
        }
    }

    fn hand_in(&mut self) {
        let others = !self.engine.shared().is_idle();
        if !self.filling.is_ripe(self.supply, others, self.now) {
            return;
        }
        let offered = self.engine.offer(&mut self.filling.flights);
        if offered == Offered::NoRoom {
            self.no_room_since.get_or_insert(self.now);
            return;
        }
        self.no_room_since = None;
        if self.all_paused || offered == Offered::Crowded {
            self.look_at_once();
        }
    }

    fn look_at_once(&mut self) {
        self.looked_at = 0;
    }

    fn lacks_room(&self) -> bool {
        self.no_room_since
            .is_some_and(|since| self.now.saturating_sub(since) >= PAUSE_AFTER)
    }

    fn look_after(&mut self, reader: &GroupReader<Member>) {
        if self.now < self.looked_at + LOOK_EVERY {
            return;
        }
        self.looked_at = self.now;
        self.adjust_pauses(reader);
        self.obey(reader);
        let since_commit = self.now.saturating_sub(self.committed_at);
        if u128::from(since_commit) >= self.options.commit_every.as_millis() {
            self.committed_at = self.now;
            let heard = self.engine.shared().outside.lock().made_anew.take();
            if let Some(id) = heard {
                self.note_topic(id);
            }
            self.read_anew(reader);
            self.commit(reader);
            self.announce(reader);
            self.look_at_gap(reader);
            self.ask_for_membership(reader.events());
            self.show();
        }
    }

    /// Where offsets were skipped, has retention taken what nobody has read? One at a time: each costs a question.
    fn look_at_gap(&self, reader: &GroupReader<Member>) {
        let Some((partition, gap)) = reader.events().take_gap() else {
            return;
        };
        let Ok((first, _)) = reader.offsets(partition, ASK_WITHIN) else {
            return;
        };
        let records = missed(&gap, first);
        if records == 0 {
            return;
        }
        tracing::error!(
            topic = %self.topic,
            partition,
            from = gap.start,
            to = gap.start + records,
            "the topic's retention took records that nobody had read: these events are lost. Keep the topic for longer than the dispatcher may be away"
        );
        counter!("rtf_dispatcher_missed_total", "topic" => self.topic.to_string())
            .increment(records);
    }

    /// librdkafka tries to join for ever, whatever the broker says.
    fn ask_for_membership(&self, member: &Member) {
        if member.has_joined() || self.now < self.opened_at + JOIN_WITHIN {
            return;
        }
        let words = format!(
            "still not a member of the consumer group `{}`: is the broker there, is the group allowed, does the broker accept \
             a session time-out of {:?} (its group.min.session.timeout.ms and group.max.session.timeout.ms)?",
            self.options.group, self.options.session_timeout
        );
        self.health.worse(self.part, words);
    }

    fn adjust_pauses(&mut self, reader: &GroupReader<Member>) {
        let new = reader.events().take_new();
        self.pauses.forget(&new);
        if !new.is_empty() {
            let committed = reader.committed(&new, ASK_WITHIN);
            reader.events().committed(&committed.unwrap_or_default());
        }
        // Whoever had them in between has committed something else, and our last word may have been refused.
        self.committed
            .retain(|partition, _| !new.contains(partition));
        let (assigned, crowded) = {
            let core = self.engine.core();
            let crowded: BTreeSet<PartitionId> = core.crowded().collect();
            (core.assignment(), crowded)
        };
        let shared = self.engine.shared();
        let is_full = self.lacks_room();
        let held = shared.held.load(Ordering::Relaxed);
        let is_paused = is_full || !crowded.is_empty();
        shared.paused.store(is_paused, Ordering::Relaxed);
        let pause_all = is_full || held;
        let mut wanted = if pause_all {
            assigned.iter().copied().collect()
        } else {
            crowded
        };
        if let Some(waiting) = &mut self.tier {
            waiting
                .gate
                .retain(|partition| assigned.contains(&partition));
            wanted.extend(waiting.gate.shut());
        }
        let change = self.pauses.change(&wanted, &assigned);
        let paused = change.pause.is_empty() || told(reader.pause(&change.pause));
        let resumed = change.resume.is_empty() || told(reader.resume(&change.resume));
        if paused && resumed {
            self.pauses.done(&wanted, &assigned);
            self.all_paused = pause_all;
        }
        let still = held && self.all_paused && self.filling.flights.is_empty();
        self.engine.shared().still.store(still, Ordering::Relaxed);
    }

    /// Does what operators ordered. Whoever ordered it may be gone by then.
    fn obey(&mut self, reader: &GroupReader<Member>) {
        while let Some(order) = self.engine.shared().orders.take() {
            match order {
                Order::Commit(told) => drop(told.send(self.commit_now(reader))),
                Order::Rewind(positions, told) => drop(told.send(self.rewind(reader, &positions))),
            }
        }
    }

    fn commit_now(&mut self, reader: &GroupReader<Member>) -> Result<(), OperatorError> {
        let positions = {
            let core = self.engine.core();
            core.positions(&core.assignment())
        };
        let done = reader.commit_sync(&positions);
        done.map_err(|error| OperatorError::NotCommitted(error.to_string()))?;
        self.note_committed(&positions);
        Ok(())
    }

    fn rewind(
        &mut self,
        reader: &GroupReader<Member>,
        positions: &[(PartitionId, Offset)],
    ) -> Vec<Rewound> {
        let assigned = self.engine.core().assignment();
        let ours = positions.iter().filter(|(p, _)| assigned.contains(p));
        let mut rewound = Vec::new();
        for (partition, offset) in ours.copied() {
            let before = self.resolved_below(reader, partition);
            let done = before
                .clone()
                .and_then(|before| self.rewind_one(reader, partition, before, offset));
            rewound.push(Rewound {
                partition,
                before: before.unwrap_or_default(),
                offset,
                error: done.err(),
            });
        }
        rewound
    }

    /// Everything of the partition that is below is resolved: where it is, or where the group was when nothing was read since.
    fn resolved_below(
        &self,
        reader: &GroupReader<Member>,
        partition: PartitionId,
    ) -> Result<Offset, String> {
        let positions = self.engine.core().positions(&[partition]);
        if let Some((_, position)) = positions.first() {
            return Ok(*position);
        }
        let committed = reader.committed(&[partition], ASK_WITHIN);
        let committed = committed.map_err(|error| error.to_string())?;
        let position = committed.first().map(|(_, offset)| *offset);
        position.ok_or_else(|| "nothing of it is resolved yet".into())
    }

    /// Only back: what is skipped would never be resolved.
    fn rewind_one(
        &mut self,
        reader: &GroupReader<Member>,
        partition: PartitionId,
        before: Offset,
        offset: Offset,
    ) -> Result<(), String> {
        if offset > before {
            return Err(format!(
                "{offset} is beyond what is resolved: events from {before} on would be skipped"
            ));
        }
        let gone = self.go_to(reader, partition, offset);
        gone.map_err(|error| error.to_string())?;
        tracing::info!(partition, before, offset, "an operator has it read again");
        Ok(())
    }

    /// Reads on from there. The position is committed at once, so that whoever has the partition next goes on from there too; where that fails, the next
    /// commit makes it good.
    fn go_to(
        &mut self,
        reader: &GroupReader<Member>,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<(), KafkaError> {
        reader.seek(partition, offset, SEEK_WITHIN)?;
        reader.events().rewind(partition);
        self.committed.remove(&partition);
        if told(reader.commit_sync(&[(partition, offset)])) {
            self.note_committed(&[(partition, offset)]);
        }
        Ok(())
    }

    fn note_committed(&mut self, positions: &[(PartitionId, Offset)]) {
        self.committed.extend(positions.iter().copied());
        self.engine.shared().outside.lock().committed = self.committed.clone();
    }

    fn commit(&mut self, reader: &GroupReader<Member>) {
        if self.now >= self.recommitted_at + RECOMMIT_EVERY {
            self.recommitted_at = self.now;
            self.committed.clear();
        }
        let positions = {
            let core = self.engine.core();
            core.positions(&core.assignment())
        };
        let moved: Vec<_> = positions
            .iter()
            .filter(|(partition, position)| self.committed.get(partition) != Some(position))
            .filter(|(partition, _)| !self.anew.contains(partition))
            .copied()
            .collect();
        if moved.is_empty() || !told(reader.commit(&moved)) {
            return;
        }
        self.committed = positions.into_iter().collect();
        self.engine.shared().outside.lock().committed = self.committed.clone();
    }

    /// The low-water marks go into the log as well as to the group: they say what may be forgotten.
    fn announce(&mut self, reader: &GroupReader<Member>) {
        if self.now < self.announced_at + ANNOUNCE_EVERY || self.topic_id.is_zero() {
            return;
        }
        self.announced_at = self.now;
        self.announcements += 1;
        if self.announcements.is_multiple_of(RESTATE_EVERY) {
            self.announced.clear();
        }
        let marks = self.marks(reader);
        let moved: Vec<_> = marks
            .iter()
            .filter(|(partition, mark)| self.announced.get(partition) != Some(mark))
            .map(|(partition, mark)| ((self.topic_id, *partition), announced_mark(*mark)))
            .collect();
        if !moved.is_empty() {
            self.announced = marks;
            self.engine.announce(moved);
        }
    }

    /// Of a partition that had nothing to read since it was assigned, what the group has committed: an earlier member may have ended
    /// before it announced that.
    fn marks(&self, reader: &GroupReader<Member>) -> BTreeMap<PartitionId, Offset> {
        let (assigned, positions) = {
            let core = self.engine.core();
            let assigned = core.assignment();
            let positions = core.positions(&assigned);
            (assigned, positions)
        };
        let mut marks: BTreeMap<_, _> = positions.into_iter().collect();
        let silent: Vec<_> = (assigned.into_iter())
            .filter(|partition| !marks.contains_key(partition))
            .collect();
        let ask: Vec<_> = (silent.iter().copied())
            .filter(|partition| !self.announced.contains_key(partition))
            .collect();
        let known = silent
            .iter()
            .filter_map(|p| Some((*p, *self.announced.get(p)?)));
        marks.extend(known);
        if !ask.is_empty() {
            marks.extend(reader.committed(&ask, ASK_WITHIN).unwrap_or_default());
        }
        marks
    }

    fn forget_membership(&mut self) {
        let partitions = self.engine.core().assignment();
        self.engine.on(Event::Gone(partitions));
        self.announced.clear();
        self.filling.flights.clear();
        self.engine.shared().still.store(false, Ordering::Relaxed);
        if let Some(waiting) = &mut self.tier {
            waiting.gate = Gate::default();
        }
        self.pauses = Pauses::default();
        self.no_room_since = None;
        self.all_paused = false;
    }

    /// Rests, unless it is halted.
    fn rest(&self, time: Duration) {
        let end = std::time::Instant::now() + time;
        while std::time::Instant::now() < end && !self.halt.is_cancelled() {
            std::thread::sleep(POLL.min(time));
        }
    }
}

/// Simulated time passes in milliseconds.
#[cfg(feature = "simulation")]
const LEAST_REST: Duration = Duration::from_millis(1);
/// The longest look into an empty topic.
#[cfg(feature = "simulation")]
const SIMULATED_POLL: Duration = Duration::from_millis(500);

fn announced_mark(mark: Offset) -> Offset {
    match mutant::is("mark-beyond-the-mark") {
        true => mark + 50,
        false => mark,
    }
}

#[cfg(feature = "simulation")]
impl Reader {
    /// As [`run`](Self::run), as a task: time passes where the thread would wait.
    pub async fn run_simulated(mut self) -> Result<(), DispatcherError> {
        while self.tier.is_some() && self.cluster.topic(&self.options.topic)?.is_none() {
            tokio::select! {
                () = self.halt.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_FOR_TOPIC_EVERY) => {}
            }
        }
        let Some(info) = self.find_topic()? else {
            return Ok(());
        };
        self.topic_id = info.id;
        while !self.halt.is_cancelled() {
            if self.read_simulated().await.is_err() {
                self.forget_membership();
                tokio::time::sleep(REOPEN.max).await;
            }
        }
        Ok(())
    }

    async fn read_simulated(&mut self) -> Result<(), KafkaError> {
        let reader = self.join()?;
        while !self.halt.is_cancelled() {
            let (was_stuck, was_paused) = (self.is_stuck(), self.pauses.any());
            self.supply = Supply::Dry;
            if !was_stuck {
                self.poll(&reader)?;
            }
            self.attend(&reader);
            let is_paused = self.pauses.any();
            // There may be more at hand when nobody has looked, or a partition has just been resumed.
            let is_dry = self.supply == Supply::Dry && !was_stuck && (is_paused || !was_paused);
            if self.is_stuck() {
                tokio::time::sleep(POLL_WITHOUT_ROOM).await;
            } else if is_dry {
                let longest = match self.patience() {
                    // News of the topic end it, as they end a poll; and nothing is to be resumed.
                    POLL if !is_paused => SIMULATED_POLL,
                    patience => patience.max(LEAST_REST),
                };
                rtf_kafka::simulated::rest(&self.topic, longest).await;
            }
        }
        reader.close();
        Ok(())
    }
}

/// Whether it worked. A rebalance may be under way; the next look tries again.
fn told(result: Result<(), KafkaError>) -> bool {
    if let Err(error) = &result {
        tracing::debug!(%error, "the consumer did not take it");
    }
    result.is_ok()
}
