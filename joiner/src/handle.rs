//! What other roles hold of a joiner: the join itself, behind the [`Joiner`] port.

use crate::disk::DiskError;
use crate::event::Event;
use crate::partners::{Partners, READS_IN_FLIGHT, partners};
use crate::state::State;
use crate::tail::Part;
use crate::{Options, Policy};
use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use rtf_proto::record::Body;
use rtf_proto::row::{self, RowParts};
use rtf_proto::{
    ForeignEvent, JoinKey, JoinVerdict, Joiner, JoinerError, JoinerStatus, Offset, Outcome,
    PartitionId, Registration, Registry, RegistryError, Verdict, WakeupStream,
};
use rtf_service::mutant;
use rtf_traces::{Span, Spans, key};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, broadcast};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

/// Batches of wake-ups a slow listener may be behind; then it misses some.
pub(crate) const WAKEUP_BATCHES: usize = 1024;

/// The state the halves of a joiner share.
pub(crate) struct Shared {
    pub state: RwLock<State>,
    pub policy: Policy,
    /// The only partition it is about; none: all of them.
    pub part: Option<Part>,
    /// Room for reads from disk.
    pub reads: Arc<Semaphore>,
    /// What a read from disk met; the tail ends with it.
    pub disk_failure: Mutex<Option<DiskError>>,
    pub malformed: AtomicU64,
    /// Partitions of the primary topic, as last heard.
    pub partitions: AtomicU32,
    /// The next offset to read, per partition.
    pub positions: Mutex<Vec<Offset>>,
    /// The first offset the topic still has, per partition, as last heard.
    pub floors: Mutex<Vec<Offset>>,
    /// Cancelled when the role ends.
    pub stop: CancellationToken,
    /// All is done on one thread, and nothing blocks.
    #[cfg(feature = "simulation")]
    pub is_simulated: AtomicBool,
    has_caught_up: AtomicBool,
    wakeups: broadcast::Sender<Arc<Vec<JoinKey>>>,
    registry: Arc<dyn Registry>,
    room: Arc<Semaphore>,
}

impl Shared {
    pub fn new(options: &Options, registry: Arc<dyn Registry>) -> Self {
        Self {
            state: RwLock::new(State::new(options)),
            policy: options.policy.clone(),
            part: None,
            reads: Arc::new(Semaphore::new(READS_IN_FLIGHT)),
            disk_failure: Mutex::default(),
            malformed: AtomicU64::new(0),
            partitions: AtomicU32::new(0),
            positions: Mutex::default(),
            floors: Mutex::default(),
            stop: CancellationToken::new(),
            #[cfg(feature = "simulation")]
            is_simulated: AtomicBool::new(false),
            has_caught_up: AtomicBool::new(false),
            wakeups: broadcast::Sender::new(WAKEUP_BATCHES),
            registry,
            room: Arc::new(Semaphore::new(options.batches_in_flight.max(1))),
        }
    }

    /// Whether the store has caught up, and is still kept up to date.
    pub fn is_ready(&self) -> bool {
        let has_caught_up = self.has_caught_up.load(Ordering::Acquire);
        (has_caught_up || mutant::is("ready-before-it-has-read")) && !self.stop.is_cancelled()
    }

    /// The same for one partition; its wake-ups go there.
    pub fn of_part(self, part: Part, wakeups: broadcast::Sender<Arc<Vec<JoinKey>>>) -> Self {
        Self {
            part: Some(part),
            wakeups,
            ..self
        }
    }

    /// Whether it is about this partition.
    pub fn reads(&self, partition: PartitionId) -> bool {
        self.part.is_none_or(|part| part.partition == partition)
    }

    pub fn caught_up(&self) {
        self.has_caught_up.store(true, Ordering::Release);
    }

    /// A read from disk failed: what it was for is not known, and the tail ends.
    pub fn disk_failed(&self, error: DiskError) {
        self.disk_failure.lock().get_or_insert(error);
    }

