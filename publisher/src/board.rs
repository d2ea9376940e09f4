//! How each partition is doing: readiness, gauges, status, and one log line per change. Decides nothing.

use crate::Content;
use parking_lot::Mutex;
use rtf_proto::{Offset, PartitionId, RegistryStatus};
use rtf_service::Component;
use std::sync::Arc;

/// What a partition's worker is at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It has not carried anything yet.
    Starting,
    /// Rows go to the sink as they come.
    Carrying,
    /// The sink does not answer, or not well; rows wait in the log.
    SinkAway(String),
    /// The registry does not answer, or not well.
    RegistryAway(String),
    /// The sink must not be written to; the words say what to do.
    Refused(String),
}

impl State {
    /// What the role says of itself when a partition is like this. The worst has the highest number.
    fn severity(&self) -> u8 {
        match self {
            Self::Carrying => 0,
            Self::Starting => 1,
            Self::RegistryAway(_) => 2,
            Self::SinkAway(_) => 3,
            Self::Refused(_) => 4,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Carrying => "carrying".into(),
            Self::Starting => "starting".into(),
            Self::RegistryAway(words) => format!("the registry is away: {words}"),
            Self::SinkAway(words) => format!("the sink is away, rows wait in the log: {words}"),
            Self::Refused(words) => format!("refused: {words}"),
        }
    }
}

/// How one partition is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionStatus {
    /// Partition of the join log and of the sink.
    pub partition: PartitionId,
    /// What its worker is at.
    pub state: State,
    /// Offset of the last row known to be in the sink.
    pub last: Option<Offset>,
    /// Every row below this offset is in the sink.
    pub published: Offset,
    /// Records of the log that the registry has applied and the sink does not have yet.
    pub lag: u64,
}

/// The partitions side by side.
pub struct Board {
    readiness: Component,
    /// What is carried, as metrics call it.
    content: &'static str,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    partitions: Vec<PartitionStatus>,
    /// Severity last told; words may change while it lasts without being told again.
    told: Option<u8>,
}

impl Board {
    /// No partitions yet.
    pub fn new(readiness: Component, content: &Content) -> Self {
        Self {
            readiness,
            content: content.name(),
            inner: Mutex::default(),
        }
    }

    /// So many partitions there are; those that are known already stay as they are.
    pub fn open(&self, partitions: u32) {
        let mut inner = self.inner.lock();
        let known = inner.partitions.len() as u32;
        if partitions <= known {
            return;
        }
        let begun = |partition| PartitionStatus {
            partition,
            state: State::Starting,
            last: None,
            published: 0,
            lag: 0,
        };
        inner.partitions.extend((known..partitions).map(begun));
        inner.told = None;
        self.tell(&mut inner);
    }

    /// Nothing is known of the log yet.
    pub fn no_log(&self, words: &str) {
        let severity = State::RegistryAway(String::new()).severity();
        let mut inner = self.inner.lock();
        if inner.told.replace(severity) != Some(severity) {
            self.readiness
                .not_ready(format!("the registry is away: {words}"));
        }
    }

    /// A partition is like this from now on.
    pub fn set(&self, partition: PartitionId, state: State) {
        let mut inner = self.inner.lock();
        let before = &mut inner.partitions[partition as usize].state;
        if *before == state {
            return;
        }
        match (&before, &state) {
            (_, State::Refused(words)) => tracing::error!(partition, "{words}"),
            (State::Refused(_), _) => tracing::info!(partition, "no longer refused"),
            _ => {}
        }
        *before = state;
        self.tell(&mut inner);
    }

    /// A partition has got so far.
    pub fn moved(&self, partition: PartitionId, last: Option<Offset>, published: Offset) {
        let mut inner = self.inner.lock();
        let slot = &mut inner.partitions[partition as usize];
        (slot.last, slot.published) = (last, published);
    }

