//! Event: one record to send, with its label. Knows neither what is in it nor how it is sent.

/// Which of the two streams a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Drives the join: tweets, clicks.
    Foreign,
    /// Is looked up: deals, queries.
    Primary,
}

/// What a record is, as its maker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Foreign: will be joined, once a primary of its key has been sent.
    Joins,
    /// Foreign: no primary of its key is ever sent.
    Orphan,
    /// Foreign: the very bytes of an earlier record again; must add nothing.
    Duplicate,
    /// Either side: has no usable id or key, or is not JSON at all.
    Malformed,
    /// Primary: a good one, which has no outcome of its own.
    None,
}

/// One Kafka record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The stream it belongs to.
    pub side: Side,
    /// Kafka's message key, if any.
    pub key: Option<Vec<u8>>,
    /// Kafka's message value.
    pub value: Vec<u8>,
    /// When to send it, in milliseconds after the start. Never falls within one iterator.
    pub at_ms: i64,
    /// What its maker knows of it.
    pub expect: Expect,
}

/// How many events of each sort were seen: what a sender reports of what it sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Good primaries.
    pub primaries: u64,
    /// Primaries that are malformed: the event store skips them.
    pub malformed_primaries: u64,
    /// Foreign events that must end as joined.
    pub joins: u64,
    /// Foreign events that must end as unjoinable.
    pub orphans: u64,
    /// Foreign records that must end as malformed.
    pub malformed: u64,
    /// Foreign records that repeat an earlier one.
    pub duplicates: u64,
}

impl Tally {
    /// Counts one event.
    pub fn count(&mut self, event: &Event) {
        let counter = match (event.side, event.expect) {
            (Side::Primary, Expect::Malformed) => &mut self.malformed_primaries,
            (Side::Primary, _) => &mut self.primaries,
            (Side::Foreign, Expect::Orphan) => &mut self.orphans,
            (Side::Foreign, Expect::Malformed) => &mut self.malformed,
            (Side::Foreign, Expect::Duplicate) => &mut self.duplicates,
            (Side::Foreign, Expect::Joins | Expect::None) => &mut self.joins,
        };
        *counter += 1;
    }

    /// Records in the foreign topic.
    #[must_use]
    pub fn foreign_records(&self) -> u64 {
        self.joins + self.orphans + self.malformed + self.duplicates
    }

    /// Records in the primary topic.
    #[must_use]
    pub fn primary_records(&self) -> u64 {
        self.primaries + self.malformed_primaries
    }

    /// Records that the join log must accept: each foreign event once.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.joins + self.orphans + self.malformed
    }
}