    pub fn wake(&self, keys: Vec<JoinKey>) {
        if keys.is_empty() || rtf_service::crash::wants("joiner-loses-wakeups") {
            return;
        }
        metrics::counter!("rtf_joiner_wakeups_total").increment(keys.len() as u64);
        // Nobody may be listening.
        self.wakeups.send(Arc::new(keys)).ok();
    }

    pub async fn join(
        self: &Arc<Self>,
        batch: Vec<ForeignEvent>,
    ) -> Result<Vec<JoinVerdict>, JoinerError> {
        if !self.is_ready() {
            return Ok(vec![JoinVerdict::NotReady; batch.len()]);
        }
        let ids = batch.iter().map(|event| event.id.as_bytes());
        let mut spans = rtf_traces::begin_each("join", ids);
        let verdicts = self.look_up_and_register(batch, &mut spans).await;
        spans.end(&verdicts, tell);
        verdicts
    }

    async fn look_up_and_register(
        self: &Arc<Self>,
        batch: Vec<ForeignEvent>,
        spans: &mut Spans,
    ) -> Result<Vec<JoinVerdict>, JoinerError> {
        let mut verdicts = vec![JoinVerdict::NotFound; batch.len()];
        let keys: Vec<&JoinKey> = batch.iter().map(|event| &event.key).collect();
        let partners = partners(self, &keys, now_ms()).await;
        spans.each(|_, span| span.note("looked up"));
        let (mut found, mut registrations) = (Vec::new(), Vec::new());
        for (at, (event, partners)) in batch.into_iter().zip(partners).enumerate() {
            match partners {
                Partners::Some(_) if event.collect => verdicts[at] = JoinVerdict::Collecting,
                Partners::Some(partners) => {
                    found.push(at);
                    registrations.push(registration(event, &partners));
                }
                Partners::None => {}
                Partners::Unknown => verdicts[at] = JoinVerdict::NotReady,
            }
        }
        if found.is_empty() {
            return Ok(verdicts);
        }
        let answers = self.registry.register(registrations).await;
        let answers = answers.map_err(unavailable)?;
        if answers.len() != found.len() {
            let words = format!(
                "the registry gave {} verdicts for {} rows",
                answers.len(),
                found.len()
            );
            return Err(JoinerError::Unavailable(words));
        }
        for (at, answer) in found.into_iter().zip(answers) {
            verdicts[at] = verdict(answer);
        }
        Ok(verdicts)
    }
}

/// What is to be registered for an event with these partners, the best first.
fn registration(event: ForeignEvent, partners: &[Event]) -> Registration {
    let newest = partners.iter().map(|p| p.place().kafka_ts).max();
    let primary: SmallVec<[&[u8]; 1]> = partners.iter().map(Event::payload).collect();
    let row = row::open(&RowParts {
        id: &event.id,
        key: &event.key,
        outcome: Outcome::Joined,
        // The port promises JSON; a record without a value has only this to show.
        foreign: event.original.value.as_deref().unwrap_or(b"null"),
        primary: &primary,
        foreign_ts: event.foreign_ts,
        primary_ts: partners.first().map(|p| p.event_ts()),
        attempts: event.attempts.saturating_add(1),
    });
    Registration {
        id: event.id,
        outcome: Outcome::Joined,
        source: event.source,
        token: event.token,
        later_ts: event.kafka_ts.max(newest.unwrap_or(i64::MIN)),
        body: Body::Joined { row }.encode(),
    }
}

fn verdict(answer: Verdict) -> JoinVerdict {
    match answer {
        Verdict::Registered(offset) => JoinVerdict::Joined(offset),
        Verdict::AlreadyResolved(offset) => JoinVerdict::AlreadyResolved(offset),
        Verdict::TooOld => JoinVerdict::TooOld,
        Verdict::TooLarge => JoinVerdict::RowTooLarge,
    }
}

fn unavailable(error: RegistryError) -> JoinerError {
    match error {
        RegistryError::Busy => JoinerError::Busy,
        other => JoinerError::Unavailable(other.to_string()),
    }
}

/// What comes of an event, as metrics and traces call it.
const OUTCOMES: [&str; 7] = [
    "joined",
    "already_resolved",
    "not_found",
    "not_ready",
    "too_old",
    "row_too_large",
    "collecting",
];