    /// The registry has got so far.
    pub fn registry_is(&self, status: &RegistryStatus) {
        let mut inner = self.inner.lock();
        for served in &status.served {
            let Some(slot) = inner.partitions.get_mut(served.partition as usize) else {
                continue;
            };
            slot.lag = served.applied.saturating_sub(slot.published);
            let label = slot.partition.to_string();
            let gauge = match self.content {
                Content::ROWS => {
                    metrics::gauge!("rtf_publisher_lag_records", "partition" => label)
                }
                _ => metrics::gauge!("rtf_publisher_dead_letter_lag_records", "partition" => label),
            };
            gauge.set(slot.lag as f64);
        }
    }

    fn tell(&self, inner: &mut Inner) {
        let count = |wanted: fn(&State) -> bool| {
            inner.partitions.iter().filter(|p| wanted(&p.state)).count() as f64
        };
        let content = self.content;
        metrics::gauge!("rtf_publisher_refused", "content" => content)
            .set(count(|s| matches!(s, State::Refused(_))));
        metrics::gauge!("rtf_publisher_waiting", "content" => content).set(count(|s| {
            matches!(s, State::SinkAway(_) | State::RegistryAway(_))
        }));
        let worst = inner.partitions.iter().map(|p| &p.state);
        let Some(worst) = worst.max_by_key(|state| state.severity()) else {
            return;
        };
        let severity = worst.severity();
        if inner.told == Some(severity) {
            return;
        }
        match worst {
            State::Carrying => self.readiness.ready(),
            other => self.readiness.not_ready(other.reason()),
        }
        inner.told = Some(severity);
    }
}

/// A view of a running publisher, cheap to clone.
#[derive(Clone)]
pub struct PublisherHandle(pub(crate) Arc<Board>);

impl PublisherHandle {
    /// How each partition is doing; empty until the registry has said how many there are.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        self.0.inner.lock().partitions.clone()
    }

    /// Whether every partition is carried.
    pub fn is_carrying(&self) -> bool {
        let inner = self.0.inner.lock();
        let carrying = |p: &PartitionStatus| p.state == State::Carrying;
        !inner.partitions.is_empty() && inner.partitions.iter().all(carrying)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::RegistryPartition;
    use rtf_service::Readiness;

    const ROWS: Content = Content::Rows {
        emit_unjoinable: false,
    };

    #[test]
    fn ready_when_all_carry_and_the_worst_is_told() {
        let readiness = Readiness::default();
        let component = readiness.component("publisher");
        let board = Board::new(component.clone(), &ROWS);
        let reason = || component.reason().unwrap_or_default();
        board.no_log("nobody there");
        assert_eq!(reason(), "the registry is away: nobody there");
        board.open(2);
        assert_eq!(reason(), "starting");
        board.set(0, State::Carrying);
        board.set(1, State::SinkAway("one".into()));
        board.set(0, State::SinkAway("two".into()));
        assert!(reason().ends_with(": one"), "told once: {}", reason());
        board.set(1, State::Refused("delete it".into()));
        assert_eq!(reason(), "refused: delete it");
        board.set(0, State::Carrying);
        board.set(1, State::Carrying);
        assert!(readiness.is_ready());
        board.open(3);
        assert_eq!(reason(), "starting", "a split gave it one more");
        board.set(2, State::Carrying);
        board.open(2);
        assert!(
            readiness.is_ready(),
            "a replica that lags behind takes none away"
        );
    }

    #[test]
    fn lag_is_what_the_registry_has_applied_and_the_sink_has_not() {
        let handle = PublisherHandle(Arc::new(Board::new(
            Readiness::default().component("p"),
            &ROWS,
        )));
        handle.0.open(1);
        handle.0.moved(0, Some(5), 8);
        let partition = RegistryPartition {
            applied: 11,
            ..Default::default()
        };
        handle.0.registry_is(&RegistryStatus {
            served: vec![partition],
            ..Default::default()
        });
        let status = &handle.partitions()[0];
        assert_eq!((status.last, status.published, status.lag), (Some(5), 8, 3));
        assert!(!handle.is_carrying());
    }
}
