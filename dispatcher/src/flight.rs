//! A foreign record on its way from being read to being done, and what can become of it.

use crate::{Mark, Millis, Place, spans};
use rtf_proto::{
    EventId, ForeignEvent, JoinKey, LookupItem, Outcome, Reason, Registration, Source,
};
use rtf_traces::Span;

/// What one record costs in memory beside its bytes, about: our structs, their allocations, the sets it stands in.
const OVERHEAD_BYTES: usize = 700;

/// A record on its way, with what the dispatcher knows of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Flight {
    /// Where it was read, and in which epoch.
    pub place: Place,
    /// What it is.
    pub subject: Subject,
    /// How often a partner was looked for in vain.
    pub attempts: u32,
    /// When this dispatcher saw it first.
    pub first_seen: Millis,
    /// When any dispatcher saw it first, ms since 1970: a parked event has been seen before.
    pub first_seen_ms: i64,
    /// Where it stands in the foreign topic, if it comes back from a retry topic.
    pub origin: Option<Source>,
    /// Whether it was left to another site, and is looked at again since.
    pub was_left: bool,
    /// Whether a retry topic may take it; not any more when it was too large for one.
    pub can_park: bool,
    /// Whether its time is up: the attempt under way is the last one.
    pub last_try: bool,
    /// Whether the attempt under way takes the partners that are there: its time to collect more is over, or it never had any.
    pub collected: bool,
    /// The order of wake-ups when the attempt under way began.
    pub asked: Mark,
    /// What it costs in memory, bytes.
    pub bytes: usize,
    /// What a trace shows of it, if it is traced; boxed, since few are.
    pub span: Option<Box<Span>>,
}

/// What a foreign record turned out to be.
#[derive(Clone, PartialEq, Debug)]
pub enum Subject {
    /// An event to be joined.
    Event(ForeignEvent),
    /// Not an event; only to be registered as such.
    Malformed(Registration),
}

/// How a record ended, as seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Done {
    /// Its row is in the log.
    Joined,
    /// Given up.
    Unjoinable(Reason),
    /// Could not be read, or did not fit into the log.
    Malformed,
    /// Somebody else was quicker, or an earlier life of ours.
    AlreadyResolved,
    /// Below the registry's floor.
    TooOld,
    /// Somebody else was quicker while it was joined here: work done twice.
    Wasted,
    /// It waits in a retry topic from now on.
    Parked,
}

/// A record that is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Landed {
    /// Which.
    pub place: Place,
    /// What it cost in memory.
    pub bytes: usize,
    /// How.
    pub done: Done,
    /// Whether it had been left to another site.
    pub was_left: bool,
}

impl Flight {
    /// A record that was just read for the first time, at `first_seen`, which is `first_seen_ms` since 1970.
    pub fn new(place: Place, subject: Subject, first_seen: Millis, first_seen_ms: i64) -> Self {
        let bytes = OVERHEAD_BYTES + subject.payload_bytes();
        Self {
            span: spans::begin(&subject),
            place,
            subject,
            attempts: 0,
            first_seen,
            first_seen_ms,
            origin: None,
            was_left: false,
            can_park: true,
            last_try: false,
            collected: true,
            asked: Mark::default(),
            bytes,
        }
    }

    /// The question whether it is resolved already.
    pub(crate) fn question(&self) -> LookupItem {
        LookupItem {
            id: self.subject.id().clone(),
            source: self.subject.source().clone(),
        }
    }

    pub(crate) fn landed(&self, done: Done) -> Landed {
        Landed {
            place: self.place,
            bytes: self.bytes,
            was_left: self.was_left,
            done,
        }
    }
}

impl Subject {
    /// What the registry knows it by.
    pub fn id(&self) -> &EventId {
        match self {
            Self::Event(event) => &event.id,
            Self::Malformed(registration) => &registration.id,
        }
    }

    /// The key it waits for, if it is an event.
    pub fn key(&self) -> Option<&JoinKey> {
        match self {
            Self::Event(event) => Some(&event.key),
            Self::Malformed(_) => None,
        }
    }

    /// Where it stands.
    pub fn source(&self) -> &Source {
        match self {
            Self::Event(event) => &event.source,
            Self::Malformed(registration) => &registration.source,
        }
    }

    /// It is registered as standing there instead: an event that comes back from a retry topic belongs to its place in that.
    pub(crate) fn stand_at(&mut self, place: Source) {
        match self {
            Self::Event(event) => event.source = place,
            Self::Malformed(registration) => registration.source = place,
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::Malformed(registration) => registration.body.len(),
            Self::Event(event) => {
                let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, |b| b.len());
                let headers = event.original.headers.iter();
                let headers: usize = headers
                    .map(|(name, value)| name.len() + length(value))
                    .sum();
                length(&event.original.key) + length(&event.original.value) + headers
            }
        }
    }
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Joined => Self::Joined,
            Outcome::Unjoinable(reason) => Self::Unjoinable(reason),
            Outcome::Malformed => Self::Malformed,
        }
    }
}