/// Its place among the outcomes.
fn outcome(verdict: JoinVerdict) -> usize {
    match verdict {
        JoinVerdict::Joined(_) => 0,
        JoinVerdict::AlreadyResolved(_) => 1,
        JoinVerdict::NotFound => 2,
        JoinVerdict::NotReady => 3,
        JoinVerdict::TooOld => 4,
        JoinVerdict::RowTooLarge => 5,
        JoinVerdict::Collecting => 6,
    }
}

/// What a trace shows of it.
fn tell(span: &mut Span, verdict: JoinVerdict) {
    span.text(key::OUTCOME, OUTCOMES[outcome(verdict)]);
    if let JoinVerdict::Joined(offset) | JoinVerdict::AlreadyResolved(offset) = verdict {
        span.number(key::LOG_OFFSET, offset);
    }
}

pub(crate) fn count(verdicts: &[JoinVerdict]) {
    let mut counts = [0u64; OUTCOMES.len()];
    for verdict in verdicts {
        counts[outcome(*verdict)] += 1;
    }
    let counted = OUTCOMES.into_iter().zip(counts);
    for (name, count) in counted.filter(|(_, n)| *n > 0) {
        metrics::counter!("rtf_joiner_joins_total", "verdict" => name).increment(count);
    }
}

/// The wall clock, ms since 1970: decides nothing but what has expired.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// A joiner, as its callers see it; cheap to clone.
#[derive(Clone)]
pub struct JoinerHandle(pub(crate) Arc<Shared>);

#[async_trait]
impl Joiner for JoinerHandle {
    /// The work goes on when the caller goes away (RULE 24).
    async fn join(&self, batch: Vec<ForeignEvent>) -> Result<Vec<JoinVerdict>, JoinerError> {
        let shared = self.0.clone();
        let room = shared.room.clone();
        let place = room.try_acquire_owned().map_err(|_| JoinerError::Busy)?;
        let work = async move {
            let _place = place;
            shared.join(batch).await.inspect(|verdicts| count(verdicts))
        };
        tokio::spawn(work)
            .await
            .unwrap_or_else(|cut| Err(JoinerError::Unavailable(cut.to_string())))
    }

    async fn wakeups(&self) -> Result<WakeupStream, JoinerError> {
        let stop = self.0.stop.clone();
        Ok(BroadcastStream::new(self.0.wakeups.subscribe())
            // A listener that was too slow has missed some, which is allowed.
            .filter_map(|keys| std::future::ready(keys.ok()))
            .map(|keys| Vec::clone(&keys))
            .take_until(stop.cancelled_owned())
            .boxed())
    }

    async fn status(&self) -> Result<JoinerStatus, JoinerError> {
        let state = self.0.state.read();
        Ok(JoinerStatus {
            ready: self.0.is_ready(),
            events: state.store.len(),
            bytes: state.store.bytes() as u64,
            disk_bytes: state.store.disk_bytes(),
            wanted: state.wanted.len() as u64,
            malformed: self.0.malformed.load(Ordering::Relaxed),
            share: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use crate::event::{EventReader, Place};
    use crate::state::Change;
    use bytes::Bytes;
    use futures::FutureExt;
    use rtf_json::{Folding, Parts};
    use rtf_proto::{
        AcceptedStream, EventId, Known, LookupItem, Original, Outcomes, PartitionId,
        RegistryStatus, Source, Token, TopicId,
    };

    /// Answers with what it is told, and remembers what it was asked.
    #[derive(Default)]
    struct Fake {
        asked: Mutex<Vec<Registration>>,
        answer: Mutex<Option<Result<Vec<Verdict>, RegistryError>>>,
        gate: Gate,
    }

    /// Lets registrations through when it is opened.
    struct Gate(Semaphore);
    impl Default for Gate {
        fn default() -> Self {
            Self(Semaphore::new(100))
        }
    }

    #[async_trait]
    impl Registry for Fake {
        async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
            let _through = self.gate.0.acquire().await;
            let first = self.asked.lock().len() as u64;
            let verdicts = (first..).take(batch.len()).map(Verdict::Registered);
            let verdicts = Ok(verdicts.collect());
            self.asked.lock().extend(batch);
            self.answer.lock().take().unwrap_or(verdicts)
        }
        async fn lookup(&self, _: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
            Err(RegistryError::Busy)
        }
        async fn progress(&self, _: Vec<(rtf_proto::SourceId, u64)>) -> Result<(), RegistryError> {
            Ok(())
        }

        async fn tail(
            &self,
            _: PartitionId,
            _: Offset,
            _: Outcomes,
        ) -> Result<AcceptedStream, RegistryError> {
            Err(RegistryError::Busy)
        }
        async fn status(&self) -> Result<RegistryStatus, RegistryError> {
            Err(RegistryError::Busy)
        }
    }

    fn options() -> Options {
        Options {
            topic: "deals".into(),
            id: vec!["/id".into()],
            key: vec!["/k".into()],
            time: Some("/at".into()),
            expires: None,
            folding: Folding::default(),
            policy: Policy::All { limit: 2 },
            data: None,
            memory_bytes: 1 << 20,
            wanted_keys: 10,
            batches_in_flight: 1,
        }
    }

    fn joiner() -> (JoinerHandle, Arc<Fake>) {
        let registry = Arc::new(Fake::default());
        let shared = Shared::new(&options(), registry.clone());
        shared.caught_up();
        (JoinerHandle(Arc::new(shared)), registry)
    }

    fn arrive(joiner: &JoinerHandle, id: u32, key: &str) {
        let place = Place {
            kafka_ts: 1000 + i64::from(id),
            partition: 0,
            offset: id.into(),
        };
        let json = format!(r#"{{"id":{id},"k":"{key}","at":{id}}}"#);
        let event = EventReader::new(&options())
            .unwrap()
            .read(&Parts::of(json.as_bytes()), place);
        let mut woken = Vec::new();
        let changes = std::iter::once((Change::Upsert(event.unwrap()), None));
        let mut state = joiner.0.state.write();
        state.apply(changes, 0, &mut woken).unwrap();
        joiner.0.wake(woken);
    }

    fn foreign(id: &str, key: &str) -> ForeignEvent {
        ForeignEvent {
            id: EventId::from(id),
            key: JoinKey::from(key),
            source: Source {
                topic: "tweets".into(),
                topic_id: TopicId([1; 16]),
                partition: 2,
                offset: 3,
            },
            foreign_ts: 4,
            kafka_ts: 1001,
            token: Token(5),
            attempts: 2,
            original: Original {
                key: None,
                value: Some(Bytes::from(format!(r#"{{"t":"{id}"}}"#))),
                headers: Vec::new(),
            },
            collect: false,
        }
    }

    #[tokio::test]
    async fn rows_are_registered_and_the_rest_is_wanted() {
        let (joiner, registry) = joiner();
        arrive(&joiner, 1, "a");
        arrive(&joiner, 2, "a");
        arrive(&joiner, 3, "b");
        let batch = vec![foreign("x", "none"), foreign("y", "a"), foreign("z", "b")];
        let verdicts = joiner.join(batch).await.unwrap();
        assert_eq!(
            verdicts,
            [
                JoinVerdict::NotFound,
                JoinVerdict::Joined(0),
                JoinVerdict::Joined(1)
            ]
        );
        assert_eq!(joiner.status().await.unwrap().wanted, 1);
        let asked = registry.asked.lock();
        assert_eq!(
            (asked[0].token, asked[0].later_ts, asked[1].later_ts),
            (Token(5), 1002, 1003)
        );
        let open = br#"{"id":"y","key":"a","outcome":"joined","foreign":{"t":"y"},"primary":[{"id":1,"k":"a","at":1},{"id":2,"k":"a","at":2}],"foreign_ts":4,"primary_ts":1,"attempts":3"#;
        assert_eq!(asked[0].body, open[..]);
    }

    #[tokio::test]
    async fn who_collects_is_not_joined_yet() {
        let (joiner, registry) = joiner();
        arrive(&joiner, 1, "a");
        let collecting = |id: &str, key: &str| ForeignEvent {
            collect: true,
            ..foreign(id, key)
        };
        let batch = vec![
            collecting("x", "none"),
            collecting("y", "a"),
            foreign("z", "a"),
        ];
        let verdicts = joiner.join(batch).await.unwrap();
        assert_eq!(
            verdicts,
            [
                JoinVerdict::NotFound,
                JoinVerdict::Collecting,
                JoinVerdict::Joined(0)
            ]
        );
        assert_eq!(registry.asked.lock().len(), 1);
        assert_eq!(joiner.status().await.unwrap().wanted, 1, "not the key `a`");
        arrive(&joiner, 2, "a");
        let verdicts = joiner.join(vec![foreign("y", "a")]).await.unwrap();
        assert_eq!(verdicts, [JoinVerdict::Joined(1)]);
        let body = registry.asked.lock()[1].body.clone();
        let row = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            row.contains(r#"{"id":1,"#) && row.contains(r#"{"id":2,"#),
            "{row}"
        );
    }

    #[tokio::test]
    async fn a_wanted_key_wakes_its_listeners_once() {
        let (joiner, _) = joiner();
        let mut wakeups = joiner.wakeups().await.unwrap();
        joiner
            .join(vec![foreign("x", "k"), foreign("y", "k")])
            .await
            .unwrap();
        arrive(&joiner, 1, "k");
        arrive(&joiner, 2, "k");
        let keys = wakeups.next().now_or_never();
        assert_eq!(keys, Some(Some(vec![JoinKey::from("k")])));
        assert_eq!(wakeups.next().now_or_never(), None, "it was wanted once");
        joiner.0.stop.cancel();
        assert_eq!(
            wakeups.next().await,
            None,
            "nobody listens to a stopped one"
        );
    }

    #[tokio::test]
    async fn before_it_has_caught_up_it_says_so() {
        let registry = Arc::new(Fake::default());
        let joiner = JoinerHandle(Arc::new(Shared::new(&options(), registry.clone())));
        arrive(&joiner, 1, "k");
        let verdicts = joiner.join(vec![foreign("x", "k")]).await;
        assert_eq!(verdicts, Ok(vec![JoinVerdict::NotReady]));
        assert!(registry.asked.lock().is_empty());
        assert_eq!(joiner.status().await.unwrap().wanted, 0);
    }

    #[tokio::test]
    async fn the_registrys_answers_are_passed_on() {
        let (joiner, registry) = joiner();
        arrive(&joiner, 1, "k");
        let mut answers = Vec::new();
        for answer in [
            Ok(vec![Verdict::AlreadyResolved(9)]),
            Ok(vec![Verdict::TooOld]),
            Ok(vec![Verdict::TooLarge]),
            Ok(vec![]),
            Err(RegistryError::Busy),
            Err(RegistryError::Unavailable("away".into())),
        ] {
            *registry.answer.lock() = Some(answer);
            answers.push(joiner.join(vec![foreign("x", "k")]).await);
        }
        let away = |words: &str| Err(JoinerError::Unavailable(words.into()));
        assert_eq!(
            answers,
            [
                Ok(vec![JoinVerdict::AlreadyResolved(9)]),
                Ok(vec![JoinVerdict::TooOld]),
                Ok(vec![JoinVerdict::RowTooLarge]),
                away("the registry gave 0 verdicts for 1 rows"),
                Err(JoinerError::Busy),
                away("registry unavailable: away"),
            ]
        );
    }

    #[tokio::test]
    async fn work_is_bounded_and_goes_on_without_its_caller() {
        let (joiner, registry) = joiner();
        arrive(&joiner, 1, "k");
        let shut = registry.gate.0.forget_permits(usize::MAX);
        let caller = tokio::spawn({
            let joiner = joiner.clone();
            async move { joiner.join(vec![foreign("x", "k")]).await }
        });
        while joiner.0.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let shed = joiner.join(vec![foreign("y", "k")]).await;
        assert_eq!(shed, Err(JoinerError::Busy));
        caller.abort();
        registry.gate.0.add_permits(shut);
        while joiner.0.room.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            registry.asked.lock().len(),
            1,
            "it was registered all the same"
        );
    }
}
